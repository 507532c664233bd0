"""What is compiled is kept, until a file that it is made of changes."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest

from accweight_core.jit import njit as compiled

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
    return int(sum(module.total.__wrapped__.stats.cache_hits.values()))


@pytest.fixture
def forgotten() -> Iterator[None]:
    """Where loops are kept is asked for anew, and so it is afterwards."""
    for found in (compiled.cache_folder, compiled.digest):
        found.cache_clear()
    yield
    for found in (compiled.cache_folder, compiled.digest):
        found.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_loop_is_compiled_once_and_anew_when_another_file_of_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_FOLDER_GIVEN", str(tmp_path / "kept"))
    path, other = tmp_path / "loop_of_a_test.py", tmp_path / "other.py"
    path.write_text(LOOP)
    other.write_text("")
    monkeypatch.setattr(compiled, "LOOPS", (*compiled.LOOPS, str(other.with_suffix(""))))

    first, second = hits(path), hits(path)
    other.write_text("changed = True")
    compiled.cache_folder.cache_clear()
    compiled.digest.cache_clear()
    changed, again = hits(path), hits(path)

    assert (first, second) == (0, 1)
    assert (changed, again) == (0, 1)


@pytest.mark.usefixtures("forgotten")
def test_loops_are_kept_where_the_user_wants_them_and_no_one_elses_are_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_FOLDER_GIVEN", str(tmp_path / "kept"))
    path = tmp_path / "loop_of_a_test.py"
    path.write_text(LOOP)

    before = numba.config.CACHE_DIR

    hits(path)

    assert before == numba.config.CACHE_DIR
    assert [folder.name for folder in (tmp_path / "kept").iterdir()] == [
        f"accweight-loops-{compiled.digest()}"
    ]


@pytest.mark.usefixtures("forgotten")
def test_loops_are_kept_in_the_users_cache_where_their_own_folder_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "_FOLDER_GIVEN", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: tmp_path in Path(path).parents)

    assert compiled.cache_folder() == tmp_path / f"accweight-loops-{compiled.digest()}"


PROGRAM = """
import resource, sys
import numpy as np
from accweight_core.jit import pooling
resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
out = np.empty(32, np.float32)
pooling.widen_halves(np.full(32, 0x3C00, np.uint16), out, 0, 32)
print(out.sum())
"""


@pytest.mark.skipif(os.name == "nt", reason="needs a limit on the size of files")
def test_loops_are_compiled_where_what_is_compiled_cannot_be_kept(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "32.0\n"), done.stderr


def test_every_file_of_the_loops_is_looked_at() -> None:
    folder = Path(compiled.__file__).parents[1]
    marked = {
        str(path.relative_to(folder).with_suffix(""))
        for path in folder.rglob("*.py")
        if re.search(r"^@(compiled|compiled_in_place|_word)$", path.read_text(), re.MULTILINE)
    }

    assert marked <= set(compiled.LOOPS)
    assert all((folder / f"{name}.py").exists() for name in compiled.LOOPS)
