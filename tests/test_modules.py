"""Whole pickled modules, TorchScript and torch.export archives: names and values of state dicts."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import Net
from pickle_files import Network, script_state, write_export, write_module, write_script
from test_torch_reader import FORMATS, saved
from torch import nn
from torch.nn.utils import parametrizations

from accweight_adapters.torch.reader import TorchReader
from accweight_core.dtypes import is_measurable
from accweight_core.errors import FormatError
from accweight_core.runs.training_state import weights_alone
from accweight_core.schema import Description
from accweight_core.testing import values_of

READER = TorchReader()


def check(description: Description, state: dict[str, Any]) -> None:
    """Fail unless a description is that of a state dict: names, order, shapes and values."""
    assert [t.name for t in description.tensors] == list(state)
    for tensor in description.tensors:
        expected = state[tensor.name]
        assert tensor.shape == tuple(expected.shape)
        if is_measurable(tensor.dtype):
            np.testing.assert_array_equal(values_of(tensor), expected.detach().float().numpy())


class Shared(nn.Module):
    """A network that uses one module twice, and keeps one only in a list of Python."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.twin = nn.Linear(3, 5, bias=False)
        self.twin.weight = self.embed.weight
        self.blocks = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.GRU(3, 2)})
        self.unregistered = [nn.Linear(2, 2)]
        self.again = self.blocks["a"]


NETWORKS = {
    "every kind of entry": Network,
    "shared": Shared,
    "layers": Net,
    "weight norm": lambda: nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2))),
    "parallel": lambda: nn.DataParallel(nn.Linear(3, 2)).module,
    "half": lambda: nn.Linear(3, 2).to(torch.bfloat16),
    "attention": lambda: nn.TransformerEncoderLayer(8, 2, 16),
}


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_whole_module_has_the_names_of_its_state_dict(
    tmp_path: Path, kind: str, protocol: int, is_zip: bool
) -> None:
    network = NETWORKS[kind]()
    path = write_module(tmp_path / "a.pt", network, is_zip=is_zip, protocol=protocol)

    description = READER.describe(path)

    assert READER.recognises(path)
    check(description, network.state_dict())
    assert description.notes == ()


def test_parametrizations_keep_their_names(tmp_path: Path) -> None:
    network = nn.Sequential(parametrizations.weight_norm(nn.Linear(3, 2)))
    expected = network.state_dict()
    saved(tmp_path / "a.pt", expected)

    check(READER.describe(tmp_path / "a.pt"), expected)


class Planner(nn.Module):
    """Has modules that are called like what other files keep beside a model."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("net", "ema", "optimizer", "scheduler", "optim", "swa_model"):
            self.add_module(name, nn.Linear(3, 2))
        self.loss = nn.Sequential(nn.Linear(2, 1))
        self.criterion = nn.Bilinear(2, 2, 1)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return something."""
        found: torch.Tensor = self.loss(self.net(values) + self.ema(values))
        return found


@FORMATS
def test_all_of_a_module_is_the_model_whatever_its_parts_are_called(
    tmp_path: Path, is_zip: bool
) -> None:
    network = Planner()
    for content in (network, {"model": network, "epoch": 3}, {"model": network, "ema": network}):
        description = READER.describe(saved(tmp_path / "a.pt", content, is_zip=is_zip))
        check(weights_alone(description), network.state_dict())


def test_all_of_a_script_is_the_model_whatever_its_parts_are_called(tmp_path: Path) -> None:
    path = write_script(tmp_path / "a.pt", Planner())

    check(weights_alone(READER.describe(path)), script_state(path))


def test_a_layer_below_the_parameters_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    tree = {
        "params": {"optimizer_head": {"w": torch.ones(2, 3)}, "scaler": {"w": torch.ones(3)}},
        "opt_state": {"optimizer": torch.ones(2, 3)},
    }

    description = READER.describe(saved(tmp_path / "a.pt", tree))

    assert [t.name for t in description.tensors][:2] == ["optimizer_head.w", "scaler.w"]


def test_the_prefix_of_a_parallel_wrapper_is_removed(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)

    check(
        READER.describe(write_module(tmp_path / "a.pt", nn.DataParallel(network))),
        network.state_dict(),
    )


@FORMATS
def test_a_model_beside_its_averaged_copy_is_read_and_the_copy_is_kept_apart(
    tmp_path: Path, is_zip: bool
) -> None:
    model = Network()
    ema = copy.deepcopy(model)
    with torch.no_grad():
        ema.conv.weight.add_(1)
    content = {
        "epoch": 5,
        "best_fitness": 0.5,
        "model": model,
        "ema": ema,
        "optimizer": torch.optim.Adam(model.parameters()),
        "train_args": {"imgsz": 640},
        "criterion": nn.CrossEntropyLoss(weight=torch.ones(3)),
    }

    description = READER.describe(saved(tmp_path / "a.pt", content, is_zip=is_zip))

    check(description, model.state_dict())
    assert (description.step, dict(description.measures)) == (5, {"best_fitness": 0.5})
    assert description.notes == (
        "left out 'ema': an averaged copy beside the model itself",
        "left out 'criterion': the loss, not the network",
    )
    assert list(description.copies) == ["ema"]
    copied = Description("", description.copies["ema"])
    check(copied, ema.state_dict())


def test_the_copy_is_the_model_where_there_is_no_other(tmp_path: Path) -> None:
    network = Network()

    description = READER.describe(saved(tmp_path / "a.pt", {"model": None, "ema": network}))

    check(description, network.state_dict())


def test_two_networks_keep_their_keys(tmp_path: Path) -> None:
    generator, critic = nn.Sequential(nn.Linear(2, 3)), nn.Sequential(nn.Linear(3, 1))
    expected = {f"G.{name}": value for name, value in generator.state_dict().items()}
    expected |= {f"D.{name}": value for name, value in critic.state_dict().items()}

    for content in (
        {"G": generator, "D": critic},
        {"G": generator.state_dict(), "D": critic.state_dict()},
    ):
        check(READER.describe(saved(tmp_path / "a.pt", content)), expected)


def test_arrays_beside_tensors_are_statistics_not_a_second_network(tmp_path: Path) -> None:
    state = nn.Linear(3, 2).state_dict()
    beside = {"mean": np.ones(3), "std": np.ones(3), "numpy_state": np.random.RandomState(0)}
    content = {"model": state, "data": beside, "array": np.ones(30)}

    description = READER.describe(saved(tmp_path / "a.pt", content, pickle_protocol=4))

    check(description, state)
    assert description.notes == (
        "left out 'data.mean', 'data.std', 'array': arrays beside tensors, not among them",
    )


@FORMATS
@pytest.mark.parametrize(
    ("tensors", "arrays"),
    [
        ({"fc.weight": torch.ones(2, 3)}, {"fc.bias": np.zeros(2, np.float32)}),
        ({"a.0.w": torch.ones(2, 3)}, {"b.1.w": np.full((3, 2), 0.5)}),
        ({"w": torch.ones(2, 3)}, {"b": np.zeros(2)}),
    ],
)
def test_arrays_named_like_the_tensors_around_them_are_weights(
    tmp_path: Path, tensors: dict[str, Any], arrays: dict[str, Any], is_zip: bool
) -> None:
    beside = {"loss": np.float64(0.5), "losses": np.ones(9), "labels": np.arange(3)}
    model = {**tensors, **arrays}

    for content in ({**model, **beside}, {"model": model, **beside}):
        path = saved(tmp_path / "a.pt", content, is_zip=is_zip, pickle_protocol=4)
        description = READER.describe(path)
        assert {t.name: t.shape for t in description.tensors} == {
            name: tuple(value.shape) for name, value in model.items()
        }
        assert description.notes == ()


LAZY = {
    "state dict": lambda network: network.state_dict(),
    "module": lambda network: network,
    "beside a step": lambda network: {"model": network.state_dict(), "epoch": 0},
}


@FORMATS
@pytest.mark.parametrize("kind", LAZY)
def test_parameters_without_a_shape_yet_are_left_out_by_name(
    tmp_path: Path, kind: str, is_zip: bool
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = nn.Sequential(nn.Linear(3, 2), nn.LazyLinear(4), nn.LazyBatchNorm1d())

    description = READER.describe(saved(tmp_path / "a.pt", LAZY[kind](network), is_zip=is_zip))

    assert {"0.weight", "0.bias"} <= {t.name for t in description.tensors}
    (note,) = description.notes
    assert "1.weight', " in note
    assert note.endswith(" and 3 more: lazy parameters, saved before their first input")


def test_a_file_of_lazy_parameters_alone_says_so(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = nn.LazyConv2d(3, 3, bias=False)

    with pytest.raises(FormatError, match="left out 'weight': lazy parameters, saved"):
        READER.describe(saved(tmp_path / "a.pt", network.state_dict()))


def test_lists_of_matrices_beside_named_tensors_are_said(tmp_path: Path) -> None:
    content = {
        "gamma": torch.ones(3),
        "W": [torch.ones(2, 2), torch.ones(2, 2)],
        "losses": [torch.ones(2, 2)],  # of each class, say
        "rng": [torch.ones(2, 2, dtype=torch.uint8)],
    }

    description = READER.describe(saved(tmp_path / "a.pt", content))

    assert [t.name for t in description.tensors] == ["gamma"]
    assert description.notes == ("left out 'W': lists of tensors without names, beside named ones",)


def test_a_module_in_an_object_is_found(tmp_path: Path) -> None:
    class_of_script = type("Learner", (), {"__module__": __name__})
    globals()["Learner"] = class_of_script
    learner = class_of_script()
    learner.model, learner.epoch = Network(), 3

    description = READER.describe(saved(tmp_path / "a.pt", learner))

    check(description, learner.model.state_dict())
    assert description.step == 3
    assert "taken from the attributes of a pickled" in description.notes[0]


def test_a_module_without_tensors_holds_no_weights(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="holds no weights"):
        READER.describe(write_module(tmp_path / "a.pt", nn.ReLU()))


# ---------------------------------------------------------------- TorchScript


@pytest.mark.parametrize("kind", ["layers", "blocks"])
def test_torchscript_has_the_names_of_its_state_dict(tmp_path: Path, kind: str) -> None:
    networks = {
        "layers": nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Sequential(nn.Linear(2, 2))),
        "blocks": nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm(4), nn.LSTM(4, 2)),
    }
    network = networks[kind] if kind == "layers" else networks[kind][:2]
    path = write_script(tmp_path / "a.pt", network)

    description = READER.describe(path)

    assert READER.recognises(path)
    assert description.format == "TorchScript archive"
    check(description, script_state(path))


class Remembering(nn.Module):
    """Has a tensor that is neither a parameter nor a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(2))
        self.fc = nn.Linear(2, 2)
        self.remembered = torch.ones(4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return something."""
        found: torch.Tensor = self.fc(values) + self.mask + self.remembered.sum()
        return found


def test_other_tensors_of_torchscript_are_no_weights(tmp_path: Path) -> None:
    path = write_script(tmp_path / "a.jit", Remembering())

    check(READER.describe(path), script_state(path))


def test_a_traced_network_is_read_without_its_examples(tmp_path: Path) -> None:
    network = Remembering().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, torch.ones(3, 2))  # type: ignore[no-untyped-call]
        torch.jit.save(traced, tmp_path / "a.pt")  # type: ignore[no-untyped-call]

    check(READER.describe(tmp_path / "a.pt"), script_state(tmp_path / "a.pt"))


def test_the_weights_of_a_frozen_network_are_its_constants(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(3, 2)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frozen = torch.jit.freeze(torch.jit.script(network))  # type: ignore[no-untyped-call]
        torch.jit.save(frozen, tmp_path / "a.pt")  # type: ignore[no-untyped-call]

    tensors = READER.describe(tmp_path / "a.pt").tensors

    assert {t.name.partition(".")[0] for t in tensors} == {"constants"}
    found = {t.shape: values_of(t) for t in tensors}
    np.testing.assert_array_equal(found[2, 3], network[0].weight.detach().numpy())
    np.testing.assert_array_equal(found[2,], network[0].bias.detach().numpy())


# ---------------------------------------------------------------- torch.export


def test_an_exported_program_has_the_names_of_its_state_dict(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    path = write_export(tmp_path / "a.pt2", network, torch.ones(2, 1, 3, 3))

    description = READER.describe(path)

    assert READER.recognises(path)
    assert description.format == "torch.export archive"
    found = {t.name: t for t in description.tensors}
    state = network.state_dict()
    check(Description("", tuple(found[name] for name in state)), state)
    assert set(found) == set(state)


def test_an_older_exported_program_is_refused_with_the_way_out(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "a.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", b"")

    assert READER.recognises(tmp_path / "a.pt2")
    with pytest.raises(FormatError, match=r"torch\.save\(torch\.export\.load\(PATH\)\.state_dict"):
        READER.describe(tmp_path / "a.pt2")
