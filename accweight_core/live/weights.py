"""The weights of whatever a training script has: a model of any framework, or a mapping.

Names are those that the readers of files give to the same model, so that a run that is tracked and
one that is analysed from its checkpoints have the same parameters. No framework is imported: models
are told by what they offer.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accweight_core.arguments import checked_names, checked_values
from accweight_core.dtypes import is_measurable
from accweight_core.errors import (
    ArgumentTypeError,
    MismatchError,
    NonFiniteError,
    ShapeMismatchError,
    UnsupportedDtypeError,
)
from accweight_core.live.flat_shards import FlatPart, flat_state, has_flat_shards
from accweight_core.live.tensors import as_tensor
from accweight_core.naming import SECOND_NAME, layers_of, without_wrappers
from accweight_core.readers import hinted, names_in
from accweight_core.schema import MEASURED_ROLES, HiddenValues, Parameter, Role, StoredTensor

OTHER_MODEL = "a model that was changed is another run, with a tracker and a store of its own"


@dataclass(frozen=True)
class Weights:
    """The weights of a model at one step.

    Attributes:
        values: Tensors or arrays by name, not checked yet.
        reader: The reader of files of the same framework, which knows what its names mean; empty
            if names mean what they do in torch.
    """

    values: Mapping[str, Any]
    reader: str = ""

    def tensor(self, name: str) -> Tensor | FlatPart:
        """Return the values of a parameter, or those here of a shard, on the device where they are.

        Raises:
            UnsupportedDtypeError: If they are not numbers.
        """
        given = self.values[name]
        if isinstance(given, FlatPart):
            return given
        values = checked_values(name, given)
        try:
            return as_tensor(values)
        except (TypeError, UnsupportedDtypeError) as error:  # as of random keys of JAX
            raise UnsupportedDtypeError(
                f"parameter {name!r} cannot be tracked: {error}; leave it out of the mapping"
            ) from error

    def checked(self, parameter: Parameter, step: int, *, strict: bool) -> Tensor | FlatPart:
        """Return the values of a parameter, or those here of a shard, that can be measured.

        Args:
            parameter: The parameter, as it was at the first step.
            step: Step of the weights.
            strict: Whether non-finite elements are an error.

        Raises:
            MismatchError: If it is missing or has another shape.
            NonFiniteError: If an element is not finite and that is an error.
            UnsupportedDtypeError: If its values have no scale.
        """
        name, expected = parameter.name, parameter.shape
        if name not in self.values:
            raise MismatchError(
                f"parameter {name!r} is missing at step {step}; it was there at the first one; "
                f"{OTHER_MODEL}"
            )
        tensor = self.tensor(name)
        if tuple(tensor.shape) != expected:
            got = tuple(tensor.shape)
            raise ShapeMismatchError(name, expected, got, where=f"step {step}", remedy=OTHER_MODEL)
        dtype = type_of(tensor)
        if not is_measurable(dtype):
            raise UnsupportedDtypeError(
                f"parameter {name!r} cannot be tracked at step {step}: {dtype} values have no "
                "known scale and zero point; leave it out of the mapping"
            )
        values = tensor.values if isinstance(tensor, FlatPart) else tensor
        if strict and not bool(torch.isfinite(values).all()):
            raise NonFiniteError(f"parameter {name!r} holds NaN or infinity at step {step}")
        return tensor

    def measured(self, roles: Collection[Role]) -> dict[str, Parameter]:
        """Return the parameters that `analyze` would measure, by name, in network order.

        Args:
            roles: Roles in layers and rankings; more are measured.

        Raises:
            MismatchError: If there are none.
        """
        wanted = {*MEASURED_ROLES, *roles}
        found = {
            parameter.name: parameter
            for layer in layers_of(self.described())
            for parameter in layer.parameters
            if parameter.role in wanted
        }
        if not found:
            raise MismatchError(f"none of the {len(self.values)} tensors given is a weight")
        return found

    def described(self) -> tuple[StoredTensor, ...]:
        """Return the parameters with what their names mean, tied ones once."""
        tensors = {name: self.tensor(name) for name in self.values}
        again = _second_names(tensors)
        found = []
        for name, tensor in tensors.items():
            if name not in again:
                hidden = HiddenValues(lambda: None, type_of(tensor), tuple(tensor.shape))
                found.append(StoredTensor(name, hidden))
        return hinted(self.reader, found) if self.reader else tuple(found)


def type_of(tensor: Tensor | FlatPart) -> str:
    """Return the name of an element type, as the readers of files give it."""
    return str(tensor.dtype).removeprefix("torch.")


def weights_of(model: Any, where: str = "") -> Weights:
    """Return the weights of a model.

    Args:
        model: A torch module (also wrapped in DistributedDataParallel or compiled), its
            ``state_dict()``, a Keras model, a model of Flax or its state, an algorithm of
            Stable-Baselines3, or a mapping of name to tensor or array, nested or not.
        where: What to add to the message of an error, such as "at step 3".

    Raises:
        ArgumentTypeError: If it is none of these.
        MismatchError: If the model has no weights yet.
    """
    if isinstance(model, Mapping):
        return _of_mapping(model, where)
    if _is_keras(model):
        return _of_keras(model, where)
    flax = sys.modules.get("flax.nnx")
    if flax is not None and isinstance(model, flax.Module):
        return _of_tree(flax.state(model), where)
    policy = getattr(model, "policy", None)
    if not isinstance(model, nn.Module) and isinstance(policy, nn.Module):
        model = policy
    if isinstance(model, nn.Module):
        return _of_torch(state_of(model))
    raise ArgumentTypeError(
        f"expected a model, its state_dict(), or a mapping of parameter name to array or tensor"
        f"{where and ' '}{where}, got {type(model).__name__}"
    )


def state_of(model: nn.Module) -> dict[str, Tensor | FlatPart]:
    """Return the tensors in the ``state_dict()`` of a torch module, without gathering shards.

    Raises:
        ArgumentTypeError: If it is in shards that cannot be read.
    """
    if has_flat_shards(model):
        return flat_state(model)
    for name, parameter in model.named_parameters():
        if getattr(parameter, "ds_numel", parameter.numel()) != parameter.numel():
            raise ArgumentTypeError(
                f"parameter {name!r} is sharded by DeepSpeed (ZeRO stage 3), which cannot be "
                "tracked; update within deepspeed.zero.GatheredParameters in all processes, or "
                "analyze the checkpoints"
            )
    return {n: value for n, value in model.state_dict().items() if isinstance(value, Tensor)}


def _of_mapping(given: Mapping[Any, Any], where: str) -> Weights:
    checked_names(given, where)
    if any(isinstance(value, Mapping) for value in given.values()):
        return _of_tree(given, where)
    return _of_torch(given)


def _of_torch(state: Mapping[str, Any]) -> Weights:
    """Return weights under the names that they have without wrappers, if these stay different."""
    bare = without_wrappers(state)
    if len(set(bare)) < len(bare) or "" in bare:
        return Weights(state)
    return Weights(dict(zip(bare, state.values(), strict=True)))


def _second_names(tensors: Mapping[str, Tensor | FlatPart]) -> set[str]:
    """Return the names of output layers that are the embedding, as files of torch have them."""
    places: dict[Any, str] = {}
    again = set()
    for name, tensor in tensors.items():
        if math.prod(tensor.shape):
            first_name = places.setdefault(_place(tensor), name)
            if first_name != name and SECOND_NAME.search(name):
                again.add(name)
    return again


def _place(tensor: Tensor | FlatPart) -> Any:
    """Return what two names of the same values have in common."""
    if isinstance(tensor, FlatPart):
        return tensor.shared
    part: Any = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    # of a shard without elements the address is 0, and all processes have to decide the same
    address = part.data_ptr() if part.numel() else part.untyped_storage()._cdata
    return tensor.device, address, tensor.dtype, tensor.shape, tensor.stride()


# --- Keras


def _is_keras(model: Any) -> bool:
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, getattr(keras, "Model", ()))


def _of_keras(model: Any, where: str) -> Weights:
    """Return the variables of a Keras model by their paths, without the name of the model."""
    if not model.weights:
        raise MismatchError(
            f"the Keras model {model.name!r} has no weights yet{where and ' '}{where}; build it, "
            "or call it once, before"
        )
    paths = [variable.path.split("/") for variable in model.weights]
    values = [variable.value for variable in model.weights]
    if all(path[0] == model.name and len(path) > 1 for path in paths):
        paths = [path[1:] for path in paths]
    return Weights(dict(zip(map(".".join, paths), values, strict=True)), "keras")


# --- trees, as of JAX


def _of_tree(tree: Any, where: str) -> Weights:
    """Return the leaves of nested mappings by their keys, as they are named in files."""
    leaves = dict(_leaves(tree, (), where))
    shapes = {keys: tuple(getattr(value, "shape", ())) for keys, value in leaves.items()}
    names = names_in("flax", shapes)
    return Weights({name: leaves[keys] for name, keys in names.items()}, "flax")


def _leaves(node: Any, keys: tuple[str, ...], where: str) -> Iterable[tuple[tuple[str, ...], Any]]:
    """Yield all leaves of a tree with their keys; variables of nnx are opened."""
    if isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(child, (*keys, str(key)), where)
    else:
        value = node.get_value() if hasattr(node, "get_value") else node
        if not str(getattr(value, "dtype", "")).startswith("key<"):  # state of random numbers
            yield keys, value
