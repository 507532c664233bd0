"""Aligning lists of layers: names, places, shapes, merged layers, and how sure each match is."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IN_OUT, OUT_IN, alone, layer, pairs, renamed
from thorough import up_to

from accweight_core.alignment.alignment import Alignment, How, aligned
from accweight_core.alignment.matching.names import keys_of, similarities
from accweight_core.alignment.matching.order import fences, in_order
from accweight_core.schema import Axis, Kind, Layer, Parameter, Role

HWIO = (Axis.KERNEL, Axis.KERNEL, Axis.INPUT, Axis.OUTPUT)


def only(found: Alignment) -> tuple[How, float, str]:
    """Return how the one match was found."""
    (match,) = found.matches
    return match.how, match.confidence, match.reason


# --- names


def test_the_same_name_kind_and_shape_are_certain() -> None:
    net = [layer("conv1", 8, 1, 3, 3, kind=Kind.CONV), layer("fc", 10, 8)]

    found = aligned(net, net)

    assert pairs(found) == {"conv1": "conv1", "fc": "fc"}
    assert {(m.how, m.confidence, m.shape_differs) for m in found.matches} == {
        (How.NAME, 1.0, False)
    }


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("conv1", "module.conv1"),
        ("conv1", "_orig_mod.module.conv1"),
        ("enc.layers.0.fc", "enc/layers/0/fc"),
        ("enc.layers.0.fc", "enc.layers_0.fc"),
        ("block.conv2", "net.Block.conv_2"),
        ("dense", "Dense_0"),
        ("conv2d", "conv2d_4"),
        ("attn.q_proj", "attention.query"),
        ("fc1", "linear_1"),
    ],
)
def test_prefixes_separators_and_words_do_not_hide_a_name(a: str, b: str) -> None:
    others = [layer("stem.first", 3, 3), layer("tail.last", 5, 5)]

    found = aligned([others[0], layer(a, 4, 4), others[1]], [others[1], layer(b, 4, 4), others[0]])

    assert pairs(found)[a] == b
    how, sure = next((m.how, m.confidence) for m in found.matches if m.layer_a == a)
    assert how is How.SIMILAR_NAME
    assert sure >= 0.9


def test_axes_are_ordered_by_their_meaning_before_shapes_are_compared() -> None:
    torch = [layer("c", 8, 3, 5, 5, kind=Kind.CONV), layer("d", 10, 20, axes=OUT_IN)]
    keras = [layer("c", 5, 5, 3, 8, kind=Kind.CONV, axes=HWIO), layer("d", 20, 10, axes=IN_OUT)]

    found = aligned(torch, keras)

    assert [m.confidence for m in found.matches] == [1, 1]
    assert not any(m.shape_differs for m in found.matches)


def test_another_width_of_the_same_name_is_matched_and_flagged() -> None:
    found = aligned([layer("fc", 64, 32)], [layer("fc", 128, 32)])

    assert only(found) == (How.NAME, 0.8, "same name; shape differs: 64x32 against 128x32")
    assert found.matches[0].shape_differs


def test_the_same_name_for_another_kind_is_a_guess() -> None:
    found = aligned([layer("a", 4, 3, 3, 3, kind=Kind.CONV)], [layer("a", 4, kind=Kind.NORM)])

    how, sure, reason = only(found)
    assert (how, sure) == (How.NAME, 0.4)
    assert "another kind" in reason
    assert "conv against norm" in reason


def test_counts_of_a_session_are_no_names() -> None:
    shapes = [(8, 3), (16, 8), (32, 16), (64, 32)]
    first = [layer(f"dense_{n}" if n else "dense", *s) for n, s in enumerate(shapes)]
    later = [layer(f"dense_{n + 2}", *s) for n, s in enumerate(shapes)]

    found = aligned(first, later)

    assert pairs(found) == {f"dense_{n}" if n else "dense": f"dense_{n + 2}" for n in range(4)}


def test_numbers_of_an_exporter_are_no_names_unless_the_shapes_agree() -> None:
    first = [layer("onnx::MatMul_1", 4, 8), layer("onnx::MatMul_2", 16, 4)]
    second = [layer("onnx::MatMul_2", 4, 8), layer("onnx::MatMul_3", 16, 4)]

    found = aligned(first, second)

    assert pairs(found) == {
        "onnx::MatMul_1": "onnx::MatMul_2", "onnx::MatMul_2": "onnx::MatMul_3",
    }  # fmt: skip


def test_names_that_share_rare_words_are_more_alike_than_those_that_share_common_ones() -> None:
    found = similarities(
        ["model.encoder.0.conv", "model.decoder.rnn"], ["net.enc.encoder.0.conv", "net.enc.x.conv"]
    )

    assert found[0, 0] > 0.7 > found[0, 1]
    assert found[1].max() < 0.2


def test_a_root_that_all_names_have_is_left_out() -> None:
    left = keys_of([layer("resnet.a", 1, 1), layer("resnet.b", 1, 1)])
    right = keys_of([layer("a", 1, 1), layer("b", 1, 1)])

    assert left[0] != right[0]
    assert left[1] == right[1] == [("a",), ("b",)]


# --- depth and width


def transformer(depth: int, width: int = 16, prefix: str = "blocks.") -> list[Layer]:
    """A transformer of so many blocks."""
    blocks = [
        layer(f"{prefix}{n}.{part}", *shape)
        for n in range(depth)
        for part, shape in (("q", (width, width)), ("k", (width, width)), ("up", (64, width)))
    ]
    ends = layer("embed", 100, width, kind=Kind.EMBEDDING), layer("lm", 100, width)
    return [ends[0], *blocks, ends[1]]


def test_a_deeper_network_has_blocks_left_over() -> None:
    found = aligned(transformer(12), transformer(6))

    assert all(a == b for a, b in pairs(found).items())
    assert len(found.matches) == 6 * 3 + 2
    assert {name.split(".")[1] for name in alone(found)[0]} == {str(n) for n in range(6, 12)}
    assert alone(found)[1] == []


def test_blocks_of_other_names_are_matched_by_their_number() -> None:
    found = aligned(transformer(12), transformer(6, prefix="transformer.h."))

    assert pairs(found)["blocks.3.k"] == "transformer.h.3.k"
    assert len(found.matches) == 6 * 3 + 2
    assert all(m.confidence >= 0.8 for m in found.matches)


def test_blocks_that_nothing_tells_apart_are_matched_from_the_front_by_a_guess() -> None:
    def counted(layers: Sequence[Layer], word: str) -> list[Layer]:
        return renamed(layers, [f"{word}_{n}" for n in range(len(layers))])

    found = aligned(counted(transformer(4), "val"), counted(transformer(2), "node"))

    middle = [m for m in found.matches if m.confidence < 0.5]
    assert len(found.matches) == 2 * 3 + 2
    assert [m.layer_a for m in middle] == [f"val_{n}" for n in range(1, 7)]
    assert all("one of several that fit as well" in m.reason for m in middle)
    assert pairs(found)["val_13"] == "node_7"


def test_a_wider_network_is_matched_in_order_and_flagged() -> None:
    narrow = [layer("a", 32, 3), layer("b", 64, 32), layer("c", 128, 64), layer("d", 10, 128)]
    wide = [layer("w", 64, 3), layer("x", 128, 64), layer("y", 256, 128), layer("z", 10, 256)]

    found = aligned(narrow, wide)

    assert pairs(found) == {"a": "w", "b": "x", "c": "y", "d": "z"}
    assert all(m.shape_differs and m.how is How.POSITION for m in found.matches)
    assert all(m.confidence < 0.8 for m in found.matches)


def test_strangers_are_not_matched() -> None:
    image = [layer(f"conv{n}", 8, 8, 3, 3, kind=Kind.CONV) for n in range(5)]
    words = [layer(f"lin{n}", 5, 5) for n in range(3)]

    found = aligned(image, words)

    assert found.matches == ()
    assert alone(found) == ([f"conv{n}" for n in range(5)], [f"lin{n}" for n in range(3)])


def test_layers_of_one_shape_in_other_numbers_are_not_matched_without_anything_to_hold_on() -> None:
    found = aligned([layer(n, 2, 2) for n in "abcd"], [layer(n, 2, 2) for n in "xy"])

    assert found.matches == ()
    assert "perhaps" in "".join(u.hint for u in found.only_b)


def test_where_names_are_the_same_another_name_is_another_layer() -> None:
    left = [layer(n, 2, 2) for n in ("x", "a", "b")]
    right = [layer(n, 2, 2) for n in ("b", "y", "a", "z")]

    found = aligned(left, right)

    assert pairs(found) == {"a": "a", "b": "b"}
    assert alone(found) == (["x"], ["y", "z"])


# --- place and shape


def test_a_renamed_layer_is_found_between_its_neighbours() -> None:
    left = [layer("stem", 8, 4), layer("mid", 8, 8), layer("head", 3, 8)]
    right = [layer("stem", 8, 4), layer("onnx::MatMul_9", 8, 8, axes=IN_OUT), layer("head", 3, 8)]

    found = aligned(left, right)

    assert pairs(found)["mid"] == "onnx::MatMul_9"
    assert found.matches[1].how is How.POSITION
    assert found.matches[1].confidence >= 0.8


def test_a_shape_that_one_layer_alone_has_is_found_where_order_is_lost() -> None:
    graph = [layer("stft", 258, 256), layer("enc", 128, 129), layer("lstm", 512, 128)]
    graph.append(layer("final", 1, 128))
    sorted_by_name = [
        layer("a_conv", 128, 129), layer("b_final", 1, 128), layer("c_lstm", 512, 128),
        layer("d_stft", 258, 256),
    ]  # fmt: skip

    found = aligned(graph, sorted_by_name)

    assert pairs(found) == {
        "stft": "d_stft", "enc": "a_conv", "lstm": "c_lstm", "final": "b_final",
    }  # fmt: skip
    assert {m.how for m in found.matches} == {How.SHAPE}


def test_of_two_copies_that_is_taken_which_the_rest_went_to() -> None:
    def copy(prefix: str, first: int) -> list[Layer]:
        shapes = [(first, 4), (first, 6), (8, 8), (9, 8), (9, 9)]
        return [layer(f"{prefix}.p{n}", *shape) for n, shape in enumerate(shapes)]

    plain = [layer(f"z{n}", *s) for n, s in enumerate([(9, 9), (8, 8), (9, 8), (7, 6), (7, 4)])]

    found = aligned([*copy("then", 5), *copy("else", 7)], plain)

    assert pairs(found) == {
        "else.p0": "z4", "else.p1": "z3", "else.p2": "z1", "else.p3": "z2", "else.p4": "z0",
    }  # fmt: skip


def test_a_norm_that_an_exporter_folded_is_left_over_with_a_hint() -> None:
    conv = layer("conv", 8, 3, 3, 3, kind=Kind.CONV)
    norm = layer("bn", 8, kind=Kind.NORM, axes=(Axis.OUTPUT,))

    found = aligned([conv, norm], [conv])

    assert pairs(found) == {"conv": "conv"}
    assert found.only_a[0].hint.startswith("folded into conv?")


def test_block_10_comes_after_block_9_even_where_names_are_sorted_as_text() -> None:
    blocks = [layer(f"h{n}", 4 + n // 6, 4) for n in range(12)]
    in_text_order = sorted(renamed(blocks, [f"b.{n}" for n in range(12)]), key=lambda x: x.name)

    found = aligned(renamed(blocks, [f"val_{n}" for n in range(12)]), in_text_order)

    assert pairs(found) == {f"val_{n}": f"b.{n}" for n in range(12)}


# --- one and several


def test_three_projections_match_the_one_they_are_stacked_in() -> None:
    apart = [layer(f"blocks.{n}.attn.{part}", 8, 8) for n in range(3) for part in "qkv"]
    stacked = [layer(f"h.{n}.attn.qkv", 24, 8) for n in range(3)]

    found = aligned(apart, stacked)

    assert pairs(found) == {
        f"blocks.{n}.attn.q, blocks.{n}.attn.k, blocks.{n}.attn.v": f"h.{n}.attn.qkv"
        for n in range(3)
    }
    assert "merged: blocks.0.attn.q" in found.matches[0].reason
    assert found.matches[0].parameters[0].b == ("h.0.attn.qkv.weight",)
    assert len(found.matches[0].parameters[0].a) == 3


def test_three_hidden_layers_are_no_projection() -> None:
    hidden = [layer(f"body.{n}", 8, 8) for n in range(3)]

    found = aligned(hidden, [layer("wide", 24, 8)])

    assert not any("merged" in m.reason for m in found.matches)


def test_one_bias_stands_for_the_two_of_torch() -> None:
    def lstm(name: str, *parts: tuple[str, tuple[int, ...], Role]) -> Layer:
        made = [
            Parameter(
                f"{name}.{leaf}", name, Kind.LSTM, role, shape, "float32",
                OUT_IN if len(shape) > 1 else (Axis.OTHER,),
            )
            for leaf, shape, role in parts
        ]  # fmt: skip
        return Layer(name, Kind.LSTM, tuple(made))

    matrices = [((8, 2), Role.WEIGHT), ((8, 2), Role.WEIGHT)]
    torch = lstm(
        "rnn", ("weight_hh_l0", *matrices[0]), ("weight_ih_l0", *matrices[1]),
        ("bias_ih_l0", (8,), Role.BIAS), ("bias_hh_l0", (8,), Role.BIAS),
    )  # fmt: skip
    keras = lstm(
        "rnn", ("kernel", *matrices[0]), ("recurrent_kernel", *matrices[1]),
        ("bias", (8,), Role.BIAS),
    )  # fmt: skip

    found = aligned([torch], [keras]).matches[0].parameters

    assert {(p.a, p.b, p.same_form) for p in found} == {
        (("rnn.weight_ih_l0",), ("rnn.kernel",), True),
        (("rnn.weight_hh_l0",), ("rnn.recurrent_kernel",), True),
        (("rnn.bias_ih_l0", "rnn.bias_hh_l0"), ("rnn.bias",), False),
    }


# --- order


def test_the_best_alignment_in_order_by_hand() -> None:
    import numpy as np

    found = in_order(np.array([[1.0, 0, 3], [2, 0, 0], [0, 2, 0.5]]))

    assert [(p.a, p.b) for p in found] == [(1, 0), (2, 1)]
    assert found[0].margin == pytest.approx(1, abs=1e-2)  # without it: 1 and 2


def test_a_pair_that_could_as_well_be_another_has_no_margin() -> None:
    import numpy as np

    found = in_order(np.array([[1.0, 1.0]]))

    assert [(p.a, p.b) for p in found] == [(0, 0)]
    assert 0 < found[0].margin < 1e-2


def test_what_equal_alignments_disagree_on_is_left_out() -> None:
    import numpy as np

    found = in_order(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 1]]))

    assert [(p.a, p.b) for p in found] == [(2, 2)]


def test_pairs_that_cross_most_others_hold_no_order() -> None:
    assert fences([(0, 0), (1, 3), (2, 1), (3, 2), (4, 4)]) == [(0, 0), (2, 1), (3, 2), (4, 4)]
    assert fences([(0, 1), (1, 0)]) == []
    assert fences([]) == []


# --- properties

SHAPES = st.sampled_from([(4, 4), (8, 4), (4, 8), (8, 8), (3, 3, 3, 3), (8,)])
NAMES = (
    "fc1 fc2 conv1 conv2d conv2d_1 blocks.0.q blocks.1.q blocks.0.k attn.qkv h.0.up val_7 val_9 x "
    "y onnx::MatMul_3 dense dense_1 Dense_0 module.fc1 norm bn1 head encoder.layers.0.v h.0.k q k v"
)
WORDS = st.sampled_from(NAMES.split())
KINDS = {1: Kind.NORM, 2: Kind.LINEAR, 4: Kind.CONV}


def made(name: str, shape: tuple[int, ...]) -> Layer:
    axes = (Axis.OUTPUT,) if len(shape) == 1 else None
    return layer(name, *shape, kind=KINDS[len(shape)], axes=axes)


@st.composite
def networks(draw: st.DrawFn) -> list[Layer]:
    names = draw(st.lists(WORDS, max_size=8, unique=True))
    return [made(name, draw(SHAPES)) for name in names]


@settings(max_examples=up_to(150))
@given(networks())
def test_a_network_aligned_with_itself_is_certain_of_every_layer(net: list[Layer]) -> None:
    found = aligned(net, net)

    assert pairs(found) == {x.name: x.name for x in net}
    assert all(m.confidence == 1 for m in found.matches)


@settings(max_examples=up_to(250))
@given(networks(), networks())
def test_exchanging_the_sides_exchanges_the_answer(left: list[Layer], right: list[Layer]) -> None:
    forth, back = aligned(left, right), aligned(right, left)

    assert {(m.layers_a, m.layers_b, m.how, round(m.confidence, 9)) for m in forth.matches} == {
        (m.layers_b, m.layers_a, m.how, round(m.confidence, 9)) for m in back.matches
    }
    assert alone(forth) == alone(back)[::-1]


@settings(max_examples=up_to(150))
@given(networks(), networks())
def test_every_layer_is_matched_once_or_left_over(left: list[Layer], right: list[Layer]) -> None:
    found = aligned(left, right)

    for side, layers in ((0, left), (1, right)):
        used = [n for m in found.matches for n in (m.layers_a, m.layers_b)[side]]
        assert sorted([*used, *alone(found)[side]]) == sorted(x.name for x in layers)
    assert all(0.3 <= m.confidence <= 1 for m in found.matches)


@settings(max_examples=up_to(100))
@given(st.lists(SHAPES, min_size=1, max_size=10), st.lists(SHAPES, min_size=1, max_size=10))
def test_matches_by_place_keep_the_order(
    left: list[tuple[int, ...]], right: list[tuple[int, ...]]
) -> None:
    sides = [
        [made(f"{word}_{n}", shape) for n, shape in enumerate(shapes)]
        for word, shapes in (("val", left), ("node", right))
    ]

    found = aligned(*sides)

    by_place = [m.layer_b for m in found.matches if m.how is How.POSITION]
    places = [int(name.split("_")[1]) for name in by_place]
    assert places == sorted(places)


@settings(max_examples=up_to(60))
@given(st.permutations(range(7)), st.booleans())
def test_a_renaming_is_undone_where_shapes_are_distinct(order: list[int], shuffled: bool) -> None:
    net = [layer(f"part{n}", 3 + n, 5 + 2 * n) for n in range(7)]
    other = renamed(net, [f"val_{n}" for n in order])

    found = aligned(net, [other[n] for n in order] if shuffled else other)

    assert pairs(found) == {f"part{n}": f"val_{order[n]}" for n in range(7)}


def test_two_thousand_layers_are_aligned_before_the_patience_of_tests_ends() -> None:
    count = 2000
    sides = [[layer(f"{word}_{n}", 8 + n % 5, 8) for n in range(count)] for word in ("val", "node")]

    found = aligned(*sides)

    assert len(found.matches) == count
