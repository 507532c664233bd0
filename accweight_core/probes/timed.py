"""Layers with times: the states of hidden units along a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.probe import Array, Batch
from accweight_core.probes.units import UnitAxes
from accweight_core.probes.varied import named, token_names
from accweight_core.schema import Kind
from accweight_core.text import BLANKS

LETTERS, WORDS = 6, 3
"""How many are shown before and behind a span."""

RECURRENT = (Kind.RNN, Kind.LSTM, Kind.GRU)


@dataclass(frozen=True)
class States:
    """The states of one layer, at every time of a sequence.

    Attributes:
        node: The layer, or another node.
        axes: Where its samples, units and times are.
    """

    node: str
    axes: UnitAxes

    @classmethod
    def of(cls, context: Context, node: str) -> States:
        """Return those of a node; if none is named, of the first recurrent layer.

        Without one, they are of the first layer that has times, if any.

        Raises:
            UnknownNameError: If there is no such node, or it has no axis for the samples.
            ArgumentValueError: If it has no times.
        """
        chosen = node or _first_with_times(context)
        axes = context.checked_axes(chosen, "choose another one with layer=")
        if len(axes.places) != 1:
            raise ArgumentValueError(
                f"probe {context.probe!r}: node {chosen} has places of shape {axes.places}, and "
                "not one axis of times; name a recurrent layer with layer="
            )
        return cls(chosen, axes)

    @property
    def units(self) -> int:
        """Number of units."""
        return self.axes.count

    @property
    def times(self) -> int:
        """Number of times."""
        return self.axes.positions

    def of_batch(self, batch: Batch) -> Array:
        """Return (samples, units, times)."""
        return self.axes.of(batch.outputs[self.node])


def names_at_times(context: Context, rows: Array) -> list[list[str]]:
    """Return what comes in at every time of samples, if it is tokens, or one of named features."""
    values, names = context.data.inputs[0], context.data.vocabulary
    if len(context.data.inputs) == 1 and values.ndim == 3 and values.shape[2] == len(names):
        return [named(one, names) for one in values[rows].argmax(axis=2).tolist()]
    return token_names(context, rows)


def span_text(names: Sequence[str], first: int, length: int) -> str:
    """Return a span of a sequence between marks, amid what is before and behind it.

    >>> span_text(list("in the end"), 3, 3), span_text(["it", "is", "not", "good"], 2, 2)
    ('in «the» end', 'it is «not good»')
    """
    are_letters = all(len(name) <= 1 for name in names)
    space, around = ("", LETTERS) if are_letters else (" ", WORDS)
    end, blank = first + length, BLANKS[ord(" ")]
    before = space.join(names[max(first - around, 0) : first]).replace(blank, " ")
    behind = space.join(names[end : end + around]).replace(blank, " ")
    parts = before, f"\xab{space.join(names[first:end])}\xbb", behind
    return space.join(part for part in parts if part)


def _first_with_times(context: Context) -> str:
    found = [one.name for one in context.run.layers if one.kind in RECURRENT]
    axes = {name: context.unit_axes(name) for name in context.layers}
    timed = [n for n, a in axes.items() if a and len(a.places) == 1 and a.positions > 1]
    return next((n for n in [*found, *timed] if n in context.layers), context.layers[0])
