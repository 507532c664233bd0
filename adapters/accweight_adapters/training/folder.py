"""The folder of a training run: a checkpoint per epoch, the network, and a record of the run.

A checkpoint is written under a temporary name and then renamed, so that every checkpoint is
complete even after an interruption. The optimizer state for `--resume` is kept only for the last
epoch, in a hidden file that no reader takes for a step of the run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import ModelProto, helper

from accweight_adapters.ort.checkpoint import EXTERNAL_SUFFIX, read_checkpoint
from accweight_adapters.ort.network import NETWORK
from accweight_adapters.training.library import runtime
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import FormatError, StoreError
from accweight_core.remote.local import LocalPath

RECORD: Final = "training.json"
LATEST: Final = ".latest.ckpt"
PARTIAL: Final = ".partial"
EPOCH: Final = "epoch"
"""Property with the epoch, which is the step of a checkpoint."""

Measures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one training run, existing or new."""

    path: Path

    def create(self, record: Mapping[str, Any], network: ModelProto, names: Iterable[str]) -> None:
        """Create the folder, and write what is known before training.

        Raises:
            StoreError: If it is not empty, or cannot be written.
        """
        with _writing(self.path):
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                hint = "continue it with --resume, or " if (self.path / RECORD).exists() else ""
                raise StoreError(f"{self.path}: is not empty; {hint}give a new or empty folder")
            self.path.mkdir(parents=True, exist_ok=True)
            onnx.save(without_values(network, set(names)), self.path / NETWORK)
            text = json.dumps(record, indent=2, sort_keys=True) + "\n"
            self._replace(RECORD, text.encode())

    def _replace(self, name: str, content: bytes) -> None:
        partial = self.path / f".{name}{PARTIAL}"
        partial.write_bytes(content)
        partial.replace(self.path / name)

    def checkpoint(self, epoch: int) -> Path:
        """Return the path of the checkpoint of an epoch."""
        return self.path / f"{EPOCH}_{epoch}.ckpt"

    @property
    def latest(self) -> Path:
        """Path of the last checkpoint, with the optimizer state."""
        return self.path / LATEST

    def save(self, state: Any, epoch: int, measures: Measures, *, resumable: bool) -> Path:
        """Save the state of an epoch, atomically.

        Raises:
            StoreError: If it cannot be written.
        """
        state.properties[EPOCH] = epoch
        for name, value in measures.items():
            state.properties[name] = float(value)
        with _writing(self.path):
            saved = self.checkpoint(epoch)
            _save(state, saved, with_optimizer=False)
            if resumable:
                _save(state, self.latest, with_optimizer=True)
        return saved

    def record(self) -> dict[str, Any]:
        """Return the record of the run in this folder.

        Raises:
            StoreError: If there is no checkpoint to resume from.
        """
        try:
            found = json.loads(LocalPath(self.path / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.path}: no training run to continue ({RECORD}: {error}); leave out "
                "--resume to start one"
            ) from None
        if not isinstance(found, dict) or not self.latest.exists():
            raise StoreError(
                f"{self.path}: the run was interrupted before its first checkpoint; remove the "
                "folder, and start again"
            )
        return found

    def finished_epoch(self) -> int:
        """Return the last epoch saved with the optimizer state.

        Raises:
            FormatError: If that checkpoint is damaged.
        """
        try:
            epoch = read_checkpoint(self.latest).properties.get(EPOCH)
        except (ClaimError, OSError) as error:
            raise FormatError(self.latest, f"{error}; start the training again") from None
        if not isinstance(epoch, int):
            raise FormatError(self.latest, "holds no epoch; start the training again")
        return epoch

    def checkpoints(self) -> list[Path]:
        """Return the existing checkpoints, in order."""
        numbered = []
        for path in self.path.glob(f"{EPOCH}_*.ckpt"):
            number = path.stem.removeprefix(f"{EPOCH}_")
            if number.isdecimal():
                numbered.append((int(number), path))
        return [path for _, path in sorted(numbered)]


def without_values(model: ModelProto, names: set[str]) -> ModelProto:
    """Return the model with the named tensors as inputs: the network without its weights."""
    bare = ModelProto()
    bare.CopyFrom(model)
    kept = []
    for tensor in bare.graph.initializer:
        if tensor.name in names:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            bare.graph.input.append(value)
        else:
            kept.append(onnx.TensorProto.FromString(tensor.SerializeToString()))
    del bare.graph.initializer[:]
    bare.graph.initializer.extend(kept)
    return bare


def _save(state: Any, path: Path, *, with_optimizer: bool) -> None:
    """Write a checkpoint under a temporary name and rename it, external data first."""
    api = runtime("onnxruntime.training.api")
    partial = path.with_name(f".{path.name.lstrip('.')}{PARTIAL}")
    external = partial.with_name(partial.name + EXTERNAL_SUFFIX)
    try:
        try:
            api.CheckpointState.save_checkpoint(state, str(partial), with_optimizer)
        except Exception as error:  # native exceptions, for a full disk too
            raise OSError(" ".join(str(error).split())[:200]) from None
        for file in (external, partial):
            if file.exists():
                _sync(file)
        if external.exists():
            external.replace(path.with_name(path.name + EXTERNAL_SUFFIX))
        partial.replace(path)
    finally:
        for file in (external, partial):
            file.unlink(missing_ok=True)


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise StoreError(
            f"{path}: cannot be written ({reason}); finished checkpoints are kept"
        ) from error
