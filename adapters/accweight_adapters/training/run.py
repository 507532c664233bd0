"""One training run from end to end: model, data, artifacts, folder, epochs.

All checks of the model, the data, the options and the folder are made before the first update and
before anything is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accweight_adapters.training.artifacts import build, opened
from accweight_adapters.training.config import Epochs, TrainConfig
from accweight_adapters.training.folder import RunFolder
from accweight_adapters.training.loop import Watch, trained
from accweight_adapters.training.setup import Network, Setup, network, setup
from accweight_core.errors import MismatchError
from accweight_core.io.target import target_at
from accweight_core.samples.arrays import load_data
from accweight_core.samples.samples import Data, split

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a training.

    Attributes:
        config: The configuration.
        setup: Network and data.
        history: Measures by epoch, of this call.
        checkpoints: All checkpoints of the run.
        notes: Remarks for the user.
    """

    config: TrainConfig
    setup: Setup
    history: dict[int, dict[str, float]]
    checkpoints: list[Path]
    notes: tuple[str, ...]


def run_training(config: TrainConfig, watch: Watch, remark: Callable[..., None]) -> Result:
    """Train as configured.

    Args:
        config: The configuration.
        watch: Called after every batch and checkpoint.
        remark: Called with remarks for the user before training.

    Raises:
        AccweightError: If anything is wrong; each cause has its own class.
    """
    folder = RunFolder(target_at(config.out, "a run"))
    net = network(config)
    ready = setup(net, config, *_samples(config, net))
    record = _record(config, ready)
    epochs = config.epochs
    with TemporaryDirectory() as scratch:
        artifacts = Path(scratch)
        build(ready.training, net.selection, config.optimizer, artifacts, config.model)
        if config.resume:
            epochs = replace(epochs, first=_resumed(folder, record, epochs) + 1)
            session = opened(artifacts, config.optimizer, config.model, folder.latest)
        else:
            session = opened(artifacts, config.optimizer, config.model)
            folder.create(record, net.plain, (*net.selection.trained, *net.selection.frozen))
        notes = tuple(dict.fromkeys([*net.notes, *ready.data.notes]))
        remark(*notes)
        history = trained(ready, session, folder, epochs, watch)
    return Result(config, ready, history, folder.checkpoints(), notes)


def _samples(config: TrainConfig, net: Network) -> tuple[Data, Data | None]:
    data = load_data(config.data, net.inputs)
    if config.validation is None:
        return data, None
    if isinstance(config.validation, float):
        return split(data, config.validation, config.epochs.seed)
    return data, load_data(config.validation, net.inputs)


def _record(config: TrainConfig, ready: Setup) -> dict[str, Any]:
    """Return what identifies this run, except for its length."""
    optimizer = config.optimizer
    share = config.validation if isinstance(config.validation, float) else None
    return {
        "model": config.model.name,
        "model_sha256": _digest(config.model),
        "data": config.data.name,
        "data_sha256": _digest(config.data),
        "samples": len(ready.data),
        "validation_share": share,
        "loss": config.loss.value,
        "optimizer": optimizer.kind.value,
        "learning_rate": optimizer.learning_rate,
        "weight_decay": optimizer.weight_decay,
        "batch_size": ready.batch_size,
        "seed": config.epochs.seed,
        "trained": list(ready.network.selection.trained),
        "frozen": list(ready.network.selection.frozen),
    }


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _resumed(folder: RunFolder, record: dict[str, Any], epochs: Epochs) -> int:
    """Return the last epoch in the folder, after checking that it is the same run.

    Raises:
        MismatchError: If its options differ, or it has enough epochs already.
    """
    before = folder.record()
    for key, value in record.items():
        if before.get(key) != value and not (key.endswith("_sha256") or key in ("model", "data")):
            raise MismatchError(
                f"{folder.path}: the run was started with {key} {_shown(before.get(key))}, not "
                f"{_shown(value)}; resume it with the same options"
            )
    for what in ("model", "data"):
        if before.get(f"{what}_sha256") != record[f"{what}_sha256"]:
            raise MismatchError(
                f"{folder.path}: the run was started with another {what} "
                f"({_shown(before.get(what))}); resume it with that one"
            )
    epoch = folder.finished_epoch()
    if epoch >= epochs.last:
        raise MismatchError(
            f"{folder.path}: epoch {epoch} is already reached; train more with --epochs {epoch + 5}"
        )
    return epoch


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
