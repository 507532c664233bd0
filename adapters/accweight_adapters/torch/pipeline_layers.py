"""DeepSpeed's pipeline checkpoints: a file per layer, `layer_03-model_00-model_states.pt`.

Each holds the state dict of one layer; together they are the model, whose names begin with the
number of the layer, as in the pipeline module itself. With tensor parallelism a layer has a file
per part, which `tensor_parts` joins. The steps and settings are in `mp_rank_00_model_states.pt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from accweight_adapters.lora import with_lora_layers
from accweight_adapters.pickles.clocks import Clock, clock_in
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.shard_index import shard_path
from accweight_adapters.torch.extents import stored
from accweight_adapters.torch.shards import archive_at, tensors_in
from accweight_adapters.torch.tensor_parts import Rules, joined
from accweight_adapters.untrusted import ClaimError, checked_name, claims_of, quoted
from accweight_core.errors import FormatError
from accweight_core.schema import Description, StoredTensor

FORMAT: Final = "DeepSpeed pipeline checkpoint"
MARK: Final = "layer_[0-9]*-model_states.pt"
LAYER = re.compile(r"layer_(?P<layer>[0-9]{1,6})(-model_(?P<part>[0-9]{1,6}))?-model_states\.pt")
SETTINGS: Final = "mp_rank_00_model_states.pt"
RULES: Final = "universal_checkpoint_info"


class _Layers(NamedTuple):
    """The layer files of a folder.

    Attributes:
        paths: Their paths by the number of the layer and of the part.
        parts: Numbers of the parts of each layer.
    """

    paths: Mapping[tuple[int, int], Path]
    parts: tuple[int, ...]


def is_layer(path: Path) -> bool:
    """Tell whether a file is named like one of the layers of a pipeline."""
    return LAYER.fullmatch(path.name) is not None


def described_layers(path: Path) -> Description:
    """Describe the pipeline whose first layer file, by name, is `path`.

    Raises:
        ClaimError: If it is another file than the first, a part is missing, or nothing says how
            the parts of tensors are joined.
        FormatError: If a file is damaged.
    """
    names = sorted(other.name for other in path.parent.iterdir() if is_layer(other))
    if path.name != names[0]:
        raise ClaimError(
            f"is one of {len(names)} layer files of a checkpoint; name its folder, or {names[0]}"
        )
    layers = _layers(path, names)
    settings = _settings(path.with_name(SETTINGS))
    rules = None
    if len(layers.parts) > 1:
        rules = Rules.of(mapping_of(settings.get(RULES)), len(layers.parts))
    tensors: list[StoredTensor] = []
    for layer in sorted({number for number, _ in layers.paths}):
        files = [layers.paths[layer, part] for part in layers.parts]
        parts = {file: _layer_at(file, layer) for file in files}
        tensors += parts[files[0]].values() if rules is None else joined(parts, rules)
    if not tensors:
        raise ClaimError("its layer files hold no weights")
    clock = clock_in(settings) if settings else Clock()
    beside = [str(other) for other in path.parent.glob("*_states.pt") if not is_layer(other)]
    return Description(
        format=_format(layers),
        tensors=with_lora_layers(tensors),
        step=clock.step,
        step_key=clock.key,
        is_step_sure=clock.is_sure,
        files=(str(path), *(str(file) for file in layers.paths.values() if file != path)),
        beside=tuple(sorted(beside)),
    )


def _format(layers: _Layers) -> str:
    count = len(layers.paths) // len(layers.parts)
    cut = f" in {len(layers.parts)} parts" if len(layers.parts) > 1 else ""
    return f"{FORMAT}, {count} layer{'s' * (count != 1)}{cut}"


def _layers(path: Path, names: list[str]) -> _Layers:
    """Return the layer files beside a path, after checking that every layer has all parts."""
    paths: dict[tuple[int, int], Path] = {}
    for name in names:
        match = LAYER.fullmatch(name)
        if match:
            place = int(match["layer"]), int(match["part"] or 0)
            if place in paths:
                raise ClaimError(f"{quoted(paths[place].name)} and {quoted(name)} are one layer")
            paths[place] = shard_path(path, name, "layer file", "the others")
    parts = tuple(sorted({part for _, part in paths}))
    for layer in sorted({layer for layer, _ in paths}):
        for part in range(parts[-1] + 1):
            if (layer, part) not in paths:
                name = f"layer_{layer:02}-model_{part:02}-model_states.pt"
                raise ClaimError(
                    f"its layer file {quoted(name)} is missing; copy it beside the others"
                )
    return _Layers(paths, parts)


def _layer_at(path: Path, layer: int) -> dict[str, StoredTensor]:
    """Return the tensors of a layer file by their names in the pipeline."""
    archive = archive_at(path)
    names = {name: checked_name(f"{layer}.{name}") for name in tensors_in(archive)}
    with claims_of(path, FORMAT):
        return {
            names[name]: stored(path, archive, names[name], claim)
            for name, claim in tensors_in(archive).items()
        }


def _settings(path: Path) -> Mapping[Any, Any]:
    """Return what is saved beside the layers; nothing if it cannot be read."""
    try:
        return mapping_of(archive_at(path).content)
    except FormatError:
        return {}
