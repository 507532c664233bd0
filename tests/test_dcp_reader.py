"""Distributed checkpoints: folders that torch wrote, from one process and from four."""

from __future__ import annotations

import argparse
import importlib
import os
import pickle
import runpy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp
from checkpoints import as_arrays, states, write_torch
from test_torch_reader import Mischief
from torch import nn
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    TensorStorageMetadata,
)

import accweight_core as aw
from accweight_adapters.torch.distributed_reader import DistributedReader
from accweight_adapters.torch.reader import TorchReader
from accweight_core.errors import FormatError
from accweight_core.runs.opening import survey
from accweight_core.schema import Description, Extent, HiddenValues
from accweight_core.testing import values_of

READER = DistributedReader()
DATA = Path(__file__).parent / "data" / "dcp_sharded"
GENERATOR = Path(__file__).parent / "generators" / "dcp_sharded.py"
STATE = {"fc.weight": torch.arange(12.0).reshape(3, 4), "fc.bias": torch.ones(3)}


def saved(folder: Path, content: dict[str, Any], **options: Any) -> Path:
    """Save as one process does; return the metadata."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # there is no group of processes
        writer = dcp.FileSystemWriter(folder, **options)
        dcp.save(content, storage_writer=writer, no_dist=True)
    return folder / ".metadata"


def described(folder: Path, content: dict[str, Any], **options: Any) -> Description:
    return READER.describe(saved(folder, content, **options))


def names(description: Description) -> list[str]:
    return [tensor.name for tensor in description.tensors]


def problem_of(path: Path) -> str:
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(path))
    return str(caught.value)


def metadata_in(path: Path) -> Metadata:
    with path.open("rb") as file:
        content: Metadata = pickle.load(file)
    return content


def changed(path: Path, change: Callable[[Metadata], object]) -> Path:
    """Write metadata again, as torch would, after a change."""
    metadata = metadata_in(path)
    change(metadata)
    path.write_bytes(pickle.dumps(metadata))
    return path


def sharded(tmp_path: Path) -> Path:
    """Return the metadata of a copy of a real checkpoint of four ranks."""
    return Path(shutil.copytree(DATA / "step-10", tmp_path / "step-10")) / ".metadata"


def entry(metadata: Metadata, name: str) -> TensorStorageMetadata:
    found = metadata.state_dict_metadata[name]
    assert isinstance(found, TensorStorageMetadata)
    return found


def info(metadata: Metadata, name: str, *offset: int) -> Any:
    return metadata.storage_data[MetadataIndex(name, offset)]


# ---------------------------------------------------------------- what one process saves


@pytest.mark.parametrize("single", [True, False], ids=["one file", "a file per tensor"])
def test_a_checkpoint_of_one_process_is_described_where_its_values_lie(
    tmp_path: Path, single: bool
) -> None:
    state = states(1)[0]

    description = described(tmp_path / "c", {"model": state}, single_file_per_rank=single)

    assert names(description) == list(state)
    assert all(isinstance(t.values, Extent) for t in description.tensors)
    for name, expected in as_arrays(state).items():
        tensor = next(t for t in description.tensors if t.name == name)
        assert (tensor.shape, tensor.dtype) == (
            expected.shape,
            str(state[name].dtype).removeprefix("torch."),
        )
        if tensor.dtype == "float32":
            np.testing.assert_array_equal(values_of(tensor), expected)
    assert {Path(f).suffix for f in description.files[1:]} == {".distcp"}


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "float8_e5m2", "complex64"])
def test_every_element_type_is_found_at_its_bytes(tmp_path: Path, dtype: str) -> None:
    values = torch.tensor([[0.0, 1.0], [2.0, 4.0]]).to(getattr(torch, dtype))

    (tensor,) = described(tmp_path / "c", {"w": values}).tensors

    assert tensor.dtype == dtype
    assert values_of(tensor).real.tolist() == [[0, 1], [2, 4]]


def test_views_and_odd_shapes_are_read(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    image = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    state = {"part": base[:, 1:], "turned": base.permute(2, 0, 1), "image": image,
             "scalar": torch.tensor(2.5), "empty": torch.empty(0, 7)}  # fmt: skip

    tensors = {t.name: t for t in described(tmp_path / "c", {"model": state}).tensors}

    assert set(tensors) == set(state)
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(values_of(tensor), state[name].numpy())


def test_the_state_of_the_optimizer_is_left_out(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 4)).sum().backward()
    optimizer.step()
    content = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loss": 0.5}

    description = described(tmp_path / "c", content)

    assert names(description) == list(model.state_dict())
    assert description.notes == ("left out 'optimizer': training state, not weights",)
    assert description.measures == {"loss": 0.5}


@pytest.mark.parametrize(
    ("beside", "expected"),
    [
        ({"step": 7}, (7, "step")),
        ({"global_step": 9, "epoch": 2}, (9, "global_step")),
        ({"epoch": torch.tensor(7)}, (None, "")),
        ({"step": "7"}, (None, "")),
        ({"step": argparse.Namespace()}, (None, "")),
        ({"train": {"step": 7}}, (None, "")),
        ({}, (None, "")),
    ],
)
def test_the_step_is_read_beside_the_model(
    tmp_path: Path, beside: dict[str, Any], expected: tuple[int | None, str]
) -> None:
    description = described(tmp_path / "c", {"model": STATE, **beside})

    assert names(description) == list(STATE)
    assert (description.step, description.step_key) == expected


def test_a_checkpoint_is_named_by_its_metadata_or_its_folder(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", STATE)

    assert READER.recognises(path)
    assert READER.recognises(path.parent)
    assert not READER.recognises(tmp_path)
    assert not READER.recognises(tmp_path / "gone")
    assert READER.describe(path.parent) == READER.describe(path)


def test_wrapping_prefixes_are_stripped_as_ever(tmp_path: Path) -> None:
    state = {f"module._orig_mod.{name}": value for name, value in STATE.items()}

    assert names(described(tmp_path / "c", {"app": {"model": state}})) == list(STATE)


# ---------------------------------------------------------------- what four processes save


@pytest.mark.parametrize("step", [10, 20])
def test_a_checkpoint_of_four_ranks_is_put_together(step: int) -> None:
    expected = runpy.run_path(str(GENERATOR))["whole"](step)

    description = READER.describe(DATA / f"step-{step}")

    tensors = {t.name: t for t in description.tensors}
    assert set(tensors) == set(expected)
    for name, tensor in tensors.items():
        assert tensor.dtype == str(expected[name].dtype).removeprefix("torch.")
        if isinstance(tensor.values, HiddenValues):
            found = np.ascontiguousarray(tensor.values.load())  # codes, where NumPy has no dtype
            assert found.tobytes() == bytes(expected[name].contiguous().view(torch.uint8).numpy())
        else:
            np.testing.assert_array_equal(values_of(tensor), expected[name].numpy())
    assert len(description.files) == 5


def test_the_library_puts_the_same_together() -> None:
    expected = runpy.run_path(str(GENERATOR))["whole"](10)
    loaded = {f"model.{name}": torch.zeros_like(value) for name, value in expected.items()}

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.load(loaded, checkpoint_id=DATA / "step-10", no_dist=True)

    for name, value in expected.items():
        found = loaded[f"model.{name}"].contiguous().view(torch.uint8)
        assert torch.equal(found, value.contiguous().view(torch.uint8))


def test_tensors_of_several_ranks_are_in_natural_order_and_know_how_they_lie() -> None:
    tensors = READER.describe(DATA / "step-10").tensors

    assert [t.name for t in tensors] == [
        "eighth.weight",
        "half.weight",
        "layer2.weight",
        "layer2.bias",
        "layer10.weight",
        "table.codes",
    ]
    assert [isinstance(t.values, HiddenValues) for t in tensors] == [True] * 3 + [False] + [
        True
    ] * 2


def test_a_run_of_four_ranks_is_analysed() -> None:
    analysis = aw.analyze(aw.open_run(DATA))

    assert list(analysis.steps) == [10, 20]
    assert analysis.ranking(by="mean").set_index("layer")["mean"].to_dict() == {
        "layer2": 10.0,
        "layer10": 10.0,
        "half": 10.0,
        "eighth": pytest.approx(10.0, abs=0.5),
    }


# ---------------------------------------------------------------- finding them


def test_a_run_opens_by_its_folder_and_takes_steps_from_names(tmp_path: Path) -> None:
    for step in (2, 10):
        saved(tmp_path / f"step-{step}", {"model": {k: v + step for k, v in STATE.items()}})
        write_torch(tmp_path / f"step-{step}" / "meta.pt", {"rest": torch.ones(1)})

    opened = survey(tmp_path)

    assert opened.reader == "torch_distributed"
    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (2, "in name: step"),
        (10, "in name: step"),
    ]


@pytest.mark.parametrize("pattern", ["checkpoint_{}", "global_step{}", "epoch=1-step={}.ckpt"])
def test_folders_of_any_name_are_found(tmp_path: Path, pattern: str) -> None:
    for step in (2, 10):
        saved(tmp_path / pattern.format(step), {"state_dict": STATE})

    assert [c.step for c in survey(tmp_path).checkpoints] == [2, 10]


def test_a_save_that_was_interrupted_is_noted(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        saved(tmp_path / f"step-{step}", STATE)
    (tmp_path / "step-3" / ".metadata").unlink()

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [1, 2]
    assert "step-3 left out: no weights there; was a save or a removal interrupted?" in opened.notes


def test_the_folders_of_hugging_faces_fsdp_are_read(tmp_path: Path) -> None:
    for step in (5, 10):
        folder = tmp_path / f"checkpoint-{step}"
        saved(folder / "pytorch_model_fsdp_0", {"model": STATE})
        saved(folder / "optimizer_0", {"optimizer": {"state": {"m": torch.ones(1)}}})
        torch.save({}, folder / "scheduler.pt")
        (folder / "trainer_state.json").write_text(f'{{"global_step": {step}, "epoch": 0.5}}')

    opened = survey(tmp_path)

    assert [c.step for c in opened.checkpoints] == [5, 10]
    assert opened.checkpoints[0].measures == {"epoch": 0.5}
    assert "left out, not weights: 2 x optimizer_0" in opened.notes


def test_metadata_of_other_programs_is_passed_over(tmp_path: Path) -> None:
    for step in (1, 2):
        write_torch(tmp_path / f"epoch_{step}.pt", STATE)
    (tmp_path / ".metadata").write_text("version: 1\n")

    opened = survey(tmp_path)

    assert (opened.reader, len(opened.checkpoints)) == ("torch", 2)


def test_one_of_the_files_alone_says_to_name_the_folder(tmp_path: Path) -> None:
    saved(tmp_path / "c", STATE)

    with pytest.raises(FormatError, match="give its folder"):
        TorchReader().describe(tmp_path / "c" / "__0_0.distcp")


# ---------------------------------------------------------------- lies


@pytest.mark.parametrize(
    "name", ["../evil.distcp", "/etc/passwd", "a/b.distcp", "a\\b", "", "..", "a\nb", "gone.distcp"]
)
def test_a_file_outside_the_folder_or_missing_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "c", STATE)
    shutil.copy(path.parent / "__0_0.distcp", tmp_path / "evil.distcp")

    def change(metadata: Metadata) -> None:
        info(metadata, "fc.weight", 0, 0).relative_path = name

    text = problem_of(changed(path, change))

    assert text.startswith(f"{path}: ")
    assert "names a file" in text or f"its file '{name}' is missing" in text


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", STATE)
    (path.parent / "__0_0.distcp").rename(tmp_path / "outside")
    (path.parent / "__0_0.distcp").symlink_to(tmp_path / "outside")

    assert "leads out" in problem_of(path)


def _set(**fields: Any) -> Callable[[Metadata], None]:
    return lambda m: info(m, "fc.weight", 0, 0).__dict__.update(fields)


def _chunk(offsets: Any, sizes: Any) -> Callable[[Metadata], None]:
    def change(metadata: Metadata) -> None:
        entry(metadata, "fc.weight").chunks[0] = ChunkStorageMetadata(offsets, sizes)

    return change


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_set(offset=1), "in '__0_0.distcp', byte 1: "),
        (_set(offset=10**9), "a part of it reaches to byte"),
        (_set(offset=-1), "claims an offset of -1"),
        (_set(offset=2**63), "claims an offset of"),
        (_set(offset="0"), "claims an offset of '0'"),
        (_set(length=10), "in '__0_0.distcp', byte 0: "),
        (_set(length=0), "in '__0_0.distcp', byte 0: the file is empty"),
        (_set(length=10**12), "a part of it reaches to byte"),
        (_set(length=True), "claims a length of True"),
        (_set(relative_path=3), "something that is not text"),
        (_chunk((0, 0), (3, 5)), "reaches beyond its shape (3, 4)"),
        (_chunk((0, 0), (2, 4)), "do not add up"),
        (_chunk((0,), (12,)), "is listed, but stored nowhere"),
        (_chunk((1, 0), (2, 4)), "is listed, but stored nowhere"),
        (_chunk((0, 0), (-3, -4)), "expected an integer"),
        (_chunk((0, 0), (2**40, 2**40)), "a number of elements"),
        (_chunk("ab", (3, 4)), "that is not a list"),
        (_chunk((0, 0), None), "that is not a list"),
        (lambda m: entry(m, "fc.weight").__dict__.update(size=(4, 3)), "beyond its shape"),
        (lambda m: entry(m, "fc.weight").__dict__.update(size=(3, 5)), "do not add up"),
        (lambda m: entry(m, "fc.weight").__dict__.update(chunks=None), "has no list of chunks"),
        (lambda m: entry(m, "fc.weight").__dict__.update(chunks=[3]), "something else where"),
        (lambda m: entry(m, "fc.weight").chunks.clear(), "do not add up"),
        (lambda m: entry(m, "fc.weight").__dict__.update(properties=3), "has no element type"),
        (lambda m: entry(m, "fc.weight").properties.__dict__.update(dtype=torch.float64),
         "expected a tensor of float64"),
        (lambda m: m.__dict__.update(storage_data=None), "does not say where"),
        (lambda m: m.__dict__.update(storage_data={"fc.weight": 3}), "something else where"),
        (lambda m: m.__dict__.update(state_dict_metadata=[]), "does not list what was saved"),
        (lambda m: m.__dict__.update(state_dict_metadata={}), "holds no weights"),
        (lambda m: m.state_dict_metadata.update({"x": 3}), "which is neither a tensor nor a value"),
        (lambda m: m.__dict__.update(planner_data={"fc.weight": ("a",), "fc.bias": ("a",)}),
         "would both be called 'a'"),
        (lambda m: m.__dict__.update(planner_data={"fc.weight": ("a", "b"), "fc.bias": ("a",)}),
         "would both be called 'a'"),
        (lambda m: m.__dict__.update(planner_data={"fc.weight": ("a", None)}), "are not names"),
    ],
)  # fmt: skip
def test_metadata_that_cannot_be_true_is_an_error(
    tmp_path: Path, change: Callable[[Metadata], None], expected: str
) -> None:
    path = changed(saved(tmp_path / "c", STATE), change)

    text = problem_of(path)

    assert text.startswith(f"{path}: ")
    assert expected in text


@pytest.mark.parametrize("planned", [None, 3, {}, {"fc.weight": ()}, {"fc.weight": ["k"] * 99}])
def test_paths_that_the_planner_did_not_keep_are_the_names_themselves(
    tmp_path: Path, planned: object
) -> None:
    path = saved(tmp_path / "c", STATE)

    changed(path, lambda m: m.__dict__.update(planner_data=planned))

    assert names(READER.describe(path)) == list(STATE)


def test_chunks_that_overlap_are_refused_when_they_are_read(tmp_path: Path) -> None:
    def change(metadata: Metadata) -> None:
        name = "model.layer10.weight"
        first = entry(metadata, name).chunks[0]  # four rows of seven, three columns of five
        moved = ChunkStorageMetadata(torch.Size([1, 0]), first.sizes)
        metadata.storage_data[MetadataIndex(name, [1, 0])] = info(metadata, name, 0, 0)
        entry(metadata, name).chunks[:] = [first, moved]
        entry(metadata, name).size = torch.Size([8, 3])

    path = changed(sharded(tmp_path), change)
    tensor = next(t for t in READER.describe(path).tensors if t.name == "layer10.weight")

    assert isinstance(tensor.values, HiddenValues)
    with pytest.raises(FormatError, match=r"two chunks of tensor 'layer10\.weight' overlap"):
        tensor.values.load()


def test_a_tensor_larger_than_its_files_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", {"w": torch.ones(100_000)})

    def change(metadata: Metadata) -> None:
        offsets = [MetadataIndex("w", [100_000 * n]) for n in range(10)]
        metadata.storage_data |= dict.fromkeys(offsets, info(metadata, "w", 0))
        sizes = torch.Size([100_000])
        entry(metadata, "w").chunks = [ChunkStorageMetadata(i.offset, sizes) for i in offsets]
        entry(metadata, "w").size = torch.Size([1_000_000])

    assert "needs more bytes than its files have" in problem_of(changed(path, change))


def test_a_chunk_that_is_cut_short_is_named(tmp_path: Path) -> None:
    path = sharded(tmp_path)
    file = path.parent / "__3_0.distcp"
    file.write_bytes(file.read_bytes()[:2000])

    assert "'__3_0.distcp'" in problem_of(path)


def test_tensors_packed_by_an_extension_are_listed_with_the_reason(tmp_path: Path) -> None:
    path = saved(tmp_path / "c", STATE)

    changed(path, _set(transform_descriptors=["zstd"]))

    weight, bias = READER.describe(path).tensors
    assert weight.refusal == "packed by 'zstd'; save it without extensions"
    assert not bias.refusal


def test_an_empty_and_a_foreign_file_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"")
    (tmp_path / "other").write_bytes(pickle.dumps({"a": 1}))

    assert "empty (0 bytes)" in problem_of(tmp_path / ".metadata")
    assert "not the metadata" in problem_of(tmp_path / "other")
    assert not READER.recognises(tmp_path / "other")
    assert "No such file" in problem_of(tmp_path / "gone")


# ---------------------------------------------------------------- code


def _put_code(place: str, evil: object) -> Callable[[Metadata], None]:
    def change(metadata: Metadata) -> None:
        {
            "planner": lambda: metadata.__dict__.update(planner_data={"fc.weight": evil}),
            "storage": lambda: info(metadata, "fc.weight", 0, 0).__dict__.update(length=evil),
            "meta": lambda: metadata.__dict__.update(storage_meta=[{"a": (evil,)}]),
            "name": lambda: metadata.state_dict_metadata.update({evil: None}),
        }[place]()

    return change


@pytest.mark.parametrize("place", ["planner", "storage", "meta", "name"])
def test_code_in_the_metadata_is_refused_and_not_run(tmp_path: Path, place: str) -> None:
    marker = tmp_path / "marker"
    path = changed(saved(tmp_path / "c", STATE), _put_code(place, Mischief(marker)))

    text = problem_of(path)

    assert "system'" in text
    assert not marker.exists()


@pytest.mark.parametrize(
    "other",
    [argparse.Namespace(), nn.Linear, print, getattr, dcp.FileSystemReader],
    ids=lambda other: getattr(other, "__name__", "instance"),
)
def test_other_classes_in_the_metadata_do_not_cost_the_weights(
    tmp_path: Path, other: object
) -> None:
    path = changed(saved(tmp_path / "c", STATE), _put_code("meta", other))

    assert names(READER.describe(path)) == list(STATE)


@pytest.mark.parametrize("evil", [importlib.import_module, eval, torch.load, os.system])
def test_functions_that_run_code_are_refused_in_the_metadata(tmp_path: Path, evil: object) -> None:
    path = changed(saved(tmp_path / "c", STATE), _put_code("meta", evil))

    assert "only plain weights are read" in problem_of(path)


def test_code_in_a_chunk_is_refused_and_not_run(tmp_path: Path) -> None:
    path, marker = saved(tmp_path / "c", STATE), tmp_path / "marker"
    evil = path.parent / "__0_0.distcp"
    torch.save({"w": Mischief(marker)}, evil)

    def change(metadata: Metadata) -> None:
        _set(offset=0, length=evil.stat().st_size)(metadata)

    text = problem_of(changed(path, change))

    assert "system'" in text
    assert not marker.exists()


def test_code_in_a_value_beside_the_model_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    description = described(tmp_path / "c", {"model": STATE, "step": Mischief(marker)})

    assert (names(description), description.step) == (list(STATE), None)
    assert not marker.exists()
