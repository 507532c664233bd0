"""Sharded torch.save models: ``pytorch_model.bin.index.json`` and its shards.

Every shard is a state dict; together they are one model, so wrapping prefixes are determined from
the names of all. Tensors keep the order of the shards: the index sorts them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from accweight_adapters.lora import with_lora_layers
from accweight_adapters.pickles.values import ArrayClaim, Claim, TensorClaim
from accweight_adapters.pickles.weights import find_weights
from accweight_adapters.shard_index import index_of_shards, natural, shard_path
from accweight_adapters.torch.container import Archive, read_archive
from accweight_adapters.torch.extents import stored
from accweight_adapters.untrusted import ClaimError, claims_of, quoted
from accweight_core.schema import Description

FORMAT: Final = "torch checkpoint"
SHARD_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")


def described_index(path: Path) -> Description:
    """Describe the tensors that an index places in torch.save shards.

    Raises:
        ClaimError: If it is not such an index, or does not match its shards.
        FormatError: If a shard is damaged.
    """
    places: dict[str, str] = index_of_shards(path, FORMAT, SHARD_SUFFIXES)["weight_map"]
    shards = {file: shard_path(path, file) for file in sorted(set(places.values()), key=natural)}
    archives = {file: _archive_at(shard) for file, shard in shards.items()}
    claims: dict[str, Claim] = {}
    origins: dict[int, str] = {}
    extra = 0
    for file, archive in archives.items():
        for name, claim in _tensors_in(archive).items():
            if places.get(name) != file:
                extra += 1
                continue
            claims[name] = claim
            origins[id(claim)] = file
    _check_complete(places, claims)
    weights = find_weights(claims)
    if extra:
        weights.notes.append(f"left out {extra} tensors of the shards that the index does not list")
    tensors = []
    for name, claim in weights.tensors.items():
        file = origins[id(claim)]
        with claims_of(shards[file], FORMAT):
            tensors.append(stored(shards[file], archives[file], name, claim))
    return Description(
        format=f"torch index, {len(shards)} shard{'s' * (len(shards) != 1)}",
        tensors=with_lora_layers(tensors),
        files=(str(path), *map(str, shards.values())),
        notes=tuple(weights.notes),
    )


def _archive_at(path: Path) -> Archive:
    with claims_of(path, FORMAT), path.open("rb") as file:
        return read_archive(file)


def _tensors_in(archive: Archive) -> Mapping[str, Claim]:
    content = archive.content if isinstance(archive.content, dict) else {}
    return {
        name: claim
        for name, claim in content.items()
        if isinstance(name, str) and isinstance(claim, (TensorClaim, ArrayClaim))
    }


def _check_complete(places: Mapping[str, str], claims: Mapping[str, Claim]) -> None:
    for name, file in places.items():
        if name not in claims:
            raise ClaimError(f"says that tensor {quoted(name)} is in {quoted(file)}; it is not")
