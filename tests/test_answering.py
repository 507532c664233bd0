"""Exact values for programs without torch: the process that answers, and those who ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from checkpoints import small, states, write_run
from test_imports import HEAVY, run_python

import accweight_core as aw
from accweight_core.analysis import exact_client as asking
from accweight_core.analysis.exact_client import ExactClient
from accweight_core.analysis.exact_server import ExactServer
from accweight_core.store.beginning import create
from accweight_core.store.header import Header

Answer = dict[str, Any]
Serving = Callable[..., None]

WAIT_S = 120
"""Longer than it takes to import torch on a busy machine."""


def line(parameter: object = "fc.weight", index: object = (2, 3), number: object = 7) -> bytes:
    """Return a request as it is sent."""
    return json.dumps({"id": number, "parameter": parameter, "index": index}).encode() + b"\n"


def analysed(folder: Path, series: list[Mapping[str, torch.Tensor]], **options: Any) -> Path:
    """Return the stored analysis of some weights."""
    write_run(folder / "run", series)
    aw.analyze(aw.open_run(folder / "run"), folder / "run.accw", **options)
    return folder / "run.accw"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three steps of one linear layer."""
    return analysed(tmp_path, [small(value) for value in (0.0, 0.25, 1.0)], keep_state=True)


@pytest.fixture
def answerer(store: Path) -> Iterator[ExactServer]:
    with closing(ExactServer(store)) as answerer:
        yield answerer


# --- what is answered


def test_a_request_is_answered_with_weights_and_change(answerer: ExactServer) -> None:
    answer = answerer.answer(line())

    assert answer == {"id": 7, "weights": [11 / 8, 13 / 8, 19 / 8], "cumulative": [0, 0.25, 1]}


def test_every_digit_survives_the_way_through_json(tmp_path: Path) -> None:
    path = analysed(tmp_path, [dict(state) for state in states(4, dtype=torch.bfloat16)])
    found = aw.open_analysis(path).trace("conv2.weight", (11, 7, 2, 2))

    with closing(ExactServer(path)) as answerer:
        answer = json.loads(
            json.dumps(answerer.answer(line("conv2.weight", [11, 7, 2, 2])), allow_nan=False)
        )

    assert np.array(answer["weights"]).tobytes() == found.weights.tobytes()
    assert np.array(answer["cumulative"]).tobytes() == found.cumulative.tobytes()


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    series = [{"fc.weight": torch.tensor([[v]])} for v in (1.0, np.nan, np.inf, -np.inf, 3.0)]

    with closing(ExactServer(analysed(tmp_path, series))) as answerer:
        answer = answerer.answer(line(index=[0, 0]))

    assert answer["weights"] == [1, None, None, None, 3]
    assert answer["cumulative"] == [0, 0, 0, 0, 2]


def test_complex_weights_are_pairs(tmp_path: Path) -> None:
    walk = (1 + 2j, 4 + 6j, complex(0, np.inf))
    series = [{"fc.weight": torch.full((2, 2), value)} for value in walk]

    with closing(ExactServer(analysed(tmp_path, series))) as answerer:
        answer = answerer.answer(line(index=[1, 1]))

    assert answer["weights"] == [[1, 2], [4, 6], [0, None]]
    assert answer["cumulative"] == [0, 5, 5]


@pytest.mark.parametrize(
    ("request_line", "number", "problem"),
    [
        (b"\n", None, "request: not JSON; expected a line like"),
        (b"{", None, "request: not JSON"),
        (b"\xff\xfe\xff\n", None, "request: not JSON"),
        (b"[" * 100_000, None, "request: not JSON"),
        (b"[1]", None, "request: not an object"),
        (b"{}", None, "the id is neither a whole number nor text"),
        (line(number=float("nan")), None, "the id is neither a whole number nor text"),
        (b'{"id": 3}', 3, "the parameter is not text"),
        (b'{"id": "x", "parameter": 5}', "x", "the parameter is not text"),
        (line(index=3), 7, "the index is not a list of whole numbers"),
        (line(index=[0, 1.0]), 7, "the index is not a list of whole numbers"),
        (line(index=[0, True]), 7, "the index is not a list of whole numbers"),
        (line(index=[0, None]), 7, "the index is not a list of whole numbers"),
        (line("fd"), 7, "no parameter is called 'fd'; there are 2: "),
        (line(index=[3, 0]), 7, "parameter 'fc.weight' has no element (3, 0): its shape is (3, 4)"),
        (line(index=[10**30, 0]), 7, "parameter 'fc.weight' has no element"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_cannot_be_answered_gets_one_line_and_the_next_request_its_answer(
    answerer: ExactServer, request_line: bytes, number: object, problem: str
) -> None:
    answer = answerer.answer(request_line)

    assert answer["id"] == number
    assert problem in answer["error"]
    assert "\n" not in json.dumps(answer, allow_nan=False)
    assert answerer.answer(line())["cumulative"] == [0, 0.25, 1]


def test_a_fault_is_an_answer_too(answerer: ExactServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("accweight_core.analysis.analysis.Analysis.trace", fail)

    assert answerer.answer(line()) == {"id": 7, "error": "unexpected RuntimeError: two lines"}


# --- what changes on disk


def test_an_analysis_that_has_grown_is_answered_from_as_it_is_now(
    answerer: ExactServer, store: Path
) -> None:
    before = answerer.answer(line())
    write_run(store.parent / "run", [small(3.0)], steps=[3])
    aw.append(aw.open_run(store.parent / "run"), store)

    after = answerer.answer(line())

    assert before["cumulative"] == [0, 0.25, 1]
    assert after["cumulative"] == [0, 0.25, 1, 3]


def test_while_a_longer_analysis_moves_in_the_one_known_is_answered_from(
    answerer: ExactServer, store: Path
) -> None:
    before = answerer.answer(line())
    store.rename(store.with_name("elsewhere"))

    during = answerer.answer(line())

    assert during == before


def test_an_analysis_that_comes_later_is_found(tmp_path: Path) -> None:
    with closing(ExactServer(tmp_path / "run.accw")) as answerer:
        before = answerer.answer(line())
        analysed(tmp_path, [small(0), small(1)])
        after = answerer.answer(line())

    assert "there is no such analysis" in before["error"]
    assert after["cumulative"] == [0, 1]


def test_an_unfinished_analysis_is_answered_from_its_checkpoints(tmp_path: Path) -> None:
    run = aw.open_run(write_run(tmp_path / "run", [small(0), small(1)]))
    create(tmp_path / "run.accw", Header.of(run, run.parameters, (aw.Role.WEIGHT,)))

    with closing(ExactServer(tmp_path / "run.accw")) as answerer:
        answer = answerer.answer(line())

    assert answer["cumulative"] == [0, 1]


@pytest.mark.parametrize("kind", ["changed", "gone"])
def test_checkpoints_are_looked_at_before_every_answer(
    answerer: ExactServer, store: Path, kind: str
) -> None:
    checkpoint = store.parent / "run" / "epoch_1.pt"
    state, content = checkpoint.stat(), checkpoint.read_bytes()
    before = answerer.answer(line())
    if kind == "gone":
        checkpoint.unlink()
    else:
        os.utime(checkpoint, ns=(0, 0))

    during = answerer.answer(line())
    checkpoint.write_bytes(content)
    os.utime(checkpoint, ns=(state.st_atime_ns, state.st_mtime_ns))

    expected = {"gone": "is missing", "changed": "has changed since the analysis began"}
    assert expected[kind] in during["error"]
    assert "epoch_1.pt" in during["error"]
    assert answerer.answer(line()) == before


# --- the process


def test_the_process_answers_line_by_line_until_its_input_ends(store: Path) -> None:
    requests = line() + b"nonsense\n" + line("fc.bias", [1], "b")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "accweight_core.analysis.exact_server", store],
        input=requests, capture_output=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")
    answers = [json.loads(answer) for answer in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [7, None, "b"]
    assert answers[0]["weights"] == [11 / 8, 13 / 8, 19 / 8]
    assert answers[2]["cumulative"] == [0, 0.25, 1]


def test_what_libraries_print_does_not_come_between_the_answers(store: Path) -> None:
    program = (
        "import os, sys\n"
        "from accweight_core.analysis import exact_server as answering\n"
        "class Noisy(answering.ExactServer):\n"
        "    def answer(self, line):\n"
        "        print('a word from Python')\n"
        "        os.write(1, b'a word from C\\n')\n"
        "        return super().answer(line)\n"
        "answering.ExactServer = Noisy\n"
        f"sys.argv = ['answering', {str(store)!r}]\n"
        "sys.exit(answering.main())"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], input=line(), capture_output=True, check=False
    )

    assert json.loads(done.stdout)["cumulative"] == [0, 0.25, 1]
    assert b"a word from Python" in done.stderr
    assert b"a word from C" in done.stderr


def test_a_process_that_is_not_told_what_to_serve_says_how(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "accweight_core.analysis.exact_server"],
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"usage: python -m accweight_core.analysis.exact_server STORE.accw\n"


# --- those who ask


def test_asking_imports_nothing_heavy() -> None:
    loaded = run_python(
        "import sys, accweight_core.analysis.exact_client\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )

    assert loaded.split() == ["loaded:"]


def servers() -> list[psutil.Process]:
    """Return the processes that this one has started to be answered."""
    return [
        c
        for c in psutil.Process().children()
        if "accweight_core.analysis.exact_server" in c.cmdline()
    ]


def test_answers_come_from_a_process_that_is_started_by_the_first_request(store: Path) -> None:
    answers: Queue[Answer] = Queue()
    threads = []

    with ExactClient(store) as asked:
        none_yet = servers()
        for index in ((2, 3), (0, 0), (3, 0)):
            asked.ask("fc.weight", index, answers.put)
        asked.ask("fc.bias", [np.int64(1)], lambda answer: threads.append(threading.get_ident()))
        asked.ask("fc.bias", [2], answers.put)
        found = [answers.get(timeout=WAIT_S) for _ in range(4)]
        running = len(servers())

    assert (none_yet, running, servers()) == ([], 1, [])
    assert [answer.get("weights") for answer in found] == [
        [11 / 8, 13 / 8, 19 / 8], [0, 0.25, 1], None, [0, 0.25, 1]
    ]  # fmt: skip
    assert "has no element (3, 0)" in found[2]["error"]
    assert threads
    assert threads[0] != threading.get_ident()


def test_a_process_that_is_killed_fails_its_requests_and_the_next_starts_another(
    store: Path,
) -> None:
    answers: Queue[Answer] = Queue()

    with ExactClient(store) as asked:
        for _ in range(3):
            asked.ask("fc.weight", (2, 3), answers.put)
        (server,) = servers()
        server.kill()
        failed = [answers.get(timeout=WAIT_S)["error"] for _ in range(3)]
        asked.ask("fc.weight", (2, 3), answers.put)
        answered = answers.get(timeout=WAIT_S)

    assert (
        failed
        == ["the process that reads exact values ended before its answer, killed by signal 9"] * 3
    )
    assert answered["cumulative"] == [0, 0.25, 1]


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Serving:
    """Return what puts a few lines of Python in the place of the real process."""

    def serve(*program: str) -> None:
        lines = "\n".join(("import json, sys, time", *program))
        monkeypatch.setattr(asking, "command", lambda path: [sys.executable, "-c", lines])

    return serve


ECHO = 'for line in sys.stdin: print(json.dumps({"id": json.loads(line)["id"]}), flush=True)'


def test_an_error_ends_with_the_last_words_of_the_process(serving: Serving) -> None:
    serving(
        "sys.stdin.readline()",
        "sys.stderr.write('first\\n\\nno room left \\xff\\n\\n')",
        "sys.exit(3)",
    )
    answers: Queue[Answer] = Queue()

    with ExactClient("run.accw") as asked:
        asked.ask("fc.weight", (0, 0), answers.put)
        answer = answers.get(timeout=WAIT_S)

    assert answer["error"].startswith(
        "the process that reads exact values ended before its answer, with status 3: no room left"
    )
    assert "\n" not in answer["error"]


def test_a_talkative_process_does_not_get_stuck(serving: Serving) -> None:
    serving("sys.stderr.write('words\\n' * 200_000)", "print('not an answer')", "print('[]')", ECHO)
    answers: Queue[Answer] = Queue()

    with ExactClient("run.accw") as asked:
        asked.ask("fc.weight", (0, 0), answers.put)
        answer = answers.get(timeout=WAIT_S)

    assert answer == {"id": 0}


def test_asking_does_not_wait_for_a_process_that_reads_nothing(serving: Serving) -> None:
    serving("time.sleep(600)")
    answers: Queue[Answer] = Queue()

    with ExactClient("run.accw") as asked:
        for _ in range(5000):  # more than a pipe holds
            asked.ask("a.name.of.some.length", (0, 0, 0, 0), answers.put)
        none_yet = answers.qsize()

    assert none_yet == 0
    errors = {answers.get(timeout=WAIT_S)["error"] for _ in range(5000)}
    assert errors == {"closed before there was an answer"}


def test_a_process_that_does_not_end_is_made_to(serving: Serving) -> None:
    serving(
        "import signal", "signal.signal(signal.SIGTERM, signal.SIG_IGN)", ECHO, "time.sleep(600)"
    )
    answers: Queue[Answer] = Queue()
    others = psutil.Process().children()  # executors of other tests leave a resource tracker
    asked = ExactClient("run.accw")
    asked.ask("fc.weight", (0, 0), answers.put)
    answers.get(timeout=WAIT_S)
    (server,) = [c for c in psutil.Process().children() if c not in others]

    asked.close()

    assert not psutil.pid_exists(server.pid)
    assert [t.name for t in threading.enumerate() if t.name.startswith("answers ")] == []


def test_a_callback_that_fails_is_reported_and_keeps_no_other_from_its_answer(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving(ECHO)
    answers: Queue[Answer] = Queue()
    reports: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda report: reports.append(report.exc_value))

    def fail(answer: Answer) -> None:
        raise RuntimeError("the window is gone")

    with ExactClient("run.accw") as asked:
        asked.ask("fc.weight", (0, 0), fail)
        asked.ask("fc.weight", (0, 0), answers.put)
        answer = answers.get(timeout=WAIT_S)

    assert answer == {"id": 1}
    assert [str(report) for report in reports] == ["the window is gone"]


def test_a_callback_may_close(serving: Serving) -> None:
    serving(ECHO)
    asked = ExactClient("run.accw")
    closed = threading.Event()

    def close(answer: Answer) -> None:
        asked.close()
        closed.set()

    asked.ask("fc.weight", (0, 0), close)

    assert closed.wait(WAIT_S)


def test_closing_twice_or_unused_is_no_fault_and_asking_afterwards_one() -> None:
    asked = ExactClient("run.accw")

    asked.close()
    asked.close()

    with pytest.raises(ValueError, match="this client is closed"):
        asked.ask("fc.weight", (0, 0), print)


def test_a_process_that_cannot_be_started_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    answers: Queue[Answer] = Queue()

    with ExactClient("run.accw") as asked:
        asked.ask("fc.weight", (0, 0), answers.put)
        answer = answers.get(timeout=WAIT_S)

    assert answer["error"].startswith("/no/such/python: cannot be started to read exact values (")
