"""The picture of a packed parameter: a slice of the array of its pack."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.store.zarr_chunks import Index, StoredArray


class PackedPicture:
    """The picture of one parameter in the array of its pack: (steps, rows, columns)."""

    def __init__(self, array: StoredArray, first: int, rows: int, cols: int) -> None:
        """View a slice of an array as a picture.

        Args:
            array: Array of the pack, (steps, texels).
            first: First texel of the picture.
            rows: Height of the picture.
            cols: Width of the picture.
        """
        self._array = array
        self._texels = slice(first, first + rows * cols)
        self.shape = (array.shape[0], rows, cols)

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        """Return a part of the picture as a copy; NaN where a chunk is missing.

        Args:
            index: Positions, and slices of step 1, along the first axes.

        Raises:
            IndexError: If the index is out of range.
            StoreError: If the pack is damaged or cannot be read.
        """
        given = index if isinstance(index, tuple) else (index,)
        if len(given) > len(self.shape):
            raise IndexError(f"a picture has {len(self.shape)} axes, not {len(given)}")
        for item in given:
            if isinstance(item, slice) and item.step not in (None, 1):
                raise IndexError(f"a picture is read in steps of 1, not {item.step}")
        steps, *within = (i if isinstance(i, slice) else operator.index(i) for i in given)
        values = np.asarray(self._array[steps, self._texels])
        picture = values.reshape(*values.shape[:-1], *self.shape[1:])
        part = picture[:, *within] if isinstance(steps, slice) else picture[*within]
        return np.array(part)
