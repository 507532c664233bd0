"""Reader of safetensors files, and of models split into several, with or without an index.

The format is an eight-byte length, a JSON header and the raw values. Parsing it here and not with
the library gives the byte ranges, and one-line errors. The rules are those of the library: unique
names, no overlap, no gap, nothing after the last tensor.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from accweight_adapters.hf_trainer_state import with_trainer_state
from accweight_adapters.lora import with_lora_layers
from accweight_adapters.measures import measures_in, number_or_text
from accweight_adapters.model_config.meaning import with_model_config
from accweight_adapters.network_order import in_network_order
from accweight_adapters.shard_index import (
    index_in,
    index_of_shards,
    names_shards,
    notes_of,
    parsed,
    shard_path,
)
from accweight_adapters.shard_names import shards_beside
from accweight_adapters.untrusted import (
    ClaimError,
    check_not_empty,
    checked_name,
    checked_shape,
    checked_sizes,
    claims_of,
    quoted,
    quoted_few,
    refused,
    step_among,
)
from accweight_core.dtypes import DTYPES
from accweight_core.schema import Description, Extent, StoredTensor

FORMAT: Final = "safetensors"
INDEX_FORMAT: Final = "safetensors index"
SHARD_SUFFIX: Final = ".safetensors"
LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 100_000_000
HEADER_START = re.compile(rb'\{\s*["}]')

DTYPE_NAMES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "C64": "complex64",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}
"""Names of element types, by their safetensors names."""

OPAQUE_DTYPES: Final = {
    "F4": "packs two values into a byte",
    "F6_E2M3": "packs values of six bits across bytes",
    "F6_E3M2": "packs values of six bits across bytes",
    "F8_E8M0": "holds scales of other tensors, not values of its own",
}
"""Element types whose values are meaningless on their own, and why."""


class SafetensorsReader:
    """Describes safetensors files and indexes of shards."""

    name = "safetensors"
    suffixes: tuple[str, ...] = (SHARD_SUFFIX, ".json")

    def recognises(self, path: Path) -> bool:
        """Tell whether `path` starts with a safetensors header, or is an index of such files."""
        try:
            if path.suffix.lower() == ".json":
                return names_shards(index_in(path, FORMAT), (SHARD_SUFFIX,))
            with path.open("rb") as file:
                length = int.from_bytes(file.read(LENGTH_BYTES), "little")
                return length <= MAX_HEADER_BYTES and HEADER_START.match(file.read(64)) is not None
        except Exception:  # not this format
            return False

    def describe(self, path: Path) -> Description:
        """Describe the tensors in `path`, in network order as far as names reveal it.

        Raises:
            FormatError: If a header does not match its file, or a shard is missing or elsewhere.
        """
        if path.suffix.lower() == ".json":
            with claims_of(path, INDEX_FORMAT):
                description = _described_index(path)
        else:
            with claims_of(path, FORMAT):
                parts = shards_beside(path)
                description = _described_parts(parts) if parts else _described(path)
        tensors = with_lora_layers(description.tensors)
        description = with_model_config(replace(description, tensors=tensors), path)
        return with_trainer_state(description, path)


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file: its tensors by name, its metadata, and what is odd about that."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]
    notes: tuple[str, ...] = ()


def _described(path: Path) -> Description:
    shard = _shard_at(path)
    step, key = _step_in(shard.metadata) or (None, "")
    return Description(
        format=FORMAT,
        tensors=in_network_order(shard.tensors),
        step=step,
        step_key=key,
        files=(str(path),),
        notes=shard.notes,
        measures=_measures_in([shard.metadata]),
    )


def _described_index(path: Path) -> Description:
    index = index_of_shards(path, FORMAT, (SHARD_SUFFIX,))
    places: dict[str, str] = index["weight_map"]
    shards = {name: _shard_at(shard_path(path, name)) for name in sorted(set(places.values()))}
    for name, file in places.items():
        if name not in shards[file].tensors:
            raise ClaimError(f"says that tensor {quoted(name)} is in {quoted(file)}; it is not")
    metadata = [notes_of(index), *(shard.metadata for shard in shards.values())]
    step, key = next(filter(None, map(_step_in, metadata)), (None, ""))
    extra = sum(len(shard.tensors) for shard in shards.values()) - len(places)
    odd = tuple(note for shard in shards.values() for note in shard.notes)
    note = f"left out {extra} tensors of the shards that the index does not list"
    return Description(
        format=f"{INDEX_FORMAT}, {len(shards)} shard{'s' * (len(shards) != 1)}",
        tensors=in_network_order(
            {name: shards[file].tensors[name] for name, file in places.items()}
        ),
        step=step,
        step_key=key,
        files=(str(path), *(str(path.parent / name) for name in shards)),
        notes=tuple(dict.fromkeys(((note,) if extra else ()) + odd)),
        measures=_measures_in(metadata),
    )


def _described_parts(paths: Sequence[Path]) -> Description:
    """Describe all tensors of the parts of one model."""
    shards = {path: _shard_at(path) for path in paths}
    tensors: dict[str, StoredTensor] = {}
    for path, shard in shards.items():
        twice = tensors.keys() & shard.tensors.keys()
        if twice:
            raise ClaimError(f"{quoted(min(twice))} is in {path.name} and in a part before it")
        tensors |= shard.tensors
    metadata = [shard.metadata for shard in shards.values()]
    step, key = next(filter(None, map(_step_in, metadata)), (None, ""))
    return Description(
        format=f"{FORMAT}, {len(shards)} parts",
        tensors=in_network_order(tensors),
        step=step,
        step_key=key,
        files=tuple(map(str, shards)),
        notes=tuple(dict.fromkeys(note for shard in shards.values() for note in shard.notes)),
        measures=_measures_in(metadata),
    )


def _shard_at(path: Path) -> Shard:
    with claims_of(path, FORMAT), path.open("rb") as file:
        header, start, size_bytes = _header(file)
        metadata, notes = _metadata(header.pop("__metadata__", None))
        spans = {name: _span(name, claim) for name, claim in header.items()}
        _check_coverage(spans, size_bytes - start)
        file_name = str(path)
        tensors = {
            name: _stored(file_name, name, header[name], start, span)
            for name, span in spans.items()
        }
        return Shard(tensors, metadata, notes)


def _metadata(claim: object) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the metadata that are text, and a note on others.

    The format allows nothing but text, yet writers of all kinds exist; no weight depends on it.
    None, which MLX writes, is no metadata.
    """
    if claim is None:
        return {}, ()
    if not isinstance(claim, dict):
        return {}, (f"its __metadata__ is ignored: {quoted(claim)} is not an object",)
    odd = [key for key, value in claim.items() if not isinstance(value, str)]
    text = {key: value for key, value in claim.items() if isinstance(value, str)}
    numbers = {key: str(claim[key]) for key in odd if _is_number(claim[key])}
    others = [key for key in odd if key not in numbers and claim[key] is not None]
    note = f"in its __metadata__, {quoted_few(others)} is ignored: not text"
    return {**text, **numbers}, (note,) if others else ()


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _header(file: IO[bytes]) -> tuple[dict[str, Any], int, int]:
    """Return the parsed header, the offset of the values, and the size of the file."""
    size_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    prefix = file.read(LENGTH_BYTES)
    length = int.from_bytes(prefix, "little")
    check_not_empty(len(prefix))
    if len(prefix) < LENGTH_BYTES or length > MAX_HEADER_BYTES:
        raise ClaimError(f"not a safetensors file: it claims a header of {length} bytes")
    if LENGTH_BYTES + length > size_bytes:
        raise ClaimError(f"cut short: its header needs {length} bytes, the file has {size_bytes}")
    text = file.read(length)
    if not HEADER_START.match(text):
        raise ClaimError("not a safetensors file: its header is not a JSON object")
    return parsed(text), LENGTH_BYTES + length, size_bytes


def _span(name: str, claim: object) -> tuple[int, int]:
    """Return (first, end) of the bytes of a tensor's values."""
    if not isinstance(claim, dict) or not isinstance(claim.get("dtype"), str):
        raise ClaimError(f"its header does not say what tensor {quoted(name)} is")
    offsets = checked_sizes(claim.get("data_offsets"), "data_offsets")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ClaimError(f"tensor {quoted(name)} has data_offsets that are not a range of bytes")
    return offsets[0], offsets[1]


def _check_coverage(spans: Mapping[str, tuple[int, int]], data_bytes: int) -> None:
    """Check that the tensors are contiguous, up to the end of the file."""
    position = 0
    for name, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        if start != position:
            fault = "overlaps the one before it" if start < position else "leaves a hole before it"
            raise ClaimError(f"tensor {quoted(name)} {fault}, at byte {start} of the values")
        position = end
    if position != data_bytes:
        reason = "it is cut short" if position > data_bytes else "something was appended"
        raise ClaimError(f"its tensors need {position} bytes, it has {data_bytes}; {reason}")


def _stored(
    path: str, name: str, claim: Mapping[str, Any], start: int, span: tuple[int, int]
) -> StoredTensor:
    name, shape, code = checked_name(name), checked_shape(claim.get("shape")), claim["dtype"]
    dtype = DTYPE_NAMES.get(code)
    if dtype is None:
        reason = OPAQUE_DTYPES.get(code, "is not known to this version")
        return refused(name, code.lower()[:32], shape, f"its element type {quoted(code)} {reason}")
    needed = math.prod(shape) * DTYPES[dtype].size_bytes
    if span[1] - span[0] != needed:
        raise ClaimError(
            f"tensor {quoted(name)} of shape {shape} and type {code} needs {needed} bytes, "
            f"its data_offsets give it {span[1] - span[0]}"
        )
    return StoredTensor(name, Extent(path, start + span[0], dtype, shape))


def _step_in(metadata: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return the step in the metadata, whose values may all be strings."""
    numbers = {key: _number(value) for key, value in metadata.items()}
    step = step_among(numbers)
    return (step[0], f"metadata.{step[1]}") if step else None


def _measures_in(metadata: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the measures in the metadata, sorted: the library writes them in random order."""
    notes = {key: value for part in reversed(metadata) for key, value in part.items()}
    return measures_in(dict(sorted(notes.items())), number_or_text)


def _number(value: object) -> object:
    is_number = isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}(\.0+)?", value.strip())
    return int(str(value).strip().partition(".")[0]) if is_number else value
