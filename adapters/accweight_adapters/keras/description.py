"""Describe Keras files: `.keras` archives, `.weights.h5`, and the `.h5` of Keras 2.

All of them contain HDF5, which is parsed without h5py (see `hdf5`), and without Keras or
TensorFlow. Variables get the names and the meaning that Keras gives them, and kernels the meaning
of their axes: outputs last.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from accweight_adapters.bytes.source import InflatedPart
from accweight_adapters.bytes.zip import (
    ZIP_MAGIC,
    Member,
    content_of,
    first_name,
    member_names,
    members_of,
)
from accweight_adapters.hdf5.blocks import SIGNATURE
from accweight_adapters.hdf5.file import Hdf5File, Node, Place, tensor_of, values_in
from accweight_adapters.keras.config import Configuration
from accweight_adapters.keras.layers import (
    FoundLayer,
    LayerWalk,
    Stored,
    optimizer_variables,
)
from accweight_adapters.keras.legacy import (
    COUNTS,
    legacy_layers,
    legacy_optimizer,
    weights_group,
)
from accweight_adapters.keras_hints import Module, cells_of, hints_of, layer_name
from accweight_adapters.measures import measures_in
from accweight_adapters.shard_index import index_in, shard_path
from accweight_adapters.untrusted import ClaimError, check_not_empty, claims_of, quoted
from accweight_core.schema import Description, Hints, Role, StoredTensor

FORMAT: Final = "Keras"
ARCHIVE: Final = "Keras archive"
WEIGHTS_MEMBER: Final = "model.weights.h5"
PICKLED_MEMBER: Final = "model.weights.npz"
CONFIG_MEMBER: Final = "config.json"
FIRST_MEMBERS: Final = frozenset({"metadata.json", CONFIG_MEMBER, WEIGHTS_MEMBER})
SHARD_SUFFIX: Final = ".weights.h5"
INDEX_SUFFIX: Final = ".weights.json"
LARGEST_CONFIG: Final = 1 << 26


def recognised(path: Path) -> bool:
    """Tell whether `path` is HDF5, a Keras archive, or an index of Keras shards."""
    try:
        if path.suffix.lower() == ".json":
            return bool(_shards_in(path))
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return True
            if first_name(file) not in FIRST_MEMBERS:
                return False
            return _is_archive(file)
    except Exception:  # damaged files raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the weights in `path`, in network order if the file keeps it.

    Raises:
        FormatError: If the file is damaged, inconsistent, or not a Keras file.
    """
    with claims_of(path, FORMAT), ExitStack() as stack:
        if path.suffix.lower() == ".json":
            return _described(_sharded(path, stack), path)
        file = stack.enter_context(path.open("rb"))
        if file.read(len(ZIP_MAGIC)) == ZIP_MAGIC:
            return _described(_archived(path, file, stack), path)
        place = Place(path, 0, file.seek(0, io.SEEK_END))
        return _described(_Content([_opened(place, stack)], "Keras weights"), path)


@dataclass(frozen=True, slots=True)
class _Content:
    """The open HDF5 files of one checkpoint, and its configuration."""

    files: Sequence[Hdf5File]
    format: str
    configuration: Configuration = field(default_factory=Configuration)
    paths: tuple[str, ...] = ()

    @property
    def roots(self) -> list[Node]:
        """The root group of each file."""
        return [file.root for file in self.files]


def _is_archive(file: IO[bytes]) -> bool:
    """Tell Keras archives from other zips with a config.json; truncated ones count."""
    try:
        names = member_names(file)
    except Exception:  # truncated: `describe` reports it
        return True
    return WEIGHTS_MEMBER in names or PICKLED_MEMBER in names


def _opened(place: Place, stack: ExitStack) -> Hdf5File:
    check_not_empty(place.size_bytes)
    return Hdf5File(place, stack.enter_context(place.opened()))


def _archived(path: Path, file: IO[bytes], stack: ExitStack) -> _Content:
    members = members_of(file, path.stat().st_size)
    if WEIGHTS_MEMBER not in members:
        if PICKLED_MEMBER in members:
            raise ClaimError(
                f"keeps its weights in {PICKLED_MEMBER}, as pickles, which are never read; "
                "save it again with the default format: model.save(PATH)"
            )
        raise ClaimError(f"a zip without {WEIGHTS_MEMBER}: not an archive of Keras")
    configuration = Configuration(_config_text(file, members.get(CONFIG_MEMBER)))
    weights = members[WEIGHTS_MEMBER]
    inflated = InflatedPart(path, weights) if weights.is_deflated else None
    place = Place(path, weights.offset, weights.size_bytes, inflated)
    return _Content([_opened(place, stack)], ARCHIVE, configuration)


def _config_text(file: IO[bytes], member: Member | None) -> bytes:
    if member is None:
        return b""
    if member.size_bytes > LARGEST_CONFIG:
        raise ClaimError(f"its {CONFIG_MEMBER} claims {member.size_bytes} bytes")
    return content_of(file, member, member.size_bytes)


def _sharded(path: Path, stack: ExitStack) -> _Content:
    names = _shards_in(path)
    if not names:
        raise ClaimError("not an index of Keras weights: no weight_map to files of weights")
    shards = [shard_path(path, name) for name in names]
    places = [Place(shard, 0, shard.stat().st_size) for shard in shards]
    files = [_opened(place, stack) for place in places]
    return _Content(
        files,
        f"Keras weights, {len(files)} shard{'s' * (len(files) != 1)}",
        paths=tuple(map(str, shards)),
    )


def _shards_in(path: Path) -> list[str]:
    """Return the files in an index of Keras shards, or [] for another file."""
    places = index_in(path, FORMAT).get("weight_map")
    named = list(places.values()) if isinstance(places, dict) else []
    files = [f for each in named for f in (each if isinstance(each, list) else [each])]
    if not all(isinstance(file, str) and file.endswith(SHARD_SUFFIX) for file in files):
        return []
    return sorted(set(files))


# ---------------------------------------------------------------- layers as tensors


def _described(content: _Content, path: Path) -> Description:
    root = content.roots[0]
    legacy = weights_group(root) if len(content.files) == 1 else None
    notes: list[str] = []
    if legacy is not None:
        text = "".join(root.texts().get("model_config", []))
        layers = legacy_layers(legacy, Configuration(text.encode()))
        optimizer, format_name = legacy_optimizer(root), "Keras HDF5"
    else:
        walk = LayerWalk(content.configuration)
        layers, optimizer = walk.layers(content.roots), optimizer_variables(content.roots)
        format_name = content.format
        if walk.doubt:
            notes.append(walk.doubt)
        if walk.linked_twice:
            notes.append(f"left out {walk.linked_twice} groups that are linked a second time")
    if not layers:
        raise ClaimError("holds no weights of Keras: neither layer_names nor groups of variables")
    step, key = _step_in(optimizer)
    return Description(
        format=format_name,
        tensors=(*_tensors(layers), *_training_state(optimizer)),
        step=step,
        step_key=key,
        files=(str(path), *content.paths),
        notes=tuple(notes),
        measures=_measures_in(optimizer),
    )


def _tensors(layers: Sequence[FoundLayer]) -> list[StoredTensor]:
    cells = cells_of([layer.path for layer in layers])
    found = []
    for layer in layers:
        shapes = {name: stored.dataset.shape for name, stored in layer.variables.items()}
        equation = layer.settings.get("equation")
        module = Module(
            layer_name(layer.path, cells),
            shapes,
            layer.class_name,
            equation if isinstance(equation, str) else "",
        )
        hints = hints_of(module)
        found += [
            tensor_of(stored.file, ".".join((*layer.path, name)), stored.dataset, hints[name])
            for name, stored in layer.variables.items()
        ]
    names = [tensor.name for tensor in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ClaimError(f"holds two variables that are called {quoted(twice)}")
    return found


def _training_state(optimizer: Mapping[str, Stored]) -> list[StoredTensor]:
    hints = Hints(layer="optimizer", role=Role.OPTIMIZER)
    return [
        tensor_of(stored.file, f"optimizer.{name}", stored.dataset, hints)
        for name, stored in optimizer.items()
    ]


def _step_in(optimizer: Mapping[str, Stored]) -> tuple[int | None, str]:
    """Return the optimizer's step count and its key; of a wrapped optimizer, the inner one's."""
    counts = [name for name in optimizer if name.rpartition(".")[2] in COUNTS]
    for name in sorted(counts, key=lambda name: -name.count(".")):
        value = _scalar(optimizer[name])
        if isinstance(value, int) and value >= 0:
            return value, f"optimizer.{name}"
    return None, ""


def _measures_in(optimizer: Mapping[str, Stored]) -> dict[str, float]:
    paces = {name: name.rpartition(".")[2] for name in optimizer}
    return measures_in(
        {leaf: _scalar(optimizer[name]) for name, leaf in paces.items() if leaf == "learning_rate"}
    )


def _scalar(stored: Stored) -> Any:
    """Return the value of a variable without axes, or None for another."""
    dataset = stored.dataset
    if dataset.shape or dataset.refusal or not isinstance(dataset.place, int):
        return None
    return values_in(stored.file.source, dataset).item()
