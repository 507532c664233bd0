"""Which elements of a parameter are NaN or infinite, from the checkpoints.

An analysis counts them per step; where they are, only the checkpoints tell. Masks travel as bits,
compressed: a parameter that is NaN as a whole is a few bytes.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from accweight_core.accumulate.block import common_dtype
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.schema import Checkpoint, Parameter

Mask = npt.NDArray[np.bool_]

BLOCK_ELEMENTS = 1 << 20


def nonfinite_elements(
    checkpoints: Sequence[Checkpoint], parameter: Parameter, files: OpenFiles
) -> list[Mask]:
    """Return (elements,) per checkpoint, in C order: where a weight is NaN or infinite.

    Raises:
        FormatError: If a file is missing, truncated, or modified while it is read.
    """
    tensors = [checkpoint.tensors[parameter.name] for checkpoint in checkpoints]
    dtype = common_dtype(tensors)
    masks = [np.empty(parameter.elements, np.bool_) for _ in tensors]
    for start in range(0, parameter.elements, BLOCK_ELEMENTS):
        stop = min(start + BLOCK_ELEMENTS, parameter.elements)
        block = np.empty(stop - start, dtype)
        for tensor, mask in zip(tensors, masks, strict=True):
            read_stretch(files, tensor, start, stop, block)
            mask[start:stop] = ~np.isfinite(block)
    return masks


def packed(mask: Mask) -> str:
    """Return a mask as text.

    >>> unpacked(packed(np.array([True, False, True])), 3).tolist()
    [True, False, True]
    """
    return base64.b64encode(zlib.compress(np.packbits(mask).tobytes(), 1)).decode()


def unpacked(text: str, elements: int) -> Mask:
    """Return the mask in a text; the inverse of `packed`."""
    size = -(-elements // 8)
    bits = zlib.decompressobj().decompress(base64.b64decode(text), size)
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=elements).astype(np.bool_)
