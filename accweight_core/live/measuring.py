"""Measure all parameters of a model step by step, and keep the sums of every step.

Unlike the block walk, which takes one parameter through all steps, this takes one step after the
other. Per weight it keeps the reference, the previous value and A_t (`states`), and calls the
same kernels on the same sub-blocks, those of many tensors at a time (`batches`).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from operator import attrgetter
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from accweight_core.errors import ArgumentValueError, MismatchError
from accweight_core.live.batches import Batches
from accweight_core.live.paths import Paths
from accweight_core.live.rooms import Room
from accweight_core.live.shard_states import firsts_of, part_of, place_of
from accweight_core.live.shards import (
    ApartError,
    PartSums,
    agree,
    is_sharded,
    is_shared,
    local_part,
    totals_of_all,
)
from accweight_core.live.states import SHARDED_FORMAT, STATE_FORMAT, WeightState, opened
from accweight_core.live.weights import Weights, type_of
from accweight_core.metrics.sums import SUMS
from accweight_core.metrics.totals import Floats
from accweight_core.schema import Parameter, Role, TypeChange, finite_and_not, types_changed
from accweight_core.store.header import Header, versions
from accweight_core.store.records import LIVE, CheckpointRecord

PENDING_STEPS = 64
"""Steps whose sums are left on the device before they are fetched, so that training never waits."""

NOTE = (
    "measured while training, without checkpoints: tables, rankings and pictures have every step, "
    "but exact values of single weights cannot be computed again"
)

Figures = Mapping[str, Callable[[], float]]
"""Training figures by name, fetched from their device with the sums."""


class Measuring:
    """The measurements of one run so far.

    Attributes:
        steps: Steps measured, ascending.
        parameters: The measured parameters by name, in network order.
        types: Element types at the last step, by name of the parameter.
        type_changes: Where they have changed.
        compensated: Whether float64 is avoided.
        is_sharded: Whether other processes hold parts of the parameters.
        is_broken: Whether a step failed within: some parameters have gone on without others.
    """

    def __init__(
        self,
        roles: tuple[Role, ...],
        *,
        strict: bool,
        compensated: bool,
        name: str = "live",
        room: Callable[[Mapping[str, Tensor]], Room] | None = None,
    ) -> None:
        """Create it without weights.

        Args:
            roles: Roles in layers and rankings.
            strict: Whether non-finite weights are an error.
            compensated: Whether to avoid float64.
            name: What the run is called.
            room: Returns where the state of such weights on a CPU is kept; in memory by default.
        """
        self._name = name
        self._room = room
        self.steps: list[int] = []
        self.type_changes: list[TypeChange] = []
        self.types: dict[str, str] = {}
        self.parameters: dict[str, Parameter] = {}
        self._roles = roles
        self._strict = strict
        self.compensated = compensated
        self.is_sharded = self.is_broken = False
        self._versions = versions()
        self._held: dict[str, range] = {}
        self._batches: Batches | None = None
        self._resumed: dict[str, WeightState] = {}
        self._resumed_firsts: Mapping[str, int] = {}
        self._pending: deque[tuple[list[Tensor], Figures]] = deque()
        self._lock = Lock()
        self._folded: list[Floats] = []
        self._measures: list[Mapping[str, float]] = []

    def check(self, weights: Weights, step: int) -> dict[str, Tensor]:
        """Return the tensors to measure, all of them valid; nothing is changed before that.

        Raises:
            MismatchError: If a parameter is missing or has another shape.
            NonFiniteError: If an element is not finite and that is an error.
            UnsupportedDtypeError: If values have no scale.
        """
        parameters = self.parameters or weights.measured(self._roles)
        current = {
            name: weights.checked(parameter, step, strict=self._strict)
            for name, parameter in parameters.items()
        }
        parts = {name: local_part(tensor) for name, tensor in current.items()}
        held = {n: range(first, first + part.numel()) for n, (first, part) in parts.items()}
        self._own_states(held)
        self.parameters, self._held = parameters, held
        return {name: part for name, (_, part) in parts.items()}

    def _own_states(self, held: Mapping[str, range]) -> dict[str, WeightState]:
        """Return the states to continue from, of the elements that this process trains.

        Args:
            held: These elements, by parameter.

        Raises:
            MismatchError: If some of them are in the state of another process.
        """
        firsts = self._resumed_firsts
        return {
            name: part_of(name, state, firsts.get(name, 0), held[name])
            for name, state in self._resumed.items()
        }

    @torch.inference_mode(mode=False)  # a state made within one could not change outside
    def measure(
        self,
        weights: Weights,
        step: int,
        figures: Figures,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """Check the weights and measure a step; processes that hold shards do it together.

        Args:
            weights: The weights.
            step: The step.
            figures: Its training figures.
            check: Raises if this process cannot take a step, for other reasons.

        Raises:
            MismatchError: As of `check`, or if a process with other shards fails.
        """
        if not is_sharded(weights.values.values()):
            check()
            self.take(self.check(weights, step), step, figures)
            return
        current, problem = {}, None
        try:
            check()
            current = self.check(weights, step)
        except Exception as error:  # the other processes must not wait
            problem = error
        try:
            agree(problem, step, self.steps)
        except ApartError:
            self.is_broken = True  # the processes would wait for each other
            raise
        self.is_sharded = True
        self.take(current, step, figures)

    @torch.no_grad()
    def take(self, current: Mapping[str, Tensor], step: int, figures: Figures) -> None:
        """Measure a step, without waiting for a device except at the first one."""
        if self._batches is None:
            room = self._room(current) if self._room else None
            self._batches = Batches(current, compensated=self.compensated, room=room)
            if self._resumed:
                self._batches.restore(self._own_states(self._held))
                self._resumed = {}
        self.is_broken = True  # until all parameters have gone on to this step
        if self.is_sharded:
            totals = totals_of_all(partial(self._part_sums, self._batches, current))
            self._folded.append(totals)
            self._pending.append(([], figures))
        else:
            self._pending.append((self._batches.take(current), figures))
        types = {name: type_of(tensor) for name, tensor in current.items()}
        self.type_changes += types_changed(step, self.types, types)
        self.types = types
        self.steps.append(step)
        self.is_broken = False
        if self._batches.on_cpu or len(self._pending) >= PENDING_STEPS:
            self._fold()

    def record(self, place: int) -> tuple[CheckpointRecord, Floats, tuple[TypeChange, ...]]:
        """Return a step by its position; any thread may ask.

        Returns:
            Its record, its sums, (parameters, sums), and which element types changed there.
        """
        self._fold()
        step = self.steps[place]
        changes = tuple(change for change in self.type_changes if change.step == step)
        return _record(step, self._measures[place]), self._folded[place], changes

    def last_two(self) -> tuple[Header, Floats]:
        """Return the header and the sums, (2, parameters, sums), of the last two steps alone."""
        self._fold()
        records = tuple(map(_record, self.steps[-2:], self._measures[-2:]))
        return replace(self.header(), checkpoints=records), np.stack(self._folded[-2:])

    @property
    def on_cpu(self) -> bool:
        """Whether the weights are on a CPU, so that nothing has to be fetched."""
        return self._batches is None or self._batches.on_cpu

    def paths(self) -> Paths:
        """Return A_t after the last step, as views that change with the next one.

        Of a model that is sharded it is that of the part of this process, see `held`.
        """
        if self._batches is None:
            return Paths({name: [(0, state.total)] for name, state in self._resumed.items()})
        return self._batches.paths()

    @property
    def held(self) -> dict[str, range]:
        """The elements of every parameter that this process has measured."""
        return dict(self._held)

    def header(self) -> Header:
        """Return the header of the run, without its steps."""
        return Header(
            source=self._name,
            reader="memory",
            checkpoints=(),
            parameters=tuple(self.parameters.values()),
            roles=self._roles,
            notes=(NOTE,),
            versions=self._versions,
        )

    def _part_sums(self, batches: Batches, current: Mapping[str, Tensor]) -> dict[str, PartSums]:
        """Measure the parts of this process."""
        rows = batches.rows(batches.take(current))
        return {name: PartSums(self._held[name].start, *sums) for name, sums in rows.items()}

    def result(self) -> tuple[Header, Floats]:
        """Return the header and the sums, (steps, parameters, sums), of what has been measured."""
        self._fold()
        records = tuple(map(_record, self.steps, self._measures))
        header = replace(self.header(), type_changes=tuple(self.type_changes))
        return replace(header, checkpoints=records), self._values()

    def state(self, name: str) -> WeightState:
        """Return a copy of the state of a parameter after the last step."""
        if self._batches is None:
            return self._resumed[name]
        return self._batches.state(name)

    def saved(self) -> dict[str, Any]:
        """Return all of it as plain numbers, text and tensors."""
        header, values = self.result() if self.steps else (None, self._values())
        firsts = {name: elements.start for name, elements in self._held.items()}
        place = {"shard": place_of(firsts)} if self.is_sharded else {}
        return {
            **place,
            "format": SHARDED_FORMAT if self.is_sharded else STATE_FORMAT,
            "precision": "compensated" if self.compensated else "float64",
            "header": json.dumps(header.to_json()) if header else "",
            "sums": torch.from_numpy(values),
            "weights": {name: self.state(name).saved() for name in self.parameters if self.steps},
        }

    def load(self, saved: Any) -> None:
        """Continue from what `saved` returned; nothing has been measured yet.

        Processes that hold shards do it together.

        Raises:
            ArgumentTypeError: If it is no such state.
            ArgumentValueError: If it is damaged, of a newer version, of another precision, or the
                part of another process.
            MismatchError: If a process with other shards fails, or has another step.
        """
        if (
            not isinstance(saved, Mapping)
            or saved.get("format") != SHARDED_FORMAT
            or not is_shared()
        ):
            self._load(saved)
            return
        problem: Exception | None = None
        try:
            self._load(saved)
        except Exception as error:  # the other processes must not wait
            problem = error
        agree(problem, None, self.steps)

    def _load(self, saved: Any) -> None:
        header, values = opened(saved, compensated=self.compensated)
        firsts = firsts_of(saved)
        parameters = {p.name: p for p in header.parameters} if header else {}
        weights = saved.get("weights")
        found = weights if isinstance(weights, Mapping) else {}
        states = {
            name: WeightState.loaded(
                found.get(name), parameter, compensated=self.compensated, is_part=bool(firsts)
            )
            for name, parameter in parameters.items()
        }
        if header:
            self.resume(header, values, states)
        if firsts is not None:
            self._resumed_firsts, self.is_sharded = firsts, True
            places = ((name, firsts.get(name, 0), state) for name, state in states.items())
            self._held = {n: range(first, first + len(s.reference)) for n, first, s in places}

    def resume(self, header: Header, values: Floats, states: Mapping[str, WeightState]) -> None:
        """Continue from a stored analysis.

        Args:
            header: Its header.
            values: (steps, parameters, sums).
            states: State of every parameter after its last step.
        """
        self.parameters = {parameter.name: parameter for parameter in header.parameters}
        self._resumed, self._resumed_firsts, self._batches = dict(states), {}, None
        self._pending, self._folded = deque(), list(values)
        self._roles = header.roles
        self.steps = [record.step for record in header.checkpoints]
        self._measures = [record.figures for record in header.checkpoints]
        self.type_changes, self.types = list(header.type_changes), header.last_types

    def merge(self, other: Measuring) -> None:
        """Add other parameters of the same model, measured at the same steps.

        Raises:
            MismatchError: If the steps differ, or a parameter is in both.
            ArgumentValueError: If the precisions differ.
        """
        self._check_mergeable(other)
        (header, values), (others, more) = self.result(), other.result()
        states = {n: self.state(n) for n in self.parameters}
        states |= {n: other.state(n) for n in other.parameters}
        pairs = zip(header.checkpoints, others.checkpoints, strict=True)
        self._measures = [{**b.figures, **a.figures} for a, b in pairs]
        self.type_changes = sorted(
            [*self.type_changes, *other.type_changes], key=attrgetter("step")
        )
        self.types |= other.types
        self.parameters |= other.parameters
        self._folded = list(np.concatenate([values, more], axis=1))
        self._resumed, self._batches = states, None

    def _check_mergeable(self, other: Measuring) -> None:
        twice = next((name for name in other.parameters if name in self.parameters), None)
        if twice is not None:
            raise MismatchError(
                f"parameter {twice!r} was tracked by both trackers; merge trackers of different "
                "parts of one model"
            )
        if self.steps != other.steps:
            apart = sorted(set(self.steps) ^ set(other.steps))
            raise MismatchError(
                f"the trackers have taken different steps (step {apart[0]} is in one of them); "
                "merge trackers that were updated at the same steps"
            )
        if self.compensated != other.compensated:
            raise ArgumentValueError("the trackers have different precisions")

    def _fold(self) -> None:
        """Fetch the sums left on devices and merge them, step by step."""
        with self._lock:
            while self._pending:
                sums, figures = self._pending[0]
                if sums and self._batches is not None:
                    self._folded.append(self._batches.totals(sums))
                self._measures.append({name: fetch() for name, fetch in figures.items()})
                self._pending.popleft()

    def _values(self) -> Floats:
        return np.stack(self._folded) if self._folded else np.empty((0, 0, len(SUMS)))


def _record(step: int, figures: Mapping[str, float]) -> CheckpointRecord:
    """Return the record of a step, with its training figures."""
    finite, others = finite_and_not(figures)
    place = f"memory:{step}"
    return CheckpointRecord(place, step, "order given", LIVE, 0, 0, finite, "", others)
