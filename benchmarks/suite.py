"""Every benchmark of speed and memory, one after the other, each in a process of its own.

    python benchmarks/suite.py                          sizes of seconds, some minutes in all
    python benchmarks/suite.py --size full              billions of weights, 20 GB of disk
    python benchmarks/suite.py --only disk budget       some of them
    python benchmarks/suite.py --size full --write-readme     figures into benchmarks/README.md

Prints a table per benchmark and in the end the goals; writes OUT/SIZE.json, with the facts of the
machine, and a picture of it, OUT/SIZE.png and OUT/SIZE.svg. A goal that is not met is a result. A
value that is wrong, or a benchmark that fails, is an error: exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import DISK_BYTES, facts, in_words
from readme import README, write_readme
from rounds import OUT, goal_lines

HERE = Path(__file__).parent
SIZES = ("quick", "medium", "full", "smoke")

NEEDED_GIGABYTES = {"smoke": 0.1, "quick": 2, "medium": 6, "full": 20}
"""Free disk that the largest benchmark of a size takes for a while."""


@dataclass(frozen=True)
class Benchmark:
    """A script of the suite.

    Attributes:
        name: Of its file, and of the JSON it writes into the folder after `--out`.
        title: What it compares.
        options: For each size, what it is called with; None leaves it out. By default the size.
    """

    name: str
    title: str
    options: Mapping[str, Sequence[str] | None] = field(default_factory=dict)

    def command(self, size: str, out: Path, scratch: Path) -> list[str] | None:
        """Return how it is called at a size, or None if it is not."""
        own = ["--size", size, "--scratch", str(scratch)]
        given = self.options.get(size, own)
        script = HERE / f"{self.name}.py"
        if given is None or not script.exists():
            return None
        return [sys.executable, "-W", "ignore", str(script), "--out", str(out), *given]


def of_rounds(quick: int, medium: int) -> dict[str, Sequence[str] | None]:
    """Return the options of a script that knows rounds alone, and has nothing for a test."""
    return {
        "smoke": None,
        "quick": ["--rounds", str(quick)],
        "medium": ["--rounds", str(medium)],
        "full": ["--rounds", str(medium)],
    }


ALWAYS: Mapping[str, Sequence[str] | None] = {
    "smoke": None,
    **{size: () for size in ("quick", "medium", "full")},
}
"""Options of a script that has one size."""

BENCHMARKS = (
    Benchmark("against_numpy", "Against the scripts people write, and the raw read"),
    Benchmark("formats", "The same weights in every format"),
    Benchmark("disk", "A cold disk"),
    Benchmark("growth", "As tensors, checkpoints and sizes grow"),
    Benchmark("steps", "One more step, by how many there are"),
    Benchmark("memory", "Peak memory"),
    Benchmark("budget", "Where the time goes"),
    Benchmark("kernel", "The kernel alone", of_rounds(3, 15)),
    Benchmark("probes", "Probes against a plain pass"),
    Benchmark("cluster", "Several machines", ALWAYS),
    Benchmark("gpu", "Live tracking on a GPU", ALWAYS),
)


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES[:3] + SIZES[3:], default="quick", metavar="SIZE",
                        help="quick, medium or full")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=[b.name for b in BENCHMARKS], metavar="NAME")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument(
        "--write-readme", action="store_true", help="put the figures into benchmarks/README.md"
    )
    return parser.parse_args(given)


def run_one(benchmark: Benchmark, command: Sequence[str], out: Path) -> dict[str, Any]:
    """Run one benchmark; return its JSON, what it took, and whether it failed."""
    print(f"\n== {benchmark.title} ({benchmark.name}.py)", flush=True)
    written = out / f"{benchmark.name}.json"
    written.unlink(missing_ok=True)
    began = time.perf_counter()
    code = subprocess.run(command, check=False).returncode
    found: dict[str, Any] = {"title": benchmark.title, "seconds": time.perf_counter() - began}
    if code:
        found["failed"] = f"{benchmark.name}.py ended with code {code}"
    elif written.exists():
        found |= _as_object(json.loads(written.read_text()))
    else:
        found["notes"] = ["measured nothing here"]
    return found


def _as_object(stored: Any) -> dict[str, Any]:
    """Return what a benchmark has stored, a list under a name of its own."""
    return stored if isinstance(stored, dict) else {"rows": stored}


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run the chosen benchmarks in turn; what has been measured is stored after each."""
    folder = options.out / options.size
    folder.mkdir(parents=True, exist_ok=True)
    results: dict[str, Any] = {
        "size": options.size,
        "machine": facts(options.scratch, DISK_BYTES if options.size != "smoke" else 1 << 20),
        "benchmarks": {},
    }
    print(in_words(results["machine"]), flush=True)
    for benchmark in BENCHMARKS:
        command = benchmark.command(options.size, folder, options.scratch)
        if command is None or (options.only and benchmark.name not in options.only):
            continue
        results["benchmarks"][benchmark.name] = run_one(benchmark, command, folder)
        path = options.out / f"{options.size}.json"
        path.write_text(json.dumps(results, indent=2))
    return results


def endings(results: Mapping[str, Any]) -> Iterator[str]:
    """Yield the goals of all benchmarks, and what failed."""
    for name, found in results["benchmarks"].items():
        goals = list(goal_lines(found.get("goals", ())))
        if goals:
            yield f"\n{found['title']} ({name}.py, {found['seconds']:.0f} s)"
            yield from goals
    for found in results["benchmarks"].values():
        if "failed" in found:
            yield f"\nFAILED: {found['failed']}"


def main(given: Sequence[str] | None = None) -> int:
    """Run the suite; return 1 if a benchmark failed."""
    options = arguments(given)
    free = shutil.disk_usage(options.scratch).free / 1e9
    if free < NEEDED_GIGABYTES[options.size]:
        sys.exit(
            f"{options.scratch}: {free:.1f} GB are free, size {options.size} needs "
            f"{NEEDED_GIGABYTES[options.size]:g}; choose another folder with --scratch"
        )
    os.environ["PYTHONUNBUFFERED"] = "1"
    results = run_all(options)
    from picture import draw  # matplotlib is not waited for before anything is measured

    pictures = draw(results, options.out / options.size)
    print("\n".join(endings(results)))
    print(f"\ndetails in {options.out / options.size}.json, drawn in {pictures[0]}")
    failed = any("failed" in found for found in results["benchmarks"].values())
    if options.write_readme and not failed:
        write_readme(results, pictures[0])
        print(f"figures written to {README}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
