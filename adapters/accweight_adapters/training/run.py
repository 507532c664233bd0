"""One run of training from end to end: model, data, artifacts, folder, epochs.

Everything that can be found out is found out before the first update and before anything is
written: what is wrong with the model, the data, the options, the folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from accweight_adapters.training.artifacts import Recipe, build, opened
from accweight_adapters.training.data import Data, load_data, split
from accweight_adapters.training.folder import RunFolder
from accweight_adapters.training.loop import Plan, Watch, trained
from accweight_adapters.training.setup import Network, Setup, Wish, network, setup
from accweight_core.errors import MismatchError

PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """All that the user asked for.

    Attributes:
        model: The ONNX model.
        data: The samples to train on.
        out: Folder of the run.
        wish: What to train of the model, and on which loss.
        recipe: How weights are updated.
        plan: How long.
        validation: Another file of samples, or a share of `data`; None for none.
        resume: Whether to go on with the run in `out`.
    """

    model: Path
    data: Path
    out: Path
    wish: Wish
    recipe: Recipe
    plan: Plan
    validation: Path | float | None = None
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a training left behind.

    Attributes:
        order: What was asked for.
        setup: What was trained, on what.
        history: Measures by epoch, those of this call.
        checkpoints: All checkpoints of the run.
        notes: Remarks for the user.
    """

    order: Order
    setup: Setup
    history: dict[int, dict[str, float]]
    checkpoints: list[Path]
    notes: tuple[str, ...]


def run_training(order: Order, watch: Watch, remark: Callable[..., None]) -> Result:
    """Train as ordered.

    Args:
        order: What to do.
        watch: Is told after every batch and checkpoint.
        remark: Is told what the user should know before training.

    Raises:
        AccweightError: If anything is wrong, all of which have their own kinds.
    """
    folder = RunFolder(order.out)
    net = network(order.model, order.wish)
    ready = setup(net, order.wish, *_samples(order, net))
    record = _record(order, ready)
    plan = order.plan
    with TemporaryDirectory() as scratch:
        artifacts = Path(scratch)
        build(ready.training, net.choice, order.recipe, artifacts, order.model)
        if order.resume:
            plan = replace(plan, first=_resumed(folder, record, plan) + 1)
            session = opened(artifacts, order.recipe, order.model, folder.latest)
        else:
            session = opened(artifacts, order.recipe, order.model)
            folder.create(record, net.plain, (*net.choice.trained, *net.choice.frozen))
        notes = tuple(dict.fromkeys([*net.notes, *ready.data.notes]))
        remark(*notes)
        history = trained(ready, session, folder, plan, watch)
    return Result(order, ready, history, folder.checkpoints(), notes)


def _samples(order: Order, net: Network) -> tuple[Data, Data | None]:
    data = load_data(order.data, net.inputs)
    if order.validation is None:
        return data, None
    if isinstance(order.validation, float):
        return split(data, order.validation, order.plan.seed)
    return data, load_data(order.validation, net.inputs)


def _record(order: Order, ready: Setup) -> dict[str, Any]:
    """Return what makes this run what it is, but for its length."""
    recipe, plan = order.recipe, order.plan
    share = order.validation if isinstance(order.validation, float) else None
    return {
        "model": order.model.name,
        "model_sha256": _digest(order.model),
        "data": order.data.name,
        "data_sha256": _digest(order.data),
        "samples": len(ready.data),
        "validation_share": share,
        "loss": order.wish.loss.value,
        "optimizer": recipe.optimizer.value,
        "learning_rate": recipe.learning_rate,
        "weight_decay": recipe.weight_decay,
        "batch_size": ready.batch_size,
        "seed": plan.seed,
        "trained": list(ready.network.choice.trained),
        "frozen": list(ready.network.choice.frozen),
    }


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _resumed(folder: RunFolder, record: dict[str, Any], plan: Plan) -> int:
    """Return the last epoch of the run in the folder, which has to be the same run.

    Raises:
        MismatchError: If it was begun otherwise, or has as many epochs as wanted.
    """
    before = folder.record()
    for key, value in record.items():
        if before.get(key) != value and not (key.endswith("_sha256") or key in ("model", "data")):
            raise MismatchError(
                f"{folder.path}: the run was begun with {key} {_shown(before.get(key))}, this is "
                f"{_shown(value)}; resume it with the same options"
            )
    for what in ("model", "data"):
        if before.get(f"{what}_sha256") != record[f"{what}_sha256"]:
            raise MismatchError(
                f"{folder.path}: the run was begun with another {what} "
                f"({_shown(before.get(what))}); resume it with that one"
            )
    epoch = folder.finished_epoch()
    if epoch >= plan.epochs:
        raise MismatchError(
            f"{folder.path}: epoch {epoch} is reached already; ask for more with --epochs "
            f"{epoch + 5}"
        )
    return epoch


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else text[:57] + "..."
