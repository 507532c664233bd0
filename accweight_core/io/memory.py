"""How much memory may be taken: what the machine, the container and the process have free.

Blocks of plain files take a few megabytes whatever the model. A parameter whose values a function
loads (compressed, quantised, in another order at a URL) is walked as a whole, in up to
`WHOLE_TIMES` times its size. Such walks wait for each other where the budget is short, and one
that does not fit into it by itself is refused before its memory is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition

from accweight_core.errors import MemoryLimitError
from accweight_core.text import size

WHOLE_TIMES = 12
"""Most bytes that walking a parameter as a whole takes, by those of its weights as they are
subtracted. Measured with pictures stored: 8.8 (npz, deflated), 10.0 (GGUF, Q8_0), 10.2 (HDF5,
gzip), 11.3 (ONNX, int8 with a scale); a bit above 7.4 without."""

LEAST_BYTES = 64 << 20
"""What is always granted: a machine that has less free is not told by its counters."""


class MemoryBudget:
    """Memory that some threads share.

    Attributes:
        most_bytes: All of it.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = max(free_bytes(), LEAST_BYTES) if most_bytes is None else most_bytes
        self._left = self.most_bytes
        self._changed = Condition()

    @contextmanager
    def taking(self, needed_bytes: int, parameter: str) -> Iterator[None]:
        """Wait until so much is left, and keep it while a block runs.

        Raises:
            MemoryLimitError: If it is more than there is at all.
        """
        if needed_bytes > self.most_bytes:
            raise MemoryLimitError(
                f"parameter {parameter!r} cannot be read in blocks (it is compressed, encoded or "
                f"in memory), and as a whole it takes up to {size(needed_bytes)}; the budget is "
                f"{size(self.most_bytes)}; give more with --memory, or leave it out with "
                f"--skip '{parameter}'"
            )
        with self._changed:
            self._changed.wait_for(lambda: self._left >= needed_bytes)
            self._left -= needed_bytes
        try:
            yield
        finally:
            with self._changed:
                self._left += needed_bytes
                self._changed.notify_all()


@contextmanager
def memory_told(what: str) -> Iterator[None]:
    """Say in one line of what memory ran out, NumPy's or torch's.

    Raises:
        MemoryLimitError: If it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200] or "no more is given"
        is_of_torch = "can't allocate memory" in reason or "out of memory" in reason.lower()
        if not isinstance(error, MemoryError) and not is_of_torch:
            raise
        raise MemoryLimitError(
            f"{what}: memory ran out ({reason}); {size(free_bytes())} are free now; take fewer "
            "--threads, give a smaller --memory, or end other programs"
        ) from error


def free_bytes() -> int:
    """Return how many bytes this process can still take before something gives way."""
    found = [_of_machine(), *_of_groups(), _of_process()]
    return min((one for one in found if one is not None), default=1 << 62)


def _of_machine() -> int | None:
    """Return what the machine has free, files that it keeps in memory included."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _of_groups() -> Iterator[int]:
    """Yield what the control groups of this process, a container's for one, have left."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, kinds, path = line.split(":", 2)
            if not kinds:  # version 2
                home, limit, used = Path("/sys/fs/cgroup"), "memory.max", "memory.current"
            elif "memory" in kinds.split(","):
                home = Path("/sys/fs/cgroup/memory")
                limit, used = "memory.limit_in_bytes", "memory.usage_in_bytes"
            else:
                continue
            inside = home / path.lstrip("/")
            for group in (inside, *inside.parents):
                with suppress(OSError, ValueError):  # of the host's own names, or without limit
                    taken = int((group / used).read_text()) - _droppable(group)
                    yield int((group / limit).read_text()) - taken
                if group == home:
                    break


def _droppable(group: Path) -> int:
    """Return the bytes that a control group has taken for files alone, and gives up when asked."""
    for line in (group / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _of_process() -> int | None:
    """Return what the limit of this process's addresses leaves."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return max(0, int(soft) - pages * os.sysconf("SC_PAGE_SIZE"))
    return None
