"""Join tensors that tensor parallelism has cut, by the rules that DeepSpeed stores with them.

`universal_checkpoint_info` holds patterns of names: of tensors that every part holds whole, that
are averaged over the parts, that are cut along their second axis, or cut as two matrices stacked
along the first. All others are cut along the first axis (`ds_to_universal.py` of DeepSpeed).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.torch.extents import array_of, span_bytes
from accweight_adapters.untrusted import ClaimError, claims_of, quoted, refused
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Extent, HiddenValues, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT: Final = "torch checkpoint"
MOST_PATTERNS: Final = 1000
SIMPLE = re.compile(r"\^?(?:[\w/-]|\.|\\[.\-d]\+?)*\$?")
"""Patterns that are matched: text with numbers. Others of a hostile file could take for ever."""

WIDENED: Final = "float64"
REMEDY: Final = "merge the parts into one checkpoint first, as tools of Megatron-DeepSpeed do"


class Way(StrEnum):
    """How the parts of a tensor make the whole, by the key of the patterns."""

    WHOLE = "tp_replicated_parameter_patterns"
    AVERAGED = "parameter_to_average_patterns"
    TWO_STACKED = "parameter_with_2_sub_params_cat_dim_0"
    UNEVEN = "parameter_with_sub_params"
    ALONG_SECOND = "parameter_with_row_parallelism_patterns"
    ALONG_FIRST = "the first axis"


@dataclass(frozen=True)
class Rules:
    """Which tensors are joined in which way.

    Attributes:
        patterns: Patterns of names, in the order in which they are asked.
    """

    patterns: Mapping[Way, tuple[re.Pattern[str], ...]]

    @classmethod
    def of(cls, info: Mapping[Any, Any], parts: int) -> Rules:
        """Return the rules that DeepSpeed has stored.

        Args:
            info: What it has stored.
            parts: Number of the parts.

        Raises:
            ClaimError: If it says nothing, or what is not understood.
        """
        told = {way: info.get(str(way)) for way in Way if info.get(str(way)) is not None}
        if not told:
            raise ClaimError(
                f"its layers are cut into {parts} parts for tensor parallelism, and no file beside "
                f"them says along which axes; {REMEDY}"
            )
        return cls({way: tuple(map(_pattern, _texts(value))) for way, value in told.items()})

    def way_of(self, name: str) -> Way:
        """Return how a tensor is joined."""
        for way, patterns in self.patterns.items():
            if any(pattern.match(name) for pattern in patterns):
                return way
        return Way.ALONG_FIRST


def _texts(value: object) -> list[object]:
    """Return the patterns in a list, also of entries that have several each."""
    entries = value if isinstance(value, (list, tuple)) else [value]
    found: list[object] = []
    for entry in entries:
        inner = mapping_of(entry).get("patterns", [entry])
        found += inner if isinstance(inner, (list, tuple)) else [inner]
        if len(found) > MOST_PATTERNS:
            raise ClaimError(f"it has more than {MOST_PATTERNS} rules for joining its parts")
    return found


def _pattern(text: object) -> re.Pattern[str]:
    """Return a pattern whose repetitions give nothing back, so that it takes linear time."""
    if not isinstance(text, str) or not SIMPLE.fullmatch(text):
        raise ClaimError(
            f"its rules for joining its parts have the pattern {quoted(text)}, which is more than "
            f"text and numbers; {REMEDY}"
        )
    return re.compile(text.replace("+", "++"))


def joined(parts: Mapping[Path, Mapping[str, StoredTensor]], rules: Rules) -> list[StoredTensor]:
    """Return whole tensors.

    Args:
        parts: The tensors of each part by name, by the file of the part.
        rules: How they are joined.

    Raises:
        ClaimError: If a part lacks a tensor, or has it in another type or shape than fits.
    """
    first, *others = parts.values()
    for other in others:
        odd = first.keys() ^ other.keys()
        if odd:
            raise ClaimError(f"only some of its parts hold tensor {quoted(min(odd))}")
    return [
        _joined({path: tensors[name] for path, tensors in parts.items()}, rules.way_of(name))
        for name in first
    ]


def _joined(parts: Mapping[Path, StoredTensor], way: Way) -> StoredTensor:
    first = next(iter(parts.values()))
    refusal = next((part for part in parts.values() if part.refusal), None)
    if refusal is not None or way is Way.WHOLE:
        return refusal or first
    extents = {path: _extent(part) for path, part in parts.items()}
    name, dtype, shape = first.name, first.dtype, _whole_shape(first.name, way, extents.values())
    is_known = DTYPES[dtype].family == "float" and DTYPES[dtype].size_bytes > 1
    if way is Way.UNEVEN or (way is Way.AVERAGED and not is_known):
        return refused(name, dtype, shape, f"its parts are not joined here ({way})")
    dtype = WIDENED if way is Way.AVERAGED else dtype
    return StoredTensor(name, HiddenValues(partial(_loaded, extents, way), dtype, shape))


def _extent(part: StoredTensor) -> Extent:
    if not isinstance(part.values, Extent):
        raise ClaimError(f"tensor {quoted(part.name)} is no plain bytes, so it cannot be joined")
    return part.values


def _whole_shape(name: str, way: Way, extents: Collection[Extent]) -> tuple[int, ...]:
    """Return the shape of the whole, after checking that the parts fit."""
    shapes = [extent.shape for extent in extents]
    axis = _axis(way, len(shapes[0]))
    rests = {shape if way is Way.AVERAGED else shape[:axis] + shape[axis + 1 :] for shape in shapes}
    is_even = way is not Way.TWO_STACKED or not any(shape[0] % 2 for shape in shapes if shape)
    is_cut = way is Way.AVERAGED or all(shapes)
    if len(rests) > 1 or len({extent.dtype for extent in extents}) > 1 or not (is_cut and is_even):
        raise ClaimError(
            f"the parts of tensor {quoted(name)} do not fit together: {shapes[0]} and {shapes[-1]}"
        )
    if way is Way.AVERAGED:
        return shapes[0]
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def _axis(way: Way, rank: int) -> int:
    return 1 if way is Way.ALONG_SECOND and rank > 1 else 0


def _loaded(extents: Mapping[Path, Extent], way: Way) -> npt.NDArray[Any]:
    """Return a whole tensor: its elements, or their codes."""
    import numpy as np  # needed to load values, not to describe them

    parts = [_array_at(path, extent) for path, extent in extents.items()]
    if way is Way.AVERAGED:
        dtype = next(iter(extents.values())).dtype
        whole: npt.NDArray[Any] = np.sum([_widened(part, dtype) for part in parts], axis=0)
        return whole / len(parts)
    if way is Way.TWO_STACKED:
        halves = [np.split(part, 2) for part in parts]
        return np.concatenate([half[index] for index in (0, 1) for half in halves])
    return np.concatenate(parts, _axis(way, parts[0].ndim))


def _array_at(path: Path, extent: Extent) -> npt.NDArray[Any]:
    with claims_of(path, FORMAT), path.open("rb") as file:
        file.seek(extent.offset)
        return array_of(file.read(span_bytes(extent)), extent)


def _widened(codes: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Return elements as float64; a bfloat16 is the upper half of a float32."""
    if dtype == "bfloat16":
        return (codes.astype("uint32") << 16).view("float32").astype(WIDENED)
    return codes.astype(WIDENED)
