"""The garbage collector is paused in the context, and restored afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from accweight_core.gc_paused import gc_paused


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    yield
    gc.enable()


def test_the_collector_is_paused_within_and_enabled_afterwards() -> None:
    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()

    assert gc.isenabled()


def test_it_is_enabled_again_after_an_error() -> None:
    with pytest.raises(KeyError), gc_paused():
        raise KeyError

    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off() -> None:
    gc.disable()

    with gc_paused():
        pass

    assert not gc.isenabled()
