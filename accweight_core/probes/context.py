"""What a probe is told before it starts: the run, the network, the samples."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from accweight_core.accumulate.grams import Grams
from accweight_core.arguments import brief
from accweight_core.errors import (
    ArgumentValueError,
    UnknownNameError,
    UnsupportedOperatorError,
)
from accweight_core.probes.binding.binding import Binding
from accweight_core.probes.network import OUTPUT, Array, BoundNetwork, GatedNetwork, Network
from accweight_core.probes.units import Placed, UnitAxes, unit_axes
from accweight_core.samples.samples import Data
from accweight_core.schema import Checkpoint, Run
from accweight_core.store.probe_pieces import ProbePieces
from accweight_core.text import meant, some

TRIED_SAMPLES = 32
"""Samples that are run to learn the shapes of nodes."""

Trial = Callable[[Sequence[str]], Mapping[str, Array]]
"""Runs a few samples at the first step, and returns the output and the nodes asked for."""

Places = Callable[[Sequence[str]], Mapping[str, Placed]]
"""Returns shapes of nodes, and the axis that has their samples, at the first step."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Some samples as a network takes them.

    Attributes:
        rows: Their indices among all samples.
        inputs: By input of the network; filled up where it takes a fixed number at a time.
    """

    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    inputs: Mapping[str, Array]


class Collector(Protocol):
    """What collects something of the batches of a step; see `accweight_core.probes.collecting`."""

    def begin(self) -> None:
        """Start a step."""
        ...

    def add(self, batch: Any) -> None:
        """Take a batch, an `accweight_core.probes.probe.Batch`."""
        ...


C = TypeVar("C", bound=Collector)
T = TypeVar("T")

Portions = Callable[[Array], Iterator[Portion]]
"""Yields the samples of some rows, in batches."""

Batches = Callable[[BoundNetwork, Array | Mapping[str, Array], Sequence[str]], Iterator[Any]]
"""Yields what a network makes of samples, in batches."""


@dataclass
class Context:
    """What one probe is told; it keeps what the probe asks for.

    Attributes:
        run: The run.
        steps: The steps chosen, ascending.
        seed: Seed of everything that is drawn.
        kept: Nodes that the probe asks for.
        collectors: What collects for it; begun before `Probe.begin`, given batches before
            `Probe.measure`.
        parts: Parts of what it computes in the end, if that is most of its work: for the progress.
        grams: Inner products of all steps that the walk of the analysis has observed, if any.
        broken: Steps of the run at which a parameter has no finite number.
    """

    run: Run
    steps: tuple[int, ...]
    seed: int
    probe: str
    _network: Network | None = None
    _first: Callable[[], BoundNetwork] | None = None
    _data: Data | None = None
    _trial: Trial | None = None
    _placed: Places | None = None
    kept: list[str] = field(default_factory=list)
    collectors: list[Collector] = field(default_factory=list)
    parts: int = 0
    advance: Callable[[int, int], None] = lambda done, total: None
    grams: Grams | None = None
    broken: frozenset[int] = frozenset()
    _binding: Binding | None = None
    _portions: Portions | None = None
    _batches: Batches | None = None
    _pieces: ProbePieces | None = None

    @property
    def network(self) -> Network:
        """The network.

        Raises:
            ArgumentValueError: If none is given.
        """
        if self._network is None:
            raise ArgumentValueError(
                f"probe {self.probe!r} runs the network; give it with --model NET.onnx"
            )
        return self._network

    @property
    def data(self) -> Data:
        """The samples.

        Raises:
            ArgumentValueError: If none are given.
        """
        if self._data is None:
            raise ArgumentValueError(
                f"probe {self.probe!r} runs the network on samples; give them with --data FILE"
            )
        return self._data

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers of the network, in its order; each is a node that can be kept."""
        return self.network.layers

    @property
    def only_input(self) -> Array:
        """The samples of the only input, as they are stored: memory, or a file.

        Raises:
            ArgumentValueError: If the network has several.
        """
        if len(self.data.inputs) != 1:
            raise ArgumentValueError(
                f"probe {self.probe!r} takes networks of one input; this one takes "
                f"{len(self.data.inputs)}"
            )
        return self.data.inputs[0]

    def keep(self, *nodes: str) -> tuple[str, ...]:
        """Ask for the values of nodes in every batch; return their names.

        Raises:
            UnknownNameError: If there is no such node.
        """
        known = (OUTPUT, *self.layers)
        for node in nodes:
            if node not in known and node not in self.first_network.nodes:
                raise UnknownNameError(
                    f"probe {self.probe!r}: the network has no node {brief(node)}; "
                    f"{meant(node, known)}it has {some(known, 12)}, and all values in the graph"
                )
            if node not in self.kept and node != OUTPUT:  # which is there anyway
                self.kept.append(node)
        return nodes

    def collect(self, collector: C) -> C:
        """Have something collected of all batches of every step; return it."""
        self.collectors.append(collector)
        return collector

    @property
    def binding(self) -> Binding:
        """How the weights of any checkpoint are put into the network.

        Raises:
            ArgumentValueError: If there is no network.
        """
        return self._there(self._binding, self.network)

    def checkpoint(self, step: int) -> Checkpoint:
        """Return the checkpoint of a step of the run."""
        return self.run.checkpoints[[int(number) for number in self.run.steps].index(step)]

    @property
    def pieces(self) -> ProbePieces:
        """What `Probe.finish` has finished before it was stopped; it may put more there."""
        return self._there(self._pieces, None)

    def _there(self, known: T | None, needs: Any) -> T:
        """Return what is known once the run is probed.

        Args:
            known: What is asked for.
            needs: What it is made of, which has been asked for first: its own error says more.

        Raises:
            ArgumentValueError: If it is not known yet.
        """
        if known is None:
            raise ArgumentValueError(f"probe {self.probe!r} is not run yet")
        return known

    def portions(self, rows: Array | None = None) -> Iterator[Portion]:
        """Yield the samples of some rows, or all, in batches as the network takes them."""
        portions = self._there(self._portions, self.data)
        return portions(np.arange(len(self.data)) if rows is None else rows)

    def samples(self, rows: Array) -> dict[str, Array]:
        """Return the samples of some rows as the network takes them, by input."""
        found = list(self.portions(rows))
        return {
            name: np.concatenate([one.inputs[name][: len(one.rows)] for one in found])
            for name in found[0].inputs
        }

    def batches(
        self,
        network: BoundNetwork,
        samples: Array | Mapping[str, Array],
        nodes: Sequence[str] = (),
    ) -> Iterator[Any]:
        """Yield what a network makes of samples, in batches.

        Args:
            network: One with the weights of any step; nodes of it may be patched.
            samples: Their rows, ascending; or values of one's own, by input.
            nodes: Nodes whose values are kept, of those that the context was asked for.

        Returns:
            Batches, each an `accweight_core.probes.probe.Batch`.
        """
        return self._there(self._batches, self.data)(network, samples, nodes)

    def one_by_one(self, things: Collection[T]) -> Iterator[T]:
        """Yield the parts of what is computed in the end, and tell the progress after each."""
        for done, thing in enumerate(things, start=1):
            yield thing
            self.advance(done, len(things))

    @property
    def first_network(self) -> BoundNetwork:
        """The network with the weights of the first step chosen.

        Raises:
            ArgumentValueError: If there is no network.
        """
        return self._there(self._first, self.network)()

    @property
    def gated_network(self) -> GatedNetwork:
        """The network with the weights of the first step chosen, if it tells its gates.

        Raises:
            UnsupportedOperatorError: If its engine does not.
            ArgumentValueError: If there is no network, or it has no layer with gates.
        """
        network = self.first_network
        if not isinstance(network, GatedNetwork):
            raise UnsupportedOperatorError(
                f"probe {self.probe!r}: gates are no values of the engine {self.network.engine!r}; "
                "give the network as an ONNX file with PyTorch installed, or as a module"
            )
        if not network.gated:
            raise ArgumentValueError(
                f"probe {self.probe!r}: the network has no LSTM or GRU; its layers are "
                f"{some(self.layers, 8)}"
            )
        return network

    def tried(self, *nodes: str) -> Mapping[str, Array]:
        """Return the output and nodes for the first samples, at the first step chosen."""
        return self._there(self._trial, self.data)(nodes)

    def _place(self, node: str) -> Placed:
        found = self._there(self._placed, self.data)((*self.layers, node))  # in one pass
        return found.get(node) or Placed.of(self.tried()[OUTPUT].shape, 0)

    def unit_axes(self, node: str) -> UnitAxes | None:
        """Return where samples and units of a node are; None if it has none for the samples."""
        return unit_axes(self._place(node), node, self.network.parameters)

    @property
    def layers_of_samples(self) -> tuple[str, ...]:
        """Names of the layers with a value for every sample: not those of positions alone."""
        return tuple(layer for layer in self.layers if self.unit_axes(layer) is not None)

    @property
    def layers_with_matrices(self) -> tuple[str, ...]:
        """Those of them that have a parameter of two axes or more, not norms; all if none has."""
        matrices = [name for name, shape in self.network.parameters.items() if len(shape) > 1]
        layers = self.layers_of_samples
        found = tuple(
            layer
            for layer in layers
            if any(n == layer or n.startswith((f"{layer}.", f"{layer}/")) for n in matrices)
        )
        return found or layers

    def checked_axes(self, node: str, how: str = "choose another one") -> UnitAxes:
        """Return where samples and units of a node are.

        Raises:
            UnknownNameError: If it has no axis for the samples, or no other one.
        """
        self.keep(node)
        found = self.unit_axes(node)
        if found is None:
            placed = self._place(node)
            why = placed.problem or f"has shape {placed.shape}, no axis of which is the samples"
            raise UnknownNameError(f"probe {self.probe!r}: node {brief(node)} {why}; {how}")
        return found

    def axes_of(
        self, nodes: Sequence[str], how: str = "choose others with layers="
    ) -> dict[str, UnitAxes]:
        """Return where samples and units of nodes are, of all layers if none is named.

        Raises:
            UnknownNameError: As `checked_axes` does.
        """
        return {node: self.checked_axes(node, how) for node in nodes or self.layers_of_samples}

    def checked_rows(
        self, named: Sequence[int | str]
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return samples that are named by their numbers, ascending.

        Raises:
            ArgumentValueError: If one is no number, or there is no such sample.
        """
        try:
            rows = [int(row) for row in named]
        except ValueError:
            raise ArgumentValueError(
                f"rows are numbers of samples joined by +, got {'+'.join(map(str, named))}"
            ) from None
        for row in rows:
            if not 0 <= row < len(self.data):
                raise ArgumentValueError(
                    f"probe {self.probe!r}: there is no sample {row}; {self.data.path} has "
                    f"{len(self.data)}, counted from 0"
                )
        return np.unique(np.array(rows, np.int64))

    def random(self) -> np.random.Generator:
        """Return random numbers that depend on the seed and the name of the probe alone."""
        return np.random.default_rng([self.seed, zlib.crc32(self.probe.encode())])

    def chosen_rows(self, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return a random choice of so many samples at most, ascending.

        Of samples with classes, each class has its share.
        """
        total = len(self.data)
        if count >= total:
            return np.arange(total, dtype=np.int64)
        order = self.random().permutation(total)
        targets = self.data.targets
        if targets.ndim == 1 and targets.dtype.kind in "biu":
            order = order[np.argsort(_turns(targets[order]), kind="stable")]
        return np.sort(order[:count]).astype(np.int64)


def _turns(labels: Array) -> Array:
    """Return how often each label came before: classes are taken in turn by it."""
    turns = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        turns[places] = np.arange(len(places))
    return turns
