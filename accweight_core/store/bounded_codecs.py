"""Codecs of zarr that refuse chunks which unpack to more than their array can need.

zarr allocates whatever size a compressed chunk claims. A chunk of 10 kB can claim 10 GB, so these
codecs measure it first, piece by piece. Import this module only where zarr is installed.
"""

from __future__ import annotations

import math
import struct
import sys
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from zarr.codecs import BloscCodec, GzipCodec, ShardingCodec, ZstdCodec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MOST_ELEMENT_BYTES = 16
SLACK_BYTES = 1 << 16
"""Allowed beside the elements: a shard has an index, a codec within another one a header."""

PIECE_BYTES = 1 << 20
GZIP = zlib.MAX_WBITS | 16


def bounded(codecs: Iterable[Any]) -> tuple[Any, ...]:
    """Return codecs with the unpacking ones, also those inside shards, replaced by bounded ones."""
    return tuple(_bounded(codec) for codec in codecs)


def _bounded(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        inner = bounded(codec.codecs)
        return replace(codec, codecs=inner, index_codecs=bounded(codec.index_codecs))
    for kind, own in ((GzipCodec, _Gzip), (ZstdCodec, _Zstd), (BloscCodec, _Blosc)):
        if isinstance(codec, kind):
            return own.from_dict(codec.to_dict())
    return codec


class _Gzip(GzipCodec):
    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        _check_gzip(chunk_bytes.to_bytes(), _most_bytes(chunk_spec))
        return await super()._decode_single(chunk_bytes, chunk_spec)


class _Zstd(ZstdCodec):
    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        _check_zstd(chunk_bytes.to_bytes(), _most_bytes(chunk_spec))
        return await super()._decode_single(chunk_bytes, chunk_spec)


class _Blosc(BloscCodec):
    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        _check_blosc(chunk_bytes.to_bytes(), _most_bytes(chunk_spec))
        return await super()._decode_single(chunk_bytes, chunk_spec)


def _most_bytes(chunk_spec: Any) -> int:
    shape: tuple[int, ...] = chunk_spec.shape
    return MOST_ELEMENT_BYTES * math.prod(shape) + SLACK_BYTES


def _check_gzip(data: bytes, most_bytes: int) -> None:
    left = most_bytes
    while data:
        member = zlib.decompressobj(wbits=GZIP)
        while not member.eof:
            piece = member.decompress(data, PIECE_BYTES)
            data = member.unconsumed_tail
            left -= len(piece)
            _check(left, most_bytes)
            if not piece and not data and not member.eof:
                return  # it is cut, which the codec itself reports
        data = member.unused_data


def _check_zstd(data: bytes, most_bytes: int) -> None:
    left = most_bytes
    while data:
        frame = zstd.ZstdDecompressor()
        while not frame.eof:
            piece = frame.decompress(data, PIECE_BYTES)
            data = b""
            left -= len(piece)
            _check(left, most_bytes)
            if not piece and frame.needs_input:
                return  # it is cut, which the codec itself reports
        data = frame.unused_data


def _check_blosc(data: bytes, most_bytes: int) -> None:
    if len(data) >= 8:
        _check(most_bytes - struct.unpack_from("<I", data, 4)[0], most_bytes)


def _check(left: int, most_bytes: int) -> None:
    if left < 0:
        raise ValueError(f"a chunk unpacks to more than {most_bytes} bytes, which it cannot need")
