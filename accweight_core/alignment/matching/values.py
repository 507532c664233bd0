"""Match layers by their weights, where names, positions and shapes are ambiguous.

Power sums, minimum and maximum do not depend on the order of elements: they are equal for a matrix
and its transpose, and for gates stacked in another order. Layers with equal sums hold equal
values. Layers with similar values are recognised by correlation, over a sample of elements in a
common order of axes. Every candidate is read once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accweight_core.alignment.matching.parameters import leaf_of
from accweight_core.errors import AccweightError
from accweight_core.io.reading import OpenFiles, read_stretch
from accweight_core.io.widening import working_dtype
from accweight_core.runs.axis_shapes import MATRICES, Form, parameter_form
from accweight_core.schema import Axis, Layer, Parameter, Role, StoredTensor

MOST_ELEMENTS = 1 << 28
"""Most elements read per side, unless `values` is "always": 1 GiB of float32."""

SAMPLES = 4096
FEWEST_SAMPLES = 64
"""Fewest elements for a correlation: small tensors correlate by chance."""

NEAR, FAR = 0.8, 0.4
"""Least correlation of a match, and most correlation with every other candidate."""

ROUNDING = 1e-9
EQUAL, CORRELATED = 0.99, 0.85
"""Confidence of a match by equal values, and by correlation."""

MEANING = (Axis.DIRECTION, Axis.OUTPUT, Axis.INPUT, Axis.OTHER, Axis.KERNEL)

Tensors = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class EqualLayers:
    """A pair of layers with equal or strongly correlated values."""

    a: str
    b: str
    confidence: float
    words: str


@dataclass(frozen=True)
class Signature:
    """What identifies the values of a layer.

    Attributes:
        moments: Number of elements, sums of x, abs(x), x^2 and x^3, minimum, maximum.
        forms: Shapes of its matrices, in the order of `samples`.
        samples: Elements of its matrices, standardised; empty if there are too few.
    """

    moments: npt.NDArray[np.float64]
    forms: tuple[Form, ...]
    samples: npt.NDArray[np.float32]


def equal_layers(
    left: Sequence[Layer], right: Sequence[Layer], here: Tensors, there: Tensors
) -> list[EqualLayers]:
    """Return pairs of layers with equal values, where each layer fits only one other.

    Args:
        left: Candidates of one side.
        right: Candidates of the other.
        here: Tensors of the left checkpoint, by name.
        there: Tensors of the right checkpoint, by name.
    """
    sides = [_signatures(left, here), _signatures(right, there)]
    found = []
    for name_a, name_b in _same_moments(*sides):
        found.append(EqualLayers(name_a, name_b, EQUAL, "same values"))
    for name_a, name_b, near in _correlated(sides, {f.a for f in found}, {f.b for f in found}):
        words = f"values correlate by {near:.2f}, with others by {FAR} at most"
        found.append(EqualLayers(name_a, name_b, CORRELATED, words))
    return found


def elements_read(layers: Sequence[Layer]) -> int:
    """Return how many elements `equal_layers` reads of these layers."""
    return sum(p.elements for layer in layers for p in _telling(layer))


def _telling(layer: Layer) -> list[Parameter]:
    """Return the parameters that identify a layer: its matrices, else all that are trained."""
    matrices = [p for p in layer.parameters if p.role in MATRICES and len(p.shape) > 1]
    return matrices or [p for p in layer.parameters if p.role is not Role.BUFFER]


def _signatures(layers: Sequence[Layer], tensors: Tensors) -> dict[str, Signature]:
    """Return the signature of every layer that can be read and is not constant."""
    found = {}
    with OpenFiles() as files:
        for layer in layers:
            try:
                signature = _signature(files, _telling(layer), tensors)
            except AccweightError:
                continue  # integer codes without a scale; analysing the run reports them
            if signature and signature.moments[-2] < signature.moments[-1]:
                found[layer.name] = signature
    return found


def _signature(
    files: OpenFiles, parameters: Sequence[Parameter], tensors: Tensors
) -> Signature | None:
    known = [(p, tensors[p.name]) for p in parameters if p.name in tensors and p.elements]
    if not known or len(known) < len(parameters):
        return None
    known.sort(key=lambda pair: (leaf_of(pair[0]), parameter_form(pair[0])))
    parts, samples = [], []
    for parameter, tensor in known:
        values = _read(files, tensor)
        parts.append(_moments(values))
        samples.append(_spread(_by_meaning(values.reshape(tensor.shape), parameter)))
    moments = np.sum(parts, axis=0)
    moments[-2] = min(part[-2] for part in parts)
    moments[-1] = max(part[-1] for part in parts)
    forms = tuple(parameter_form(parameter) for parameter, _ in known)
    return Signature(moments, forms, _standardised(np.concatenate(samples)))


def _read(files: OpenFiles, tensor: StoredTensor) -> npt.NDArray[np.float64]:
    elements = tensor.values.elements
    out = np.empty(elements, working_dtype(tensor))
    read_stretch(files, tensor, 0, elements, out)
    values: npt.NDArray[np.float64] = out.view(out.real.dtype)
    return np.where(np.isfinite(values), values, 0)


def _moments(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    wide = values.astype(np.float64)
    sums = wide.sum(), np.abs(wide).sum(), (wide * wide).sum(), (wide * wide * wide).sum()
    return np.array([wide.size, *sums, wide.min(), wide.max()])


def _by_meaning(values: npt.NDArray[np.float64], parameter: Parameter) -> npt.NDArray[np.float64]:
    """Return the elements, flat, in an order of axes that all frameworks share."""
    order = sorted(range(values.ndim), key=lambda axis: MEANING.index(parameter.axes[axis]))
    return values.transpose(order).reshape(-1)


def _spread(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a sample of evenly spaced elements."""
    places = np.linspace(0, values.size - 1, min(values.size, SAMPLES)).astype(np.intp)
    return values[places].astype(np.float64)


def _standardised(samples: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return samples with mean 0 and length 1; none if they are too few or constant."""
    samples = samples - samples.mean()
    length = np.linalg.norm(samples)
    if samples.size < FEWEST_SAMPLES or not length:
        return np.empty(0, np.float32)
    return (samples / length).astype(np.float32)


def _same_moments(
    left: Mapping[str, Signature], right: Mapping[str, Signature]
) -> list[tuple[str, str]]:
    """Return pairs with equal values in any order, where no other layer fits."""
    likely: dict[tuple[float, ...], tuple[list[str], list[str]]] = {}
    for number, side in enumerate((left, right)):
        for name, signature in side.items():
            count, *_, smallest, largest = signature.moments.tolist()
            likely.setdefault((count, smallest, largest), ([], []))[number].append(name)
    pairs = [
        (a, b)
        for ours, theirs in likely.values()
        for a in ours
        for b in theirs
        if _is_same(left[a].moments, right[b].moments)
    ]
    here, there = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    return [(a, b) for a, b in pairs if here[a] == 1 == there[b]]


def _is_same(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> bool:
    """Tell whether sums are equal up to rounding, which depends on the order of elements."""
    largest = np.abs(left[5:]).max()
    scales = np.array([left[2], left[2], left[3], largest * left[3]])
    return bool((np.abs(left - right)[1:5] <= ROUNDING * scales).all())


def _correlated(
    sides: Sequence[Mapping[str, Signature]], *taken: set[str]
) -> list[tuple[str, str, float]]:
    """Return pairs that correlate strongly with each other and weakly with all others."""
    forms: dict[tuple[Form, ...], tuple[list[str], list[str]]] = {}
    for number, side in enumerate(sides):
        for name, signature in side.items():
            if name not in taken[number] and signature.samples.size:
                forms.setdefault(signature.forms, ([], []))[number].append(name)
    found = []
    for ours, theirs in forms.values():
        if not (ours and theirs):
            continue
        here, there = (
            np.stack([side[n].samples for n in names])
            for side, names in zip(sides, (ours, theirs), strict=True)
        )
        near = here @ there.T
        for i, j in zip(*np.nonzero(near >= NEAR), strict=True):
            others = [*np.delete(near[i], j), *np.delete(near[:, j], i)]
            if max(others, default=-1.0) <= FAR:
                found.append((ours[i], theirs[j], float(near[i, j])))
    return found
