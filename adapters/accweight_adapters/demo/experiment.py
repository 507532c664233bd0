"""The demo experiment: train the reference CNN on real digits, and analyse it.

Two convolutions and two fully connected layers, a checkpoint per epoch, as in the published
experiment. The digits come with scikit-learn (1797 scans of 8x8 pixels, Alpaydin and Kaynak,
1998), or from the MNIST idx files in a folder of the user's.
"""

from __future__ import annotations

import gzip
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from accweight_adapters.demo.contact_sheet import contact_sheet
from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import FormatError, SourceError, StoreError
from accweight_core.io.target import target_at
from accweight_core.jobs.pipeline import analyze
from accweight_core.remote.local import LocalPath
from accweight_core.runs.opening import open_run

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Digits:
    """Images (n, 1, height, width) and their labels, for training and for testing."""

    name: str
    images: Tensor
    labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True)
class Recipe:
    """How the reference CNN is trained.

    Attributes:
        channels: Output channels of the two convolutions.
        hidden: Width between the two fully connected layers.
        kernel: Side of the convolution kernels.
        learning_rate: Learning rate of SGD.
        momentum: Momentum of SGD.
        batch: Images per update.
        epochs: Number of epochs; there is one more checkpoint, of the initial weights.
        threads: Threads for training; torch's default if None.
    """

    channels: tuple[int, int] = (16, 32)
    hidden: int = 50
    kernel: int = 3
    learning_rate: float = 0.01
    momentum: float = 0.9
    batch: int = 32
    epochs: int = 8
    threads: int | None = None


PUBLISHED = Recipe()
"""For MNIST: settings that reproduce the ranking of the published experiment, which does not state
its own; found by a search recorded in ``benchmarks/published_search.py``."""

SMALL = Recipe(channels=(8, 16), hidden=32, learning_rate=0.05, epochs=10, threads=1)
"""For the 8x8 digits: trains in a few seconds. Batches are so small that several threads would
mostly wait; one thread also gives the same bits on any number of cores."""

MNIST_MEAN, MNIST_DEVIATION = 0.1307, 0.3081
"""Mean and deviation of the training pixels, scaled to 0 to 1; the usual values for MNIST."""


@dataclass(frozen=True)
class DemoResult:
    """The result of the demo."""

    data: str
    accuracy: tuple[float, ...]
    checkpoints: Path
    sheet: Path
    analysis: Analysis


class ReferenceCNN(nn.Module):
    """Two convolutions with pooling, two fully connected layers."""

    def __init__(self, size: tuple[int, int], recipe: Recipe) -> None:
        """Create the layers for images of that height and width, at least 4."""
        super().__init__()
        first, second = recipe.channels
        self.conv1 = nn.Conv2d(1, first, recipe.kernel, padding=recipe.kernel // 2)
        self.conv2 = nn.Conv2d(first, second, recipe.kernel, padding=recipe.kernel // 2)
        self.fc1 = nn.Linear(second * (size[0] // 4) * (size[1] // 4), recipe.hidden)
        self.fc2 = nn.Linear(recipe.hidden, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        maps = torch.max_pool2d(torch.relu(self.conv1(images)), 2)
        maps = torch.max_pool2d(torch.relu(self.conv2(maps)), 2)
        logits: Tensor = self.fc2(torch.relu(self.fc1(maps.flatten(1))))
        return logits


def run_demo(
    *,
    data: Path | None = None,
    out: Path = Path("demo"),
    epochs: int | None = None,
    seed: int = 0,
    progress: Progress = lambda done, total: None,
) -> DemoResult:
    """Train with a checkpoint per epoch, analyse, and draw the contact sheet.

    Args:
        data: Folder with the MNIST idx files (gzipped or not); scikit-learn's digits if None.
        out: Folder for checkpoints, analysis and contact sheet; created if missing.
        epochs: Number of epochs.
        seed: Seed of the weights and the order of images; equal seeds give equal bits.
        progress: Called after each epoch.

    Raises:
        SourceError: If `data` lacks the idx files.
        StoreError: If `out` cannot be written.
    """
    digits = mnist(data) if data else sklearn_digits()
    recipe = PUBLISHED if data else SMALL
    name = "mnist" if data else "digits"
    checkpoints, stored = target_at(out / name, "a run"), out / f"{name}.accw"
    try:
        checkpoints.mkdir(parents=True, exist_ok=True)
        if any(checkpoints.iterdir()) and not stored.exists():
            raise StoreError(
                f"{checkpoints}: holds files that no demonstration wrote; choose another --out"
            )
        for old in checkpoints.glob("epoch_*.pt"):
            old.unlink()
    except OSError as error:
        raise StoreError(f"{checkpoints}: cannot be written ({error.strerror})") from error
    accuracy = train(
        digits, recipe, checkpoints, epochs=epochs or recipe.epochs, seed=seed, progress=progress
    )
    analysis = analyze(open_run(checkpoints), stored, overwrite=True)
    sheet = contact_sheet(analysis, out / f"{name}.png")
    return DemoResult(digits.name, accuracy, checkpoints, sheet, analysis)


def train(
    digits: Digits,
    recipe: Recipe,
    folder: Path,
    *,
    epochs: int,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> tuple[float, ...]:
    """Train the reference CNN; save ``epoch_0.pt`` and one file per epoch.

    Each file also has the epoch, the mean training loss, and the accuracy on the test images.
    Evaluating them does not change the training.

    Returns:
        Accuracy on the test images after each epoch.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(recipe.threads or before)
    try:
        return _trained(digits, recipe, folder, epochs, seed, progress)
    finally:
        torch.set_num_threads(before)


def _trained(
    digits: Digits, recipe: Recipe, folder: Path, epochs: int, seed: int, progress: Progress
) -> tuple[float, ...]:
    torch.manual_seed(seed)
    height, width = digits.images.shape[2:]
    model = ReferenceCNN((height, width), recipe)
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.learning_rate, momentum=recipe.momentum
    )
    accuracy = []
    _save(model, folder, epoch=0, loss=_loss(model, digits), accuracy=_accuracy(model, digits))
    for epoch in range(1, epochs + 1):
        model.train()
        total = 0.0
        shuffled = torch.randperm(len(digits.images), generator=order)
        for batch in torch.split(shuffled, recipe.batch):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(digits.images[batch]), digits.labels[batch])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(batch)
        accuracy.append(_accuracy(model, digits))
        _save(model, folder, epoch=epoch, loss=total / len(shuffled), accuracy=accuracy[-1])
        progress(epoch, epochs)
    return tuple(accuracy)


def _save(model: nn.Module, folder: Path, *, epoch: int, loss: float, accuracy: float) -> None:
    beside = {"epoch": epoch, "loss": loss, "accuracy": accuracy}
    torch.save({**beside, "model_state_dict": model.state_dict()}, folder / f"epoch_{epoch}.pt")


def _batches(images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels in batches that fit into memory."""
    return zip(torch.split(images, 1000), torch.split(labels, 1000), strict=True)


@torch.no_grad()
def _loss(model: nn.Module, digits: Digits) -> float:
    """Return the mean loss over the training images with the current weights."""
    model.eval()
    total = 0.0
    for images, labels in _batches(digits.images, digits.labels):
        total += nn.functional.cross_entropy(model(images), labels, reduction="sum").item()
    return total / len(digits.labels)


@torch.no_grad()
def _accuracy(model: nn.Module, digits: Digits) -> float:
    model.eval()
    right = 0
    for images, labels in _batches(digits.test_images, digits.test_labels):
        right += int((model(images).argmax(1) == labels).sum())
    return right / len(digits.test_labels)


def sklearn_digits() -> Digits:
    """Return scikit-learn's digits, with every fifth one for testing."""
    from sklearn.datasets import load_digits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bunch = load_digits()
    images = torch.from_numpy(bunch.images.astype(np.float32) / 16)[:, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    tested = torch.arange(len(images)) % 5 == 0
    return Digits(
        "scikit-learn's 8x8 digits",
        images[~tested],
        labels[~tested],
        images[tested],
        labels[tested],
    )


def mnist(folder: str | os.PathLike[str]) -> Digits:
    """Return MNIST from its four idx files.

    Raises:
        SourceError: If a file is missing.
        FormatError: If a file is not idx, or damaged.
    """
    root = LocalPath(folder)
    parts = [
        torch.from_numpy(_idx(root, name))
        for name in (
            "train-images-idx3-ubyte",
            "train-labels-idx1-ubyte",
            "t10k-images-idx3-ubyte",
            "t10k-labels-idx1-ubyte",
        )
    ]
    images, labels, test_images, test_labels = parts
    for pixels, digits in ((images, labels), (test_images, test_labels)):
        _check_digits(root, pixels, digits)
    if images.shape[1:] != test_images.shape[1:]:
        raise FormatError(root, "images for training and testing differ in size")
    return Digits(
        "MNIST",
        _scaled(images),
        labels.long(),
        _scaled(test_images),
        test_labels.long(),
    )


def _check_digits(folder: Path, images: Tensor, labels: Tensor) -> None:
    """Raise unless the images have at least 4x4 pixels and a label from 0 to 9 each."""
    if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not len(images):
        raise FormatError(
            folder,
            f"images of shape {tuple(images.shape)} and labels of shape {tuple(labels.shape)} do "
            "not match; expected (n, height, width) and (n,)",
        )
    if min(images.shape[1:]) < 4 or int(labels.max()) > 9:
        raise FormatError(folder, "expected digits from 0 to 9, of at least 4x4 pixels")


def _scaled(pixels: Tensor) -> Tensor:
    return (pixels[:, None].float() / 255 - MNIST_MEAN) / MNIST_DEVIATION


def _idx(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """Read one idx file of unsigned bytes, gzipped or plain."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.exists()), None)
    if path is None:
        raise SourceError(f"{folder}: no {name}.gz there; expected the four MNIST idx files")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        zero, kind, rank = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{rank}I", content[4 : 4 + 4 * rank])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, struct.error, ValueError, zlib.error) as error:
        raise FormatError(path, f"not a whole idx file ({error})") from None
    if zero or kind != 8:
        raise FormatError(path, f"not an idx file of unsigned bytes (type {kind:#x})")
    return values.copy()
