"""RNN, GRU and LSTM, in the forms of ONNX: any activation, clipping, peepholes, lengths, layouts.

Written as a loop over time on one matrix product per step: torch's own recurrent functions know
none of these forms, and cannot be mapped over samples (`torch.func.vmap`). It can also be asked for
the values of its gates, which no output of the standard has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from accweight_adapters.execution.operators.table import Call, Node, operator
from accweight_core.errors import UnsupportedOperatorError

GATE_NAMES = {"LSTM": ("input", "forget", "output"), "GRU": ("update", "reset"), "RNN": ()}
"""Gates as a step returns them; the candidate, which weights have as well, is no gate."""

DEFAULTS = {
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
    "RNN": ("Tanh",),
}

Activation = Callable[[Tensor], Tensor]
State = tuple[Tensor, ...]
"""The hidden state, and the cell state of an LSTM."""


def _activation(node: Node, name: str, alpha: float | None, beta: float | None) -> Activation:
    """Return an activation function of a recurrent operator."""

    def default(value: float | None, otherwise: float) -> float:
        return otherwise if value is None else value

    known: dict[str, Activation] = {
        "affine": lambda x: default(alpha, 1.0) * x + default(beta, 0.0),
        "elu": lambda x: F.elu(x, default(alpha, 1.0)),
        "hardsigmoid": lambda x: (default(alpha, 0.2) * x + default(beta, 0.5)).clamp(0, 1),
        "leakyrelu": lambda x: F.leaky_relu(x, default(alpha, 0.01)),
        "relu": torch.relu,
        "scaledtanh": lambda x: default(alpha, 1.0) * torch.tanh(default(beta, 1.0) * x),
        "sigmoid": torch.sigmoid,
        "softplus": F.softplus,
        "softsign": F.softsign,
        "tanh": torch.tanh,
        "thresholdedrelu": lambda x: torch.where(x > default(alpha, 1.0), x, 0),
    }
    if name.lower() not in known:
        raise node.refused(f"has the activation {name!r}, which is not known here")
    return known[name.lower()]


@dataclass(frozen=True, slots=True)
class Direction:
    """What one direction is computed with.

    Attributes:
        weight: (gates x hidden, input).
        recurrence: (gates x hidden, hidden).
        input_bias: (gates x hidden,), or None.
        hidden_bias: Likewise, of the recurrence.
        peepholes: (3 x hidden,) of an LSTM, or None.
        activations: In the order of the standard.
        clip: Applied before activations.
        flag: `input_forget` of an LSTM, `linear_before_reset` of a GRU.
    """

    weight: Tensor
    recurrence: Tensor
    input_bias: Tensor | None
    hidden_bias: Tensor | None
    peepholes: Tensor | None
    activations: Sequence[Activation]
    clip: Activation
    flag: bool


Gates = tuple[Tensor, ...]
"""Values of the gates of a time, as in `GATE_NAMES`, (samples, hidden) each."""

Step = Callable[[Tensor, State, Direction], tuple[State, Gates]]


def _rnn_step(seen: Tensor, state: State, way: Direction) -> tuple[State, Gates]:
    z = seen + F.linear(state[0], way.recurrence, way.hidden_bias)
    return (way.activations[0](way.clip(z)),), ()


def _gru_step(seen: Tensor, state: State, way: Direction) -> tuple[State, Gates]:
    hidden = state[0]
    size = hidden.shape[-1]
    gate, squash = way.activations
    sizes = [2 * size, size]
    bias: Sequence[Tensor | None] = (None, None)
    if way.hidden_bias is not None:
        bias = torch.split(way.hidden_bias, sizes)
    recurrence = torch.split(way.recurrence, sizes)
    now, fresh = torch.split(seen, sizes, -1)
    update, reset = gate(way.clip(now + F.linear(hidden, recurrence[0], bias[0]))).chunk(2, -1)
    if way.flag:
        memory = reset * F.linear(hidden, recurrence[1], bias[1])
    else:
        memory = F.linear(reset * hidden, recurrence[1], bias[1])
    candidate = squash(way.clip(fresh + memory))
    return ((1 - update) * candidate + update * hidden,), (update, reset)


def _lstm_step(seen: Tensor, state: State, way: Direction) -> tuple[State, Gates]:
    hidden, cell = state
    gate, squash, out = way.activations
    z = seen + F.linear(hidden, way.recurrence, way.hidden_bias)
    enter, leave, forget, fresh = z.chunk(4, -1)
    peep = way.peepholes.chunk(3) if way.peepholes is not None else None
    if peep is not None:
        enter, forget = enter + peep[0] * cell, forget + peep[2] * cell
    enter = gate(way.clip(enter))
    forget = 1 - enter if way.flag else gate(way.clip(forget))
    cell = forget * cell + enter * squash(way.clip(fresh))
    if peep is not None:
        leave = leave + peep[1] * cell
    leave = gate(way.clip(leave))
    return (leave * out(cell), cell), (enter, forget, leave)


STEPS: dict[str, Step] = {"LSTM": _lstm_step, "GRU": _gru_step, "RNN": _rnn_step}


def _through_time(
    x: Tensor,
    state: State,
    way: Direction,
    step: Step,
    lengths: Tensor | None,
    *,
    backwards: bool,
    gates: list[Gates] | None = None,
) -> tuple[Tensor, State]:
    """Return all hidden states, (time, samples, hidden), and the last state.

    Args:
        x: (time, samples, input).
        state: At the beginning.
        way: The direction.
        step: What is computed at a time.
        lengths: (samples,) times of each; None if all have all.
        backwards: Whether it begins at the last time.
        gates: Gets the gates of every time; NaN behind the end of a shorter sample.
    """
    seen = F.linear(x, way.weight, way.input_bias).unbind(0)
    times = range(len(seen) - 1, -1, -1) if backwards else range(len(seen))
    made: list[Tensor] = [x] * len(seen)
    found: list[Gates] = [()] * len(seen)
    for time in times:
        new, found[time] = step(seen[time], state, way)
        if gates is None:
            found[time] = ()
        if lengths is None:
            state, made[time] = new, new[0]
            continue
        within = (time < lengths)[:, None]
        made[time] = torch.where(within, new[0], 0)
        state = tuple(torch.where(within, n, s) for n, s in zip(new, state, strict=True))
        found[time] = tuple(torch.where(within, gate, torch.nan) for gate in found[time])
    if gates is not None:
        gates.extend(found)
    if not made:
        return x.new_zeros(0, *state[0].shape), state
    return torch.stack(made), state


@dataclass(frozen=True)
class Recurrent:
    """A recurrent operator, as it is called; it returns outputs, and its gates if it is asked.

    Attributes:
        kind: LSTM, GRU or RNN.
        functions: The activation functions of every direction.
        is_reverse: Whether a single direction begins at the last time.
        clip: Applied before activations.
        flag: `input_forget` of an LSTM, `linear_before_reset` of a GRU.
        sideways: Whether samples come before times.
        hidden_size: Hidden units; 0 for as many as the weights say.
    """

    kind: str
    functions: Sequence[Sequence[Activation]]
    is_reverse: bool = False
    clip: Activation = lambda x: x
    flag: bool = False
    sideways: bool = False
    hidden_size: int = 0

    def __call__(self, *inputs: Tensor | None) -> tuple[Tensor, ...]:
        """Return the outputs of the standard.

        Args:
            inputs: Those of the standard: x, weight, recurrence, bias, lengths, hidden, cell,
                peepholes; the first three are there.
        """
        return self._run(inputs, None)

    def outputs_and_gates(self, *inputs: Tensor | None) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return the outputs, and (gates, samples, times, directions, hidden).

        Gates are in the order of `GATE_NAMES`.
        """
        found: list[list[Gates]] = []
        outputs = self._run(inputs, found)
        ways = torch.stack([torch.stack([torch.stack(each) for each in way]) for way in found])
        return outputs, ways.permute(2, 3, 1, 0, 4)

    def _run(
        self, inputs: Sequence[Tensor | None], gates: list[list[Gates]] | None
    ) -> tuple[Tensor, ...]:
        """Return the outputs; the list of gates gets that of every direction."""
        given = [*inputs, *[None] * (8 - len(inputs))]
        x, weight, recurrence, bias, lengths, hidden, cell, peepholes = given
        if x is None or weight is None or recurrence is None:
            raise UnsupportedOperatorError(f"lacks an input that {self.kind} needs", self.kind)
        if self.sideways:
            x = x.transpose(0, 1)
            hidden, cell = (None if s is None else s.transpose(0, 1) for s in (hidden, cell))
        size = self.hidden_size or recurrence.shape[-1]
        zeros = x.new_zeros(x.shape[1], size)
        outputs: list[Tensor] = []
        last: list[State] = []
        for d, functions in enumerate(self.functions):
            both = None if bias is None else bias[d].chunk(2)
            way = Direction(
                weight[d],
                recurrence[d],
                None if both is None else both[0],
                None if both is None else both[1],
                None if peepholes is None else peepholes[d],
                functions,
                self.clip,
                self.flag,
            )
            state: State = (zeros if hidden is None else hidden[d],)
            if self.kind == "LSTM":
                state = (*state, zeros if cell is None else cell[d])
            kept: list[Gates] | None = None if gates is None else []
            made, end = _through_time(
                x, state, way, STEPS[self.kind], lengths,
                backwards=self.is_reverse or d == 1, gates=kept,
            )  # fmt: skip
            outputs.append(made)
            last.append(end)
            if gates is not None and kept is not None:
                gates.append(kept)
        every = torch.stack(outputs, 1)
        ends = [torch.stack(states) for states in zip(*last, strict=True)]
        if self.sideways:
            every = every.permute(2, 0, 1, 3)
            ends = [end.transpose(0, 1) for end in ends]
        return (every, *ends)


@operator("LSTM", "GRU", "RNN", newest=22)
def _recurrent(node: Node) -> Call:
    direction = node.only("direction", "forward", "reverse", "bidirectional", default="forward")
    bound = node.get("clip", 0.0)
    return Recurrent(
        node.type,
        _activations(node, 2 if direction == "bidirectional" else 1),
        direction == "reverse",
        (lambda x: x.clamp(-bound, bound)) if bound else (lambda x: x),
        bool(node.get("input_forget", 0) or node.get("linear_before_reset", 0)),
        bool(node.get("layout", 0)),
        node.get("hidden_size") or 0,
    )


def _activations(node: Node, directions: int) -> list[list[Activation]]:
    """Return the activation functions of every direction."""
    defaults = DEFAULTS[node.type]
    names = node.get("activations") or defaults * directions
    if len(names) != len(defaults) * directions:
        raise node.refused(f"has {len(names)} activations for {directions} directions")
    alphas, betas = list(node.get("activation_alpha", ())), list(node.get("activation_beta", ()))
    if (alphas or betas) and max(len(alphas), len(betas)) != len(names):
        raise node.refused("gives activation_alpha for some functions only")
    pad: list[float | None] = [None] * len(names)
    made = [
        _activation(node, name, alpha, beta)
        for name, alpha, beta in zip(names, alphas or pad, betas or pad, strict=True)
    ]
    each = len(defaults)
    return [made[d * each : (d + 1) * each] for d in range(directions)]
