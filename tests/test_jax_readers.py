"""Orbax and msgpack of Flax, on a run that Flax trained and saved in every layout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from fuzzing import is_refused, mutations
from test_imports import run_python

import accweight_core as aw
from accweight_adapters.jax.msgpack_reader import MsgpackReader
from accweight_adapters.jax.orbax_reader import OrbaxReader
from accweight_core.errors import FormatError
from accweight_core.naming import layers_of
from accweight_core.runs.opening import survey
from accweight_core.schema import Axis, Extent, HiddenValues, Kind, Role
from accweight_core.testing import ReaderCase, ReaderContract, values_of

ORBAX, MSGPACK = OrbaxReader(), MsgpackReader()
STEPS = (2, 4, 10)
LAYOUTS = ("manager", "items", "zarr", "zarr3", "store3", "legacy", "bytes")
MARK = "_CHECKPOINT_METADATA"
MOST_BYTES = 16 << 20


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the run, which is trained once for all processes of pytest."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "jax_run"
    with FileLock(f"{root}.lock"):
        if not (root / "nnx").is_dir():
            script = Path(__file__).parent / "generators" / "jax_run.py"
            root.mkdir()
            done = subprocess.run(
                [sys.executable, str(script), str(root)], capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr[-2000:]
    return root


def expected(run: Path, step: int) -> dict[str, np.ndarray]:
    with np.load(run / "expected" / f"{step}.npz") as archive:
        return dict(archive)


def problem_of(path: Path, names: str = "") -> str:
    with pytest.raises(FormatError) as caught:
        ORBAX.describe(path)
    assert "\n" not in str(caught.value)
    assert (names or path.name) in str(caught.value)
    return str(caught.value)


def copied(run: Path, tmp_path: Path, layout: str = "manager/10") -> Path:
    """Return a copy of one checkpoint that may be damaged."""
    return Path(shutil.copytree(run / layout, tmp_path / Path(layout).name))


# ---------------------------------------------------------------- whole runs


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_is_found_in_order_and_read_bit_by_bit(run: Path, layout: str) -> None:
    opened = survey(run / layout)

    assert opened.reader == ("flax" if layout in ("legacy", "bytes") else "orbax")
    assert [c.step for c in opened.checkpoints] == list(STEPS)
    for checkpoint in opened.checkpoints:
        weights = expected(run, checkpoint.step)
        assert set(checkpoint.tensors) == set(weights)
        for name, tensor in checkpoint.tensors.items():
            np.testing.assert_array_equal(values_of(tensor), weights[name], err_msg=name)


@pytest.mark.parametrize("layout", ["manager", "zarr", "legacy"])
def test_an_analysis_gives_what_the_arrays_give(run: Path, tmp_path: Path, layout: str) -> None:
    series = [expected(run, step) for step in STEPS]

    analysis = aw.analyze(aw.open_run(run / layout), out=tmp_path / "a.accw")

    for name in ("Conv_0.kernel", "Dense_1.kernel", "Embed_0.embedding"):
        walked = sum(abs(b[name] - a[name]) for a, b in pairwise(series))
        np.testing.assert_allclose(analysis.cumulative(name), walked, rtol=1e-6)


@pytest.mark.parametrize(
    ("layout", "source"),
    [("manager", "in file: step"), ("items", "number in name"), ("zarr", "in name: step"),
     ("legacy", "in file: step"), ("bytes", "in name: epoch")],
)  # fmt: skip
def test_steps_come_from_the_state_else_from_names(run: Path, layout: str, source: str) -> None:
    assert {c.step_source for c in survey(run / layout).checkpoints} == {source}


def test_metrics_and_notes_in_json_are_measures(run: Path) -> None:
    managed, items = (survey(run / layout).checkpoints for layout in ("manager", "items"))

    assert [c.measures for c in managed] == [{"acc": s / 16, "loss": 1 / s} for s in STEPS]
    assert items[0].measures == {"val_loss": 0.5}


@pytest.mark.parametrize(
    ("layout", "key"), [("manager", "default.opt_state"), ("items", "opt_state")]
)
def test_the_state_of_the_optimizer_is_left_out(run: Path, layout: str, key: str) -> None:
    note = f"3 checkpoints: left out '{key}': training state, not weights"

    assert note in survey(run / layout).notes


WITHOUT_ZARR = """
from pathlib import Path
import numpy as np
from accweight_core.runs.opening import survey
from accweight_core.testing import values_of

for layout in ("manager", "items", "zarr", "zarr3", "store3"):
    for checkpoint in survey({run!r} + "/" + layout).checkpoints:
        with np.load(Path({run!r}) / "expected" / f"{{checkpoint.step}}.npz") as expected:
            for name, tensor in checkpoint.tensors.items():
                np.testing.assert_array_equal(values_of(tensor), expected[name])
    print(layout)
"""


def test_what_orbax_saves_is_read_without_zarr_jax_and_tensorstore(run: Path) -> None:
    absent = ("zarr", "numcodecs", "jax", "jaxlib", "flax", "orbax", "tensorstore")

    printed = run_python(WITHOUT_ZARR.format(run=str(run)), without=absent)

    assert printed.split() == ["manager", "items", "zarr", "zarr3", "store3"]


def test_a_save_that_was_interrupted_is_left_out(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "manager", tmp_path / "run")
    (tmp_path / "run" / "10").rename(tmp_path / "run" / "10.orbax-checkpoint-tmp-7")

    opened = survey(tmp_path / "run")

    assert [c.step for c in opened.checkpoints] == [2, 4]
    assert "10.orbax-checkpoint-tmp-7 left out: the save was not finished" in opened.notes


def test_an_item_that_was_not_finished_is_left_out(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path, "items/10")
    (folder / "opt_state").rename(folder / "opt_state.orbax-checkpoint-tmp-1")

    notes = ORBAX.describe(folder).notes

    assert notes == ("left out 'opt_state.orbax-checkpoint-tmp-1': the save was not finished",)


def test_one_checkpoint_may_be_named_by_its_folder(run: Path) -> None:
    opened = survey(run / "items" / "4")

    assert [Path(c.path).name for c in opened.checkpoints] == [MARK]
    assert len(opened.checkpoints[0].tensors) == len(expected(run, 4))


def test_older_versions_that_mark_only_the_item_keep_their_steps(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "items", tmp_path / "run")
    for step in STEPS:
        (tmp_path / "run" / str(step) / MARK).unlink()
        shutil.rmtree(tmp_path / "run" / str(step) / "opt_state")

    opened = survey(tmp_path / "run")

    assert [(c.step, c.step_source) for c in opened.checkpoints] == [
        (step, "number in name") for step in STEPS
    ]


@pytest.mark.parametrize("layout", ["zarr/step_4", "store3/step_4"])
def test_without_a_list_of_leaves_arrays_go_by_their_names(
    run: Path, tmp_path: Path, layout: str
) -> None:
    folder = copied(run, tmp_path, layout)
    (folder / "_METADATA").unlink()

    tensors = ORBAX.describe(folder).tensors

    assert {tensor.name for tensor in tensors} == set(expected(run, 4))


@pytest.mark.parametrize("layout", ["zarr", "zarr3", "store", "store3"])
def test_arrays_of_several_devices_and_of_all_types_are_put_together(
    run: Path, layout: str
) -> None:
    tensors = {t.name: t for t in ORBAX.describe(run / "sharded" / layout).tensors}

    assert set(tensors) == {"w", "half", "eighth", "z", "list.0", "list.1"}
    np.testing.assert_array_equal(values_of(tensors["w"]), np.arange(2048.0).reshape(64, 32))
    np.testing.assert_array_equal(values_of(tensors["half"]), np.arange(40))
    np.testing.assert_array_equal(values_of(tensors["eighth"]), np.ones((4, 4)))
    np.testing.assert_array_equal(values_of(tensors["z"]), np.arange(3))
    assert [tensors[n].dtype for n in ("half", "eighth")] == ["bfloat16", "float8_e4m3fn"]


# ---------------------------------------------------------------- meaning


def test_kinds_roles_and_axes_of_linen_are_told(run: Path) -> None:
    layers = {layer.name: layer for layer in layers_of(ORBAX.describe(run / "manager/2").tensors)}
    kinds = {name: layer.kind for name, layer in layers.items()}
    axes = {p.name: p.axes for layer in layers.values() for p in layer.parameters}
    roles = {p.name: p.role for layer in layers.values() for p in layer.parameters}

    assert kinds == {
        "BatchNorm_0": Kind.NORM,
        "ConvTranspose_0": Kind.CONV_TRANSPOSE,
        "Conv_0": Kind.CONV,
        **dict.fromkeys(("Dense_0", "Dense_1", "Dense_2"), Kind.LINEAR),
        "Embed_0": Kind.EMBEDDING,
        "GRUCell_0": Kind.GRU,
        "LayerNorm_0": Kind.NORM,
        "OptimizedLSTMCell_0": Kind.LSTM,
        **{f"SelfAttention_0.{n}": Kind.ATTENTION for n in ("key", "out", "query", "value")},
    }
    window = (Axis.KERNEL, Axis.KERNEL)
    assert axes["Conv_0.kernel"] == (*window, Axis.INPUT, Axis.OUTPUT)
    assert axes["ConvTranspose_0.kernel"] == (*window, Axis.INPUT, Axis.OUTPUT)
    assert axes["Dense_1.kernel"] == (Axis.INPUT, Axis.OUTPUT)
    assert axes["OptimizedLSTMCell_0.hf.kernel"] == (Axis.INPUT, Axis.OUTPUT)
    assert axes["SelfAttention_0.query.kernel"] == (Axis.INPUT, Axis.OUTPUT, Axis.OUTPUT)
    assert axes["SelfAttention_0.out.kernel"] == (Axis.INPUT, Axis.INPUT, Axis.OUTPUT)
    assert axes["Embed_0.embedding"] == (Axis.OUTPUT, Axis.INPUT)
    assert (roles["BatchNorm_0.mean"], roles["BatchNorm_0.scale"]) == (Role.BUFFER, Role.NORM)
    assert (roles["Embed_0.embedding"], roles["Dense_0.bias"]) == (Role.EMBEDDING, Role.BIAS)


def test_kinds_and_gates_of_nnx_are_told(run: Path) -> None:
    layers = {layer.name: layer for layer in layers_of(ORBAX.describe(run / "nnx/step_1").tensors)}
    parameters = {p.name: p for layer in layers.values() for p in layer.parameters}

    assert {
        name: layers[name].kind for name in ("lstm", "plain", "gru", "embed", "conv", "bn")
    } == {
        "lstm": Kind.LSTM,
        "plain": Kind.LSTM,
        "gru": Kind.GRU,
        "embed": Kind.EMBEDDING,
        "conv": Kind.CONV,
        "bn": Kind.NORM,
    }
    assert parameters["lstm.dense_i.kernel"].sections == ("i", "f", "g", "o")
    assert parameters["gru.dense_i.kernel"].sections == ("r", "z", "n")
    assert parameters["bn.mean"].role is Role.BUFFER
    assert {p.role for p in layers["drop.rngs"].parameters} == {Role.BUFFER}
    assert [n for n in layers if n.startswith("blocks")] == [f"blocks.{n}" for n in range(11)]


# ---------------------------------------------------------------- msgpack


def test_arrays_of_msgpack_are_byte_ranges_but_for_chunks(run: Path) -> None:
    description = MSGPACK.describe(run / "odd.msgpack")
    tensors = {tensor.name: tensor for tensor in description.tensors}

    assert set(tensors) == {"chunks", "half", "one.number", "empty", "flags", "column"}
    assert isinstance(tensors["chunks"].values, HiddenValues)
    assert isinstance(tensors["half"].values, HiddenValues)
    assert isinstance(tensors["column"].values, Extent)
    np.testing.assert_array_equal(
        values_of(tensors["chunks"]), np.arange(60, dtype=np.float32).reshape(6, 10)
    )
    np.testing.assert_array_equal(values_of(tensors["half"]), np.arange(40))
    np.testing.assert_array_equal(values_of(tensors["column"]), np.arange(6.0).reshape(2, 3))
    assert values_of(tensors["one.number"]) == 2.5


@pytest.mark.parametrize(
    "content",
    [b"\x80", b"\x81\xa1a\x01", b"\x81\xa1a\xc7\x05\x01hello", b"\x82\xa4step\x05",
     b"\x93\x01\x02\x03", b"\x81\xa1a\xc7\x0f\x02\x92\xcb" + bytes(13),
     b"\xde\xff\xff" + b"\xa1a" * 9000, b"\x81" * 5000],
    ids=range(8),
)  # fmt: skip
def test_other_msgpack_and_noise_are_declined(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint_1").write_bytes(content)

    assert not MSGPACK.recognises(tmp_path / "checkpoint_1")
    with pytest.raises(FormatError, match="checkpoint_1"):
        MSGPACK.describe(tmp_path / "checkpoint_1")


def test_an_array_that_does_not_fill_its_extension_is_refused(tmp_path: Path) -> None:
    array = b"\x93\x91\x02\xa7float32\xc4\x08" + bytes(8)
    for extra, is_sound in ((b"", True), (b"\0", False)):
        size = bytes([len(array + extra)])
        (tmp_path / "a_1").write_bytes(b"\x81\xa1w\xc7" + size + b"\x01" + array + extra)

        assert MSGPACK.recognises(tmp_path / "a_1") is is_sound

    with pytest.raises(FormatError, match="does not end where it says"):
        MSGPACK.describe(tmp_path / "a_1")


def test_files_without_an_ending_that_none_knows_are_passed_over(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "legacy", tmp_path / "run")
    (tmp_path / "run" / "notes_2024").write_text("it went well")

    assert [c.step for c in survey(tmp_path / "run").checkpoints] == list(STEPS)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 something else"])
def test_a_broken_step_among_files_without_an_ending_is_not_passed_over(
    run: Path, tmp_path: Path, content: bytes
) -> None:
    shutil.copytree(run / "legacy", tmp_path / "run")
    (tmp_path / "run" / "checkpoint_4").write_bytes(content)

    with pytest.raises(FormatError, match="checkpoint_4: "):
        survey(tmp_path / "run")


def test_a_broken_link_without_an_ending_is_passed_over(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "legacy", tmp_path / "run")
    (tmp_path / "run" / "scratch_1").symlink_to(tmp_path / "gone")

    assert len(survey(tmp_path / "run").checkpoints) == len(STEPS)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (b"\xa6params", b"\xa6params\xdd\xff\xff\xff\xff", "cut short or damaged"),
        (b"\xabbatch_stats", b"\xa6params", "both called 'params'"),
        (b"\xa7float32", b"\xa7float64", "needs"),
        (b"\x94\x03\x03\x01\x04", b"\x94\x03\x03\x7f\x04", "needs 18288"),
        (b"\xa6kernel", b"\xa6ker\nel", "printable"),
    ],
)
def test_msgpack_that_cannot_be_true_is_refused(
    run: Path, tmp_path: Path, old: bytes, new: bytes, expected: str
) -> None:
    content = (run / "bytes" / "epoch_10.msgpack").read_bytes()
    assert old in content
    (tmp_path / "checkpoint_10").write_bytes(content.replace(old, new, 1))

    with pytest.raises(FormatError, match=expected):
        MSGPACK.describe(tmp_path / "checkpoint_10")


# ---------------------------------------------------------------- lies of folders


def test_a_missing_array_is_named(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path, "zarr/step_4")
    shutil.rmtree(folder / "params.Conv_0.kernel")

    assert "array 'params.Conv_0.kernel' is listed, but stored nowhere" in problem_of(folder / MARK)


def test_chunks_that_orbax_once_left_out_are_zeros(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path, "zarr/step_4")
    (folder / "params.Conv_0.kernel" / "0.0.0.0").unlink()

    tensors = {tensor.name: tensor for tensor in ORBAX.describe(folder).tensors}

    assert not values_of(tensors["Conv_0.kernel"]).any()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shape": [2**40, 2**40]}, "a number of elements"),
        ({"shape": [2**20, 2**20]}, "chunks should be there; few are|claims"),
        ({"shape": [2**20, 2**10], "chunks": [2**20, 2**10]}, "cannot make so many"),
        ({"chunks": [0, 8]}, "claims chunks of shape"),
        ({"chunks": [50]}, "claims chunks of shape"),
        ({"zarr_format": 4}, "version 4"),
        ({"dtype": "<U3"}, "not supported"),
        ({"compressor": {"id": "pickle"}}, "'pickle', which is not supported"),
        ({"filters": [{"id": "delta"}]}, "unsupported filters"),
    ],
)
def test_metadata_of_arrays_that_lies_allocates_nothing(
    run: Path, tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    folder = copied(run, tmp_path, "zarr/step_4")
    file = folder / "params.Dense_1.kernel" / ".zarray"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))

    tracemalloc.start()
    try:
        tensors = {t.name: t for t in ORBAX.describe(folder).tensors}
        text = tensors["Dense_1.kernel"].refusal
    except FormatError as error:
        text = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert any(part in text for part in expected.split("|")), text
    assert peak < MOST_BYTES


def test_zeros_of_any_size_are_not_made_from_a_kilobyte(run: Path, tmp_path: Path) -> None:
    from numcodecs import zstd

    folder = copied(run, tmp_path, "zarr/step_4") / "params.Dense_1.kernel"
    rows = 1 << 20
    plan = json.loads((folder / ".zarray").read_text())
    (folder / ".zarray").write_text(json.dumps(plan | {"shape": [rows, 80], "chunks": [rows, 80]}))
    bomb = zstd.compress(bytes(1 << 24))
    (folder / "0.0").write_bytes(bomb * 20)

    tensors = {tensor.name: tensor for tensor in ORBAX.describe(folder.parent).tensors}

    assert "it claims 335544320 bytes, of which only" in tensors["Dense_1.kernel"].refusal


@pytest.mark.parametrize("layout", ["zarr/step_4", "store3/step_4"])
def test_links_that_lead_out_of_the_folder_are_refused(
    run: Path, tmp_path: Path, layout: str
) -> None:
    folder = copied(run, tmp_path, layout)
    victim = next(
        f for f in sorted(folder.rglob("*")) if f.parent.name in ("d", "params.Conv_0.bias")
    )
    victim.rename(tmp_path / "outside")
    victim.symlink_to(tmp_path / "outside")

    assert "is a link that leads out of its folder" in problem_of(folder / MARK)


def test_damaged_values_are_refused_when_they_are_read(run: Path, tmp_path: Path) -> None:
    folder = copied(run, tmp_path, "zarr/step_4")
    chunk = folder / "params.Dense_1.kernel" / "0.0"
    chunk.write_bytes(chunk.read_bytes()[:-9])
    tensors = {tensor.name: tensor for tensor in ORBAX.describe(folder).tensors}

    with pytest.raises(FormatError, match=r"a chunk of tensor 'Dense_1\.kernel': a frame of zstd"):
        values_of(tensors["Dense_1.kernel"])


def test_an_empty_mark_and_a_foreign_one_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    mark = tmp_path / "a" / MARK
    mark.write_bytes(b"")
    assert "empty (0 bytes)" in problem_of(mark)
    mark.write_text('{"version": 1}')
    assert "not the metadata of a checkpoint of Orbax" in problem_of(mark)
    assert not ORBAX.recognises(mark)
    mark.write_text('{"item_handlers": {}, "init_timestamp_nsecs": 1}')
    assert "holds no arrays" in problem_of(mark)
    assert not ORBAX.recognises(tmp_path)


# ---------------------------------------------------------------- damage anywhere


@pytest.mark.parametrize("layout", ["manager/10", "zarr/step_4", "zarr3/step_4", "sharded/store3"])
def test_damage_in_any_file_is_refused_or_stays_within_bounds(
    run: Path, tmp_path: Path, layout: str
) -> None:
    folder = copied(run, tmp_path, layout)
    files = [
        f for f in sorted(folder.rglob("*")) if f.is_file() and "opt_state" not in f.parent.name
    ]
    refusals = cases = 0

    for number, file in enumerate(files[:: max(1, len(files) // 12)]):
        content = file.read_bytes()
        for damaged in mutations(content, 4, seed=number):
            file.write_bytes(damaged)
            refusals += is_refused(ORBAX, folder / MARK, names=folder.name)
            cases += 1
        file.write_bytes(content)

    assert 0 < refusals < cases


@pytest.mark.parametrize("name", ["legacy/checkpoint_2", "odd.msgpack"])
def test_damage_in_msgpack_is_refused_or_stays_within_bounds(
    run: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "checkpoint_2"
    count, refusals = 210, 0

    for damaged in mutations((run / name).read_bytes(), count, seed=len(name)):
        path.write_bytes(damaged)
        refusals += is_refused(MSGPACK, path)

    assert count // 8 < refusals < count


class _OfRun(ReaderContract):
    """The contract on a checkpoint of the run."""

    layout = ""
    damaged_cases = 30

    @pytest.fixture
    def case(self, run: Path, tmp_path: Path) -> ReaderCase:
        """Return a copy of the checkpoint of step 4."""
        path = tmp_path / Path(self.layout).name
        make: Callable[..., object] = shutil.copytree if self.layout.count("/4") else shutil.copy
        make(run / self.layout, path)
        reader = ORBAX if path.is_dir() else MSGPACK
        return ReaderCase(reader, path / MARK if path.is_dir() else path, expected(run, 4))


class TestOrbax(_OfRun):
    """What a CheckpointManager saves."""

    layout = "manager/4"


class TestOrbaxItems(_OfRun):
    """What a CheckpointManager saves as several items."""

    layout = "items/4"


class TestFlaxLegacy(_OfRun):
    """What Flax itself saves, without an ending."""

    layout = "legacy/checkpoint_4"


class TestFlaxBytes(_OfRun):
    """What flax.serialization makes."""

    layout = "bytes/epoch_4.msgpack"


del _OfRun
