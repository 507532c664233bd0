"""Describe torch.save files: `.pt`, `.pth`, `.bin`, `.ckpt`, as zip or in the legacy format.

No pickle is executed: `pickles.interpreter` interprets it symbolically (and says why torch.load is
not used), `container` locates the bytes of each storage, `pickles.weights` finds the weights. So a
checkpoint of any torch version and device is described in milliseconds, without importing torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from accweight_adapters.hf_trainer_state import with_trainer_state
from accweight_adapters.lora import with_lora_layers
from accweight_adapters.measures import Keys, Numbers, measures_in, plain_number
from accweight_adapters.model_config.meaning import with_model_config
from accweight_adapters.model_keys import names_model
from accweight_adapters.numbered import with_numbered_hints
from accweight_adapters.pickles.clocks import clock_in
from accweight_adapters.pickles.tree import mapping_of
from accweight_adapters.pickles.values import ArrayClaim, TensorClaim
from accweight_adapters.pickles.weights import Weights, find_weights
from accweight_adapters.shard_index import index_in, names_shards
from accweight_adapters.shard_names import shards_beside
from accweight_adapters.torch.container import Archive, is_legacy, is_zip, read_archive
from accweight_adapters.torch.expert_files import MODEL, experts_beside, is_expert, with_experts
from accweight_adapters.torch.extents import scalar, stored
from accweight_adapters.torch.lightning import is_lightning, lightning_measures, lightning_weights
from accweight_adapters.torch.pipeline_layers import described_layers, is_layer
from accweight_adapters.torch.shards import SHARD_SUFFIXES, described_index, described_parts
from accweight_adapters.torch.zero_partitions import described_partitions, is_partition
from accweight_adapters.untrusted import ClaimError, claims_of
from accweight_core.schema import Description

FORMAT: Final = "torch checkpoint"
ARCHIVES_OF_MODELS: Final = frozenset({"TorchScript archive", "torch.export archive"})


def recognised(path: Path) -> bool:
    """Tell whether torch.save or torch.jit.save wrote `path`.

    An index of torch.save shards is recognised too.
    """
    try:
        if path.suffix.lower() == ".json":
            return names_shards(index_in(path, FORMAT), SHARD_SUFFIXES)
        with path.open("rb") as file:
            return is_legacy(file) or is_zip(file)
    except Exception:  # damaged zips raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the weights in `path`.

    Raises:
        FormatError: If the file is damaged, or its pickle names what only an attack does.
    """
    with claims_of(path, FORMAT):
        description = _whole(path)
    return with_trainer_state(with_model_config(description, path), path)


def _whole(path: Path) -> Description:
    """Describe a file, or all files that an index, or their names, put together."""
    if path.suffix.lower() == ".json":
        return described_index(path)
    if is_layer(path):
        return described_layers(path)
    if is_partition(path):
        return described_partitions(path)
    if is_expert(path):
        raise ClaimError(
            f"holds one expert of a model; name its folder, or {path.with_name(MODEL)}"
        )
    shards, experts = shards_beside(path), experts_beside(path)
    if experts:
        return with_experts(_described(path), experts)
    return described_parts(shards) if shards else _described(path)


def _described(path: Path) -> Description:
    archive = _opened(path)
    content = archive.content
    weights = lightning_weights(content) if is_lightning(content) else find_weights(content)
    number = _numbers(path, archive, weights)
    clock = clock_in(content, number)
    measures = measures_in(mapping_of(content), number)
    if is_lightning(content):
        measures = lightning_measures(content, number) | measures
    tensors = with_lora_layers(
        stored(path, archive, name, claim) for name, claim in weights.tensors.items()
    )
    are_modules = weights.are_modules or archive.format in ARCHIVES_OF_MODELS
    return Description(
        format=archive.format,
        tensors=tensors if are_modules else with_numbered_hints(tensors),
        step=clock.step,
        step_key=clock.key,
        is_step_sure=clock.is_sure,
        files=(str(path),),
        notes=tuple(weights.notes),
        measures=measures,
        copies={
            key: with_lora_layers(stored(path, archive, *item) for item in copy.items())
            for key, copy in weights.copies.items()
        },
        is_model=are_modules,
    )


def _opened(path: Path) -> Archive:
    """Return the contents of a file."""
    if path.suffix.lower() == ".distcp":
        raise ClaimError("a part of a distributed checkpoint; give its folder")
    with path.open("rb") as file:
        return read_archive(file)


def _numbers(path: Path, archive: Archive, weights: Weights) -> Numbers:
    """Return a function that reads numbers next to the weights, including scalar tensors.

    Only tensors that are taken as measures are read, a few bytes each.
    """
    own = {id(claim) for claim in weights.tensors.values()}

    def number(keys: Keys, value: object) -> int | float | None:
        if not isinstance(value, (TensorClaim, ArrayClaim)):
            return plain_number(keys, value)
        if value.shape or id(value) in own or (len(keys) > 1 and names_model(keys[0])):
            return None
        return scalar(path, archive, value)

    return number
