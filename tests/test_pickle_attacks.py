"""Hostile pickles in every container that holds one: nothing runs, nothing grows, nothing hangs."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from test_torch_reader import Mischief, legacy_file, zipped
from thorough import sampled
from torch import nn

from accweight_adapters.pickles import stream
from accweight_adapters.pickles.interpreter import Interpreter
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.untrusted import ClaimError
from accweight_core.errors import FormatError
from accweight_core.readers import reader_named

MOST_BYTES = 8 << 20
"""Memory for a pickle of some kilobytes."""


def _plain(path: Path, raw: bytes) -> str:
    path.write_bytes(raw)
    return "pickle"


def _packed(path: Path, raw: bytes) -> str:
    path.write_bytes(gzip.compress(raw))
    return "pickle"


def _torch_zip(path: Path, raw: bytes) -> str:
    zipped(path, raw, {})
    return "torch"


def _torch_legacy(path: Path, raw: bytes) -> str:
    made = legacy_file(path.parent, 0, {})
    path.write_bytes(made.read_bytes()[:-3].rpartition(b"\x80\x02")[0] + raw)
    return "torch"


def _script(path: Path, raw: bytes) -> str:
    code = b"class A(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", raw)
        archive.writestr("x/code/__torch__.py", code)
        archive.writestr("x/constants.pkl", b"\x80\x02).")
    return "torch"


def _objects(path: Path, raw: bytes) -> str:
    path.write_bytes(_header() + raw)
    return "numpy"


def _header() -> bytes:
    text = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def _objects_packed(path: Path, raw: bytes) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", _header() + raw)
    return "numpy"


CONTAINERS: dict[str, Callable[[Path, bytes], str]] = {
    "plain": _plain,
    "packed": _packed,
    "torch zip": _torch_zip,
    "torch legacy": _torch_legacy,
    "TorchScript": _script,
    "objects": _objects,
    "objects, packed": _objects_packed,
}
"""What writes a pickle into a file; it returns the name of the reader."""


def everywhere(names: str, *choices: Iterable[object], stride: int) -> pytest.MarkDecorator:
    """Try every choice in a plain pickle, and a sample of them in each of the other containers."""
    plain, *others = CONTAINERS
    cases = [(plain, *choice) for choice in product(*choices)]
    cases += sampled(((c, *choice) for c in others for choice in product(*choices)), stride)
    return pytest.mark.parametrize(("container", *names.split()), cases)


PLACES = ("value", "key", "attribute", "state", "alone")
"""Where in a pickle the command is hidden."""


def outcome(path: Path, reader_name: str) -> str:
    """Return the message of the refusal, or '' if the file is described within its bounds."""
    reader = reader_named(reader_name)
    reader.recognises(path)
    try:
        reader.describe(path)
        message = ""
    except FormatError as refusal:
        message = str(refusal)
    assert "\n" not in message
    assert len(message) < 700 + len(str(path))
    return message


@everywhere("place protocol", PLACES, range(6), stride=7)
def test_a_command_is_never_run(tmp_path: Path, container: str, protocol: int, place: str) -> None:
    marker = tmp_path / "marker"
    evil = Mischief(marker)
    holder = nn.Identity()
    holder.evil = evil  # type: ignore[assignment]
    content: Any = {
        "value": {"x": evil, "w": np.ones(3)},
        "key": {"a": [{"b": (evil,)}]},
        "attribute": holder,
        "state": {"w": np.array([np.ones(3), evil], dtype=object)},
        "alone": evil,
    }[place]

    name = CONTAINERS[container](tmp_path / "a", pickle.dumps(content, protocol))

    message = outcome(tmp_path / "a", name)
    assert "system'" in message or "holds no" in message
    assert not marker.exists()


def _doubled(times: int) -> bytes:
    """Return a pickle whose list holds one list twice, and so on."""
    return b"]\x94" + b"".join(
        b"](h" + bytes([n]) + b"h" + bytes([n]) + b"e\x94" for n in range(times)
    )


MODULE = b"}(X\x0b\0\0\0_parameters}X\x08\0\0\0_buffers}X\x08\0\0\0_modules"
TWICE = b"X\x01\0\0\0ah%cX\x01\0\0\0bh%c"


def _doubled_modules(times: int) -> bytes:
    """Return modules each of which holds the one before it twice."""
    made = b"cmy\nNet\n)\x81\x94" + MODULE + b"}ub"
    for number in range(times):
        inner = b"}(" + TWICE % (number, number) + b"u"
        made += b"cmy\nNet\n)\x81\x94" + MODULE + inner + b"ub"
    return made


LOOP = b"cmy\nNet\n)\x81\x94" + MODULE + b"}X\x01\0\0\0ah\x00sub"
"""A module that holds itself."""

ENCODED = b"c_codecs\nencode\n\x94X\x00\x10\0\0" + b"a" * 4096 + b"\x94"

MANY = b"cmy\nA\n\x94%b"
IN_MANY = b"\x94](" + b"h\x00h\x01\x85R" * 3000 + b"e"
"""A class and a value, and a list of three thousand objects of this class made of the value."""

LONG_KEY = b"(" + b"h\x00" * 8 + b"tN"

BOMBS = {
    "doubled lists": _doubled(100),
    "doubled modules": b"(" + _doubled_modules(50),
    "module in itself": LOOP,
    "modules in a list": b"](" + LOOP * 40 + b"e",
    "nested lists": b"]" * 20_000 + b"a" * 19_999,
    "nested tuples": b")" + b"\x85" * 20_000,
    "nested dicts": b"}X\x01\0\0\0a" * 10_000 + b"N" + b"s" * 10_000,
    "nested objects": b"cmy\nA\n\x94" + b"h\x00(" * 5000 + b"t\x81" * 5000,
    "nested key": b"}(" + b")" + b"\x85" * 20_000 + b"Nu",
    "bytes": b"\x8e" + struct.pack("<Q", 2**60),
    "buffer": b"\x96" + struct.pack("<Q", 2**60),
    "text": b"\x8d" + struct.pack("<Q", 2**60),
    "old text": b"T\xff\xff\xff\xff",
    "number": b"\x8b" + struct.pack("<I", 2**31),
    "digits": b"L" + b"9" * 100_000 + b"L\n",
    "line without end": b"V" + b"x" * 100_000,
    "frame": b"\x95" + struct.pack("<Q", 2**60) + b"N",
    "memo": b"Nr\xff\xff\xff\x7f",
    "bytearray": b"cbuiltins\nbytearray\nL1000000000000L\n\x85R",
    "range": b"cbuiltins\nlist\ncbuiltins\nrange\nL1000000000000L\n\x85R\x85R",
    "array": b"cnumpy.core.multiarray\n_reconstruct\n)R(L4611686018427387903L\n\x85cnumpy\ndtype\n"
    b"X\x02\0\0\0f4\x85R\x89C\x04abcdtb",
    "one text encoded again and again": b"(" + ENCODED + b"h\x00h\x01\x85R" * 3000 + b"t",
    "one list in many objects": b"]("
    + b"N" * 3000
    + b"e\x94cmy\nA\n\x94"
    + b"]("
    + b"h\x01h\x00\x85R" * 3000
    + b"e",
    "one key repeated": b"X\x00\x04\0\0"
    + b"k" * 1024
    + b"\x94"
    + b"}("
    + (b"h\x00" * 8 + b"t(") * 500
    + b"u",
}
"""Pickles that are small and claim to be large, without their end."""


@everywhere("bomb", BOMBS, stride=5)
def test_a_small_pickle_needs_little_memory(tmp_path: Path, container: str, bomb: str) -> None:
    raw = b"\x80\x04" + BOMBS[bomb] + b"."
    name = CONTAINERS[container](tmp_path / "a", raw)
    outcome(tmp_path / "a", name)  # imports do not count
    tracemalloc.start()

    message = outcome(tmp_path / "a", name)

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message
    assert peak < MOST_BYTES + 300 * len(raw)


def test_modules_that_hold_each_other_are_refused_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(b"\x80\x04" + LOOP + b".")

    assert "modules contain each other without end" in outcome(tmp_path / "a.pkl", "pickle")


def test_a_module_that_is_shared_is_read_under_both_names(tmp_path: Path) -> None:
    part = nn.Linear(2, 2)
    torch.save(nn.Sequential(part, part), tmp_path / "a.pt")

    names = [t.name for t in reader_named("torch").describe(tmp_path / "a.pt").tensors]

    assert names == ["0.weight", "0.bias", "1.weight", "1.bias"]


# ---------------------------------------------------------------- compressed


def test_a_stream_that_grows_beyond_all_weights_is_refused(tmp_path: Path) -> None:
    head = pickle.dumps({"w": np.ones(3)})[:-1]
    stream = zlib.compressobj(9)
    packed = stream.compress(b"\x80\x04C\x00")
    packed += b"".join(stream.compress(bytes(1 << 20)) for _ in range(80)) + stream.flush()
    (tmp_path / "a.pkl").write_bytes(packed)

    assert "would grow from" in outcome(tmp_path / "a.pkl", "pickle")
    assert head


def test_settings_that_grow_beyond_all_weights_are_refused(tmp_path: Path) -> None:
    raw = b"\x80\x04](" + b"X\x00\x10\0\0" + b"a" * 4096
    (tmp_path / "a.pkl").write_bytes(zlib.compress(raw + (b"X\x00\x10\0\0" + b"a" * 4096) * 9000))

    assert "far more settings and text than weights" in outcome(tmp_path / "a.pkl", "pickle")


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_compressed_pickle_that_is_cut_short_says_so(tmp_path: Path, keep: float) -> None:
    packed = gzip.compress(pickle.dumps({"w": np.random.default_rng(0).random(5000)}))
    (tmp_path / "a.pkl").write_bytes(packed[: int(len(packed) * keep)])

    assert "cut short" in outcome(tmp_path / "a.pkl", "pickle")


# ---------------------------------------------------------------- the bytes of a pickle


def test_a_remote_or_slow_file_is_read_in_parts() -> None:
    class Slow(io.BytesIO):
        def read(self, count: int | None = -1) -> bytes:
            return super().read(min(count or 0, 7))

    content = {"name": "x" * 100, "numbers": list(range(50))}

    assert Interpreter(PickleStream(Slow(pickle.dumps(content)))).load() == content


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_that_pickle_gives(protocol: int) -> None:
    content = {
        "numbers": [0, -1, 255, 256, 65536, 2**31, 2**70, -(2**70), 0.5, float("inf")],
        "text": ["", "a", "é", "\ud800", "line\nbreak", "\\u0041", "x" * 300],
        "truth": [True, False, None],
        "nested": {"a": ({"b": [1, (2, 3)]},), 7: ()},
    }
    content["again"] = content["numbers"]

    raw = pickle.dumps(content, protocol)

    assert Interpreter(PickleStream(io.BytesIO(raw))).load() == content == pickle.loads(raw)


def test_every_operation_of_pickle_is_known() -> None:
    from pickletools import opcodes

    from accweight_adapters.pickles.interpreter import HANDLERS, STOP

    assert {ord(op.code) for op in opcodes} == {*HANDLERS, STOP}


def test_cutting_a_pickle_anywhere_is_an_error() -> None:
    raw = pickle.dumps({"a": [1.5, "text", (b"bytes", {1})], "b": os.path.join("x", "y")})

    for length in range(len(raw)):
        with pytest.raises((ClaimError, IndexError)):
            Interpreter(PickleStream(io.BytesIO(raw[:length]))).load()


SWELLING: dict[str, tuple[bytes, bytes, bytes]] = {
    "lists": (b"\x80\x02](", b"]", b"e."),
    "mappings": (b"\x80\x02](", b"}", b"e."),
    "objects": (b"\x80\x02cmy\nNet\nq\x00](", b"h\x00)\x81", b"e."),
    "numbers": (b"\x80\x02](", b"J\xff\xff\xff\x7f", b"e."),
    "memo": (b"\x80\x04]", b"\x94", b"."),
    "marks": (b"\x80\x02", b"(", b"."),
    "old lists": (b"(lp0\n", b"(la", b"."),
}
"""Pickles that make an object of every byte or two: beginning, what is repeated, end."""


@pytest.mark.parametrize("kind", SWELLING)
@pytest.mark.parametrize("container", ["packed", "objects, packed"])
def test_a_small_compressed_pickle_makes_no_more_objects_than_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str, kind: str
) -> None:
    monkeypatch.setattr(stream, "OPERATIONS_ALLOWED", 1000)
    first, each, last = SWELLING[kind]
    path = tmp_path / "a"
    name = CONTAINERS[container](path, first + each * 20_000 + last)

    assert "more parts than are searched for weights" in outcome(path, name)
    assert "more parts" not in outcome(path, CONTAINERS[container](path, first + each * 200 + last))


def test_a_few_kilobytes_make_no_millions_of_objects(tmp_path: Path) -> None:
    first, each, last = SWELLING["lists"]
    _packed(tmp_path / "a", first + each * 3_000_000 + last)
    assert (tmp_path / "a").stat().st_size < 5000

    tracemalloc.start()
    message = outcome(tmp_path / "a", "pickle")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "more parts than are searched for weights" in message
    assert peak < 30 << 20


def test_objects_in_the_arrays_of_joblib_count_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "OPERATIONS_ALLOWED", 1000)
    mixed = np.empty(20_000, object)
    mixed[:] = [[] for _ in mixed]
    joblib.dump({"w": np.ones((2, 2)), "mixed": mixed}, tmp_path / "a", compress=("gzip", 9))

    assert "more parts" in outcome(tmp_path / "a", "pickle")


def test_a_network_of_thousands_of_tensors_compresses_and_is_read(tmp_path: Path) -> None:
    state = {f"layers.{i}.weight": np.zeros((3, 3), np.float32) for i in range(1000)}
    (tmp_path / "a").write_bytes(gzip.compress(pickle.dumps(state)))

    assert outcome(tmp_path / "a", "pickle") == ""
    assert reader_named("pickle").recognises(tmp_path / "a")
