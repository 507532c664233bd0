"""Every operation may fail: one line, nothing wrong stored, and the same command goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from thorough import THOROUGH

PROGRAM = Path(__file__).with_name("fault_injection.py")
EVERY = 3 if THOROUGH else 23
"""Of so many operations one fails here; `python tests/fault_injection.py` tries each of them.

Operations on files come in twos and fours: steps of a prime meet each of these.
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs fork and /proc")
def test_an_operation_that_fails_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), str(EVERY)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = {report["stage"]: report for report in map(json.loads, done.stdout.splitlines())}
    assert found.keys() == {"analyze", "append", "overwrite"}
    problems = [problem for report in found.values() for problem in report["problems"].items()]
    assert problems == []
    assert min(min(report["tried"].values()) for report in found.values()) > 1
