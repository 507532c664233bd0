"""Every operation may fail: one line, nothing wrong stored, and the same command goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from thorough import THOROUGH

PROGRAM = Path(__file__).with_name("fault_injection.py")
EVERY = 3 if THOROUGH else 13
"""Of so many operations one fails here; `python tests/fault_injection.py` tries each of them.

Operations on files come in twos and fours: steps of a prime meet each of these.
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs fork and /proc")
@pytest.mark.parametrize("stage", ["analyze", "append", "overwrite"])
def test_an_operation_that_fails_is_one_line_and_loses_nothing(tmp_path: Path, stage: str) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), stage, str(EVERY)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == {}
    assert min(found["tried"].values()) > 2
