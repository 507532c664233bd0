"""The page of the gallery: one file that opens without a network, with a section per system."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.system import System, Truth
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.templates import embedded, probe_script, rendered

TEMPLATE = "gallery.html"


def write_page(
    systems: Sequence[System], made: Made, truths: Sequence[Sequence[Truth]], out: Path
) -> Path:
    """Write the page, replacing an older one; return its path.

    Args:
        systems: What it shows, in this order.
        made: Networks and results.
        truths: What was planted and found, per system.
        out: The file.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
        StoreError: If it cannot be written.
    """
    shown = [[part.content(made) for part in system.parts] for system in systems]
    sections = [
        {
            "system": system,
            "parts": parts,
            "truths": own,
            "holds": all(truth.holds for truth in own),
            "commands": [shlex.join(words) for words in system.commands(made)],
        }
        for system, parts, own in zip(systems, shown, truths, strict=True)
    ]
    text = rendered(
        TEMPLATE,
        files("accweight_adapters.demo.gallery") / "assets",
        sections=sections,
        truths=[truth for own in truths for truth in own],
        networks=sorted({part.network.name for system in systems for part in system.parts}),
        version=version("accweight"),
        probe_data=embedded(shown),
        probe_script=probe_script(),
    )
    path = target_at(out, "a page")
    with replaced_whole(path, overwrite=True) as draft:
        draft.write_text(text, "utf-8")
    return path
