"""torch.export archives (`.pt2`): the weights are raw records, described by a file of JSON.

The program itself is not read. Archives of torch before 2.7 keep the weights in another file of
torch.save inside; they are refused with the way to convert them.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping
from typing import IO, Any, Final

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.pickles.values import StorageClaim, TensorClaim
from accweight_adapters.torch.records import bytes_of, stored_stretch
from accweight_adapters.untrusted import (
    ClaimError,
    checked_shape,
    checked_size,
    checked_sizes,
    quoted,
)
from accweight_core.dtypes import DTYPES

WEIGHTS = re.compile(r"(?P<folder>(?:[^/]+/)?data/weights/)(?P<model>[^/]+)_weights_config\.json")
OLDER: Final = frozenset({"serialized_state_dict.pt", "serialized_state_dict.json"})
MOST_JSON_BYTES: Final = 1 << 26

ELEMENT_TYPES: Final = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    10: "complex64",
    11: "complex128",
    12: "bool",
    13: "bfloat16",
    28: "uint16",
    29: "float8_e4m3fn",
    30: "float8_e5m2",
    31: "float8_e4m3fnuz",
    32: "float8_e5m2fnuz",
}
"""Element types by their number in `torch._export.serde.schema.ScalarType`."""

Records = Mapping[str, zipfile.ZipInfo]


def is_export(names: Mapping[str, object] | list[str]) -> bool:
    """Tell by the names in a zip whether torch.export wrote it."""
    return any(name in OLDER or WEIGHTS.fullmatch(name) for name in names)


def exported(
    file: IO[bytes], records: Records, size_bytes: int
) -> tuple[dict[str, Any], dict[str, Stretch]]:
    """Return the state dict of an archive, and the byte ranges of its storages.

    Raises:
        ClaimError: If it is of an older version, or its JSON is damaged.
    """
    found = [match for name in records if (match := WEIGHTS.fullmatch(name))]
    if not found:
        raise ClaimError(
            "a torch.export archive of torch before 2.7, which is not read here; convert it in the "
            "environment that made it: torch.save(torch.export.load(PATH).state_dict, NEW)"
        )
    content: dict[str, Any] = {}
    storages: dict[str, Stretch] = {}
    for match in found:
        entries = _entries(file, records[match[0]], size_bytes)
        claims = {}
        for name, entry in entries.items():
            key = match["folder"] + str(entry.get("path_name"))
            if key not in records:
                raise ClaimError(f"tensor {quoted(name)} is in {quoted(key)}, which is missing")
            storages[key] = stored_stretch(file, records[key], size_bytes)
            claims[name] = _claim(entry, key, storages[key])
        content[match["model"]] = claims
    return (content if len(found) > 1 else next(iter(content.values()))), storages


def _entries(file: IO[bytes], info: zipfile.ZipInfo, size_bytes: int) -> dict[str, dict[str, Any]]:
    try:
        if info.file_size > MOST_JSON_BYTES:
            raise ValueError("it is too long")
        entries = json.loads(bytes_of(file, info, size_bytes))["config"]
        if not all(isinstance(entry, dict) for entry in entries.values()):
            raise TypeError("an entry is not a JSON object")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = quoted(str(error), limit=160)
        raise ClaimError(f"its list of weights is damaged: {reason}") from error
    return dict(entries)


def _claim(entry: Mapping[str, Any], key: str, stretch: Stretch) -> TensorClaim:
    """Return a tensor from its entry: element type, sizes, strides and offset."""
    meta = entry.get("tensor_meta")
    meta = meta if isinstance(meta, dict) else {}
    dtype = ELEMENT_TYPES.get(meta.get("dtype", 0), "")
    shape = checked_shape(_numbers(meta.get("sizes")))
    strides = checked_sizes(_numbers(meta.get("strides")), "a stride")
    if entry.get("use_pickle") or not dtype or len(strides) != len(shape):
        reason = "a tensor subclass, or of a type without exact meaning as a float here"
        return TensorClaim(dtype or "float32", shape, refusal=reason)
    (offset,) = _numbers([meta.get("storage_offset")])
    size = stretch.size_bytes // DTYPES[dtype].size_bytes * DTYPES[dtype].size_bytes
    storage = StorageClaim(key, dtype, 0, size)
    return TensorClaim(dtype, shape, storage, checked_size(offset, "a storage offset"), strides)


def _numbers(values: object) -> list[Any]:
    """Return the numbers in ``[{"as_int": 3}, ...]``."""
    items = values if isinstance(values, list) else []
    return [item.get("as_int") if isinstance(item, dict) else item for item in items]
