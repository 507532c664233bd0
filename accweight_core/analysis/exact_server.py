"""Server process for exact values of single weights.

``python -m accweight_core.analysis.exact_server STORE.accw`` reads one request per line,
``{"id": 7, "parameter": "conv1.weight", "index": [0, 0, 1, 2]}``, and answers each with a line,
``{"id": 7, "weights": [...], "cumulative": [...]}`` over the steps or ``{"id": 7, "error":
"..."}``, until end of input. Floats are exact; a non-finite value is null and named in ``"named"``,
``{"4": "nan"}`` by position, and a complex number is a pair. ``{"id": 8, "parameter":
"conv1.weight", "nonfinite": [4, 5]}`` asks at which elements a parameter is not finite at some
positions; ``{"id": 8, "masks": [...]}`` has one per position (`finiteness`). `exact_client` is the
client.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from accweight_core.errors import AccweightError, FormatError
from accweight_core.io.stamp import stamp_if_there
from accweight_core.remote import is_url
from accweight_core.schema import Checkpoint, Extent, Stamp

if TYPE_CHECKING:
    from accweight_core.analysis.analysis import Analysis
    from accweight_core.io.reading import OpenFiles

EXAMPLE = '{"id": 7, "parameter": "conv1.weight", "index": [0, 0, 1, 2]}'

OPEN_FILES = 200
"""Checkpoint files kept open between requests; some systems limit a process to 256."""


class ExactServer:
    """Answers requests about one stored analysis.

    The analysis and its checkpoints are described before the first request, and again when one of
    their files has changed, so that answers reflect an analysis that has been appended to.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: tuple[Analysis, OpenFiles] | None = None
        self._store: Stamp | None = None
        self._files: dict[str, Stamp | None] = {}

    def prepare(self) -> None:
        """Open the analysis before the first request; why it cannot be is told with the answer."""
        with suppress(Exception):
            self._current()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Return the answer to one line; an invalid request gets an error."""
        number: int | str | None = None
        try:
            request = _parsed(line)
            number = _id(request)
            parameter = _parameter(request)
            if "nonfinite" in request:
                return {"id": number, **self._masks(parameter, _whole(request, "nonfinite"))}
            return {"id": number, **self._values(parameter, _whole(request, "index"))}
        except AccweightError as error:
            problem = str(error)
            if any(map(is_url, self._files)):
                self.close()  # describe a changed or restored remote file again
        except Exception as error:  # one failed request must not stop the server
            problem = f"unexpected {type(error).__name__}: {error}"
        return {"id": number, "error": " ".join(problem.split())}

    def close(self) -> None:
        """Close all files."""
        if self._opened:
            self._opened[1].close()
        self._opened = None

    def _values(self, parameter: str, index: list[int]) -> dict[str, Any]:
        analysis, files = self._current()
        found = analysis.trace(parameter, index, files=files)
        answer: dict[str, Any] = {
            "weights": _plain(found.weights),
            "cumulative": _plain(found.cumulative),
        }
        bad = np.flatnonzero(~np.isfinite(found.weights))
        if len(bad):
            answer["named"] = {str(at): str(found.weights[at]) for at in bad.tolist()}
        return answer

    def _masks(self, parameter: str, positions: list[int]) -> dict[str, Any]:
        from accweight_core.analysis.finiteness import nonfinite_elements, packed

        analysis, files = self._current()
        checkpoints = analysis.run().checkpoints
        outside = [at for at in positions if not 0 <= at < len(checkpoints)]
        if outside:
            raise FormatError("request", f"there is no checkpoint at position {outside[0]}")
        held = analysis.parameters[analysis.parameter_index(parameter)]
        masks = nonfinite_elements([checkpoints[at] for at in positions], held, files)
        return {"masks": [packed(mask) for mask in masks]}

    def _current(self) -> tuple[Analysis, OpenFiles]:
        """Return the analysis as it is on disk now, and the open files of its checkpoints."""
        from accweight_core.analysis.analysis import (
            Analysis,  # readers may print: import after stdout is redirected
        )
        from accweight_core.io.reading import OpenFiles

        store = stamp_if_there(self._path / "zarr.json")
        moved = store not in (None, self._store)  # missing while a new one is moved in
        if self._opened and not moved and self._files == _stamps(self._files):
            return self._opened
        self.close()
        analysis = Analysis.open(self._path, unfinished=True)
        files = {path for c in analysis.run().checkpoints for path in _paths(c)}
        self._store, self._files = store, _stamps(files)
        self._opened = analysis, OpenFiles(OPEN_FILES)
        return self._opened


def _parsed(line: bytes) -> dict[str, Any]:
    """Return the JSON object in a line."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise FormatError("request", f"not JSON; expected a line like {EXAMPLE}") from None
    if not isinstance(request, dict):
        raise FormatError("request", f"not an object; expected a line like {EXAMPLE}")
    return request


def _id(request: Mapping[str, Any]) -> int | str:
    number = request.get("id")
    if isinstance(number, bool) or not isinstance(number, (int, str)):
        raise FormatError("request", f"the id is neither a whole number nor text; see {EXAMPLE}")
    return number


def _parameter(request: Mapping[str, Any]) -> str:
    name = request.get("parameter")
    if not isinstance(name, str):
        raise FormatError("request", f"the parameter is not text; see {EXAMPLE}")
    return name


def _whole(request: Mapping[str, Any], key: str) -> list[int]:
    numbers = request.get(key)
    if not isinstance(numbers, list) or any(type(i) is not int for i in numbers):
        raise FormatError("request", f"the {key} is not a list of whole numbers; see {EXAMPLE}")
    return numbers


def _paths(checkpoint: Checkpoint) -> set[str]:
    """Return the files of a checkpoint that its tensors name."""
    values = (tensor.values for tensor in checkpoint.tensors.values())
    return {checkpoint.path} | {v.path for v in values if isinstance(v, Extent)}


def _stamps(paths: Iterable[str]) -> dict[str, Stamp | None]:
    return {path: _stamp(path) for path in paths}


def _stamp(path: str) -> Stamp | None:
    """Return the stamp of a file, None if it is missing or remote.

    Reading a remote file detects changes anyway, and querying a server takes long.
    """
    return None if is_url(path) else stamp_if_there(path)


def _plain(values: npt.NDArray[Any]) -> list[Any]:
    """Return numbers as JSON values."""
    if np.iscomplexobj(values):
        return [_plain(pair) for pair in values.view(np.float64).reshape(-1, 2)]
    return [value if isfinite(value) else None for value in values.tolist()]


def serve(path: Path, requests: Iterable[bytes], answers: BinaryIO) -> None:
    """Answer every line of `requests` with a line."""
    with closing(ExactServer(path)) as answerer:
        answerer.prepare()
        for line in requests:
            answers.write(json.dumps(answerer.answer(line), allow_nan=False).encode() + b"\n")
            answers.flush()


def main() -> int:
    """Serve standard input; whatever else is printed goes to standard error."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m accweight_core.analysis.exact_server STORE.accw\n")
        return 2
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr
    with suppress(BrokenPipeError, KeyboardInterrupt), answers:  # the client has exited
        serve(Path(sys.argv[1]), sys.stdin.buffer, answers)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # unloading libraries takes time, and a closing viewer waits
