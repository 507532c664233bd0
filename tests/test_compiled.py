"""What is compiled is kept, until a file that it is made of changes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from accweight_core.jit import njit as compiled
from accweight_core.jit import step_loops as loops

LOOP = """
from accweight_core.jit.njit import compiled


@compiled
def total(values):
    found = 0.0
    for value in values:
        found += value
    return found
"""


def loaded(path: Path) -> ModuleType:
    """Load a module anew, as another process would."""
    spec = importlib.util.spec_from_file_location("loop_of_a_test", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hits(path: Path) -> int:
    """Run the loop of a module that has just been loaded; how often it was found compiled."""
    module = loaded(path)
    assert module.total(np.arange(5.0)) == 10
    return int(sum(module.total.stats.cache_hits.values()))


def test_a_loop_is_compiled_once_and_anew_when_another_file_of_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "loop_of_a_test.py"
    path.write_text(LOOP)

    first, second = hits(path), hits(path)
    monkeypatch.setattr(compiled, "stamps", lambda: ((0, 0),))
    changed, again = hits(path), hits(path)

    assert (first, second) == (0, 1)
    assert (changed, again) == (0, 1)


def test_every_file_of_the_loops_is_looked_at() -> None:
    kept = loops.advance_rows._cache._cache_file._source_stamp

    assert kept[-len(compiled.LOOPS) :] == compiled.stamps()
    assert all(
        (Path(compiled.__file__).parents[1] / f"{name}.py").exists() for name in compiled.LOOPS
    )
