"""Zips of Stable-Baselines3: a real run, compressed copies, bombs, and what is never unpickled."""

from __future__ import annotations

import base64
import importlib.util
import io
import json
import pickle
import tracemalloc
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import as_arrays, small, states, write_torch
from generated import write_generated
from test_torch_reader import Mischief

import accweight_core as aw
from accweight_adapters.torch.reader import TorchReader
from accweight_adapters.torch.sb3_reader import StableBaselinesReader
from accweight_core.errors import FormatError
from accweight_core.runs.opening import survey
from accweight_core.schema import Extent, HiddenValues, Kind
from accweight_core.testing import values_of

READER = StableBaselinesReader()
NEEDS_LIBRARY = pytest.mark.skipif(
    importlib.util.find_spec("stable_baselines3") is None, reason="needs stable-baselines3"
)
METHODS = pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"]
)


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what Stable-Baselines3 itself wrote."""
    folder = tmp_path_factory.mktemp("sb3")
    write_generated("sb3_run", folder)
    return folder


def policy(state: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def zipped(path: Path, method: int = zipfile.ZIP_STORED, **members: bytes | None) -> Path:
    """Write a zip as `BaseAlgorithm.save` does; None leaves a member out."""
    settings = json.dumps({"num_timesteps": 64, "learning_rate": 0.25}).encode()
    content: Mapping[str, bytes | None] = {
        "data": settings,
        "pytorch_variables.pth": policy({}),
        "policy.pth": policy(small()),
        "policy.optimizer.pth": policy({"state": {0: {"m": torch.ones(3)}}, "param_groups": []}),
        "_stable_baselines3_version": b"2.9.2",
        **{name.replace("_pth", ".pth"): value for name, value in members.items()},
    }
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value)
    return path


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


# ---------------------------------------------------------------- a real run


@NEEDS_LIBRARY
def test_a_real_run_opens_by_its_folder(written: Path) -> None:
    run = aw.open_run(written / "run")

    assert run.reader == "sb3"
    assert [(c.step, c.step_source) for c in run.checkpoints] == [
        (step, "in file: num_timesteps") for step in (64, 128, 192)
    ]
    assert {layer.name: layer.kind for layer in run.layers} == dict.fromkeys(
        ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "mlp_extractor.value_net.0",
         "mlp_extractor.value_net.2", "action_net", "value_net"],
        Kind.LINEAR,
    )  # fmt: skip


@NEEDS_LIBRARY
def test_the_weights_of_a_real_run_are_those_of_the_library(written: Path) -> None:
    for checkpoint in survey(written / "run").checkpoints:
        expected = torch.load(written / "expected" / f"{checkpoint.step}.pt", weights_only=True)

        assert list(checkpoint.tensors) == list(expected)
        assert all(isinstance(t.values, Extent) for t in checkpoint.tensors.values())
        for name, tensor in checkpoint.tensors.items():
            np.testing.assert_array_equal(values_of(tensor), expected[name].numpy())
        assert checkpoint.measures == {"learning_rate": 0.0003}


@NEEDS_LIBRARY
def test_a_real_file_that_was_compressed_again_gives_the_same(
    written: Path, tmp_path: Path
) -> None:
    original = written / "run" / "ppo_64_steps.zip"
    with zipfile.ZipFile(original) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)

    pairs = zip(
        READER.describe(original).tensors, READER.describe(tmp_path / "a.zip").tensors, strict=True
    )

    for left, right in pairs:
        assert isinstance(right.values, HiddenValues)
        assert (left.name, left.shape, left.dtype) == (right.name, right.shape, right.dtype)
        np.testing.assert_array_equal(values_of(left), values_of(right))


# ---------------------------------------------------------------- what is described


@METHODS
def test_weights_of_all_layers_are_read(tmp_path: Path, method: int) -> None:
    state = states(1)[0]

    description = READER.describe(zipped(tmp_path / "a.zip", method, policy_pth=policy(state)))

    assert description.format == "Stable-Baselines3 zip"
    assert (description.step, description.step_key) == (64, "num_timesteps")
    assert description.measures == {"learning_rate": 0.25}
    expected = as_arrays(state)
    assert [t.name for t in description.tensors] == list(expected)
    for tensor in description.tensors:
        if tensor.dtype == "float32":
            np.testing.assert_array_equal(values_of(tensor), expected[tensor.name])


@METHODS
def test_policies_of_old_torch_and_odd_tensors_are_read(tmp_path: Path, method: int) -> None:
    base = torch.arange(24.0, dtype=torch.float64).reshape(4, 6)
    state = {"turned": base.T, "part": base[1:3, 2:5], "empty": torch.empty(0, 3),
             "half": base.bfloat16(), "eighth": base.to(torch.float8_e5m2)}  # fmt: skip
    content = policy(state, _use_new_zipfile_serialization=False)

    tensors = READER.describe(zipped(tmp_path / "a.zip", method, policy_pth=content)).tensors

    assert [t.dtype for t in tensors] == ["float64"] * 2 + ["float32", "bfloat16", "float8_e5m2"]
    for tensor in tensors:
        expected = state[tensor.name].to(torch.float64)
        np.testing.assert_array_equal(values_of(tensor), expected.numpy())


@pytest.mark.parametrize("steps", [None, "64", True, -1, 64.0, 2**62, [64]])
def test_a_number_of_steps_that_is_none_does_not_count(tmp_path: Path, steps: object) -> None:
    data = json.dumps({"num_timesteps": steps}).encode()

    assert READER.describe(zipped(tmp_path / "a.zip", data=data)).step is None


def test_the_name_gives_the_step_where_the_settings_do_not(tmp_path: Path) -> None:
    for steps in (1000, 20_000):
        content = policy(small(steps / 1000))
        zipped(tmp_path / f"rl_model_{steps}_steps.zip", data=b"{}", policy_pth=content)

    assert [c.step for c in survey(tmp_path).checkpoints] == [1000, 20_000]


def test_files_are_recognised_by_content(tmp_path: Path) -> None:
    zipped(tmp_path / "odd.name")
    write_torch(tmp_path / "a.pt", small())
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("log.txt", "hello")
    (tmp_path / "text").write_text("hello")

    assert READER.recognises(tmp_path / "odd.name")
    assert not TorchReader().recognises(tmp_path / "odd.name")
    assert not any(READER.recognises(tmp_path / n) for n in ("a.pt", "logs.zip", "text", "none"))


def test_other_zips_beside_checkpoints_are_passed_over(tmp_path: Path) -> None:
    for number in (1, 2):
        write_torch(tmp_path / f"epoch_{number}.pt", small(number))
    with zipfile.ZipFile(tmp_path / "logs.zip", "w") as archive:
        archive.writestr("log.txt", "hello")

    assert [c.step for c in survey(tmp_path).checkpoints] == [1, 2]


def test_a_zip_that_is_none_is_named(tmp_path: Path) -> None:
    zipped(tmp_path / "model_1_steps.zip")
    (tmp_path / "model_2_steps.zip").write_bytes(b"")

    with pytest.raises(FormatError, match=r"model_2_steps\.zip: the file is empty"):
        survey(tmp_path)


def test_a_zip_that_is_cut_short_is_recognised_and_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:400])

    assert READER.recognises(path)
    assert "cut short" in problem_of(path)


# ---------------------------------------------------------------- code


@METHODS
def test_code_in_the_policy_is_refused_and_not_run(tmp_path: Path, method: int) -> None:
    marker = tmp_path / "marker"
    state = {**small(), "x": Mischief(marker)}

    text = problem_of(zipped(tmp_path / "a.zip", method, policy_pth=policy(state)))

    assert "system'" in text
    assert not marker.exists()


def test_what_is_pickled_in_the_settings_and_beside_the_policy_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = Mischief(marker)
    pickled = base64.b64encode(pickle.dumps(evil)).decode()
    data = json.dumps({"num_timesteps": 8, "policy_class": {":serialized:": pickled}}).encode()
    others = {"pytorch_variables_pth": policy(evil), "policy.optimizer_pth": policy(evil)}

    description = READER.describe(zipped(tmp_path / "a.zip", data=data, **others))

    assert (len(description.tensors), description.step) == (2, 8)
    assert not marker.exists()


# ---------------------------------------------------------------- lies


@pytest.mark.parametrize("member", ["data", "policy_pth"])
def test_a_member_that_would_grow_beyond_reason_is_refused(tmp_path: Path, member: str) -> None:
    bomb = bytes(50_000_000)
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED, **{member: bomb})
    tracemalloc.start()

    try:
        text = problem_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert "would grow from" in text
    assert peak < 3_000_000


def patched(path: Path, name: str, **sizes: int) -> Path:
    """Change what the directory of a zip claims of a member."""
    places = {"crc": (16, 4), "stored": (20, 4), "original": (24, 4), "method": (10, 2)}
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(name.encode()))
    for what, number in sizes.items():
        start, length = places[what]
        content[entry + start : entry + start + length] = number.to_bytes(length, "little")
    path.write_bytes(content)
    return path


@METHODS
@pytest.mark.parametrize("size", [0, 1, 100, 2**31, 2**32 - 2])
def test_a_policy_that_lies_about_its_size_is_refused(
    tmp_path: Path, method: int, size: int
) -> None:
    path = patched(zipped(tmp_path / "a.zip", method), "policy.pth", original=size)
    tracemalloc.start()

    try:
        problem_of(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 3_000_000


def test_compressed_bytes_that_are_damaged_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)

    assert "damaged" in problem_of(patched(path, "policy.pth", crc=7))


def test_values_that_change_after_they_were_described_are_an_error(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", zipfile.ZIP_DEFLATED)
    tensor = READER.describe(path).tensors[0]
    path.write_bytes(path.read_bytes()[:500])

    assert isinstance(tensor.values, HiddenValues)
    with pytest.raises(FormatError):
        tensor.values.load()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_to_compress_are_refused(tmp_path: Path, method: int) -> None:
    assert "compressed" in problem_of(zipped(tmp_path / "a.zip", method))


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"data": None}, "holds 'data'; this one does not"),
        ({"policy_pth": None}, "holds 'policy.pth'; this one does not"),
        ({"data": b"{"}, "its settings are damaged"),
        ({"data": b"[" * 100_000}, "its settings are damaged"),
        ({"data": b"[]"}, "not a JSON object"),
        ({"data": b'{"num_timesteps": ' + b"1" * 5000 + b"}"}, "its settings are damaged"),
        ({"data": b"\xff\xfe"}, "its settings are damaged"),
        ({"policy_pth": b""}, "is empty"),
        ({"policy_pth": b"hello"}, "neither a zip of torch.save"),
        ({"policy_pth": policy({})}, "holds no weights"),
        ({"policy_pth": policy(small())[:-100]}, "cut short"),
        ({"policy_pth": zlib.compress(b"x")}, "neither a zip"),
    ],
)
@METHODS
def test_a_zip_that_lacks_something_says_what(
    tmp_path: Path, members: dict[str, bytes | None], expected: str, method: int
) -> None:
    assert expected in problem_of(zipped(tmp_path / "a.zip", method, **members))


def test_a_member_that_comes_twice_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("policy.pth", policy(small(1)))

    assert "twice" in problem_of(path)
