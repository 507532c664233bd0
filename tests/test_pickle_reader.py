"""Plain pickles of arrays and tensors: every protocol, compressed, of joblib and PaddlePaddle."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import zlib
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from checkpoints import small
from pickle_files import Network, write_joblib, write_pickle

import accweight_core as aw
from accweight_adapters.pickled import recognition
from accweight_adapters.pickled.reader import PickleReader
from accweight_core.dtypes import is_measurable
from accweight_core.errors import FormatError, MismatchError
from accweight_core.naming import layers_of
from accweight_core.readers import reader_for
from accweight_core.schema import Axis, Extent, HiddenValues, Kind, Role
from accweight_core.testing import values_of

READER = PickleReader()
PROTOCOLS = pytest.mark.parametrize("protocol", range(6))

ARRAYS: dict[str, np.ndarray] = {
    "conv.weight": np.arange(540, dtype=np.float32).reshape(20, 3, 3, 3),
    "conv.bias": np.ones(3, np.float32),
    "fc.weight": np.asfortranarray(np.arange(6000.0).reshape(60, 100)),
    "fc.bias": np.arange(100, dtype=">f4"),
}


def described(path: Path) -> dict[str, np.ndarray]:
    """Return what the reader reads, by name; counters are as many zeros."""
    assert READER.recognises(path)
    return {
        tensor.name: values_of(tensor) if is_measurable(tensor.dtype) else np.zeros(tensor.shape)
        for tensor in READER.describe(path).tensors
    }


def check(path: Path, expected: dict[str, Any]) -> None:
    """Fail unless a file holds exactly these weights, in this order."""
    found = described(path)
    assert list(found) == list(expected)
    for name, values in expected.items():
        wanted = np.asarray(values)
        np.testing.assert_array_equal(found[name], wanted.astype(found[name].dtype))


def problem_of(path: Path) -> str:
    """Return the message for a file that must be refused, having checked its form."""
    with pytest.raises(FormatError) as caught:
        READER.describe(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- what is read


@PROTOCOLS
def test_arrays_are_read_by_every_protocol(tmp_path: Path, protocol: int) -> None:
    content = {"model": ARRAYS, "epoch": np.int64(3), "loss": np.float32(0.5)}
    path = write_pickle(tmp_path / "a.pkl", content, protocol)

    check(path, ARRAYS)
    description = READER.describe(path)
    assert (description.step, description.step_key) == (3, "epoch")
    assert dict(description.measures) == {"loss": 0.5}


@PROTOCOLS
def test_tensors_are_read_by_every_protocol(tmp_path: Path, protocol: int) -> None:
    state = small(0.5, big=torch.arange(5000.0).reshape(50, 100).t())

    check(write_pickle(tmp_path / "a.pkl", state, protocol), state)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_values_are_byte_ranges_where_bytes_are_stored_as_they_are(
    tmp_path: Path, protocol: int
) -> None:
    for content in (ARRAYS, small()):
        path = write_pickle(tmp_path / "a.pkl", content, protocol)
        assert all(isinstance(t.values, Extent) for t in READER.describe(path).tensors)


@PROTOCOLS
def test_whole_modules_are_read_with_the_names_of_their_state(
    tmp_path: Path, protocol: int
) -> None:
    network = Network()

    check(write_pickle(tmp_path / "a.pkl", network, protocol), network.state_dict())


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress], ids=["gzip", "zlib"])
@PROTOCOLS
def test_pickles_packed_by_deflate_are_read(
    tmp_path: Path, protocol: int, pack: Callable[[bytes], bytes]
) -> None:
    for number, content in enumerate((ARRAYS, small(0.5))):
        path = tmp_path / f"a{number}.pkl.gz"
        path.write_bytes(pack(pickle.dumps(content, protocol)))

        check(path, dict(content))
        assert all(isinstance(t.values, HiddenValues) for t in READER.describe(path).tensors)


@pytest.mark.parametrize(
    ("pack", "name"),
    [(bz2.compress, "bzip2"), (lzma.compress, "xz"),
     (lambda raw: lzma.compress(raw, lzma.FORMAT_ALONE), "lzma")],
)  # fmt: skip
def test_other_compressions_are_named_with_the_way_out(
    tmp_path: Path, pack: Callable[[bytes], bytes], name: str
) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pack(pickle.dumps(ARRAYS)))

    assert READER.recognises(path)
    assert f"compressed by {name}, which is not read here; undo it: " in problem_of(path)
    assert problem_of(path).endswith(" < FILE > NEW")


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("zlib", 6)])
def test_dumps_of_joblib_are_read(tmp_path: Path, compress: Any) -> None:
    text, records = np.array(["ab", "c"]), np.zeros(2, [("a", "f4"), ("b", "i4")])
    beside = {"words": text, "log": records, "mixed": np.array([1, "x"], dtype=object)}
    path = write_joblib(tmp_path / "a.joblib", {**beside, **ARRAYS}, compress)

    check(path, ARRAYS)


def test_the_weights_of_paddle_are_read(tmp_path: Path) -> None:
    names = {"StructuredToParameterName@@": {name: f"{name}_0" for name in ARRAYS}}
    path = write_pickle(tmp_path / "a.pdparams", {**ARRAYS, **names})

    check(path, ARRAYS)
    assert READER.describe(path).format == "PaddlePaddle pickle"


class PaddleTensor:
    """Pickled as PaddlePaddle pickles tensors in nested contents."""

    def __init__(self, name: str, values: np.ndarray) -> None:
        self.pair = name, values

    def __reduce__(self) -> tuple[Any, ...]:
        """Return a tuple of name and values."""
        return tuple, (self.pair,)


def test_nested_tensors_of_paddle_are_read(tmp_path: Path) -> None:
    state = {name: PaddleTensor(f"{name}_0", values) for name, values in ARRAYS.items()}

    check(write_pickle(tmp_path / "a.pdparams", {"model": state, "epoch": 1}), ARRAYS)


def test_the_optimizer_of_paddle_is_no_weights(tmp_path: Path) -> None:
    state = {"w_0_moment1_0": np.ones(3), "w_0_beta1_pow_acc_0": np.ones(1), "LR_Scheduler": {}}
    path = write_pickle(tmp_path / "a.pdopt", state)

    assert "training state, not weights" in problem_of(path)


@PROTOCOLS
@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn"])
def test_the_small_floats_of_jax_are_read(tmp_path: Path, protocol: int, dtype: str) -> None:
    values = np.arange(64).astype(getattr(ml_dtypes, dtype)).reshape(8, 8)
    path = write_pickle(tmp_path / "a.pkl", {"w": values}, protocol)

    check(path, {"w": values.astype(np.float32)})


def test_an_array_of_jax_is_read_behind_its_own_function(tmp_path: Path) -> None:
    function, arguments, state = np.arange(40.0).__reduce__()  # type: ignore[misc]
    known = b"cjax._src.array\n_reconstruct_array\n"
    inner = pickle.dumps((function, arguments, state, {}), protocol=2)[2:-1]
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02}X\x01\0\0\0w" + known + inner + b"Rs.")

    check(tmp_path / "a.pkl", {"w": np.arange(40.0)})


@dataclass
class TrainState:
    """What a script pickles as a whole."""

    params: dict[str, Any]
    epoch: int


class Frozen(dict):  # type: ignore[type-arg]
    """A mapping that is made of a dict, as those of flax are."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it."""
        return Frozen, (dict(self),)


@PROTOCOLS
@pytest.mark.parametrize(
    "content",
    [
        OrderedDict(ARRAYS),
        defaultdict(dict, model=ARRAYS, epoch=3),
        Frozen(params=Frozen(ARRAYS)),
        UserDict(ARRAYS),
        TrainState(ARRAYS, 3),
        SimpleNamespace(params=ARRAYS, epoch=3),
        [{"params": ARRAYS}, {"state": {}, "param_groups": []}],
        {tuple(name.split(".")): values for name, values in ARRAYS.items()},
        {name.encode(): values for name, values in ARRAYS.items()},
    ],
    ids=["ordered", "default", "frozen", "user", "dataclass", "namespace", "list", "paths",
         "bytes"],
)  # fmt: skip
def test_weights_are_found_in_mappings_of_any_class(
    tmp_path: Path, content: object, protocol: int
) -> None:
    found = described(write_pickle(tmp_path / "a.pkl", content, protocol))

    assert [name.removeprefix("0.") for name in found] == list(ARRAYS)


def test_a_list_of_arrays_is_numbered(tmp_path: Path) -> None:
    weights = [ARRAYS["conv.weight"], ARRAYS["conv.bias"]]

    check(write_pickle(tmp_path / "a.pkl", weights), {"0": weights[0], "1": weights[1]})


def test_a_list_of_lists_is_numbered_by_layer(tmp_path: Path) -> None:
    layers = [[np.ones((2, 3)), np.ones(2)], [np.zeros((1, 2))]]
    path = write_pickle(tmp_path / "a.pkl", layers)

    check(path, {"0.0": layers[0][0], "0.1": layers[0][1], "1.0": layers[1][0]})


def test_the_attributes_of_an_object_are_weights_where_nothing_else_is(tmp_path: Path) -> None:
    from sklearn.neural_network import MLPClassifier

    points = np.random.default_rng(0).random((40, 4))
    model = MLPClassifier((5,), max_iter=500, tol=0.1).fit(points, points[:, 0] > 0.5)
    layers = {}
    for i, pair in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        layers |= {f"{i}.weight": pair[0], f"{i}.bias": pair[1]}

    for path in (
        write_pickle(tmp_path / "a.pkl", model),
        write_joblib(tmp_path / "a.joblib", model),
        write_joblib(tmp_path / "b.joblib", {"model": model, "epoch": 3}, 3),
    ):
        check(path, layers)
        for tensor in READER.describe(path).tensors:
            expected = (Axis.INPUT, Axis.OUTPUT) if len(tensor.shape) == 2 else None
            assert (tensor.hints.kind, tensor.hints.axes) == (Kind.LINEAR, expected)
    notes = READER.describe(tmp_path / "a.pkl").notes
    assert "taken from the attributes of a pickled" in notes[0]


@PROTOCOLS
@pytest.mark.parametrize(
    "kind", ["LogisticRegression", "LinearRegression", "Ridge", "SGDClassifier"]
)
def test_linear_models_have_one_layer(tmp_path: Path, kind: str, protocol: int) -> None:
    from sklearn import linear_model

    points = np.random.default_rng(0).random((60, 4))
    targets = points[:, :3].argmax(1) if "Classifier" in kind or "Logistic" in kind else points
    model = getattr(linear_model, kind)().fit(points, targets)

    check(
        write_pickle(tmp_path / "a.pkl", model, protocol),
        {"0.weight": model.coef_, "0.bias": model.intercept_},
    )
    axes = {t.name: t.hints.axes for t in READER.describe(tmp_path / "a.pkl").tensors}
    assert axes == {"0.weight": (Axis.OUTPUT, Axis.INPUT), "0.bias": None}


def test_coefficients_of_one_output_are_a_vector(tmp_path: Path) -> None:
    from sklearn.linear_model import LinearRegression

    points = np.random.default_rng(0).random((60, 4))
    model = LinearRegression().fit(points, points[:, 0])

    check(write_pickle(tmp_path / "a.pkl", model), {"0.weight": model.coef_})


def test_a_network_in_a_pipeline_is_found(tmp_path: Path) -> None:
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    points = np.random.default_rng(0).random((40, 4))
    network = MLPRegressor(hidden_layer_sizes=(3, 2), max_iter=500, tol=0.1)
    make_pipeline(StandardScaler(), network).fit(points, points[:, 0])
    path = write_pickle(tmp_path / "a.pkl", make_pipeline(StandardScaler(), network))

    found = described(path)

    assert [n for n in found if n.endswith("weight")] == ["0.weight", "1.weight", "2.weight"]
    np.testing.assert_array_equal(found["1.weight"], network.coefs_[1])


LISTS: dict[str, tuple[list[tuple[int, ...]], list[str], list[Any]]] = {
    "dense of Keras": (
        [(4, 8), (8,), (8, 3), (3,)],
        ["0", "0", "2", "2"],
        [(Axis.INPUT, Axis.OUTPUT), None, (Axis.INPUT, Axis.OUTPUT), None],
    ),
    "dense of PyTorch": (
        [(8, 4), (8,), (3, 8)],
        ["0", "0", "2"],
        [(Axis.OUTPUT, Axis.INPUT), None, None],
    ),
    "convolution of Keras": (
        [(3, 3, 1, 8), (8,), (5, 5, 8, 2)],
        ["0", "0", "2"],
        [(Axis.KERNEL, Axis.KERNEL, Axis.INPUT, Axis.OUTPUT), None] * 2,
    ),
    "convolution of PyTorch": (
        [(8, 2, 3, 3), (8,), (2, 8, 5, 5)],
        ["0", "0", "2"],
        [(Axis.OUTPUT, Axis.INPUT, Axis.KERNEL, Axis.KERNEL), None] * 2,
    ),
    "vectors": ([(3,), (4, 5), (6,)], ["0", "1", "2"], [None, None, None]),
}
"""Shapes in a list, and their layers and axes."""


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("written", ["pickle", "npz", "objects"])
def test_in_lists_of_arrays_a_vector_behind_a_matrix_is_its_bias(
    tmp_path: Path, kind: str, written: str
) -> None:
    shapes, layers, axes = LISTS[kind]
    arrays = [np.full(shape, 0.5) for shape in shapes]
    if written == "pickle":
        path = write_pickle(tmp_path / "a.pkl", arrays)
    elif written == "npz":
        path = tmp_path / "a.npz"
        np.savez(path, *arrays)
    else:
        path = tmp_path / "a.npy"
        objects = np.empty(len(arrays), object)
        objects[:] = arrays
        np.save(path, objects, allow_pickle=True)

    found = reader_for(path)
    assert found is not None
    described = found.describe(path).tensors
    known = {p.name: (layer.name, p) for layer in layers_of(described) for p in layer.parameters}

    assert [t.name.removeprefix("arr_") for t in described] == [str(i) for i in range(len(shapes))]
    assert [known[t.name][0].removeprefix("arr_") for t in described] == layers
    for tensor, expected in zip(described, axes, strict=False):
        assert expected is None or known[tensor.name][1].axes == expected
    biases = [t.name.removeprefix("arr_") for t in described if known[t.name][1].role is Role.BIAS]
    assert biases == [str(i) for i, layer in enumerate(layers) if layer != str(i)]


# ---------------------------------------------------------------- what is something else


@pytest.mark.parametrize(
    "content",
    [
        {"a": [1, 2], "b": "x"},
        {b"data": np.zeros((10, 30), np.uint8), b"labels": [1, 2]},
        list(range(1000)),
        {"optimizer": {"m": np.ones(3)}},
        {"history": {"loss": np.ones(30)}},
        "text",
    ],
)
@PROTOCOLS
def test_pickles_of_other_things_are_not_recognised(
    tmp_path: Path, content: object, protocol: int
) -> None:
    assert not READER.recognises(write_pickle(tmp_path / "a.pkl", content, protocol))


def test_a_pickle_of_something_else_is_called_so_where_it_is_named(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "words.pkl", {"word": 1})

    with pytest.raises(FormatError, match="it is a pickle in which no weights are found"):
        aw.open_run(path)


def test_statistics_and_trees_are_no_networks(tmp_path: Path) -> None:
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier

    points = np.random.default_rng(0).random((40, 4))
    scaler = StandardScaler().fit(points)
    tree = DecisionTreeClassifier().fit(points, points[:, 0] > 0.5)

    assert not READER.recognises(write_pickle(tmp_path / "a.pkl", scaler))
    assert not READER.recognises(write_pickle(tmp_path / "b.pkl", tree))


def test_a_pickle_with_too_many_parts_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"w": np.ones(3), "data": list(range(1000))})
    assert READER.recognises(path)

    monkeypatch.setattr(recognition, "MOST_OPCODES", 500)

    assert not READER.recognises(path)
    assert [t.name for t in READER.describe(path).tensors] == ["w"]


def test_a_damaged_step_is_recognised_where_weights_come_first(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", ARRAYS)
    path.write_bytes(path.read_bytes()[:-100])

    assert READER.recognises(path)
    assert "cut short" in problem_of(path)


@pytest.mark.parametrize(
    "text", ["(c) A licence.", "}", "cat sat.\non\n", "(list of) things", "]q", "{}", "(1, 2)\n"]
)
def test_packed_text_that_begins_like_an_old_pickle_is_not_recognised(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(text.encode()))

    assert not READER.recognises(tmp_path / "a.gz")


@pytest.mark.parametrize("text", ["(c) A licence.", "]", "cat sat.", "}", "(", "{}", "."])
def test_text_that_begins_like_an_old_pickle_is_not_recognised(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)

    assert not READER.recognises(tmp_path / "a.txt")


HISTORIES: dict[str, Any] = {
    "list": [small(step / 4) for step in range(3)],
    "steps": {step: small(step / 4) for step in (10, 20, 30)},
    "epochs": {f"epoch_{step}": small(step / 4) for step in range(3)},
    "in a list": {"checkpoints": [small(step / 4) for step in range(3)]},
}


@pytest.mark.parametrize("kind", HISTORIES)
def test_a_file_of_many_steps_says_how_to_open_them(tmp_path: Path, kind: str) -> None:
    path = write_pickle(tmp_path / "a.pkl", HISTORIES[kind])
    torch.save(HISTORIES[kind], tmp_path / "a.pt")

    for file in (path, tmp_path / "a.pt"):
        with pytest.raises(MismatchError) as caught:
            aw.analyze(file)
        assert "holds 3 networks of the same names and shapes" in str(caught.value)
        assert str(caught.value).endswith("load the file and call aw.open_run([...]) with them")


def test_the_way_to_open_many_steps_works(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", HISTORIES["list"])

    states = pickle.loads(path.read_bytes())

    assert aw.analyze(aw.open_run(states)).ranking()["mean"].to_list() == [0.5]


def test_a_history_that_is_left_out_says_how_to_open_it(tmp_path: Path) -> None:
    path = write_pickle(tmp_path / "a.pkl", {"history": HISTORIES["list"]})

    assert "aw.open_run([...])" in problem_of(path)


@pytest.mark.parametrize(
    "content",
    [
        [{"W": np.ones((2, 3)), "b": np.ones(2)}, {"W": np.ones((4, 2)), "b": np.ones(4)}],
        {"h": {"0": small(), "1": small()}, "head": torch.ones(2, 3)},
        {"actor": small(), "critic": small()},
        {"0": np.ones((2, 2)), "1": np.ones((2, 2))},
    ],
)
def test_layers_and_networks_side_by_side_are_no_steps(tmp_path: Path, content: object) -> None:
    description = READER.describe(write_pickle(tmp_path / "a.pkl", content))

    assert not any("aw.open_run" in note for note in description.notes)


def test_references_to_one_array_are_as_many_tensors(tmp_path: Path) -> None:
    array = np.ones((2, 2))
    kinds: dict[str, Any] = {
        "flat": {f"w{i}": array for i in range(500)},
        "nested": {f"l{i}": {"w": array} for i in range(500)},
        "list": [array] * 500,
        "copies": {"net": {"w": array}} | {f"ema_{i}": {"w": array} for i in range(500)},
    }
    for kind, content in kinds.items():
        description = READER.describe(write_pickle(tmp_path / f"{kind}.pkl", content))
        assert len(description.tensors) == (1 if kind == "copies" else 500)
        assert len(description.notes) == (kind == "copies")


# ---------------------------------------------------------------- runs


def test_a_folder_of_pickles_is_a_run_and_other_pickles_are_left_alone(tmp_path: Path) -> None:
    for epoch in range(3):
        write_pickle(tmp_path / f"epoch_{epoch}.pkl", small(epoch / 4))
    write_pickle(tmp_path / "vocabulary.pkl", {"word": 1})

    run = aw.open_run(tmp_path)

    assert run.reader == "pickle"
    assert list(run.steps) == [0, 1, 2]
    assert [layer.name for layer in run.layers] == ["fc"]
    assert aw.analyze(run).ranking()["mean"].to_list() == [0.5]


@pytest.mark.parametrize("name", ["a.pt", "a.pkl", "a", "a.weights"])
def test_the_content_decides_not_the_name(tmp_path: Path, name: str) -> None:
    found = reader_for(write_pickle(tmp_path / name, small()))
    torch.save(small(), tmp_path / "zip.pkl")
    of_torch = reader_for(tmp_path / "zip.pkl")

    assert found is not None
    assert found.name == "pickle"
    assert of_torch is not None
    assert of_torch.name == "torch"


@pytest.mark.parametrize("axes", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_with_axes_in_any_order_have_their_values(
    tmp_path: Path, protocol: int, axes: tuple[int, ...]
) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(axes)
    path = write_pickle(tmp_path / "a.pkl", {"w": array}, protocol)

    (tensor,) = READER.describe(path).tensors

    np.testing.assert_array_equal(values_of(tensor), array)


def test_pairs_of_names_and_tensors_are_read_by_their_names(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(4, 3))
    torch.save(list(module.named_parameters()), tmp_path / "a.pt")
    write_pickle(tmp_path / "b.pkl", tuple(ARRAYS.items()))

    tensors = reader_for(tmp_path / "a.pt").describe(tmp_path / "a.pt").tensors

    assert [tensor.name for tensor in tensors] == ["0.weight", "0.bias"]
    check(tmp_path / "b.pkl", ARRAYS)
