"""Data for training: what fits is taken, what does not is told with what was expected.

None of this needs onnxruntime-training.
"""

from __future__ import annotations

import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from train_models import saved_data

from accweight_adapters.training import library as train_library
from accweight_core.cli.app import run
from accweight_core.errors import AccweightError, FormatError, SourceError
from accweight_core.samples.arrays import load_data
from accweight_core.samples.samples import Data, Input, batches, split
from accweight_core.samples.targets import with_labels, with_values

IMAGES = (Input("image", np.dtype(np.float32), (0, 1, 4, 4)),)
X, Y = np.zeros((6, 1, 4, 4), np.float32), np.arange(6) % 3


def loaded(tmp_path: Path, inputs: tuple[Input, ...] = IMAGES, **arrays: Any) -> Data:
    return load_data(saved_data(tmp_path / "d.npz", **arrays), inputs)


@pytest.mark.parametrize("samples", ["image", "x", "X", "images", "x_train"])
@pytest.mark.parametrize("targets", ["y", "labels", "Targets"])
def test_arrays_are_found_by_the_names_that_are_usual(
    samples: str, targets: str, tmp_path: Path
) -> None:
    data = loaded(tmp_path, **{samples: X, targets: Y})

    assert len(data) == 6
    assert data.notes == ()


def test_axes_of_length_one_are_put_in_with_a_note(tmp_path: Path) -> None:
    data = loaded(tmp_path, x=np.zeros((6, 4, 4), np.uint8), y=Y)

    assert data.inputs[0].shape == (6, 1, 4, 4)
    assert data.notes == (
        "'x' of shape (6, 4, 4) is taken as (6, 1, 4, 4)",
        "'x' is uint8 and is used unscaled, from 0 to 255",
    )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no samples": ({"z": X, "y": Y}, "holds no samples: 'image' (as input 0 is called), or x"),
    "no targets": ({"x": X, "z": Y}, "holds no targets: y, labels, targets; it holds 'x', 'z'"),
    "shape": ({"x": X[:, :, :3], "y": Y}, "takes samples of shape (1, 4, 4)"),
    "number": ({"x": X, "y": Y[:5]}, "samples and targets differ in number: 'image' 6, 'y' 5"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "holds no samples"),
    "text": ({"x": X, "y": np.array(list("abcdef"))}, "array 'y' is of type <U1, not numbers"),
    "nan": ({"x": X + np.nan, "y": Y}, "array 'x' holds NaN or infinity"),
    "nothing": ({"x": np.float32(1), "y": Y}, "array 'x' has shape ()"),
    "objects": ({"x": np.array([{}, 1], object), "y": Y}, "holds Python objects"),
}


@pytest.mark.parametrize(("arrays", "problem"), WRONG.values(), ids=WRONG.keys())
def test_data_that_does_not_fit_is_told(
    arrays: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        loaded(tmp_path, **arrays)

    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_are_asked_for_where_the_model_takes_them(tmp_path: Path) -> None:
    tokens = (Input("ids", np.dtype(np.int64), (0, 0)),)

    assert loaded(tmp_path, tokens, x=np.zeros((6, 7), np.int32), y=Y).inputs[0].shape == (6, 7)
    with pytest.raises(FormatError, match="input 'ids' takes whole numbers"):
        loaded(tmp_path, tokens, x=np.zeros((6, 7)), y=Y)


def test_files_that_are_no_archives_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "cut.npz").write_bytes(saved_data(tmp_path / "d.npz", x=X, y=Y).read_bytes()[:-9])

    for name in ("x.npy", "cut.npz"):
        with pytest.raises(FormatError, match=r"not an \.npz of NumPy; save it with"):
            load_data(tmp_path / name, IMAGES)
    with pytest.raises(SourceError, match="there is no such file"):
        load_data(tmp_path / "none.npz", IMAGES)


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    content = bytearray(saved_data(tmp_path / "d.npz", x=X, y=Y).read_bytes())
    refused = list[str]()
    for place in range(0, len(content), 5):
        damaged = bytearray(content)
        damaged[place] ^= 0x41
        (tmp_path / "b.npz").write_bytes(damaged)
        try:
            load_data(tmp_path / "b.npz", IMAGES)
        except FormatError as error:
            refused.append(str(error))

    assert len(refused) > 20
    assert all("\n" not in text and "b.npz" in text for text in refused)


def test_an_array_that_claims_more_than_there_is_memory_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999,), }"
    text = header.ljust(117) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as archive:
        archive.writestr("x.npy", array)

    with pytest.raises(FormatError, match=r"lies\.npz: damaged"):
        load_data(tmp_path / "lies.npz", IMAGES)


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("targets", "problem"),
    [
        ([0, 1, 3, 0, 1, 2], "targets go from 0 to 3; the model has 3 classes"),
        ([0, 1, -1, 0, 1, 2], "targets go from -1 to 2"),
        ([0, 1, 0.5, 0, 1, 2], "targets are not whole numbers"),
        (np.ones((6, 3)), "have a column per class, but are not one-hot"),
        (np.ones((6, 2)), "expected one class per sample, (6,)"),
    ],
)
def test_labels_that_are_no_classes_are_told(targets: Any, problem: str) -> None:
    data = Data((X,), np.asarray(targets), Path("d.npz"))

    with pytest.raises(FormatError) as caught:
        with_labels(data, 3, ())

    assert problem in str(caught.value)


@pytest.mark.parametrize("targets", [Y, Y[:, None], Y.astype(float), np.eye(3)[Y], Y.astype("u1")])
def test_labels_are_taken_in_all_usual_forms(targets: Any) -> None:
    data = with_labels(Data((X,), np.asarray(targets), Path("d.npz")), 3, ())

    assert data.targets.dtype == np.int64
    np.testing.assert_array_equal(data.targets, Y)


def test_values_take_the_shape_of_the_output_or_are_told() -> None:
    data = Data((X,), np.linspace(0, 2, 6), Path("d.npz"))

    assert with_values(data, (1,), between_0_and_1=False).targets.shape == (6, 1)
    with pytest.raises(FormatError, match=r"targets have shape \(6,\); the model gives \(6, 2\)"):
        with_values(data, (2,), between_0_and_1=False)
    with pytest.raises(FormatError, match="bce_with_logits takes 0 to 1"):
        with_values(data, (1,), between_0_and_1=True)


# ---------------------------------------------------------------- batches


def test_batches_hold_every_sample_once_as_contiguous_arrays() -> None:
    values = np.arange(7 * 16, dtype=np.uint8).reshape(7, 1, 4, 4)
    data = Data((values,), np.arange(7), Path("d.npz"))
    order = np.random.default_rng(0).permutation(7)

    found = list(batches(data, IMAGES, 3, order, whole=False))

    assert [len(batch[-1]) for batch in found] == [3, 3, 1]
    assert all(a.flags.c_contiguous for batch in found for a in batch)
    assert {batch[0].dtype for batch in found} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(np.concatenate([batch[-1] for batch in found]), order)
    assert [len(b[-1]) for b in batches(data, IMAGES, 3, order, whole=True)] == [3, 3]


def test_a_share_is_held_back_and_nothing_is_in_both() -> None:
    data = Data((np.arange(20.0)[:, None],), np.arange(20), Path("d.npz"))

    kept, held = split(data, 0.25, seed=1)

    assert (len(kept), len(held)) == (15, 5)
    assert sorted([*kept.targets, *held.targets]) == list(range(20))
    np.testing.assert_array_equal(held.inputs[0][:, 0], held.targets)
    with pytest.raises(FormatError, match="both parts need one"):
        split(data, 0.001, seed=1)


# ---------------------------------------------------------------- the library


def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(train_library, "has_wheels", lambda: True)

    code = run(["train", "model.onnx", "--data", "d.npz", "-o", str(tmp_path / "run")])

    shown = capsys.readouterr().err
    assert code == 1
    assert "needs onnxruntime-training, which is not installed" in shown
    assert "pip install 'accweight[ort]'" in shown


def test_where_no_library_exists_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.setattr(train_library, "has_wheels", lambda: False)

    with pytest.raises(AccweightError, match=r"exists for Linux on x86-64 with Python up to 3\.11"):
        train_library.runtime()


def test_plain_onnxruntime_in_its_place_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = types.ModuleType("onnxruntime")
    plain.capi = types.SimpleNamespace(_pybind_state=types.SimpleNamespace())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "onnxruntime", plain)

    with pytest.raises(AccweightError, match="pip uninstall onnxruntime onnxruntime-training"):
        train_library.runtime()


def test_what_the_runtime_says_is_shortened_to_what_it_means() -> None:
    error = RuntimeError(
        "/src/module.cc:312 Module::Module(const Session&) [ONNXRuntimeError] : 9 : "
        "NOT_IMPLEMENTED : Could not find an implementation for ConvTransposeGrad(1)\n\n"
    )

    reason = train_library.reason_of(error)

    assert reason.endswith("Could not find an implementation for ConvTransposeGrad(1)")
    assert "module.cc" not in reason
