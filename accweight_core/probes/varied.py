"""What attributions vary, and which number of the output they explain.

Pixels and features are varied themselves. Tokens are whole numbers, between which there is nothing:
what is varied is the value of the node of their embedding, in the form (samples, units, positions),
and a token has the sum over its units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from accweight_core.errors import ArgumentValueError
from accweight_core.probes.context import Context
from accweight_core.probes.network import (
    OUTPUT,
    BoundNetwork,
    Unit,
    portions_of,
    samples_at_once,
)
from accweight_core.probes.probe import Array, Batch
from accweight_core.probes.units import UnitAxes
from accweight_core.text import seen


@dataclass
class Varied:
    """The input of a network, or the node of an embedding.

    Attributes:
        input: Name of the input.
        shape: Shape of the ratings of a sample.
        node: The node; empty for the input itself.
        axes: Where its samples and units are.
        at_once: Samples that the network takes at a time; 0 for any.
        network: The network of the step.
    """

    input: str
    shape: tuple[int, ...]
    node: str = ""
    axes: UnitAxes | None = None
    at_once: int = 0
    network: BoundNetwork | None = None

    @classmethod
    def of(cls, context: Context, node: str, token: int | None = None) -> Varied:
        """Return what is varied for the samples of a probe.

        Args:
            context: What the probe is told.
            node: The node that the user names; empty for the input, or for whole numbers the first
                layer that has a vector for each of them.
            token: The whole number that the user names as a baseline, if any.

        Raises:
            ArgumentValueError: If the network has several inputs, there is no such layer, or a
                token is named where there are none.
            UnknownNameError: If there is no such node.
        """
        port, shape = context.network.inputs[0], context.only_input.shape[1:]
        at_once = samples_at_once(context.network.inputs)
        if not node and not is_whole(context):
            if token is not None:
                raise ArgumentValueError(
                    f"probe {context.probe!r}: token= is for inputs that are whole numbers; the "
                    "baseline of others is baseline="
                )
            return cls(port.name, shape, at_once=at_once)
        node = node or _embedding(context, shape)
        axes = context.checked_axes(node, "choose another one with node=")
        return cls(port.name, axes.places, node, axes, at_once)

    def values(self, batch: Batch) -> Array:
        """Return what is varied of some samples, as float32."""
        if self.axes is None:
            return batch.inputs[self.input].astype(np.float32, copy=False)
        return self.axes.of(batch.outputs[self.node]).astype(np.float32)

    def baseline(self, values: Array, x: Array, element: float, token: int | None) -> Array:
        """Return what is nothing beside what is varied of some samples.

        Args:
            values: What is varied.
            x: The samples.
            element: Every element of it.
            token: The token of whose vectors it is made instead.
        """
        if token is None:
            return np.full_like(values, element)
        return self.likewise(np.full_like(x, token))

    def likewise(self, x: Array) -> Array:
        """Return what is varied of other samples."""
        if self.axes is None:
            return x.astype(np.float32, copy=False)
        parts = []
        for rows, taken in portions_of(len(x), self.at_once):
            made = self._bound.run({self.input: x[taken]}, [self.node])[self.node]
            parts.append(self.axes.made(made, len(rows)))
        return np.concatenate(parts).astype(np.float32)

    def gradient(self, values: Array, x: Array, unit: Unit) -> Array:
        """Return the gradient of one number of the output with respect to what is varied.

        Args:
            values: What is varied.
            x: The samples; whole numbers say how many positions there are, and no more.
            unit: The number.
        """
        parts = []
        for rows, taken in portions_of(len(x), self.at_once):
            if self.axes is None:
                found = self._bound.gradient(values[taken], (OUTPUT, unit))
                parts.append(np.asarray(found)[: len(rows)])
                continue
            bound = self._with(values[taken])
            made = bound.gradient({self.input: x[taken]}, (OUTPUT, unit), [self.node])
            parts.append(self.axes.made(np.asarray(made[self.node]), len(rows)))
        return np.concatenate(parts)

    def gradients(self, x: Array, explained: Explained, numbers: Array) -> Callable[[Array], Array]:
        """Return a function of what is varied: the gradient of one number of each sample.

        Args:
            x: The samples.
            explained: Which numbers there are.
            numbers: (samples,) the number of each.
        """

        def of(values: Array) -> Array:
            def of_one(rows: Array, number: int) -> Array:
                return self.gradient(values[rows], x[rows], explained.unit(number))

            return by_unit(np.arange(len(x)), numbers, of_one)

        return of

    def outputs(self, values: Array, x: Array) -> Array:
        """Return the output of the network for what is varied."""
        given = values if self.axes is None else x
        parts = []
        for rows, taken in portions_of(len(given), self.at_once):
            made = self._with(values[taken]).run({self.input: given[taken]})
            parts.append(made[OUTPUT][: len(rows)])
        return np.concatenate(parts)

    def of_parts(self, ratings: Array, *, are_shares: bool) -> Array:
        """Return ratings of the parts of samples: a token has those of its vector in one number.

        Args:
            ratings: (samples, ...), or (samples, units, tokens) of vectors.
            are_shares: Whether ratings share something out, so that a token has their sum; else it
                has the length of their vector. The sum of a gradient would be 0 behind a layer
                norm, which takes away what all units have in common.
        """
        if self.axes is None:
            return ratings
        found: Array = ratings.sum(axis=1) if are_shares else np.linalg.norm(ratings, axis=1)
        return found.reshape(len(ratings), *self.shape)

    @property
    def _bound(self) -> BoundNetwork:
        if self.network is None:
            raise ArgumentValueError("attribution needs a network")
        return self.network

    def _with(self, values: Array) -> BoundNetwork:
        """Return the network in which the node, if there is one, has these values."""
        if self.axes is None:
            return self._bound
        return self._bound.patch({self.node: partial(self.axes.tensor_like, values=values)})


def is_whole(context: Context) -> bool:
    """Tell whether the network takes whole numbers, and not pixels made numbers."""
    dtype = context.network.inputs[0].dtype
    kind = context.data.inputs[0].dtype.kind
    return kind in "iub" and (not dtype or not dtype.startswith(("float", "bfloat", "double")))


def token_names(context: Context, rows: Array) -> list[list[str]]:
    """Return the tokens of samples by name, by number without names; nothing of other inputs."""
    values, names = context.data.inputs[0], context.data.vocabulary
    if len(context.data.inputs) != 1 or values.ndim != 2 or not is_whole(context):
        return []
    return [named(sample, names) for sample in values[rows].astype(int).tolist()]


def named(numbers: Iterable[int], names: Sequence[str]) -> list[str]:
    """Return the name of each number, the number itself where there is none.

    Names that are only blanks are shown by signs.

    >>> named([1, 7, 2], ["a", "b", " "])
    ['b', '7', '\u2423']
    """
    return [seen(names[one]) if 0 <= one < len(names) else str(one) for one in numbers]


def differentiable_input(context: Context, instead: str) -> Array:
    """Return the samples of the only input, for probes that follow its gradient.

    Args:
        context: What the probe is told.
        instead: What else to do if there is none.

    Raises:
        ArgumentValueError: If there are several inputs, or they are whole numbers.
    """
    found = context.only_input
    if is_whole(context):
        raise ArgumentValueError(
            f"probe {context.probe!r}: the input is whole numbers, which have no gradient; "
            f"{instead}"
        )
    return found


def _embedding(context: Context, shape: tuple[int, ...]) -> str:
    """Return the first layer that has a vector for each number of a sample."""
    for layer in context.layers_of_samples:
        axes = context.unit_axes(layer)
        if axes is not None and axes.places == shape and axes.count > 1:
            return layer
    raise ArgumentValueError(
        f"probe {context.probe!r}: the input is whole numbers, which have no gradient, and no "
        "layer has a vector for each of them; name the node of their embedding, as in node=embed"
    )


@dataclass(frozen=True)
class Explained:
    """Which numbers of the output are explained: of one position, where there are several.

    Attributes:
        numbers: How many there are to choose from.
        at: Index of the position, None where there are none.
        is_last: Whether the numbers are along the last axis.
        always: The number that is explained of all samples, if the user names one.
    """

    numbers: int
    at: int | None = None
    is_last: bool = True
    always: int | None = None

    @classmethod
    def of(cls, context: Context, output: Array, at: int, always: int | None = None) -> Explained:
        """Return it for an output of (samples, numbers), or one of (samples, positions, numbers).

        Args:
            context: What the probe is told.
            output: The output for some samples.
            at: The position; negative ones count from the end.
            always: The number that the user names.

        Raises:
            ArgumentValueError: If the output has another form, or no such position or number.
        """
        found = replace(cls._of_form(context, output, at), always=always)
        if always is not None and not 0 <= always < found.numbers:
            raise ArgumentValueError(
                f"probe {context.probe!r}: there is no output {always}; the network has "
                f"{found.numbers}, counted from 0"
            )
        return found

    @classmethod
    def _of_form(cls, context: Context, output: Array, at: int) -> Explained:
        if output.ndim == 2:
            if at not in (-1, 0):
                raise ArgumentValueError(
                    f"probe {context.probe!r}: at={at} names a position of outputs per token; "
                    f"this network has one output of {output.shape[1]} numbers per sample: leave "
                    "out at="
                )
            return cls(output.shape[1])
        if output.ndim != 3:
            raise ArgumentValueError(
                f"probe {context.probe!r} explains one number of an output of (samples, numbers) "
                f"or (samples, positions, numbers); the output is {output.shape}"
            )
        beside = context.data.targets.shape[1:]
        is_last = beside != output.shape[2:] or beside == output.shape[1:2]
        positions, numbers = output.shape[1:] if is_last else output.shape[:0:-1]
        if not -positions <= at < positions:
            raise ArgumentValueError(
                f"probe {context.probe!r}: there is no position {at}; the output has {positions}, "
                "counted from 0"
            )
        return cls(numbers, at % positions, is_last)

    def scores(self, outputs: Array) -> Array:
        """Return (samples, numbers)."""
        if self.at is None:
            return outputs
        return outputs[:, self.at] if self.is_last else outputs[:, :, self.at]

    def unit(self, number: int) -> Unit:
        """Return a number as networks take it."""
        if self.at is None:
            return number
        return (self.at, number) if self.is_last else (number, self.at)

    def chosen(self, outputs: Array, targets: Array) -> tuple[Array, Array]:
        """Return which number of each sample is explained, and its value as float64.

        It is the one that the user names, else that of its class, else the largest.

        Args:
            outputs: The output for some samples.
            targets: Their targets.
        """
        scores, classes = self.scores(outputs), self.classes(targets)
        numbers = np.asarray(scores.argmax(axis=1), np.int64)
        if self.always is not None:
            numbers = np.full(len(scores), self.always, np.int64)
        elif classes is not None and classes.min() >= 0 and classes.max() < self.numbers:
            numbers = classes
        return numbers, self.values(outputs, numbers)

    def values(self, outputs: Array, numbers: Array) -> Array:
        """Return (samples,) float64: one number of the output of each sample."""
        return self.scores(outputs)[np.arange(len(numbers)), numbers].astype(np.float64)

    def classes(self, targets: Array) -> Array | None:
        """Return the class of every sample; None where samples have none."""
        if self.at is not None and targets.ndim == 2 and targets.shape[1] > self.at:
            targets = targets[:, self.at]
        is_class = targets.ndim == 1 and targets.dtype.kind in "iu" and targets.size > 0
        return np.asarray(targets, np.int64) if is_class and self.numbers > 1 else None


def by_unit(x: Array, units: Array, of: Callable[[Array, int], Array]) -> Array:
    """Return what is made of samples, those of one unit together.

    Args:
        x: The samples, or their rows.
        units: The unit of each.
        of: Takes some samples and their unit.
    """
    order = np.argsort(units, kind="stable")
    starts = np.flatnonzero(np.diff(units[order], prepend=-1))
    parts = [of(x[own], int(units[own[0]])) for own in np.split(order, starts[1:])]
    found: Array = np.concatenate(parts)[np.argsort(order)]
    return found
