"""The demonstration: real digits, a checkpoint per epoch, an analysis, a picture."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from test_cli import accweight
from test_imports import run_python

import accweight_core as aw
from accweight_adapters.demo import experiment as demo
from accweight_adapters.demo.contact_sheet import contact_sheet
from accweight_adapters.demo.experiment import (
    MNIST_DEVIATION,
    MNIST_MEAN,
    SMALL,
    DemoResult,
    ReferenceCNN,
    mnist,
    run_demo,
    sklearn_digits,
    train,
)
from accweight_core.cli import viewing
from accweight_core.errors import AccweightError, FormatError, SourceError, StoreError

IDX_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    """Return an idx file of unsigned bytes."""
    head = struct.pack(">HBB", 0, kind, values.ndim) + struct.pack(
        f">{values.ndim}I", *values.shape
    )
    return head + values.astype(np.uint8).tobytes()


def digits(count: int = 96, side: int = 12) -> dict[str, np.ndarray]:
    """Return made-up images and labels, as the four idx files hold them."""
    chance = np.random.default_rng(0)
    return {
        name: chance.integers(0, 10, count)
        if "labels" in name
        else chance.integers(0, 256, (count, side, side))
        for name in IDX_NAMES
    }


def written(folder: Path, arrays: dict[str, np.ndarray], *, zipped: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        content = idx(values)
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one demonstration."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def told() -> list[tuple[int, int]]:
    """Return what that demonstration has told of its progress."""
    return []


@pytest.fixture(scope="module")
def result(place: Path, told: list[tuple[int, int]]) -> DemoResult:
    """Return what a demonstration of two epochs leaves behind."""

    def tell(done: int, total: int) -> None:
        told.append((done, total))

    return run_demo(out=place / "out", epochs=2, seed=3, progress=tell)


def test_there_is_a_checkpoint_per_epoch_and_the_initial_one(result: DemoResult) -> None:
    names = sorted(path.name for path in result.checkpoints.iterdir())

    assert names == ["epoch_0.pt", "epoch_1.pt", "epoch_2.pt"]
    content = torch.load(result.checkpoints / "epoch_2.pt", weights_only=True)
    assert content["epoch"] == 2


def test_every_checkpoint_holds_loss_and_accuracy(result: DemoResult) -> None:
    measures = result.analysis.header.measures

    assert list(measures) == ["loss", "accuracy"]
    assert measures["accuracy"][1:].tolist() == list(result.accuracy)
    assert measures["loss"][0] == pytest.approx(np.log(10), rel=0.05)  # ten digits, untrained
    assert measures["loss"][2] < measures["loss"][1]


def test_the_loss_of_the_untrained_network_is_that_over_the_training_images(
    result: DemoResult,
) -> None:
    data = sklearn_digits()
    model = ReferenceCNN((8, 8), SMALL)
    content = torch.load(result.checkpoints / "epoch_0.pt", weights_only=True)
    model.load_state_dict(content["model_state_dict"])

    with torch.no_grad():
        expected = torch.nn.functional.cross_entropy(model(data.images), data.labels)

    assert content["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_measuring_changes_no_bit_of_the_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "measured").mkdir()
    data = sklearn_digits()
    train(data, SMALL, tmp_path / "measured", epochs=2, seed=5)
    monkeypatch.setattr(demo, "_loss", lambda model, digits: 0.0)
    monkeypatch.setattr(demo, "_accuracy", lambda model, digits: 0.0)

    train(data, SMALL, tmp_path / "plain", epochs=2, seed=5)

    for name in ("epoch_0.pt", "epoch_2.pt"):
        first, second = (
            torch.load(tmp_path / folder / name, weights_only=True)["model_state_dict"]
            for folder in ("plain", "measured")
        )
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_analysis_is_stored_and_ranks_all_four_layers(result: DemoResult, place: Path) -> None:
    analysis = aw.open_analysis(place / "out" / "digits.accw")

    assert list(analysis.steps) == [0, 1, 2]
    assert set(analysis.ranking()["layer"]) == {"conv1", "conv2", "fc1", "fc2"}
    assert (analysis.ranking()["mean"] > 0).all()
    assert analysis.header.warnings == ()


def test_it_learns_digits_it_has_not_seen(result: DemoResult) -> None:
    assert len(result.accuracy) == 2
    assert result.accuracy[-1] > 0.6


def test_the_digits_give_the_same_bits_on_any_number_of_cores(
    tmp_path: Path, torch_threads: Callable[[int], None]
) -> None:
    data = sklearn_digits()
    trained = []

    for threads in (1, 2, 4):
        torch_threads(threads)
        folder = tmp_path / str(threads)
        folder.mkdir()
        train(data, SMALL, folder, epochs=1, seed=0)
        trained.append(torch.load(folder / "epoch_1.pt", weights_only=True)["model_state_dict"])
        assert torch.get_num_threads() == threads

    for state in trained[1:]:
        assert all(torch.equal(state[name], trained[0][name]) for name in state)


def test_the_contact_sheet_is_a_picture_of_something(result: DemoResult) -> None:
    picture = matplotlib.image.imread(result.sheet)

    assert result.sheet.name == "digits.png"
    assert min(picture.shape[:2]) > 200
    brightness = picture[..., :3].mean(axis=2)
    assert brightness.std() > 0.1
    assert brightness.min() < 0.05
    assert brightness.max() > 0.95
    assert len(np.unique(brightness.round(2))) > 30


def test_the_same_seed_gives_the_same_bits(result: DemoResult, tmp_path: Path) -> None:
    again = run_demo(out=tmp_path / "same", epochs=2, seed=3)
    other = run_demo(out=tmp_path / "other", epochs=1, seed=4)

    tables = [r.analysis.table() for r in (result, again)]
    assert tables[0].equals(tables[1])
    assert result.accuracy == again.accuracy
    first = [
        torch.load(r.checkpoints / "epoch_0.pt", weights_only=True)["model_state_dict"]
        for r in (result, again, other)
    ]
    assert torch.equal(first[0]["fc1.weight"], first[1]["fc1.weight"])
    assert not torch.equal(first[0]["fc1.weight"], first[2]["fc1.weight"])


@pytest.mark.usefixtures("result")
def test_progress_is_told_after_every_epoch(told: list[tuple[int, int]]) -> None:
    assert told == [(1, 2), (2, 2)]


@pytest.mark.usefixtures("result")
def test_a_shorter_run_leaves_no_epochs_of_a_longer_one(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "out", tmp_path / "out")

    second = run_demo(out=tmp_path / "out", epochs=1)

    assert list(second.analysis.steps) == [0, 1]


def test_checkpoints_that_the_demo_did_not_write_are_not_removed(tmp_path: Path) -> None:
    precious = tmp_path / "digits" / "epoch_7.pt"
    precious.parent.mkdir()
    precious.write_bytes(b"a year of training")

    try:
        run_demo(out=tmp_path, epochs=1)
    except AccweightError as error:
        assert str(tmp_path / "digits") in str(error)  # noqa: PT017

    assert precious.read_bytes() == b"a year of training"


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_mnist_files_are_read(tmp_path: Path, zipped: bool) -> None:
    arrays = digits()

    data = mnist(written(tmp_path, arrays, zipped=zipped))

    assert data.images.shape == (96, 1, 12, 12)
    assert data.labels.tolist() == arrays["train-labels-idx1-ubyte"].tolist()
    pixels = (data.images[:, 0] * MNIST_DEVIATION + MNIST_MEAN) * 255
    np.testing.assert_allclose(pixels, arrays["train-images-idx3-ubyte"], atol=1e-3)


def test_mnist_files_train_and_are_analysed(tmp_path: Path) -> None:
    answer = accweight(
        "demo",
        "--data",
        written(tmp_path / "data", digits()),
        "--out",
        tmp_path / "out",
        "--epochs",
        1,
        "--json",
    )

    assert answer.code == 0
    document = answer.document
    assert {"out", "ranking", "max", "accuracy", "checkpoint_folder", "contact_sheet"} <= set(
        document
    )
    assert document["out"] == str(tmp_path / "out" / "mnist.accw")
    assert Path(document["contact_sheet"]).stat().st_size > 10_000


def test_the_command_says_where_everything_is(tmp_path: Path) -> None:
    answer = accweight("demo", "--out", tmp_path, "--epochs", 1, piped=True)

    assert answer.code == 0
    text = "".join(answer.out.split())
    assert "trainedonscikit-learn's8x8digits:accuracy" in text
    assert str(tmp_path / "digits.png") in text
    assert str(tmp_path / "digits.accw") in text


@pytest.mark.parametrize(
    ("module", "library"),
    [("torch", "torch"), ("sklearn", "scikit-learn"), ("matplotlib", "matplotlib")],
)
def test_a_library_that_is_missing_is_named_before_anything_is_trained(
    tmp_path: Path, module: str, library: str
) -> None:
    printed = run_python(
        "import sys\n"
        "from accweight_core.cli.app import run\n"
        "sys.stderr = sys.stdout\n"
        f"print(run(['demo', '--out', {str(tmp_path / 'out')!r}]))",
        without=(module,),
    )

    assert printed.splitlines() == [
        (
            f"accweight: the demonstration needs {library}, which is not installed; "
            "install it with: pip install 'accweight[demo]'"
        ),
        "1",
    ]
    assert not (tmp_path / "out").exists()


def test_a_viewer_that_cannot_open_fails_the_demonstration_only_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path) -> None:
        raise AccweightError("the viewer ended with exit code 1")

    monkeypatch.setattr(viewing, "opened_viewer", broken)
    monkeypatch.setattr(viewing, "is_watched", lambda: True)

    unasked = accweight("demo", "--out", tmp_path, "--epochs", 1, piped=True)
    asked = accweight("demo", "--out", tmp_path, "--epochs", 1, "--view")

    assert (unasked.code, asked.code) == (0, 1)
    assert "digits.accw" in unasked.out
    assert "accweight: the viewer ended with exit code 1" in unasked.err
    assert "accweight: the viewer ended with exit code 1" in asked.err


def test_images_of_the_digits_are_from_0_to_1_and_none_is_lost() -> None:
    data = sklearn_digits()

    assert data.images.shape[1:] == (1, 8, 8)
    assert len(data.images) + len(data.test_images) == 1797
    assert (data.images.min(), data.images.max()) == (0, 1)
    assert set(data.labels.tolist()) == set(range(10))


# Data that is not MNIST


def test_a_folder_without_the_files_names_them(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        mnist(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}: no train-images-idx3-ubyte.gz there; expected the four MNIST idx files"
    )


def damaged(content: bytes, how: str) -> bytes:
    compressed = gzip.compress(content)
    return {
        "empty": b"",
        "cut short": compressed[: len(compressed) // 2],
        "flipped": compressed[:40] + b"\xff" * 60 + compressed[100:],
        "not gzipped": content,
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "idx of floats": gzip.compress(content[:2] + b"\x0d" + content[3:]),
        "idx cut short": gzip.compress(content[:-10]),
        "idx of huge claims": gzip.compress(b"\0\0\x08\x03" + b"\xff" * 12),
    }[how]


@pytest.mark.parametrize(
    "how",
    ["empty", "cut short", "flipped", "not gzipped", "pointer", "idx of floats", "idx cut short",
     "idx of huge claims"],
)  # fmt: skip
def test_a_damaged_file_is_named_in_one_line(tmp_path: Path, how: str) -> None:
    arrays = digits()
    path = written(tmp_path, arrays, zipped=True) / "train-images-idx3-ubyte.gz"
    path.write_bytes(damaged(idx(arrays["train-images-idx3-ubyte"]), how))

    with pytest.raises(FormatError) as caught:
        mnist(tmp_path)

    assert str(caught.value).startswith(f"{path}: not ")
    assert "\n" not in str(caught.value)


def missing_labels(arrays: dict[str, Any]) -> None:
    arrays["train-labels-idx1-ubyte"] = arrays["train-labels-idx1-ubyte"][:50]


def strange_labels(arrays: dict[str, Any]) -> None:
    arrays["train-labels-idx1-ubyte"][7] = 77


def swapped(arrays: dict[str, Any]) -> None:
    names = IDX_NAMES[:2]
    arrays.update(zip(names, [arrays[name] for name in reversed(names)], strict=True))


def no_images(arrays: dict[str, Any]) -> None:
    arrays.update({name: values[:0] for name, values in arrays.items()})


@pytest.mark.parametrize("fault", [missing_labels, strange_labels, swapped, no_images])
def test_images_and_labels_that_do_not_fit_are_an_error_of_the_data(
    tmp_path: Path, fault: Any
) -> None:
    arrays = digits()
    fault(arrays)
    written(tmp_path, arrays)

    with pytest.raises(AccweightError) as caught:
        run_demo(data=tmp_path, out=tmp_path / "out", epochs=1)

    assert str(tmp_path) in str(caught.value)


def test_an_output_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(StoreError, match="cannot be written"):
        run_demo(out=tmp_path / "file", epochs=1)


# The contact sheet alone


def test_a_contact_sheet_needs_pictures(tmp_path: Path) -> None:
    analysis = aw.analyze(aw.open_run([{"w.weight": np.eye(3)}, {"w.weight": np.ones((3, 3))}]))

    with pytest.raises(StoreError, match="a contact sheet needs a stored analysis with pictures"):
        contact_sheet(analysis, tmp_path / "sheet.png")


def test_names_that_are_mathematics_or_markup_are_drawn_as_text(tmp_path: Path) -> None:
    names = ["$\\frac{1}{0}$.weight", "<b>&.weight", "層.weight", "_" * 200 + ".weight"]
    series = [{name: np.full((4, 4), float(step)) for name in names} for step in range(2)]
    analysis = aw.analyze(aw.open_run(series), tmp_path / "a.accw")

    with_warnings = contact_sheet(analysis, tmp_path / "sheet.png")

    assert matplotlib.image.imread(with_warnings).std() > 0


def test_the_layer_that_moved_most_is_the_brightest_under_one_scale(tmp_path: Path) -> None:
    series = [
        {"quiet.weight": np.full((8, 8), step / 100), "loud.weight": np.full((8, 8), float(step))}
        for step in range(3)
    ]
    analysis = aw.analyze(aw.open_run(series), tmp_path / "a.accw")

    own = matplotlib.image.imread(contact_sheet(analysis, tmp_path / "own.png", scope="layer"))
    one = matplotlib.image.imread(contact_sheet(analysis, tmp_path / "one.png", scope="global"))

    assert own[..., :3].mean() > one[..., :3].mean()
