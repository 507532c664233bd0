"""What all pages share: the template engine, which escapes, and the files that go into them.

Everything that comes from files is escaped: in the text by Jinja2, in the data for scripts by
`embedded`. A policy in every page forbids it to load anything.
"""

from __future__ import annotations

import json
from html import escape
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from accweight_core.colours.themes import DARK, LIGHT, Theme
from accweight_core.errors import MissingLibraryError
from accweight_core.graphs.layout import SCRIPTS as LAYOUT
from accweight_core.graphs.layout import script as layout_script
from accweight_core.reports.formatting import ends, number_text, sentence
from accweight_core.text import count, plain

MOST_ROWS = 30
"""Rows of a table that are shown at first; a button shows the others."""


def rendered(template: str, folder: Traversable | None = None, **values: Any) -> str:
    """Return a page, with the style and the scripts that all pages have.

    Args:
        template: Its file in `assets`.
        folder: Where else templates are looked for first.
        values: What it shows.

    Raises:
        MissingLibraryError: If Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError:
        raise MissingLibraryError("jinja2", "report", "writing a report") from None
    environment = Environment(
        loader=FunctionLoader(lambda name: _template(name, folder)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "command": _unbroken,
        "count": count,
        "ends": ends,
        "number": number_text,
        "percent": lambda share: f"{share:.1%}",
        "plain": plain,
        "sentence": sentence,
        "shape": lambda shape: " \N{MULTIPLICATION SIGN} ".join(map(str, shape)) or "scalar",
        "short": lambda value: f"{value:.2g}",
    }
    text = environment.get_template(template).render(
        **values,
        most_rows=MOST_ROWS,
        style=_style(),
        chart_style=asset("uPlot.min.css"),
        chart_script=asset("uPlot.iife.min.js"),
    )
    return text.lstrip()


def _unbroken(command: str) -> str:
    """Return a command as HTML whose words do not break at their hyphens, as in "--" and "html"."""
    words = map(escape, command.split(" "))
    return " ".join(f'<span class="word">{w}</span>' if "-" in w else w for w in words)


def _template(name: str, folder: Traversable | None) -> str:
    """Return the text of a template, that of a folder before one of all pages."""
    own = None if folder is None else folder / name
    return own.read_text("utf-8") if own is not None and own.is_file() else asset(name)


SCRIPTS = (
    "probe_time.js", "probe_curves.js", "probe_pictures.js", "probe_points.js", "probe_maps.js",
    "probe_network.js", "probe_ridges.js", "probe_columns.js", "probes.js",
)  # fmt: skip


def probe_script() -> str:
    """Return what draws the views of probes, as one script that leaves no names behind."""
    return "\n".join(['"use strict";', "(() => {", *map(asset, SCRIPTS), "})();"])


def graph_script() -> str:
    """Return what lays out and draws graphs."""
    return "\n".join([*map(layout_script, LAYOUT), asset("graph.js")])


def embedded(document: Any) -> str:
    """Return values as JSON that cannot end the element of the page that it is in."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def asset(name: str) -> str:
    """Return the text of a file in `assets`."""
    return (files("accweight_core.reports") / "assets" / name).read_text("utf-8")


def _style() -> str:
    """Return the style with the colours of the themes."""
    text = asset("style.css")
    for name, theme in (("LIGHT", LIGHT), ("DARK", DARK)):
        text = text.replace(f"@{name}@", _variables(theme))
    return text


def _variables(theme: Theme) -> str:
    named = {
        "page": theme.page,
        "panel": theme.panel,
        "raised": theme.raised,
        "line": theme.line,
        "ink": theme.ink,
        "dim": theme.dim,
        "accent": theme.accent,
        "bar": theme.bar,
        "link": theme.curves[0],
        "curve": theme.curves[0],
        "faint": theme.frame,
        "mat": DARK.gap,
        "select": f"{theme.curves[0]}33",
        **{f"curve-{place}": colour for place, colour in enumerate(theme.curves)},
        **{f"class-{place}": colour for place, colour in enumerate(theme.classes)},
    }
    return " ".join(f"--{name}: {colour};" for name, colour in named.items())
