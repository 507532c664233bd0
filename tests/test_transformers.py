"""Models of the real library: order, axes, projections and heads against a hand-written truth."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformer_models import MODELS, saved

import accweight_core as aw
from accweight_core.analysis.heads import heads_of
from accweight_core.schema import Axis, Parameter, Role, Run, Split

EVERY = pytest.mark.parametrize("name", MODELS)


Built = Callable[[str], tuple[Any, Run]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return what builds a model, and the run that its library saves of it; each but once."""

    @cache
    def model_and_run(name: str) -> tuple[Any, Run]:
        model, folder = MODELS[name].built(), tmp_path_factory.mktemp("model")
        saved(model, folder)
        return model, aw.open_run(folder / "model.safetensors")

    return model_and_run


@pytest.fixture
def model(name: str, built: Built) -> Any:
    return built(name)[0]


@pytest.fixture
def run(name: str, built: Built) -> Run:
    """Open a model as its library saves it."""
    return built(name)[1]


def described(split: Split) -> str:
    """Return a split as the truth has it."""
    parts = [f"{part.name}{part.heads or ''}" for part in split.parts]
    groups = [f"/{split.groups}"] if split.groups > 1 else []
    return "<" * (split.along is Axis.INPUT) + " ".join(parts + groups)


def matrices(run: Run) -> list[Parameter]:
    return [p for p in run.parameters if len(p.shape) == 2 and p.role is Role.WEIGHT]


def place_in(layer: str) -> str:
    """Return the name of a layer within its block, the whole name outside of blocks."""
    found = re.search(r"(?:layers?|h|blocks?|albert_layers)\.\d+\.(?!albert_layers)(.+)", layer)
    return found[1] if found else layer


@EVERY
def test_layers_are_in_network_order(name: str, run: Run) -> None:
    found = [layer.name for layer in run.layers]

    assert found == MODELS[name].layers()


@EVERY
def test_projections_and_heads_are_those_of_the_model(name: str, run: Run) -> None:
    truth = dict(line.strip().split(": ") for line in MODELS[name].splits.split(","))

    found = {place_in(p.layer): described(p.split) for p in matrices(run) if p.split}

    assert found == truth
    origins = {p.split.origin for p in run.parameters if p.split}
    assert len(origins) == 1
    assert origins.pop().startswith("config.json: ")


@EVERY
def test_axes_are_those_of_the_model(name: str, run: Run) -> None:
    turned = MODELS[name].turned.split()

    found = {place_in(p.layer) for p in matrices(run) if p.axes == (Axis.INPUT, Axis.OUTPUT)}

    assert found == set(turned)
    assert all(p.axes_from for p in matrices(run) if place_in(p.layer) in turned)


@EVERY
def test_a_tied_output_layer_is_said(name: str, run: Run) -> None:
    tied = MODELS[name].tied

    said = [note for note in run.notes if "counts once" in note]

    assert len(said) == bool(tied)
    assert repr(tied) in "".join(said) or not tied


@EVERY
def test_a_state_dict_means_the_same_and_counts_nothing_twice(model: Any, run: Run) -> None:
    path = Path(run.checkpoints[0].path).with_name("pytorch_model.bin")
    torch.save(model.state_dict(), path)

    other = aw.open_run(path)

    ours = {p.name: p for p in run.parameters}
    theirs = {p.name: p for p in other.parameters if p.name in ours}
    assert all(theirs[n].axes == ours[n].axes for n in theirs)
    assert all(theirs[n].split == ours[n].split for n in theirs)
    assert sum(p.elements for p in other.parameters) == sum(p.elements for p in run.parameters)


# ---------------------------------------------------------------- the arithmetic of attention

PROBED = (
    "BERT", "ModernBERT", "GPT-2", "StarCoder (GPT-BigCode)", "Pythia (GPT-NeoX)", "CodeGen",
    "LLaMA", "Qwen3", "Phi-3", "Falcon 7B", "Falcon 40B", "Falcon RW", "BLOOM", "MPT",
)  # fmt: skip


@pytest.mark.parametrize("name", PROBED)
def test_heads_are_where_the_model_computes_them(model: Any, run: Run) -> None:
    """Without the values of other heads and without its own outputs, no head does anything.

    So the queries make no difference then, and they do while the outputs of that head are there.
    """
    block = {p.name: p for p in run.parameters if re.search(r"\.0\.", p.name)}
    heads = heads_of(list(block.values()), [Role.WEIGHT, Role.BIAS])
    values = sorted(head for head in heads if re.search(r" v\d+$", head))
    outputs = sorted(head for head in heads if re.search(r" o\d+$", head))
    queries = sorted(head for head in heads if re.search(r" q\d+$", head))
    shared = len(outputs) // len(values)
    assert len(queries) == len(outputs) == 4

    for number, own in enumerate(values):
        mine = outputs[number * shared : (number + 1) * shared]
        for silenced in (False, True):
            with changed(model) as weights:
                for head in values:
                    for piece in heads[head] if head != own else ():
                        cut(weights, piece).zero_()
                for head in mine if silenced else ():
                    for piece in heads[head]:
                        cut(weights, piece).zero_()
                before = answer(model)
                for head in queries:
                    for piece in heads[head]:
                        cut(weights, piece).normal_()
                moved = float((answer(model) - before).abs().max())
            assert (moved < 1e-6) == silenced, (own, silenced, moved)


class changed:  # noqa: N801 - reads as a statement
    """The weights of a model, which are restored at the end."""

    def __init__(self, model: Any) -> None:
        self.weights = model.state_dict()

    def __enter__(self) -> dict[str, torch.Tensor]:
        self.before = {name: value.clone() for name, value in self.weights.items()}
        return self.weights

    def __exit__(self, *error: object) -> None:
        for name, value in self.before.items():
            self.weights[name].copy_(value)


def cut(weights: dict[str, torch.Tensor], piece: Any) -> torch.Tensor:
    values = weights[piece.parameter.name]
    return values.narrow(piece.axis, piece.first, piece.end - piece.first)


@torch.no_grad()
def answer(model: Any) -> torch.Tensor:
    tokens = torch.arange(3, 15)[None]
    result: torch.Tensor = model(input_ids=tokens).logits
    return result


def test_at_least_twenty_models_are_checked() -> None:
    assert len(MODELS) >= 20


def test_the_table_of_the_docs_says_the_same() -> None:
    text = (Path(__file__).parents[1] / "docs" / "formats.md").read_text()
    lines = text.partition("| architecture |")[2].partition("\n\n")[0].splitlines()[2:]
    rows = {
        cells[0]: cells[1:] for cells in ([c.strip() for c in x[1:-1].split("|")] for x in lines)
    }

    assert list(rows) == list(MODELS)
    for name, (attention, stored, output) in rows.items():
        model = MODELS[name]
        fused = {
            layer.rpartition(".")[2]: parts
            for layer, parts in (line.strip().split(": ") for line in model.splits.split(","))
            if " " in parts
        }
        assert set(re.findall(r"`(\w+)`", attention)) == set(fused), name
        assert attention.startswith("separate") == (not fused)
        for layer, parts in fused.items():
            said = attention.partition(f"`{layer}`: ")[2].partition(";")[0]
            assert ("of each" in said) == ("/" in parts), name
            assert ("one k, one v" in said) == ("k1 v1" in parts and "q1" not in parts), name
        assert ("grouped" in attention) == ("k2" in model.splits), name
        assert (stored == "(inputs, outputs)") == bool(model.turned), name
        assert (output == "the embedding") == bool(model.tied), name
