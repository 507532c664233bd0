"""DeepSpeed's mixtures of experts: the model in one file, every expert in a file beside it.

`layer_0_expert_3_mp_rank_00_model_states.pt` holds the tensors of one expert by their names in the
model, whose other tensors are in `mp_rank_00_model_states.pt`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from accweight_adapters.network_order import natural
from accweight_adapters.shard_index import shard_path
from accweight_adapters.torch.extents import stored
from accweight_adapters.torch.shards import archive_at, tensors_in
from accweight_adapters.untrusted import ClaimError, checked_name, claims_of, quoted
from accweight_core.naming import without_wrappers
from accweight_core.schema import Description, StoredTensor

FORMAT: Final = "torch checkpoint"
MODEL: Final = "mp_rank_00_model_states.pt"
EXPERT = re.compile(r"(layer_[0-9]{1,6}_)?expert_[0-9]{1,6}_mp_rank_00_model_states\.pt")


def is_expert(path: Path) -> bool:
    """Tell whether a file is one expert of the model beside it."""
    return EXPERT.fullmatch(path.name) is not None and path.with_name(MODEL).is_file()


def experts_beside(path: Path) -> list[Path]:
    """Return the files of the experts of a model, in natural order; none beside other files."""
    if path.name != MODEL:
        return []
    names = [other.name for other in path.parent.iterdir() if EXPERT.fullmatch(other.name)]
    return [shard_path(path, name, "expert", "it") for name in sorted(names, key=natural)]


def with_experts(description: Description, experts: list[Path]) -> Description:
    """Return the description of a model with the tensors of its experts.

    Raises:
        ClaimError: If an expert has a tensor that the model or another expert has.
        FormatError: If a file is damaged.
    """
    tensors: dict[str, StoredTensor] = {tensor.name: tensor for tensor in description.tensors}
    for path in experts:
        archive = archive_at(path)
        claims = tensors_in(archive)
        with claims_of(path, FORMAT):
            for name, claim in zip(without_wrappers(claims), claims.values(), strict=True):
                if name in tensors:
                    raise ClaimError(f"holds {quoted(name)}, which another file of the model has")
                tensors[name] = stored(path, archive, checked_name(name), claim)
    return replace(
        description,
        format=f"{description.format}, {len(experts)} expert{'s' * (len(experts) != 1)} beside it",
        tensors=tuple(tensors.values()),
        files=(*description.files, *map(str, experts)),
    )
