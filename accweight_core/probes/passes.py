"""One pass per step: samples go through the network once, for all probes that are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from accweight_core.errors import AccweightError, ArgumentValueError
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.stamp import stamps_of
from accweight_core.io.widening import working_dtype
from accweight_core.probes.context import TRIED_SAMPLES, Context, Portion
from accweight_core.probes.network import (
    OUTPUT,
    BoundNetwork,
    Network,
    filled_up,
    portions_of,
    samples_at_once,
)
from accweight_core.probes.probe import RUNS_NETWORK, Array, Batch, Probe, Schema, Step
from accweight_core.probes.scoring import finite_samples
from accweight_core.probes.units import Placed, likely_sample_axis, sample_axis
from accweight_core.samples.samples import Data, Input, batches
from accweight_core.schema import Checkpoint, Run
from accweight_core.store.probe_store import ProbeStore

OWN_AT_ONCE = 4096
"""Samples of a batch of values of one's own, such as points of a plane, at most."""

Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

Advance = Callable[[int, int], None]


@dataclass
class Asked:
    """A probe that is asked for, with where its results go.

    Attributes:
        probe: The probe.
        context: What it is told.
        schema: What it stores.
        store: Its results.
        todo: Steps that are not finished.
    """

    probe: Probe
    context: Context
    schema: Schema
    store: ProbeStore
    todo: tuple[int, ...] = ()

    @property
    def takes_batches(self) -> bool:
        """Whether it looks at samples."""
        return bool(self.probe.needs & RUNS_NETWORK)


@dataclass
class Passes:
    """Runs the steps of a run through a network.

    Attributes:
        run: The run.
        network: The network; None for probes of weights alone.
        data: The samples.
        batch_size: Samples per batch.
        bind: Puts the weights of a checkpoint into the network.
        broken: Steps at which a parameter has no finite number.
    """

    run: Run
    network: Network | None
    data: Data | None
    batch_size: int
    bind: Callable[[Checkpoint], BoundNetwork]
    broken: frozenset[int] = frozenset()
    _bound: dict[int, BoundNetwork] = field(default_factory=dict)
    _placed: dict[str, Placed] = field(default_factory=dict)

    def bound(self, position: int) -> BoundNetwork:
        """Return the network with the weights of a step; that of the last call is kept."""
        if position not in self._bound:
            self._bound.clear()  # first, as two sets of weights may be too many for a GPU
            self._bound[position] = self.bind(self.run.checkpoints[position])
        return self._bound[position]

    def trial(self, position: int, nodes: Sequence[str]) -> Mapping[str, Array]:
        """Return output and nodes for the first samples at a step, samples first where they are."""
        placed = self.placed(position, nodes)
        portion = next(self.portions(np.arange(min(TRIED_SAMPLES, len(self._data)))))
        made = self._made(position, portion, nodes)
        return _samples_first(made, placed, len(portion.rows))

    def placed(self, position: int, nodes: Sequence[str]) -> Mapping[str, Placed]:
        """Return shapes of nodes, and the axis that has their samples.

        It is the one that is shorter for one sample less. The output has them first.
        """
        missing = [n for n in dict.fromkeys(nodes) if n not in self._placed and n != OUTPUT]
        try:
            self._placed |= self._places(position, missing) if missing else {}
        except ArgumentValueError as error:  # a module that is not called
            if len(missing) > 1:
                for node in missing:
                    self.placed(position, [node])
            else:
                self._placed[missing[0]] = Placed((), None, str(error))
        return self._placed

    def _places(self, position: int, nodes: Sequence[str]) -> dict[str, Placed]:
        portion = next(self.portions(np.arange(min(TRIED_SAMPLES, len(self._data)))))
        count, made = len(portion.rows), self._made(position, portion, nodes)
        if self._fixed or count < 2:
            axes = {n: likely_sample_axis(made[n].shape, self._fixed or count) for n in nodes}
        else:
            less = Portion(portion.rows[1:], {n: v[1:] for n, v in portion.inputs.items()})
            fewer = self._made(position, less, nodes)
            axes = {n: sample_axis(made[n].shape, fewer[n].shape) for n in nodes}
        found = {node: Placed.of(made[node].shape, axes[node]) for node in nodes}
        return {OUTPUT: Placed.of(made[OUTPUT].shape, 0), **found}

    def _made(self, position: int, portion: Portion, nodes: Sequence[str]) -> Mapping[str, Array]:
        return self.bound(position).run(portion.inputs, [n for n in nodes if n != OUTPUT])

    @property
    def _data(self) -> Data:
        if self.data is None:
            raise ArgumentValueError("samples are needed; give them with --data FILE")
        return self.data

    def step(self, position: int, asked: Sequence[Asked], told: Callable[[], None]) -> None:
        """Measure one step for some probes, and store it.

        Args:
            position: Index of the step in the run.
            asked: The probes; none has finished the step.
            told: Called after every batch.
        """
        checkpoint = self.run.checkpoints[position]
        taking = [one for one in asked if one.takes_batches]
        with OpenFiles(described=stamps_of([checkpoint])) as files:
            bound = self.bound(position) if taking else None
            weights = partial(read_parameter, files, checkpoint)
            for one in asked:
                for collector in one.context.collectors:
                    collector.begin()
                network = bound if one.takes_batches else None
                one.probe.begin(Step(checkpoint.step, checkpoint, weights, network))
            broken = self._measure(position, taking, told) if taking else []
            for one in asked:
                is_broken = checkpoint.step in self.broken or one in broken
                if is_broken and not one.probe.takes_broken:
                    one.store.write_broken(checkpoint.step)
                    continue
                proof = bound.proof if bound is not None and one.takes_batches else ""
                stored(one, checkpoint.step, proof)

    def _measure(
        self, position: int, taking: Sequence[Asked], told: Callable[[], None]
    ) -> list[Asked]:
        """Give the batches of a step to probes; return those for which the step is broken.

        It is for a probe that looks at a sample without a finite output. From then on, it is given
        no more, unless it takes broken steps.
        """
        is_broken = [self.run.checkpoints[position].step in self.broken] * len(taking)
        nodes = list(dict.fromkeys(node for one in taking for node in one.context.kept))
        self.placed(position, nodes)
        wanted = [self._wanted(one) for one in taking]
        for batch in self.batches(self.bound(position), self.rows_of(taking), nodes):
            there = finite_samples(batch.outputs[OUTPUT])
            for place, (one, mask) in enumerate(zip(taking, wanted, strict=True)):
                chosen = mask[batch.rows]
                is_broken[place] |= not (there[chosen].all() and _can_take(one, batch, chosen))
                if is_broken[place] and not one.probe.takes_broken:
                    continue
                if chosen.all():
                    _give(one, batch)
                elif chosen.any():  # copies no more than the probe looks at
                    _give(one, batch.only(chosen, (OUTPUT, *one.context.kept)))
            told()
        return [one for one, broken in zip(taking, is_broken, strict=True) if broken]

    def _wanted(self, one: Asked) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Return, for every sample, whether a probe looks at it."""
        rows = one.schema.rows
        found = np.full(len(self._data), rows is None)
        if rows is not None:
            found[rows] = True
        return found

    def batches_of(self, asked: Sequence[Asked]) -> int:
        """Return the number of batches of a step for some probes."""
        taking = [one for one in asked if one.takes_batches]
        return math.ceil(len(self.rows_of(taking)) / self._size) if taking else 0

    def rows_of(self, asked: Sequence[Asked]) -> Rows:
        """Return the samples that some probes need together, ascending."""
        wanted = [one.schema.rows for one in asked]
        some = [rows for rows in wanted if rows is not None]
        if len(some) < len(wanted):
            return np.arange(len(self._data))
        return np.unique(np.concatenate(some)).astype(np.int64)

    @property
    def _ports(self) -> list[Input]:
        return [] if self.network is None else inputs_of(self.network)

    @property
    def _fixed(self) -> int:
        """The number of samples that the network takes at a time; 0 for any."""
        return 0 if self.network is None else samples_at_once(self.network.inputs)

    @property
    def _size(self) -> int:
        return self._fixed or self.batch_size

    def batches(
        self, bound: BoundNetwork, samples: Rows | Mapping[str, Array], nodes: Sequence[str]
    ) -> Iterator[Batch]:
        """Yield samples with the output and nodes whose places are known, in batches.

        Args:
            bound: The network with the weights of any step.
            samples: Rows of the data; or values by input, which have no targets.
            nodes: The nodes.
        """
        placed, targets = self._placed, self._data.targets
        if isinstance(samples, Mapping):
            portions = self._portions_of(samples)
            targets = np.empty((len(next(iter(samples.values()))), 0))
        else:
            portions = self.portions(samples)
        nodes = [node for node in nodes if node != OUTPUT]
        constant = frozenset(node for node in nodes if placed[node].samples is None)
        for portion in portions:
            there, named = len(portion.rows), portion.inputs
            outputs = _samples_first(bound.run(named, nodes), placed, there)
            if there < self._fixed:
                named = {name: value[:there] for name, value in named.items()}
            yield Batch(portion.rows, named, targets[portion.rows], outputs, constant)

    def _portions_of(self, inputs: Mapping[str, Array]) -> Iterator[Portion]:
        """Yield values of one's own in batches, as the network takes them."""
        count = len(next(iter(inputs.values())))
        for rows, taken in portions_of(count, self._fixed, OWN_AT_ONCE):
            yield Portion(rows, {name: value[taken] for name, value in inputs.items()})

    def portions(self, rows: Rows) -> Iterator[Portion]:
        """Yield the samples of some rows in batches, as the network takes them."""
        ports, start = self._ports, 0
        for *inputs, targets in batches(self._data, ports, self._size, rows, whole=False):
            named = {port.name: value for port, value in zip(ports, inputs, strict=True)}
            stop = start + len(targets)
            yield Portion(rows[start:stop], filled_up(named, self._fixed))
            start = stop


def _can_take(one: Asked, batch: Batch, chosen: Array) -> bool:
    """Tell whether what a probe keeps of its samples is finite, if it takes nothing else."""
    kept = one.context.kept if one.probe.takes_finite_alone else []
    return all(
        np.isfinite(values if node in batch.constant else values[chosen]).all()
        for node in kept
        for values in [batch.outputs[node]]
    )


def _give(one: Asked, batch: Batch) -> None:
    """Give a batch to what collects for a probe, and to the probe."""
    for collector in one.context.collectors:
        collector.add(batch)
    one.probe.measure(batch)


def _samples_first(
    made: Mapping[str, Array], placed: Mapping[str, Placed], count: int
) -> dict[str, Array]:
    """Return values with their samples along axis 0, without those that fill up a batch."""
    found = dict(made)
    for name, value in made.items():
        axis = placed[name].samples if name in placed else 0
        if axis is not None and value.ndim > axis:
            found[name] = (np.moveaxis(value, axis, 0) if axis else value)[:count]
    return found


def inputs_of(network: Network) -> list[Input]:
    """Return the inputs of a network as samples are checked against them."""
    return [
        Input(
            port.name,
            _numpy_dtype(port.dtype) if port.dtype else None,
            None if port.shape is None else tuple(n or 0 for n in port.shape),
        )
        for port in network.inputs
    ]


def _numpy_dtype(name: str) -> np.dtype[np.generic]:
    try:
        return np.dtype(name)
    except TypeError:  # bfloat16 and the like, which engines make of float32
        return np.dtype(np.float32)


def read_parameter(files: OpenFiles, checkpoint: Checkpoint, name: str) -> Array:
    """Return a parameter of a checkpoint, widened, in its own shape."""
    tensor = checkpoint.tensors[name]
    values = np.empty(tensor.values.elements, working_dtype(tensor))
    read_stretch(files, tensor, 0, values.size, values)
    return values.reshape(tensor.shape)


def stored(one: Asked, step: int, proof: str) -> None:
    """Store the arrays of a step.

    Raises:
        ArgumentValueError: If the probe returns other arrays than its schema says.
    """
    values = one.probe.end()
    try:
        one.store.write_step(step, values, proof)
    except AccweightError:
        raise
    except ValueError as error:
        raise ArgumentValueError(f"probe {one.probe.name!r}, step {step}: {error}") from None
