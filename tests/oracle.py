"""The oracle: every metric by its formula, in float64, on whole tensors, with numpy alone.

Written from the formulas and not from the code: nothing here is cut into blocks, merged or
reused, and nothing of accweight is imported but the words of the schema.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from accweight_core.naming import layers_of
from accweight_core.schema import Checkpoint, Extent, HiddenValues, Hints, Kind, Role, Run
from accweight_core.schema import StoredTensor as Stored

Wide = npt.NDArray[np.float64] | npt.NDArray[np.complex128]
Weights = Mapping[str, torch.Tensor]

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
    torch.float32,
    torch.float64,
    torch.complex64,
)

SHAPES = (
    (),
    (0,),
    (1,),
    (3,),
    (17, 33),
    (64, 3, 5, 5),
    (3, 20000),
    (1, 20000),
    (40000,),
)
"""A scalar, nothing, one, few, a matrix, a convolution, rows longer than a sub-block, a leading
axis that cuts nothing, and a vector of several sub-blocks that ends in the middle of one."""


def series(
    shape: tuple[int, ...], dtype: torch.dtype = torch.float32, steps: int = 4, seed: int = 0
) -> list[torch.Tensor]:
    """Return weights of one parameter on a random walk; some signs flip, some stay put."""
    chance = np.random.default_rng([seed, *shape])
    now = chance.standard_normal(shape) + 1j * chance.standard_normal(shape) * dtype.is_complex
    states = []
    for _ in range(steps):
        stored = np.asarray(now if dtype.is_complex else now.real)
        states.append(torch.from_numpy(stored.copy()).reshape(shape).to(dtype))
        moving = chance.random(shape) < 0.9
        step = chance.standard_normal(shape) + 1j * chance.standard_normal(shape) * dtype.is_complex
        now = now + 0.3 * moving * step
    return states


def wide(tensor: torch.Tensor) -> Wide:
    """Return the values of a tensor, exact, as float64 or complex128."""
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64).numpy()


@dataclass(frozen=True)
class Walk:
    """A walk with what is not finite mended.

    Attributes:
        held: (steps, ...) W_t, where not finite the last finite value, before the first one 0.
        reference: (steps, ...) the first finite value up to that step, before it 0.
        moved: (steps, ...) D_t; 0 where not finite and where finite for the first time.
        nonfinite: (steps,) counts.
    """

    held: Wide
    reference: Wide
    moved: npt.NDArray[np.float64]
    nonfinite: npt.NDArray[np.float64]

    @property
    def path(self) -> npt.NDArray[np.float64]:
        """(steps, ...) A_t."""
        return np.cumsum(self.moved, axis=0)


def walk_of(states: Sequence[torch.Tensor]) -> Walk:
    """Return the walk of one parameter through its states, element by element."""
    values = np.stack([wide(state) for state in states])
    flat = values.reshape(len(states), -1)
    held, reference = np.zeros_like(flat), np.zeros_like(flat)
    moved = np.zeros(flat.shape)
    for element in range(flat.shape[1]) if not np.isfinite(flat).all() else ():
        last = first = None
        for step, value in enumerate(flat[:, element]):
            if np.isfinite(value):
                moved[step, element] = 0 if last is None else abs(value - last)
                last, first = value, value if first is None else first
            held[step, element] = 0 if last is None else last
            reference[step, element] = 0 if first is None else first
    if np.isfinite(flat).all():
        held, reference = flat, np.broadcast_to(flat[:1], flat.shape)
        moved[1:] = np.abs(np.diff(flat, axis=0))
    shape = values.shape
    return Walk(
        held.reshape(shape),
        np.asarray(reference).reshape(shape),
        moved.reshape(shape),
        (~np.isfinite(flat)).sum(axis=1).astype(np.float64),
    )


def cumulative(states: Sequence[torch.Tensor]) -> npt.NDArray[np.float64]:
    """Return A_T of one parameter."""
    return walk_of(states).path[-1]


def metrics(*parameters: Sequence[torch.Tensor]) -> dict[str, npt.NDArray[np.float64]]:
    """Return every metric over steps, of one parameter or of several that make up a layer."""
    walks = [walk_of(states) for states in parameters]
    steps = len(parameters[0])

    def together(pick: Callable[[Walk], Wide]) -> Wide:
        return np.concatenate([pick(walk).reshape(steps, -1) for walk in walks], axis=1)

    held, reference = together(lambda w: w.held), together(lambda w: w.reference)
    path, moved = together(lambda w: w.path), together(lambda w: w.moved)
    net = np.abs(held - reference)
    norm, norm_0 = _norm(held), _norm(reference)
    before = np.concatenate([[np.nan], norm[:-1]])
    return {
        "mean": path.mean(axis=1),
        "max": path.max(axis=1),
        "std": path.std(axis=1),
        "step_mean": moved.mean(axis=1),
        "step_max": moved.max(axis=1),
        "net_mean": net.mean(axis=1),
        "efficiency": np.array(
            [n / p if p else 1.0 for n, p in zip(net.sum(axis=1), path.sum(axis=1), strict=True)]
        ),
        "relative": _quotient(_norm(net), norm_0),
        "update_ratio": _quotient(_norm(moved), before),
        "rotation": _rotation(held, reference),
        "sign_flips": (
            np.full(steps, np.nan)
            if np.iscomplexobj(held)
            else (np.sign(held) != np.sign(reference)).mean(axis=1)
        ),
        "l2_path": np.add.accumulate(_norm(moved)),
        "nonfinite": sum(walk.nonfinite for walk in walks),
    }


def _norm(rows: Wide) -> npt.NDArray[np.float64]:
    return np.sqrt((np.abs(rows) ** 2).sum(axis=1))


def _quotient(
    above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.array([a / b if b > 0 else np.nan for a, b in zip(above, below, strict=True)])


def _rotation(held: Wide, reference: Wide) -> npt.NDArray[np.float64]:
    """Return half the squared distance of the directions, which is 1 - cosine, in 80 bits."""
    precise = np.clongdouble if np.iscomplexobj(held) else np.longdouble
    turned = []
    for now, first in zip(held.astype(precise), reference.astype(precise), strict=True):
        sizes = [np.sqrt((np.abs(side) ** 2).sum()) for side in (now, first)]
        if min(sizes) == 0:
            turned.append(math.nan)
        else:
            turned.append(float((np.abs(now / sizes[0] - first / sizes[1]) ** 2).sum() / 2))
    return np.array(turned)


# Runs of known values, in files of raw bytes that only an extent can make sense of.

WEIGHT = Hints(kind=Kind.OTHER, role=Role.WEIGHT)
FORMS = ("plain", "transposed", "strided", "big-endian", "hidden")


def raw_run(
    folder: Path,
    checkpoints: Sequence[Weights],
    form: str = "plain",
    hints: Hints = WEIGHT,
) -> Run:
    """Write checkpoints as raw bytes and return the run that describes them.

    Args:
        folder: Where to write.
        checkpoints: Weights by name; names are `layer.leaf`, all of the role weight.
        form: How the bytes lie: as they are, last axis first, with gaps, most significant
            byte first, or out of sight.
        hints: What the reader would know of every parameter.
    """
    described = []
    for step, weights in enumerate(checkpoints):
        path = folder / f"{form}_{step}.raw"
        tensors = {}
        with path.open("wb") as file:
            file.write(b"unaligned"[: 3 + step % 5])
            for name, tensor in weights.items():
                values = _stored(file, str(path), tensor, form)
                tensors[name] = Stored(name, values, hints)
        state = path.stat()
        described.append(
            Checkpoint(
                str(path),
                step * 10,
                "order given",
                "raw",
                tensors,
                state.st_size,
                state.st_mtime_ns,
            )
        )
    layers = layers_of(described[0].tensors.values())
    return Run(str(folder), "raw", tuple(described), layers)


def _stored(file: object, path: str, tensor: torch.Tensor, form: str) -> Extent | HiddenValues:
    dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
    if form == "hidden":
        return HiddenValues(lambda: tensor, dtype, shape)
    offset, strides = file.tell(), None  # type: ignore[attr-defined]
    if form == "transposed":
        kept = tensor.permute(tuple(reversed(range(tensor.dim())))).contiguous()
        strides = tuple(math.prod(shape[:axis]) for axis in range(len(shape)))
    elif form == "strided":  # every axis has a gap: as a slice of a larger tensor has
        room = [2 * length + 1 for length in shape]
        kept = torch.full(room, 7.0, dtype=torch.float32).to(tensor.dtype)
        inside = kept.view(torch.uint8) if tensor.element_size() == 1 else kept
        source = tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
        inside[tuple(slice(0, 2 * length, 2) for length in shape)] = source
        strides = tuple(2 * step for step in kept.stride())
    else:
        kept = tensor.contiguous()
    raw = kept.reshape(-1).view(torch.uint8).numpy() if kept.numel() else np.empty(0, np.uint8)
    if form == "big-endian":
        width = kept.element_size() // (2 if kept.is_complex() else 1)
        raw = raw.reshape(-1, width)[:, ::-1]
    file.write(raw.tobytes())  # type: ignore[attr-defined]
    return Extent(path, offset, dtype, shape, strides, big_endian=form == "big-endian")
