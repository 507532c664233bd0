"""Control flow: branches, loops and scans over bodies, which are graphs of their own."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from accweight_adapters.execution.limits import check_size, spend
from accweight_adapters.execution.operators.table import Call, Node, axis_in, operator


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


@operator("Loop", newest=25, free=True)
def _loop(node: Node) -> Call:
    body: Body = node.bodies["body"]
    states = body.arguments - 2

    def looped(trips: Tensor | None, condition: Tensor | None, *values: Any) -> Any:
        state, around = values[:states], values[states:]
        device = next((v.device for v in values if isinstance(v, Tensor)), None)
        most = None if trips is None else int(trips)
        going = True if condition is None else bool(condition)
        rows: list[list[Tensor]] = []
        trip, size_bytes = 0, 0
        while going and (most is None or trip < most):
            count = torch.tensor(trip, device=device)
            made = _run(body, (count, torch.tensor(going, device=device), *state), around)
            going, state = bool(made[0]), made[1 : 1 + states]
            row = made[1 + states :]
            rows = rows or [[] for _ in row]
            for column, value in zip(rows, row, strict=True):
                column.append(value)
                size_bytes += value.numel() * value.element_size()
            check_size(node.type, (size_bytes,), 1)
            trip += 1
        scans = len(node.outputs) - states
        return _result((*state, *(torch.stack(c) for c in rows or [[]] * max(0, scans) if c)))

    return looped


@operator("Scan", newest=25, free=True)
def _scan(node: Node) -> Call:
    body: Body = node.bodies["body"]
    count = node.needed("num_scan_inputs")
    states = body.arguments - count
    batched = node.opset < 9
    if batched and node.get("directions") and any(node.get("directions")):
        raise node.refused("scans backwards before operator set 9, which is not known here")

    def along(kind: str, number: int) -> tuple[list[int], list[int]]:
        axes = node.get(f"scan_{kind}_axes") or [0] * number
        ways = node.get(f"scan_{kind}_directions") or [0] * number
        return list(axes), list(ways)

    def once(state: tuple[Any, ...], columns: tuple[Any, ...], around: tuple[Any, ...]) -> Any:
        axes, ways = along("input", count)
        lines = [
            column.movedim(axis_in(axis, column.dim()), 0)
            for column, axis in zip(columns, axes, strict=True)
        ]
        lines = [line.flip(0) if way else line for line, way in zip(lines, ways, strict=True)]
        rows: list[list[Tensor]] = []
        for parts in zip(*(line.unbind(0) for line in lines), strict=True):
            made = _run(body, (*state, *parts), around)
            state, row = made[:states], made[states:]
            rows = rows or [[] for _ in row]
            for column, value in zip(rows, row, strict=True):
                column.append(value)
        if not rows:
            raise node.refused("scans over nothing")
        axes, ways = along("output", len(rows))
        stacked = [torch.stack(r[::-1] if way else r) for r, way in zip(rows, ways, strict=True)]
        moved = [s.movedim(0, axis_in(a, s.dim())) for s, a in zip(stacked, axes, strict=True)]
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
        return _result(tuple(torch.stack(values) for values in zip(*samples, strict=True)))

    return scanned
