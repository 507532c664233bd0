"""The n-th open, read, write, rename or allocation fails, for every n of a small run.

    python fault_injection.py FOLDER [EVERY [STAGE ...]]

Stages are `analyze`, `append` and `overwrite`; of EVERY n one is tried. For each n a process of its
own is forked, in which the n-th operation fails; then the same is done once more, without a fault.
What is held: the error is one of accweight's, in one line; what was there before, or what is there
now, opens and is right, or says that it is not finished; and in the end the stored bytes are those
of a run that never failed. Prints a JSON document per stage.
"""

from __future__ import annotations

import builtins
import errno
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import accweight_core as aw
from accweight_adapters import safetensors_reader
from accweight_core.errors import AccweightError, StoreError
from accweight_core.jit import fused
from accweight_core.jobs import appending, pipeline
from accweight_core.jobs.growing import GrowingAnalysis
from accweight_core.pictures import packing
from accweight_core.runs import opening

LOADED = (safetensors_reader, fused, appending, pipeline, opening)  # before anything is forked
STAGES = ("analyze", "append", "overwrite")
KINDS = ("open", "change", "read", "write", "allocate")
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.listdir", "os.scandir")
ERRORS = {"open": errno.EMFILE, "change": errno.EACCES, "read": errno.EIO, "write": errno.ENOSPC}


class Faults:
    """Counts operations of each kind on files in a folder; lets one fail."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.counts = str(folder), dict.fromkeys(KINDS, 0)
        self.kind, self.number = "", 0
        self.armed = False

    def note(self, kind: str, path: object = None) -> None:
        """Count an operation, and raise if it is the one that fails."""
        if not self.armed or (path is not None and self.folder not in _text(path)):
            return
        self.counts[kind] += 1
        if (kind, self.counts[kind]) == (self.kind, self.number):
            if kind == "allocate":
                raise MemoryError("Unable to allocate an array")
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), *([path] if path else []))

    def install(self) -> None:
        """See every operation of this process from here on."""
        sys.addaudithook(self._audit)
        read, opened = os.preadv, builtins.open

        def preadv(descriptor: int, *rest: Any) -> int:
            self.note("read")
            return read(descriptor, *rest)

        def open_seen(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            found = opened(file, mode, *rest, **options)
            name = os.readlink(f"/proc/self/fd/{file}") if isinstance(file, int) else _text(file)
            is_ours = self.folder in name
            return Seen(found, self) if is_ours else found

        os.preadv, builtins.open, io.open = preadv, open_seen, open_seen  # type: ignore[assignment]
        for name in ("empty", "zeros"):
            setattr(np, name, self._allocating(getattr(np, name)))
        self.armed = True

    def _allocating(self, make: Callable[..., Any]) -> Callable[..., Any]:
        def allocate(*arguments: Any, **options: Any) -> Any:
            if sys._getframe(1).f_globals.get("__name__", "").startswith("accweight_"):
                self.note("allocate")
            return make(*arguments, **options)

        return allocate

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
            self.note("open", arguments[0])
        elif event in CHANGES and isinstance(arguments[0], (str, bytes, os.PathLike)):
            self.note("change", arguments[0])


class Seen:
    """An open file whose reads and writes are counted."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file, self._faults = file, faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._file, name)
        kind = {"read": "read", "readinto": "read", "write": "write"}.get(name)
        if kind is None:
            return value

        def counted(*arguments: Any) -> Any:
            self._faults.note(kind)
            return value(*arguments)

        return counted

    def __enter__(self) -> Seen:
        self._file.__enter__()
        return self

    def __exit__(self, *rest: Any) -> Any:
        return self._file.__exit__(*rest)

    def __iter__(self) -> Any:
        return iter(self._file)


def _text(path: Any) -> str:
    return os.fsdecode(path)


def write_run(folder: Path, steps: range, seed: int) -> None:
    """Write checkpoints with a matrix, a convolution and small parameters."""
    folder.mkdir(parents=True, exist_ok=True)
    for step in steps:
        chance = np.random.default_rng([seed, step])
        weights = {
            "fc.weight": chance.standard_normal((130, 90)).astype(np.float32),
            "fc.bias": chance.standard_normal(130).astype(np.float32),
            "conv.weight": chance.standard_normal((6, 3, 3, 3)).astype(np.float16),
        }
        header, data = {}, b""
        for name, values in weights.items():
            end = len(data) + values.nbytes
            kind = {"float32": "F32", "float16": "F16"}[values.dtype.name]
            header[name] = {
                "dtype": kind, "shape": list(values.shape), "data_offsets": [len(data), end],
            }  # fmt: skip
            data += values.tobytes()
        text = json.dumps(header).encode()
        content = len(text).to_bytes(8, "little") + text + data
        (folder / f"step_{step}.safetensors").write_bytes(content)


class Stage:
    """What is done, on what was there before."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self.run, self.out = name, folder / "run", folder / "out" / "run.accw"
        self.before = folder / "before"
        write_run(self.run, range(5), 0)
        if name == "append":
            self._do(self.before / "run.accw", range(3), overwrite=False)
        if name == "overwrite":
            write_run(folder / "other", range(4), 1)
            other = aw.open_run(folder / "other")
            aw.analyze(other, self.before / "run.accw", threads=1)

    def _do(self, out: Path, steps: range, *, overwrite: bool) -> None:
        files = [str(self.run / f"step_{step}.safetensors") for step in steps]
        run = aw.open_run(files)
        aw.analyze(run, out, threads=1, keep_state=True, overwrite=overwrite)

    def reset(self) -> None:
        """Put there what was there before."""
        shutil.rmtree(self.out.parent, ignore_errors=True)
        if self.before.exists():
            shutil.copytree(self.before, self.out.parent)
        else:
            self.out.parent.mkdir()

    def do(self) -> None:
        """Do it."""
        if self.name == "append":
            aw.append(aw.open_run(self.run), self.out, threads=1)
        else:
            self._do(self.out, range(5), overwrite=self.name == "overwrite")

    def again(self) -> None:
        """Do what the user would do after a fault: the same, if it is not done already."""
        if self.name == "append" and _is_whole(self.out, 5):
            GrowingAnalysis.open(self.out).close()  # clears away what is left, as any writer does
            return
        self.do()

    def problem(self) -> str:
        """Return what is wrong with what is there now; empty if nothing is."""
        before = 3 if self.name == "append" else 4 if self.name == "overwrite" else 0
        try:
            analysis = aw.open_analysis(self.out)
        except StoreError as error:
            if before or not ("there is no such" in str(error) or "not finished" in str(error)):
                return f"afterwards: {error}"
            return ""
        wanted = reference(self, len(analysis.steps))
        if not np.array_equal(analysis.values, wanted):
            return f"afterwards: wrong numbers over {len(analysis.steps)} steps"
        return ""


_REFERENCES: dict[tuple[str, int], Any] = {}


def reference(stage: Stage, steps: int) -> Any:
    """Return the numbers of the run, or of what was there before it."""
    known = (stage.name, steps)
    if known not in _REFERENCES:
        if stage.name == "overwrite" and steps == 4:
            run = aw.open_run(stage.run.parent / "other")
        else:
            run = aw.open_run([str(stage.run / f"step_{s}.safetensors") for s in range(steps)])
        _REFERENCES[known] = aw.analyze(run, threads=1).values
    return _REFERENCES[known]


def _is_whole(out: Path, steps: int) -> bool:
    try:
        return len(aw.open_analysis(out).steps) == steps
    except AccweightError:
        return False


def content(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder, and the folder's other names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def in_child(work: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    """Return what some work returns in a process of its own."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = json.dumps(work())
        except BaseException:
            answer = json.dumps({"problem": traceback.format_exc()})
        os.write(there, answer.encode())
        os._exit(0)
    os.close(there)
    with os.fdopen(here) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text or '{"problem": "the process died"}')
    return found


def faulted(stage: Stage, folder: Path, kind: str, number: int) -> dict[str, Any]:
    """Let one operation fail; return what is wrong with how that ends, if anything is."""
    faults = Faults(folder)
    faults.kind, faults.number = kind, number
    faults.install()
    error = ""
    try:
        stage.do()
    except AccweightError as caught:
        error = str(caught)
    except BaseException as caught:
        faults.armed = False
        last = traceback.extract_tb(caught.__traceback__)[-1]
        return {"problem": f"{type(caught).__name__}: {caught} ({last.filename}:{last.lineno})"}
    faults.armed = False
    if "\n" in error:
        return {"problem": f"several lines: {error}"}
    return {"problem": stage.problem(), "error": error, "counts": faults.counts}


def finished(stage: Stage) -> dict[str, Any]:
    """Do it once more without a fault; return how the bytes differ from the expected ones."""
    stage.again()
    return {"problem": "", "content": {n: hash_of(b) for n, b in content(stage.out).items()}}


def hash_of(data: bytes) -> str:
    """Return a digest."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def report(folder: Path, name: str, every: int) -> dict[str, Any]:
    """Try every n; return how many there were of each kind, and what went wrong."""
    stage = Stage(folder, name)
    for steps in (3, 4, 5):
        if steps != 4 or name == "overwrite":
            reference(stage, steps)
    stage.reset()
    whole = in_child(lambda: faulted(stage, folder, "", 0))
    expected = in_child(lambda: finished(stage))
    problems = {
        n: found["problem"] for n, found in (("-", whole), ("=", expected)) if found["problem"]
    }
    tried = dict.fromkeys(KINDS, 0)
    for kind in KINDS if not problems else ():
        for number in range(1, whole["counts"][kind] + 1, every):
            tried[kind] += 1
            stage.reset()
            found = in_child(lambda k=kind, n=number: faulted(stage, folder, k, n))  # type: ignore[misc]
            if not found["problem"]:
                after = in_child(lambda: finished(stage))
                if after["problem"] or after["content"] != expected["content"]:
                    differing = sorted(
                        set(after.get("content", {}).items()) ^ set(expected["content"].items())
                    )
                    found["problem"] = after["problem"] or f"other bytes: {differing[:3]}"
            if found["problem"]:
                problems[f"{kind} {number}"] = found["problem"]
    return {"stage": name, "tried": tried, "problems": problems}


if __name__ == "__main__":
    packing.PACK_TEXELS = 200
    folder, *rest = sys.argv[1:]
    every = int(rest[0]) if rest else 1
    for name in rest[1:] or STAGES:
        (Path(folder) / name).mkdir(parents=True)
        print(json.dumps(report(Path(folder) / name, name, every)))
