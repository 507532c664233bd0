"""Choose the number of threads by whether the files are in the page cache or on a disk.

A disk is fast only with several requests in its queue: while one thread waits for it, others
request more or compute. For files in the page cache, more threads than processors do not help.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from accweight_core.io.reading import OpenFiles, spans_of
from accweight_core.schema import Parameter, Run

SAMPLES = 64
"""Number of sampled offsets, over all parameters and checkpoints."""

COLD_THREADS = 2
"""Threads per processor for files on a disk. Measured on two processors and a disk of about
2 GB/s: 1.1 to 1.2 times the rate of one thread per processor; four gave no more."""


def threads_for(run: Run, parameters: Sequence[Parameter]) -> int:
    """Return the best number of threads: more if the files must be read from a disk."""
    processors = os.cpu_count() or 1
    return processors if _is_at_hand(run, parameters) else COLD_THREADS * processors


def _is_at_hand(run: Run, parameters: Sequence[Parameter]) -> bool:
    """Tell whether most sampled bytes of local files are in the page cache."""
    steps, found = len(run.checkpoints), []
    pairs = steps * len(parameters)
    with OpenFiles() as files:
        for number, pair in enumerate(range(0, pairs, max(1, pairs // SAMPLES))):
            checkpoint, parameter = run.checkpoints[pair % steps], parameters[pair // steps]
            middle = parameter.elements * (number % 7) // 7
            for path, start, _ in spans_of(checkpoint.tensors[parameter.name], middle, middle + 1):
                if "://" not in path:
                    found.append(_is_in_memory(files.descriptor(path), start))
    return 2 * sum(found) >= len(found)


def _is_in_memory(descriptor: int, offset: int) -> bool:
    """Tell whether a byte is in the page cache; True if that cannot be found out."""
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):  # not supported by the file system or the platform
        return True
    return True
