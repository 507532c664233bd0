"""Plates and layers for tests of the viewer that need shapes alone, no numbers and no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accweight_core.naming import layers_of
from accweight_core.pictures.layout import layout_of
from accweight_core.pictures.plan import PicturePlan
from accweight_core.pictures.texel_map import Layout
from accweight_core.schema import Axis, HiddenValues, Hints, Kind, StoredTensor
from accweight_viewer.model.arrangement import Arrangement, arrange
from accweight_viewer.model.camera import Camera, framing
from accweight_viewer.model.plates import Plate, ShownLayer
from accweight_viewer.model.texture_tiles import TextureTile, children, root

WINDOW = 900.0, 600.0
"""Width and height of a window."""

Shape = tuple[int, ...]
NETWORK: Mapping[str, Shape] = {
    "conv.weight": (8, 3, 5, 5),
    "conv.bias": (8,),
    "fc.weight": (40, 72),
    "fc.bias": (40,),
}
"""Two layers of two plates."""

OUT, IN, K, DIRECTION = Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.DIRECTION

EVERY_LAYOUT: Mapping[str, tuple[Shape, Hints]] = {
    "scalar": ((), Hints()),
    "one": ((1,), Hints()),
    "bias": ((10,), Hints()),
    "long vector": ((500,), Hints()),
    "matrix": ((6, 9), Hints(kind=Kind.LINEAR, axes=(OUT, IN))),
    "matrix, inputs first": ((9, 6), Hints(kind=Kind.LINEAR, axes=(IN, OUT))),
    "wide matrix": ((10, 320), Hints(kind=Kind.LINEAR, axes=(OUT, IN))),
    "wide prime matrix": ((3, 101), Hints(kind=Kind.LINEAR, axes=(OUT, IN))),
    "tall matrix": ((300, 7), Hints(kind=Kind.LINEAR, axes=(OUT, IN))),
    "conv": ((8, 3, 5, 5), Hints(kind=Kind.CONV, axes=(OUT, IN, K, K))),
    "conv, kernel first": ((5, 5, 3, 8), Hints(kind=Kind.CONV, axes=(K, K, IN, OUT))),
    "transposed": ((3, 8, 4, 4), Hints(kind=Kind.CONV_TRANSPOSE, axes=(IN, OUT, K, K))),
    "depthwise": ((64, 1, 3, 3), Hints(kind=Kind.CONV, axes=(OUT, IN, K, K))),
    "pointwise": ((16, 8, 1, 1), Hints(kind=Kind.CONV, axes=(OUT, IN, K, K))),
    "conv 1d": ((12, 4, 7), Hints(kind=Kind.CONV, axes=(OUT, IN, K))),
    "conv 3d": ((4, 2, 3, 2, 5), Hints(kind=Kind.CONV, axes=(OUT, IN, K, K, K))),
    "lstm": (
        (64, 8),
        Hints(kind=Kind.LSTM, axes=(OUT, IN), sections=("i", "f", "g", "o")),
    ),
    "lstm, two directions": (
        (2, 32, 8),
        Hints(kind=Kind.LSTM, axes=(DIRECTION, OUT, IN), sections=("i", "o", "f", "c")),
    ),
}
"""A shape, and what its axes count, for every way in which a parameter is laid out."""


def shown(
    shapes: Mapping[str, Shape | tuple[Shape, Hints]],
    *,
    base: int = 0,
    steps: int = 3,
    ready: bool = True,
    pictured: bool = True,
) -> list[ShownLayer]:
    """Return layers as a run has them.

    Args:
        shapes: Per parameter its shape, and what a reader would know of it.
        base: Finest stored level of all pictures.
        steps: Number of steps.
        ready: Whether all plates are ready.
        pictured: Whether pictures are stored.
    """
    tensors = []
    for name, given in shapes.items():
        shape, hints = given if given and isinstance(given[-1], Hints) else (given, Hints())
        tensors.append(StoredTensor(name, HiddenValues(lambda: None, "float32", shape), hints))
    layers: list[ShownLayer] = []
    number = 0
    for layer in layers_of(tensors):
        plates = []
        for parameter in layer.parameters:
            layout = layout_of(parameter)
            stored = layout if pictured else Layout(layout.shape, 1, 1, ())
            plan = PicturePlan(stored, base, steps)
            peak = float(number + 1) if ready else 0.0
            plates.append(
                Plate(number, number, len(layers), parameter, layout, plan, pictured, ready, peak)
            )
            number += 1
        elements = sum(parameter.elements for parameter in layer.parameters)
        layers.append(ShownLayer(len(layers), layer.name, layer.kind, tuple(plates), elements))
    return layers


def plates_of(layers: Sequence[ShownLayer]) -> list[Plate]:
    """Return all plates, by number."""
    return [plate for layer in layers for plate in layer.plates]


def one_behind_another(layers: Sequence[ShownLayer]) -> Arrangement:
    """Return places of plates that stand straight behind each other, the first hiding all."""
    places = arrange(layers, "line")
    spots, corners = places.spots * [0.0, 1.0, 1.45], places.corners.copy()
    corners[:, 0] -= places.spots[places.rows, 0]
    corners[:, 2] = spots[places.rows, 2]
    return replace(places, corners=corners, spots=spots)


def scene(*shapes: tuple[int, ...], **options: Any) -> tuple[list[Plate], Arrangement]:
    """Return plates straight behind each other, and their places."""
    layers = shown({f"l{i}.weight": shape for i, shape in enumerate(shapes)}, **options)
    return plates_of(layers), one_behind_another(layers)


def camera_on(places: Arrangement, plate: int, distance: float = 1.0, yaw: float = 0.0) -> Camera:
    """Return a camera that sees a plate, from a share of the distance at which it fits."""
    camera = Camera(framing(places.box([plate]), yaw, 0.0, WINDOW[0] / WINDOW[1]))
    camera.approach(places.centre([plate]), 1 - distance)
    return camera


def every_tile(plate: Plate) -> list[TextureTile]:
    """Return all tiles of a plate, the coarsest first."""
    tiles = [root(plate)]
    for tile in tiles:
        tiles += children(tile, plate)
    return tiles


def blocks(count: int, members: Sequence[str] = ("q", "k", "mlp")) -> dict[str, Shape]:
    """Return shapes of an embedding, repeated blocks, and a head."""
    inner = {
        f"h.{block}.{member}.weight": (16 * (1 + place), 24)
        for block in range(count)
        for place, member in enumerate(members)
    }
    return {"embed.weight": (90, 20), **inner, "head.weight": (90, 20)}


def places_of(shapes: Mapping[str, Shape], how: str = "auto") -> Arrangement:
    """Return the places of parameters of some shapes."""
    return arrange(shown(shapes), how)
