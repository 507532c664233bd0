"""URLs that are not of the web: memory, archives, a made-up store; and what is missing."""

from __future__ import annotations

import io
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import numpy as np
import pytest
import torch
from checkpoints import small, states, write_small_run, write_torch
from fsspec.implementations.memory import MemoryFileSystem
from test_imports import run_python

import accweight_core as aw
from accweight_core.cli.app import run as cli
from accweight_core.errors import (
    FormatError,
    MissingLibraryError,
    SourceError,
    StoreError,
)
from accweight_core.remote import path_at
from accweight_core.remote.urls import Url, is_url, without_secrets


@pytest.fixture
def memory() -> Iterator[Any]:
    """Return the file system in memory, empty before and after."""
    system = fsspec.filesystem("memory")
    for when in ("before", "after"):
        if system.exists("/"):
            system.rm("/", recursive=True)
        system.store.clear()
        system.pseudo_dirs[:] = [""]
        if when == "before":
            yield system


class Bucket(MemoryFileSystem):
    """A store with keys and tags, as S3 has them, that may fail and hang."""

    protocol = "bucket"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    failures = 0
    pause_s = 0.0
    cachable = False

    def __init__(self, key: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.key = key

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix("bucket://")))

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Return what is known, with a tag in place of a time."""
        if self.key != "right":
            raise PermissionError("Forbidden: key=" + self.key)
        found = dict(super().info(path, **options))
        created = found.pop("created", None)
        return {**found, "ETag": str(created)}

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        """List, where the key is right."""
        if self.key != "right":
            raise PermissionError("Forbidden")
        return super().ls(path, detail=detail, **options)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode != "rb":
            return super()._open(path, mode, **options)
        time.sleep(type(self).pause_s)
        type(self).failures -= 1
        if type(self).failures >= 0:
            raise ConnectionResetError("reset by https://me:pa55word@host/?sig=5ecre7")
        return super()._open(path, mode, **options)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Return a registered store with three checkpoints in a folder."""
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    Bucket.store.clear()
    Bucket.failures, Bucket.pause_s = 0, 0.0
    monkeypatch.setattr("accweight_core.remote.errors.FIRST_PAUSE_S", 0.01)
    system = Bucket(key="right")
    for epoch, state in enumerate(states(3)):
        system.pipe_file(f"/run/epoch_{epoch}.pt", content(state))
    return system


def content(state: dict[str, torch.Tensor]) -> bytes:
    """Return what torch.save writes."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


# --- sources ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    ["memory://run", "memory://run/", "memory:///run", "memory://run/*.pt", "memory://**/*.pt",
     "memory://r*/epoch_[012].pt"],
)  # fmt: skip
def test_folders_and_patterns_in_memory(memory: Any, tmp_path: Path, source: str) -> None:
    for epoch, state in enumerate(states(3)):
        memory.pipe_file(f"/run/epoch_{epoch}.pt", content(state))
        write_torch(tmp_path / f"epoch_{epoch}.pt", state)
    memory.pipe_file("/run/notes.txt", b"lr 0.1")

    run = aw.open_run(source)

    assert [path_at(c.path).name for c in run.checkpoints] == [f"epoch_{i}.pt" for i in range(3)]
    local = aw.analyze(aw.open_run(tmp_path))
    assert np.array_equal(aw.analyze(run).values, local.values)


def test_folders_of_a_trainer_are_searched_as_on_disk(memory: Any) -> None:
    for step in (100, 20, 3):
        memory.pipe_file(f"/run/checkpoint-{step}/model.pt", content(small(step)))
        memory.pipe_file(f"/run/checkpoint-{step}/optimizer.pt", b"passed over")
    memory.pipe_file("/run/checkpoint-500/notes.txt", b"nothing else")

    run = aw.open_run("memory://run")

    assert [c.step for c in run.checkpoints] == [3, 20, 100]
    assert any("checkpoint-500 left out" in note for note in run.notes)


def test_an_archive_is_a_folder(tmp_path: Path, memory: Any) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for epoch in range(3):
            archive.writestr(f"run/epoch_{epoch}.pt", content(small(epoch)))
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    memory.pipe_file("/a.zip", buffer.getvalue())

    for url in (f"zip://run::{tmp_path / 'a.zip'}", "zip://run/*.pt::memory://a.zip"):
        analysis = aw.analyze(aw.open_run(url))

        assert analysis.maximum
        assert analysis.maximum.value == 2.0
        assert analysis.header.checkpoints[0].path.startswith("zip://run/epoch_0.pt::")


def test_a_local_url_is_a_path(tmp_path: Path) -> None:
    folder = write_small_run(tmp_path / "my run", ["a1.pt", "a2.pt"])

    for url in (folder.as_uri(), f"file://{folder}", f"FILE://localhost{folder}"):
        assert [c.path for c in aw.open_run(url).checkpoints] == [
            str(folder / "a1.pt"), str(folder / "a2.pt"),
        ]  # fmt: skip
    with pytest.raises(SourceError, match="without a host"):
        aw.open_run("file://elsewhere/a.pt")


def test_paths_and_urls_may_be_one_run(memory: Any, tmp_path: Path) -> None:
    first = write_torch(tmp_path / "epoch_0.pt", small())
    memory.pipe_file("/epoch_1.pt", content(small(0.5)))

    analysis = aw.analyze(aw.open_run([first, "memory://epoch_1.pt"]))

    assert analysis.maximum
    assert analysis.maximum.value == 0.5


def test_what_is_not_there_is_said(memory: Any) -> None:
    memory.pipe_file("/run/a.txt", b"x")

    with pytest.raises(SourceError, match=r"memory://none: there is no such file or folder"):
        aw.open_run("memory://none")
    with pytest.raises(SourceError, match="no checkpoints found"):
        aw.open_run("memory://run")
    with pytest.raises(SourceError, match="no checkpoints found"):
        aw.open_run("memory://run/*.pt")


def test_copies_are_told_by_their_values(memory: Any) -> None:
    for name, value in (("epoch_1.pt", 1.0), ("epoch_2.pt", 2.0), ("last.pt", 2.0)):
        memory.pipe_file(f"/run/{name}", content(small(value)))

    run = aw.open_run("memory://run")

    assert [c.step for c in run.checkpoints] == [1, 2]
    assert any("last.pt left out: same weights as epoch_2.pt" in note for note in run.notes)


def test_a_model_may_be_at_a_url(memory: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such model file"):
        aw.open_run(write_small_run(tmp_path / "r", ["1.pt", "2.pt"]), model="memory://net.onnx")


def test_an_analysis_is_not_written_to_a_url(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_small_run(tmp_path / "r", ["1.pt", "2.pt"])
    run = aw.open_run(folder)

    with pytest.raises(StoreError, match=r"s3://bucket/a\.accw: an analysis is stored locally"):
        aw.analyze(run, out="s3://bucket/a.accw")
    assert cli(["analyze", str(folder), "-o", "s3://bucket/a.accw"]) == 1
    assert "an analysis is stored locally" in capsys.readouterr().err


# --- a store with keys ---------------------------------------------------------------------------


def test_options_reach_the_store_and_are_remembered_but_not_stored(
    bucket: Bucket, tmp_path: Path
) -> None:
    out = tmp_path / "a.accw"
    run = aw.open_run("bucket://run", storage_options={"key": "right"})
    aw.analyze(run, out=out)

    assert aw.open_analysis(out).cumulative("fc1.weight").max() > 0
    assert not any(b"right" in f.read_bytes() for f in out.rglob("*.json"))
    with pytest.raises(SourceError, match=r"bucket://run: access is refused; are the credentials"):
        aw.open_run("bucket://run", storage_options={"key": "wrong"})


class NoKeysError(Exception):
    """What a library raises where nobody has given it keys."""


class AnyAnswerError(Exception):
    """What a library raises for every answer that is an error."""


@pytest.mark.parametrize(
    ("module", "name", "error"),
    [
        ("botocore.exceptions", "NoCredentialsError", NoKeysError("unable to locate them")),
        ("google.auth.exceptions", "DefaultCredentialsError", NoKeysError("could not find any")),
        ("gcsfs.retry", "HttpError", AnyAnswerError("Invalid Credentials, 401")),
    ],
)
def test_a_store_without_credentials_is_asked_once_and_says_so(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, module: str, name: str, error: Exception
) -> None:
    asked = []

    def refuse(self: Bucket, path: str, **options: Any) -> Any:
        asked.append(path)
        raise error

    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{name: type(error)}))
    monkeypatch.setattr(Bucket, "info", refuse)

    with pytest.raises(SourceError, match=r"bucket://run/x\.pt: there are no credentials \("):
        aw.open_run("bucket://run/x.pt", storage_options={"key": "right"})
    assert len(asked) == len(set(asked))


def test_an_error_that_only_bears_such_a_name_is_tried_again(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fail(self: Bucket, path: str, **options: Any) -> Any:
        asked.append(path)
        raise type("HttpError", (Exception,), {})("credentials are being renewed")

    monkeypatch.setattr(Bucket, "info", fail)

    with pytest.raises((SourceError, FormatError, OSError), match="tried"):
        aw.open_run("bucket://run/x.pt", storage_options={"key": "right"})
    assert len(asked) > len(set(asked))


def test_configuration_of_fsspec_is_followed(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.config import conf

    monkeypatch.setitem(conf, "bucket", {"key": "right"})

    assert len(aw.open_run("bucket://run").checkpoints) == 3


def test_failures_in_passing_are_tried_again_and_others_hide_secrets(bucket: Bucket) -> None:
    run = aw.open_run("bucket://run", storage_options={"key": "right"})
    Bucket.failures = 3
    expected = aw.analyze(run).values

    Bucket.failures = 10**6
    with pytest.raises(FormatError, match=r"bytes \d+ to \d+: ConnectionResetError") as caught:
        aw.analyze(run)
    assert "tried 4 times" in str(caught.value)
    assert "pa55word" not in str(caught.value)
    assert "5ecre7" not in str(caught.value)
    assert expected.any()


def test_a_file_that_changes_meanwhile_is_an_error(bucket: Bucket) -> None:
    run = aw.open_run("bucket://run", storage_options={"key": "right"})
    bucket.pipe_file("/run/epoch_1.pt", content(states(3)[0]))

    with pytest.raises(FormatError, match=r"epoch_1\.pt: .*has changed since it was described"):
        aw.analyze(run)


def test_a_store_that_hangs_is_given_up(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCWEIGHT_REMOTE_TIMEOUT", "0.2")
    monkeypatch.setenv("ACCWEIGHT_REMOTE_ATTEMPTS", "2")
    run = aw.open_run("bucket://run", storage_options={"key": "right"})
    monkeypatch.setattr(Bucket, "pause_s", 30.0)

    with pytest.raises(FormatError, match=r"no answer within 0\.2 s; tried 2 times"):
        aw.analyze(run, threads=1)


def test_settings_that_are_no_numbers_are_refused(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCWEIGHT_REMOTE_TIMEOUT", "soon")
    memory.pipe_file("/a.pt", content(small()))

    with pytest.raises(SourceError, match=r"ACCWEIGHT_REMOTE_TIMEOUT is 'soon'; expected a number"):
        aw.open_run("memory://a.pt")


# --- what is missing -----------------------------------------------------------------------------


def test_a_missing_fsspec_is_named_with_the_extra() -> None:
    said = run_python(
        "from accweight_core.cli.app import run\nimport sys\nsys.stderr = sys.stdout\n"
        "assert run(['inspect', 's3://bucket/run']) == 1",
        without=("fsspec",),
    )

    assert said == (
        "accweight: reading s3:// URLs needs fsspec, which is not installed; "
        "install it with: pip install 'accweight[remote]'\n"
    )


@pytest.mark.parametrize(
    ("url", "command"),
    [("s3://b/run", "pip install s3fs"), ("gs://b/run", "pip install gcsfs"),
     ("hf://u/m", r"pip install 'accweight\[hub\]'")],
)  # fmt: skip
def test_a_missing_library_of_a_store_is_named(
    url: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s3fs", "gcsfs", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(MissingLibraryError, match=rf"reading \w+:// URLs needs .*: {command}$"):
        aw.open_run(url)


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises(SourceError, match=r"nowhere://a\.pt: fsspec cannot open this URL"):
        aw.open_run("nowhere://a.pt")
    assert issubclass(MissingLibraryError, ImportError)


# --- names and secrets ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("https://me:pw@Host.org:8080/a/b.pt?sig=x#y", "https://host.org:8080/a/b.pt"),
        ("https://token@host/a.pt", "https://host/a.pt"),
        ("s3://bucket/what?/a#b.pt", "s3://bucket/what?/a#b.pt"),
        ("sftp://me:pw@host/a.pt", "sftp://host/a.pt"),
        ("sftp://me@host/a.pt", "sftp://me@host/a.pt"),
        ("hf://gpt2@main/a.pt", "hf://gpt2@main/a.pt"),
        ("zip://a.pt::https://me:pw@host/x.zip?sig=y", "zip://a.pt::https://host/x.zip"),
        ("simplecache::s3://bucket//a/./b.pt", "simplecache::s3://bucket/a/b.pt"),
        ("https://host/a%20b/c d.pt", "https://host/a%20b/c%20d.pt"),
    ],
)
def test_a_url_shows_no_secrets_and_keeps_them_for_requests(given: str, shown: str) -> None:
    url = Url.parsed(given)

    assert str(url) == shown
    for secret in ("pw", "sig=", "token"):
        assert (secret in given) == (secret in url.full)
        assert secret not in repr(url)
        assert secret not in without_secrets(f"cannot read {given}; try again")


@pytest.mark.parametrize(
    "name",
    ["../a", "a/../../b", "/a", "http://h/a", "a::b", "a::file:///etc/passwd", "a\\..\\b", "a\0b"],
)
def test_a_name_in_a_file_leads_nowhere_else(name: str) -> None:
    with pytest.raises(ValueError, match=r"leads out of|is not the name"):
        Url.parsed("s3://bucket/run").child(name)


def test_drives_and_plain_names_are_no_urls() -> None:
    assert not any(map(is_url, ("C://run", "C:\\run", "a/b.pt", "memory:3", "x::y", "")))
    assert all(map(is_url, ("s3://b", "simplecache::s3://b", "zip://a::/b.zip")))


def test_a_remote_path_does_not_pass_for_a_local_one(memory: Any) -> None:
    memory.pipe_file("/run/a.tar.gz", b"0123456789")
    path = path_at("memory://run/a.tar.gz")

    with pytest.raises(OSError, match=r"is not a local file; open it with path\.open"):
        np.load(path)
    with pytest.raises(OSError, match="only read"):
        path.open("wb")
    assert (path.name, path.stem, path.suffix, path.suffixes) == (
        "a.tar.gz", "a.tar", ".gz", [".tar", ".gz"],
    )  # fmt: skip
    assert path.parent / "a.tar.gz" == path == path.with_name("a.tar.gz")
    assert path.stat().st_size == 10
    assert path.read_bytes() == b"0123456789"
    assert list(path.parent.iterdir()) == [path]
    assert list(path.parent.rglob("*.gz")) == [path]
    with pytest.raises(FormatError, match="names a file elsewhere"):
        path.with_name("../a")


def test_reading_here_and_there_is_reading_a_local_file(memory: Any) -> None:
    import random

    chance = random.Random(0)
    data = chance.randbytes(300_000)
    memory.pipe_file("/noise", data)
    with path_at("memory://noise").open("rb") as remote, io.BytesIO(data) as local:
        for _ in range(400):
            offset = chance.choice([chance.randrange(len(data) + 10), local.tell()])
            count = chance.choice([1, 30, 900, 5000, 70_000])
            assert remote.seek(offset) == local.seek(offset)
            assert remote.read(count) == local.read(count)
            assert remote.tell() == local.tell()


def test_threads_read_one_file_at_a_time_without_mixing(memory: Any) -> None:
    data = bytes(range(256)) * 4000
    memory.pipe_file("/noise", data)
    path = path_at("memory://noise")
    wrong: list[int] = []

    def read(seed: int) -> None:
        with path.open("rb") as file:
            for i in range(60):
                offset = (seed * 7919 + i * 104_729) % len(data)
                file.seek(offset)
                if file.read(500) != data[offset : offset + 500]:
                    wrong.append(offset)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong
