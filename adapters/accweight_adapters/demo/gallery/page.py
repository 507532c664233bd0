"""The page of the gallery: one file that opens without a network, with a section per system."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from accweight_adapters.demo.gallery.made import Made
from accweight_adapters.demo.gallery.system import Content, System, Truth
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.probe_pair import share_scales
from accweight_core.reports.templates import embedded, graph_script, probe_script, rendered

TEMPLATE = "gallery.html"


def write_page(
    systems: Sequence[System],
    made: Made,
    truths: Sequence[Sequence[Truth]],
    out: Path,
    seed: int = 0,
) -> Path:
    """Write the page, replacing an older one; return its path.

    Args:
        systems: What it shows, in this order.
        made: Networks and results.
        truths: What was planted and found, per system.
        out: The file.
        seed: Seed of the networks, for the command that makes the page again.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
        StoreError: If it cannot be written.
    """
    shown = [[part.content(made) for part in system.parts] for system in systems]
    for system, parts in zip(systems, shown, strict=True):
        if system.beside:
            share_scales(parts)
    graphs = [part for parts in shown for part in parts if part.get("graph")]
    for number, part in enumerate(graphs):
        part["graph_number"] = number
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
        command=_command(out.parent, seed),
        version=version("accweight"),
        data=embedded({"runs": [part.pop("curves") for part in graphs]}),
        graph_data=embedded([part["graph"] for part in graphs]) if graphs else "",
        graph_script=graph_script(),
        probe_data=embedded([[_without_graph(part) for part in parts] for parts in shown]),
        probe_script=probe_script(),
    )
    path = target_at(out, "a page")
    with replaced_whole(path, overwrite=True) as draft:
        draft.write_text(text, "utf-8")
    return path


def _command(folder: Path, seed: int) -> str:
    """Return the command that makes the gallery again."""
    words = ["accweight", "demo", "--gallery", "--out", str(folder)]
    return shlex.join([*words, "--seed", str(seed)] if seed else words)


def _without_graph(part: Content) -> Content:
    """Return a part without what another script draws."""
    return {name: value for name, value in part.items() if name != "graph"}
