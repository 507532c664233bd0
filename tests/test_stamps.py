"""Stamps and budgets: whether a file is still the one that was read, and how much is kept."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from accweight_core.io.stamp import stamp_if_there, stamp_of
from accweight_core.remote.byte_budget import ByteBudget


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    return path


def grown(file: Path) -> None:
    state = file.stat()
    file.write_bytes(b"123456")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))


def rewritten(file: Path) -> None:
    os.utime(file, ns=(7, 7))


def replaced(file: Path) -> None:
    """Put another file of the same size and date in its place."""
    state, other = file.stat(), file.with_name("other")
    other.write_bytes(b"54321")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    other.replace(file)


@pytest.mark.parametrize("change", [grown, rewritten, replaced])
def test_a_stamp_changes_with_size_time_and_the_file_itself(
    file: Path, change: Callable[[Path], None]
) -> None:
    before = stamp_of(file)
    assert stamp_of(str(file)) == before

    change(file)

    assert stamp_of(file) != before


def test_a_stamp_says_what_the_system_says(file: Path) -> None:
    state = file.stat()

    assert stamp_of(file) == (state.st_dev, state.st_ino, 5, state.st_mtime_ns, state.st_ctime_ns)


def test_what_is_not_there_has_no_stamp(tmp_path: Path) -> None:
    assert stamp_if_there(tmp_path / "gone") is None
    assert stamp_if_there(tmp_path) == stamp_of(tmp_path)
    with pytest.raises(FileNotFoundError):
        stamp_of(tmp_path / "gone")


# --- budgets of bytes


class Owner:
    """Something that bytes can belong to."""


def test_a_budget_counts_bytes_until_their_owner_is_gone() -> None:
    budget, first, second = ByteBudget(100), Owner(), Owner()

    assert budget.takes(first, 60)
    assert budget.takes(second, 40)
    assert not budget.takes(second, 1)

    del first
    gc.collect()
    assert budget.takes(second, 60)
    assert not budget.takes(second, 1)


def test_what_does_not_fit_is_not_counted() -> None:
    budget, owner = ByteBudget(10), Owner()

    assert not budget.takes(owner, 11)
    assert budget.takes(owner, 10)


def test_threads_share_a_budget() -> None:
    budget, owners, taken = ByteBudget(1000), [Owner() for _ in range(8)], []

    def take(owner: Owner) -> None:
        taken.extend(budget.takes(owner, 1) for _ in range(500))

    threads = [threading.Thread(target=take, args=(owner,)) for owner in owners]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(taken) == 1000
