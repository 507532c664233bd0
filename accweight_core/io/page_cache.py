"""What reading will cost: whether the bytes lie in memory already, or on a disk.

A disk is as fast as its queue is long: while one thread waits for it, others ask for more or
work what has come. Bytes in memory want no more threads than there are processors.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from accweight_core.io.reading import OpenFiles, spans_of
from accweight_core.schema import Parameter, Run

SAMPLES = 64
"""Places that are looked at, over all parameters and checkpoints."""

COLD_THREADS = 2
"""Threads for each processor where bytes come from a disk. Measured on two processors and a disk
of about 2 GB/s: 1.1 to 1.2 times the rate of one thread for each; four gave no more."""


def threads_for(run: Run, parameters: Sequence[Parameter]) -> int:
    """Return how many threads walk fastest: more where bytes have to be waited for."""
    processors = os.cpu_count() or 1
    return processors if _is_at_hand(run, parameters) else COLD_THREADS * processors


def _is_at_hand(run: Run, parameters: Sequence[Parameter]) -> bool:
    """Tell whether most of some local bytes, taken all over the run, are in memory."""
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
    """Tell whether a byte can be had without waiting; if that cannot be known, that it can."""
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    except (OSError, AttributeError):  # not with this file system, or not on this system
        return True
    return True
