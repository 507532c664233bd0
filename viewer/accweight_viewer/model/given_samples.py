"""Samples that the user gives beside an analysis, to which points and pictures of probes lead.

Results name samples by their number in the data. So they lead there even if the probe has kept
none, because they were too many, or larger than it keeps them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.samples.opening import open_samples
from accweight_core.samples.pictures import Pictures, sample_pictures
from accweight_core.samples.samples import Array, Data, Input

Rows = npt.NDArray[np.int64]

SIDE = 64
"""Most pixels along a side of a picture; images of a folder get this size."""

ANYTHING = (Input("input", None, None),)
IMAGES = (Input("input", None, (0, 3, 0, 0)),)
"""What samples are read for: pictures, whatever network they were for."""


class GivenSamples:
    """The samples in a file or folder.

    Attributes:
        data: The samples.
    """

    def __init__(self, data: Data) -> None:
        self.data = data
        self._known: dict[Path, tuple[str, Rows]] = {}

    @classmethod
    def read(cls, path: Path) -> GivenSamples:
        """Return the samples in an `.npz`, an `.npy` or a folder of images.

        Raises:
            SourceError: If there is nothing at the path.
            FormatError: If it holds no samples, or is damaged.
            MissingLibraryError: If images need a library that is not installed.
        """
        if path.is_dir():
            return cls(open_samples(path, IMAGES, resize=(SIDE, SIDE)))
        return cls(open_samples(path, ANYTHING))

    @property
    def name(self) -> str:
        """Name of the file or folder."""
        return self.data.path.name

    def obstacle(self, result: ProbeResult) -> str:
        """Return why these cannot be the samples of a result; '' if they can."""
        return self._found(result)[0]

    def pictures(
        self, result: ProbeResult, places: npt.NDArray[np.int64] | None = None, side: int = SIDE
    ) -> Pictures | None:
        """Return samples of a result as pictures; None if they are others, or no pictures.

        Args:
            result: The result.
            places: Places among its samples; all by default.
            side: Most pixels along a side.

        Returns:
            (places, height, width, channels).
        """
        obstacle, rows = self._found(result)
        if obstacle or (places is not None and len(places) and places.max() >= len(rows)):
            return None
        return sample_pictures(self.data, rows if places is None else rows[places], side)

    def _found(self, result: ProbeResult) -> tuple[str, Rows]:
        """Return why these are not the samples of a result, and their numbers; kept."""
        if result.path not in self._known:
            rows = _numbers(result.attributes.get("rows"))
            self._known[result.path] = self._mismatch(result, rows), rows
        return self._known[result.path]

    def _mismatch(self, result: ProbeResult, rows: Rows) -> str:
        if not len(rows):
            return "the result does not say which samples it is of"
        if int(rows.max()) >= len(self.data):
            return f"{self.name} has {len(self.data)} samples, the result is of others"
        told, own = _numbers(result.attributes.get("targets")), _classes(self.data.targets)
        both = own is not None and len(told) == len(rows)
        if both and own is not None and not np.array_equal(own[rows], told):
            return f"{self.name} has other classes than the result: other samples"
        return ""


def _numbers(given: object) -> Rows:
    """Return whole numbers, none below 0, from what a result says; none if it says others."""
    found = given if isinstance(given, list) else []
    if not all(isinstance(one, int) and one >= 0 for one in found):
        return np.zeros(0, np.int64)
    return np.array(found, np.int64)


def _classes(targets: Array) -> npt.NDArray[np.int64] | None:
    """Return (samples,) classes; None if targets are something else."""
    flat = targets.reshape(len(targets), -1)
    if flat.shape[1] != 1 or not np.array_equal(flat, np.rint(flat)):
        return None
    return flat[:, 0].astype(np.int64)
