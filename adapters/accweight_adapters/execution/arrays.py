"""Arrays that users give: inputs by name, and weights, checked against what a network takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accweight_core.errors import ArgumentValueError, ShapeMismatchError, UnknownNameError
from accweight_core.probes.network import Array, Inputs, Port
from accweight_core.samples.samples import array_of
from accweight_core.text import some


def checked_inputs(ports: Sequence[Port], x: Inputs) -> dict[str, Array]:
    """Return the values of all inputs by name, of the types that the network takes.

    Raises:
        UnknownNameError: If a name is wrong, or one is missing.
        ArgumentValueError: If a shape does not fit.
    """
    if not isinstance(x, Mapping):
        if len(ports) != 1:
            names = ", ".join(port.name for port in ports)
            raise ArgumentValueError(
                f"the network has {len(ports)} inputs, {names}: give their values by name"
            )
        x = {ports[0].name: x}
    known = {port.name: port for port in ports}
    for name in (*x, *known):
        if name not in x or name not in known:
            problem = "has no input" if name not in known else "needs a value for its input"
            raise UnknownNameError(
                f"the network {problem} {name!r}; its inputs are {', '.join(known)}"
            )
    return {name: _fitting(array_of(value), known[name]) for name, value in x.items()}


def _fitting(value: Array, port: Port) -> Array:
    stated = value.shape if port.shape is None else port.shape
    if len(value.shape) != len(stated) or any(
        wanted not in (None, length) for wanted, length in zip(stated, value.shape, strict=True)
    ):
        wanted = ", ".join("any" if n is None else str(n) for n in stated)
        raise ArgumentValueError(
            f"input {port.name!r} takes values of shape ({wanted}); these have {value.shape}"
        )
    if not port.dtype or value.dtype.name == port.dtype or port.dtype == "bfloat16":
        return value
    kinds = value.dtype.kind, np.dtype(port.dtype).kind
    if kinds[0] == "f" and kinds[1] != "f":
        raise ArgumentValueError(
            f"input {port.name!r} takes {port.dtype}; these values are {value.dtype.name}"
        )
    return value.astype(port.dtype)


def fitting_arrays(weights: Mapping[str, Any], known: Mapping[str, Array]) -> dict[str, Array]:
    """Return weights as arrays, of the types that the network has them in.

    Raises:
        UnknownNameError: If the network has no such parameter.
        ShapeMismatchError: If one has another shape.
    """
    made = {}
    for name, value in weights.items():
        array = array_of(value)
        check_weight(name, array.shape, known)
        made[name] = array.astype(known[name].dtype, copy=False)
    return made


def check_weight(name: str, shape: tuple[int, ...], known: Mapping[str, Any]) -> None:
    """Check that the network has a parameter of that name and shape.

    Raises:
        UnknownNameError: If it has none of that name.
        ShapeMismatchError: If it has another shape.
    """
    if name not in known:
        raise UnknownNameError(
            f"the network has no parameter {name!r}; it has {some(list(known), 6)}"
        )
    expected = tuple(known[name].shape)
    if shape != expected:
        raise ShapeMismatchError(name, expected, shape, where="of the network")
