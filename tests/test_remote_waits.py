"""Every wait on a server has an end, wherever in its answer it stops, drips or goes on for ever.

Servers are real, on loopback; a test that waits for ever is ended by its time limit, and fails.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import states, write_safetensors
from raw_server import Connection, plain, ranged, serving_raw
from thorough import pairs

import accweight_core as aw
from accweight_core.cli.app import run as cli

pytestmark = pytest.mark.timeout(25)

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = HEAD + b"Content-Length: 5000\r\n\r\n"
AGAIN = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "

PAUSE = b"<a pause>"
"""Where a piece ends that is sent by itself: parsers see what is before it alone."""

STOPPED: dict[str, bytes] = {
    "before the status line": b"",
    "within the version": b"HTT",
    "within the status": b"HTTP/1.1 2",
    "within the reason": b"HTTP/1.1 200 O",
    "before the end of the status line": b"HTTP/1.1 200 OK\r",
    "behind the status line": HEAD,
    "within the name of a header": HEAD + b"Content-Le",
    "behind the colon of a header": HEAD + b"Content-Length:",
    "within a header": HEAD + b"Content-Length: 5",
    "behind a header": HEAD + b"Content-Length: 5000\r\n",
    "before the end of the headers": HEAD + b"Content-Length: 5000\r\n\r",
    "behind the headers": LONG,
    "within the body": LONG + bytes(2000),
    "before the last byte of the body": LONG + bytes(4999),
    "within a body without a length": HEAD + b"\r\n" + bytes(2000),
    "before a range": ranged(0, 65536, 100_000),
    "within a range": ranged(0, 65536, 100_000) + bytes(3000),
    "before the length of a chunk": CHUNKED,
    "within the length of a chunk": CHUNKED + b"1f",
    "behind the length of a chunk": CHUNKED + b"1f\r\n",
    "behind a length that is none": CHUNKED + b"ZZ\r\nabc",
    "behind a length beyond all reason": CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\nabc",
    "later behind a length that is none": CHUNKED + PAUSE + b"ZZ\r\nabc",
    "later behind a length beyond all reason": CHUNKED + PAUSE + b"FFFFFFFFFFFFFFFFFF\r\nabc",
    "later behind a negative length": CHUNKED + b"3\r\nabc\r\n" + PAUSE + b"-5\r\nabc",
    "later behind a chunk that is too long": CHUNKED + b"3\r\na" + PAUSE + b"bcdef",
    "later behind a trailer that is none": CHUNKED + b"0\r\n" + PAUSE + b"\0\0\r\n\r\n",
    "behind a negative length": CHUNKED + b"-5\r\nabc",
    "within what extends a chunk": CHUNKED + b"5;name=",
    "within a chunk": CHUNKED + b"1f\r\nabc",
    "behind a chunk": CHUNKED + b"3\r\nabc",
    "between two chunks": CHUNKED + b"3\r\nabc\r\n",
    "behind the last chunk": CHUNKED + b"3\r\nabc\r\n0\r\n",
    "within a trailer": CHUNKED + b"3\r\nabc\r\n0\r\nName: val",
    "behind an answer that is none yet": b"HTTP/1.1 100 Continue\r\n\r\n",
    "behind an answer that names another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
    "behind what is no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "within the place of a redirect": AGAIN + b"/oth",
    "within a refusal": b"HTTP/1.1 404 Not Found\r\nContent-Length: 900\r\n\r\nno",
    "within a failure": b"HTTP/1.1 500 Fault\r\nContent-Length: 900\r\n\r\nno",
    "within a compressed body": HEAD + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b",
    "within a page": HEAD + b"Content-Type: text/html\r\nContent-Length: 900\r\n\r\n<a href=",
}
"""What is sent before a server says no more."""

GOING_ON: dict[str, Callable[[Connection], None]] = {
    "a status line": lambda c: c.endlessly(b"HTTP/1.1 200 OK"),
    "one header": lambda c: (c.send(HEAD + b"Name: "), c.endlessly(b"x" * 5000))[0],
    "headers": lambda c: (c.send(HEAD), c.endlessly(b"Name: value\r\n" * 50))[0],
    "what extends a chunk": lambda c: (c.send(CHUNKED + b"5;"), c.endlessly(b"x" * 5000))[0],
    "lengths of empty lines": lambda c: (c.send(CHUNKED), c.endlessly(b"\r\n"))[0],
    "chunks": lambda c: (c.send(CHUNKED), c.endlessly(b"1000\r\n" + bytes(4096) + b"\r\n"))[0],
    "chunks of a byte": lambda c: (c.send(CHUNKED), c.endlessly(b"1\r\nx\r\n" * 90))[0],
    "trailers": lambda c: (c.send(CHUNKED + b"0\r\n"), c.endlessly(b"Name: value\r\n"))[0],
    "a body": lambda c: (c.send(HEAD + b"\r\n"), c.endlessly(bytes(65536)))[0],
    "a refusal": lambda c: (c.send(b"HTTP/1.1 404 No\r\n\r\n"), c.endlessly(bytes(65536)))[0],
    "answers that are none yet": lambda c: c.endlessly(b"HTTP/1.1 100 Continue\r\n\r\n" * 20),
    "redirects": lambda c: c.send(AGAIN + b"/x" + c.path.encode()[-900:] + b"\r\n\r\n"),
    "redirects to itself": lambda c: c.send(AGAIN + c.path.encode() + b"\r\n\r\n"),
}

DRIPPING: dict[str, Callable[[Connection], None]] = {
    "a status line": lambda c: c.drip(HEAD * 99, 0.02),
    "headers": lambda c: (c.send(HEAD), c.drip(b"Name: value\r\n" * 99, 0.02))[0],
    "a body": lambda c: (c.send(HEAD + b"\r\n"), c.drip(bytes(9999), 0.02))[0],
    "a range": lambda c: (c.send(ranged(0, 65536, 100_000)), c.drip(bytes(9999), 0.02))[0],
    "chunks": lambda c: (c.send(CHUNKED), c.drip(b"1\r\nx\r\n" * 999, 0.02))[0],
    "answers that are none yet": lambda c: c.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 99, 0.02),
}


NAMES = ("a.safetensors", "run/")
"""A file, and a page that lists some."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for no server as long as for a real one."""
    monkeypatch.setenv("ACCWEIGHT_REMOTE_TIMEOUT", "0.2")
    monkeypatch.setenv("ACCWEIGHT_REMOTE_ATTEMPTS", "1")
    monkeypatch.setattr("accweight_core.remote.web.WHOLE_BYTES", 1 << 19)
    monkeypatch.setattr("accweight_core.remote.web.PAGE_BYTES", 1 << 19)


def assert_one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails; return its one line."""
    capsys.readouterr()
    assert cli(list(arguments)) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.startswith("accweight: http://127.0.0.1")
    assert "unexpected" not in text
    return text


def stopping(sent: bytes) -> Callable[[Connection], None]:
    def answer(connection: Connection) -> None:
        for piece in sent.split(PAUSE):
            connection.send(piece)
            connection.ended.wait(0.05)
        connection.stall()

    return answer


@pytest.mark.parametrize(("where", "name"), pairs(STOPPED, NAMES))
def test_a_server_that_stops_is_given_up(
    where: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_raw(stopping(STOPPED[where])) as url:
        assert_one_line(capsys, "inspect", f"{url}/{name}")


@pytest.mark.parametrize(("what", "name"), pairs(GOING_ON, NAMES))
def test_a_server_that_goes_on_for_ever_is_given_up(
    what: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_raw(GOING_ON[what]) as url:
        assert_one_line(capsys, "inspect", f"{url}/{name}")


@pytest.mark.parametrize(("what", "name"), pairs(DRIPPING, NAMES))
def test_a_server_that_drips_is_given_up(
    what: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_raw(DRIPPING[what]) as url:
        assert_one_line(capsys, "inspect", f"{url}/{name}")


@pytest.mark.parametrize(
    ("where", "stage"),
    pairs(
        ["before the status line", "behind the headers", "within a range", "within a chunk",
         "later behind a length beyond all reason"],
        ["weights", "companions", "one of many"],
    ),
)  # fmt: skip
def test_a_server_that_stops_later_is_given_up(
    tmp_path: Path, where: str, stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {
        f"/epoch_{i}.safetensors": write_safetensors(tmp_path / f"{i}", state).read_bytes()
        for i, state in enumerate(states(12, words=9000))
    }
    last = "/epoch_11.safetensors"

    def answer(connection: Connection) -> None:
        content = contents.get(connection.path)
        is_late = connection.span is not None and connection.span[0] > 0
        stops = {
            "weights": content is not None and is_late,
            "companions": content is None,
            "one of many": connection.path == last,
        }[stage]
        if stops:
            stopping(STOPPED[where])(connection)
        elif content is None:
            connection.send(plain(b"", "404 Not Found"))
        else:
            connection.file(content)

    with serving_raw(answer) as url:
        names = [f"{url}{name}" for name in contents]
        if stage == "companions":
            cli(["inspect", *names])  # whether it needs any is for the reader to say
        else:
            out = str(tmp_path / "a.accw")
            text = assert_one_line(capsys, "analyze", *names, "-o", out, "--threads", "2")
            assert "tried once. Check the connection" in text


def test_an_archive_behind_a_server_that_stops_is_given_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving_raw(stopping(LONG)) as url:
        cli(["inspect", f"zip://a.pt::{url}/a.zip"])

    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "is its server there?" in text


def test_what_is_no_archive_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.zip").write_text("no zip")

    assert cli(["inspect", f"zip://*::file://{tmp_path}/a.zip"]) == 1

    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "fsspec cannot open this URL (File is not a zip file)" in text


# --- servers that answer every name --------------------------------------------------------------

PAGE = b"<!DOCTYPE html><html><body>Welcome</body></html>"

EVERYTHING = {
    "pages": plain(PAGE, kind="text/html"),
    "pages without a type": plain(PAGE),
    "nothing": plain(b""),
    "words": plain(b'{"error": "not found"}', kind="application/json"),
}


@pytest.mark.parametrize(
    ("name", "what"), pairs(["a.pt", "a.safetensors", "run", "model.ckpt", "a.onnx"], EVERYTHING)
)
def test_a_server_that_answers_every_name_is_said_to_do_so(
    what: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving_raw(lambda connection: connection.send(EVERYTHING[what])) as url:
        text = assert_one_line(capsys, "inspect", f"{url}/{name}")

    assert "the server answers every name with success" in text


def test_a_folder_that_is_a_page_for_every_name_is_said_to_be_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with serving_raw(lambda connection: connection.send(EVERYTHING["pages"])) as url:
        text = assert_one_line(capsys, "inspect", f"{url}/run/")

    assert "the server answers every name with success" in text


@pytest.mark.parametrize("what", ["pages", "nothing"])
def test_files_are_read_from_a_server_that_answers_every_other_name(
    tmp_path: Path, what: str
) -> None:
    contents = {
        f"/epoch_{i}.safetensors": write_safetensors(tmp_path / f"{i}", state).read_bytes()
        for i, state in enumerate(states(2))
    }

    def answer(connection: Connection) -> None:
        if connection.path in contents:
            connection.file(contents[connection.path])
        else:
            connection.send(EVERYTHING[what])

    with serving_raw(answer) as url:
        run = aw.open_run([f"{url}{name}" for name in contents])

    assert list(run.steps) == [0, 1]


def test_a_page_where_a_file_should_be_is_said_to_be_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer(connection: Connection) -> None:
        known = connection.path == "/a.pt"
        connection.send(plain(PAGE) if known else plain(b"", "404 Not Found"))

    with serving_raw(answer) as url:
        text = assert_one_line(capsys, "inspect", f"{url}/a.pt")

    assert "a page of HTML" in text
