"""Samples for networks: folders of pictures, their sizes, and how pixels become inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import APART, export
from click.testing import CliRunner
from networks import LEGACY
from PIL import Image
from probe_networks import Classifier, digits, trained, write_states

import accweight_core as aw
from accweight_core.cli.app import application
from accweight_core.errors import ArgumentValueError, FormatError
from accweight_core.samples.opening import open_samples
from accweight_core.samples.samples import Array, Data, Input, batches

GREY = (Input("x", np.dtype(np.float32), (0, 1, 8, 8)),)
COLOUR = (Input("x", np.dtype(np.float32), (0, 3, 5, 6)),)
ANY_SIZE = (Input("x", np.dtype(np.float32), (0, 1, 0, 0)),)


def write_pictures(folder: Path, pixels: Array, labels: Array) -> Path:
    """Write pictures as PNG files, a folder per class."""
    for number, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        home = folder / f"class_{label}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(home / f"{number}.png")
    return folder


def made(data: Data, inputs: tuple[Input, ...] = GREY) -> Array:
    """Return the samples as the network takes them."""
    found: Array = np.concatenate([x for x, _ in batches(data, inputs, 2, whole=False)])
    return found


@pytest.fixture
def grey(tmp_path: Path) -> tuple[Path, Array]:
    """Return a folder of grey pictures of three classes, and their pixels in its order."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    labels = np.repeat([0, 2, 10], 4)
    return write_pictures(tmp_path / "pictures", pixels, labels), pixels


def test_sub_folders_are_classes_in_the_order_of_their_numbers(grey: tuple[Path, Array]) -> None:
    data = open_samples(grey[0], GREY)

    assert data.classes == ("class_0", "class_2", "class_10")
    assert [name.split("/")[0] for name in data.names] == [data.classes[y] for y in data.targets]
    assert data.taken([3, 0]).names == (data.names[3], data.names[0])
    assert data.targets.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    np.testing.assert_array_equal(data.inputs[0][:, 0], grey[1])
    np.testing.assert_allclose(made(data)[:, 0], grey[1] / 255, rtol=1e-6)


def test_pictures_without_sub_folders_have_no_targets(grey: tuple[Path, Array]) -> None:
    data = open_samples(grey[0] / "class_2", GREY)

    assert len(data) == 4
    assert not data.has_targets


def test_colours_are_the_axis_that_the_network_has_them_on(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)
    folder = write_pictures(tmp_path, pixels, np.zeros(3, int))
    last = (Input("x", np.dtype(np.float32), (0, 5, 6, 3)),)

    first_axis, last_axis = open_samples(folder, COLOUR), open_samples(folder, last)

    np.testing.assert_array_equal(first_axis.inputs[0], pixels.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(last_axis.inputs[0], pixels)


@pytest.mark.parametrize(("size", "shape"), [("input", (8, 8)), ((8, 8), (8, 8))])
def test_pictures_of_several_sizes_are_resized_to_one(
    tmp_path: Path, size: Any, shape: tuple[int, int]
) -> None:
    for side in (5, 8, 20):
        half = np.zeros((side, side), np.uint8)
        half[side // 2 :] = 200
        Image.fromarray(half).save(tmp_path / f"{side}.png")

    pixels = open_samples(tmp_path, GREY, resize=size).inputs[0]

    assert pixels.shape == (3, 1, *shape)
    assert (pixels[:, 0, 0] == 0).all()
    assert (pixels[:, 0, -1] == 200).all()


@pytest.mark.parametrize(
    ("how", "mean", "std"),
    [("unit", 0, 1), ("0.5/0.25", 0.5, 0.25), ("mnist", 0.1307, 0.3081)],
)
def test_pixels_are_scaled_as_is_said(
    grey: tuple[Path, Array], how: str, mean: float, std: float
) -> None:
    found = made(open_samples(grey[0], GREY, normalise=how))

    np.testing.assert_allclose(found[:, 0], (grey[1] / 255 - mean) / std, rtol=1e-5, atol=1e-6)


def test_every_channel_has_its_own_scale(tmp_path: Path) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    folder = write_pictures(tmp_path, pixels, np.zeros(2, int))

    found = made(open_samples(folder, COLOUR, normalise="imagenet"), COLOUR)

    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(found, expected.transpose(0, 3, 1, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        (ANY_SIZE, {"resize": "input"}, "images of any size; say which: resize 224"),
        (GREY, {"normalise": "often"}, "expected imagenet, mnist, unit, or MEAN/STD"),
        (GREY, {"normalise": "0.5,0.5/1"}, "no such axis"),
        (COLOUR, {}, "add --resize input"),
    ],
)
def test_what_does_not_fit_is_said(
    grey: tuple[Path, Array], inputs: tuple[Input, ...], options: dict[str, Any], says: str
) -> None:
    with pytest.raises((ArgumentValueError, FormatError), match=says):
        open_samples(grey[0], inputs, **options)


def test_other_sizes_and_damaged_pictures_are_named(grey: tuple[Path, Array]) -> None:
    Image.new("L", (5, 9)).save(grey[0] / "class_2" / "odd.png")
    with pytest.raises(FormatError, match=r"odd\.png: has pixels 9x5, 0\.png others"):
        open_samples(grey[0], GREY)
    (grey[0] / "class_2" / "odd.png").write_bytes(b"\x89PNG no picture")
    with pytest.raises(FormatError, match=r"odd\.png: is no image that can be read"):
        open_samples(grey[0], GREY)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run, its network, and its samples as pictures of twice the size."""
    folder = tmp_path_factory.mktemp("learned")
    torch.manual_seed(0)
    net, (x, y) = Classifier(), digits(60)
    write_states(folder / "run", trained(net, x, y, epochs=1))
    export(net, torch.from_numpy(x[:2]), folder / "net.onnx", {
        **APART[LEGACY], "input_names": ["x"], "dynamic_axes": {"x": {0: "n"}},
    })  # fmt: skip
    pixels = np.kron((x[:, 0] * 255).round().astype(np.uint8), np.ones((2, 2), np.uint8))
    write_pictures(folder / "pictures", pixels, y)
    aw.analyze(aw.open_run(folder / "run"), folder / "run.accw")
    return folder


def network_of(learned: Path) -> aw.Network:
    """Return the network of the run."""
    return aw.Network.from_onnx(learned / "net.onnx")


def command(learned: Path, *more: str) -> Any:
    options = ["--model", str(learned / "net.onnx"), "--data", str(learned / "pictures")]
    return CliRunner().invoke(application(), ["probe", str(learned / "run.accw"), *options, *more])


def test_the_command_evaluates_a_folder_of_pictures_in_the_size_of_the_network(
    learned: Path,
) -> None:
    refused = command(learned, "--probe", "evaluate")
    found = command(learned, "--probe", "evaluate", "--resize", "input")

    assert "add --resize input" in str(refused.exception)
    assert found.exit_code == 0, found.output
    result = aw.open_analysis(learned / "run.accw").probes["evaluate"]
    assert result.labels("class") == ("class_0", "class_1", "class_2")
    plain = aw.probe(learned / "run.accw", network_of(learned), digits(60), "evaluate")
    assert result.array("loss")[-1] == pytest.approx(plain["evaluate"].array("loss")[-1], abs=0.1)


def test_the_check_of_a_model_takes_pictures_in_another_size_too(learned: Path) -> None:
    found = command(learned, "--check-model", "--resize", "8")

    assert found.exit_code == 0, found.output
    assert "verified: equal to" in found.output


def test_a_check_without_a_model_asks_for_one(learned: Path) -> None:
    found = CliRunner().invoke(application(), ["probe", str(learned / "run.accw"), "--check-model"])

    assert found.exit_code == 2
    assert "--check-model takes SOURCE and --model NET.onnx" in found.output


def test_what_is_declared_of_the_binding_makes_other_results(learned: Path) -> None:
    before = len(aw.open_analysis(learned / "run.accw").probes)
    for options in ([], ["--constant", "conv.bias"], ["--constant", "conv.bias", "--unused", "no"]):
        found = command(learned, "--probe", "neighbors:points=20", "--resize", "8", *options)
        assert found.exit_code == 0, found.output

    assert len(aw.open_analysis(learned / "run.accw").probes) == before + 3


def test_an_npz_says_what_its_classes_are_called(tmp_path: Path) -> None:
    x, y = np.zeros((6, 1, 8, 8), np.float32), np.arange(6) % 2
    np.savez(tmp_path / "named.npz", x=x, y=y, classes=np.array(["cat", "dog"]),
             vocabulary=np.array(["pad", "on"]))  # fmt: skip
    np.savez(tmp_path / "numbers.npz", x=x, y=y, classes=np.arange(2))

    named, numbers = (open_samples(tmp_path / f"{name}.npz", GREY) for name in ("named", "numbers"))

    assert named.classes == ("cat", "dog")
    assert named.vocabulary == ("pad", "on")
    assert numbers.classes == numbers.vocabulary == ()
