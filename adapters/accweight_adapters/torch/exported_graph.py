"""The graph of a torch.export archive (`.pt2`), with layers as nodes.

The program is a file of JSON: operators in order, each with the names of the values that it takes
and makes. Nothing is executed, and no pickle in the archive is opened.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from accweight_adapters.torch.exported import MOST_JSON_BYTES
from accweight_adapters.torch.records import bytes_of, records_in
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import FormatError, reason_of
from accweight_core.graphs.contracting import Contraction
from accweight_core.graphs.layer_graph import GraphSizeError, LayerGraph
from accweight_core.naming import module_of

PROGRAM = re.compile(r"(?:[^/]+/)?models/[^/]+\.json")

SIZES = re.compile(r"\b(sym_size|sym_numel|arange|zeros|ones|full|empty)\b")
"""Operators whose results tell of shapes, not of values."""

MOST_DEPTH = 20

Document = Mapping[str, Any]


def layer_graph(path: Path) -> LayerGraph | None:
    """Return the graph of an archive; None if the file has no program that can be read as data.

    Raises:
        FormatError: If it is damaged, or its graph is too large.
    """
    try:
        program = _program(path)
        return None if program is None else _Flow(program).graph(path.name)
    except GraphSizeError as error:
        raise FormatError(path, f"it cannot be drawn: {error}") from None
    except (ClaimError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"{type(error).__name__}: {error}"[:160]
        raise FormatError(
            path, f"the program in it is damaged ({reason}); export it again"
        ) from None
    except OSError as error:
        raise FormatError(path, f"cannot be read ({reason_of(error)})") from None


def _program(path: Path) -> Document | None:
    """Return the document of the program, or None if there is none."""
    with path.open("rb") as file:
        size_bytes = file.seek(0, os.SEEK_END)
        if not zipfile.is_zipfile(file):
            return None
        records = records_in(file, size_bytes)
        name = next((name for name in records if PROGRAM.fullmatch(name)), None)
        if name is None:
            return None
        if records[name].file_size > MOST_JSON_BYTES:
            raise ClaimError("the program is too long")
        document = json.loads(bytes_of(file, records[name], size_bytes))
    module: Document = document["graph_module"]
    return module


class _Flow:
    """Follows values through the operators."""

    def __init__(self, program: Document) -> None:
        self._graph: Document = program["graph"]
        self._found = Contraction()
        self._sources: dict[str, int | None] = {}
        self._layers: dict[str, list[str]] = {}
        self._layer_of: dict[str, str] = {}
        self._inputs: list[str] = []
        for spec in program["signature"]["input_specs"]:
            if "parameter" in spec:
                parameter = str(spec["parameter"]["parameter_name"])
                layer = module_of(parameter)
                self._layer_of[spec["parameter"]["arg"]["name"]] = layer
                self._layers.setdefault(layer, []).append(parameter)
            elif "user_input" in spec:
                self._inputs += _tensors(spec["user_input"])

    def graph(self, origin: str) -> LayerGraph:
        """Return the graph."""
        types = self._graph.get("tensor_values", {})
        for name in self._inputs:
            integers = types.get(name, {}).get("dtype", 7) in range(1, 6)
            self._sources[name] = self._found.input(name, integers=integers)
        self._run(self._graph, 0)
        for name, parameters in self._layers.items():  # those that nothing uses are nodes as well
            self._found.layer(name, parameters)
        outputs = [one for made in self._graph["outputs"] for one in _tensors(made)]
        for name in outputs:
            self._found.output(name, self._sources.get(name))
        return self._found.graph(origin)

    def _run(self, graph: Document, depth: int) -> None:
        if depth > MOST_DEPTH:
            raise ValueError(f"branches are nested more than {MOST_DEPTH} deep")
        for node in graph["nodes"]:
            bodies = [arg["as_graph"]["graph"] for one in node["inputs"]
                      if isinstance(arg := one["arg"], dict) and "as_graph" in arg]  # fmt: skip
            taken = [name for one in node["inputs"] for name in _tensors(one["arg"])]
            made = [name for one in node["outputs"] for name in _tensors(one)]
            if bodies:
                self._branch(bodies, taken, made, depth)
            elif not SIZES.search(node["target"]):
                self._operator(node, taken, made)

    def _operator(self, node: Document, taken: list[str], made: list[str]) -> None:
        layer = next((self._layer_of[name] for name in taken if name in self._layer_of), "")
        if layer:
            self._found.layer(layer, self._layers[layer])
        source = self._found.operator(
            [self._sources.get(name) for name in taken],
            _word(str(node["target"])),
            layer=layer,
            module=_module(node.get("metadata", {})),
        )
        for name in made:
            self._sources[name] = source

    def _branch(
        self, bodies: list[Document], taken: list[str], made: list[str], depth: int
    ) -> None:
        """Follow values into branches and out of them."""
        before: dict[str, int | None] = {}
        for body in bodies:
            inside = [name for one in body["inputs"] for name in _tensors(one)]
            given = taken[len(taken) - len(inside) :]
            for name, value in zip(inside, given, strict=False):
                self._sources[name] = self._sources.get(value)
                if value in self._layer_of:
                    self._layer_of[name] = self._layer_of[value]
            self._run(body, depth + 1)
            results = [name for one in body["outputs"] for name in _tensors(one)]
            for name, result in zip(made, results, strict=False):
                both = [before.get(name), self._sources.get(result)]
                before[name] = self._found.operator(both, "If")
        self._sources.update(before)


def _tensors(argument: Any) -> Iterator[str]:
    """Yield the names of the tensors in an argument."""
    if isinstance(argument, list):
        for one in argument:
            yield from _tensors(one)
    elif isinstance(argument, dict):
        for key, value in argument.items():
            if key == "name" and isinstance(value, str):
                yield value
            elif key in ("arg", "as_tensor", "as_tensors", "as_optional_tensors"):
                yield from _tensors(value)


def _word(target: str) -> str:
    """Return the operator in a target, such as torch.ops.aten.add.Tensor.

    >>> _word("torch.ops.aten.add.Tensor"), _word("_operator.add")
    ('add', 'add')
    """
    parts = target.split(".")
    return parts[3].rstrip("_") if target.startswith("torch.ops.") and len(parts) > 3 else parts[-1]


def _module(metadata: Document) -> str:
    """Return the path of the module that an operator is in."""
    stack = str(metadata.get("nn_module_stack", ""))
    return stack.rpartition(";")[2].split(",")[1] if stack.count(",") > 1 else ""
