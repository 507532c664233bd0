"""One page with what the same probes have found in two runs, side by side on one time line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.analysis.probe_pairs import ProbePair
from accweight_core.analysis.probe_scales import curve_scale
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.probe_content import Content, probe_content
from accweight_core.reports.probe_views import Room
from accweight_core.reports.templates import embedded, probe_script, rendered


def pair_page(
    pairs: Mapping[str, ProbePair],
    names: Sequence[str],
    out: str | os.PathLike[str],
    *,
    command: str = "",
    overwrite: bool = False,
) -> Path:
    """Write a page with the results of two runs side by side; return its path.

    Args:
        pairs: What was found in both, as `probe_pairs` returns it.
        names: The two runs, as the page calls them.
        out: File to write.
        command: The command that makes the page again.
        overwrite: Replace the file if it exists.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
        StoreError: If a result is damaged, or the file exists or cannot be written.
    """
    path = target_at(out, "a page")
    with replaced_whole(path, overwrite=overwrite) as draft:
        found = [_content(pair) for pair in pairs.values()]
        page = rendered(
            "probe_pair.html",
            title=" | ".join(names),
            names=list(names),
            found=found,
            command=command,
            version=version("accweight"),
            probe_data=embedded([[side for pair in found for side in pair["sides"]]]),
            probe_script=probe_script(),
        )
        draft.write_text(page, "utf-8")
    return path


def _content(pair: ProbePair) -> Content:
    """Return what is said of both results: what both have in common, and what each side has."""
    sides = [probe_content(result, Room()) for result in pair]
    share_scales(sides)
    return {
        **{key: sides[0][key] for key in ("name", "of", "what", "reading")},
        "differing": pair.differing,
        "sides": sides,
    }


def share_scales(sides: Sequence[Content]) -> None:
    """Give the views of the same arrays of two results the same scales.

    Args:
        sides: As `probe_content` returns them; curves, matrices and links are changed.
    """
    left, right = ({view["name"]: view for view in side["views"]} for side in sides)
    steps = [step for side in sides for step in side["steps"]]
    for name in left.keys() & right.keys():
        both = left[name], right[name]
        if "charts" in both[0] and "charts" in both[1]:
            _share_curves(both, [min(steps), max(steps)])
        for key, chosen in (("low", min), ("high", max)):
            if all(key in view for view in both):
                value = chosen(view[key] for view in both)
                for view in both:
                    view[key] = value


def _share_curves(both: Sequence[Content], span: Sequence[int]) -> None:
    """Give charts of the same names the same axes."""
    charts = [{chart["name"]: chart for chart in view["charts"]} for view in both]
    for view in both:
        view["span"] = list(span)
    for name in charts[0].keys() & charts[1].keys():
        own = [side[name] for side in charts]
        values = [v for chart in own for v in _known([*chart["lines"], *chart["band"]])]
        if values:
            scale = curve_scale(np.array(values))
            for chart in own:
                chart |= {"range": [scale.low, scale.high], "log": scale.logarithmic}


def _known(lines: Iterable[Iterable[Any]]) -> list[float]:
    return [value for line in lines for value in line if value is not None]
