"""Read map files, in which the user maps the names of one program to those of another.

A map is TOML with two tables. Keys are names as found in checkpoints, values the new names:

    files = ["*.onnx"]                      # optional: the entries apply to these checkpoints
    [layers]
    "lstm_1" = "lstm"                       # corresponds to
    "attn.q" = { name = "q", kind = "linear" }
    "in_proj" = ["q", "k", "v"]             # contains these layers, merged
    "aux" = false                           # has no counterpart, is left out
    [parameters]
    "onnx::MatMul_215" = "fc1.weight"
    "val_7" = { name = "fc2.weight", axes = ["input", "output"] }
    "model.net.*" = "net.*"                 # one * stands for any text

The file is data, no code in it is executed; every mistake gives an error of one line with its
position.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from accweight_core.arguments import checked_path
from accweight_core.errors import FormatError, SourceError, reason_of
from accweight_core.remote.local import open_local
from accweight_core.schema import Axis, Kind, Role

LARGEST_BYTES = 1 << 24
"""Limit of a map file; a map of a million parameters is smaller."""

_CHOICES: dict[str, list[str]] = {
    "kind": [str(kind) for kind in Kind],
    "role": [str(role) for role in Role if role is not Role.OPTIMIZER],
}
_KEYS = {
    "layers": ("name", "kind", "skip", "files"),
    "parameters": ("name", "layer", "kind", "role", "axes", "skip", "files"),
}


@dataclass(frozen=True)
class Entry:
    """The entry of one name.

    Attributes:
        names: The new name; several for a layer that merges others.
        skip: Whether the layer or parameter is left out.
        layer: Name of the layer of a parameter.
        kind: Kind of the layer.
        role: Role of the parameter.
        axes: Meaning of the axes of the parameter.
        files: Patterns of the checkpoints that the entry applies to; all if empty.
    """

    names: tuple[str, ...] = ()
    skip: bool = False
    layer: str | None = None
    kind: Kind | None = None
    role: Role | None = None
    axes: tuple[Axis, ...] | None = None
    files: tuple[str, ...] = ()

    def holds_for(self, path: str) -> bool:
        """Tell whether the entry applies to a checkpoint."""
        text = Path(path).as_posix()
        return not self.files or any(
            fnmatchcase(Path(path).name, pattern) or fnmatchcase(text, f"*{pattern}")
            for pattern in self.files
        )


@dataclass(frozen=True)
class NameMap:
    """A checked name map.

    Attributes:
        source: Name of the file for messages.
        layers: Entries by the name of a layer in the checkpoints.
        parameters: Entries by the name of a parameter in the checkpoints, or a pattern with one *.
        document: The map as plain values, as stored in an analysis.
    """

    source: str
    layers: Mapping[str, Entry] = field(default_factory=dict)
    parameters: Mapping[str, Entry] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> NameMap:
        """Read a map file.

        Raises:
            SourceError: If the file cannot be read.
            FormatError: If it is not TOML, or has an invalid entry.
        """
        try:
            with open_local(path) as file:
                content = file.read(LARGEST_BYTES + 1)
        except OSError as error:
            raise SourceError(f"{path}: the map cannot be read ({reason_of(error)})") from None
        except ValueError as error:  # a name with a zero byte
            raise SourceError(f"{path}: the map cannot be read ({error})") from None
        if len(content) > LARGEST_BYTES:
            raise FormatError(path, f"a map file has at most {LARGEST_BYTES >> 20} MiB")
        try:
            text = content.decode()
            document = tomllib.loads(text)
        except RecursionError:
            raise FormatError(path, "the map is not TOML: nested too deep") from None
        except ValueError as error:  # raised for numbers with too many digits, too
            raise FormatError(path, f"the map is not TOML: {error}") from None
        return _Checking(str(path), text).checked(document)

    @classmethod
    def of_document(cls, document: Mapping[str, Any], source: str = "map") -> NameMap:
        """Return the map from its plain values, as stored in an analysis."""
        return _Checking(source, "").checked(document)

    def of_parameter(self, name: str, path: str) -> Entry | None:
        """Return the entry of a parameter, with the * of its new name filled in, or None."""
        exact = self.parameters.get(name)
        if exact is not None:
            return exact if exact.holds_for(path) else None
        for pattern, entry in self._patterns():
            head, _, tail = pattern.partition("*")
            middle = name[len(head) : len(name) - len(tail)]
            fits = name.startswith(head) and name.endswith(tail)
            if fits and len(name) >= len(head) + len(tail) and entry.holds_for(path):
                names = tuple(n.replace("*", middle, 1) for n in entry.names)
                return Entry(names, entry.skip, entry.layer, entry.kind, entry.role, entry.axes)
        return None

    def of_layer(self, name: str, path: str) -> Entry | None:
        """Return the entry of a layer, None if there is none for this checkpoint."""
        entry = self.layers.get(name)
        return entry if entry and entry.holds_for(path) else None

    def _patterns(self) -> list[tuple[str, Entry]]:
        return [(key, entry) for key, entry in self.parameters.items() if "*" in key]


def as_map(given: NameMap | str | os.PathLike[str] | None) -> NameMap | None:
    """Return a given map unchanged, or read it from its file."""
    if given is None or isinstance(given, NameMap):
        return given
    checked_path(given, "a map file")
    return NameMap.read(given)


class _Checking:
    """Checks a document, and finds the line of an entry for error messages."""

    def __init__(self, source: str, text: str) -> None:
        self._source = source
        self._lines = text.splitlines()

    def checked(self, document: Mapping[str, Any]) -> NameMap:
        """Return the checked map.

        Raises:
            FormatError: If the document has an invalid entry.
        """
        unknown = [key for key in document if key not in (*_KEYS, "files")]
        if unknown:
            raise self._error("", unknown[0], "unknown; a map has [layers], [parameters] and files")
        files = self._texts("", "files", document.get("files", []))
        tables = {}
        for table in _KEYS:
            entries = document.get(table, {})
            if not isinstance(entries, dict):
                raise self._error("", table, f"must be a table; begin it with a line [{table}]")
            tables[table] = {
                key: self._entry(table, key, value, files) for key, value in entries.items()
            }
        return NameMap(self._source, tables["layers"], tables["parameters"], dict(document))

    def _entry(self, table: str, key: str, value: Any, files: tuple[str, ...]) -> Entry:
        if value is False:
            return Entry(skip=True, files=files)
        if isinstance(value, str):
            value = {"name": value}
        elif isinstance(value, list) and table == "layers":
            return Entry(self._texts(table, key, value), files=files)
        if not isinstance(value, dict):
            wanted = 'a name, false to leave it out, or a table such as { name = "..." }'
            raise self._error(table, key, f"is {value!r}; expected {wanted}")
        unknown = [part for part in value if part not in _KEYS[table]]
        if unknown:
            nested = ", which TOML takes for tables: put the name in quotes" * (
                isinstance(value[unknown[0]], dict)
            )
            known = ", ".join(_KEYS[table])
            problem = f"has {unknown[0]!r}{nested}; what can be said is {known}"
            raise self._error(table, key, problem)
        found: dict[str, Any] = {
            part: self._choice(table, key, part, value[part]) for part in _CHOICES if part in value
        }
        name = self._text(table, key, "name", value)
        if not isinstance(value.get("skip", False), bool):
            raise self._error(table, key, f"skip is {value['skip']!r}; expected true or false")
        return Entry(
            names=(name,) if name else (),
            skip=value.get("skip", False),
            layer=self._text(table, key, "layer", value),
            kind=Kind(found["kind"]) if "kind" in found else None,
            role=Role(found["role"]) if "role" in found else None,
            axes=self._axes(table, key, value["axes"]) if "axes" in value else None,
            files=self._texts(table, key, value["files"]) if "files" in value else files,
        )

    def _text(self, table: str, key: str, part: str, value: Mapping[str, Any]) -> str | None:
        text = value.get(part)
        if part in value and not (isinstance(text, str) and text):
            raise self._error(table, key, f"{part} is {text!r}; expected a name in quotes")
        if text and part == "name" and table == "parameters" and "*" in text and "*" not in key:
            raise self._error(table, key, f"becomes {text!r}, but has no * itself")
        return text

    def _texts(self, table: str, key: str, value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            raise self._error(table, key, f"is {value!r}; expected texts in quotes")
        return tuple(value)

    def _choice(self, table: str, key: str, part: str, value: Any) -> str:
        if value not in _CHOICES[part]:
            known = ", ".join(_CHOICES[part])
            raise self._error(table, key, f"{part} {value!r} is not one of {known}")
        return str(value)

    def _axes(self, table: str, key: str, value: Any) -> tuple[Axis, ...]:
        known = [str(axis) for axis in Axis]
        if not isinstance(value, list) or any(axis not in known for axis in value):
            raise self._error(table, key, f"axes {value!r} must be a list of {', '.join(known)}")
        return tuple(Axis(axis) for axis in value)

    def _error(self, table: str, key: str, problem: str) -> FormatError:
        line = self._line(table, key)
        where = f"line {line}: " if line else ""
        return FormatError(self._source, f"{where}{f'{table}: ' if table else ''}{key!r} {problem}")

    def _line(self, table: str, key: str) -> int | None:
        """Return the line in which a key of a table is set, None if it is not found."""
        now = ""
        for number, line in enumerate(self._lines, start=1):
            header = re.match(r"\s*\[\s*([^\]]*?)\s*\]", line)
            if header:
                now = header[1].split(".")[0].strip("\"'")
                if header[1] in (key, f"{table}.{quoted(key)}", f"{table}.{key}"):
                    return number
            elif now == table and line.lstrip().startswith(
                (quoted(key), f"'{key}'", f"{key} ", f"{key}=", f"{key}.")
            ):
                return number
        return None


def quoted(text: str) -> str:
    """Return a text as a TOML string, quoted and escaped.

    >>> print(quoted("onnx::MatMul_1"))
    "onnx::MatMul_1"
    """
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if _is_plain(c) else _escape(c) for c in escaped) + '"'


def _is_plain(character: str) -> bool:
    return character.isprintable()


def _escape(character: str) -> str:
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return "\\uFFFD"  # an unpaired surrogate is not valid in TOML
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def listed(texts: Sequence[str]) -> str:
    """Return texts as a TOML array."""
    return "[" + ", ".join(map(quoted, texts)) + "]"
