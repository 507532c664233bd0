"""One call of `probe`: starts the probes, measures the steps that are not finished, concludes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accweight_core.accumulate.grams import Grams, one_blas_thread
from accweight_core.analysis.analysis import Analysis
from accweight_core.analysis.movement import Movement
from accweight_core.errors import (
    AccweightError,
    ArgumentValueError,
    MismatchError,
)
from accweight_core.naming import layers_of
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.binding.graph_uses import as_in_graph
from accweight_core.probes.context import Context
from accweight_core.probes.identity import engine_of, network_digest, probe_digest
from accweight_core.probes.kept_samples import keep_samples
from accweight_core.probes.network import BoundNetwork, Network
from accweight_core.probes.options import asked_of, values_of
from accweight_core.probes.passes import Asked, Passes
from accweight_core.probes.probe import RUNS_NETWORK, Array, Probe, Schema
from accweight_core.probes.steps import chosen_steps
from accweight_core.samples.samples import Data
from accweight_core.schema import Checkpoint, Layer, Run
from accweight_core.store.lock import locked
from accweight_core.store.probe_pieces import ProbePieces
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore

Progress = Callable[[int, int], None]
"""Called as ``progress(batches_done, batches_total)``."""

Notice = Callable[[str], None]
"""Called with a line for the user."""


@dataclass
class Probing:
    """One call of `probe`.

    Attributes:
        analysis: The analysis that the results go to.
        path: Its folder.
        network: The network, if any.
        data: The samples, if any.
        batch_size: Samples per batch.
        seed: Seed of what is drawn.
        steps: Which steps, as the user says it.
        constants: Patterns of the network's tensors that no checkpoint has.
        unused: Patterns of the checkpoints' tensors that the network leaves out.
        notice: Called with lines for the user.
        grams: What the walk of the analysis has observed, if anything.
    """

    analysis: Analysis
    path: Path
    network: Network | None
    data: Data | None
    batch_size: int
    seed: int
    steps: str | Sequence[int] | None
    constants: Sequence[str] = ()
    unused: Sequence[str] = ()
    notice: Notice = lambda line: None
    grams: Grams | None = None
    _by_graph: bool = False

    def run_all(self, probes: Sequence[Probe], progress: Progress) -> list[str]:
        """Run probes; return the names of the folders of their results."""
        run = with_buffers(self.analysis.run())
        all_steps = tuple(int(step) for step in run.steps)
        steps = chosen_steps(all_steps, self.steps)
        binding = self._binding(run, probes)
        run = self._described(run, binding)
        bind = binding.bind if binding else _no_network
        broken = broken_steps(self.analysis)
        passes = Passes(run, self.network, self.data, self.batch_size, bind, broken)
        with ExitStack() as held:
            asked = [
                self._begun(one, run, all_steps, steps, passes, binding, held) for one in probes
            ]
            for one in asked:
                self._tell_what_is_there(one)
            self._measure(asked, all_steps, passes, progress)
        return [one.store.folder.name for one in asked]

    def _binding(self, run: Run, probes: Sequence[Probe]) -> Binding | None:
        """Return how the weights of checkpoints are put into the network, proven once for all."""
        if self.network is None or not any(one.needs & RUNS_NETWORK for one in probes):
            return None
        binding = Binding.of(
            self.network, run, data=self.data, constants=self.constants, unused=self.unused
        )
        if binding.proof.verdict == "not verified":
            self.notice(f"weights are not verified: {binding.proof.reason}")
        return binding

    def _described(self, run: Run, binding: Binding | None) -> Run:
        """Return a run as the graph describes it, if one is given: the same for any format."""
        if self.network is None or not isinstance(self.network.source, Path):
            return run
        try:
            known = binding or Binding.of(
                self.network, run, data=self.data, constants=self.constants, unused=self.unused
            )
        except AccweightError as error:  # no probe needs the network: names tell most of it
            self.notice(f"what layers are for is told by their names: {error}")
            return run
        found = as_in_graph(run, known)
        self._by_graph = found.layers != run.layers
        return found

    def _begun(
        self,
        one: Probe,
        run: Run,
        all_steps: tuple[int, ...],
        steps: tuple[int, ...],
        passes: Passes,
        binding: Binding | None,
        held: ExitStack,
    ) -> Asked:
        """Start a probe, and open its results under their lock."""
        context = Context(run, steps, self.seed, one.name, grams=self.grams, broken=passes.broken)
        good = (step for step in steps if step not in passes.broken)
        first = all_steps.index(next(good, steps[0]))
        if one.needs & RUNS_NETWORK and self.network is not None and self.data is not None:
            context._network, context._data = self.network, self.data
            context._first = partial(passes.bound, first)
            context._trial = partial(passes.trial, first)
            context._placed = partial(passes.placed, first)
            context._binding, context._portions = binding, passes.portions
            context._batches = passes.batches
        schema = one.start(context)
        document = self._document(one, schema, all_steps, binding)
        digest = probe_digest({**_question(document), **self._declared(document)})
        folder = self.path / "probes" / f"{one.name}-{digest}"
        held.enter_context(locked(folder))
        is_new = not folder.exists()
        store = ProbeStore.begun(self.path, digest, document)
        if is_new:
            held.push(partial(_removed_if_refused, store))
        if store.document.fields != document.fields:
            raise MismatchError(
                f"{folder}: holds other arrays than probe {one.name!r} of this version stores; "
                "remove that folder"
            )
        if not one.takes_broken:  # earlier versions stored what they had measured there
            for step in passes.broken.intersection(store.steps):
                store.write_broken(step)
        context._pieces = ProbePieces(self.path, store.folder)
        if one.needs & RUNS_NETWORK and self.data is not None:
            keep_samples(store, schema, self.data)
        todo = tuple(step for step in steps if step not in store.document.finished)
        return Asked(one, context, schema, store, todo)

    def _tell_what_is_there(self, one: Asked) -> None:
        """Say how many of the steps an earlier call has finished, if any."""
        count = len(one.context.steps)
        there = count - len(one.todo)
        if there == count:
            steps = f"all {count} steps were" if count > 1 else "its step was"
            self.notice(f"{one.probe.name}: {steps} there; nothing is measured again")
        elif there:
            self.notice(f"{one.probe.name}: {there} of {count} steps were there")

    def _declared(self, document: ProbeDocument) -> dict[str, list[str]]:
        """Return what else the results depend on; empty for most.

        That is what the user says about the binding; for probes of weights alone, the graph that
        describes the layers otherwise than their names do.
        """
        if not document.model:
            graph = self.network if self._by_graph else None
            return {"graph": [network_digest(graph)]} if graph is not None else {}
        said = {"constants": self.constants, "unused": self.unused}
        return {name: sorted(set(patterns)) for name, patterns in said.items() if patterns}

    def _document(
        self, one: Probe, schema: Schema, all_steps: tuple[int, ...], binding: Binding | None
    ) -> ProbeDocument:
        runs = bool(one.needs & RUNS_NETWORK) and self.network is not None
        return ProbeDocument(
            probe=one.name,
            version=one.version,
            options=values_of(one),
            steps=all_steps,
            fields=tuple(
                FieldDocument(f.name, f.axes, f.shape, f.dtype, f.words, f.final)
                for f in schema.fields
            ),
            engine=engine_of(self.network) if runs and self.network else "",
            model=network_digest(self.network) if runs and self.network else "",
            data=self.data.digest if runs and self.data else "",
            samples=self.data.words if runs and self.data else "",
            seed=self.seed,
            labels={axis: tuple(names) for axis, names in schema.labels.items()},
            layers=binding.renamed if runs and binding else {},
            attributes=dict(schema.attributes),
            asked=asked_of(one),
        )

    def _measure(
        self,
        asked: Sequence[Asked],
        all_steps: tuple[int, ...],
        passes: Passes,
        progress: Progress,
    ) -> None:
        due = {step: [one for one in asked if step in one.todo] for step in all_steps}
        measured = sum(max(passes.batches_of(some), 1) for some in due.values() if some)
        total, done = measured + sum(_parts(one) for one in asked), 0

        def told() -> None:
            nonlocal done
            done += 1
            progress(done, total)

        for position, step in enumerate(all_steps):
            if due[step]:
                with one_blas_thread():
                    passes.step(position, due[step], told)
                if not passes.batches_of(due[step]):
                    told()
        for one in asked:
            parts, before = _parts(one), done

            def advance(part: int, whole: int, parts: int = parts, before: int = before) -> None:
                progress(before + parts * part // max(whole, 1), total)

            one.context.advance = advance
            with one_blas_thread():
                self._concluded(one)
            done += parts
            progress(done, total)

    def _concluded(self, one: Asked) -> None:
        """Compute the final arrays, unless they are of the finished steps already."""
        document = one.store.document
        if document.concluded == document.finished:
            return
        if not one.store.steps:
            one.store.write_nothing()
            return
        values = one.probe.finish(_Stored(one.store))
        try:
            one.store.write_final(values, one.probe.labels(values))
        except AccweightError:
            raise
        except ValueError as error:
            raise ArgumentValueError(f"probe {one.probe.name!r}, in the end: {error}") from None


def _removed_if_refused(store: ProbeStore, kind: type[BaseException] | None, *_: object) -> None:
    """Leave nothing of results that an error ended before a step was finished.

    A command that the user stops is no error: it may go on later.
    """
    if kind is not None and issubclass(kind, Exception):
        store.remove_empty()


def _question(document: ProbeDocument) -> dict[str, Any]:
    """Return what the results of a probe depend on, as its document says it."""
    names = ("probe", "version", "options", "engine", "model", "data", "seed")
    return {name: getattr(document, name) for name in names}


def with_buffers(run: Run) -> Run:
    """Return a run with all tensors of its checkpoints.

    A stored analysis knows the measured ones alone; networks need running statistics too.
    """
    known = {parameter.name for parameter in run.parameters}
    found = {layer.name: layer for layer in run.layers}
    for layer in layers_of(run.checkpoints[0].tensors.values()):
        more = tuple(p for p in layer.parameters if p.name not in known)
        if more:
            own = found.get(layer.name, Layer(layer.name, layer.kind, ()))
            found[layer.name] = replace(own, parameters=(*own.parameters, *more))
    return replace(run, layers=tuple(found.values()))


def _parts(one: Asked) -> int:
    """Return in how many parts the progress of what comes in the end is told."""
    return one.context.parts or len(one.context.steps)


def _no_network(checkpoint: Checkpoint) -> BoundNetwork:
    raise ArgumentValueError("a network is needed; give it with --model NET.onnx")


def broken_steps(analysis: Analysis) -> frozenset[int]:
    """Return the steps at which a measured parameter has no finite number."""
    movement = Movement(analysis.header, analysis.values)
    counts = np.nan_to_num(movement.sums("nonfinite"))
    elements = np.array([parameter.elements for parameter in analysis.header.parameters])
    broken = (counts >= np.maximum(elements, 1)).any(axis=1)
    return frozenset(
        step for step, is_broken in zip(movement.steps, broken, strict=True) if is_broken
    )


class _Stored:
    """What a probe has stored at its finished steps."""

    def __init__(self, store: ProbeStore) -> None:
        self._store = store

    @property
    def steps(self) -> tuple[int, ...]:
        """The finished steps that have results, ascending."""
        return self._store.steps

    def at(self, name: str, index: int) -> Array:
        """Return an array of one finished step, counted from 0 among `steps`."""
        place = self._store.place_of(self.steps[index])
        return np.asarray(self._store.array(name)[place])
