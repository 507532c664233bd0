"""Runs over HTTP: a real server on loopback, well behaved and not."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import small, states, write_safetensors, write_torch
from web_server import Behaviour, Handler, Served, part, serving

import accweight_core as aw
from accweight_core.cli.app import run as cli
from accweight_core.errors import FormatError, SourceError
from accweight_core.remote import path_at
from accweight_core.remote.byte_budget import ByteBudget
from accweight_core.remote.web import Web

SECRET = "?X-Amz-Signature=5ecre7&Expires=99"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no server as long as for a real one."""
    monkeypatch.setenv("ACCWEIGHT_REMOTE_TIMEOUT", "0.6")
    monkeypatch.setenv("ACCWEIGHT_REMOTE_ATTEMPTS", "3")
    monkeypatch.setattr("accweight_core.remote.errors.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("accweight_core.remote.errors.LONGEST_PAUSE_S", 0.02)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """Serve an empty folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    with serving(folder) as served:
        yield served


@pytest.fixture
def run_at(served: Served) -> str:
    """Return the URL of four checkpoints."""
    (served.folder / "run").mkdir()
    for epoch, state in enumerate(states(4)):
        write_torch(served.folder / "run" / f"epoch_{epoch}.pt", state)
    return f"{served.url}/run"


def large(folder: Path, count: int = 3, layers: int = 100) -> int:
    """Write checkpoints of a few MB of layers of all sizes; return their bytes in all."""
    folder.mkdir()
    torch.manual_seed(0)
    state = {f"{i:03d}.weight": torch.randn(16 + i, 64) for i in range(layers)}
    state |= {f"{i:03d}.bias": torch.randn(16 + i) for i in range(layers)}
    for epoch in range(count):
        write_torch(folder / f"epoch_{epoch}.pt", {n: v + epoch for n, v in state.items()})
    return sum(file.stat().st_size for file in folder.iterdir())


def dropping(every: int, after: int = 100) -> Behaviour:
    """Return what hangs up in the middle of every so manieth answer about a file."""
    seen = 0

    def misbehave(handler: Handler, path: Path) -> bool:
        nonlocal seen
        seen += path.is_file()
        if not path.is_file() or seen % every:
            return False
        handler.send_response(206)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        handler.wfile.write(bytes(after))
        handler.close_connection = True
        return True

    return misbehave


# --- what a source may be ------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["/", "", "/*.pt", "/epoch_[0-3].pt"])
def test_folders_and_patterns_are_read_from_a_page_of_links(
    served: Served, run_at: str, ending: str
) -> None:
    run = aw.open_run(run_at + ending)

    assert [c.path for c in run.checkpoints] == [f"{run_at}/epoch_{i}.pt" for i in range(4)]
    local = aw.analyze(aw.open_run(served.folder / "run"))
    assert np.array_equal(aw.analyze(run).values, local.values)


def test_files_may_be_named_in_order(run_at: str) -> None:
    run = aw.open_run([f"{run_at}/epoch_{i}.pt" for i in (3, 1, 2)], in_given_order=True)

    assert [Path(c.path).name for c in run.checkpoints] == [f"epoch_{i}.pt" for i in (3, 1, 2)]


def test_names_are_escaped_in_urls_and_plain_in_messages(served: Served) -> None:
    folder = served.folder / "my run #2"
    folder.mkdir()
    for epoch in range(2):
        write_torch(folder / f"é 100%25 epoch={epoch}.pt", small(epoch))

    run = aw.open_run(f"{served.url}/my run %232/")

    assert [c.step for c in run.checkpoints] == [0, 1]
    assert path_at(run.checkpoints[1].path).name == "é 100%25 epoch=1.pt"
    assert aw.analyze(run).maximum is not None


def test_the_command_reads_urls(
    run_at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(["inspect", f"{run_at}/", "--json"]) == 0
    assert [c["step"] for c in json.loads(capsys.readouterr().out)["checkpoints"]] == [0, 1, 2, 3]

    assert cli(["analyze", f"{run_at}/*.pt", "-o", str(tmp_path / "a.accw"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"]


def test_links_to_other_places_are_not_followed(served: Served, run_at: str) -> None:
    page = "".join(
        f'<a href="{target}">x</a>'
        for target in ("epoch_0.pt", "epoch_1.pt", "http://127.0.0.1:9/run/evil.pt", "../../up.pt",
                       "%2e%2e/up.pt", "/other/evil.pt", "a%2fb.pt", "a::file%3A//etc.pt")
    )  # fmt: skip

    def listing(handler: Handler, path: Path) -> bool:
        if path.is_dir() and handler.path.endswith("/"):
            handler.plain(200, page.encode(), **{"Content-Type": "text/html"})
            return True
        return False

    served.misbehave = listing

    assert [c.path for c in aw.open_run(run_at).checkpoints] == [
        f"{run_at}/epoch_0.pt", f"{run_at}/epoch_1.pt",
    ]  # fmt: skip
    assert {path for _, path, _ in served.requests} <= {
        "/run", "/run/", "/run/epoch_0.pt", "/run/epoch_1.pt",
    }  # fmt: skip


# --- how much is sent ----------------------------------------------------------------------


def test_describing_reads_the_ends_of_a_file_and_analysing_little_beyond_the_weights(
    served: Served,
) -> None:
    size = large(served.folder / "run")
    served.forget()

    run = aw.open_run(f"{served.url}/run/")
    assert served.sent_bytes < 0.2 * size
    assert len(served.requests) < 20

    served.forget()
    analysis = aw.analyze(run, threads=2)
    assert served.sent_bytes < 1.02 * size
    assert len(served.requests) <= 6  # of 200 tensors in three files

    local = aw.analyze(aw.open_run(served.folder / "run"))
    assert np.array_equal(analysis.values, local.values)


def test_what_is_left_out_is_not_fetched(served: Served) -> None:
    size = large(served.folder / "run")

    run = aw.open_run(f"{served.url}/run/", skip="0[1-9]*")
    served.forget()
    aw.analyze(run)

    assert served.sent_bytes < 0.2 * size


def test_memory_for_reading_ahead_is_bounded(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(served.folder / "run")
    monkeypatch.setenv("ACCWEIGHT_REMOTE_MEMORY", "1")
    monkeypatch.setattr("accweight_core.remote.prefetch.LEAST_PIECE", 1 << 14)
    from accweight_core.remote import prefetch

    most, begun = 0, prefetch.ReadAhead._begun

    def noted(self: prefetch.ReadAhead, piece: prefetch.Span) -> object:
        nonlocal most
        future = begun(self, piece)
        most = max(most, self._held_bytes)
        return future

    monkeypatch.setattr(prefetch.ReadAhead, "_begun", noted)
    analysis = aw.analyze(aw.open_run(f"{served.url}/run/"), threads=2)

    assert 1 << 18 < most <= (1 << 20) + (1 << 16)
    local = aw.analyze(aw.open_run(served.folder / "run"))
    assert np.array_equal(analysis.values, local.values)


def test_waiting_is_done_side_by_side(served: Served) -> None:
    large(served.folder / "run", count=12, layers=60)
    run = aw.open_run(f"{served.url}/run/")
    served.latency_s = 0.15
    served.forget()

    aw.analyze(run, threads=1)

    assert len(served.requests) >= 12
    assert served.most_at_once >= 6


# --- later -----------------------------------------------------------------------------------


def test_exact_values_are_read_from_the_urls_that_an_analysis_holds(
    served: Served, run_at: str, tmp_path: Path
) -> None:
    aw.analyze(aw.open_run(run_at), out=tmp_path / "a.accw")
    local = aw.analyze(aw.open_run(served.folder / "run"))

    stored = aw.open_analysis(tmp_path / "a.accw")

    assert np.array_equal(stored.cumulative("fc1.weight"), local.cumulative("fc1.weight"))
    place = (3, 5)
    assert np.array_equal(
        stored.trace("fc1.weight", place).weights, local.trace("fc1.weight", place).weights
    )


def test_a_stopped_analysis_continues(served: Served, run_at: str, tmp_path: Path) -> None:
    run = aw.open_run(run_at)

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        aw.analyze(run, out=tmp_path / "a.accw", progress=stop, threads=1)
    served.forget()
    again = aw.analyze(aw.open_run(run_at), out=tmp_path / "a.accw")

    assert again.header.complete
    assert np.array_equal(again.values, aw.analyze(run).values)


def test_a_server_of_exact_values_reads_urls(run_at: str, tmp_path: Path) -> None:
    from accweight_core.analysis.exact_client import ExactClient

    analysis = aw.analyze(aw.open_run(run_at), out=tmp_path / "a.accw")
    answers: list[dict[str, object]] = []
    with ExactClient(tmp_path / "a.accw") as asked:
        for _ in range(2):
            asked.ask("fc1.weight", (1, 2), answers.append)
        deadline = time.monotonic() + 30
        while len(answers) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)

    expected = analysis.trace("fc1.weight", (1, 2))
    assert [answer.get("weights") for answer in answers] == [expected.weights.tolist()] * 2


def test_a_changed_checkpoint_is_noticed_when_it_is_described_again(
    served: Served, run_at: str, tmp_path: Path
) -> None:
    aw.analyze(aw.open_run(run_at), out=tmp_path / "a.accw")
    os.utime(served.folder / "run" / "epoch_1.pt", (10**9, 10**9))

    with pytest.raises(SourceError, match=r"epoch_1\.pt: .* has changed since the analysis"):
        aw.open_analysis(tmp_path / "a.accw").cumulative("fc1.weight")


# --- servers that misbehave --------------------------------------------------------------------


def test_connections_that_drop_are_tried_again(served: Served, run_at: str) -> None:
    local = aw.analyze(aw.open_run(served.folder / "run"))
    served.misbehave = dropping(every=3)

    analysis = aw.analyze(aw.open_run(run_at))

    assert np.array_equal(analysis.values, local.values)


def test_a_connection_that_always_drops_names_the_file_and_the_bytes(served: Served) -> None:
    large(served.folder / "run")
    run = aw.open_run(f"{served.url}/run/")
    served.misbehave = dropping(every=1)

    with pytest.raises(
        FormatError,
        match=r"/run/epoch_\d\.pt: cannot be read \(bytes \d+ to \d+: the server sent|"
        r"/run/epoch_\d\.pt: cannot be read \(bytes \d+ to \d+: the connection was closed",
    ) as caught:
        aw.analyze(run)

    assert "tried 3 times" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_answers_that_are_too_short_are_not_taken_for_weights(served: Served) -> None:
    large(served.folder / "run")
    run = aw.open_run(f"{served.url}/run/")

    def shorten(handler: Handler, path: Path) -> bool:
        size = path.stat().st_size
        start, stop = map(int, handler.headers["Range"].removeprefix("bytes=").split("-"))
        span = {"Content-Range": f"bytes {start}-{stop}/{size}"}
        handler.plain(206, part(path, start, stop), **span)
        return True

    served.misbehave = shorten

    with pytest.raises(FormatError, match=r"bytes \d+ to \d+: the server sent \d+ bytes of \d+"):
        aw.analyze(run)


def test_a_server_without_ranges_is_asked_for_small_files_once(served: Served, run_at: str) -> None:
    served.ranges = False
    run = aw.open_run(f"{run_at}/")
    files = [path for _, path, _ in served.requests if path.endswith(".pt")]

    assert sorted(files) == [f"/run/epoch_{i}.pt" for i in range(4)]
    assert np.array_equal(
        aw.analyze(run).values, aw.analyze(aw.open_run(served.folder / "run")).values
    )
    assert len([p for _, p, _ in served.requests if p.endswith(".pt")]) == 4


def test_a_server_without_ranges_is_not_asked_for_large_files(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(served.folder / "run")
    served.ranges = False
    monkeypatch.setattr("accweight_core.remote.web.WHOLE_BYTES", 100_000)

    with pytest.raises(FormatError, match=r"sends whole files only \(no HTTP ranges\)"):
        aw.open_run(f"{served.url}/run/")


@pytest.mark.parametrize("files", [2, 3])
def test_files_that_come_whole_are_kept_up_to_a_bound(
    served: Served, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    size_bytes = large(served.folder / "run") // 3
    served.ranges = False
    monkeypatch.setattr(Web.__init__, "__defaults__", (ByteBudget(size_bytes * 5 // 2),))
    urls = [f"{served.url}/run/epoch_{i}.pt" for i in range(files)]

    if files == 2:
        assert len(aw.open_run(urls).checkpoints) == 2
    else:
        with pytest.raises(SourceError, match=r"sends whole files only .* MiB in all; download"):
            aw.open_run(urls)


def test_a_server_that_stops_sending_ranges_is_not_asked_for_whole_files(served: Served) -> None:
    large(served.folder / "run")
    run = aw.open_run(f"{served.url}/run/")
    served.ranges, served.sent_bytes = False, 0

    with pytest.raises(FormatError, match="does not send ranges any more"):
        aw.analyze(run)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "HTTP 403: access is refused"), (404, "HTTP 404: there is no such file"),
     (401, "HTTP 401: the server wants credentials")],
)  # fmt: skip
def test_what_a_server_refuses_is_said(
    served: Served, run_at: str, status: int, reason: str
) -> None:
    def refuse(handler: Handler, path: Path) -> bool:
        handler.plain(status, b"no")
        return True

    served.misbehave = refuse

    with pytest.raises(SourceError, match=rf"epoch_0\.pt: {reason}"):
        aw.open_run(f"{run_at}/epoch_0.pt{SECRET}")


def test_a_server_that_says_nothing_is_given_up(served: Served, run_at: str) -> None:
    def wait(handler: Handler, path: Path) -> bool:
        time.sleep(1.5)
        return False

    served.misbehave = wait

    with pytest.raises((SourceError, FormatError, OSError), match=r"no answer within 0\.6 s"):
        aw.open_run(f"{run_at}/epoch_0.pt")


def test_a_server_that_drips_is_given_up(served: Served, run_at: str) -> None:
    def drip(handler: Handler, path: Path) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Length", "65536")
        handler.send_header("Content-Range", "bytes 0-65535/100000")
        handler.end_headers()
        for _ in range(40):
            handler.wfile.write(b"x")
            time.sleep(0.1)
        return True

    served.misbehave = drip

    with pytest.raises((SourceError, FormatError, OSError), match="no answer within"):
        aw.open_run(f"{run_at}/epoch_0.pt")


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"Content-Range": "bytes 0-99/*"}, "does not say how long the file is"),
        ({}, "does not say how long the file is"),
        ({"Content-Range": "bytes 7-106/200"}, "sent"),
        ({"Content-Range": "bytes 0-65535/99999999999999"}, "sent"),
        ({"Content-Range": "bytes 0-99/100", "Content-Encoding": "gzip"}, "sends it compressed"),
        ({"Content-Range": "bytes what"}, "does not say how long"),
    ],
)
def test_answers_that_contradict_themselves_are_refused(
    served: Served, run_at: str, headers: dict[str, str], problem: str
) -> None:
    def lie(handler: Handler, path: Path) -> bool:
        handler.plain(206, bytes(100), **headers)
        return True

    served.misbehave = lie

    with pytest.raises((SourceError, FormatError, OSError), match=problem):
        aw.open_run(f"{run_at}/epoch_0.pt")


def test_other_bytes_than_asked_for_are_refused(served: Served) -> None:
    large(served.folder / "run")
    run = aw.open_run(f"{served.url}/run/")

    def shifted(handler: Handler, path: Path) -> bool:
        size = path.stat().st_size
        span = {"Content-Range": f"bytes 5-104/{size}", "ETag": ""}
        handler.plain(206, part(path, 5, 105), **span)
        return True

    served.misbehave = shifted

    with pytest.raises(FormatError, match=r"asked for bytes \d+ to \d+, got 5 to 104"):
        aw.analyze(run)


@pytest.mark.parametrize("tags", [True, False])
def test_a_file_that_changes_meanwhile_is_an_error_and_no_mixture(
    served: Served, tags: bool
) -> None:
    large(served.folder / "run")
    served.tags = tags
    run = aw.open_run(f"{served.url}/run/")
    changed = served.folder / "run" / "epoch_1.pt"
    content = changed.read_bytes()
    changed.write_bytes(content if tags else content + b"more")

    with pytest.raises(FormatError, match=r"epoch_1\.pt: .*has changed since it was described"):
        aw.analyze(run)


def test_a_file_that_is_replaced_by_a_shorter_one_is_an_error(served: Served) -> None:
    large(served.folder / "run")
    run = aw.open_run(f"{served.url}/run/")
    (served.folder / "run" / "epoch_1.pt").write_bytes(b"gone")

    with pytest.raises(FormatError, match="has changed since it was described"):
        aw.analyze(run)


def test_empty_files_and_pages_of_errors_are_no_checkpoints(served: Served) -> None:
    (served.folder / "empty.pt").write_bytes(b"")
    (served.folder / "page.pt").write_text("<html>Please log in</html>")

    with pytest.raises(FormatError, match=r"empty\.pt: the file is empty"):
        aw.open_run(f"{served.url}/empty.pt")
    with pytest.raises(FormatError, match=r"page\.pt: no reader recognises"):
        aw.open_run(f"{served.url}/page.pt")


def test_a_server_that_lists_nothing_is_said_to_want_names(served: Served, run_at: str) -> None:
    served.lists = False

    with pytest.raises(SourceError, match=r"HTTP 403|name the files one by one"):
        aw.open_run(f"{run_at}/")


def test_a_server_that_cannot_be_reached_is_said_to_be_so() -> None:
    with pytest.raises((SourceError, OSError), match="cannot be reached"):
        aw.open_run("http://127.0.0.1:9/a.pt")


# --- secrets -------------------------------------------------------------------------------------


def test_signatures_and_passwords_are_used_but_neither_stored_nor_shown(
    served: Served, run_at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import base64

    seen: list[str] = []
    wanted = "Basic " + base64.b64encode(b"me:pa55word").decode()

    def guard(handler: Handler, path: Path) -> bool:
        seen.append(handler.headers.get("Authorization", ""))
        if path.is_file() and ("5ecre7" not in handler.path or seen[-1] != wanted):
            handler.plain(403, b"no")
            return True
        return False

    served.misbehave = guard
    signed = [f"{run_at}/epoch_{i}.pt{SECRET}".replace("//", "//me:pa55word@", 1) for i in range(3)]
    out = tmp_path / "a.accw"

    assert cli(["analyze", *signed, "-o", str(out)]) == 0
    assert cli(["inspect", *signed, "--json"]) == 0
    shown = "".join(capsys.readouterr())
    stored = b"".join(f.read_bytes() for f in out.rglob("*") if f.is_file())
    assert f"{run_at}/epoch_1.pt".encode() in stored
    for secret in ("5ecre7", "pa55word", "Signature"):
        assert secret not in shown
        assert secret.encode() not in stored

    def refuse(handler: Handler, path: Path) -> bool:
        handler.plain(403, b"no")
        return True

    served.misbehave = refuse
    assert cli(["inspect", *signed]) == 1
    problem = capsys.readouterr().err
    assert "HTTP 403" in problem
    assert "5ecre7" not in problem
    assert "pa55word" not in problem


def test_urls_that_differ_in_their_query_alone_are_refused(run_at: str) -> None:
    with pytest.raises(SourceError, match=r"differ only behind the '\?'"):
        aw.open_run([f"{run_at}/epoch_0.pt?id=1", f"{run_at}/epoch_0.pt?id=2"])


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_describing_100_megabytes_takes_less_than_one(served: Served, ending: str) -> None:
    state = {f"{i}.weight": torch.zeros(512, 488) for i in range(100)}
    state |= {f"{i}.bias": torch.zeros(512) for i in range(100)}
    write = write_torch if ending == "pt" else write_safetensors
    assert write(served.folder / f"a.{ending}", state).stat().st_size > 100_000_000

    aw.open_run(f"{served.url}/a.{ending}")

    assert served.sent_bytes < 1 << 18
    assert len(served.requests) <= 6
