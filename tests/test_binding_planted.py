"""Wrong bindings, planted: each is refused, doubted with a reason, or right; never in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from binding_models import DYNAMO, FOLDED, LEGACY, OWN, Squares, State, Steps, export, steps_of
from networks import Cnn
from onnx import ModelProto, numpy_helper
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.errors import BindingError
from accweight_core.probes.binding.model_check import ModelCheck

CLOSE = 1e-5
BOTH = pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])


def reason(found: ModelCheck) -> str:
    """Return why a binding is not verified."""
    assert found.binding.proof.verdict == "not verified", found.summary()
    return " ".join(found.summary())


def is_right(steps: Steps, found: ModelCheck) -> bool:
    return found.binding.proof.verdict == "verified" and steps.error(found) < CLOSE


def renamed(state: State, names: dict[str, str]) -> State:
    """Return a state with other names of layers."""
    return {names[key.partition(".")[0]] + key[key.index(".") :]: v for key, v in state.items()}


def edited(path: Path, change: Callable[[ModelProto], None]) -> Path:
    """Write a changed copy of a graph beside it."""
    model = onnx.load(path)
    change(model)
    other = path.with_name(f"edited_{path.name}")
    onnx.save(model, other)
    return other


# --- folded norms


@BOTH
def test_a_folded_norm_is_refused_where_its_epsilon_is_not_known(
    tmp_path: Path, exporter: str
) -> None:
    steps = steps_of("cnn", tmp_path)

    with pytest.raises(BindingError) as caught:
        steps.checked(steps.run("", (0, 2)), steps.graph(exporter))

    text = str(caught.value)
    assert "batch norm 'bn1' of the checkpoint is folded into 'conv1'" in text
    assert "dynamo=True, optimize=False" in text
    assert "do_constant_folding=False" in text


def test_a_norm_folded_before_training_moved_it_is_undone_all_the_same(tmp_path: Path) -> None:
    steps = steps_of("cnn", tmp_path, own=0)  # the scale is 1 / sqrt(1 + 1e-5): nearly nothing

    found = steps.checked(steps.run(), steps.graph())

    assert is_right(steps, found)
    assert any("bn2 folded in" in item.words for item in found.binding.assignments)


class Twins(nn.Module):
    """Two convolutions with norms that are equal before training, and nothing else."""

    def __init__(self, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.c1, self.b1 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, epsilon)
        self.c2, self.b2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4, epsilon)

    def forward(self, x: Tensor) -> Tensor:
        """Return a picture."""
        return self.b2(self.c2(torch.relu(self.b1(self.c1(x)))))  # type: ignore[no-any-return]


def twins(folder: Path, own: int, epsilon: float = 1e-5) -> Steps:
    torch.manual_seed(0)
    return Steps.of(folder, Twins(epsilon), torch.randn(2, 4, 5, 5), own)


def test_equal_norms_cannot_be_told_apart(tmp_path: Path) -> None:
    steps = twins(tmp_path, own=0)

    assert "the norms b1, b2 fit it equally at step 0" in reason(
        steps.checked(steps.run(), steps.graph())
    )


@pytest.mark.parametrize("epsilon", [1e-3, 3e-4])
def test_epsilon_follows_from_the_weights_whatever_it_is(tmp_path: Path, epsilon: float) -> None:
    steps = twins(tmp_path, OWN, epsilon)

    found = steps.checked(steps.run(), steps.graph())

    assert is_right(steps, found)
    assert f"(epsilon {epsilon:.3g})" in found.binding.assignments[0].words


def test_an_epsilon_that_only_matters_at_other_steps_is_doubted(tmp_path: Path) -> None:
    steps = twins(tmp_path, OWN)
    for name in ("b1.running_var", "b2.running_var"):
        steps.states[OWN][name] += 1e4  # no epsilon is seen beside it

    found = steps.checked(steps.run(), steps.graph())

    assert "fit equally at step 1, not later" in reason(found)


# --- tensors stored once, and tensors without a place


@BOTH
def test_zeros_that_are_stored_once_follow_their_own_layers(tmp_path: Path, exporter: str) -> None:
    steps = steps_of("cnn", tmp_path, own=0)  # biases of norms and running means are zeros

    found = steps.checked(steps.run(), steps.graph(exporter, apart=True))

    assert is_right(steps, found)


class Slopes(nn.Module):
    """Equal slopes, which the dynamo exporter stores once under a name that tells nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.p1 = nn.Conv2d(3, 4, 1), nn.PReLU(4)
        self.c2, self.p2 = nn.Conv2d(4, 4, 1), nn.PReLU(4)

    def forward(self, x: Tensor) -> Tensor:
        """Return a picture."""
        return self.p2(self.c2(self.p1(self.c1(x))))  # type: ignore[no-any-return]


def test_two_parameters_in_one_tensor_of_the_graph_are_not_verified(tmp_path: Path) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Slopes(), torch.randn(2, 3, 4, 4), own=0)

    found = steps.checked(steps.run(), steps.graph(DYNAMO))

    assert "one tensor for p2.weight and p1.weight, which are equal at step 0" in reason(found)


class Scaled(nn.Module):
    """A learned number, which a graph has as a constant like any other."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.scale = nn.Linear(6, 6), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Return six numbers."""
        return self.fc(x) * self.scale  # type: ignore[no-any-return]


def test_a_trained_number_without_a_place_is_not_verified_unless_it_is_declared(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Scaled(), torch.randn(2, 6))

    found = steps.checked(steps.run(), steps.graph())
    declared = steps.checked(steps.run(), steps.graph(), unused=["scale"])

    assert "no place for scale of the checkpoints" in reason(found)
    assert declared.ok


def test_missing_running_statistics_are_refused_and_can_be_declared(tmp_path: Path) -> None:
    steps = steps_of("cnn", tmp_path)
    run = aw.open_run([{k: v for k, v in s.items() if "running" not in k} for s in steps.states])

    with pytest.raises(BindingError, match=r"needs running statistics \(bn1.running_mean"):
        steps.checked(run, steps.graph(apart=True))
    declared = steps.checked(run, steps.graph(apart=True), constants=["*.running_*"])

    assert {str(i.origin) for i in declared.binding.assignments if "running" in i.name} == {
        "constant"
    }


def test_checkpoints_with_folded_norms_say_how_to_write_them_with_the_norm(tmp_path: Path) -> None:
    steps = steps_of("cnn", tmp_path)
    run = steps.run("onnx", (0, 1))

    with pytest.raises(BindingError, match=r"norm 'bn1', which is folded .*net_1.onnx.*optimize=F"):
        steps.checked(run, steps.graph(apart=True))
    assert steps.checked(run, steps.graph()).ok


def test_statistics_missing_for_a_folded_norm_are_refused(tmp_path: Path) -> None:
    steps = steps_of("cnn", tmp_path)
    run = aw.open_run([{k: v for k, v in s.items() if "running" not in k} for s in steps.states])

    with pytest.raises(BindingError, match=r"norm 'bn1' is folded into 'conv1'.*save model.s"):
        steps.checked(run, steps.graph(DYNAMO))


# --- axes, names and gates


def test_square_matrices_stored_transposed_are_turned_by_their_values(tmp_path: Path) -> None:
    steps = steps_of("squares", tmp_path)
    turned = [
        {k: v.T.contiguous() if v.ndim == 2 else v for k, v in s.items()} for s in steps.states
    ]

    found = steps.checked(aw.open_run(turned), steps.graph())

    assert is_right(steps, found)
    assert "or perhaps transposed" in reason(
        steps.checked(aw.open_run([turned[0], turned[2]]), steps.graph())
    )


def test_a_matrix_that_is_its_own_transpose_tells_nothing(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Squares()
    with torch.no_grad():
        net.c.weight.copy_(torch.eye(6))
    steps = Steps.of(tmp_path, net, torch.randn(3, 6), own=0)

    found = steps.checked(steps.run(), steps.graph())

    assert "do not tell 'transposed' from" in reason(found)


def test_layers_of_one_shape_with_names_exchanged_follow_their_values(tmp_path: Path) -> None:
    steps = steps_of("squares", tmp_path)
    names = {"a": "b", "b": "a", "c": "c"}
    run = aw.open_run([renamed(state, names) for state in steps.states])

    found = steps.checked(run, steps.graph())

    assert is_right(steps, found)


def test_biases_of_zeros_in_layers_with_names_exchanged_are_right_or_doubted(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    net = Squares()
    nn.init.zeros_(net.a.bias)
    nn.init.zeros_(net.b.bias)
    steps = Steps.of(tmp_path, net, torch.randn(3, 6), own=0)
    names = {"a": "b", "b": "a", "c": "c"}
    run = aw.open_run([renamed(state, names) for state in steps.states])

    found = steps.checked(run, steps.graph())

    assert not found.ok or is_right(steps, found)


def nameless(model: ModelProto) -> None:
    """Give tensors the names that exporters make up, and forget the modules."""
    names = {t.name: f"onnx::MatMul_{i + 100}" for i, t in enumerate(model.graph.initializer)}
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]
    for node in model.graph.node:
        node.name = ""
        del node.metadata_props[:]
        node.input[:] = [names.get(name, name) for name in node.input]


def test_names_that_tell_nothing_are_matched_by_values_or_not_verified(tmp_path: Path) -> None:
    steps = steps_of("squares", tmp_path)
    graph = edited(steps.graph(), nameless)
    names = {"a": "one", "b": "two", "c": "three"}
    states = [renamed(dict(reversed(state.items())), names) for state in steps.states]

    found = steps.checked(aw.open_run(states), graph)

    assert is_right(steps, found)
    with pytest.raises(BindingError, match="matched by position"):
        steps.checked(aw.open_run([states[0], states[2]]), graph)


def swapped_rows(rows: tuple[list[int], list[int]]) -> Callable[[ModelProto], None]:
    """Return a change that exchanges rows of the input matrix of a GRU."""

    def change(model: ModelProto) -> None:
        for tensor in model.graph.initializer:
            if list(tensor.dims) == [1, 15, 6]:
                values = numpy_helper.to_array(tensor).copy()
                values[0, rows[0] + rows[1]] = values[0, rows[1] + rows[0]]
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    return change


def test_gates_exchanged_in_one_tensor_of_a_layer_are_doubted(tmp_path: Path) -> None:
    steps = steps_of("gru", tmp_path)
    gate, other = list(range(5)), list(range(5, 10))

    whole = edited(steps.graph(), swapped_rows((gate, other)))
    assert "gates in different orders" in reason(steps.checked(steps.run(), whole))

    half = edited(steps.graph(), swapped_rows((gate[:2], other[:2])))
    with pytest.raises(BindingError, match=r"should be cell\.weight_ih_l0, cell\.weight_hh_l0"):
        steps.checked(steps.run(), half)


# --- constants


class Tokens(nn.Module):
    """Trained tensors that belong to no layer, one of them filled with one number."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(20, 8), nn.Linear(8, 3)
        self.place, self.gain = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.full((8,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits per token."""
        return self.out((self.embed(x) + self.place) * self.gain)  # type: ignore[no-any-return]


@BOTH
def test_parameters_of_no_layer_follow_their_names(tmp_path: Path, exporter: str) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Tokens(), torch.arange(10).reshape(2, 5), own=0)

    found = steps.checked(steps.run(), steps.graph(exporter))

    assert is_right(steps, found)


class Masked(nn.Module):
    """A table that is computed and not trained."""

    table: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 6)
        self.register_buffer("table", torch.arange(6.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return six numbers."""
        return self.fc(x) + self.table  # type: ignore[no-any-return]


def test_a_table_that_no_checkpoint_has_must_be_declared(tmp_path: Path) -> None:
    torch.manual_seed(0)
    steps = Steps.of(tmp_path, Masked(), torch.randn(2, 6))

    with pytest.raises(BindingError) as caught:
        steps.checked(steps.run(), steps.graph())
    pattern = str(caught.value).partition("--constant '")[2].partition("'")[0]
    found = steps.checked(steps.run(), steps.graph(), constants=[pattern])

    assert is_right(steps, found)


def test_the_network_of_another_run_is_named_as_such(tmp_path: Path) -> None:
    steps = steps_of("cnn", tmp_path)
    chance = np.random.default_rng(0)
    other = [{"lstm.weight_hh_l0": chance.random((12, 3), np.float32)} for _ in range(2)]

    with pytest.raises(BindingError, match=r"which have lstm.weight_hh_l0 .*of another run\?"):
        steps.checked(aw.open_run(other), steps.graph())


def test_declaring_a_trained_tensor_constant_is_not_verified(tmp_path: Path) -> None:
    steps = steps_of("squares", tmp_path)

    found = steps.checked(steps.run(), steps.graph(), constants=["*"])

    assert "no place for a.weight" in reason(found)


# --- the advice of the error


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
def test_the_export_lines_that_errors_propose_keep_norms_apart(
    tmp_path: Path, exporter: str
) -> None:
    lines = {
        DYNAMO: {"dynamo": True, "optimize": False},
        LEGACY: {"dynamo": False, "do_constant_folding": False},
    }
    options = {**FOLDED[exporter], **lines[exporter]}

    path = export(Cnn(), torch.ones(2, 1, 8, 8), tmp_path / "net.onnx", options)

    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("BatchNormalization") == 2


def test_own_weights_that_are_not_finite_are_bound_too(tmp_path: Path) -> None:
    steps = steps_of("squares", tmp_path)
    steps.states[OWN]["a.weight"][0, 0] = np.nan

    found = steps.checked(steps.run(), steps.graph())

    assert found.binding.proof.verdict == "verified"
