"""One page with what some probes have found, to be sent: it needs nothing else, and no network."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from accweight_core.analysis.probe_results import ProbeResult, Probes
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.probe_content import Content, probe_content
from accweight_core.reports.probe_views import Room
from accweight_core.reports.templates import embedded, probe_script, rendered
from accweight_core.text import steps_said


def probe_page(
    results: Sequence[ProbeResult],
    out: str | os.PathLike[str],
    *,
    command: str = "",
    commands: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a page with the results of probes of one run; return its path.

    Args:
        results: The results.
        out: File to write.
        command: The command that makes the page again.
        commands: The command that makes each result again, by the name of its folder.
        overwrite: Replace the file if it exists.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
        StoreError: If a result is damaged, or the file exists or cannot be written.
    """
    path = target_at(out, "a page")
    known = commands or {}
    homes = {result.path.parent.parent for result in results}
    titles = {folder: name for home in homes for folder, name in Probes(home).names.items()}
    with replaced_whole(path, overwrite=overwrite) as draft:
        found = [
            probe_content(
                result,
                Room(),
                known.get(result.path.name, ""),
                titles.get(result.path.name, ""),
            )
            for result in results
            if len(result.steps)
        ]
        draft.write_text(_html_of(found, results, command), "utf-8")
    return path


def _html_of(found: Sequence[Content], results: Sequence[ProbeResult], command: str) -> str:
    run = results[0].path.parent.parent.name if results else ""
    steps = sorted({step for one in found for step in one["steps"]})
    span = steps_said(steps, span=True)
    return rendered(
        "probe_page.html",
        title=run,
        lead=f"What the network does at every checkpoint: {span}.",
        found=found,
        command=command,
        version=version("accweight"),
        probe_data=embedded([found]),
        probe_script=probe_script(),
    )
