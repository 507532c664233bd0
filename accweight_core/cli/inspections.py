"""Format the result of `inspect`: the checkpoints with their steps, and their layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accweight_core.cli.output import Page, room
from accweight_core.cli.tables import Table, number
from accweight_core.naming import leaf_of
from accweight_core.runs.order_doubts import BY_ALPHABET
from accweight_core.schema import Axis, Kind, Split
from accweight_core.text import count, counted, plain, shortened, size, some

if TYPE_CHECKING:
    from accweight_core.runs.inspection import Inspection
    from accweight_core.runs.opening import Opened
    from accweight_core.schema import Checkpoint, Parameter


def inspection(result: Inspection) -> Page:
    """Return the lines and tables that ``inspect`` prints.

    With several series, they are listed first; the checkpoints and layers are shown of the one that
    `analyze` takes, if there is one.
    """
    opened, several = result.opened, len(result.series) > 1
    source = plain(opened.source)
    lines: list[str | Table] = []
    if several:
        run = result.run
        is_run = any(series.is_complete for series in result.series)
        what = f"{len(result.series)} {'series of' if is_run else 'single'} checkpoints"
        way = "name those of one run in order with --given-order"
        if is_run:
            way = "analyze with --series NAME, or --all"
        if run:
            way = f"analyze takes {plain(run.name)}"
        lines += [f"{source}: {what}; {way}", ""]
        lines += [_series(result), ""]
    if result.run is None:
        return [*lines, *_left_out(result), *(f"note: {plain(note)}" for note in result.stopped)]
    number = len(opened.checkpoints)
    checkpoints = f"{number} checkpoint{'s' * (number != 1)}"
    title = f"series {plain(result.run.name)}" if several else source
    lines += [
        f"{title}: {result.format}, {checkpoints}",
        "",
        *_checkpoints(result),
        "",
    ]
    if len(result.groups) > 1:
        lines.append("not one run: the checkpoints hold different parameters")
        lines += [f"  group {g.number}: {plain(g.summary)}" for g in result.groups]
        lines += ["", f"layers of group {result.shown.number}:"]
    lines += [_layers(result), *_inferred(result)]
    lines += [
        f"cannot be analysed: {plain(name)}: {plain(reason)}"
        for name, reason in result.refused.items()
    ]
    return [*lines, *_notes(opened)]


def _notes(opened: Opened) -> list[str]:
    return [
        *(f"note: {plain(note)}" for note in opened.notes),
        *(f"warning: {plain(warning)}" for warning in opened.warnings),
    ]


def _series(result: Inspection) -> Table:
    """Return the table of series."""
    rows = []
    for series in result.series:
        weights = sum(p.elements for layer in series.layers for p in layer.parameters)
        is_told = series.origin != BY_ALPHABET
        copied = f" (same weights as {plain(series.copy_of)})" if series.copy_of else ""
        if series.averaged_of:
            where = "in" if series.is_within else "of"
            copied = f" (averaged copies {where} {plain(series.averaged_of)})"
        rows.append(
            (
                plain(series.name),
                str(len(series.placed)),
                series.span if series.is_complete or is_told else "-",
                plain(series.origin) if series.is_complete or is_told else "-",
                plain(series.format),
                str(len(series.layers)),
                count(weights),
                plain(series.pattern) + copied,
            )
        )
    columns = ("series", "checkpoints", "steps", "from", "format", "layers", "weights", "files")
    return Table.of_rows(columns, rows, "checkpoints", "steps", "layers", "weights")


def _left_out(result: Inspection) -> list[str | Table]:
    """Return the table of what was left out, one row for every reason."""
    names: dict[str, list[str]] = {}
    for one in result.left_out:
        names.setdefault(one.reason, []).append(one.name)
    if not names:
        return []
    rows = [(plain(some(counted(files))), plain(reason)) for reason, files in names.items()]
    return [Table.of_rows(("left out", "why"), rows)]


def _checkpoints(result: Inspection) -> Page:
    group_of = {c.path: g.number for g in result.groups for c in g.checkpoints}
    several = len(result.groups) > 1
    found = result.opened.checkpoints
    names = map(plain, shortened([c.path for c in found]))
    columns = {
        "step": [str(c.step) for c in found],
        "from": [plain(c.step_source) for c in found],
        "size": [size(c.size_bytes) for c in found],
        "checkpoint": [
            f"{name} (group {group_of[c.path]})" if several else name
            for c, name in zip(found, names, strict=True)
        ],
    }
    left_out = _add_measures(columns, found)
    right = frozenset(columns) - {"from", "checkpoint"}
    more = [f"more with --json: {', '.join(left_out)}"] if left_out else []
    return [Table(columns, right), *more]


def _add_measures(columns: dict[str, list[str]], found: Sequence[Checkpoint]) -> list[str]:
    """Add a column for each training figure that fits; return the names of the others."""
    measures = list(
        dict.fromkeys(name for c in found for name in (*c.measures, *c.nonfinite_measures))
    )
    leaves = [name.rpartition(".")[2] for name in measures]
    uses = Counter(leaves)
    left_out, width = [], room()
    for name, leaf in zip(measures, leaves, strict=True):
        label = plain(leaf if leaf and uses[leaf] == 1 else name)
        cells = [c.nonfinite_measures.get(name) or number(c.measures.get(name)) for c in found]
        wider = {**columns, label: cells}
        if label in columns or Table(wider).width > width:
            left_out.append(label)
        else:
            columns[label] = cells
    return left_out


def _layers(result: Inspection) -> Table:
    rows = []
    for layer in result.layers:
        parts = ", ".join(
            f"{leaf_of(p.name, layer.name)} {_shape(p.shape)}{_meaning(p)}"
            for p in layer.parameters
        )
        elements = sum(p.elements for p in layer.parameters)
        rows.append((plain(layer.name), str(layer.kind), count(elements), plain(parts)))
    return Table.of_rows(("layer", "kind", "weights", "parameters"), rows, "weights")


def _meaning(parameter: Parameter) -> str:
    """Return what is known of a matrix beyond its shape, in brackets."""
    if len(parameter.shape) < 2 or not (
        parameter.split or parameter.sections or parameter.axes_from
    ):
        return ""
    found = ["inputs x outputs"] if _has_inputs_first(parameter) else []
    if parameter.split:
        found.append(parts_of(parameter.split))
    elif parameter.sections and parameter.kind is Kind.ATTENTION:
        found.append(" ".join(parameter.sections))
    return f" ({'; '.join(found)})" if found else ""


def _has_inputs_first(parameter: Parameter) -> bool:
    """Tell whether a matrix is found to be stored (inputs, outputs), which few expect."""
    ends = [axis for axis in parameter.axes if axis in (Axis.INPUT, Axis.OUTPUT)]
    return bool(parameter.axes_from) and ends == [Axis.INPUT, Axis.OUTPUT]


def parts_of(split: Split) -> str:
    """Return projections and heads in a phrase.

    >>> from accweight_core.schema import Axis, Part
    >>> parts_of(Split(Axis.OUTPUT, (Part("q", 32, 4), Part("k", 16, 2), Part("v", 16, 2))))
    'q 4 heads, k v 2 heads'
    """
    by_heads: dict[int, list[str]] = {}
    for part in split.parts:
        by_heads.setdefault(split.heads_of(part.name), []).append(part.name)
    counts = [
        " ".join(names) + (f" {heads} head{'s' * (heads > 1)}" if heads else "")
        for heads, names in by_heads.items()
    ]
    interleaved = f" in {split.groups} groups" if split.groups > 1 else ""
    return ", ".join(counts) + interleaved


def _inferred(result: Inspection) -> list[str]:
    """Return a line for axes and for heads that are inferred: from what, and of how many."""
    matrices = [
        p
        for layer in result.layers
        for p in layer.parameters
        if (p.split or p.axes_from) and len(p.shape) > 1
    ]
    said = (
        (
            "axes of matrices stored (inputs, outputs)",
            [p.axes_from for p in matrices if _has_inputs_first(p)],
        ),
        ("projections and heads", [p.split.origin if p.split else "" for p in matrices]),
    )
    lines = []
    for what, origins in said:
        counts = Counter(origin for origin in origins if origin)
        if counts:
            listed = ", ".join(f"{plain(origin)} ({n})" for origin, n in counts.most_common())
            lines.append(f"{what}, from: {listed}")
    return ["", *lines] if lines else []


def _shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
