"""A picture that shares an array with others: a slice of the texels."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import numpy.typing as npt

from accweight_core.store.array_part import Index, StoredArray


class PackedPicture:
    """One plane in the array of a pack or of a pyramid: (steps, rows, columns)."""

    def __init__(self, array: StoredArray, first: int, rows: int, cols: int) -> None:
        """View a slice of an array as a picture.

        Args:
            array: The array, (steps, texels).
            first: First texel of the picture.
            rows: Height of the picture.
            cols: Width of the picture.
        """
        self._array = array
        self._first = first
        self.shape = (array.shape[0], rows, cols)

    def __getitem__(self, index: Index, /) -> npt.NDArray[Any]:
        """Return a part of the picture as a copy; NaN where a chunk is missing.

        Args:
            index: Positions, and slices of step 1, along the first axes.

        Raises:
            IndexError: If the index is out of range.
            StoreError: If the array is damaged or cannot be read.
        """
        given = index if isinstance(index, tuple) else (index,)
        if len(given) > len(self.shape):
            raise IndexError(f"a picture has {len(self.shape)} axes, not {len(given)}")
        for item in given:
            if isinstance(item, slice) and item.step not in (None, 1):
                raise IndexError(f"a picture is read in steps of 1, not {item.step}")
        steps, *within = (i if isinstance(i, slice) else operator.index(i) for i in given)
        rows, cols = range(self.shape[1]), self.shape[2]
        if within:  # only these rows are read
            asked = within.pop(0)
            rows = rows[asked] if isinstance(asked, slice) else rows[rows[asked] :][:1]
            within.insert(0, slice(None) if isinstance(asked, slice) else 0)
        first = self._first + rows.start * cols
        values = np.asarray(self._array[steps, first : first + len(rows) * cols])
        picture = values.reshape(*values.shape[:-1], len(rows), cols)
        part = picture[:, *within] if isinstance(steps, slice) else picture[*within]
        return np.array(part)
