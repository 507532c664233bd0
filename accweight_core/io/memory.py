"""A memory budget: by default, the free memory of the machine, the container and the process.

Blocks of plain files take a few megabytes for any model. A parameter that cannot be read in blocks
(compressed, quantised, or with reordered axes at a URL) is walked as a whole, in up to
`WHOLE_TIMES` times its size. Such walks wait for each other if the budget is short, and one that
exceeds the whole budget is refused before its memory is allocated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Condition

from accweight_core.errors import AccweightError, MemoryLimitError
from accweight_core.text import size

WHOLE_TIMES = 14
"""Peak memory of walking a parameter as a whole, as a multiple of its size in the working dtype.
Measured by the tests, with pictures stored and freed arrays given back at once: 12.5 (npz), 12.8
(HDF5, Flax), 13.3 (torch.distributed), 13.5 (ONNX, int8), 13.8 (GGUF, deflated policy, Orbax)."""

LEAST_BYTES = 64 << 20
"""Minimum of the default budget, as the counters of free memory are not exact."""


class MemoryBudget:
    """A memory budget shared by threads.

    Attributes:
        most_bytes: Size of the budget.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self.most_bytes = max(free_bytes(), LEAST_BYTES) if most_bytes is None else most_bytes
        self._left = self.most_bytes
        self._changed = Condition()

    @contextmanager
    def taking(self, needed_bytes: int, parameter: str) -> Iterator[None]:
        """Wait until `needed_bytes` are available, and reserve them within the context.

        Raises:
            MemoryLimitError: If they exceed the whole budget.
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
    """Turn out-of-memory errors of Python, NumPy and torch into a MemoryLimitError about `what`.

    Raises:
        MemoryLimitError: If memory ran out.
    """
    try:
        yield
    except AccweightError:  # one of them says that workers may have run out of memory
        raise
    except (MemoryError, RuntimeError) as error:
        if not is_lack_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or "no more is given"
        raise MemoryLimitError(
            f"{what}: memory ran out ({reason}); {size(free_bytes())} are free now; take fewer "
            "--threads, give a smaller --memory, or end other programs"
        ) from error


def is_lack_of_memory(error: Exception) -> bool:
    """Tell whether an error of Python, NumPy or torch says that memory has run out."""
    reason = str(error)
    is_of_torch = "can't allocate memory" in reason or "out of memory" in reason.lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_of_torch)


def free_bytes() -> int:
    """Return how many bytes this process can still allocate."""
    found = [_of_machine(), *_of_groups(), _of_process()]
    return min((one for one in found if one is not None), default=1 << 62)


def _of_machine() -> int | None:
    """Return the available memory of the machine, page cache included."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    return None


def _of_groups() -> Iterator[int]:
    """Yield the bytes left in the control groups of this process, such as a container's."""
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
                with suppress(OSError, ValueError):  # a path of the host, or a group without limit
                    taken = int((group / used).read_text()) - _droppable(group)
                    yield int((group / limit).read_text()) - taken
                if group == home:
                    break


def _droppable(group: Path) -> int:
    """Return the bytes of a control group's page cache that the kernel can reclaim."""
    for line in (group / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return int(value)
    return 0


def _of_process() -> int | None:
    """Return the bytes left under the address space limit of this process."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            return max(0, int(soft) - pages * os.sysconf("SC_PAGE_SIZE"))
    return None
