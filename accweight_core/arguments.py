"""What callers hand over from Python, checked before anything is made of it.

Steps, names, roles and arrays of a training script come in every form that Python has. What
cannot be meant ends here in an error of ours that names it, not in a library further down.
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

STEP_BITS = 63
"""Of a step, as analyses store it, beside its sign."""


def checked_step(value: Any) -> int:
    """Return a step as a number.

    Numbers of NumPy, whole floats and digits in text count; a truth value does not.

    Raises:
        StepOrderError: If it is no whole number, or too large to be stored.
    """
    step = whole(value)
    if step is None or not -(2**STEP_BITS) <= step < 2**STEP_BITS:
        raise StepOrderError(
            f"{brief(value)} is not a step; expected a whole number of at most {STEP_BITS} bits"
        )
    return step


def whole(value: Any) -> int | None:
    """Return a value as a whole number, None if it is none; a truth value is none."""
    if isinstance(value, (bool, np.bool_)):
        return None
    try:
        if isinstance(value, (str, float, np.floating)):
            return int(value) if isinstance(value, str) or float(value).is_integer() else None
        return operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return None


def checked_roles(roles: Iterable[Role | str]) -> tuple[Role, ...]:
    """Return roles by their names.

    Raises:
        UnknownNameError: If one is none; the message lists them.
        ArgumentTypeError: If they are not several roles.
    """
    named = (roles,) if isinstance(roles, str) else _several(roles, "roles")
    known = [role.value for role in Role]
    for role in named:
        if not is_one_of(role, known):
            raise UnknownNameError(f"{brief(role)} is not a role; roles are {', '.join(known)}")
    return tuple(Role(role) for role in named)


def _several(values: Any, what: str) -> tuple[Any, ...]:
    try:
        return tuple(values)
    except TypeError:
        raise ArgumentTypeError(f"expected {what}, got {type(values).__name__}") from None


def checked_choice(value: Any, choices: Sequence[str], what: str) -> None:
    """Raise unless a value is one of a few words.

    Raises:
        ArgumentValueError: If it is none of them.
    """
    if not is_one_of(value, choices):
        raise ArgumentValueError(f"{what} must be one of {', '.join(choices)}, got {brief(value)}")


def is_one_of(value: Any, words: Container[str]) -> bool:
    """Tell whether a value, which may be anything, is text and one of some words."""
    return isinstance(value, str) and value in words


def checked_text(value: Any, what: str) -> None:
    """Raise unless a value is text, as all names are.

    Raises:
        UnknownNameError: If it is not.
    """
    if not isinstance(value, str):
        raise UnknownNameError(f"{what} is named by text, not by {brief(value)}")


def checked_path(value: Any, what: str) -> None:
    """Raise unless a value can be the name of a file.

    Raises:
        ArgumentTypeError: If it is neither text nor a path.
    """
    is_path = isinstance(value, str)
    if not is_path and isinstance(value, os.PathLike):
        is_path = type(value).__name__ == "RemotePath" or isinstance(os.fspath(value), str)
    if not is_path:
        raise ArgumentTypeError(f"expected the path of {what}, got {type(value).__name__}")


def checked_names(weights: Any, where: str) -> None:
    """Raise unless weights are a mapping whose names are text.

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
    """Return the values of a parameter: a tensor as it is, all else as an array.

    Raises:
        ArgumentTypeError: If they have no values of their own in one block of memory, or are
            neither array nor tensor, nor lists of numbers.
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        problem = _problem_of(torch, value)
        if problem:
            raise ArgumentTypeError(f"parameter {name!r} {problem}")
        return value
    try:
        return value if _is_array(value) else np.asarray(value)
    except Exception as error:  # whatever the class of a value does when it is asked for an array
        reason = " ".join(str(error).split())[:160]
        raise ArgumentTypeError(
            f"parameter {name!r} is a {type(value).__name__} that is no array ({reason})"
        ) from None


def _is_array(value: Any) -> bool:
    """Tell whether a value says of itself what arrays say, as those of many libraries do."""
    if isinstance(value, type) or not (hasattr(value, "dtype") and hasattr(value, "shape")):
        return False
    tuple(int(length) for length in value.shape)
    return True


def _problem_of(torch: Any, tensor: Any) -> str:
    """Return why a tensor of torch cannot be measured; nothing if it can."""
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
    """Return a value for a message, in one short line."""
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:60]}..."
