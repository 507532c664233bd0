"""Aligning what real exporters write: state_dict, both ONNX exporters of torch, Keras, values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import DYNAMO, LEGACY, Cnn, Former, Reader, alone, exported, nudged, pairs
from torch import nn

import accweight_core as aw
from accweight_core.alignment.alignment import How, align
from accweight_core.errors import MismatchError, SourceError
from accweight_core.schema import Run

TOKENS = torch.arange(10).reshape(2, 5)
IMAGES = torch.ones(2, 1, 8, 8)
NETS = {"cnn": (Cnn, IMAGES), "reader": (Reader, TOKENS), "former": (Former, TOKENS)}


Exports = Callable[..., Path]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """Return what writes a network as a state_dict, or as an exporter does; each but once."""
    folder = tmp_path_factory.mktemp("exports")

    def written(name: str, exporter: str = "") -> Path:
        path = folder / (f"{name}_{exporter}.onnx" if exporter else f"{name}.pt")
        if not path.exists():
            make, inputs = NETS[name]
            torch.manual_seed(0)
            net = make()
            if exporter:
                exported(net, inputs, path, exporter)
            else:
                torch.save(net.state_dict(), path)
        return path

    return written


def run_of(path: Path) -> Run:
    return aw.open_run(path)


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
def test_a_convolutional_network_and_its_export_go_by_name(exports: Exports, exporter: str) -> None:
    found = align(run_of(exports("cnn")), run_of(exports("cnn", exporter)))

    assert pairs(found) == {"conv1": "conv1", "conv2": "conv2", "fc": "fc"}
    assert {m.confidence for m in found.matches} == {1.0}
    assert [(u.layer, u.hint.split("?")[0]) for u in found.only_a] == [
        ("bn1", "folded into conv1"),
        ("bn2", "folded into conv2"),
    ]
    assert found.notes == ()


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
def test_renamed_and_transposed_matrices_of_a_transformer_are_found(
    exports: Exports, exporter: str
) -> None:
    found = align(run_of(exports("former")), run_of(exports("former", exporter)))

    assert all(a == b for a, b in pairs(found).items())
    assert alone(found) == ([], [])
    query = found.partner("blocks.1.q")
    assert query is not None
    weights = query.parameters[0]
    assert weights.a == ("blocks.1.q.weight",)
    assert weights.b != weights.a
    assert weights.same_form


@pytest.mark.parametrize("exporter", [LEGACY, DYNAMO])
def test_lstms_that_onnx_keeps_one_by_one_are_one_of_torch(exports: Exports, exporter: str) -> None:
    found = align(run_of(exports("reader")), run_of(exports("reader", exporter)))

    assert found.partner("lstm") is not None
    lstm = found.partner("lstm")
    assert lstm is not None
    assert len(lstm.layers_b) == 2
    assert lstm.reason.startswith("merged: lstm")
    assert alone(found) == ([], [])


def test_two_exporters_agree_on_every_layer(exports: Exports) -> None:
    for name in NETS:
        legacy, dynamo = (run_of(exports(name, exporter)) for exporter in (LEGACY, DYNAMO))

        found = align(legacy, dynamo)

        assert all(a == b for a, b in pairs(found).items())
        assert alone(found) == ([], [])


def test_keras_and_torch_go_together_by_name_place_and_meaning(tmp_path: Path) -> None:
    from keras_models import quiet

    with quiet():
        import keras
        from keras import layers

        keras.utils.clear_session()
        model = keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Conv2D(4, 3),
                layers.Conv2D(8, 3),
                layers.Flatten(),
                layers.Dense(16),
                layers.Dense(10),
            ]
        )
        model.save(tmp_path / "net_0.keras")
        kernels = [np.asarray(layer.kernel) for layer in model.layers if hasattr(layer, "kernel")]
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(128, 16), nn.Linear(16, 10)
    )
    for place, kernel in zip((0, 1, 3, 4), kernels, strict=True):
        order = (3, 2, 0, 1) if kernel.ndim == 4 else (1, 0)
        net[place].weight.data = torch.from_numpy(np.ascontiguousarray(kernel.transpose(order)))
    torch.save(net.state_dict(), tmp_path / "net_0.pt")
    sides = run_of(tmp_path / "net_0.pt"), run_of(tmp_path / "net_0.keras")

    blind = align(*sides, values="never")
    seen = align(*sides)

    assert list(pairs(blind)) == ["0", "1", "3", "4"]
    assert list(pairs(blind).values()) == ["conv2d", "conv2d_1", "dense", "dense_1"]
    assert pairs(seen) == pairs(blind)
    assert {(m.how, m.confidence) for m in seen.matches} == {(How.VALUES, 0.99)}
    assert "same values at step 0" in seen.matches[0].reason


# --- values


def unnamed(net: nn.Module, names: dict[str, str]) -> dict[str, torch.Tensor]:
    """Return the weights of a network of linear layers under other names, in their order."""
    return {
        names[name.rpartition(".")[0]] + "." + name.rpartition(".")[2]: value.detach().clone()
        for name, value in net.state_dict().items()
    }


class Tower(nn.Module):
    """Four layers of one shape."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        super().__init__()
        self.first, self.second, self.third, self.fourth = (nn.Linear(12, 12) for _ in range(4))


PLACES = {"first": "p", "second": "q", "third": "r", "fourth": "s"}


def permuted(net: nn.Module, order: str = "rpsq", noise: float = 0.0) -> Run:
    """A run of one checkpoint: the same layers under other names, in another order."""
    named = unnamed(net, PLACES)
    chance = torch.Generator().manual_seed(1)
    return aw.open_run(
        [
            {
                f"z_{place}{letter}.{leaf}": named[f"{letter}.{leaf}"]
                + noise * torch.randn(named[f"{letter}.{leaf}"].shape, generator=chance)
                for place, letter in enumerate(order)
                for leaf in ("weight", "bias")
            }
        ]
    )


EXPECTED = {"first": "z_1p", "second": "z_3q", "third": "z_0r", "fourth": "z_2s"}


def test_layers_of_one_shape_in_another_order_are_told_by_their_values() -> None:
    net = Tower()
    run = aw.open_run([net.state_dict()])

    found = align(run, permuted(net))

    assert pairs(found) == EXPECTED
    assert {(m.how, m.confidence) for m in found.matches} == {(How.VALUES, 0.99)}


def test_values_that_are_near_tell_too_but_less_surely() -> None:
    net = Tower()

    found = align(aw.open_run([net.state_dict()]), permuted(net, noise=0.03))

    assert pairs(found) == EXPECTED
    assert {(m.how, m.confidence) for m in found.matches} == {(How.VALUES, 0.85)}
    assert "correlate by 0.9" in found.matches[0].reason


def test_without_values_the_place_is_all_there_is() -> None:
    net = Tower()

    found = align(aw.open_run([net.state_dict()]), permuted(net), values="never")

    assert {m.how for m in found.matches} == {How.POSITION}
    assert all(m.confidence < 0.9 for m in found.matches)


def test_weights_of_another_seed_settle_nothing_and_that_is_said() -> None:
    found = align(aw.open_run([Tower().state_dict()]), permuted(Tower(1)))

    assert {m.how for m in found.matches} == {How.POSITION}
    assert found.notes[-1] == "values of step 0 do not decide any match"


def test_values_of_transposed_matrices_are_the_same_values(tmp_path: Path) -> None:
    net = nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in range(3)))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    exported(net, torch.ones(2, 6), tmp_path / "net.onnx")
    onnx = aw.open_run(tmp_path / "net.onnx")

    found = align(aw.open_run(tmp_path / "net.pt"), onnx, values="always")

    assert [m.layer_a for m in found.matches] == ["0", "1", "2"]
    assert [m.layer_b for m in found.matches] == [layer.name for layer in onnx.layers]
    assert all("same values at step 0" in m.reason for m in found.matches)


def test_layers_that_hold_a_constant_are_not_told_by_it() -> None:
    left = aw.open_run([{f"a{n}.weight": torch.full((8, 8), float(n)) for n in range(3)}])
    right = aw.open_run([{f"val_{n}.weight": torch.full((8, 8), 2.0 - n) for n in range(3)}])

    found = align(left, right)

    assert pairs(found) == {"a0": "val_0", "a1": "val_1", "a2": "val_2"}
    assert {m.how for m in found.matches} == {How.POSITION}


def test_values_that_are_near_those_of_several_layers_settle_nothing() -> None:
    torch.manual_seed(0)
    weights = torch.randn(8, 8)
    left = {"a0.weight": weights, "a1.weight": weights + 0.1 * torch.randn(8, 8)}
    right = {f"val_{n}.weight": weights + 0.1 * torch.randn(8, 8) for n in range(2)}

    found = align(aw.open_run([left]), aw.open_run([right]))

    assert {m.how for m in found.matches} == {How.POSITION}
    assert found.notes == ("values of step 0 do not decide any match",)


def test_asking_for_values_always_finds_layers_that_swapped_names() -> None:
    net = Tower()
    state = net.state_dict()
    swap = {"first": "second", "second": "first"}
    swapped = {
        f"{swap.get(name.split('.')[0], name.split('.')[0])}.{name.split('.')[1]}": value
        for name, value in state.items()
    }

    plain = align(aw.open_run([state]), aw.open_run([swapped]))
    checked = align(aw.open_run([state]), aw.open_run([swapped]), values="always")

    assert pairs(plain)["first"] == "first"
    assert pairs(checked)["first"] == "second"
    assert pairs(checked)["third"] == "third"


def test_values_are_taken_from_the_step_that_both_have() -> None:
    early, late = Tower(), Tower(3)
    left = aw.open_run({0: early.state_dict(), 7: late.state_dict()})
    right = aw.open_run({7: dict(named_weights(permuted(late)))})

    found = align(left, right)

    assert pairs(found) == EXPECTED
    assert "at step 7" in found.matches[0].reason


def named_weights(run: Run) -> list[tuple[str, torch.Tensor]]:
    return [(n, t.values.load()) for n, t in run.checkpoints[0].tensors.items()]  # type: ignore[union-attr]


def test_an_analysis_is_aligned_as_a_run_is_and_does_without_its_checkpoints(
    tmp_path: Path,
) -> None:
    net = Tower()
    for step in range(2):
        (tmp_path / "a").mkdir(exist_ok=True)
        torch.save(nudged(net, step).state_dict(), tmp_path / "a" / f"epoch_{step}.pt")
    aw.analyze(aw.open_run(tmp_path / "a"), tmp_path / "a.accw")
    other = permuted(net)

    analysis = aw.open_analysis(tmp_path / "a.accw")
    other = aw.open_run({1: dict(named_weights(other))})
    found = align(analysis, other)
    for step in range(2):
        (tmp_path / "a" / f"epoch_{step}.pt").unlink()
    blind = align(aw.open_analysis(tmp_path / "a.accw"), other)

    assert pairs(found) == EXPECTED
    assert {m.how for m in blind.matches} == {How.POSITION}
    assert "values were not compared" in blind.notes[-1]
    with pytest.raises(SourceError, match="is missing"):
        align(aw.open_analysis(tmp_path / "a.accw"), other, values="always")


def test_a_way_to_use_values_that_there_is_not_is_an_error() -> None:
    run = aw.open_run([Tower().state_dict()])

    with pytest.raises(MismatchError, match="'auto', 'always' or 'never', got 'often'"):
        align(run, run, values="often")  # type: ignore[arg-type]
