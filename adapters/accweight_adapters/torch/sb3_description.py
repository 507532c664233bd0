"""Describe Stable-Baselines3 zips: the policy's weights in one member, settings in another.

`policy.pth` is a torch.save file inside the zip; if it is stored uncompressed, its tensors are byte
ranges of the zip. The settings are JSON with base64-encoded pickles, of which only the JSON is
read, for the number of time steps. Optimizers are separate members, which are ignored.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from accweight_adapters.bytes.source import InflatedPart
from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.zip import (
    Member,
    content_of,
    first_name,
    member_names,
    members_of,
)
from accweight_adapters.measures import measures_in
from accweight_adapters.pickles.weights import find_weights
from accweight_adapters.torch.container import Archive, read_archive
from accweight_adapters.torch.extents import array_of, span_bytes, stored
from accweight_adapters.torch.nested_archive import archive_within
from accweight_adapters.untrusted import (
    MAX_SIZE,
    ClaimError,
    check_not_empty,
    claims_of,
    quoted,
    refused,
)
from accweight_core.schema import Description, Extent, HiddenValues, StoredTensor

if TYPE_CHECKING:
    import numpy.typing as npt

FORMAT: Final = "Stable-Baselines3 zip"
POLICY: Final = "policy.pth"
SETTINGS: Final = "data"
PARTS: Final = frozenset({POLICY, SETTINGS})
OLDER_PART: Final = "parameter_list"
"""A member that only the predecessor of the library writes."""

STEP_KEY: Final = "num_timesteps"

MAX_SETTINGS_BYTES: Final = 64_000_000
MAX_INFLATED_BYTES: Final = 1 << 28
MAX_RATIO: Final = 100
"""Highest compression ratio; weights shrink by about a tenth."""

SMALL_BYTES: Final = 1 << 20
"""Size up to which any ratio is allowed: JSON repeats itself."""


def recognised(path: Path) -> bool:
    """Tell whether `path` is a zip with a policy, or the start of a truncated one."""
    try:
        with path.open("rb") as file:
            name = first_name(file)
            if name != SETTINGS:
                return bool(name) and {*member_names(file)} >= PARTS
            return not _is_older(file)
    except Exception:  # damaged zips raise nearly anything
        return False


def _is_older(file: IO[bytes]) -> bool:
    """Tell whether a zip is one of Stable-Baselines 2; a truncated zip has no directory."""
    try:
        return {*member_names(file)} >= {OLDER_PART}
    except zipfile.BadZipFile:
        return False


def described(path: Path) -> Description:
    """Describe the weights of the policy.

    Raises:
        FormatError: If the zip or the policy is damaged, or its compression ratio is too high.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        members = _members(file)
        settings = _settings(file, members[SETTINGS])
        policy = members[POLICY]
        archive = _archive(file, policy)
        weights = find_weights(archive.content)
        step = settings.get(STEP_KEY)
        is_step = isinstance(step, int) and not isinstance(step, bool) and 0 <= step < MAX_SIZE
        return Description(
            format=FORMAT,
            tensors=tuple(
                _hidden(path, policy, stored(path, archive, name, claim))
                for name, claim in weights.tensors.items()
            ),
            step=step if is_step else None,
            step_key=STEP_KEY if is_step else "",
            files=(str(path),),
            notes=tuple(weights.notes),
            measures=measures_in(settings),
        )


def _members(file: IO[bytes]) -> Mapping[str, Member]:
    """Return the members to read, after checking their compression ratio."""
    size_bytes = file.seek(0, io.SEEK_END)
    check_not_empty(size_bytes)
    members = members_of(file, size_bytes)
    for name in sorted(PARTS - members.keys()):
        raise ClaimError(f"a zip of Stable-Baselines3 holds {quoted(name)}; this one does not")
    for member in (members[SETTINGS], members[POLICY]):
        limit = max(SMALL_BYTES, min(MAX_INFLATED_BYTES, MAX_RATIO * member.stored_bytes))
        if member.is_deflated and member.size_bytes > limit:
            raise ClaimError(
                f"its member {quoted(member.name)} would grow from {member.stored_bytes} to "
                f"{member.size_bytes} bytes, more than the {limit} that are read"
            )
    return members


def _settings(file: IO[bytes], member: Member) -> dict[str, Any]:
    """Return the JSON of the settings; pickles in it stay strings."""
    if member.size_bytes > MAX_SETTINGS_BYTES:
        raise ClaimError(f"its settings take {member.size_bytes} bytes, too many for settings")
    content = content_of(file, member, MAX_SETTINGS_BYTES)
    try:
        settings = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"its settings are damaged: {quoted(str(error), limit=160)}") from error
    if not isinstance(settings, dict):
        raise ClaimError("its settings are not a JSON object")
    return settings


def _archive(file: IO[bytes], policy: Member) -> Archive:
    """Return the archive of the policy, with storages in the zip or in the inflated member."""
    if policy.is_deflated:
        return read_archive(io.BytesIO(content_of(file, policy, policy.size_bytes)))
    return archive_within(file, Stretch(policy.offset, policy.stored_bytes))


def _hidden(path: Path, policy: Member, tensor: StoredTensor) -> StoredTensor:
    """Return a tensor of a deflated policy, with a function that inflates it."""
    extent = tensor.values
    if not policy.is_deflated or tensor.refusal:
        return tensor
    if not isinstance(extent, Extent):
        return refused(
            tensor.name, extent.dtype, extent.shape, "an array inside a compressed pickle"
        )
    load = partial(_inflated, path, policy, extent)
    return replace(tensor, values=HiddenValues(load, extent.dtype, extent.shape))


def _inflated(path: Path, policy: Member, extent: Extent) -> npt.NDArray[Any]:
    """Return a tensor of a deflated policy, without keeping what lies before it."""
    with claims_of(path, FORMAT):
        content = InflatedPart(path, policy).values(extent.offset, span_bytes(extent))
        return array_of(content, extent)
