"""Tell pickles with weights from the many that hold something else.

A pickle has no magic number, and its name says nothing: datasets, vocabularies and settings are
pickles too. So it is interpreted, up to a number of operations that no checkpoint needs.
"""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import IO, Final

from accweight_adapters.pickled.content import Opened, interpreted
from accweight_adapters.pickled.estimators import is_fitted
from accweight_adapters.pickled.packing import (
    inflated_head,
    is_deflated,
    refused_packing,
    unpacked_head,
)
from accweight_adapters.pickles.weights import find_weights, is_object
from accweight_adapters.torch.container import MAGIC_OPCODE
from accweight_adapters.untrusted import ClaimError
from accweight_core.dtypes import is_measurable

MOST_OPCODES: Final = 2_000_000
"""Operations that are searched for weights; a network of 1000 tensors takes 50,000."""

HEAD_BYTES: Final = 1 << 10
BLOCK_BYTES: Final = 1 << 20
"""Bytes of a whole block of bzip2, before which nothing of it can be seen."""

PROTOCOLS: Final = frozenset({2, 3, 4, 5})
FIRST_OF_OLD: Final = b"(]}c"
"""First bytes of pickles of protocols 0 and 1 that hold a mapping, a list or an object."""

BEGINNING_OF_OLD = re.compile(rb"\([dltVSFIic]|[\]}][qp(UVXK.]|c[A-Za-z_][\w.]*\n[A-Za-z_]")
"""How such pickles go on; inside something compressed, their end is too far away to look at."""


def recognised(path: Path) -> bool:
    """Tell whether `path` is a pickle that holds weights, or was cut short behind some."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if is_deflated(head):
                inner = inflated_head(head)
                return (is_pickle(inner) or _looks_old(inner)) and _holds_weights(path)
            if refused_packing(head):
                return is_pickle(unpacked_head(head + file.read(BLOCK_BYTES)))
            return (is_pickle(head) or _is_old(file, head)) and _holds_weights(path)
    except Exception:  # damaged streams raise nearly anything
        return False


def is_pickle(head: bytes) -> bool:
    """Tell whether bytes begin like a pickle of protocol 2 or later, but no file of torch.save."""
    is_named = len(head) > 2 and head[0] == 0x80 and head[1] in PROTOCOLS
    return is_named and MAGIC_OPCODE not in head[:32]


def _is_old(file: IO[bytes], head: bytes) -> bool:
    """Tell whether a file may be a pickle of protocol 0 or 1, which has no mark but its end."""
    if not head or head[0] not in FIRST_OF_OLD:
        return False
    file.seek(-1, io.SEEK_END)
    return file.read(1) == b"."


def _looks_old(head: bytes) -> bool:
    """Tell whether bytes begin like a pickle of protocol 0 or 1."""
    return BEGINNING_OF_OLD.match(head) is not None


def _holds_weights(path: Path) -> bool:
    opened: Opened | None = None
    try:
        opened = Opened(path)
        with opened.file:
            content = interpreted(opened, most_opcodes=MOST_OPCODES)
            weights = find_weights(content)
    except OSError:  # the reason is said when it is described
        return True
    except ClaimError as error:  # damaged behind the first weights: said when it is described
        is_told = opened is not None and opened.claims > 0
        return is_told and "more parts" not in str(error) and "no weights" not in str(error)
    measurable = [c for c in weights.tensors.values() if is_measurable(c.dtype)]
    if is_object(content):  # statistics of a data set are vectors in an object
        is_matrix = any(len(claim.shape) > 1 for claim in measurable)
        return is_matrix or any(map(is_fitted, weights.tensors))
    return bool(measurable)
