"""Match the parameters of two matched layers.

First by name (`kernel` and `weight` are the same, `gamma` and `scale` too), then by shape, then
what is left by role. Several parameters that the other side stores as one are matched as a group:
the two biases of an LSTM, its directions, the projections of attention.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Sequence

from accweight_core.alignment.matching.result import ParameterMatch
from accweight_core.runs.axis_shapes import form_of, parameter_form
from accweight_core.schema import Kind, Parameter, Role

_LEAVES = (
    (re.compile(r"recurrent_kernel|weight_hh(_l0)?|recurrent_weight"), "recurrent"),
    (re.compile(r"bias_hh(_l0)?"), "recurrent bias"),
    (re.compile(r"bias_ih(_l0)?"), "bias"),
    (re.compile(r"(moving|running)_mean|mean"), "mean"),
    (re.compile(r"(moving|running)_var(iance)?|var"), "variance"),
    (re.compile(r"depthwise_kernel"), "depthwise"),
    (re.compile(r"pointwise_kernel"), "pointwise"),
    (re.compile(r"weight_ih(_l0)?|weight|kernel|embeddings?|gamma|scale|w|table"), "weight"),
    (re.compile(r"bias|beta|b|offset"), "bias"),
)
_RECURRENT = (Kind.RNN, Kind.LSTM, Kind.GRU)
_CLASS = {Role.EMBEDDING: Role.WEIGHT}


def matched_parameters(
    left: Sequence[Parameter], right: Sequence[Parameter], *, in_parts: bool = False
) -> tuple[ParameterMatch, ...]:
    """Return the matched parameters, in the order of the left side.

    Args:
        left: Parameters of one or several layers.
        right: Parameters of the layers they are matched with.
        in_parts: Whether one side has one layer where the other has several; equal names
            with different shapes are then not matched.
    """
    here, there = list(left), list(right)
    found = _uneven_biases(here, there)
    steps: list[Callable[[Parameter], Hashable]] = [
        lambda p: (p.name, parameter_form(p)),
        lambda p: (_role(p), leaf_of(p), parameter_form(p)),
        lambda p: (_role(p), parameter_form(p)),
    ]
    for key in steps if in_parts else [*steps, lambda p: (_role(p), leaf_of(p))]:
        found += _taken(here, there, key)
    for role in dict.fromkeys(map(_role, here)):
        if role is not Role.BUFFER:
            found += _grouped(here, there, role)
    order = {p.name: place for place, p in enumerate(left)}
    return tuple(sorted(found, key=lambda match: order[match.a[0]]))


def _uneven_biases(here: list[Parameter], there: list[Parameter]) -> list[ParameterMatch]:
    """Group the biases of recurrent layers where the sides have different numbers of them."""
    counts = [sum(p.role is Role.BIAS for p in side) for side in (here, there)]
    if counts[0] != counts[1] and all(p.kind in _RECURRENT for p in (*here, *there)):
        return _grouped(here, there, Role.BIAS)
    return []


def _grouped(here: list[Parameter], there: list[Parameter], role: Role) -> list[ParameterMatch]:
    """Group the remaining parameters of a role, and remove them from both lists."""
    ours, theirs = ([p for p in side if _role(p) is role] for side in (here, there))
    if not (ours and theirs):
        return []
    for side, members in ((here, ours), (there, theirs)):
        side[:] = [p for p in side if p not in members]
    names = [tuple(p.name for p in side) for side in (ours, theirs)]
    return [ParameterMatch(names[0], names[1], _same_in_all(ours, theirs))]


def leaf_of(parameter: Parameter) -> str:
    """Return a parameter's name within its layer, in one vocabulary for all frameworks."""
    last = re.split(r"[./]", parameter.name.split(":0")[0])[-1]
    for pattern, meaning in _LEAVES:
        if pattern.fullmatch(last):
            return meaning
    return last


def _role(parameter: Parameter) -> Role:
    return _CLASS.get(parameter.role, parameter.role)


def _taken(
    here: list[Parameter], there: list[Parameter], key: Callable[[Parameter], Hashable]
) -> list[ParameterMatch]:
    """Match parameters with equal keys in order, and remove them from both lists."""
    waiting: dict[Hashable, list[Parameter]] = {}
    for parameter in there:
        waiting.setdefault(key(parameter), []).append(parameter)
    found = []
    for parameter in list(here):
        partners = waiting.get(key(parameter))
        if partners:
            partner = partners.pop(0)
            here.remove(parameter)
            there.remove(partner)
            same = parameter_form(parameter) == parameter_form(partner)
            found.append(ParameterMatch((parameter.name,), (partner.name,), same))
    return found


def _same_in_all(ours: Sequence[Parameter], theirs: Sequence[Parameter]) -> bool:
    """Tell whether two groups have the same inputs, and the same number of outputs in all."""
    stacks = []
    for side in (ours, theirs):
        stack: dict[tuple[int, ...], int] = {}
        for parameter in side:
            form, times = form_of(parameter)
            stack[form[1:]] = stack.get(form[1:], 0) + (form[0] if form else 1) * max(times, 1)
        stacks.append(stack)
    return stacks[0] == stacks[1]
