"""A torch.save archive inside another file, read through a byte range of it.

Distributed checkpoints concatenate many small archives, and Stable-Baselines3 keeps one in a zip.
If the byte range is not compressed, its tensors are byte ranges of the outer file.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import IO, cast

from accweight_adapters.bytes.stretch import Stretch, StretchFile
from accweight_adapters.torch.container import Archive, read_archive
from accweight_adapters.untrusted import ClaimError

BUFFER_BYTES = 4096
"""Buffer size: enough for the directory of a small archive, without a large one's weights."""


def archive_within(file: IO[bytes], stretch: Stretch) -> Archive:
    """Read everything but the weights of an archive in a byte range of `file`.

    Returns:
        The archive, with storage positions in the outer file.
    """
    size_bytes = file.seek(0, io.SEEK_END)
    if stretch.end > size_bytes:
        raise ClaimError(
            f"it ends at byte {size_bytes}, but a part of it reaches to byte {stretch.end}"
        )
    window = io.BufferedReader(StretchFile(file, stretch), BUFFER_BYTES)
    archive = read_archive(cast("IO[bytes]", window))
    storages = {
        key: Stretch(stretch.offset + inner.offset, inner.size_bytes)
        for key, inner in archive.storages.items()
    }
    return replace(archive, storages=storages, pickle_at=stretch.offset + archive.pickle_at)
