"""The Keras reader, on files that Keras 3 saved, against Keras itself and against PyTorch."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras_models  # before Keras: it chooses the backend
import numpy as np
import pytest
from keras_models import FORMATS, Arrays, as_torch, quiet

import accweight_core as aw
from accweight_adapters.keras.reader import KerasReader
from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import FormatError
from accweight_core.metrics.table import METRICS
from accweight_core.naming import layers_of
from accweight_core.schema import Axis, Description, Extent, HiddenValues, Kind, Layer, Role
from accweight_core.testing import values_of

pytest.importorskip("keras")

READER = KerasReader()
STEPS = 3


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Arrays]]:
    """Return a folder with a model in every format and step, and its weights at each step."""
    folder = tmp_path_factory.mktemp("keras")
    return folder, keras_models.trained(folder, STEPS)


def described(folder: Path, kind: str, step: int = 1) -> Description:
    return READER.describe(folder / kind / FORMATS[kind].format(step=step))


def without_optimizer(description: Description) -> dict[str, Any]:
    return {t.name: t for t in description.tensors if t.hints.role is not Role.OPTIMIZER}


def layers(folder: Path, kind: str = "archive") -> dict[str, Layer]:
    found = layers_of(described(folder, kind).tensors)
    return {layer.name: layer for layer in found}


# ---------------------------------------------------------------- what Keras itself says


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_variables_of_keras_bit_for_bit(
    saved: tuple[Path, list[Arrays]], kind: str
) -> None:
    folder, series = saved

    for step, expected in enumerate(series):
        found = without_optimizer(described(folder, kind, step))

        assert set(found) == set(expected)
        for name, values in expected.items():
            np.testing.assert_array_equal(values_of(found[name]), values, strict=True)


@pytest.mark.parametrize("kind", FORMATS)
def test_weights_are_byte_ranges_of_the_file(saved: tuple[Path, list[Arrays]], kind: str) -> None:
    folder, _ = saved
    path = folder / kind / FORMATS[kind].format(step=1)

    for tensor in READER.describe(path).tensors:
        assert isinstance(tensor.values, Extent)
        assert tensor.values.path == str(path)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_optimizer_is_told_from_the_weights(
    saved: tuple[Path, list[Arrays]], kind: str
) -> None:
    folder, series = saved
    trained = [values for values in series[1].values() if values.dtype == np.float32]

    description = described(folder, kind)

    state = [t for t in description.tensors if t.hints.role is Role.OPTIMIZER]
    assert all(t.name.startswith("optimizer.") for t in state)
    assert len(state) > len(trained)
    assert {layer.name for layer in layers_of(state)} == {"optimizer"}


@pytest.mark.parametrize("kind", FORMATS)
def test_the_step_is_the_optimizer_s_count(saved: tuple[Path, list[Arrays]], kind: str) -> None:
    folder, _ = saved
    key = "optimizer.adam.iteration" if kind == "legacy" else "optimizer.iteration"

    found = [described(folder, kind, step) for step in range(STEPS)]

    assert [(d.step, d.step_key) for d in found] == [(0, key), (2, key), (4, key)]
    assert all(d.measures == {"learning_rate": pytest.approx(0.001)} for d in found)


@pytest.mark.parametrize("kind", ["archive", "legacy"])
def test_layers_come_in_network_order(saved: tuple[Path, list[Arrays]], kind: str) -> None:
    found = [name for name in layers(saved[0], kind) if "." not in name]

    order = ["stem", "norm", "depthwise", "separable_conv2d", "deconv", "layer_normalization", "fc"]
    assert [name for name in found if name in order] == order
    assert found[-2:] == ["out", "optimizer"]


def test_without_a_configuration_parts_of_a_layer_still_stand_together(
    saved: tuple[Path, list[Arrays]],
) -> None:
    found = list(layers(saved[0], "weights"))

    place = found.index("mha.query")
    assert found[place : place + 4] == [
        "mha.query", "mha.key", "mha.value", "mha.attention_output",
    ]  # fmt: skip
    assert found[0] == "stem"


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_tells_the_same_of_the_layers(
    saved: tuple[Path, list[Arrays]], kind: str
) -> None:
    folder, _ = saved
    expected = without_optimizer(described(folder, "archive"))

    found = without_optimizer(described(folder, kind))

    assert {name: t.hints for name, t in found.items()} == {
        name: t.hints for name, t in expected.items()
    }


K, IN, OUT = Axis.KERNEL, Axis.INPUT, Axis.OUTPUT


@pytest.mark.parametrize(
    ("name", "kind", "axes", "sections"),
    [
        ("stem.kernel", Kind.CONV, (K, K, IN, OUT), ()),
        ("depthwise.kernel", Kind.CONV, (K, K, OUT, IN), ()),
        ("separable_conv2d.depthwise_kernel", Kind.CONV, (K, K, OUT, IN), ()),
        ("separable_conv2d.pointwise_kernel", Kind.CONV, (K, K, IN, OUT), ()),
        ("deconv.kernel", Kind.CONV_TRANSPOSE, (K, K, OUT, IN), ()),
        ("conv.kernel", Kind.CONV, (K, IN, OUT), ()),
        ("fc.kernel", Kind.LINEAR, (IN, OUT), ()),
        ("time_distributed.dense.kernel", Kind.LINEAR, (IN, OUT), ()),
        ("words.embeddings", Kind.EMBEDDING, (OUT, IN), ()),
        ("mha.query.kernel", Kind.ATTENTION, (IN, OUT, OUT), ()),
        ("mha.attention_output.kernel", Kind.ATTENTION, (IN, IN, OUT), ()),
        ("both.forward_lstm.lstm_cell.kernel", Kind.LSTM, (IN, OUT), ("i", "f", "c", "o")),
        ("head.memory.lstm_cell.recurrent_kernel", Kind.LSTM, (IN, OUT), ("i", "f", "c", "o")),
        ("gru.gru_cell.kernel", Kind.GRU, (IN, OUT), ("z", "r", "h")),
    ],
)
def test_kernels_say_what_their_axes_count(
    saved: tuple[Path, list[Arrays]],
    name: str,
    kind: Kind,
    axes: tuple[Axis, ...],
    sections: tuple[str, ...],
) -> None:
    found = layers_of(described(saved[0], "archive").tensors)

    parameter = next(p for layer in found for p in layer.parameters if p.name == name)

    assert (parameter.kind, parameter.axes, parameter.sections) == (kind, axes, sections)


def test_roles_are_those_of_keras(saved: tuple[Path, list[Arrays]]) -> None:
    found = layers(saved[0])

    roles = {p.name: p.role for layer in found.values() for p in layer.parameters}

    assert [roles[f"norm.{leaf}"] for leaf in ("gamma", "beta", "moving_mean")] == [
        Role.NORM, Role.NORM, Role.BUFFER,
    ]  # fmt: skip
    assert roles["layer_normalization.gamma"] is Role.NORM
    assert roles["stem.bias"] is roles["mha.query.bias"] is roles["gru.gru_cell.bias"] is Role.BIAS
    assert roles["words.embeddings"] is Role.EMBEDDING
    assert found["both.forward_lstm"].parameters[0].name.endswith("lstm_cell.kernel")


# ---------------------------------------------------------------- the same as in PyTorch


def run_of(folder: Path, kind: str) -> aw.Run:
    return aw.open_run(folder / kind, skip="optimizer.*")


@pytest.fixture(scope="module")
def analyses(
    saved: tuple[Path, list[Arrays]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Analysis]:
    """Return the analyses of every format, and of the same weights in PyTorch's form."""
    folder, series = saved
    out = tmp_path_factory.mktemp("analyses")
    found = {kind: aw.analyze(run_of(folder, kind), out=out / f"{kind}.accw") for kind in FORMATS}
    theirs = dict(zip((0, 2, 4), map(as_torch, series), strict=True))
    return found | {"torch": aw.analyze(aw.open_run(theirs), out=out / "torch.accw")}


def test_all_formats_give_the_same_bits(analyses: dict[str, Analysis]) -> None:
    expected = analyses["archive"].table().set_index(["layer", "step"]).sort_index()

    for kind in FORMATS:
        found = analyses[kind].table().set_index(["layer", "step"]).sort_index()
        assert found.equals(expected), kind


def test_layers_have_the_metrics_of_the_same_weights_in_pytorch(
    analyses: dict[str, Analysis],
) -> None:
    ours = analyses["archive"].ranking().set_index("layer")
    theirs = analyses["torch"].ranking().set_index("layer")

    assert len(theirs) == 10
    assert set(theirs.index) <= set(ours.index)
    for layer, row in theirs.iterrows():
        assert ours.loc[layer, "elements"] == row["elements"]
        for metric in METRICS:
            assert ours.loc[layer, metric] == pytest.approx(row[metric], rel=1e-12, abs=1e-15)
        for exact in ("max", "step_max", "sign_flips", "nonfinite"):
            assert ours.loc[layer, exact] == row[exact]


@pytest.mark.parametrize("name", [name for name in keras_models.TORCH if "gru" not in name])
def test_pictures_are_those_of_the_same_weights_in_pytorch(
    analyses: dict[str, Analysis], name: str
) -> None:
    ours, theirs = analyses["archive"], analyses["torch"]
    twin = keras_models.TORCH[name][0]

    for step in range(STEPS):
        pictures = [
            a.store.picture(a.parameter_index(n), 0, "mean", step)
            for a, n in ((ours, name), (theirs, twin))
            if a.store is not None
        ]
        np.testing.assert_array_equal(pictures[0], pictures[1], strict=True)
    layouts = [a.layout(n) for a, n in ((ours, name), (theirs, twin))]
    assert layouts[0].cell == layouts[1].cell
    places = [[(s.row, s.col, s.rows, s.cols) for s in layout.sections] for layout in layouts]
    assert places[0] == places[1]


def test_the_gates_of_a_gru_lie_as_in_all_formats(
    analyses: dict[str, Analysis],
) -> None:
    ours = analyses["archive"].layout("gru.gru_cell.kernel")
    theirs = analyses["torch"].layout("gru.weight_ih_l0")

    assert [section.name for section in ours.sections] == ["r", "z", "n"]
    assert (ours.rows, ours.cols) == (theirs.rows, theirs.cols)


# ---------------------------------------------------------------- runs


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_of_checkpoints_is_a_run_by_the_optimizer_s_steps(
    saved: tuple[Path, list[Arrays]], kind: str
) -> None:
    run = run_of(saved[0], kind)

    assert (run.reader, list(run.steps)) == ("keras", [0, 2, 4])
    assert "in file: optimizer." in run.checkpoints[0].step_source


def test_a_model_saved_before_training_belongs_to_the_run(
    saved: tuple[Path, list[Arrays]],
) -> None:
    run = aw.open_run(saved[0] / "archive")

    assert list(run.steps) == [0, 2, 4]


def test_weights_without_an_optimizer_are_ordered_by_name(tmp_path: Path) -> None:
    import keras

    with quiet():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        for epoch in (1, 2, 10):
            model.save_weights(tmp_path / f"{epoch:02d}-0.5.weights.h5")
            model.set_weights([values + 1 for values in model.get_weights()])

    run = aw.open_run(tmp_path)

    assert list(run.steps) == [1, 2, 10]
    assert [c.step_source for c in run.checkpoints] == ["number in name"] * 3


# ---------------------------------------------------------------- other models


@pytest.fixture(scope="module")
def subclassed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Arrays]:
    """Return a folder with a subclassed model, whose layers lie in lists and attributes."""
    import keras

    class Block(keras.layers.Layer):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.convolution = keras.layers.Conv2D(3, 3, padding="same")
            self.embedding = keras.layers.Dense(3)  # named like another kind of layer

        def call(self, x: Any) -> Any:
            return self.embedding(self.convolution(x))

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__(name="net")
            self.blocks = [Block(name="first"), Block(name="second")]
            self.cells = keras.layers.RNN([keras.layers.LSTMCell(3), keras.layers.GRUCell(4)])
            self.loss_tracker = keras.metrics.Mean(name="loss")

        def build(self, shape: Any) -> None:
            self.shift = self.add_weight(shape=(3,), name="shift")
            super().build(shape)

        def call(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x + self.shift)
            return self.cells(x[:, 0])

    folder = tmp_path_factory.mktemp("subclassed")
    with quiet():
        keras.utils.clear_session()
        model = Net()
        model(np.ones((1, 5, 5, 3), "f4"))
        model.save_weights(folder / "a.weights.h5")
        model.save(folder / "a.keras")
    return folder, keras_models.weights_of(model)


@pytest.mark.parametrize("file", ["a.weights.h5", "a.keras"])
def test_a_subclassed_model_gives_its_variables(subclassed: tuple[Path, Arrays], file: str) -> None:
    folder, expected = subclassed

    found = {t.name: t for t in READER.describe(folder / file).tensors}

    for name, values in expected.items():
        ours = name.removeprefix("net.") if name != "net.shift" else "net.variable_0"
        np.testing.assert_array_equal(values_of(found[ours]), values, strict=True)
    assert len(found) == len(expected)
    assert found["first.dense.kernel"].hints.kind is Kind.LINEAR
    assert found["second.conv2d_1.kernel"].hints.kind is Kind.CONV
    kinds = {layer.name: layer.kind for layer in layers_of(found.values())}
    assert kinds["rnn.stacked_rnn_cells.lstm_cell"] is Kind.LSTM
    assert kinds["rnn.stacked_rnn_cells.gru_cell"] is Kind.GRU


def test_scale_or_shift_left_out_is_told_by_the_configuration(tmp_path: Path) -> None:
    import keras
    from keras import layers

    with quiet():
        keras.utils.clear_session()
        model = keras.Sequential(
            [
                keras.Input((4,)),
                layers.BatchNormalization(scale=False, name="bn"),
                layers.LayerNormalization(center=False, name="ln"),
                layers.LayerNormalization(scale=False, name="shift"),
            ]
        )
        keras_models.save_all(model, tmp_path, 1)
    expected = ["bn.beta", "bn.moving_mean", "bn.moving_variance", "ln.gamma"]

    names = {kind: [t.name for t in described(tmp_path, kind).tensors] for kind in FORMATS}

    assert names["archive"] == names["legacy"] == [*expected, "shift.beta"]
    assert names["weights"] == [*expected, "shift.gamma"]  # a guess: nothing tells


def test_bfloat16_is_read_in_every_format(tmp_path: Path) -> None:
    import keras

    with quiet():
        keras.utils.clear_session()
        dense = keras.layers.Dense(3, dtype="bfloat16", name="fc")
        model = keras.Sequential([keras.Input((4,), dtype="bfloat16"), dense])
        keras_models.save_all(model, tmp_path, 1)
        expected = model.get_weights()[0].astype(np.float32)

    for kind in FORMATS:
        tensor = next(t for t in described(tmp_path, kind).tensors if t.name == "fc.kernel")
        assert tensor.dtype == "bfloat16"
        np.testing.assert_array_equal(values_of(tensor), expected)


def test_the_inner_optimizer_of_mixed_precision_counts_the_steps(tmp_path: Path) -> None:
    import keras

    with quiet():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        inner = keras.optimizers.SGD(0.5)
        model.compile(optimizer=keras.optimizers.LossScaleOptimizer(inner), loss="mse")
        model.fit(np.ones((4, 4)), np.ones((4, 3)), batch_size=1, verbose=0)
        model.save_weights(tmp_path / "a.weights.h5")

    description = READER.describe(tmp_path / "a.weights.h5")

    assert description.step == 4
    assert description.step_key == "optimizer.inner_optimizer.iteration"
    assert description.measures == {"learning_rate": 0.5}


def test_weights_in_several_files_are_reached_by_their_index(tmp_path: Path) -> None:
    import keras

    with quiet():
        keras.utils.clear_session()
        model = keras.Sequential([keras.Input((40,))])
        for number in range(4):
            model.add(keras.layers.Dense(40, name=f"fc{number}"))
        model.save_weights(tmp_path / "net.weights.json", max_shard_size=1.2e-5)
    weights = keras_models.weights_of(model)
    expected = {name.removeprefix("sequential."): values for name, values in weights.items()}
    places = json.loads((tmp_path / "net.weights.json").read_text())["weight_map"]
    shards = sorted(tmp_path.glob("*.h5"))

    description = READER.describe(tmp_path / "net.weights.json")

    assert any(isinstance(files, list) for files in places.values())  # a layer in two files
    assert READER.recognises(tmp_path / "net.weights.json")
    assert description.format == f"Keras weights, {len(shards)} shards"
    assert set(description.files) == {str(p) for p in (tmp_path / "net.weights.json", *shards)}
    found = {t.name: t for t in description.tensors}
    assert set(found) == set(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(values_of(found[name]), values, strict=True)
    shards[-1].unlink()
    with pytest.raises(FormatError, match=rf"its shard '{shards[-1].name}' is missing"):
        READER.describe(tmp_path / "net.weights.json")


# ---------------------------------------------------------------- archives of other makes


def rezipped(source: Path, target: Path, method: int, **changed: bytes | None) -> Path:
    """Copy an archive, compressed otherwise, with members changed or left out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            content = changed.get(name.replace(".", "_"), old.read(name))
            if content is not None:
                new.writestr(name, content)
    return target


def test_a_compressed_archive_is_read_without_unpacking_it(
    saved: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    folder, series = saved
    source = folder / "archive" / "net_1.keras"

    path = rezipped(source, tmp_path / "a.keras", zipfile.ZIP_DEFLATED)
    found = without_optimizer(READER.describe(path))

    assert READER.recognises(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.keras"]
    for name, values in series[1].items():
        assert isinstance(found[name].values, HiddenValues)
        np.testing.assert_array_equal(values_of(found[name]), values, strict=True)


def test_older_archives_are_named_by_their_configuration(
    saved: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    import h5py

    folder, series = saved
    with zipfile.ZipFile(folder / "archive" / "net_1.keras") as archive:
        (tmp_path / "w.h5").write_bytes(archive.read("model.weights.h5"))
    with h5py.File(tmp_path / "w.h5", "a") as file:
        file.visititems(lambda _, item: item.attrs.clear())

    path = rezipped(
        folder / "archive" / "net_1.keras",
        tmp_path / "a.keras",
        zipfile.ZIP_STORED,
        model_weights_h5=(tmp_path / "w.h5").read_bytes(),
    )
    found = without_optimizer(READER.describe(path))

    assert set(found) == set(series[1])
    assert {name: t.hints for name, t in found.items()} == {
        name: t.hints for name, t in without_optimizer(described(folder, "archive")).items()
    }


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"model_weights_h5": None}, "a zip without model.weights.h5"),
        ({"model_weights_h5": b""}, "the file is empty (0 bytes)"),
        ({"model_weights_h5": b"no HDF5" * 200}, "not an HDF5 file"),
        ({"config_json": b"{"}, "its JSON is damaged"),
        ({"config_json": b"[" * 5000}, "its JSON is damaged"),
        ({"config_json": b'{"a":' * 90 + b"{}" + b"}" * 90}, "nested more than 64 deep"),
    ],
)
def test_an_archive_that_is_not_whole_is_refused(
    saved: tuple[Path, list[Arrays]],
    tmp_path: Path,
    changed: dict[str, bytes | None],
    expected: str,
) -> None:
    source = saved[0] / "archive" / "net_1.keras"
    path = rezipped(source, tmp_path / "a.keras", zipfile.ZIP_STORED, **changed)

    with pytest.raises(FormatError) as caught:
        READER.describe(path)

    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_archive_cut_short_is_recognised_and_refused(
    saved: tuple[Path, list[Arrays]], tmp_path: Path
) -> None:
    content = (saved[0] / "archive" / "net_1.keras").read_bytes()
    path = tmp_path / "a.keras"
    path.write_bytes(content[: len(content) // 2])

    assert READER.recognises(path)
    with pytest.raises(FormatError, match="probably cut short: copy it again"):
        READER.describe(path)


def test_weights_as_pickles_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0"}))
        archive.writestr("model.weights.npz", b"")

    assert READER.recognises(tmp_path / "a.keras")
    with pytest.raises(FormatError, match="as pickles, which are never read"):
        READER.describe(tmp_path / "a.keras")
