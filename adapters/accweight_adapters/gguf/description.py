"""Describe GGUF files, the format of llama.cpp, including those in several parts.

Plain floats are byte ranges of the file. Quantised blocks are dequantised by the package `gguf`
when they are read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.gguf.attention import heads_in, split_of
from accweight_adapters.gguf.header import Header, TensorInfo, header_in, is_gguf
from accweight_adapters.gguf.names import OPTIMIZER, are_of_llama, hints_of, place_of
from accweight_adapters.measures import measures_in
from accweight_adapters.model_config.config import Heads
from accweight_adapters.shard_index import shard_path
from accweight_adapters.untrusted import ClaimError, claims_of, quoted, refused, step_among
from accweight_core.errors import MissingLibraryError, UnsupportedDtypeError
from accweight_core.schema import Description, Extent, HiddenValues, Hints, StoredTensor

FORMAT: Final = "GGUF"
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
PART_KEY, PARTS_KEY, TENSORS_KEY = "split.no", "split.count", "split.tensors.count"
BUFFER_BYTES: Final = 1 << 18
"""Buffer size: headers contain vocabularies of many short strings."""

PLAIN: Final = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
}  # fmt: skip
"""Names of the element types that are stored as plain numbers, by their GGUF names."""

WITHOUT_MEANING: Final = frozenset({"Q8_1", "Q8_K", "Q1_0"})
"""Types for intermediate results of llama.cpp, which the package does not dequantise."""

CLOCKS: Final = {"training.iteration_count": "iteration", "training.epoch_count": "epoch"}


def recognised(path: Path) -> bool:
    """Tell whether `path` starts with the GGUF magic number."""
    try:
        with path.open("rb") as file:
            return is_gguf(file)
    except OSError:
        return False


def described(path: Path) -> Description:
    """Describe the tensors in `path` and in its further parts, in network order.

    Raises:
        FormatError: If a header is damaged, or a part is missing or of another model.
    """
    with claims_of(path, FORMAT):
        header = _header_at(path)
        parts = {path: header} | _further_parts(path, header)
        return _described(path, header, parts)


def _header_at(path: Path) -> Header:
    with claims_of(path, FORMAT), path.open("rb", buffering=BUFFER_BYTES) as file:
        return header_in(file)


def _further_parts(path: Path, header: Header) -> dict[Path, Header]:
    """Return the further parts of a first part; none for a later part or a single file."""
    count, number = header.notes.get(PARTS_KEY, 1), header.notes.get(PART_KEY, 0)
    if not isinstance(count, int) or count < 2 or number:
        return {}
    named = PART.fullmatch(path.name)
    if named is None or int(named["count"]) != count or int(named["number"]) != 1:
        raise ClaimError(
            f"is the first of {count} parts, which are found by their names; "
            f"expected NAME-00001-of-{count:05}.gguf"
        )
    found = {}
    for part in range(2, count + 1):
        name = f"{named['stem']}-{part:05}-of-{count:05}.gguf"
        part_path = shard_path(path, name, "part", "the first one")
        found[part_path] = _header_at(part_path)
        if found[part_path].notes.get(PART_KEY) != part - 1:
            raise ClaimError(f"its part {quoted(name)} has another number than its name says")
    total = sum(len(each.tensors) for each in (header, *found.values()))
    claimed = header.notes.get(TENSORS_KEY, total)
    if claimed != total:
        raise ClaimError(f"its parts hold {total} tensors, it claims {quoted(claimed)}")
    return found


def _described(path: Path, header: Header, parts: Mapping[Path, Header]) -> Description:
    infos = [(file, part, info) for file, part in parts.items() for info in part.tensors]
    names = {info.name for _, _, info in infos}
    if len(names) < len(infos):
        raise ClaimError("lists a tensor twice, in different parts")
    kept = [each for each in infos if not each[2].name.startswith(OPTIMIZER)]
    if not kept:
        raise ClaimError("holds no tensors; it may be a vocabulary alone")
    notes = ["left out 'optimizer': training state, not weights"] if len(kept) < len(infos) else []
    order = sorted(range(len(kept)), key=lambda index: place_of(kept[index][2].name, index))
    clocks = {name: header.notes.get(key) for key, name in CLOCKS.items()}
    step, key = step_among(clocks) or (None, "")
    told = {k: v for k, v in header.notes.items() if k.startswith("training.")}
    tensors = tuple(_stored(*kept[index]) for index in order)
    if not are_of_llama(names):  # other names get no GGUF-specific hints
        tensors = tuple(replace(tensor, hints=Hints()) for tensor in tensors)
    elif found := heads_in(header.notes):
        tensors = tuple(_with_heads(tensor, *found) for tensor in tensors)
    return Description(
        format=_format(header, parts, (info for _, _, info in kept)),
        tensors=tensors,
        step=step,
        step_key=next((k for k, name in CLOCKS.items() if name == key), ""),
        files=tuple(map(str, parts)),
        notes=tuple(notes),
        measures=measures_in({k.rpartition(".")[2]: v for k, v in told.items() if k not in CLOCKS}),
    )


def _with_heads(tensor: StoredTensor, heads: Heads, origin: str) -> StoredTensor:
    split = split_of(tensor.name, heads, origin)
    return replace(tensor, hints=replace(tensor.hints, split=split)) if split else tensor


def _format(header: Header, parts: Mapping[Path, Header], infos: Iterable[TensorInfo]) -> str:
    """Return the format in words, with the commonest element type."""
    sizes: dict[str, int] = {}
    for info in infos:
        name = info.type.name if info.type else f"type {info.type_code}"
        sizes[name] = sizes.get(name, 0) + info.size_bytes
    most = max(sizes, key=lambda name: sizes[name])
    several = f", {len(parts)} parts" if len(parts) > 1 else ""
    return f"{FORMAT} v{header.version}, {most}{several}"


def _stored(path: Path, header: Header, info: TensorInfo) -> StoredTensor:
    hints = hints_of(info.name, info.shape)
    if info.type is None:
        reason = f"its type, number {info.type_code} of GGUF, is unknown to this version"
        return _refused(info, f"ggml type {info.type_code}", reason)
    dtype = PLAIN.get(info.type.name)
    if dtype is not None:
        big_endian = header.big_endian and info.type.block_bytes > 1
        extent = Extent(str(path), info.offset, dtype, info.shape, big_endian=big_endian)
        return StoredTensor(info.name, extent, hints)
    reason = ""
    if header.big_endian:
        reason = f"blocks of {info.type.name} are dequantised in little-endian files only"
    elif info.type.name in WITHOUT_MEANING:
        reason = f"dequantising {info.type.name} is not supported"
    if reason:
        return _refused(info, info.type.name.lower(), reason)
    load = partial(_dequantised, path, info)
    return StoredTensor(info.name, HiddenValues(load, "float32", info.shape), hints)


def _refused(info: TensorInfo, dtype: str, reason: str) -> StoredTensor:
    tensor = refused(info.name, dtype, info.shape, reason)
    return replace(tensor, hints=hints_of(info.name, info.shape))


def _dequantised(path: Path, info: TensorInfo) -> npt.NDArray[Any]:
    """Return dequantised values.

    Raises:
        FormatError: If the file has become shorter since it was described.
        MissingLibraryError: If the package `gguf` is not installed.
        UnsupportedDtypeError: If the installed package does not support the type.
    """
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError as error:
        raise MissingLibraryError("gguf", "gguf", "dequantising a GGUF file") from error
    if 0 in info.shape:
        return np.zeros(info.shape, np.float32)
    with claims_of(path, FORMAT), path.open("rb") as file:
        raw = _blocks(file, info)
    name = info.type.name if info.type else ""
    try:
        kind = GGMLQuantizationType[name]
        with np.errstate(all="ignore"):  # damaged blocks may have any scale
            values = quants.dequantize(raw, kind)
    except (KeyError, NotImplementedError) as error:
        raise UnsupportedDtypeError(
            f"tensor {quoted(info.name)} is of type {name}, which the installed package gguf does "
            "not dequantise; install a newer one with: pip install -U gguf"
        ) from error
    return np.asarray(values, dtype=np.float32).reshape(info.shape)


def _blocks(file: IO[bytes], info: TensorInfo) -> npt.NDArray[np.uint8]:
    """Return the blocks of a tensor, with one row per row of the tensor."""
    content = Stretch(info.offset, info.size_bytes).read(file, f"tensor {quoted(info.name)}")
    return np.frombuffer(content, np.uint8).reshape(math.prod(info.shape[:-1]), -1)
