"""Shards without an index: the parts of one checkpoint, by their names.

Hugging Face's names say how many there are (`model-00001-of-00004.safetensors`). Those of torchtune
do not (`hf_model_0001_3.pt`: part 1, epoch 3); there, the other epochs of the folder tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from accweight_adapters.shard_index import shard_path
from accweight_adapters.untrusted import ClaimError, quoted_few

COUNTED = re.compile(
    r"(?P<stem>.*-)(?P<number>\d{5})(?P<of>-of-)(?P<count>\d{5})(?P<rest>(_\d+)?\.\w+)"
)
UNCOUNTED = re.compile(r"(?P<stem>hf_model_)(?P<number>\d{4})(?P<rest>_\d+\.pt)")
MOST_PARTS: Final = 2000


def shards_beside(path: Path) -> list[Path]:
    """Return all parts of the checkpoint whose first part a file is; none if it is all of one.

    Raises:
        ClaimError: If parts are missing, or the file is another part than the first.
    """
    names = _names(path)
    if len(names) < 2:
        return []
    if len(names) > MOST_PARTS:
        raise ClaimError(f"is one of {len(names)} parts by its name; at most {MOST_PARTS} are read")
    missing = [name for name in names if not (path.parent / name).exists()]
    if missing:
        are = "are" if missing[1:] else "is"
        parts = f"part{'s' * bool(missing[1:])}"
        raise ClaimError(
            f"is one of {len(names)} parts of a checkpoint, whose {parts} {quoted_few(missing)} "
            f"{are} missing; copy {'them' if missing[1:] else 'it'} beside the others"
        )
    if path.name != names[0]:
        raise ClaimError(
            f"is one of {len(names)} parts of a checkpoint; name its index, or the first part "
            f"where there is none, {names[0]}"
        )
    return [shard_path(path, name, "part", "the others") for name in names]


def _names(path: Path) -> Sequence[str]:
    """Return the names of all parts, by the name of one; none if it is no part."""
    named = COUNTED.fullmatch(path.name)
    if named:
        stem, rest = named["stem"], f"{named['of']}{named['count']}{named['rest']}"
        count = int(named["count"])
        if not 1 <= int(named["number"]) <= count:
            return ()
        return [f"{stem}{number:05}{rest}" for number in range(1, min(count, MOST_PARTS + 1) + 1)]
    named = UNCOUNTED.fullmatch(path.name)
    if named:
        matches = [UNCOUNTED.fullmatch(other.name) for other in path.parent.iterdir()]
        count = max((int(match["number"]) for match in matches if match), default=1)
        return [f"{named['stem']}{number:04}{named['rest']}" for number in range(1, count + 1)]
    return ()
