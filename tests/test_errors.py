"""Errors that are raised in another process arrive as they were raised."""

from __future__ import annotations

import pickle

import pytest

from accweight_core import errors
from accweight_core.errors import AccweightError, SourceError, StoreError, UnknownNameError
from accweight_core.remote.errors import AbsentError, RemoteError

MADE = {
    "FormatError": ("net.pt", "the file is empty"),
    "MissingLibraryError": ("gguf", "gguf", "reading"),
    "SeveralSeriesError": ("two series", ("a", "b")),
    "ShapeMismatchError": ("fc.weight", (2, 3), (3, 2)),
}
"""Arguments of those that take more than a message."""

KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, AccweightError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_errors_travel_with_message_and_attributes(kind: type[AccweightError]) -> None:
    error = kind(*MADE.get(kind.__name__, ("what is wrong",)))  # type: ignore[arg-type]
    error.add_note("seen twice")

    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is kind
    assert str(arrived) == str(error) != ""
    assert vars(arrived) == vars(error)
    assert arrived.args == error.args


def test_all_errors_are_looked_at() -> None:
    assert len(KINDS) >= 11


@pytest.mark.parametrize(
    "error", [RemoteError("s3://a/b", "no answer", 110), AbsentError("s3://a/b")]
)
def test_errors_of_remote_files_travel(error: RemoteError) -> None:
    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is type(error)
    assert (arrived.filename, arrived.strerror, arrived.errno) == (
        error.filename,
        error.strerror,
        error.errno,
    )


@pytest.mark.parametrize("kind", [AccweightError, UnknownNameError, StoreError, SourceError])
def test_a_message_is_one_line_whatever_a_name_holds(kind: type[AccweightError]) -> None:
    assert str(kind("a\nb\x1b[2J: is not there")) == "a\\nb\\x1b[2J: is not there"
    assert str(kind()) == ""
