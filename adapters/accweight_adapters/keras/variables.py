"""Names of a layer's variables, which Keras 3 saves by number only.

The class of a layer determines the order of its variables. If the class is unknown or does not fit,
shapes are used: a matrix, and a vector as long as its last axis, are a kernel and its bias.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

Shape = tuple[int, ...]

AFFINE: Final = ("kernel", "bias")
RECURRENT: Final = ("kernel", "recurrent_kernel", "bias")
SEPARABLE: Final = ("depthwise_kernel", "pointwise_kernel", "bias")

FIXED: Final = {
    "embedding": ("embeddings",),
    "reversible_embedding": ("embeddings", "reverse_embeddings"),
    "normalization": ("mean", "variance", "count"),
    "rms_normalization": ("scale",),
    "p_re_lu": ("alpha",),
    "seed_generator": ("seed_generator_state",),
    "spectral_normalization": ("vector_u",),
    "additive_attention": ("scale",),
    "attention": ("scale",),
}
"""Variables by class; a layer may have only the first ones."""

PATTERNS: Final = (
    (re.compile(r"(conv[123]d(_transpose)?|depthwise_conv[12]d|(einsum_)?dense)"), AFFINE),
    (re.compile(r"separable_conv[12]d"), SEPARABLE),
    (re.compile(r"((conv_)?lstm|gru|simple_rnn)(_cell)?"), RECURRENT),
)
RANKS: Final = {
    "dense": 2,
    "conv1d": 3,
    "conv2d": 4,
    "conv3d": 5,
    "embedding": 2,
    "lstm_cell": 2,
    "gru_cell": 2,
    "simple_rnn_cell": 2,
}
"""Number of axes of the first variable, to detect a user's name that looks like another class."""

MOVING: Final = ("moving_mean", "moving_variance")
KNOWN_GATES: Final = (1, 3, 4)


def variable_names(
    classes: Sequence[str], shapes: Sequence[Shape], settings: Mapping[str, Any]
) -> tuple[str, list[str]]:
    """Return the class of a layer and the names of its variables, in order.

    Args:
        classes: Possible classes in snake case, most certain first.
        shapes: Shapes of its variables.
        settings: Its configuration, if known.
    """
    for name in classes:
        names = _by_class(name, len(shapes), settings)
        if names is not None and RANKS.get(name, len(shapes[0])) == len(shapes[0]):
            return name, names
    names = _by_shapes(shapes)
    return "", names or [f"variable_{number}" for number in range(len(shapes))]


def _by_class(name: str, count: int, settings: Mapping[str, Any]) -> list[str] | None:
    """Return the names of `count` variables of a class, or None if it has another number."""
    names: Sequence[str] | None = FIXED.get(name)
    for pattern, variables in PATTERNS:
        names = variables if pattern.fullmatch(name) else names
    if name in ("batch_normalization", "sync_batch_normalization"):
        names = (*_affine(count - len(MOVING), settings, "beta"), *MOVING)
    elif name in ("layer_normalization", "group_normalization"):
        names = _affine(count, settings, "gamma")
    return list(names[:count]) if names is not None and 0 < count <= len(names) else None


def _affine(count: int, settings: Mapping[str, Any], usual: str) -> tuple[str, ...]:
    """Return the names of scale and shift; `usual` is the default for a single one."""
    if count != 1:
        return ("gamma", "beta") if count == 2 else ()
    if settings.get("center") is False or settings.get("rms_scaling") is True:
        return ("gamma",)
    return ("beta",) if settings.get("scale") is False else (usual,)


def _by_shapes(shapes: Sequence[Shape]) -> list[str] | None:
    """Return the names that the shapes suggest, or None."""
    first = shapes[0]
    if len(shapes) in (2, 3) and _is_recurrent(*shapes[:2]) and _fits(shapes[2:], first):
        return list(RECURRENT[: len(shapes)])
    if len(shapes) == 2 and len(first) > 1 and _is_bias(shapes[1], first):
        return list(AFFINE)
    vectors = all(len(shape) == 1 and shape == first for shape in shapes)
    if vectors and len(shapes) == 4:
        return ["gamma", "beta", *MOVING]
    if vectors and len(shapes) == 2:
        return ["gamma", "beta"]
    return None


def _is_recurrent(kernel: Shape, recurrent: Shape) -> bool:
    """Tell whether two matrices are those of a recurrent cell: equal gates, one from units."""
    if len(kernel) < 2 or len(kernel) != len(recurrent) or kernel[-1] != recurrent[-1]:
        return False
    units = recurrent[-2]
    return units > 0 and recurrent[-1] % units == 0 and recurrent[-1] // units in KNOWN_GATES


def _fits(biases: Sequence[Shape], kernel: Shape) -> bool:
    return all(bias and bias[-1] == kernel[-1] and len(bias) < 3 for bias in biases)


def _is_bias(bias: Shape, kernel: Shape) -> bool:
    """Tell whether a shape is a bias: the kernel's last axes, or the one before (transposed)."""
    return 0 < len(bias) < len(kernel) and (
        bias == kernel[-len(bias) :] or (len(kernel) > 2 and bias == kernel[-2:-1])
    )
