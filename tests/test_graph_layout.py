"""Where the cards of a graph are, whatever is folded: right edges, nothing on top of another."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from planted_graphs import pairs_when_folded, transformer

pytest.importorskip("quickjs")

from accweight_core.graphs.layer_graph import LayerGraph, Node
from accweight_core.graphs.layout import Drawing, Place, laid_out
from accweight_core.graphs.modules import MOST_CHILDREN, MOST_SHOWN, ModuleTree

DEEP = transformer(24)


def shown_items(tree: ModuleTree, unfolded: frozenset[int]) -> dict[int, int]:
    """Return the item that shows each node of a graph."""
    found = {}
    for item in tree.items:
        if item.kind != "module":
            shown, above = item, item.parent
            while above is not None:
                if above.number and above.number not in unfolded:
                    shown = above
                above = above.parent
            found[item.node] = shown.number
    return found


def overlap(a: Place, b: Place) -> bool:
    apart_across = a.x + a.width <= b.x or b.x + b.width <= a.x
    return not (apart_across or a.y + a.height <= b.y or b.y + b.height <= a.y)


def crossed(drawing: Drawing) -> list[tuple[int, int]]:
    """Return lines that run through the middle of a card, with the card."""
    found = []
    for number, line in enumerate(drawing.lines):
        ends = [at[-2:] for _, at in line]
        for (x0, y0), (x1, y1) in pairwise(ends):
            for share in (0.25, 0.5, 0.75):
                x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
                for card in drawing.cards:
                    inside = abs(x - card.x - card.width / 2) < card.width / 2 - 3
                    if inside and abs(y - card.y - card.height / 2) < card.height / 2 - 3:
                        found.append((number, card.item))
    return found


@pytest.mark.parametrize("opened", ["folded", "opening", "one", "whole"])
def test_edges_between_cards_are_those_of_the_nodes_in_them(opened: str) -> None:
    tree = ModuleTree(DEEP)
    layer = next(item for item in tree.items if item.name == "encoder.layer")
    unfolded = {
        "folded": frozenset({0}),
        "opening": tree.opening(),
        "one": frozenset({0, layer.number, layer.children[3].number}),
        "whole": tree.whole(),
    }[opened]

    drawing = laid_out(tree, unfolded)

    shown = shown_items(tree, unfolded)
    assert drawing.pairs == pairs_when_folded(DEEP, shown)
    assert {card.item for card in drawing.cards} == set(shown.values())
    assert {box.item for box in drawing.boxes} == {
        at for at in unfolded - {0} if tree.items[at].parent is not None
    } - {at for at in unfolded if at in shown.values()}


@pytest.mark.parametrize("room", [(1280, 720), (700, 160), (300, 2000)])
def test_nothing_is_on_top_of_another_and_no_line_runs_through_a_card(
    room: tuple[float, float],
) -> None:
    tree = ModuleTree(transformer(5))

    for unfolded in (tree.opening(), tree.whole()):
        drawing = laid_out(tree, unfolded, room)

        assert not [(a, b) for a, b in combinations(drawing.cards, 2) if overlap(a, b)]
        assert crossed(drawing) == []
        for place in (*drawing.cards, *drawing.boxes):
            assert -0.01 <= place.x <= drawing.width - place.width + 0.01
            assert -0.01 <= place.y <= drawing.height - place.height + 0.01


def test_a_line_from_beside_a_tall_module_does_not_run_through_it() -> None:
    convolutions = [f"encoder.{n}.convolution_of_it" for n in range(4)]
    layers = [*convolutions, "decoder.rnn", "decoder.out"]
    names = [f"{branch}{layer}" for branch in ("else_", "then_") for layer in layers]
    inputs, joins = [Node("input", "x"), Node("input", "state")], [Node("join", "if")] * 2
    nodes = (*inputs, *(Node("layer", name) for name in names), *joins)
    rows = [(0, 2), (0, 8), (1, 6), (1, 12), (6, 15), (7, 14), (12, 15), (13, 14)]
    rows += [(n, n + 1) for n in (*range(2, 7), *range(8, 13))]

    tree = ModuleTree(LayerGraph(nodes, tuple(sorted(rows))))

    assert crossed(laid_out(tree, tree.whole())) == []


def test_a_join_in_the_middle_of_a_block_is_in_it_and_no_line_leads_back() -> None:
    parts = ["attention", "linear1", "linear2"]
    blocks = [[f"layers.{n}.{part}" for part in parts] for n in range(2)]
    nodes, edges, before = [Node("layer", "embedding")], [], 0
    for block in blocks:
        at = len(nodes)
        attention, one, two = (Node("layer", name) for name in block)
        nodes += [attention, Node("join", "+", "layers"), one, two, Node("join", "+", "layers")]
        edges += [(before, at), (before, at + 1), (at, at + 1), (at + 1, at + 2)]
        edges += [(at + 2, at + 3), (at + 1, at + 4), (at + 3, at + 4)]
        before = at + 4
    nodes.append(Node("layer", "head"))
    edges.append((before, len(nodes) - 1))

    tree = ModuleTree(LayerGraph(tuple(nodes), tuple(sorted(edges))))

    joins = {item.node: item.parent.name for item in tree.items if item.kind == "join"}
    assert joins == {2: "layers.0", 5: "layers", 7: "layers.1", 10: "layers"}
    assert crossed(laid_out(tree, tree.whole())) == []


def test_what_is_in_a_module_is_broken_into_columns_in_a_low_room() -> None:
    names = ("model.embed", "model.layer", "head")
    tree = ModuleTree(LayerGraph.chain(names, "in order"))
    unfolded = tree.whole()

    low, high = (laid_out(tree, unfolded, room) for room in ((800, 80), (800, 800)))

    below = [drawing.cards[1].x == drawing.cards[2].x for drawing in (low, high)]
    assert below == [False, True]
    assert low.height < high.height < low.width


def test_what_is_taller_than_the_room_is_broken_into_columns() -> None:
    tree = ModuleTree(LayerGraph.chain([f"layer{n}.fc" for n in range(30)], "planted"))

    tall = laid_out(tree, tree.whole(), (10_000, 10_000))
    wide = laid_out(tree, tree.whole(), (1280, 720))

    assert tall.height > 10 * tall.width
    assert min(1280 / wide.width, 720 / wide.height) > 2 * min(1280 / tall.width, 720 / tall.height)


def test_modules_that_differ_by_numbers_only_are_opened_together() -> None:
    few = {
        item.name for at in ModuleTree(DEEP).opening() if (item := ModuleTree(DEEP).items[at]).name
    }

    assert few == {"encoder.layer"}
    assert ModuleTree(DEEP).items[2].title == "encoder.layer  \N{MULTIPLICATION SIGN}24"


def test_blocks_in_a_module_of_a_long_name_keep_their_numbers() -> None:
    encoder = "model/then_branch__Inline_0__encoder"
    names = [f"{encoder}.{n}.reparam_conv" for n in range(4)]

    tree = ModuleTree(LayerGraph.chain([*names, "head.fc"], "planted"))

    titles = {item.name: item.title for item in tree.items}
    assert [titles[name] for name in names] == [f"{n}.reparam_conv" for n in range(4)]


def test_a_flat_network_of_thousands_of_layers_is_in_ranges() -> None:
    tree = ModuleTree(LayerGraph.chain([f"l{n}" for n in range(5000)], "planted"))

    assert max(len(item.children) for item in tree.items) <= MOST_CHILDREN
    drawing = laid_out(tree, tree.opening())
    assert len(drawing.cards) <= MOST_CHILDREN
    assert len(laid_out(tree, tree.whole()).cards) <= MOST_SHOWN


def test_of_very_many_edges_those_are_left_out_that_others_imply() -> None:
    nodes = tuple(Node("layer", f"l{n}") for n in range(40))
    everything = tuple(combinations(range(40), 2))

    tree = ModuleTree(LayerGraph(nodes, everything))
    drawing = laid_out(tree, tree.whole())

    assert len(drawing.pairs) == len(everything)
    assert len(drawing.lines) == 39
    assert drawing.implied == len(everything) - 39


def test_a_graph_of_edges_in_all_directions_is_drawn_within_bounds() -> None:
    nodes = tuple(Node("layer", f"l{n}") for n in range(60))
    every = tuple((a, b) for a in range(60) for b in range(60) if a != b and (a * b) % 3 == 1)
    tree = ModuleTree(LayerGraph(nodes, every))

    drawing = laid_out(tree, tree.whole())

    assert len(drawing.cards) == 60
    assert len(drawing.lines) + drawing.implied == len(every) == 760
    assert len(drawing.lines) < 3 * 60


def test_circles_and_hostile_names_are_drawn() -> None:
    names = [
        "<b>&\x1b[31m",
        "a" * 5000,
        "." * 300,
        "x.y.z",
        "__proto__",
        "constructor",
        "in:0",
        "0",
    ]
    nodes = tuple(Node("layer", name) for name in names)
    circle = tuple((at, (at + 1) % len(names)) for at in range(len(names)))

    tree = ModuleTree(LayerGraph(nodes, circle))
    drawing = laid_out(tree, tree.whole())

    assert len(drawing.cards) == len(names)
    assert len(drawing.lines) == len(names)
    labels = [one["label"] for one in tree.to_json()["items"]]
    assert "\x1b" not in "".join(labels)
    assert max(map(len, labels)) < 40


def test_modules_within_thousands_of_modules_are_a_few() -> None:
    deep = ".".join(["m"] * 20_000)
    graph = LayerGraph((Node("layer", f"{deep}.a"), Node("layer", f"{deep}.b")), ((0, 1),))

    tree = ModuleTree(graph)

    assert len(laid_out(tree, tree.whole()).cards) == 2


def test_the_same_graph_is_laid_out_the_same() -> None:
    first, second = (laid_out(ModuleTree(DEEP), ModuleTree(DEEP).opening()) for _ in range(2))

    assert first == second


def test_an_empty_graph_is_drawn_as_nothing() -> None:
    assert laid_out(ModuleTree(LayerGraph((), ())), {0}).cards == ()
