"""Indexes of sharded models: ``*.index.json`` maps each tensor to a file.

Hugging Face writes the same index for shards of safetensors and of torch.save. The index is
followed, not a file pattern: shards of another save may be in the same folder.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, Final

from accweight_adapters.untrusted import ClaimError, quoted
from accweight_core.schema import StoredTensor

MAX_INDEX_BYTES: Final = 100_000_000

RECURRENT = re.compile(r"(?P<what>weight|bias)_(?P<matrix>ih|hh)(?P<of>.*)")
"""PyTorch's names of the parameters of recurrent layers."""


def index_in(path: Path, format_name: str) -> dict[str, Any]:
    """Return the content of an index; raise `ClaimError` if `path` is anything else."""
    with path.open("rb") as file:  # read(n) allocates n bytes, even for a short file
        size_bytes = file.seek(0, io.SEEK_END)
        file.seek(0)
        text = file.read(min(size_bytes, MAX_INDEX_BYTES + 1))
    if len(text) > MAX_INDEX_BYTES or b'"weight_map"' not in text:
        raise ClaimError(f"not an index of {format_name} files: it has no weight_map")
    return parsed(text)


def names_shards(index: Mapping[str, Any], suffixes: tuple[str, ...]) -> bool:
    """Tell whether an index places every tensor in a file with one of `suffixes`."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not {*map(type, places.values())} <= {str}:
        return False
    return all(file.endswith(suffixes) for file in {*places.values()})


def index_of_shards(path: Path, format_name: str, suffixes: tuple[str, ...]) -> dict[str, Any]:
    """Return the content of an index whose ``weight_map`` maps every tensor to a file."""
    index = index_in(path, format_name)
    if not names_shards(index, suffixes):
        problem = f"not an index of {format_name} files: no weight_map from names to files"
        raise ClaimError(problem)
    return index


def shard_path(index: Path, name: str, part: str = "shard", whole: str = "the index") -> Path:
    """Return the path of a part, which must be next to the index, after resolving links.

    If the index is a link, the part may also be next to its target, as in Hugging Face's cache.

    Args:
        index: The file that names the part.
        name: Name of the part.
        part: What the part is called in messages.
        whole: What the index is called in messages.
    """
    path = index.parent / name
    if not name or Path(name).name != name or "\\" in name or not name.isprintable():
        raise ClaimError(f"names a {part} {quoted(name)}; expected a file name, without folders")
    if not path.is_file():
        raise ClaimError(f"its {part} {quoted(name)} is missing; copy it beside {whole}")
    if path.resolve().parent not in (index.parent.resolve(), index.resolve().parent):
        raise ClaimError(
            f"its {part} {quoted(name)} is a link that leads out of the index's folder"
        )
    return path


def parsed(text: bytes) -> dict[str, Any]:
    """Return a JSON object in which every key is unique."""
    try:
        content = json.loads(text, parse_constant=_no_constant)
        if _keys_in([content]) != text.count(b":"):
            content = json.loads(
                text, object_pairs_hook=_without_repeats, parse_constant=_no_constant
            )
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"its JSON is damaged: {quoted(str(error), limit=160)}") from error
    if not isinstance(content, dict):
        raise ClaimError("its JSON is not an object")
    return content


def _keys_in(content: list[Any]) -> int:
    """Return how many keys the objects of a document have.

    Every key is followed by a colon, and strings may have more: a document with no more colons than
    keys has no repeated key, so thousands of objects need no check one by one.
    """
    count, level = 0, content
    while level:
        objects = [value for value in level if type(value) is dict]
        count += sum(map(len, objects))
        lists = [value for value in level if type(value) is list]
        inside = chain.from_iterable((*map(dict.values, objects), *lists))
        level = [value for value in inside if type(value) is dict or type(value) is list]
    return count


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key comes twice in one object")
    return entries


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def notes_of(entries: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the entries under ``metadata``."""
    metadata = entries.get("metadata")
    if metadata is None:  # not there, or null
        return {}
    if not isinstance(metadata, dict):
        raise ClaimError("its metadata is not an object")
    return metadata


def in_natural_order(tensors: Mapping[str, StoredTensor]) -> tuple[StoredTensor, ...]:
    """Return tensors in natural order of names, for formats without an order.

    ``layer2`` comes before ``layer10``, the tensors of one module stay together, and its
    weight comes before its bias.
    """
    return tuple(tensors[name] for name in _ordered(tuple(tensors)))


@lru_cache(maxsize=8)
def _ordered(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names in natural order; cached, as the checkpoints of a run share their names."""
    return tuple(sorted(names, key=_place))


def _place(name: str) -> tuple[list[list[str | int]], int, list[str | int], str]:
    *modules, leaf = name.split(".")
    if gates := RECURRENT.fullmatch(leaf):  # matrices before biases, inputs first
        order = f"{gates['of']} {gates['what'] == 'bias':d} {gates['matrix'] == 'hh':d}"
        return [natural(module) for module in modules], 2, natural(order), name
    rank = {"weight": 0, "bias": 1}.get(leaf, 3)
    return [natural(module) for module in modules], rank, natural(leaf), name


def natural(text: str) -> list[str | int]:
    """Split into alternating strings and numbers, so that equal positions are comparable."""
    parts = re.split(r"([0-9]+)", text)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]
