"""Check the arguments of the Python API before they are used.

Training scripts pass steps, names, roles and arrays of many types. An invalid argument raises an
error of accweight here that names it, instead of an error deep in another library.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from accweight_core.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    StepOrderError,
    UnknownNameError,
)
from accweight_core.schema import Role
from accweight_core.text import meant

STEP_BITS = 63
"""Bits of a step in an analysis, without the sign."""


def checked_step(value: Any) -> int:
    """Return a step as an int.

    NumPy numbers, whole floats and text of digits are accepted; booleans are not.

    Raises:
        StepOrderError: If it is not a whole number, or too large to be stored.
    """
    step = whole(value)
    if step is None or not -(2**STEP_BITS) <= step < 2**STEP_BITS:
        raise StepOrderError(
            f"{brief(value)} is not a step; expected a whole number of at most {STEP_BITS} bits"
        )
    return step


def whole(value: Any) -> int | None:
    """Return a value as an int, None if it is a boolean or not a whole number."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        if isinstance(value, (str, float, np.floating)):
            return int(value) if isinstance(value, str) or float(value).is_integer() else None
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def check_count(value: Any, what: str, *, least: int = 1) -> None:
    """Raise unless a value is None or a number of things.

    Raises:
        ArgumentTypeError: If it is not an integer.
        ArgumentValueError: If it is less than `least`.
    """
    if value is None:
        return
    is_integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not is_integer or value < least:
        problem = ArgumentValueError if is_integer else ArgumentTypeError
        raise problem(f"{what} must be a whole number of at least {least}, got {brief(value)}")


def check_callable(value: Any, what: str) -> None:
    """Raise unless a value can be called.

    Raises:
        ArgumentTypeError: If it cannot.
    """
    if not callable(value):
        raise ArgumentTypeError(f"{what} must be a function, got {brief(value)}")


def checked_roles(roles: Iterable[Role | str]) -> tuple[Role, ...]:
    """Return the roles of some names.

    Raises:
        UnknownNameError: If a name is not a role; the message lists the roles.
        ArgumentTypeError: If `roles` is not iterable.
    """
    named = (roles,) if isinstance(roles, str) else _several(roles, "roles")
    known = [role.value for role in Role]
    for role in named:
        if not is_one_of(role, known):
            raise UnknownNameError(
                f"{brief(role)} is not a role; {meant(role, known)}roles are {', '.join(known)}"
            )
    return tuple(Role(role) for role in named)


def _several(values: Any, what: str) -> tuple[Any, ...]:
    try:
        return tuple(values)
    except TypeError:
        raise ArgumentTypeError(f"expected {what}, got {type(values).__name__}") from None


def checked_choice(value: Any, choices: Sequence[str], what: str) -> None:
    """Raise unless a value is one of some words.

    Raises:
        ArgumentValueError: If it is not.
    """
    if not is_one_of(value, choices):
        raise ArgumentValueError(f"{what} must be one of {', '.join(choices)}, got {brief(value)}")


def is_one_of(value: Any, words: Container[str]) -> bool:
    """Tell whether a value of any type is text and one of some words."""
    return isinstance(value, str) and value in words


def checked_text(value: Any, what: str) -> None:
    """Raise unless a name is text.

    Raises:
        UnknownNameError: If it is not.
    """
    if not isinstance(value, str):
        raise UnknownNameError(f"{what} is named by text, not by {brief(value)}")


def checked_path(value: Any, what: str) -> None:
    """Raise unless a value is text or a path.

    Raises:
        ArgumentTypeError: If it is neither.
    """
    is_path = isinstance(value, str)
    if not is_path and isinstance(value, os.PathLike):
        is_path = type(value).__name__ == "RemotePath" or isinstance(os.fspath(value), str)
    if not is_path:
        raise ArgumentTypeError(f"expected the path of {what}, got {type(value).__name__}")


def checked_names(weights: Any, where: str) -> None:
    """Raise unless weights are a mapping with text keys.

    Raises:
        ArgumentTypeError: If they are not.
    """
    if not isinstance(weights, Mapping):
        raise ArgumentTypeError(
            f"expected a mapping of parameter name to array or tensor {where}, such as "
            f"model.state_dict(), got {type(weights).__name__}"
        )
    for name in weights:
        if not isinstance(name, str):
            raise ArgumentTypeError(
                f"parameter names are text; one {where} is {brief(name)} ({type(name).__name__})"
            )


def checked_values(name: str, value: Any) -> Any:
    """Return the values of a parameter: tensors and arrays unchanged, lists as an array.

    Raises:
        ArgumentTypeError: If the values are a tensor that is not dense or has no data, or are
            neither a tensor nor convertible to an array.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        problem = _problem_of(torch, value)
        if problem:
            raise ArgumentTypeError(f"parameter {name!r} {problem}")
        return value
    try:
        return value if _is_array(value) else np.asarray(value)
    except Exception as error:  # the class of the value may raise anything in __array__
        reason = " ".join(str(error).split())[:160]
        raise ArgumentTypeError(
            f"parameter {name!r} is a {type(value).__name__} that is no array ({reason})"
        ) from None


def _is_array(value: Any) -> bool:
    """Tell whether a value has a dtype and a shape, as the arrays of many libraries do."""
    if isinstance(value, type) or not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return False
    tuple(int(length) for length in value.shape)
    return True


def _problem_of(torch: Any, tensor: Any) -> str:
    """Return why a torch tensor cannot be measured; an empty text if it can."""
    try:
        if tensor.is_meta:
            return "is on the device 'meta' and has no values; give it after its weights are loaded"
        if tensor.is_nested:
            return "is a nested tensor; give its parts under names of their own"
        if tensor.layout != torch.strided:
            return f"is a sparse tensor ({tensor.layout}); give tensor.to_dense()"
        tuple(tensor.shape)
    except Exception as error:  # parameters of lazy modules have no shape yet
        return f"cannot be used yet ({' '.join(str(error).split())[:160]})"
    return ""


def brief(value: Any) -> str:
    """Return the repr of a value for a message, in one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}..."
