"""A binding: how the weights of every checkpoint of a run are put into a network, with its proof.

It is made once per run and used for each step. Three things are asked of it:

1. Every tensor of floating-point numbers that an output depends on is made of a checkpoint, or is
   declared constant; every trained tensor of the checkpoints has a place.
2. Where a checkpoint has the network's own weights, each tensor made of it equals the network's, no
   other way of making it does, and both forward passes agree: *verified*.
3. Otherwise the loss or accuracy that the checkpoints recorded comes out on the user's data:
   *consistent*.

All else is *not verified*, with the reason; what is plainly wrong is a `BindingError`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from accweight_core.alignment.alignment import Alignment
from accweight_core.errors import BindingError
from accweight_core.naming import layers_of
from accweight_core.probes.binding.arrays import Array, Weights
from accweight_core.probes.binding.assignment import Assignment
from accweight_core.probes.binding.described import Described
from accweight_core.probes.binding.leftovers import doubts_about_leftovers
from accweight_core.probes.binding.matching import alignment_of
from accweight_core.probes.binding.own_step import own_step
from accweight_core.probes.binding.planning import Asked, planned
from accweight_core.probes.binding.proving import Proven, proven
from accweight_core.probes.binding.samples import Samples, given_samples
from accweight_core.probes.network import BoundNetwork, Inputs, Network
from accweight_core.runs.name_map import NameMap, as_map
from accweight_core.schema import Checkpoint, Layer, Run


@dataclass(frozen=True)
class Binding:
    """How the weights of a run are put into a network.

    Attributes:
        network: The network.
        run: The run.
        assignments: Where each of the network's tensors comes from, in network order.
        alignment: Which layers correspond, side a the network's.
        proof: What is proven, and why not more.
    """

    network: Network
    run: Run
    assignments: tuple[Assignment, ...]
    alignment: Alignment
    proof: Proven

    @classmethod
    def of(
        cls,
        network: Network,
        run: Run,
        *,
        data: Inputs | Samples | None = None,
        targets: Array | None = None,
        constants: Iterable[str] = (),
        unused: Iterable[str] = (),
        map: NameMap | str | os.PathLike[str] | None = None,
    ) -> Binding:
        """Plan how the weights of a run are put into a network, and prove it.

        Args:
            network: The network.
            run: The run; any format.
            data: Samples for its inputs, or data with targets as probes take them; random ones are
                taken without.
            targets: What the outputs should be: class numbers or values, to compare with the loss
                or accuracy that the checkpoints recorded.
            constants: Patterns of the network's tensors that no checkpoint has.
            unused: Patterns of the checkpoints' tensors that the network leaves out.
            map: A map of layers that the names do not tell.

        Raises:
            BindingError: If weights do not fit, or would be put in wrongly.
        """
        described, run = Described.of(network), _whole(run)
        asked = Asked(tuple(constants), tuple(unused))
        inputs, wanted = given_samples(network, data, targets)
        index = own_step(described, run)
        own = None if index is None else Weights(run.checkpoints[index])
        with own or nullcontext():
            at = own.checkpoint if own else None
            alignment = alignment_of(described, run, at, as_map(map))
            assignments = tuple(planned(described, run, alignment, own, asked))
        plain = cls(network, run, assignments, alignment, Proven("not verified", "not tried"))
        doubts = doubts_about_leftovers(run, assignments, asked.unused, index)
        proof = proven(described, run, assignments, index, doubts, plain.bind, inputs, wanted)
        return cls(network, run, assignments, alignment, proof)

    @property
    def renamed(self) -> dict[str, str]:
        """What the run calls layers that the network calls otherwise, by the network's name.

        Layers that one side has in several parts keep their names.
        """
        single = [
            (match.layers_a[0], match.layers_b[0])
            for match in self.alignment.matches
            if len(match.layers_a) == len(match.layers_b) == 1
        ]
        return {ours: theirs for ours, theirs in single if ours != theirs}

    def weights(self, checkpoint: Checkpoint) -> dict[str, Array]:
        """Return the weights of a checkpoint as the network takes them, by the network's names.

        Raises:
            BindingError: If the checkpoint lacks a tensor.
        """
        made: dict[str, Array] = {}
        own = self.network.parameters
        with Weights(checkpoint) as weights:
            for item in self.assignments:
                if item.recipe is None:
                    continue
                lacking = [name for name in item.sources if name not in weights]
                if lacking:
                    raise BindingError(
                        f"{checkpoint.path}: has no tensor {lacking[0]!r}, of which {item.name!r} "
                        "of the network is made; it is not a checkpoint of the run that was bound",
                        (item.name,),
                    )
                values = item.recipe.make(weights)
                made[item.name] = np.ascontiguousarray(values).reshape(own[item.name])
        return made

    def bind(self, checkpoint: Checkpoint) -> BoundNetwork:
        """Return the network with the weights of a checkpoint of the run.

        Raises:
            BindingError: If the checkpoint lacks a tensor.
        """
        return self.network.with_weights(self.weights(checkpoint)).proven(self.proof.verdict)


def _whole(run: Run) -> Run:
    """Return a run with all layers of its checkpoints: an analysis knows those it has measured."""
    known = {parameter.name: parameter for parameter in run.parameters}
    found = layers_of(run.checkpoints[0].tensors.values())
    if all(parameter.name in known for layer in found for parameter in layer.parameters):
        return run
    kinds = {layer.name: layer.kind for layer in run.layers}
    layers = tuple(
        Layer(
            layer.name,
            kinds.get(layer.name, layer.kind),
            tuple(known.get(parameter.name, parameter) for parameter in layer.parameters),
        )
        for layer in found
    )
    return replace(run, layers=layers)


def bound_to(
    network: Network, checkpoint: Checkpoint, run: Run | None, **options: Any
) -> BoundNetwork:
    """Return a network with the weights of one checkpoint; see `Network.bind`."""
    return Binding.of(network, run or run_of_one(checkpoint), **options).bind(checkpoint)


def run_of_one(checkpoint: Checkpoint) -> Run:
    """Return a run of one checkpoint."""
    layers = layers_of(checkpoint.tensors.values())
    return Run(checkpoint.path, checkpoint.format, (checkpoint,), layers)
