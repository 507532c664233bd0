"""The gates of torch's recurrent modules, which return their hidden states alone.

A module is computed once more from what it is called with, level by level, by the operators that
run ONNX graphs: they can be asked for their gates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from accweight_adapters.execution.operators.recurrent import GATE_NAMES, Recurrent
from accweight_core.errors import UnsupportedOperatorError

KINDS = {nn.LSTM: "LSTM", nn.GRU: "GRU", nn.LSTMCell: "LSTM", nn.GRUCell: "GRU"}

_FUNCTIONS = {"LSTM": (torch.sigmoid, torch.tanh, torch.tanh), "GRU": (torch.sigmoid, torch.tanh)}
_ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2)}
"""Where the gates of the standard are among those of torch: i f g o, and r z n."""


def kind_of(module: nn.Module) -> str | None:
    """Return LSTM or GRU for a module with such gates."""
    return next((kind for one, kind in KINDS.items() if isinstance(module, one)), None)


def gates_of_call(module: nn.Module, x: Any, state: Any = None) -> dict[str, Tensor]:
    """Return the gates of one call of a recurrent module by name, (samples, times, units) each.

    Args:
        module: An LSTM or a GRU, or a cell of one.
        x: What it is called with; packed sequences as well.
        state: Its second argument.

    Raises:
        UnsupportedOperatorError: If it is called without an axis for samples, or has projections.
    """
    kind = kind_of(module) or ""
    if getattr(module, "proj_size", 0):
        raise UnsupportedOperatorError("gates are not known of an LSTM with projections", kind)
    is_cell = isinstance(module, nn.RNNCellBase)
    seen, lengths = _time_first(module, x, kind, is_cell=is_cell)
    states = state if isinstance(state, tuple | list) else (state,)
    given = [None if one is None else one[None] if is_cell else one for one in states]
    levels = int(getattr(module, "num_layers", 1))
    ways = 2 if getattr(module, "bidirectional", False) else 1
    operator = Recurrent(kind, [_FUNCTIONS[kind]] * ways, flag=kind == "GRU")
    found: dict[str, Tensor] = {}
    for level in range(levels):
        own = [None if one is None else one[level * ways : (level + 1) * ways] for one in given]
        ends = ["", "_reverse"][:ways]
        suffixes = [""] if is_cell else [f"_l{level}{end}" for end in ends]
        outputs, gates = operator.outputs_and_gates(
            seen, *_weights(module, suffixes, kind), lengths, *own
        )
        where = f"level {level} " if levels > 1 else ""
        found |= {f"{where}{name}": one for name, one in named(kind, gates).items()}
        seen = outputs[0].permute(0, 2, 1, 3).flatten(2)
    return found


def named(kind: str, gates: Tensor) -> dict[str, Tensor]:
    """Return gates by name, (samples, times, units of all directions) each.

    Args:
        kind: LSTM or GRU.
        gates: As `Recurrent.outputs_and_gates` returns them.
    """
    return dict(zip(GATE_NAMES[kind], gates.flatten(3), strict=True))


def _time_first(
    module: nn.Module, x: Any, kind: str, *, is_cell: bool
) -> tuple[Tensor, Tensor | None]:
    """Return (times, samples, features), and the lengths of packed sequences."""
    if isinstance(x, PackedSequence):
        seen, lengths = pad_packed_sequence(x)
        return seen, lengths.to(seen.device)
    if x.dim() != (2 if is_cell else 3):
        raise UnsupportedOperatorError(f"a {kind} is called without an axis for samples", kind)
    if is_cell:
        return x[None], None
    return x.transpose(0, 1) if getattr(module, "batch_first", False) else x, None


def _weights(
    module: nn.Module, suffixes: Sequence[str], kind: str
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return weight, recurrence and bias of one level, gates in the order of the standard."""

    def stacked(name: str) -> Tensor:
        rows = [getattr(module, f"{name}{suffix}") for suffix in suffixes]
        count = len(_ORDER[kind])
        return torch.stack([torch.cat([one.chunk(count)[k] for k in _ORDER[kind]]) for one in rows])

    bias = torch.cat([stacked("bias_ih"), stacked("bias_hh")], 1) if module.bias else None
    return stacked("weight_ih"), stacked("weight_hh"), bias
