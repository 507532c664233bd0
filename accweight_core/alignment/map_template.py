"""Write map files: every name, its match, and the confidence.

The file can be used unchanged; comments mark what to check.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from accweight_core.alignment.alignment import Alignment, aligned
from accweight_core.errors import SourceError, reason_of
from accweight_core.io.target import target_at
from accweight_core.naming import layers_of
from accweight_core.runs.grouping import Group
from accweight_core.runs.name_map import listed, quoted
from accweight_core.schema import Checkpoint, Layer, Parameter, Role, Run
from accweight_core.text import plain

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.store.records import CheckpointRecord

ALONE = """\
# A map for accweight: name in the file = name to use.
# Change the right-hand side; false leaves a parameter out. For more, give a table:
#   "val_7" = { name = "fc.weight", kind = "linear", axes = ["input", "output"] }
# Use it with --map: accweight analyze SOURCE -o OUT.accw --map FILE
"""
PAIRED = """\
# A map for accweight: name in {b} = name in {a}.
# Comments give the evidence and the confidence of each match: 100% is certain, from 80% sure,
# from 50% likely, below that a guess. Correct what is wrong; false leaves a layer or a
# parameter out. For more, give a table:
#   "val_7" = {{ name = "fc.weight", kind = "linear", axes = ["input", "output"] }}
# Use it with --map: in analyze to read both as one run, in compare and align to say which
# layers belong together.
"""


@dataclass
class _Side:
    """Checkpoints with the same parameter names.

    Attributes:
        title: Name of the group in the comments.
        layers: Their layers.
        paths: Their files, if any.
    """

    title: str
    layers: Sequence[Layer]
    paths: Sequence[str] = ()


@dataclass
class _Tables:
    """The two tables of a map file; each name is written once."""

    layers: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    def text(self) -> str:
        """Return both tables as TOML."""
        parts = []
        if self.files:
            note = "checkpoints of the entries that name none"
            parts.append(f"\nfiles = {listed(self.files)}  # {note}\n")
        for title, lines in (("layers", self.layers), ("parameters", self.parameters)):
            if lines:
                parts.append(f"\n[{title}]\n" + "".join(f"{line}\n" for line in lines.values()))
        return "".join(parts)


def write_template(path: str | os.PathLike[str], groups: Sequence[Group]) -> str:
    """Write a map of the names in checkpoints, with later groups matched to the first.

    Returns:
        One line that says what was written.

    Raises:
        SourceError: If the file exists already or cannot be written.
    """
    ordered = sorted(groups, key=lambda group: group.checkpoints[0].step)
    sides = [
        _Side(
            f"group {group.number}",
            layers_of(group.checkpoints[0].tensors.values()),
            [c.path for c in group.checkpoints],
        )
        for group in ordered
    ]
    first, *others = sides
    if not others:
        return _written(path, ALONE + _listing(first).text(), "every name in the checkpoints")
    tables = _Tables(files=_scope(others[0].paths, first.paths) if len(others) == 1 else ())
    for other in others:
        _add(tables, first, other, aligned(first.layers, other.layers))
    header = PAIRED.format(
        a=f"{first.title} (from step {ordered[0].checkpoints[0].step})", b="others"
    )
    return _written(path, header + tables.text(), f"{len(groups)} groups of checkpoints, matched")


def write_alignment(
    path: str | os.PathLike[str], a: Run | Analysis, b: Run | Analysis, found: Alignment
) -> str:
    """Write an alignment as a map, with the names of b on the left.

    Returns:
        One line that says what was written.

    Raises:
        SourceError: If the file exists already or cannot be written.
    """
    first, other = (
        _Side(name, side.layers, [c.path for c in _records(side)])
        for name, side in (("a", a), ("b", b))
    )
    tables = _Tables(files=_scope(other.paths, first.paths))
    _add(tables, first, other, found)
    sources = [
        plain(side.source if isinstance(side, Run) else side.header.source) for side in (a, b)
    ]
    header = PAIRED.format(a=sources[0], b=sources[1])
    return _written(path, header + tables.text(), f"{len(found.matches)} matches")


def _records(side: Run | Analysis) -> Sequence[Checkpoint | CheckpointRecord]:
    return side.checkpoints if isinstance(side, Run) else side.header.checkpoints


def _listing(side: _Side) -> _Tables:
    """Return a map of every name to itself."""
    tables = _Tables()
    for layer in side.layers:
        for parameter in layer.parameters:
            name = quoted(parameter.name)
            tables.parameters[parameter.name] = f"{name} = {name}  # {_described(parameter)}"
    return tables


def _add(tables: _Tables, first: _Side, other: _Side, found: Alignment) -> None:
    """Add the matched names, and skip those that only one side has."""
    ours, theirs = _scope(first.paths, other.paths), _scope(other.paths, first.paths)
    theirs = () if theirs == tables.files else theirs
    parameters = [
        {p.name: p for layer in s.layers for p in layer.parameters} for s in (first, other)
    ]
    joined: list[set[str]] = [set(), set()]
    for match in found.matches:
        note = f"{match.how}, {match.confidence:.0%}: {plain(match.reason)}"
        if len(match.layers_b) == 1:
            name = _texts(match.layers_a)
            tables.layers.setdefault(
                match.layers_b[0], _line(match.layers_b[0], name, theirs, note)
            )
        else:
            for part in match.layers_b:
                tables.layers.setdefault(part, _line(part, _texts(match.layers_a), theirs, note))
        for pair in match.parameters:
            if len(pair.a) == len(pair.b) == 1 and pair.same_form:
                a, b = parameters[0][pair.a[0]], parameters[1][pair.b[0]]
                note = _described(b) + (f", there {_described(a)}" if a.shape != b.shape else "")
                line = _line(b.name, quoted(a.name), theirs, note)
                tables.parameters.setdefault(b.name, line)
                joined[0].add(a.name)
                joined[1].add(b.name)
    for side, layers, scope, title in (
        (1, found.only_b, theirs, first),
        (0, found.only_a, ours, other),
    ):
        for item in layers:
            note = f"not in {title.title}" + (f"; {plain(item.hint)}" if item.hint else "")
            tables.layers.setdefault(item.layer, _left_out(item.layer, scope, note))
        for parameter in parameters[side].values():
            if parameter.name not in joined[side] and parameter.role is not Role.BUFFER:
                note = f"{_described(parameter)}, nothing of this shape in {title.title}"
                line = _left_out(parameter.name, scope, note)
                tables.parameters.setdefault(parameter.name, line)


def _texts(names: Sequence[str]) -> str:
    return quoted(names[0]) if len(names) == 1 else listed(names)


def _line(name: str, value: str, scope: Sequence[str], note: str) -> str:
    if scope and not value.startswith("["):
        value = f"{{ name = {value}, files = {listed(scope)} }}"
    return f"{quoted(name)} = {value}  # {note}"


def _left_out(name: str, scope: Sequence[str], note: str) -> str:
    value = f"{{ skip = true, files = {listed(scope)} }}" if scope else "false"
    return f"{quoted(name)} = {value}  # {note}"


def _described(parameter: Parameter) -> str:
    shape = "x".join(map(str, parameter.shape)) or "scalar"
    axes = f" ({', '.join(parameter.axes)})" if len(parameter.shape) > 1 else ""
    return f"{parameter.kind}, {parameter.role}, {shape}{axes}"


def _scope(paths: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Return patterns that match these files and none of the others, or none if impossible."""
    names = [Path(path) for path in paths]
    there = [Path(path) for path in others]
    endings = {p.suffix for p in names}
    if len(endings) == 1 and endings.isdisjoint(p.suffix for p in there) and min(endings):
        return (f"*{min(endings)}",)
    folders = {p.parent.name for p in names}
    if len(folders) == 1 and folders.isdisjoint(p.parent.name for p in there) and min(folders):
        return (f"/{min(folders)}/*",)
    if {p.name for p in names}.isdisjoint(p.name for p in there):
        return tuple(p.name for p in names)
    return ()


def _written(out: str | os.PathLike[str], text: str, what: str) -> str:
    path = target_at(out, "a map")
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise SourceError(f"{path}: exists already; nothing is overwritten") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be written ({reason_of(error)})") from None
    return f"{path} written: {what}; edit it and pass it with --map"
