"""Pictures of colour indices as PNG files, without a library for images."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import numpy.typing as npt

from accweight_core.colours.scale import Colours, Entries


def indexed_png(entries: Entries, colours: Colours) -> bytes:
    """Return a PNG file with a palette, in which index 255 is transparent.

    Args:
        entries: (rows, columns) indices of colours; 255 for none.
        colours: (255, 3).
    """
    rows, cols = entries.shape
    palette = np.concatenate([colours, np.zeros((1, 3), np.uint8)]).astype(np.uint8)
    opacity = bytes([255] * len(colours) + [0])
    lines = np.zeros((rows, cols + 1), np.uint8)  # each begins with its filter, 0 for none
    lines[:, 1:] = entries
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", cols, rows, 8, 3, 0, 0, 0),
        b"PLTE": palette.tobytes(),
        b"tRNS": opacity,
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts.items())


def pixel_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return a PNG file of pixels as they are.

    Args:
        pixels: (rows, columns, channels) of bytes, with 1 channel for grey or 3 for RGB.
    """
    rows, cols, channels = pixels.shape
    lines = np.zeros((rows, cols * channels + 1), np.uint8)  # each begins with its filter
    lines[:, 1:] = pixels.reshape(rows, cols * channels)
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", cols, rows, 8, 0 if channels == 1 else 2, 0, 0, 0),
        b"IDAT": zlib.compress(lines.tobytes(), 9),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts.items())


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
