"""Which axis of a matrix is the output: by its bias, by its neighbours, by the norms around it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from accweight_core.naming import layers_of
from accweight_core.orientation import Matrix, inputs_first
from accweight_core.schema import Axis, HiddenValues, Hints, Parameter, Part, Split, StoredTensor

OI, IO = (Axis.OUTPUT, Axis.INPUT), (Axis.INPUT, Axis.OUTPUT)
Shapes = Mapping[str, tuple[int, ...]]


def parameters(shapes: Shapes, hints: Mapping[str, Hints] | None = None) -> dict[str, Parameter]:
    tensors = [
        StoredTensor(
            name, HiddenValues(lambda: None, "float32", shape), (hints or {}).get(name, Hints())
        )
        for name, shape in shapes.items()
    ]
    return {p.name: p for layer in layers_of(tensors) for p in layer.parameters}


def told(shapes: Shapes) -> dict[str, tuple[tuple[Axis, ...], str]]:
    """Return axes of the matrices, and what tells them."""
    found = parameters(shapes)
    return {n: (p.axes, p.axes_from) for n, p in found.items() if len(p.shape) == 2}


@pytest.mark.parametrize(
    ("shape", "bias", "axes"),
    [
        ((32, 96), (96,), (IO, "bias")),
        ((32, 96), (32,), (OI, "")),
        ((32, 32), (32,), (OI, "")),
        ((32, 96), (7,), (OI, "")),
        ((32, 96), (96, 1), (OI, "")),
    ],
    ids=["outputs last", "outputs first", "square", "of another layer", "no vector"],
)
def test_a_bias_is_as_long_as_the_outputs(
    shape: tuple[int, ...], bias: tuple[int, ...], axes: object
) -> None:
    assert told({"fc.weight": shape, "fc.bias": bias})["fc.weight"] == axes


def test_a_square_matrix_is_stored_like_what_is_called_alike() -> None:
    found = told(
        {
            "h.0.attn.c_proj.weight": (32, 32),
            "h.0.attn.c_proj.bias": (32,),
            "h.0.mlp.c_proj.weight": (128, 32),
            "h.0.mlp.c_proj.bias": (32,),
        }
    )

    assert found["h.0.attn.c_proj.weight"] == (IO, "neighbours")


def test_a_square_matrix_is_stored_like_what_lies_beside_it() -> None:
    shapes = {
        "enc.0.mix.weight": (32, 32),
        "enc.0.mix.bias": (32,),
        "enc.0.wide.weight": (32, 64),
        "enc.0.wide.bias": (64,),
        "dec.0.mix2.weight": (32, 32),
        "dec.0.wide2.weight": (64, 32),
        "dec.0.wide2.bias": (64,),
    }

    found = told(shapes)

    assert found["enc.0.mix.weight"] == (IO, "neighbours")
    assert found["dec.0.mix2.weight"] == (OI, "")


def test_where_neighbours_disagree_nothing_is_inferred() -> None:
    shapes = {
        "a.p.weight": (32, 96),
        "a.p.bias": (96,),
        "a.q.weight": (64, 32),
        "a.q.bias": (64,),
        "a.r.weight": (32, 32),
    }

    assert told(shapes)["a.r.weight"] == (OI, "")


def test_an_mlp_takes_the_width_of_its_norm() -> None:
    block = {"ln.weight": (32,), "c_fc.weight": (32, 128), "c_proj.weight": (128, 32)}

    found = told({f"h.0.{name}": shape for name, shape in block.items()})

    assert found == {
        "h.0.c_fc.weight": (IO, "width of the norms"),
        "h.0.c_proj.weight": (IO, "width of the norms"),
    }


@pytest.mark.parametrize(
    "block",
    [
        {"ln.weight": (128,), "c_fc.weight": (32, 128)},
        {"ln.weight": (32,), "thing.weight": (32, 128)},
        {"c_fc.weight": (32, 128)},
        {"ln.weight": (32,), "c_fc.weight": (128, 32)},
    ],
    ids=["that of its outputs", "a name that says nothing", "no norm", "as in torch"],
)
def test_without_evidence_the_order_is_that_of_torch(block: Shapes) -> None:
    found = told({f"h.0.{name}": shape for name, shape in block.items()})

    assert set(found.values()) == {(OI, "")}


def test_what_a_format_says_needs_no_evidence() -> None:
    shapes = {"fc.weight": (32, 96), "fc.bias": (96,)}

    found = parameters(shapes, {"fc.weight": Hints(axes=OI)})

    assert (found["fc.weight"].axes, found["fc.weight"].axes_from) == (OI, "")


def test_modules_of_torch_stay_as_they_are() -> None:
    model = nn.Sequential(
        nn.Linear(8, 32), nn.Linear(32, 8), nn.Bilinear(3, 4, 5), nn.Embedding(9, 8)
    )
    model.append(nn.MultiheadAttention(8, 2)).append(nn.LayerNorm(8)).append(nn.LSTM(8, 8))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}

    assert not any(p.axes_from for p in parameters(shapes).values())


def test_sections_lie_along_the_outputs() -> None:
    shapes = {"h.0.attn.c_attn.weight": (32, 96), "h.0.attn.c_attn.bias": (96,)}

    assert parameters(shapes)["h.0.attn.c_attn.weight"].sections == ("q", "k", "v")


@pytest.mark.parametrize("size", [31, 33, 96])
def test_parts_that_do_not_add_up_are_not_kept(size: int) -> None:
    split = Split(Axis.OUTPUT, (Part("q", size, 1),))

    found = parameters({"q_proj.weight": (32, 64)}, {"q_proj.weight": Hints(split=split)})

    assert found["q_proj.weight"].split is None


def test_interleaved_parts_are_no_sections() -> None:
    split = Split(Axis.OUTPUT, tuple(Part(name, 8, 1) for name in "qkv"), groups=4)
    name = "attn.qkv.weight"

    found = parameters({name: (96, 32)}, {name: Hints(split=split)})[name]

    assert (found.sections, found.split) == ((), split)


def test_the_product_of_the_inferred_axes_is_what_the_layer_computes() -> None:
    weight, bias = torch.randn(3, 5), torch.randn(5)
    found = parameters({"fc.weight": (3, 5), "fc.bias": (5,)})["fc.weight"]

    inputs = weight.shape[found.axes.index(Axis.INPUT)]

    assert (torch.randn(7, inputs) @ weight + bias).shape == (7, 5)


# ---------------------------------------------------------------- spans and heads


def test_spans_and_heads_follow_the_groups() -> None:
    split = Split(Axis.OUTPUT, (Part("q", 4, 2), Part("k", 2, 1), Part("v", 2, 1)), groups=2)

    spans = [(s.part, s.number, s.first, s.end) for s in split.spans()]
    heads = [(s.part, s.number, s.first, s.end) for s in split.heads()]

    assert spans == [
        ("q", 0, 0, 4), ("k", 0, 4, 6), ("v", 0, 6, 8),
        ("q", 1, 8, 12), ("k", 1, 12, 14), ("v", 1, 14, 16),
    ]  # fmt: skip
    assert heads == [
        ("q", 0, 0, 2), ("q", 1, 2, 4), ("k", 0, 4, 6), ("v", 0, 6, 8),
        ("q", 2, 8, 10), ("q", 3, 10, 12), ("k", 1, 12, 14), ("v", 1, 14, 16),
    ]  # fmt: skip
    assert (split.size, split.heads_of("q"), split.heads_of("k")) == (16, 4, 2)


def test_gates_are_parts_without_heads() -> None:
    split = Split(Axis.OUTPUT, (Part("gate", 3), Part("up", 3)))

    assert list(split.heads()) == []


def test_layers_within_thousands_of_modules_are_judged_by_the_nearest() -> None:
    deep = "a." * 30_000
    tensors = [
        Matrix(f"{deep}wide.weight", f"{deep}wide", (8, 32), (32,)),
        Matrix(f"{deep}square.weight", f"{deep}square", (8, 8)),
    ]

    assert inputs_first(tensors, {f"{deep}norm": [8]}) == {
        f"{deep}wide.weight": "bias",
        f"{deep}square.weight": "neighbours",
    }
