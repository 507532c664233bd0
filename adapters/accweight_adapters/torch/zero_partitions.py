"""Checkpoints of DeepSpeed's ZeRO stage 3, where every rank keeps a part of every parameter.

`zero_pp_rank_R_mp_rank_00_model_states.pt` has shapes and no values; the values are in flat arrays
of every rank, `fp32_flat_groups` of `..._optim_states.pt`, one parameter after another, each padded
to a multiple of the ranks (as `zero_to_fp32.py` of DeepSpeed reads them). Tensors in several pieces
are joined when they are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from accweight_adapters.lora import with_lora_layers
from accweight_adapters.pickles.clocks import clock_in
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.pickles.values import TensorClaim
from accweight_adapters.shard_index import shard_path
from accweight_adapters.torch.container import Archive
from accweight_adapters.torch.extents import array_of, span_bytes, stored
from accweight_adapters.torch.shards import archive_at
from accweight_adapters.untrusted import (
    ClaimError,
    checked_name,
    checked_shape,
    claims_of,
    quoted,
)
from accweight_core.dtypes import DTYPES
from accweight_core.naming import without_wrappers
from accweight_core.schema import Description, Extent, HiddenValues, Hints, Role, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT: Final = "DeepSpeed ZeRO 3 checkpoint"
STATES = re.compile(r"zero_pp_rank_(?P<rank>[0-9]{1,5})_mp_rank_00_model_states\.pt")
PARTS = re.compile(
    r"(?P<before>(bf16_)?zero_pp_rank_)(?P<rank>[0-9]{1,5})_mp_rank_00_optim_states\.pt"
)

Shapes = dict[str, tuple[int, ...]]


class _Piece(NamedTuple):
    """Neighbouring elements of one rank's flat arrays."""

    path: Path
    extent: Extent


class _Flat(NamedTuple):
    """The flat arrays of one rank, one after another."""

    path: Path
    groups: tuple[Extent, ...]

    @property
    def elements(self) -> int:
        return sum(group.elements for group in self.groups)

    def pieces(self, start: int, count: int) -> Iterator[_Piece]:
        """Yield where `count` elements from `start` lie."""
        for group in self.groups:
            taken = min(count, group.elements - start)
            if taken > 0 and start >= 0:
                at = group.offset + start * DTYPES[group.dtype].size_bytes
                yield _Piece(self.path, Extent(group.path, at, group.dtype, (taken,)))
                count, start = count - taken, 0
            else:
                start -= group.elements
        if count > 0:
            raise ClaimError(f"{self.path.name} has too few elements for its parameters")


def is_partition(path: Path) -> bool:
    """Tell whether a file is named like the model states of one rank of ZeRO 3."""
    return STATES.fullmatch(path.name) is not None


def described_partitions(path: Path) -> Description:
    """Describe the model whose first rank wrote `path`.

    Raises:
        ClaimError: If it is another rank, if a rank is missing, or the parts do not fit.
        FormatError: If a file is damaged.
    """
    if int(STATES.fullmatch(path.name)["rank"]):  # type: ignore[index]  # named like one
        raise ClaimError(
            "has a part of every parameter; name its folder, or "
            "zero_pp_rank_0_mp_rank_00_model_states.pt"
        )
    archive = archive_at(path)
    settings = mapping_of(archive.content)
    flats = [_flat(part) for part in _parts(path)]
    tensors = _trained(_shapes(settings.get("param_shapes")), flats)
    tensors |= _frozen(path, _shapes(settings.get("frozen_param_shapes")), len(flats))
    tensors |= _buffers(path, archive, settings)
    if not tensors:
        raise ClaimError("holds no shapes of parameters (param_shapes)")
    order = {name: place for place, name in enumerate(mapping_of(settings.get("module")))}
    names = sorted(tensors, key=lambda name: order.get(name, len(order)))
    bare = without_wrappers(names)
    clock = clock_in(settings)
    others = [other for other in path.parent.iterdir() if is_partition(other) and other != path]
    return Description(
        format=f"{FORMAT}, {len(flats)} rank{'s' * (len(flats) != 1)}",
        tensors=with_lora_layers(
            _called(tensors[name], bare[place]) for place, name in enumerate(names)
        ),
        step=clock.step,
        step_key=clock.key,
        is_step_sure=clock.is_sure,
        files=(str(path), *(str(flat.path) for flat in flats)),
        beside=tuple(sorted(map(str, others))),
    )


def _called(tensor: StoredTensor, name: str) -> StoredTensor:
    return StoredTensor(checked_name(name), tensor.values, tensor.hints, tensor.refusal)


def _parts(path: Path) -> list[Path]:
    """Return the files with the values, by rank, after checking that none is missing."""
    names = sorted(other.name for other in path.parent.iterdir())
    states = [match for match in map(STATES.fullmatch, names) if match]
    parts = [match for match in map(PARTS.fullmatch, names) if match]
    found = {int(match["rank"]): match[0] for match in parts}
    before = parts[0]["before"] if parts else "zero_pp_rank_"
    ranks = 1 + max(int(match["rank"]) for match in (*states, *parts))
    return [
        shard_path(
            path,
            found.get(rank, f"{before}{rank}_mp_rank_00_optim_states.pt"),
            "file of values",
            "it",
        )
        for rank in range(ranks)
    ]


def _flat(path: Path) -> _Flat:
    archive = archive_at(path)
    state = mapping_of(mapping_of(archive.content).get("optimizer_state_dict"))
    groups = state.get("fp32_flat_groups")
    groups = [groups] if isinstance(groups, TensorClaim) else groups
    if not isinstance(groups, (list, tuple)) or not groups:
        raise ClaimError(f"{path.name} has no values (fp32_flat_groups)")
    return _Flat(path, tuple(_plain(path, archive, claim) for claim in groups))


def _plain(path: Path, archive: Archive, claim: object) -> Extent:
    """Return where a flat array lies."""
    if not isinstance(claim, TensorClaim) or len(claim.shape) != 1:
        raise ClaimError(f"{path.name} has values that are no flat arrays")
    with claims_of(path, FORMAT):
        tensor = stored(path, archive, "fp32_flat_groups", claim)
    if not isinstance(tensor.values, Extent) or tensor.values.strides or tensor.values.big_endian:
        raise ClaimError(f"{path.name} has values that are no flat arrays")
    return tensor.values


def _shapes(content: object) -> Shapes:
    """Return shapes by name, of a mapping or a list of several."""
    found: Shapes = {}
    for mapping in content if isinstance(content, (list, tuple)) else [content]:
        for name, shape in mapping_of(mapping).items():
            if isinstance(name, str):
                found[checked_name(name)] = checked_shape(shape)
    return found


def _trained(shapes: Shapes, flats: Sequence[_Flat]) -> dict[str, StoredTensor]:
    """Return the parameters in the flat arrays."""
    tensors: dict[str, StoredTensor] = {}
    start = 0
    for name, shape in shapes.items():
        whole = math.prod(shape)
        share = -(-whole // len(flats))
        pieces: list[_Piece] = []
        for rank, flat in enumerate(flats):
            pieces += flat.pieces(start, max(0, min(share, whole - rank * share)))
        tensors[name] = _joined(name, shape, pieces)
        start += share
    return tensors


def _frozen(path: Path, shapes: Shapes, ranks: int) -> dict[str, StoredTensor]:
    """Return the parameters that are not trained: each rank keeps a fragment of them."""
    if not shapes:
        return {}
    fragments: list[tuple[Path, Archive, Mapping[Any, Any]]] = []
    for rank in range(ranks):
        name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
        own = shard_path(path, name, "file of a rank", "it")
        archive = archive_at(own)
        fragments.append(
            (own, archive, mapping_of(mapping_of(archive.content).get("frozen_param_fragments")))
        )
    tensors = {}
    for name, shape in shapes.items():
        left, pieces = math.prod(shape), list[_Piece]()
        for own, archive, kept in fragments:
            extent = _plain(own, archive, kept.get(name))
            taken = min(left, extent.elements)
            left -= taken
            pieces.append(_Piece(own, Extent(extent.path, extent.offset, extent.dtype, (taken,))))
        if left:
            raise ClaimError(f"the fragments of {quoted(name)} are too short for its shape {shape}")
        tensors[name] = _joined(name, shape, pieces)
    return tensors


def _buffers(path: Path, archive: Archive, settings: Mapping[Any, Any]) -> dict[str, StoredTensor]:
    """Return what every rank holds whole."""
    module, names = mapping_of(settings.get("module")), settings.get("buffer_names")
    found = {}
    for name in names if isinstance(names, (list, tuple)) else ():
        claim = module.get(name) if isinstance(name, str) else None
        if isinstance(claim, TensorClaim):
            with claims_of(path, FORMAT):
                tensor = stored(path, archive, checked_name(name), claim)
            found[name] = StoredTensor(name, tensor.values, Hints(role=Role.BUFFER), tensor.refusal)
    return found


def _joined(name: str, shape: tuple[int, ...], pieces: Sequence[_Piece]) -> StoredTensor:
    """Return a tensor that lies in pieces; one in a single piece is a byte range."""
    kept = [piece for piece in pieces if piece.extent.elements]
    dtypes = {piece.extent.dtype for piece in pieces}
    if len(dtypes) > 1:
        raise ClaimError(f"the parts of {quoted(name)} have several types: {sorted(dtypes)}")
    if len(kept) == 1:
        first = kept[0].extent
        return StoredTensor(name, Extent(first.path, first.offset, first.dtype, shape))
    dtype = next(iter(dtypes), "float32")
    return StoredTensor(name, HiddenValues(partial(_loaded, tuple(kept), shape), dtype, shape))


def _loaded(pieces: Sequence[_Piece], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return a whole tensor: its elements, or their codes."""
    import numpy as np  # needed to load values, not to describe them

    parts = [np.empty(0, np.float32)] if not pieces else []
    for path, extent in pieces:
        with claims_of(path, FORMAT), path.open("rb") as file:
            file.seek(extent.offset)
            parts.append(array_of(file.read(span_bytes(extent)), extent))
    return np.concatenate(parts).reshape(shape)
