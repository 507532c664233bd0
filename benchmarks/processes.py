"""Ways of `ways.py` in processes of their own, so that memory and imports can be told apart."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from analyses import put_aside

WAYS = Path(__file__).with_name("ways.py")


def in_process(way: str, **options: Any) -> dict[str, Any]:
    """Return what a way gives in a fresh process, and the seconds of all of that process.

    An analysis that is there already is put aside first: it would be opened, not made.
    """
    if options.get("out"):
        put_aside(options["out"])
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(WAYS), way, json.dumps(options)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return {**json.loads(done.stdout), "process_seconds": time.perf_counter() - start}
