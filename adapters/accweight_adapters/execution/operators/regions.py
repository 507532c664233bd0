"""Regions of images: sampling them, and choosing among those that overlap."""

from __future__ import annotations

import torch
from torch import Tensor

from accweight_adapters.execution.operators.table import Call, Node, Numbers, operator, single


@operator("RoiAlign", newest=22)
def _roi_align(node: Node) -> Call:
    rows, columns = node.get("output_height", 1), node.get("output_width", 1)
    ratio, scale = node.get("sampling_ratio", 0), node.get("spatial_scale", 1.0)
    mode = node.only("mode", "avg", "max", default="avg")
    known = ("half_pixel", "output_half_pixel")
    default = known[0] if node.opset >= 16 else known[1]
    half = node.only("coordinate_transformation_mode", *known, default=default) == known[0]

    def aligned(x: Tensor, regions: Tensor, batch: Tensor) -> Tensor:
        made = [
            _region(x[image], region * scale, (rows, columns), ratio, mode, half)
            for region, image in zip(regions, batch.tolist(), strict=True)
        ]
        return torch.stack(made) if made else x.new_zeros(0, x.shape[1], rows, columns)

    return aligned


def _region(
    image: Tensor, region: Tensor, cells: tuple[int, int], ratio: int, mode: str, half: bool
) -> Tensor:
    """Return one region of an image, sampled on a grid in each cell."""
    corner = region.reshape(2, 2).flip(1) - (0.5 if half else 0.0)  # rows before columns
    extent = corner[1] - corner[0]
    extent = extent if half else extent.clamp(min=1.0)
    points = []
    for axis, count in enumerate(cells):
        cell = extent[axis] / count
        samples = ratio if ratio > 0 else int(torch.ceil(cell))
        within = (torch.arange(samples, device=image.device) + 0.5) / samples
        place = torch.arange(count, device=image.device)[:, None] + within
        points.append(corner[0, axis] + place * cell)
    down, across = points
    seen = [
        _bilinear_terms(place, length)
        for place, length in zip(points, image.shape[1:], strict=True)
    ]
    terms = [
        image[:, i.reshape(-1)][:, :, j.reshape(-1)] * (u.reshape(-1, 1) * v.reshape(-1))
        for i, u in seen[0]
        for j, v in seen[1]
    ]
    stacked = torch.stack(terms)
    joined = stacked.sum(0) if mode == "avg" else stacked.amax(0)
    grid = joined.reshape(image.shape[0], *down.shape, *across.shape)
    return grid.mean((2, 4)) if mode == "avg" else grid.amax((2, 4))


def _bilinear_terms(place: Tensor, length: int) -> list[tuple[Tensor, Tensor]]:
    """Return both neighbours of places on an axis, and their weights; outside, these are zero."""
    inside = ((place >= -1) & (place <= length)).to(place.dtype)
    bounded = place.clamp(0, length - 1)
    low = bounded.floor()
    share = bounded - low
    high = (low + 1).clamp(max=length - 1)
    return [(low.long(), (1 - share) * inside), (high.long(), share * inside)]


# ---------------------------------------------------------------- overlapping boxes


@operator("NonMaxSuppression", newest=11, free=True)
def _non_max_suppression(node: Node) -> Call:
    centred = bool(node.get("center_point_box", 0))

    def selected(
        boxes: Tensor,
        scores: Tensor,
        most: Tensor | Numbers | None = None,
        overlap: Tensor | Numbers | None = None,
        least: Tensor | Numbers | None = None,
    ) -> Tensor:
        count = 0 if most is None else single(most)
        bound = 0.0 if overlap is None else single(overlap)
        place, boxes, scores = boxes.device, boxes.cpu(), scores.cpu()  # box by box is slow there
        found = []
        for sample in range(scores.shape[0]):
            corners = _corners(boxes[sample], centred)
            for kind in range(scores.shape[1]):
                rank = torch.argsort(scores[sample, kind], descending=True, stable=True)
                if least is not None:
                    rank = rank[scores[sample, kind][rank] > single(least)]
                kept = _apart(corners, rank, count, bound)
                found += [(sample, kind, box) for box in kept]
        return torch.tensor(found, dtype=torch.int64, device=place).reshape(-1, 3)

    return selected


def _corners(boxes: Tensor, centred: bool) -> Tensor:
    """Return (boxes, 4): the lower and the upper corner."""
    if centred:
        half = boxes[:, 2:] / 2
        return torch.cat((boxes[:, :2] - half, boxes[:, :2] + half), 1)
    first, second = boxes[:, :2], boxes[:, 2:]
    return torch.cat((torch.minimum(first, second), torch.maximum(first, second)), 1)


def _apart(corners: Tensor, rank: Tensor, most: int, bound: float) -> list[int]:
    """Return the best boxes, without those that overlap a better one by more than the bound."""
    kept: list[int] = []
    while len(kept) < most and len(rank):
        best, rank = rank[0], rank[1:]
        kept.append(int(best))
        box, others = corners[best], corners[rank]
        inner = torch.minimum(box[2:], others[:, 2:]) - torch.maximum(box[:2], others[:, :2])
        shared = inner.clamp(min=0).prod(1)
        areas = (others[:, 2:] - others[:, :2]).prod(1) + (box[2:] - box[:2]).prod()
        union = areas - shared
        rank = rank[torch.where(union > 0, shared / union, 0) <= bound]
    return kept
