"""What probes have found in two runs, side by side: a page, and figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accweight_core.analysis.probe_pairs import ProbePair, probe_pairs
from accweight_core.cli.command_line import command_line
from accweight_core.remote import shown

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis


def write_beside(
    runs: Sequence[tuple[str, Analysis]], html: str | None, png: str | None
) -> dict[str, Any]:
    """Write what probes have found in two runs; return the files by "html" and "drawn".

    Args:
        runs: The two, by the names that the user gave.
        html: A page to write.
        png: A folder for figures.

    Raises:
        UnknownNameError: If no probe has results in both.
        MissingLibraryError: If a library for pages or figures is not installed.
        StoreError: If a file cannot be written, or a result is damaged.
    """
    if not (html or png):
        return {}
    names = told_apart([name for name, _ in runs])
    (_, left), (_, right) = runs
    pairs = probe_pairs(left.probes, right.probes, names)
    written: dict[str, Any] = {}
    if png:
        written["drawn"] = [str(path) for path in _write_figures(pairs, names, png)]
    if html:
        from accweight_core.reports.probe_pair import pair_page

        written["html"] = str(pair_page(pairs, names, html, command=command_line(), overwrite=True))
    return written


def written_lines(written: dict[str, Any]) -> list[str]:
    """Return what `write_beside` has written, for people."""
    page = [f"written: {written['html']}"] if "html" in written else []
    return [*(f"drawn: {path}" for path in written.get("drawn", ())), *page]


def told_apart(sources: Sequence[str]) -> list[str]:
    """Return the names of analyses without their folders, if these tell them apart.

    >>> told_apart(["runs/a.accw", "runs/b.accw"]), told_apart(["a/run.accw", "b/run.accw"])
    (['a', 'b'], ['a/run.accw', 'b/run.accw'])
    """
    whole = [shown(source).rstrip("/") for source in sources]
    short = [Path(source).name.removesuffix(".accw") for source in whole]
    return short if len(set(short)) == len(short) else whole


def _write_figures(pairs: dict[str, ProbePair], names: Sequence[str], folder: str) -> list[Path]:
    from accweight_core.analysis.figures.plots import check_can_draw, write_figure

    check_can_draw()
    from accweight_core.analysis.figures.of_probes.beside import beside, figures_beside
    from accweight_core.cli.probes import folder_of_figures

    home = folder_of_figures(folder)
    return [
        write_figure(beside(draws, names), home / f"{figure}.png", overwrite=True)
        for figure, draws in figures_beside(pairs).items()
    ]
