"""The metadata of an array, `zarr.json`: what every array must say, and what ours say."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from accweight_core.store.documents import MOST_AXES, Shape
from accweight_core.store.groups import encoded


class _Regular(Struct, frozen=True):
    chunk_shape: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2**63 - 1)], ...], Meta(max_length=MOST_AXES)
    ]


class _Grid(Struct, frozen=True):
    configuration: _Regular


class ArrayDocument(Struct, frozen=True):
    """The metadata fields that every readable array must have."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Shape
    data_type: str
    chunk_grid: _Grid
    attributes: dict[str, Any] = {}

    @property
    def chunk(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return self.chunk_grid.configuration.chunk_shape


def array_metadata(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Return the metadata of an uncompressed array without attributes."""
    grid = {"name": "regular", "configuration": {"chunk_shape": list(chunk)}}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "chunk_grid": grid,
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0 if dtype == "uint8" else "NaN",
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "attributes": {},
        "storage_transformers": [],
    }


@lru_cache(maxsize=256)
def encoded_metadata(shape: tuple[int, ...], chunk: tuple[int, ...], dtype: str) -> bytes:
    """Return the encoded metadata of an array; cached, as models have many equal shapes."""
    return encoded(array_metadata(shape, chunk, dtype))
