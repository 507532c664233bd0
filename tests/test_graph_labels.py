"""What cards of a graph are called: in few letters, and never as a sibling is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accweight_core.graphs.labels import LONGEST
from accweight_core.graphs.layer_graph import LayerGraph, Node
from accweight_core.graphs.modules import ModuleTree


def labels_of(*names: str) -> list[str]:
    """Return what layers of these names are called, all in one module."""
    tree = ModuleTree(LayerGraph.chain(names, "in order"))
    return [item.label for item in tree.items if item.kind == "layer"]


def test_long_names_that_differ_in_the_middle_stay_apart() -> None:
    first, second, short = labels_of(
        "transformer_block_3_attention_output", "transformer_block_7_attention_output", "head"
    )

    assert first != second
    assert max(map(len, (first, second))) <= LONGEST
    assert ("3" in first, "7" in second) == (True, True)
    assert short == "head"


def test_a_long_name_that_is_alone_is_cut_in_its_middle() -> None:
    assert labels_of("embedding_of_all_words_and_places", "head") == [
        "embedding_…and_places", "head",
    ]  # fmt: skip


def test_what_no_cut_tells_apart_keeps_its_whole_name() -> None:
    names = [f"{'a' * 30}{letter}{'b' * 30}" for letter in "xy"]

    assert labels_of(*names) == names


@pytest.mark.parametrize("names", [("a/b", "a.b", "c"), ("layer.1", "layer 1", "layer.2")])
def test_names_that_are_read_alike_stay_apart(names: tuple[str, ...]) -> None:
    assert_siblings_apart(ModuleTree(LayerGraph.chain(names, "in order")))


def test_a_module_with_parameters_of_its_own_is_told_from_its_layer() -> None:
    tree = ModuleTree(LayerGraph.chain(["a.attn", "a.attn.q", "a.attn.k", "a.fc"], "in order"))

    assert [item.label for item in tree.items[1:]] == ["attn", "attn.*", "q", "k", "fc"]


def test_an_output_that_is_called_as_its_layer_says_what_it_is() -> None:
    graph = LayerGraph(
        (Node("input", "x"), Node("layer", "fc"), Node("output", "fc")), ((0, 1), (1, 2))
    )

    assert [item.label for item in ModuleTree(graph).items[1:]] == ["x", "fc", "output fc"]


def test_an_input_that_is_called_as_a_layer_keeps_apart() -> None:
    graph = LayerGraph(
        (Node("input", "fc"), Node("layer", "net.fc"), Node("layer", "fc")), ((0, 1), (1, 2))
    )

    assert_siblings_apart(ModuleTree(graph), but=("input",))


WORDS = st.sampled_from(["layer", "attention_output_projection", "x", "block_of_the_encoder"])
NAMES = st.lists(
    st.lists(st.one_of(WORDS, st.integers(0, 12).map(str)), min_size=1, max_size=4), min_size=2,
    max_size=80, unique_by=tuple,
)  # fmt: skip


@given(NAMES, st.sampled_from([".", "_"]))
def test_no_two_siblings_have_one_label(parts: list[list[str]], between: str) -> None:
    names = [between.join(each) for each in parts]

    assert_siblings_apart(ModuleTree(LayerGraph.chain(names, "in order")))


def assert_siblings_apart(tree: ModuleTree, but: tuple[str, ...] = ()) -> None:
    """Fail if two siblings, joins left out, have one label."""
    for item in tree.items:
        labels = [c.label for c in item.children if c.kind not in ("join", *but)]
        assert len(set(labels)) == len(labels), labels
