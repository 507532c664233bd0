"""A device that stands in for a GPU: it computes what the CPU does, and refuses mixed devices.

Its tensors are on the CPU, and say that they are elsewhere. Every operation of torch on them,
forward and backward, is done on the CPU, after the rules of CUDA have been held against where its
tensors are. It is registered with torch for the whole process, and so wants one of its own.

What torch has for backends written in Python is experimental. Where it is missing or is no longer
what it was, `registered` returns False.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._pytree import tree_leaves, tree_map

NAME = "standin"

ATEN = torch.ops.aten

MOVING = (ATEN.copy_.default, ATEN._copy_from.default)
"""Operations that take tensors of two devices."""

INDEXING = (
    ATEN.index.Tensor, ATEN._unsafe_index.Tensor, ATEN.index_put.default, ATEN.index_put_.default,
    ATEN._index_put_impl_.default,
)  # fmt: skip
"""Operations whose indices may be on the CPU."""

_kept: list[Any] = []


class DeviceTensor(torch.Tensor):
    """A tensor on the device; `values` are its values, on the CPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> DeviceTensor:
        """Return a tensor without memory of its own."""
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, values.shape, strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, device=torch.device(NAME, 0),
        )  # fmt: skip
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Compute on the CPU."""
        return computed(function, args, kwargs or {})

    def tolist(self) -> Any:
        """Return the numbers, as any tensor does."""
        return self.values.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a tensor of a GPU does."""
        raise TypeError(f"can't convert {self.device} device type tensor to numpy")

    def new_tensor(self, data: Any, **options: Any) -> Any:
        """Return data on the device."""
        return torch.tensor(data, dtype=options.get("dtype") or self.dtype).to(self.device)


class _Module(backend_registration._DummyBackendModule):
    """What torch asks of a kind of device."""

    def device_count(self) -> int:
        return 1

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        pass


def computed(function: Any, args: Any, kwargs: Any) -> Any:
    """Return what an operation gives, its tensors on the device of its arguments."""
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    ours = [t for t in tensors if isinstance(t, DeviceTensor)]
    _check(function, tensors, ours)
    leaves = {id(t.values): t for t in ours}
    made = function(*tree_map(_on_cpu, args), **tree_map(_on_cpu, kwargs))
    if ours and str(kwargs.get("device", NAME)).startswith("cpu"):
        return made  # brought back

    def there(value: Any) -> Any:
        is_new = isinstance(value, torch.Tensor) and id(value) not in leaves
        return DeviceTensor(value) if is_new else leaves.get(id(value), value)

    return tree_map(there, made)


def _on_cpu(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.values
    is_device = isinstance(value, torch.device) and value.type == NAME
    return torch.device("cpu") if is_device else value


def _check(function: Any, tensors: list[torch.Tensor], ours: list[DeviceTensor]) -> None:
    """Raise unless CUDA allows the tensors to be where they are."""
    others = [t for t in tensors if not isinstance(t, DeviceTensor)]
    if not ours or not others or function in MOVING:
        return
    if function in INDEXING and isinstance(tensors[0], DeviceTensor):
        return
    if torch.Tag.pointwise in function.tags and not any(t.dim() for t in others):
        return
    shapes = [(t.device.type, tuple(t.shape)) for t in tensors]
    raise RuntimeError(f"expected all tensors to be on the same device in {function}, got {shapes}")


def registered() -> bool:
    """Register the device with torch, and tell whether it works."""
    try:
        backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
        library = torch.library.Library("_", "IMPL", "PrivateUse1")
        library.fallback(lambda op, *args, **kwargs: computed(op, args, kwargs), "PrivateUse1")
        _kept.append(library)  # what it registers goes when it is collected
        plain = torch.tensor

        def tensor(data: Any, *, device: Any = None, **options: Any) -> torch.Tensor:
            made = plain(data, **options)
            return made if device is None else made.to(device)

        torch.tensor = tensor  # it would put the data where no operation of Python is called
        x = torch.ones(2, 3).to(NAME).requires_grad_()
        (gradient,) = torch.autograd.grad((x @ x.mT).sum() * torch.tensor(2.0, device=NAME), x)
        return gradient.device.type == NAME and bool((gradient.cpu() == 8).all())
    except Exception:  # whatever an experimental interface raises
        return False
