"""Sharded torch.save models: their shards, with ``pytorch_model.bin.index.json`` or by their names.

Every shard is a state dict; together they are one model, so wrapping prefixes are determined from
the names of all. Tensors keep the order of the shards: the index sorts them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from accweight_adapters.lora import with_lora_layers
from accweight_adapters.network_order import natural
from accweight_adapters.pickles.values import ArrayClaim, Claim, TensorClaim
from accweight_adapters.pickles.weights import Weights, find_weights
from accweight_adapters.shard_index import index_of_shards, shard_path
from accweight_adapters.torch.container import Archive, read_archive
from accweight_adapters.torch.extents import stored
from accweight_adapters.untrusted import ClaimError, claims_of, quoted
from accweight_core.schema import Description, StoredTensor

FORMAT: Final = "torch checkpoint"
SHARD_SUFFIXES: Final = (".bin", ".pt", ".pth", ".ckpt")

Origins = Mapping[int, Path]
"""Files of tensors, by the identities of their claims."""


def described_index(path: Path) -> Description:
    """Describe the tensors that an index places in torch.save shards.

    Raises:
        ClaimError: If it is not such an index, or does not match its shards.
        FormatError: If a shard is damaged.
    """
    places: dict[str, str] = index_of_shards(path, FORMAT, SHARD_SUFFIXES)["weight_map"]
    shards = {file: shard_path(path, file) for file in sorted(set(places.values()), key=natural)}
    archives = {shard: archive_at(shard) for shard in shards.values()}
    claims: dict[str, Claim] = {}
    origins: dict[int, Path] = {}
    extra = 0
    for file, shard in shards.items():
        for name, claim in tensors_in(archives[shard]).items():
            if places.get(name) != file:
                extra += 1
                continue
            claims[name] = claim
            origins[id(claim)] = shard
    _check_complete(places, claims)
    weights = find_weights(claims)
    if extra:
        weights.notes.append(f"left out {extra} tensors of the shards that the index does not list")
    return Description(
        format=f"torch index, {len(shards)} shard{'s' * (len(shards) != 1)}",
        tensors=with_lora_layers(_stored(weights, archives, origins)),
        files=(str(path), *map(str, shards.values())),
        notes=tuple(weights.notes),
    )


def described_parts(paths: Iterable[Path]) -> Description:
    """Describe all tensors of the parts of one model.

    Raises:
        ClaimError: If two parts hold tensors of one name, or there are none.
        FormatError: If a part is damaged.
    """
    archives = {path: archive_at(path) for path in paths}
    claims: dict[str, Claim] = {}
    origins: dict[int, Path] = {}
    for path, archive in archives.items():
        for name, claim in tensors_in(archive).items():
            if name in claims:
                first = origins[id(claims[name])]
                raise ClaimError(f"{quoted(name)} is in {first.name} and in {path.name}")
            claims[name] = claim
            origins[id(claim)] = path
    weights = find_weights(claims)
    return Description(
        format=f"torch checkpoint, {len(archives)} parts",
        tensors=with_lora_layers(_stored(weights, archives, origins)),
        files=tuple(map(str, archives)),
        notes=tuple(weights.notes),
    )


def archive_at(path: Path) -> Archive:
    """Return the contents of a shard.

    Raises:
        FormatError: If it is damaged.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        return read_archive(file)


def tensors_in(archive: Archive) -> Mapping[str, Claim]:
    """Return the tensors of a shard, which is a state dict, by name."""
    content = archive.content if isinstance(archive.content, dict) else {}
    return {
        name: claim
        for name, claim in content.items()
        if isinstance(name, str) and isinstance(claim, (TensorClaim, ArrayClaim))
    }


def _stored(
    weights: Weights, archives: Mapping[Path, Archive], origins: Origins
) -> list[StoredTensor]:
    tensors = []
    for name, claim in weights.tensors.items():
        path = origins[id(claim)]
        with claims_of(path, FORMAT):
            tensors.append(stored(path, archives[path], name, claim))
    return tensors


def _check_complete(places: Mapping[str, str], claims: Mapping[str, Claim]) -> None:
    for name, file in places.items():
        if name not in claims:
            raise ClaimError(f"says that tensor {quoted(name)} is in {quoted(file)}; it is not")
