"""Every reader through HTTP gives what it gives locally, bit for bit."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import keras_files
import numpy as np
import onnx
import pytest
import torch
from checkpoints import (
    as_arrays,
    states,
    write_legacy,
    write_onnx,
    write_safetensors,
    write_sharded,
    write_torch,
)
from trainer_files import (
    copy_sharded,
    write_distributed,
    write_lightning,
    write_sb3,
    write_torch_shards,
)
from web_server import serving

import accweight_core as aw
from accweight_core.dtypes import is_measurable
from accweight_core.errors import FormatError
from accweight_core.readers import reader_for
from accweight_core.remote import path_at
from accweight_core.runs.inspection import inspected
from accweight_core.testing import values_of

Write = Callable[[Path, dict[str, torch.Tensor]], object]


def trained(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write what Hugging Face's Trainer writes."""
    write_safetensors(folder / "model.safetensors", state)
    step = int(folder.name.rpartition("-")[2])
    log = [{"step": step, "loss": 1 / step, "epoch": step / 10}]
    told = {"global_step": step, "epoch": step / 10, "log_history": log}
    (folder / "trainer_state.json").write_text(json.dumps(told))
    torch.save({"state": 1}, folder / "optimizer.pt")


def inline_onnx(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a model with its weights inside."""
    model = onnx.load(write_onnx(folder / "part.onnx", state))
    for file in folder.iterdir():
        file.unlink()
    onnx.save(model, folder / "model.onnx")


def keras(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write weights of Keras, moved with the state."""
    moved = float(next(iter(state.values())).sum())
    keras_files.write_keras3(
        folder / "a.weights.h5", {n: v + moved for n, v in keras_files.weights().items()}
    )


def keras_archive(folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a model of Keras, moved with the state."""
    moved = float(next(iter(state.values())).sum())
    keras_files.write_archive(
        folder / "a.keras", {n: v + moved for n, v in keras_files.weights().items()}
    )


WRITERS: dict[str, Write] = {
    "torch": lambda folder, state: write_torch(folder / "a.pt", state),
    "legacy": lambda folder, state: write_legacy(folder / "a.pth", state),
    "lightning": lambda folder, state: write_lightning(folder / "a.ckpt", state),
    "torch index": lambda folder, state: write_torch_shards(
        folder / "pytorch_model.bin.index.json", state
    ),
    "safetensors": lambda folder, state: write_safetensors(folder / "a.safetensors", state),
    "safetensors index": lambda folder, state: write_sharded(
        folder / "model.safetensors.index.json", state, 3
    ),
    "trainer": trained,
    "distributed": write_distributed,
    "onnx": lambda folder, state: write_onnx(folder / "a.onnx", state),
    "onnx inline": inline_onnx,
    "npz": lambda folder, state: np.savez(folder / "a.npz", **as_arrays(state)),
    "npz compressed": lambda folder, state: np.savez_compressed(
        folder / "a.npz", **as_arrays(state)
    ),
    "keras weights": keras,
    "keras archive": keras_archive,
    "sb3": lambda folder, state: write_sb3(folder / "a.zip", state),
    "sb3 compressed": lambda folder, state: write_sb3(
        folder / "a.zip", state, zipfile.ZIP_DEFLATED
    ),
}


@pytest.mark.parametrize("form", WRITERS)
def test_a_run_over_http_is_the_run_on_disk(tmp_path: Path, form: str) -> None:
    for number, state in enumerate(states(3), start=1):
        folder = tmp_path / "run" / f"checkpoint-{10 * number}"
        folder.mkdir(parents=True)
        WRITERS[form](folder, state)
    local = inspected(str(tmp_path / "run"))

    with serving(tmp_path) as served:
        remote = inspected(f"{served.url}/run/")
        analysis = aw.analyze(aw.open_run(f"{served.url}/run"), threads=2)

    assert {method for method, _, _ in served.requests} == {"GET"}
    expected = json.dumps(local.to_json()).replace(str(tmp_path), served.url)
    assert remote.to_json() == json.loads(expected)
    on_disk = aw.analyze(aw.open_run(tmp_path / "run"))
    assert analysis.header.parameters == on_disk.header.parameters
    assert np.array_equal(analysis.values, on_disk.values, equal_nan=True)
    assert analysis.maximum
    assert analysis.maximum.value > 0


def test_chunks_of_four_processes_are_put_together_over_http(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    folder = copy_sharded(tmp_path / "source").parent
    shutil.copytree(folder, tmp_path / "served" / "step_1")
    shutil.copytree(folder, tmp_path / "served" / "step_2")

    with serving(tmp_path / "served") as served:
        analysis = aw.analyze(aw.open_run(f"{served.url}/"))

    on_disk = aw.analyze(aw.open_run(tmp_path / "served"))
    assert np.array_equal(analysis.values, on_disk.values)


@pytest.mark.parametrize("big", [300, 700])
def test_many_records_of_torch_are_found_without_looking_at_each(tmp_path: Path, big: int) -> None:
    for epoch in range(2):
        state = {f"{i}.weight": torch.full((big, 9 + i % 7), i + epoch / 2) for i in range(120)}
        write_torch(tmp_path / f"epoch_{epoch}.pt", state)

    with serving(tmp_path) as served:
        run = aw.open_run(f"{served.url}/*.pt")
        assert len([path for _, path, _ in served.requests if "epoch_0" in path]) <= 5

    local = aw.open_run(tmp_path)
    for ours, theirs in zip(run.checkpoints, local.checkpoints, strict=True):
        assert [t.values.offset for t in ours.tensors.values()] == [  # type: ignore[union-attr]
            t.values.offset
            for t in theirs.tensors.values()  # type: ignore[union-attr]
        ]


def test_records_of_a_zip_that_others_packed_are_looked_at(tmp_path: Path) -> None:
    state = {f"{i}.weight": torch.randn(40, 30) for i in range(20)}
    whole = write_torch(tmp_path / "whole.pt", state)
    packed = tmp_path / "packed.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))

    with serving(tmp_path) as served:
        names = ("packed.pt", "whole.pt")
        run = aw.open_run([f"{served.url}/{name}" for name in names], in_given_order=True)
        analysis = aw.analyze(run)

    assert analysis.maximum
    assert analysis.maximum.value == 0.0


def test_records_with_gaps_between_them_are_looked_at(tmp_path: Path) -> None:
    state = {f"{i}.weight": torch.randn(16, 16) for i in range(20)}
    whole = write_torch(tmp_path / "whole.pt", state)
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(tmp_path / "gaps.pt", "w") as target:
        for name in source.namelist():
            info, content = zipfile.ZipInfo(name), source.read(name)
            begins = target.start_dir + 30 + len(name) + 4
            info.extra = struct.pack("<HH", 0x4246, -begins % 64) + bytes(-begins % 64)
            target.writestr(info, content)
            target.fp.write(bytes(64))  # type: ignore[union-attr]
            target.start_dir += 64

    with serving(tmp_path) as served:
        names = ("gaps.pt", "whole.pt")
        run = aw.open_run([f"{served.url}/{name}" for name in names], in_given_order=True)
        analysis = aw.analyze(run)

    assert analysis.maximum
    assert analysis.maximum.value == 0.0


# --- names in files --------------------------------------------------------------------------

OUTSIDE = (
    "../secret.safetensors",
    "/etc/secret.safetensors",
    "http://127.0.0.1:9/evil.safetensors",
    "x::file:///etc/secret.safetensors",
    "a\\b.safetensors",
    "%2e%2e/secret.safetensors",
    "..%2fsecret.safetensors",
    "?x=.safetensors",
)


@pytest.mark.parametrize("name", OUTSIDE)
def test_an_index_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    write_safetensors(tmp_path / "secret.safetensors", states(1)[0])
    index = {"weight_map": {"a": name}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with serving(tmp_path) as served:
        with pytest.raises(FormatError):
            aw.open_run(f"{served.url}/run/model.safetensors.index.json")

        asked = {path for _, path, _ in served.requests}
    assert not any("secret" in path and "%25" not in path and "%2F" not in path for path in asked)
    assert all(path.startswith("/run/") for path in asked)


@pytest.mark.parametrize(
    "location", ["../w.bin", "/w.bin", "http://127.0.0.1:9/w.bin", "a/../../w"]
)
def test_external_data_of_onnx_leads_nowhere_else(tmp_path: Path, location: str) -> None:
    path = write_onnx(tmp_path / "run.onnx", states(1)[0])
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(model, path)

    with serving(tmp_path) as served:
        with pytest.raises(FormatError):
            aw.open_run(f"{served.url}/run.onnx")
        assert {path for _, path, _ in served.requests} <= {"/run.onnx", "/http:/127.0.0.1:9/w.bin"}


def test_damaged_files_over_http_are_refused_in_a_line_or_described(tmp_path: Path) -> None:
    chance = random.Random(3)
    forms = ("torch", "safetensors", "npz", "sb3", "onnx inline", "keras weights", "legacy")
    for form in forms:
        (tmp_path / form.replace(" ", "_")).mkdir()
        WRITERS[form](tmp_path / form.replace(" ", "_"), states(1)[0])
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    with serving(tmp_path) as served:
        for path, content in whole.items():
            for _ in range(int(os.environ.get("ACCWEIGHT_FUZZ_CASES", "8"))):
                path.write_bytes(damaged(content, chance))
                problem = refusal(f"{served.url}/{path.relative_to(tmp_path).as_posix()}")
                assert "\n" not in problem
                assert not problem or path.name in problem


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return the content cut somewhere, or with a bit flipped."""
    place = chance.randrange(len(content))
    if chance.random() < 0.5:
        return content[:place]
    flipped = bytes([content[place] ^ 1 << chance.randrange(8)])
    return content[:place] + flipped + content[place + 1 :]


def refusal(url: str) -> str:
    """Return why a file is refused, when it is described or when it is read; or nothing."""
    path = path_at(url)
    try:
        reader = reader_for(path)
        if reader is None:
            return ""
        description = reader.describe(path)
    except FormatError as error:
        return str(error)
    for tensor in description.tensors:
        if is_measurable(tensor.dtype) and not tensor.refusal:
            try:
                values_of(tensor)
            except FormatError as error:
                return str(error)
    return ""
