"""The figures of a probe's results in two runs, side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.image import imread

from accweight_core.analysis.figures.of_probes.choosing import Draw, figures_of
from accweight_core.analysis.figures.page import MARGIN, TITLE, Drawing, cut
from accweight_core.analysis.probe_names import in_files
from accweight_core.analysis.probe_pairs import ProbePair
from accweight_core.text import plain

DPI = 200
NAMES = 0.42
"""Inches of the names of the runs."""


def figures_beside(pairs: Mapping[str, ProbePair]) -> Mapping[str, tuple[Draw, Draw]]:
    """Return what draws each figure that both runs have, by a name for its file.

    Args:
        pairs: What was found in both runs, by names.
    """
    found: dict[str, tuple[Draw, Draw]] = {}
    called = in_files(pairs)
    for name, pair in pairs.items():
        left, right = (figures_of(result) for result in pair)
        found |= {f"{called[name]}-{one}": (left[one], right[one]) for one in left if one in right}
    return found


def beside(draws: Sequence[Draw], names: Sequence[str]) -> Drawing:
    """Draw figures side by side under the names of their runs, each as large as it is alone."""
    pictures = [_pixels(draw()) for draw in draws]
    sizes = [np.array(one.shape[1::-1]) / DPI for one in pictures]
    whole = Drawing(sum(float(w) for w, _ in sizes), max(float(h) for _, h in sizes) + NAMES)
    height, left = float(whole.get_size_inches()[1]), 0.0
    for picture, (wide, high), name in zip(pictures, sizes, names, strict=True):
        title = cut(plain(name), wide - 2 * MARGIN, TITLE, "bold", keep="end")
        whole.write(left + MARGIN, height - 0.36, title, TITLE, weight="bold")
        axes = whole.panel(left, height - NAMES - high, wide, high)
        axes.imshow(picture, aspect="auto", interpolation="none")
        left += wide
    return whole


def _pixels(figure: Drawing) -> npt.NDArray[np.float32]:
    """Return (height, width, channels) of a figure."""
    found: npt.NDArray[np.float32] = imread(io.BytesIO(figure.content("png", dpi=DPI)))
    return found
