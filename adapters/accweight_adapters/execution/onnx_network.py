"""An ONNX graph as a network: run by torch operations, its weights an argument."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accweight_adapters.execution.devices import device_named, full_precision
from accweight_adapters.execution.element_types import as_array, stored_tensor
from accweight_adapters.execution.graph import InvalidGraphError, compiled
from accweight_adapters.execution.limits import budget
from accweight_adapters.execution.module_gates import named
from accweight_adapters.execution.operators import OPERATORS
from accweight_adapters.execution.operators.recurrent import GATE_NAMES, Recurrent
from accweight_adapters.execution.prepared import PreparedModel, prepared
from accweight_adapters.execution.program import NOTHING, Plan, Program, failure
from accweight_adapters.execution.torch_bound import (
    Function,
    TorchBound,
    check_gated,
    fitting_weights,
)
from accweight_adapters.execution.watching import watching
from accweight_core.errors import FormatError, UnsupportedOperatorError
from accweight_core.probes.network import OUTPUT, Array, Inputs, Network
from accweight_core.text import plain


class OnnxNetwork(Network):
    """The network in an ONNX file."""

    engine = "onnx"

    def __init__(self, model: PreparedModel, path: Path, device: torch.device) -> None:
        self._path = path
        self.device = device
        self._after: tuple[Any, tuple[Program, list[int]]] | None = None
        self.inputs, self.outputs = model.inputs, model.outputs
        try:
            self._graph = compiled(
                model.proto.graph, model.opset, device, parameters=model.parameters
            )
        except InvalidGraphError as error:
            raise FormatError(path, f"not a valid ONNX model: {error}") from None
        self.program: Program = self._graph.program()
        needed = self.program.needed(self.program.outputs)
        self.own = {
            name: stored_tensor(tensor).to(device)
            for name, tensor in model.parameters.items()
            if self._graph.slots[name] in needed
        }
        self.slots = self._slots(model.layers, needed)
        self.inner = self._inner(model.layers, needed)
        self.layers = tuple(n for n in model.layers if n in self.slots or n in self.inner)
        self.parameters = {name: tuple(value.shape) for name, value in self.own.items()}

    @classmethod
    def opened(cls, path: Path, *, device: str = "cpu") -> OnnxNetwork:
        """Return the network in a file.

        Raises:
            FormatError: If it is damaged.
            ArgumentValueError: If there is no such device.
            UnsupportedOperatorError: If an operator in it is not known.
        """
        return cls(prepared(path, OPERATORS), path, device_named(device))

    @property
    def source(self) -> Path:
        """The file."""
        return self._path

    def with_weights(self, weights: Mapping[str, Array]) -> OnnxBound:
        """Return the network with these weights, by its own names; see `Network.with_weights`."""
        return OnnxBound(self, {**self.own, **fitting_weights(weights, self.own)})

    def given(self, inputs: Mapping[str, Tensor]) -> dict[int, Tensor]:
        """Return inputs by their slots."""
        return {
            slot: value
            for port, slot in zip(self.inputs, self.program.inputs, strict=True)
            if (value := inputs.get(port.name)) is not None
        }

    def program_after(
        self, changed: Sequence[int], wanted: Sequence[int]
    ) -> tuple[Program, list[int]]:
        """Return the part of the program that depends on some slots; kept for the last call."""
        key = tuple(sorted(changed)), tuple(wanted)
        if self._after is None or self._after[0] != key:
            self._after = key, self.program.after(changed, wanted)
        return self._after[1]

    @cached_property
    def recurrent(self) -> dict[str, tuple[Recurrent, tuple[int, ...], str]]:
        """Operators with gates by their layers: what is called, slots of its inputs, its name."""
        made = {
            slot: (step.call, step.inputs, step.what)
            for step in self.program.steps
            if isinstance(step.call, Recurrent) and GATE_NAMES[step.call.kind]
            for slot in step.outputs
            if slot != NOTHING
        }
        return {name: made[slot] for name in self.layers if (slot := self.slots.get(name)) in made}

    def _slots(self, layers: Mapping[str, str], needed: set[int]) -> dict[str, int]:
        """Return the slots of all nodes; layers first."""
        graph = self._graph
        others = {*graph.constants, *graph.static, *graph.arguments}
        others |= {graph.slots[name] for name in self.own}
        made = {n: s for n, s in graph.slots.items() if s in needed and s not in others}
        of_layers = {name: made[value] for name, value in layers.items() if value in made}
        return {**of_layers, **{n: s for n, s in made.items() if n not in of_layers}}

    def _inner(self, layers: Mapping[str, str], needed: set[int]) -> dict[str, str]:
        """Return the values in bodies of branches and loops by the names of nodes; layers first."""
        run = {s for step in self.program.steps if needed.intersection(step.outputs)
               for s in step.outputs}  # fmt: skip
        made = [n for n, slots in self._graph.inner.items() if run.intersection(slots)]
        values = {name: name for name in made if name not in self.slots}
        of_layers = {
            name: value
            for name, value in layers.items()
            if value in values and name not in self.slots
        }
        return {**of_layers, **{n: v for n, v in values.items() if n not in of_layers}}

    def leading(self, names: Sequence[str]) -> list[int]:
        """Return the slots of the operators whose bodies compute some nodes."""
        inner = self._graph.inner
        return [slot for name in names for slot in inner[self.inner[name]]]


class OnnxBound(TorchBound):
    """An ONNX graph with the weights of one checkpoint."""

    network: OnnxNetwork

    @property
    def nodes(self) -> tuple[str, ...]:
        """Layers by name, then all other values; those in bodies of branches and loops too."""
        network, layers = self.network, self.network.layers
        others = (*network.slots, *network.inner)
        return (*layers, *(name for name in others if name not in set(layers)))

    def evaluated(
        self,
        inputs: Mapping[str, Tensor],
        keep: Sequence[str],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
        *,
        outputs: bool,
    ) -> dict[str, Tensor]:
        """Return outputs, if asked for, and kept nodes."""
        network = self.network
        inner = [name for name in keep if name in network.inner]
        outer = [name for name in keep if name not in network.inner]
        slots = self._slots_of(outer, outputs=outputs)
        plan = network.program.plan([*slots, *network.leading(inner)])
        within = {
            network.inner[n]: _composed(f) for n, f in functions.items() if n in network.inner
        }
        with watching([network.inner[name] for name in inner], within) as watched:
            values = self._run(plan, network.given(inputs), weights, functions)
        named = [OUTPUT, *(port.name for port in network.outputs[1:])] if outputs else []
        found = dict(zip([*named, *outer], values, strict=False))
        return found | {name: watched.value(network.inner[name], name) for name in inner}

    def _slots_of(self, keep: Sequence[str], *, outputs: bool) -> list[int]:
        network = self.network
        results = network.program.outputs if outputs else []
        return [*results, *(network.slots[name] for name in keep)]

    def _run(
        self,
        plan: Plan,
        given: Mapping[int, Any],
        weights: Mapping[str, Tensor],
        functions: Mapping[str, Sequence[Function]],
    ) -> list[Any]:
        """Return the values that a plan computes."""
        network, patches = self.network, dict[int, list[Function]]()
        names = network._graph.slots
        own = {names[n]: weights[n] for n in network.own if names[n] in plan.needed}
        for name, several in functions.items():
            if name in network.slots:
                patches.setdefault(network.slots[name], []).extend(several)
        with budget():
            return plan.run({**given, **own}, {slot: _composed(f) for slot, f in patches.items()})

    @property
    def gated(self) -> tuple[str, ...]:
        """Names of the layers with gates."""
        return tuple(self.network.recurrent)

    def gates(self, x: Inputs, layers: Sequence[str]) -> dict[str, dict[str, Array]]:
        """Return the gates of layers; see `GatedNetwork.gates`."""
        check_gated(layers, self.gated)
        asked = {name: self.network.recurrent[name] for name in layers}
        slots = list(dict.fromkeys(slot for _, inputs, _ in asked.values() for slot in inputs))
        found = {}
        with torch.no_grad(), full_precision(self.device):
            plan = self.network.program.plan(slots)
            values = self._run(
                plan, self.network.given(self._given(x)), self.tensors, self.functions
            )
            held = dict(zip(slots, values, strict=True))
            for name, (call, inputs, what) in asked.items():
                try:
                    _, gates = call.outputs_and_gates(*[held[slot] for slot in inputs])
                except Exception as error:  # whatever torch raises
                    raise failure(what, error) from None
                found[name] = {n: as_array(v) for n, v in named(call.kind, gates).items()}
        return found

    def beginning(self, x: Inputs, changed: Collection[str], keep: Sequence[str] = ()) -> Beginning:
        """Return the values that do not depend on some parameters; see `ResumableNetwork`."""
        self._check_nodes(keep)
        inner = [name for name in (*keep, *self.functions) if name in self.network.inner]
        if inner:
            raise UnsupportedOperatorError(
                f"node {plain(inner[0])!r} is inside of a branch or loop, where a run cannot go on "
                "from a part of it"
            )
        slots = [self.network._graph.slots[name] for name in changed]
        rest, start = self.network.program_after(slots, self._slots_of(keep, outputs=True))
        given = self.network.given(self._given(x))
        with torch.no_grad(), full_precision(self.device):
            plan = self.network.program.plan(start)
            values = self._run(plan, given, self.tensors, self.functions) if start else []
        return Beginning(rest, {**given, **dict(zip(start, values, strict=True))}, tuple(keep))

    def resumed(self, beginning: Beginning) -> dict[str, Array]:
        """Return outputs and kept nodes from values of another network's beginning."""
        plan = beginning.program.plan(beginning.program.outputs)
        with torch.no_grad(), full_precision(self.device):
            values = self._run(plan, beginning.values, self.tensors, self.functions)
        named = [OUTPUT, *(port.name for port in self.network.outputs[1:])]
        found = zip([*named, *beginning.keep], values, strict=True)
        return {name: as_array(value) for name, value in found}


@dataclass(frozen=True)
class Beginning:
    """What a network made of samples up to where it depends on some parameters.

    Attributes:
        program: The rest.
        values: Inputs, and what the rest goes on from, by slot.
        keep: Nodes that are returned beside the outputs.
    """

    program: Program
    values: Mapping[int, Any]
    keep: tuple[str, ...]


def _composed(functions: Sequence[Function]) -> Function:
    def composed(value: Any) -> Any:
        for function in functions:
            value = function(value)
        return value

    return composed if len(functions) != 1 else functions[0]
