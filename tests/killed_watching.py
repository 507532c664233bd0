"""A watcher is killed before each change that it makes to files, while its job was restarted.

    python killed_watching.py FOLDER EVERY

For one change in EVERY a process of its own is forked, which kills itself before it; then another
one goes on. In the end all analyses must have the numbers of those of a watcher that was never
killed. Prints how many were killed, and before which changes a kill has led to other numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from test_watch_restarts import Job, once

import accweight_core as aw

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


def watched(job: Job, folder: Path) -> None:
    """Measure the checkpoints that are there, and return."""
    once(job, folder / "run.accw")


def killed_before(number: int, folder: Path) -> None:
    """Kill this process before it changes files for the n-th time."""
    count = 0

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        is_written = event == "open" and int(arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or is_written) and str(folder) in str(arguments[0]):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def forked(work: Callable[[], None]) -> int:
    """Return how a process ends that does some work: 0, or the signal that killed it."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException as error:
            sys.stderr.write(f"{error!r}\n")
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def digests(folder: Path) -> dict[str, str]:
    """Return what the numbers of all analyses are, by name."""
    found = {}
    for place in sorted(folder.glob("*.accw")):
        analysis = aw.open_analysis(place)
        content = analysis.values.tobytes() + analysis.steps.tobytes()
        found[place.name] = hashlib.sha256(content).hexdigest()
    return found


def main() -> None:
    """Kill watchers, and print what was found."""
    folder = Path(sys.argv[1]) / "watched"
    folder.mkdir()
    job = Job(folder)
    job.write(*range(5))
    assert forked(lambda: watched(job, folder)) == 0
    job.restart(2, kept=2)
    job.write(3, 4, 5)
    begun = folder.with_name("begun")
    shutil.copytree(folder, begun)
    assert forked(lambda: watched(job, folder)) == 0
    right, wrong, kills = digests(folder), [], 0
    assert sorted(right) == ["run-2.accw", "run.accw"]
    for number in range(1, 100_000, int(sys.argv[2])):
        shutil.rmtree(folder)
        shutil.copytree(begun, folder)

        def work(number: int = number) -> None:
            killed_before(number, folder)
            watched(job, folder)

        how = forked(work)
        if how == 0:
            break  # there are not as many changes
        kills += how == signal.SIGKILL
        if forked(lambda: watched(job, folder)) or digests(folder) != right:
            wrong.append(number)
    sys.stdout.write(json.dumps({"kills": kills, "wrong": wrong}))


if __name__ == "__main__":
    main()
