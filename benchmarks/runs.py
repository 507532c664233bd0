"""Runs to measure on: checkpoints of any shapes whose A_t is known exactly.

All weights are stretches of one pool that takes a random step from checkpoint to checkpoint, so
that a billion of them are written as fast as the disk takes them, and the mean and the maximum
of each parameter are checked in float64 without walking through it.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
Floats = npt.NDArray[np.float32]
Tensors = Mapping[str, Floats]

POOL = 1 << 20
"""Random weights per checkpoint, of which parameters repeat stretches."""

NETWORK: Shapes = {
    "embed.weight": (8000, 512),
    "conv1.weight": (64, 3, 7, 7),
    "conv1.bias": (64,),
    "conv2.weight": (512, 512, 3, 3),
    "conv2.bias": (512,),
    "block.0.weight": (2048, 2048),
    "block.0.bias": (2048,),
    "block.1.weight": (4096, 2048),
    "block.1.bias": (4096,),
    "block.2.weight": (2048, 4096),
    "block.2.bias": (2048,),
    "block.3.weight": (2048, 2048),
    "block.3.bias": (2048,),
    "head.weight": (8000, 512),
    "head.bias": (8000,),
}
"""A network of 35 million weights, to be scaled."""


class WrongValueError(AssertionError):
    """A benchmark has measured something that computed another result."""


def elements(shapes: Shapes) -> int:
    """Return the number of weights of one checkpoint."""
    return sum(math.prod(shape) for shape in shapes.values())


def network(weights: float) -> dict[str, Shape]:
    """Return the shapes of `NETWORK`, scaled to about so many weights."""
    factor = (weights / elements(NETWORK)) ** 0.5
    return {
        name: tuple(max(1, round(n * factor)) if n > 64 else n for n in shape)
        for name, shape in NETWORK.items()
    }


def alike(count: int, weights: float) -> dict[str, Shape]:
    """Return `count` nearly square matrices that have about so many weights together."""
    rows = max(1, math.isqrt(int(weights) // count))
    columns = max(1, round(weights / count / rows))
    return {f"layers.{number}.weight": (rows, columns) for number in range(count)}


class Pool:
    """The weights of every checkpoint, and how far they have travelled at the last one.

    Args:
        checkpoints: How many there are.
        narrow: Round every weight to bfloat16, so that all formats hold the same values.
    """

    def __init__(self, checkpoints: int, *, narrow: bool = False) -> None:
        chance = np.random.default_rng(0)
        weights = chance.standard_normal(POOL, np.float32) * np.float32(0.05)
        self.states: list[Floats] = []
        self.path = np.zeros(POOL)
        for step in range(checkpoints):
            if step:
                weights = weights + chance.standard_normal(POOL, np.float32) * np.float32(0.002)
            self.states.append(
                (weights.view(np.uint32) & 0xFFFF0000).view("f4") if narrow else weights
            )
            if step:
                last, current = (state.astype(np.float64) for state in self.states[-2:])
                self.path += np.abs(current - last)

    def stretch(self, name: str, shape: Shape, step: int) -> Iterator[Floats]:
        """Yield the weights of a parameter at a checkpoint, part by part."""
        at, left = _offset(name), math.prod(shape)
        while left:
            part = self.states[step][at : at + left]
            yield part
            left, at = left - len(part), 0

    def tensors(self, shapes: Shapes, step: int) -> dict[str, Floats]:
        """Return every parameter at a checkpoint, as whole arrays."""
        return {
            name: np.concatenate(list(self.stretch(name, shape, step))).reshape(shape)
            for name, shape in shapes.items()
        }

    def expected(self, name: str, shape: Shape) -> tuple[float, float]:
        """Return the mean and the maximum of A_T of a parameter."""
        at, (times, rest) = _offset(name), divmod(math.prod(shape), POOL)
        parts = [self.path[at : at + rest], self.path[: max(0, at + rest - POOL)]]
        if times:
            parts.append(self.path)
        sums = [part.sum() for part in parts]
        total = sum(sums[:2]) + times * sum(sums[2:])
        largest = max(part.max() for part in parts if part.size)
        return float(total / math.prod(shape)), float(largest)

    def check(
        self, found: Mapping[str, Sequence[float]], shapes: Shapes, tolerance: float = 2e-7
    ) -> None:
        """Compare mean and maximum of A_T of every weight with sums in float64.

        Biases are walked but do not rank, so that their figures are not looked at. Step changes
        are rounded to float32, hence the tolerance.

        Raises:
            WrongValueError: If one is missing or wrong.
        """
        names = {name for name in shapes if name.endswith(".weight")}
        if names - found.keys():
            raise WrongValueError(f"not measured: {', '.join(sorted(names - found.keys()))}")
        for name in names:
            right = self.expected(name, shapes[name])
            if not np.allclose(found[name], right, rtol=tolerance, atol=0):
                raise WrongValueError(
                    f"{name}: mean and maximum of A_T are {found[name]}, expected {right}"
                )


def _offset(name: str) -> int:
    """Return where in the pool a parameter begins."""
    return zlib.crc32(name.encode()) % POOL


def write_stream(path: Path, pool: Pool, shapes: Shapes, step: int) -> None:
    """Write a safetensors file of float32, part by part: no memory for models of any size."""
    header, at = {}, 0
    for name, shape in shapes.items():
        end = at + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            for part in pool.stretch(name, shape, step):
                file.write(part.data)


def write_streams(folder: Path, pool: Pool, shapes: Shapes) -> list[str]:
    """Write a safetensors file per checkpoint; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"step_{step}.safetensors" for step in range(len(pool.states))]
    for step, path in enumerate(paths):
        write_stream(path, pool, shapes, step)
    return [str(path) for path in paths]
