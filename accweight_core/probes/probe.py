"""A probe: a function evaluated at every checkpoint of a run, and how to write one.

The samples go through the network once per step, in batches, for all probes that are asked for;
each takes what it kept from every batch and returns the arrays of the step in the end. What needs
several steps (a basis that all share) is computed afterwards, from what the steps have stored.

A probe is a dataclass: its fields are its options. Other packages register theirs under the
entry-point group ``accweight.probes``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Flag, auto
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from accweight_core.errors import ArgumentValueError

if TYPE_CHECKING:
    from accweight_core.analysis.probe_results import ProbeResult
    from accweight_core.probes.context import Context
    from accweight_core.probes.network import BoundNetwork
    from accweight_core.schema import Checkpoint

Array = npt.NDArray[Any]

Dtype = Literal["float64", "float32", "uint8"]
"""Element types of what probes store."""

Lengths = Mapping[str, int | Sequence[str]]
"""By axis its length, or the names of its indices."""

STEP = "step"
"""The axis of an array along the steps of the run."""


class Needs(Flag):
    """What a probe asks of a step."""

    WEIGHTS = auto()
    FORWARD = auto()
    INPUT_GRADIENT = auto()
    WEIGHT_GRADIENT = auto()


RUNS_NETWORK = Needs.FORWARD | Needs.INPUT_GRADIENT | Needs.WEIGHT_GRADIENT
"""Needs for which there has to be a network, and samples."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers that an option may be.

    Attributes:
        least: The smallest, if there is one.
        most: The largest, if there is one.
        above: What it has to be larger than.
        below: What it has to be smaller than.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def allow(self, value: float) -> bool:
        """Tell whether it may be a number; NaN is none."""
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        """Return them in words."""
        words = {"at least": self.least, "above": self.above,
                 "at most": self.most, "below": self.below}  # fmt: skip
        return " and ".join(f"{w} {bound:g}" for w, bound in words.items() if math.isfinite(bound))


def option(default: Any, text: str, **limits: float) -> Any:
    """Return the field of an option: its default, and its help in one line.

    Its type is one of int, float, bool, str, a Literal of texts, tuple[str, ...], or one of these
    or None.

    Args:
        default: Its value if it is not given.
        text: What it does.
        limits: Those of a number: `least`, `most`, `above` and `below`, as `Limits` has them.
            Others are refused before the probe starts.
    """
    return field(default=default, metadata={"help": text, "limits": Limits(**limits)})


def array(name: str, axes: str, words: str, dtype: Dtype = "float64") -> Field:
    """Return an array that a probe stores at every step, for `Schema.of` to give it its lengths.

    Args:
        name: Its name.
        axes: Names of its axes, separated by spaces, "step" first.
        words: What it is, in a phrase.
        dtype: Its element type.
    """
    return Field(name, tuple(axes.split()), (), words, dtype)


def final(name: str, axes: str, words: str, dtype: Dtype = "float64") -> Field:
    """Return an array that `Probe.finish` computes, as `array` does those of a step."""
    return replace(array(name, axes, words, dtype), final=True)


@dataclass(frozen=True, slots=True)
class Field:
    """One array that a probe stores.

    Attributes:
        name: Its name.
        axes: Names of its axes, "step" first in arrays that grow with the steps. What is shown of
            an array depends on them: (step) and (step, layer) are numbers of a table, (step, point,
            coordinate) is a scatter plot of samples, (step, place, coordinate) one of other things,
            with axes that labels of "coordinate" name and ends that the attribute "bounds" gives,
            (step, unit, height, width, channel) are pictures, and (step, any, any) is a matrix.
        shape: Lengths of its axes; the run has its own for "step", so any number will do there.
        words: What it is, in a phrase.
        dtype: Its element type.
        final: Whether `Probe.finish` returns it, and not `Probe.end`.
    """

    name: str
    axes: tuple[str, ...]
    shape: tuple[int, ...]
    words: str
    dtype: Dtype = "float64"
    final: bool = False


@dataclass(frozen=True, slots=True)
class Schema:
    """What a probe stores, and what it takes of the samples.

    Attributes:
        fields: Its arrays.
        labels: Names of the indices of axes, such as the layers of the axis "layer".
        attributes: Further values that are stored, as JSON.
        rows: The samples that it needs, ascending; None for all.
    """

    fields: tuple[Field, ...]
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    rows: npt.NDArray[np.int64] | None = None

    @classmethod
    def of(
        cls,
        lengths: Lengths,
        *fields: Field,
        attributes: Mapping[str, Any] | None = None,
        rows: npt.NDArray[np.int64] | None = None,
    ) -> Schema:
        """Return the schema of arrays whose axes are given once, by name.

        Args:
            lengths: By axis its length, or the names of its indices, which become its labels.
            fields: The arrays: those of `array` and `final`, and others that know their shape.
            attributes: Further values that are stored.
            rows: The samples that are needed.

        >>> schema = Schema.of({"layer": ("conv", "fc"), "unit": 8},
        ...                    array("values", "step layer unit", "largest value of a unit"))
        >>> schema.fields[0].shape, schema.labels
        ((0, 2, 8), {'layer': ('conv', 'fc')})
        """
        labels = {axis: tuple(n) for axis, n in lengths.items() if isinstance(n, Sequence)}
        known = {axis: n if isinstance(n, int) else len(n) for axis, n in lengths.items()}
        known[STEP] = 0

        def sized(one: Field) -> Field:
            return one if one.shape else replace(one, shape=tuple(known[a] for a in one.axes))

        return cls(tuple(map(sized, fields)), labels, attributes or {}, rows)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a run while it is probed.

    Attributes:
        number: The step.
        checkpoint: Its checkpoint.
        weights: Returns a parameter of it by name, widened, in the parameter's shape.
        network: The network with its weights; None for probes of weights alone.
    """

    number: int
    checkpoint: Checkpoint
    weights: Callable[[str], Array]
    network: BoundNetwork | None = None

    @property
    def bound(self) -> BoundNetwork:
        """The network with its weights, for probes that need one: then there is one.

        Raises:
            ArgumentValueError: If the probe says that it needs weights alone.
        """
        if self.network is None:
            raise ArgumentValueError(f"step {self.number}: a probe of weights has no network")
        return self.network


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples, and what the network made of them.

    Attributes:
        rows: Their indices among all samples.
        inputs: By input of the network.
        targets: Their expected outputs; without columns if there are none.
        outputs: The first output as "output", and the nodes kept, by name; samples along axis 0,
            wherever the network has them.
        constant: Names of the nodes among them that have no axis for samples.
    """

    rows: npt.NDArray[np.int64]
    inputs: Mapping[str, Array]
    targets: Array
    outputs: Mapping[str, Array]
    constant: frozenset[str] = frozenset()

    def only(self, chosen: npt.NDArray[np.bool_], nodes: Collection[str]) -> Batch:
        """Return some of the samples, with the values of some of the nodes."""
        taken = {name: self.outputs[name] for name in nodes}
        return Batch(
            self.rows[chosen],
            {name: value[chosen] for name, value in self.inputs.items()},
            self.targets[chosen],
            {n: v if n in self.constant else v[chosen] for n, v in taken.items()},
            self.constant,
        )


class Results(Protocol):
    """What a probe has stored at the steps that are finished."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The finished steps, ascending."""

    def at(self, name: str, index: int) -> Array:
        """Return an array of one finished step, counted from 0 among `steps`."""


@runtime_checkable
class Probe(Protocol):
    """A function evaluated at every checkpoint of a run.

    Derive from it, as a dataclass with an `option` per field. The methods are called in this order:
    `start`; then per step `begin`, `measure` for every batch, and `end`; then `finish`. Steps that
    an earlier call has finished are not measured again, so `finish` relies on what is stored alone.
    """

    name: ClassVar[str]
    """Its name: lower-case letters, digits and underscores."""

    version: ClassVar[int]
    """To be raised when its results change."""

    needs: ClassVar[Needs]
    """What it asks of a step."""

    reading: ClassVar[str] = ""
    """How what it finds is read, and what it does not say: in a sentence or two, for pages."""

    told_at: ClassVar[Literal["first", "last"]] = "last"
    """The step whose numbers of layers are told, where there is room for one."""

    takes_broken: ClassVar[bool] = False
    """Whether it measures steps, too, whose weights or outputs are not finite. Others have no
    results there, and are not asked: their numbers would say nothing of a network."""

    takes_finite_alone: ClassVar[bool] = False
    """Whether a step has no results, either, if a value of a node that it keeps is not finite."""

    takes_grams: ClassVar[bool] = False
    """Whether it asks for `Context.grams`, which a walk over all steps can observe beside the
    metrics of an analysis."""

    def start(self, context: Context) -> Schema:
        """Return what it will store; ask the context for the nodes that it needs.

        Raises:
            AccweightError: If it cannot be computed for this run, network or data.
        """
        ...

    def begin(self, step: Step) -> None:
        """Prepare for a step."""
        return

    def measure(self, batch: Batch) -> None:
        """Take one batch of the step; not called if nothing but weights is needed."""
        return

    def end(self) -> Mapping[str, Array]:
        """Return the arrays of the step, without the axis of steps."""
        return {}

    def finish(self, results: Results) -> Mapping[str, Array]:
        """Return the final arrays, with the finished steps along axes called "step"."""
        return {}

    def labels(self, values: Mapping[str, Array]) -> Mapping[str, tuple[str, ...]]:
        """Return names of the indices of axes that are known only from the final arrays."""
        return {}

    @classmethod
    def summary(cls, result: ProbeResult) -> Sequence[str]:
        """Return lines about results for the user, beside the table of their numbers."""
        return ()


def stacked(results: Results, name: str) -> Array:
    """Return an array at all finished steps."""
    return np.stack([results.at(name, at) for at in range(len(results.steps))])
