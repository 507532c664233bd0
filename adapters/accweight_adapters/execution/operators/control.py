"""Control flow: branches, loops and scans over bodies, which are graphs of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from accweight_adapters.execution.limits import check_size, spend
from accweight_adapters.execution.operators.table import Call, Node, axis_in, operator

Declared = tuple[torch.dtype, tuple[int | None, ...]]
"""Type and shape of a value, as a graph says; None for lengths that it leaves open."""


class Body(Protocol):
    """A graph among the attributes of a node.

    What it takes from the graph around it is given after its own inputs.
    """

    steps: int
    """Operators in it."""

    arguments: int
    """Number of its own inputs."""

    captured: tuple[int, ...]
    """Positions of what it takes from around, among all that the node's bodies take."""

    declared: tuple[Declared | None, ...]
    """What it says of its outputs."""

    @property
    def device(self) -> torch.device:
        """Where it is run."""
        ...

    def __call__(self, *values: Any) -> tuple[Any, ...]:
        """Return its outputs."""
        ...


def _run(body: Body, values: tuple[Any, ...], around: tuple[Any, ...]) -> tuple[Any, ...]:
    spend(body.steps + 1)
    return body(*values, *(around[index] for index in body.captured))


def _result(values: tuple[Any, ...]) -> Any:
    return values[0] if len(values) == 1 else values


@operator("If", newest=25, free=True)
def _if(node: Node) -> Call:
    then, otherwise = node.bodies["then_branch"], node.bodies["else_branch"]

    def chosen(condition: Tensor, *around: Any) -> Any:
        return _result(_run(then if bool(condition) else otherwise, (), around))

    return chosen


class _Rows:
    """What the runs of a body give beside its states, to be stacked."""

    def __init__(self, node: Node, body: Body, before: int) -> None:
        self._type, self._refused = node.type, node.refused
        self._declared = body.declared[before:]
        self._columns: list[list[Tensor]] = [[] for _ in self._declared]
        self._size_bytes = 0

    def add(self, row: tuple[Tensor, ...]) -> None:
        """Take those of one run.

        Raises:
            MemoryLimitError: If all of them together are too large.
        """
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
            self._size_bytes += value.numel() * value.element_size()
        check_size(self._type, (self._size_bytes,), 1)

    def stacked(self, device: torch.device, ways: Sequence[int] = ()) -> list[Tensor]:
        """Return each along a new axis 0; without a run, what the body says of its outputs counts.

        Args:
            device: Where they are.
            ways: 1 for those whose last row comes first.

        Raises:
            UnsupportedOperatorError: If there was no run, and the body says no shape.
        """
        found = []
        for index, (column, declared) in enumerate(zip(self._columns, self._declared, strict=True)):
            if column:
                backward = bool(ways) and ways[index]
                found.append(torch.stack(column[::-1] if backward else column))
            elif declared is None:
                raise self._refused("runs its body not once, and the body says no shapes")
            else:
                dtype, shape = declared  # ONNX Runtime, too, takes 0 for what is not known
                lengths = [0, *(length or 0 for length in shape)]
                found.append(torch.empty(lengths, dtype=dtype, device=device))
        return found


@operator("Loop", newest=25, free=True)
def _loop(node: Node) -> Call:
    body: Body = node.bodies["body"]
    states = body.arguments - 2

    def looped(trips: Tensor | None, condition: Tensor | None, *values: Any) -> Any:
        state, around = values[:states], values[states:]
        device = body.device
        most = None if trips is None else int(trips)
        going = True if condition is None else bool(condition)
        rows, trip = _Rows(node, body, 1 + states), 0
        while going and (most is None or trip < most):
            count = torch.tensor(trip, device=device)
            made = _run(body, (count, torch.tensor(going, device=device), *state), around)
            going, state = bool(made[0]), made[1 : 1 + states]
            rows.add(made[1 + states :])
            trip += 1
        return _result((*state, *(rows.stacked(device) if len(node.outputs) > states else ())))

    return looped


@operator("Scan", newest=25, free=True)
def _scan(node: Node) -> Call:
    body: Body = node.bodies["body"]
    count = node.needed("num_scan_inputs")
    states, given = body.arguments - count, len(body.declared)
    batched = node.opset < 9  # and every scan is along the axis after the samples
    ways = node.get("directions" if batched else "scan_input_directions") or [0] * count
    axes = node.get("scan_input_axes") or [0] * count
    ways_out = node.get("scan_output_directions") or [0] * (given - states)
    axes_out = node.get("scan_output_axes") or [0] * (given - states)

    def once(state: tuple[Any, ...], columns: tuple[Any, ...], around: tuple[Any, ...]) -> Any:
        lines = [
            column.movedim(axis_in(axis, column.dim()), 0)
            for column, axis in zip(columns, axes, strict=True)
        ]
        lines = [line.flip(0) if way else line for line, way in zip(lines, ways, strict=True)]
        lengths = [len(line) for line in lines]
        if len(set(lengths)) > 1:
            raise node.refused(f"scans inputs of different lengths: {lengths}")
        rows = _Rows(node, body, states)
        for parts in zip(*(line.unbind(0) for line in lines), strict=True):
            made = _run(body, (*state, *parts), around)
            state = made[:states]
            rows.add(made[states:])
        stacked = rows.stacked(body.device, ways_out)
        moved = [
            value.movedim(0, axis_in(axis, value.dim()))
            for value, axis in zip(stacked, axes_out, strict=True)
        ]
        return (*state, *moved)

    def scanned(*values: Any) -> Any:
        if batched:
            if values[0] is not None:
                raise node.refused("has sequence lengths, which are not known here")
            values = values[1:]
        own, around = values[: states + count], values[states + count :]
        if not batched:
            return _result(once(own[:states], own[states:], around))
        samples = [
            once(tuple(v[i] for v in own[:states]), tuple(v[i] for v in own[states:]), around)
            for i in range(own[0].shape[0])
        ]
        if not samples:
            raise node.refused("has a batch without samples")
        return _result(tuple(torch.stack(values) for values in zip(*samples, strict=True)))

    return scanned
