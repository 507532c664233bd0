"""Write a report."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from accweight_core.analysis.analysis import Analysis, as_analysis
from accweight_core.arguments import checked_choice
from accweight_core.errors import ArgumentValueError
from accweight_core.io.target import replaced_whole, target_at
from accweight_core.reports.content import Content, content_of
from accweight_core.reports.markdown import markdown_of
from accweight_core.reports.pages import html_of

Form = Literal["html", "md", "json"]


def report(
    *analyses: Analysis | str | os.PathLike[str],
    out: str | os.PathLike[str],
    form: Form = "html",
    by: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a report on one or several analyses; return its path.

    Args:
        analyses: The analyses, or their paths.
        out: File to write.
        form: "html" for one page that opens anywhere, "md" for Markdown, "json" for all values.
        by: Metric of the rankings; `relative` by default.
        overwrite: Replace the file if it exists.

    Raises:
        UnknownNameError: If there is no such metric.
        StoreError: If an analysis cannot be read, or the file exists or cannot be written.
        MissingLibraryError: If Jinja2 is not installed, for "html".
    """
    if not analyses:
        raise ArgumentValueError("a report needs at least one analysis")
    checked_choice(form, get_args(Form), "form")
    path = target_at(out, "a report")
    opened = [as_analysis(one) for one in analyses]
    with replaced_whole(path, overwrite=overwrite) as draft:
        content = content_of(opened, by, _command(opened, path, form, by))
        draft.write_text(_WRITERS[form](content), "utf-8")
    return path


def _command(analyses: Sequence[Analysis], out: Path, form: Form, by: str | None) -> str:
    """Return the command that makes the report again."""
    stores = [str(one.path) if one.path else "RUN.accw" for one in analyses]
    options = ["-o", str(out)]
    options += ["--format", form] if form != "html" else []
    options += ["--by", by] if by else []
    return shlex.join(["accweight", "report", *stores, *options])


def _json(content: Content) -> str:
    return json.dumps(_finite(content), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_WRITERS: dict[str, Callable[[Content], str]] = {"html": html_of, "md": markdown_of, "json": _json}
