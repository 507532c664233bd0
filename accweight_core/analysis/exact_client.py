"""Client for exact values of single weights, which another process reads without blocking.

`ExactClient` starts the server process (`exact_server`) at the first request, so that a viewer pays
nothing until a value is needed, and restarts it if it has died. No method blocks: threads write
the requests and read the answers.
"""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from types import TracebackType
from typing import Any

Answer = dict[str, Any]
"""`weights` and `cumulative`, lists over steps in the format of `exact_server`, or `masks`; or
`error`, a one-line message."""

Callback = Callable[[Answer], None]

PATIENCE_S = 0.5
"""Seconds that a server may take to exit before it is killed."""


class ExactClient:
    """Requests exact values of weights of one stored analysis."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.path.abspath(path)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._closed = False

    def __enter__(self) -> ExactClient:
        """Return self."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the server."""
        self.close()

    def start(self) -> None:
        """Start the server, so that the first answer comes soon; does nothing if it is running."""
        with self._lock, suppress(OSError):  # told at the first request
            if self._server is None and not self._closed:
                self._server = _Server(self._path)

    def ask(self, parameter: str, index: Iterable[int], callback: Callback) -> None:
        """Request W_t and A_t of one weight at every step, and return immediately.

        Args:
            parameter: Name of the parameter.
            index: One number per axis, from 0.
            callback: Called once with the answer, from another thread.

        Raises:
            ValueError: If `close` has been called.
        """
        self._send({"parameter": parameter, "index": [operator.index(i) for i in index]}, callback)

    def ask_nonfinite(self, parameter: str, positions: Iterable[int], callback: Callback) -> None:
        """Ask at which elements a parameter is not finite at some checkpoints; see `finiteness`.

        Args:
            parameter: Name of the parameter.
            positions: Indices of checkpoints.
            callback: Called once with the answer, from another thread.

        Raises:
            ValueError: If `close` has been called.
        """
        self._send({"parameter": parameter, "nonfinite": list(positions)}, callback)

    def _send(self, request: Answer, callback: Callback) -> None:
        with self._lock:
            if self._closed:
                raise ValueError("this client is closed; make a new one to ask again")
            if self._server and self._server.ask(request, callback):
                return
            try:
                self._server = _Server(self._path)
            except OSError as error:
                problem = f"{sys.executable}: cannot be started to read exact values ({error})"
                threading.Thread(target=callback, args=({"error": problem},)).start()
            else:
                self._server.ask(request, callback)

    def close(self) -> None:
        """Stop the server; requests still pending after a moment get an error as their answer."""
        with self._lock:
            self._closed = True
            server, self._server = self._server, None
        if server:
            server.close()


def command(path: str) -> list[str]:
    """Return the command line of the server of a stored analysis."""
    return [sys.executable, "-m", "accweight_core.analysis.exact_server", path]


class _Server:
    """One server process and its pending requests."""

    def __init__(self, path: str) -> None:
        """Start the process.

        Raises:
            OSError: If it cannot be started.
        """
        self._process = subprocess.Popen(
            command(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._ids = count()
        self._lock = threading.Lock()
        self._pending: dict[int, Callback] = {}
        self._unsent: SimpleQueue[bytes | None] = SimpleQueue()
        self._ended = self._closing = False
        self._last_line = ""
        self._threads = [
            threading.Thread(target=work, name=f"answers {work.__name__}", daemon=True)
            for work in (self._write, self._listen, self._read)
        ]
        self._listener = self._threads[1]
        for thread in self._threads:
            thread.start()

    def ask(self, request: Answer, callback: Callback) -> bool:
        """Queue a request; return whether the process is still running."""
        with self._lock:
            if self._ended or self._process.poll() is not None:
                return False
            number = next(self._ids)
            self._pending[number] = callback
        self._unsent.put(json.dumps({"id": number, **request}).encode() + b"\n")
        return True

    def close(self) -> None:
        """Stop the process, by force if necessary, and join the threads."""
        self._closing = True
        self._unsent.put(None)
        for end in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(PATIENCE_S)
                break
            except subprocess.TimeoutExpired:
                end()
        for thread in self._threads:
            if thread is not threading.current_thread():  # close may be called by a callback
                thread.join(10 * PATIENCE_S)

    def _write(self) -> None:
        """Write requests from the queue; closing the pipe makes the process exit."""
        assert self._process.stdin
        with suppress(OSError), self._process.stdin as stdin:
            while (line := self._unsent.get()) and not self._closing:
                stdin.write(line)
                stdin.flush()

    def _listen(self) -> None:
        """Keep the last line of the process's standard error."""
        assert self._process.stderr
        with self._process.stderr as lines:
            for line in lines:
                self._last_line = line.decode(errors="replace").strip() or self._last_line

    def _read(self) -> None:
        """Pass on answers; when the process has ended, pass errors to the pending requests."""
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                self._hand_out(line)
        status = self._process.wait()
        self._listener.join(PATIENCE_S)  # for its last error message
        with self._lock:
            self._ended = True
            pending, self._pending = self._pending, {}
        self._unsent.put(None)
        for number, callback in pending.items():
            _call(callback, {"id": number, "error": self._why_it_ended(status)})

    def _hand_out(self, line: bytes) -> None:
        callback = None
        with suppress(ValueError, KeyError, TypeError):  # not an answer to a request
            answer = json.loads(line)
            with self._lock:
                callback = self._pending.pop(answer["id"])
        if callback:
            _call(callback, answer)

    def _why_it_ended(self, status: int) -> str:
        """Return a one-line reason for the missing answer."""
        if self._closing:
            return "closed before there was an answer"
        how = f"with status {status}" if status >= 0 else f"killed by signal {-status}"
        said = f": {self._last_line}" if self._last_line else ""
        return f"the process that reads exact values ended before its answer, {how}{said}"


def _call(callback: Callback, answer: Answer) -> None:
    """Call back; an exception in the callback is reported and does not stop the thread."""
    try:
        callback(answer)
    except Exception as error:
        report = (type(error), error, error.__traceback__, threading.current_thread())
        threading.excepthook(threading.ExceptHookArgs(report))
