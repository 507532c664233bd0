"""Networks and probes on a GPU compute what they do on the CPU.

Where there is none, the same tests run on a device that stands in for one, in a process of its own:
it finds tensors on the wrong device, which is what a machine without a GPU never shows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from binding_models import FOLDED
from networks import LEGACY
from onnx import TensorProto, helper, numpy_helper
from onnx_models import node, saved
from probe_networks import Classifier, digits, stack, trained, write_states
from stand_in_device import NAME, registered
from test_execution_operators import outcomes
from test_execution_zoo import DATA, ZOO
from test_probe_sequences import Rows, graph
from torch import nn

import accweight_core as aw
from accweight_adapters.execution import devices
from accweight_adapters.execution.program import failure
from accweight_core.errors import (
    ArgumentValueError,
    MemoryLimitError,
    UnsupportedOperatorError,
)
from accweight_core.probes.probe import RUNS_NETWORK
from accweight_core.probes.registry import probes
from accweight_core.samples.samples import array_of

Array = np.ndarray[Any, np.dtype[Any]]

STANDS_IN = os.environ.get("ACCWEIGHT_STAND_IN_DEVICE") == "1" and registered()
DEVICE = NAME if STANDS_IN else "cuda"

on_device = pytest.mark.skipif(
    not (STANDS_IN or torch.cuda.is_available()), reason="needs a CUDA device"
)
alone = pytest.mark.skipif(STANDS_IN, reason="is not about a device")

TOLERANCE = 0.0 if STANDS_IN else 1e-5
"""Of results and gradients, relative to the largest value."""

OF_PICTURES = (
    "activations", "attribution:samples=4", "attribution:samples=4,method=integrated,points=4",
    "attribution:samples=4,method=smoothgrad", "class_hierarchy", "embedding:layer=fc1",
    "evaluate", "failure:times=1.01", "feature_visualization:layers=fc1,units=3,iterations=4",
    "few_shot", "linear_probe", "neighbors:layer=fc1", "neuron_activation", "representation",
    "rewind:statistics=16", "top_images:layer=fc1,units=3", "unit_saliency:points=12",
)  # fmt: skip
OF_SEQUENCES = (
    "evaluate", "gates", "hidden_response:layer=lstm", "hidden_state:begin_at=1,length=2",
)  # fmt: skip
OF_PLANES = ("decision_surface:cells=16",)


class Normed(nn.Sequential):
    """A small network for pictures of 8 x 8 with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.relu, self.flat = nn.ReLU(), nn.Flatten()
        self.fc1, self.act, self.fc2 = nn.Linear(144, 8), nn.ReLU(), nn.Linear(8, 3)


def assert_close(made: Array, expected: Array) -> None:
    assert (made.dtype, made.shape) == (expected.dtype, expected.shape)
    assert np.abs(made - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_what_is_here_passes_on_a_device_that_stands_in_for_a_gpu() -> None:
    if STANDS_IN:
        pytest.skip("is what runs this")
    environment = {**os.environ, "ACCWEIGHT_STAND_IN_DEVICE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", __file__]

    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    if "needs a CUDA device" in done.stdout:
        pytest.skip("this version of torch lets no device stand in for another")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


# ---------------------------------------------------------------- networks


@pytest.mark.gpu
@on_device
def test_operators_pass_the_node_tests_on_the_device() -> None:
    found = outcomes(torch.device(DEVICE), 11 if STANDS_IN else 1)

    assert found.wrong == []
    assert found.right > (140 if STANDS_IN else 1600)


@pytest.mark.gpu
@on_device
@pytest.mark.parametrize("name", ZOO)
def test_graphs_give_the_same_results_and_gradients(name: str) -> None:
    with np.load(DATA / f"{name}.npz") as stored:
        x = stored["x"]
    pair: Any = (
        aw.Network.from_onnx(DATA / f"{name}.onnx", device=at).with_weights({})
        for at in (DEVICE, "cpu")
    )
    there, here = pair
    layers, changed = there.network.layers, [list(there.parameters)[-1]]
    expected = here.run(x, keep=layers)

    assert {value.device.type for value in there.tensors.values()} == {DEVICE}
    for _ in range(2):  # the second time from what the first has kept
        made = there.run(x, keep=layers)
        assert made.keys() == expected.keys()
        for key, value in expected.items():
            assert_close(made[key], value)
    factors = 2 * expected["output"]
    wrt = ["x", *there.parameters]
    gradients = there.gradient(x, ("output", factors), wrt)
    for at, value in here.gradient(x, ("output", factors), wrt).items():
        assert_close(gradients[at], value)
    resumed = there.resumed(there.beginning(x, changed))
    assert_close(resumed["output"], expected["output"])
    for layer, gates in here.gates(x, here.gated).items():
        for gate, value in gates.items():
            assert_close(there.gates(x, [layer])[layer][gate], value)


@pytest.mark.gpu
@on_device
def test_a_module_stays_on_its_device() -> None:
    module, x = Classifier().to(DEVICE), digits(12)[0]
    bound: Any = aw.Network.from_module(module).with_weights({"fc2.bias": np.ones(3, np.float32)})
    here: Any = aw.Network.from_module(Classifier())
    own = {n: v.detach().cpu() for n, v in module.named_parameters()}
    here = here.with_weights({**own, "fc2.bias": torch.ones(3)})

    made = bound.run(torch.from_numpy(x).to(DEVICE), keep=["fc1"])

    assert bound.tensors["fc2.bias"].device.type == DEVICE
    assert {p.device.type for p in module.parameters()} == {DEVICE}
    for name, value in here.run(x, keep=["fc1"]).items():
        assert_close(made[name], value)
    of = ("output", 1)
    assert_close(np.asarray(bound.gradient(x, of)), np.asarray(here.gradient(x, of)))


@pytest.mark.gpu
@on_device
def test_products_of_integers_are_exact(tmp_path: Path) -> None:
    nodes = [
        *(node("Cast", name, f"{name}_whole", to=TensorProto.INT64) for name in "xy"),
        node("MatMul", "x_whole y_whole", "z_whole"),
        node("Cast", "z_whole", "z", to=TensorProto.FLOAT),
    ]
    path = saved(tmp_path, nodes, {}, inputs=("x", "y"), outputs=("z",))
    x = {name: np.full((2, 2), 3, np.float32) for name in "xy"}

    made = aw.Network.from_onnx(path, device=DEVICE).with_weights({}).run(x)

    assert made["output"].tolist() == [[18, 18], [18, 18]]


@pytest.mark.gpu
@on_device
def test_branches_and_loops_that_follow_from_shapes_are_run_beside_these(tmp_path: Path) -> None:
    def body(kind: str, ports: list[tuple[str, int]], nodes: list[Any], out: list[str]) -> Any:
        given = [helper.make_tensor_value_info(name, number, []) for name, number in ports]
        made = [helper.make_tensor_value_info(name, TensorProto.INT64, None) for name in out]
        return helper.make_graph(nodes, kind, given, made)

    def numbers(*values: int) -> Any:
        return numpy_helper.from_array(np.array(values))

    same = body("same", [], [node("Constant", "", "none", value=numbers(0, 0)),
                             node("Add", "shape none", "added")], ["added"])  # fmt: skip
    other = body("other", [], [node("Constant", "", "one", value=numbers(1, 1)),
                               node("Mul", "shape one", "times")], ["times"])  # fmt: skip
    counting = body(
        "counting", [("trip", TensorProto.INT64), ("going", TensorProto.BOOL)],
        [node("Constant", "", "axis", value=numbers(0)), node("Unsqueeze", "trip axis", "place"),
         node("Add", "place axis", "row"), node("Identity", "going", "on")], ["on", "row"],
    )  # fmt: skip
    nodes = [
        node("Shape", "x", "shape"),
        node("Gather", "shape first", "count"),
        node("Gather", "shape second", "width"),
        node("Equal", "count width", "square"),
        node("If", "square", "kept", then_branch=same, else_branch=other),
        helper.make_node("Loop", ["width", ""], ["rows"], body=counting),
        node("Reshape", "x kept", "like"),
        node("Reshape", "rows all", "places"),
        node("Cast", "places", "shifts", to=TensorProto.FLOAT),
        node("Add", "like shifts", "y"),
    ]
    constants = {"first": np.array(0), "second": np.array(1), "all": np.array([-1])}
    path = saved(tmp_path, nodes, constants)
    x = np.zeros((2, 3), np.float32)

    made = aw.Network.from_onnx(path, device=DEVICE).with_weights({}).run(x)

    assert made["output"].tolist() == [[0, 1, 2], [0, 1, 2]]


# ---------------------------------------------------------------- probes


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path, Any]]:
    """Return checkpoints, a graph, and samples of three kinds."""
    pixels, classes = digits(24)
    chance = np.random.default_rng(0)
    plane = chance.standard_normal((40, 2)).astype(np.float32)
    samples: dict[str, tuple[nn.Module, Any]] = {
        "pictures": (Normed(), (pixels, classes)),
        "sequences": (Rows(), (chance.standard_normal((24, 7, 6)).astype(np.float32), classes)),
        "planes": (stack(2, 4, 2), (plane, (plane[:, 0] > 0).astype(np.int64))),
    }
    found = {}
    for name, (module, data) in samples.items():
        folder = tmp_path_factory.mktemp(name)
        run = write_states(folder / "run", trained(module.train(), *data, epochs=1))
        options = {**FOLDED[LEGACY], "do_constant_folding": False}
        with torch.no_grad():
            graph(module.eval(), torch.from_numpy(data[0]), folder / "net.onnx", options)
        found[name] = run, folder / "net.onnx", data
    return found


@pytest.mark.gpu
@on_device
@pytest.mark.parametrize(
    ("kind", "probe"),
    [
        (kind, probe)
        for kind, several in (
            ("pictures", OF_PICTURES),
            ("sequences", OF_SEQUENCES),
            ("planes", OF_PLANES),
        )
        for probe in several
    ],
)
def test_every_probe_finds_the_same(asked: Any, tmp_path: Path, kind: str, probe: str) -> None:
    run, model, data = asked[kind]
    results = []
    for at in (DEVICE, "cpu"):
        network = aw.Network.from_onnx(model, device=at)
        out = tmp_path / f"{at}.accw"
        found = aw.probe(aw.open_run(run), network, data, probe, out=out, batch_size=10)
        results.append(found[probe.partition(":")[0]])

    made, expected = results
    assert made.engine == f"onnx on {DEVICE}"
    assert made.arrays == expected.arrays
    for name in made.arrays:
        one, other = made.array(name).astype(float), expected.array(name).astype(float)
        largest = np.abs(other[np.isfinite(other)]).max(initial=0)
        # of what is chosen, such as neighbours, little may fall out another way
        near = np.isclose(one, other, rtol=0, atol=1e-3 * largest, equal_nan=True)
        assert near.all() if STANDS_IN else near.mean() > 0.98, name


def test_every_probe_that_runs_a_network_is_tried() -> None:
    tried = {probe.partition(":")[0] for probe in (*OF_PICTURES, *OF_SEQUENCES, *OF_PLANES)}

    assert tried == {name for name, one in probes().items() if one.needs & RUNS_NETWORK}


# ---------------------------------------------------------------- devices


@alone
@pytest.mark.parametrize("name", ["cuda:99", "gpu", "", "meta", "cuda0", "mps:7", "xpu"])
def test_a_device_that_is_not_here_is_told_in_a_line(name: str) -> None:
    with pytest.raises(ArgumentValueError) as caught:
        aw.Network.from_onnx(DATA / "cnn.onnx", device=name)

    said = str(caught.value)
    assert said.startswith(f"device {name!r} cannot be used: ")
    assert "; take one that is here: cpu" in said
    assert len(said.splitlines()) == 1
    assert len(said) < 250


@alone
def test_the_names_of_devices_have_no_case() -> None:
    assert devices.device_named("CPU") == torch.device("cpu")
    with pytest.raises(UnsupportedOperatorError, match="CPU alone, not on 'cuda'; take the engine"):
        aw.Network.from_onnx(DATA / "cnn.onnx", engine="ort", device="cuda")


def precision() -> tuple[Any, ...]:
    """Return the settings of torch that decide about bits."""
    cudnn = torch.backends.cudnn
    return (
        cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic,
        torch.get_float32_matmul_precision(), torch.get_deterministic_debug_mode(),
    )  # fmt: skip


@pytest.fixture
def fast(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have torch as a user may have it who wants speed."""
    cudnn = torch.backends.cudnn
    before = torch.get_float32_matmul_precision(), cudnn.benchmark
    torch.set_float32_matmul_precision(request.param)
    cudnn.benchmark = True
    yield
    torch.set_float32_matmul_precision(before[0])
    cudnn.benchmark = before[1]


@alone
@pytest.mark.usefixtures("fast")
@pytest.mark.parametrize("fast", ["highest", "high", "medium"], indirect=True)
def test_a_gpu_computes_in_full_float32_and_settings_are_put_back() -> None:
    before = precision()

    with devices.full_precision(torch.device("cpu")):
        on_cpu = precision()
    with suppress(KeyError), devices.full_precision(torch.device("cuda", 0)):
        inside = precision()
        raise KeyError
    after = precision()

    assert inside == (False, False, True, "highest", 1)
    assert before == on_cpu == after != inside


@alone
def test_newer_names_of_settings_are_kept_too() -> None:
    program = (
        "import torch\n"
        "from accweight_adapters.execution.devices import full_precision\n"
        "conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul\n"
        "def seen(): return conv.fp32_precision, matmul.fp32_precision\n"
        "conv.fp32_precision, matmul.fp32_precision = 'ieee', 'tf32'\n"
        "with full_precision(torch.device('cuda', 0)): print(*seen())\n"
        "print(*seen())"
    )
    if not hasattr(torch.backends.cudnn, "conv"):
        pytest.skip("this version of torch has the older names alone")

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == ["ieee ieee", "ieee tf32"]


@alone
def test_memory_of_a_gpu_that_runs_out_is_told() -> None:
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a")

    told = failure("Conv ('c')", error)

    assert isinstance(told, MemoryLimitError)
    assert str(told).startswith("operator Conv ('c'): memory ran out (CUDA out of memory. Tried")
    assert str(told).endswith("run fewer samples at once")


@alone
def test_samples_may_be_tensors_that_need_gradients() -> None:
    samples = torch.ones(3, 4).requires_grad_()

    assert array_of(samples).tolist() == [[1.0] * 4] * 3


@alone
def test_scales_of_a_resize_are_no_parameters() -> None:
    network = aw.Network.from_onnx(DATA / "unet.onnx")

    assert "val_31" not in network.parameters  # the Resize of the graph takes it as its scales


def test_settings_are_put_back_by_the_last_of_several_threads() -> None:
    before, device = torch.backends.cudnn.deterministic, torch.device("cuda")
    first_in, second_in = threading.Event(), threading.Event()
    held: list[bool] = []

    def first() -> None:
        with devices.full_precision(device):
            first_in.set()
            second_in.wait()

    def second() -> None:
        first_in.wait()
        with devices.full_precision(device):
            second_in.set()
            earlier.join()
            held.append(torch.backends.cudnn.deterministic)

    earlier, later = threading.Thread(target=first), threading.Thread(target=second)
    for thread in (earlier, later):
        thread.start()
    for thread in (earlier, later):
        thread.join()

    assert held == [True]
    assert torch.backends.cudnn.deterministic == before
