"""Describe Stable-Baselines 2 zips: an `.npz` with the parameters, a list of their order, settings.

The archive is a member of the zip. If neither compresses, its arrays are byte ranges of the zip.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, cast

from accweight_adapters.bytes.inflated_file import InflatedFile
from accweight_adapters.bytes.source import InflatedPart
from accweight_adapters.bytes.stretch import Stretch, StretchFile
from accweight_adapters.bytes.zip import Member, content_of, member_names, members_of
from accweight_adapters.measures import measures_in
from accweight_adapters.numpy.description import ARRAY_SUFFIX, Array, array_of, tensors_of
from accweight_adapters.pickles.places import Place
from accweight_adapters.untrusted import (
    MAX_SIZE,
    ClaimError,
    check_not_empty,
    claims_of,
    quoted,
    quoted_few,
)
from accweight_core.schema import Description

FORMAT: Final = "Stable-Baselines zip"
PARAMETERS: Final = "parameters"
ORDER: Final = "parameter_list"
SETTINGS: Final = "data"
PARTS: Final = frozenset({PARAMETERS, ORDER})
STEP_KEY: Final = "num_timesteps"

MOST_JSON_BYTES: Final = 64_000_000
MOST_RATIO: Final = 100
"""Highest compression ratio; weights shrink by about a tenth."""

SMALL_BYTES: Final = 1 << 20
"""Size up to which any ratio is allowed: JSON repeats itself."""

WINDOW_BYTES: Final = 1 << 13


def recognised(path: Path) -> bool:
    """Tell whether `path` is a zip with parameters and their list."""
    try:
        with path.open("rb") as file:
            return {*member_names(file)} >= PARTS
    except Exception:  # damaged zips raise nearly anything
        return False


def described(path: Path) -> Description:
    """Describe the parameters of the model.

    Raises:
        FormatError: If the zip or the archive inside is damaged.
    """
    with claims_of(path, FORMAT), path.open("rb") as file:
        members = _members(file)
        settings = _json(file, members[SETTINGS]) if SETTINGS in members else {}
        settings = settings if isinstance(settings, dict) else {}
        arrays, notes = _arrays(path, file, members[PARAMETERS])
        step = settings.get(STEP_KEY)
        is_step = isinstance(step, int) and not isinstance(step, bool) and 0 <= step < MAX_SIZE
        return Description(
            format=FORMAT,
            tensors=tensors_of(_in_order(arrays, _json(file, members[ORDER]))),
            step=step if is_step else None,
            step_key=STEP_KEY if is_step else "",
            files=(str(path),),
            notes=notes,
            measures=measures_in(settings),
        )


def _members(file: IO[bytes]) -> Mapping[str, Member]:
    size_bytes = file.seek(0, io.SEEK_END)
    check_not_empty(size_bytes)
    members = members_of(file, size_bytes)
    for name in sorted(PARTS - members.keys()):
        raise ClaimError(f"a zip of Stable-Baselines holds {quoted(name)}; this one does not")
    for member in members.values():
        limit = max(SMALL_BYTES, MOST_RATIO * member.stored_bytes)
        if member.name in (*PARTS, SETTINGS) and member.size_bytes > limit:
            raise ClaimError(
                f"its member {quoted(member.name)} would grow from {member.stored_bytes} to "
                f"{member.size_bytes} bytes, more than the {limit} that are read"
            )
    return members


def _json(file: IO[bytes], member: Member) -> Any:
    """Return the JSON of a member; pickles in it stay strings."""
    if member.size_bytes > MOST_JSON_BYTES:
        raise ClaimError(f"its member {quoted(member.name)} is too long for settings")
    try:
        return json.loads(content_of(file, member, MOST_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        reason = quoted(str(error), limit=160)
        raise ClaimError(f"its member {quoted(member.name)} is damaged: {reason}") from error


def _arrays(
    path: Path, file: IO[bytes], member: Member
) -> tuple[dict[str, Array], tuple[str, ...]]:
    """Return the arrays of the archive inside by name, and what was left out."""
    if member.is_deflated:
        raw: io.RawIOBase = InflatedFile(InflatedPart(path, member), member.size_bytes)
        place, base = Place(path, member=member, wbits=-zlib.MAX_WBITS), 0
    else:
        raw = StretchFile(file, Stretch(member.offset, member.stored_bytes))
        place, base = None, member.offset
    window = cast("IO[bytes]", io.BufferedReader(raw, WINDOW_BYTES))
    arrays: dict[str, Array] = {}
    others = []
    for name, inner in members_of(window, member.size_bytes).items():
        array = array_of(path, window, name.removesuffix(ARRAY_SUFFIX), inner)
        if array.header.problem or not name.endswith(ARRAY_SUFFIX):
            others.append(array.name)
        elif inner.is_deflated:
            raise ClaimError(
                f"its parameters are compressed twice ({quoted(array.name)}), which no version of "
                "the library writes"
            )
        else:
            arrays[array.name] = replace(array, offset=base + array.offset, place=place)
    if not arrays:
        raise ClaimError("its parameters hold no arrays of numbers")
    notes = (f"left out {quoted_few(others)}: not numbers",) if others else ()
    return arrays, notes


def _in_order(arrays: Mapping[str, Array], order: object) -> list[Array]:
    """Return arrays in the order of the list, then those that it does not name."""
    listed = [name for name in order if isinstance(name, str)] if isinstance(order, list) else []
    first = [arrays[name] for name in dict.fromkeys(listed) if name in arrays]
    names = {array.name for array in first}
    return [*first, *(array for array in arrays.values() if array.name not in names)]
