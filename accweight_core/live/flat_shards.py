"""Weights in FullyShardedDataParallel, the older FSDP, read in its flat shards where they lie.

It lays the parameters of a module end to end and gives each process a range of that. What a process
has of a parameter is then a range of its elements, maybe none, and maybe part of a row; each shard
says which. The ``state_dict()`` of such a model would gather all weights in all processes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from accweight_core.errors import ArgumentTypeError

WRAPPERS = frozenset({"_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What is left out of names, as in a ``state_dict()``."""


@dataclass(frozen=True, eq=False)
class FlatPart:
    """The elements of a parameter that this process has.

    Attributes:
        shape: Shape of the whole parameter.
        first: First element; the number of all elements where this process has none.
        values: The elements: whole rows where they are some, else flat.
        shared: Equal for two names of one parameter.
    """

    shape: tuple[int, ...]
    first: int
    values: Tensor
    shared: object

    @property
    def dtype(self) -> torch.dtype:
        """Of the elements."""
        return self.values.dtype


def has_flat_shards(model: nn.Module) -> bool:
    """Tell whether a model, or what it is a part of, is in FullyShardedDataParallel."""
    if "torch.distributed.fsdp" not in sys.modules:
        return False
    return any(_is_wrapper(m) for m in model.modules()) or any(map(_is_flat, model.parameters()))


def flat_state(model: nn.Module) -> dict[str, Tensor | FlatPart]:
    """Return the state of a model like its ``state_dict()``, of sharded parameters the own part.

    Raises:
        ArgumentTypeError: If a parameter is in a shard of a module around the model, or if this
            version of torch does not tell what is in a shard.
    """
    parts, shards = _parts_of([module for module in model.modules() if _is_wrapper(module)])
    found: dict[str, Tensor | FlatPart] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        inside = [name for name in path.split(".") if name and name not in WRAPPERS]
        own: dict[str, Tensor | FlatPart] = {**parts.get(id(module), {})}
        for name, tensor in chain(module._parameters.items(), module._buffers.items()):
            if tensor is None or name in own or name in module._non_persistent_buffers_set:
                continue
            if id(tensor) not in shards:
                own[name] = _checked(name, tensor)
        found |= {".".join([*inside, name]): value for name, value in own.items()}
    return found


def _checked(name: str, tensor: Tensor) -> Tensor:
    """Return a tensor that is whole."""
    if _is_flat(tensor):
        raise ArgumentTypeError(
            f"parameter {name!r} is in a shard of a FullyShardedDataParallel around the model "
            "given; give the model that FullyShardedDataParallel returned"
        )
    return tensor.detach()


def _parts_of(wrappers: Iterable[Any]) -> tuple[dict[int, dict[str, FlatPart]], set[int]]:
    """Return the parts of parameters by module and name there, and which tensors are the shards."""
    parts: dict[int, dict[str, FlatPart]] = {}
    shards: set[int] = set()
    try:
        for handle in (wrapper._handle for wrapper in wrappers):
            if handle is None:  # all its parameters are in modules that are wrapped themselves
                continue
            flat = handle.flat_param
            if any(extension is not None for extension in flat._param_extensions):
                raise ValueError("they are sharded in another way, too")
            # what forward and backward read is gathered, or of lower precision: this is trained
            shard = getattr(flat, "_local_shard", flat).detach()
            infos = zip(flat._param_infos, flat._shapes, flat._shard_param_infos, strict=True)
            for (name, module, _), shape, held in infos:
                parts.setdefault(id(module), {})[name] = _part(shard, tuple(shape), held)
            for name, module, _, first_name, first_module, _ in flat._shared_param_infos:
                first = parts[id(first_module)][first_name]
                parts.setdefault(id(module), {})[name] = first
            shards.add(id(flat))
    except (AttributeError, TypeError, ValueError) as error:
        raise ArgumentTypeError(
            f"FullyShardedDataParallel of torch {torch.__version__} does not tell what is in its "
            f"shards ({error}); shard with fully_shard"
        ) from error
    return parts, shards


def _part(shard: Tensor, shape: tuple[int, ...], held: Any) -> FlatPart:
    """Return the part of a parameter in a shard."""
    if not held.in_shard:
        return FlatPart(shape, math.prod(shape), shard[:0], object())
    first, row = held.intra_param_start_idx, math.prod(shape[1:])
    values = shard.narrow(0, held.offset_in_shard, held.numel_in_shard)
    if shape and not first % row and not len(values) % row:
        values = values.view(-1, *shape[1:])  # so that sub-blocks are those of the whole
    return FlatPart(shape, first, values, object())


def _is_wrapper(module: nn.Module) -> bool:
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return isinstance(module, getattr(fsdp, "FullyShardedDataParallel", ()))


def _is_flat(tensor: Tensor) -> bool:
    return bool(getattr(tensor, "_fsdp_flattened", False))
