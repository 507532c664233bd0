"""The contract for readers, run on every file that our own readers read."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

import keras_files
import numpy as np
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
from pickle_files import (
    Network,
    script_state,
    write_export,
    write_joblib,
    write_module,
    write_older_baselines,
    write_pickle,
    write_script,
)
from torch import nn
from trainer_files import (
    copy_sharded,
    write_distributed,
    write_lightning,
    write_sb3,
    write_torch_shards,
)

from accweight_adapters.keras.reader import KerasReader
from accweight_adapters.numpy.baselines_reader import OlderBaselinesReader
from accweight_adapters.numpy.reader import NumpyReader
from accweight_adapters.pickled.reader import PickleReader
from accweight_adapters.safetensors_reader import SafetensorsReader
from accweight_adapters.torch.distributed_reader import DistributedReader
from accweight_adapters.torch.reader import TorchReader
from accweight_adapters.torch.sb3_reader import StableBaselinesReader
from accweight_core.errors import FormatError
from accweight_core.schema import Description, Extent, Hints, Role, StoredTensor
from accweight_core.testing import ReaderCase, ReaderContract, Weights, neighbours

STATE = states(1)[0]
Networks = Mapping[str, Weights]


def as_tensors(arrays: Weights) -> dict[str, torch.Tensor]:
    """Return arrays as tensors."""
    return {name: torch.tensor(values) for name, values in arrays.items()}


def write_arrays(folder: Path, arrays: Weights) -> None:
    """Write an array per file, in folders named after the modules."""
    for name, values in arrays.items():
        path = folder / f"{name.replace('.', '/')}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, values)


class TestTorchZip(ReaderContract):
    """What torch.save writes today."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""

        def several(path: Path, networks: Networks) -> None:
            torch.save({key: as_tensors(state) for key, state in networks.items()}, path)

        path = write_torch(tmp_path / "a.pt", STATE)
        return ReaderCase(TorchReader(), path, as_arrays(STATE), ordered=True, several=several)


class TestTorchLegacy(ReaderContract):
    """What torch.save wrote before 1.6."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        return ReaderCase(TorchReader(), write_legacy(tmp_path / "a.pth", STATE), as_arrays(STATE))


class TestTorchTrainingState(ReaderContract):
    """What a training script saves: weights, optimizer and epoch."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return weights in half precision beside the state of Adam and figures."""
        state = states(1, dtype=torch.bfloat16)[0]
        wrapped = {f"module.{name}": value for name, value in state.items()}
        adam = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}
        figures = {"epoch": 3, "loss": torch.tensor(0.5), "metrics": {"acc": [0.5, 0.75]}}
        torch.save({"model": wrapped, "optimizer": adam, **figures}, tmp_path / "a.pt")
        return ReaderCase(TorchReader(), tmp_path / "a.pt", as_arrays(state), ("optimizer",))


class TestFlatTrainingState(ReaderContract):
    """What a script saves that puts everything into one file, by name."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return weights beside an optimizer, an average, a loss and a counter."""
        weights = {name: value for name, value in STATE.items() if value.is_floating_point()}
        others = {f"optimizer.{name}.exp_avg": value + 1 for name, value in weights.items()}
        others |= {f"ema.{name}": value + 2 for name, value in weights.items()}
        others |= {"criterion.weight": torch.ones(3)}
        path = write_safetensors(tmp_path / "a.safetensors", {**weights, **others})
        said = ("optimizer", "ema", "criterion")
        return ReaderCase(SafetensorsReader(), path, as_arrays(weights), said)


class TestSafetensors(ReaderContract):
    """One safetensors file."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        path = write_safetensors(tmp_path / "a.safetensors", STATE)
        return ReaderCase(SafetensorsReader(), path, as_arrays(STATE))


class TestShardedSafetensors(ReaderContract):
    """An index and its shards."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict in three files."""
        path = write_sharded(tmp_path / "model.safetensors.index.json", STATE, 3)
        return ReaderCase(SafetensorsReader(), path, as_arrays(STATE))


class TestPartsWithoutIndex(ReaderContract):
    """Parts of a model that their names alone put together."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict in three files."""
        write_sharded(tmp_path / "model.safetensors.index.json", STATE, 3).unlink()
        path = tmp_path / "model-00001-of-00003.safetensors"
        return ReaderCase(SafetensorsReader(), path, as_arrays(STATE))


class TestPipelineLayers(ReaderContract):
    """DeepSpeed's files of layers, in two parts each."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict, the matrices of which are cut along the first axis."""
        whole = [name for name, value in STATE.items() if value.ndim < 2]
        rules = {"tp_replicated_parameter_patterns": [f"^0.{name}$" for name in whole]}
        settings = {"module": None, "universal_checkpoint_info": rules}
        torch.save(settings, tmp_path / "mp_rank_00_model_states.pt")
        for part in (0, 1):
            own = {n: v if n in whole else v.chunk(2)[part].clone() for n, v in STATE.items()}
            torch.save(own, tmp_path / f"layer_00-model_{part:02}-model_states.pt")
        weights = {f"0.{name}": values for name, values in as_arrays(STATE).items()}
        return ReaderCase(TorchReader(), tmp_path / "layer_00-model_00-model_states.pt", weights)


class TestZeroPartitions(ReaderContract):
    """DeepSpeed's ZeRO 3: every parameter in parts of two ranks."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        trained = {name: value for name, value in STATE.items() if value.is_floating_point()}
        buffers = {name: value for name, value in STATE.items() if name not in trained}
        flat: list[list[torch.Tensor]] = [[], []]
        for value in trained.values():
            padded = nn.functional.pad(value.flatten(), (0, value.numel() % 2))
            for rank, part in enumerate(padded.chunk(2)):
                flat[rank].append(part)
        states = {
            "module": dict.fromkeys(STATE, torch.empty(0)) | buffers,
            "buffer_names": list(buffers),
            "param_shapes": [{name: value.shape for name, value in trained.items()}],
        }
        for rank in (0, 1):
            torch.save(states, tmp_path / f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt")
            values = {"zero_stage": 3, "fp32_flat_groups": [torch.cat(flat[rank])]}
            path = tmp_path / f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
            torch.save({"optimizer_state_dict": values}, path)
        path = tmp_path / "zero_pp_rank_0_mp_rank_00_model_states.pt"
        return ReaderCase(TorchReader(), path, as_arrays(STATE))


class TestOnnx(ReaderContract):
    """A graph with its weights in a file beside it."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return the weights of a network that uses them."""
        onnx_reader = pytest.importorskip("accweight_adapters.onnx.reader")
        path = write_onnx(tmp_path / "a.onnx", STATE)
        return ReaderCase(onnx_reader.OnnxReader(), path, as_arrays(STATE))


class TestLightning(ReaderContract):
    """Weights beside settings of any class."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return the weights of a network under `model`."""
        path = write_lightning(tmp_path / "a.ckpt", STATE)
        return ReaderCase(TorchReader(), path, as_arrays(STATE))


class TestTorchShards(ReaderContract):
    """An index and its shards of torch.save."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict in two files."""
        path = write_torch_shards(tmp_path / "pytorch_model.bin.index.json", STATE)
        return ReaderCase(TorchReader(), path, as_arrays(STATE))


class TestDistributed(ReaderContract):
    """What one process saves with torch.distributed.checkpoint."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict whose metadata lies beside its file."""
        path = write_distributed(tmp_path, STATE)
        return ReaderCase(DistributedReader(), path, as_arrays(STATE))


class TestDistributedShards(ReaderContract):
    """What four processes save."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return tensors that are put together from chunks in four files."""
        rows = np.arange(35, dtype=np.float32).reshape(7, 5) / 8 + 10
        bias = np.full(5, 10, dtype=np.float32)
        weights = {"layer10.weight": rows, "layer2.weight": rows.T, "layer2.bias": bias}
        return ReaderCase(DistributedReader(), copy_sharded(tmp_path), weights)


class TestStableBaselines(ReaderContract):
    """A policy that is stored in its zip as it is."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        path = write_sb3(tmp_path / "a.zip", STATE)
        return ReaderCase(StableBaselinesReader(), path, as_arrays(STATE))


class TestCompressedStableBaselines(ReaderContract):
    """A policy in a zip that was packed again."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        path = write_sb3(tmp_path / "a.zip", STATE, zipfile.ZIP_DEFLATED)
        return ReaderCase(StableBaselinesReader(), path, as_arrays(STATE))


class TestNumpyArray(ReaderContract):
    """One array in Fortran order, most significant byte first."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a matrix."""
        values = np.asfortranarray(np.arange(24, dtype=">f4").reshape(4, 6))
        np.save(tmp_path / "a.npy", values)
        return ReaderCase(NumpyReader(), tmp_path / "a.npy", {"array": values})


class TestNumpyArchive(ReaderContract):
    """Arrays in a zip, as they are."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return weights beside a step and a loss."""
        weights = as_arrays(STATE)
        np.savez(tmp_path / "a.npz", step=3, loss=0.5, **weights)

        def several(path: Path, networks: Networks) -> None:
            arrays = {
                f"{k}.{name}": v for k, state in networks.items() for name, v in state.items()
            }
            np.savez(path, **arrays)

        return ReaderCase(NumpyReader(), tmp_path / "a.npz", weights, ordered=True, several=several)


class TestNumpyFolder(ReaderContract):
    """A folder with an array in a file of its own for each parameter."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return weights beside a step, at two depths."""
        weights = dict(sorted(as_arrays(STATE).items()))
        write_arrays(tmp_path / "step_3", {**weights, "step": np.array(3)})

        def several(path: Path, networks: Networks) -> None:
            for key, state in networks.items():
                write_arrays(path / key, state)

        return ReaderCase(NumpyReader(), tmp_path / "step_3", weights, several=several)


class TestNumpyCompressed(ReaderContract):
    """Arrays in a zip, compressed."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return weights."""
        weights = as_arrays(STATE)
        np.savez_compressed(tmp_path / "a.npz", **weights)
        return ReaderCase(NumpyReader(), tmp_path / "a.npz", weights)


class TestKerasWeights(ReaderContract):
    """Variables of Keras 3, by number."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return the weights of a small network and its optimizer."""
        weights = keras_files.weights()
        path = keras_files.write_keras3(tmp_path / "a.weights.h5", weights)
        return ReaderCase(KerasReader(), path, weights)


class TestKerasArchive(ReaderContract):
    """A model of Keras 3 with its configuration."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        weights = keras_files.weights()
        path = keras_files.write_archive(tmp_path / "a.keras", weights)
        return ReaderCase(KerasReader(), path, weights, ("optimizer",))


class TestKeras2(ReaderContract):
    """A model of Keras 2 with its optimizer."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network, its kernels in compressed chunks."""
        weights = keras_files.weights()
        path = keras_files.write_keras2(tmp_path / "a.h5", weights, chunks=True, compression="gzip")
        return ReaderCase(KerasReader(), path, weights)


def write_beside(path: Path, neighbour: object) -> None:
    """Write weights with an object before and behind them."""
    torch.save({"first": neighbour, "model": STATE, "last": neighbour}, path)


class TestTorchBesideObjects(ReaderContract):
    """Weights beside objects of any class."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict beside settings."""
        write_beside(tmp_path / "a.pt", {"settings": neighbours()["namespace"]})
        return ReaderCase(TorchReader(), tmp_path / "a.pt", as_arrays(STATE), beside=write_beside)


class TestWholeModule(ReaderContract):
    """A model as a whole."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a small network."""
        network = Network()
        path = write_module(tmp_path / "a.pt", network)
        return ReaderCase(TorchReader(), path, as_arrays(network.state_dict()))


SMALL = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a TorchScript archive, to be copied."""
    return write_script(tmp_path_factory.mktemp("script") / "a.jit", SMALL)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a program of torch.export, to be copied: tracing takes a second."""
    return write_export(tmp_path_factory.mktemp("export") / "a.pt2", SMALL, torch.ones(2, 3))


class TestTorchScript(ReaderContract):
    """A TorchScript archive."""

    @pytest.fixture
    def case(self, tmp_path: Path, script: Path) -> ReaderCase:
        """Return a small network."""
        path = Path(shutil.copy(script, tmp_path))
        return ReaderCase(TorchReader(), path, as_arrays(script_state(path)))


class TestTorchExport(ReaderContract):
    """A program of torch.export."""

    @pytest.fixture
    def case(self, tmp_path: Path, program: Path) -> ReaderCase:
        """Return a small network."""
        path = Path(shutil.copy(program, tmp_path))
        return ReaderCase(TorchReader(), path, as_arrays(SMALL.state_dict()))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
class TestPickleOfArrays(ReaderContract):
    """A plain pickle of NumPy arrays."""

    @pytest.fixture
    def case(self, tmp_path: Path, protocol: int) -> ReaderCase:
        """Return arrays by name."""

        def write(path: Path, neighbour: object) -> None:
            write_pickle(path, {"x": neighbour, "model": weights}, protocol)

        def several(path: Path, networks: Networks) -> None:
            write_pickle(path, dict(networks), protocol)

        weights = {name: value for name, value in as_arrays(STATE).items() if value.ndim}
        path = write_pickle(tmp_path / "a.pkl", weights, protocol)
        return ReaderCase(
            PickleReader(), path, weights, beside=write, ordered=True, several=several
        )


class TestPickleOfTensors(ReaderContract):
    """A plain pickle of tensors."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return a state dict."""
        path = write_pickle(tmp_path / "a.pkl", STATE)
        return ReaderCase(PickleReader(), path, as_arrays(STATE))


class TestPackedPickle(ReaderContract):
    """A pickle compressed by gzip, as joblib can write it."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return arrays by name."""
        weights = {name: value for name, value in as_arrays(STATE).items() if value.ndim}
        path = write_joblib(tmp_path / "a.joblib", weights, ("gzip", 3))
        return ReaderCase(PickleReader(), path, weights)


class TestJoblib(ReaderContract):
    """A dump of joblib."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return arrays by name."""
        weights = {name: value for name, value in as_arrays(STATE).items() if value.ndim}
        return ReaderCase(PickleReader(), write_joblib(tmp_path / "a.joblib", weights), weights)


class TestObjectArray(ReaderContract):
    """A `.npy` file of an array of objects."""

    @pytest.fixture
    def case(self, tmp_path: Path) -> ReaderCase:
        """Return one array per layer."""

        def write(path: Path, neighbour: object) -> None:
            layers = np.empty(3, dtype=object)
            layers[:] = [*weights.values(), neighbour]
            np.save(path, layers, allow_pickle=True)

        weights = {"0": np.arange(12.0).reshape(3, 4), "1": np.ones(3, np.float32)}
        layers = np.empty(2, dtype=object)
        layers[:] = list(weights.values())
        np.save(tmp_path / "a.npy", layers, allow_pickle=True)
        return ReaderCase(NumpyReader(), tmp_path / "a.npy", weights, beside=write)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
class TestOlderBaselines(ReaderContract):
    """A zip of Stable-Baselines 2."""

    @pytest.fixture
    def case(self, tmp_path: Path, method: int) -> ReaderCase:
        """Return two arrays."""
        arrays = {"model/w:0": np.arange(12.0).reshape(3, 4), "model/b:0": np.ones(3)}
        path = write_older_baselines(tmp_path / "a.zip", arrays, method)
        weights = {"model.w": arrays["model/w:0"], "model.b": arrays["model/b:0"]}
        return ReaderCase(OlderBaselinesReader(), path, weights)


# The contract itself can fail


class Liar:
    """A reader with one fault at a time, to see the contract notice."""

    name = "liar"
    suffixes = (".bin",)

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def recognises(self, path: Path) -> bool:
        """Tell by the first bytes."""
        content = path.read_bytes()
        return content.startswith(b"LIAR") or (self.fault == "takes all")

    def describe(self, path: Path) -> Description:
        """Describe four floats behind four bytes."""
        content = path.read_bytes()
        if not content.startswith(b"LIAR"):
            raise FormatError(path, "no liar")
        if len(content) < 20 and self.fault != "beyond the end":
            raise FormatError(path if self.fault != "no name" else "it", "cut short")
        offset = 8 if self.fault == "wrong offset" else 4
        shape = (2, 2) if self.fault == "wrong shape" else (4,)
        tensor = StoredTensor("w", Extent(str(path), offset, "float32", shape))
        twice = 2 if self.fault == "twice" else 1
        counter = StoredTensor("n", Extent(str(path), 4, "int64", ()), Hints(role=Role.WEIGHT))
        state = StoredTensor("momentum", tensor.values)
        second = StoredTensor("x", tensor.values)
        others = {
            "counter as a weight": (counter,),
            "optimizer as a weight": (state,),
            "other order": (second,),
        }
        tensors = (tensor,) * twice + others.get(self.fault, ())
        if self.fault == "looks around" and (path.parent / "README.md").exists():
            tensors = ()
        notes = ("a note",) * (2 if self.fault == "says twice" else 1)
        return Description("liar", tensors, files=(str(path),), notes=notes)


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("takes all", "test_recognises_nothing_else"),
        ("wrong offset", "test_names_shapes_and_values_are_those_that_were_saved"),
        ("wrong shape", "test_names_shapes_and_values_are_those_that_were_saved"),
        ("twice", "test_names_are_unique"),
        ("beyond the end", "test_damaged_files_are_refused_or_described_within_their_bounds"),
        ("counter as a weight", "test_counters_are_buffers"),
        ("optimizer as a weight", "test_what_is_not_the_model_is_left_out_and_said_once"),
        ("says twice", "test_what_is_not_the_model_is_left_out_and_said_once"),
        ("other order", "test_parameters_are_in_the_order_of_the_network"),
        ("looks around", "test_other_files_beside_it_do_not_change_it"),
        ("no name", "test_damaged_files_are_refused_or_described_within_their_bounds"),
    ],
)
def test_the_contract_notices_a_reader_that_breaks_it(
    tmp_path: Path, fault: str, rule: str
) -> None:
    values = np.arange(4, dtype=np.float32)
    path = tmp_path / "model.bin"
    path.write_bytes(b"LIAR" + values.tobytes() + bytes(4))
    weights = {"w": values}
    if "order" in rule:
        weights = {"x": values, "w": values}
    case = ReaderCase(Liar(fault), path, weights, ("a note",), ordered=True)
    contract = ReaderContract()

    arguments = (case, tmp_path) if "nothing" in rule or "damaged" in rule else (case,)
    with pytest.raises(AssertionError):
        getattr(contract, rule)(*arguments)
    honest = ReaderCase(Liar("none"), path, {"w": values}, ("a note",))
    getattr(contract, rule)(honest, *arguments[1:])
