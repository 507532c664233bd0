"""Comparing analyses of other formats, widths and depths, and what the command prints."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from networks import Cnn, Former, exported, nudged
from test_cli import accweight, widest
from torch import Tensor, nn

import accweight_core as aw
from accweight_core.analysis.analysis import Analysis
from accweight_core.errors import ArgumentValueError, MismatchError


def trained(net: nn.Module, steps: int = 3) -> Analysis:
    """An analysis of a network that is nudged now and then."""
    states = [
        {name: value.clone() for name, value in nudged(net, step).state_dict().items()}
        for step in range(steps)
    ]
    return aw.analyze(aw.open_run(states), threads=1)


def moved(means: dict[str, float], shapes: dict[str, tuple[int, ...]] | None = None) -> Analysis:
    """An analysis whose layers have moved that far."""
    shape = shapes or {}
    before = {f"{n}.weight": torch.ones(shape.get(n, (2, 2))) for n in means}
    after = {name: value + means[name[:-7]] for name, value in before.items()}
    return aw.analyze(aw.open_run([before, after]), threads=1)


def at_rates(folder: Path, rates: list[float], every: int = 10) -> Analysis:
    """An analysis of a weight that moves by 3 x rate in every step, with the rate in its files."""
    folder.mkdir()
    weight = torch.ones(2, 2)
    for place, rate in enumerate(rates):
        weight = weight + 3 * rate * every * (place > 0)
        model = nn.Linear(2, 2, bias=False)
        model.load_state_dict({"weight": weight})
        state = {"fc." + name: value for name, value in model.state_dict().items()}
        groups = torch.optim.SGD(model.parameters(), rate).state_dict()
        path = folder / f"step_{place * every}.pt"
        torch.save({"model": state, "optimizer": groups}, path)
    return aw.analyze(folder, threads=1)


def test_rates_of_optimizers_are_divided_out(tmp_path: Path) -> None:
    fast, slow = at_rates(tmp_path / "a", [0.5, 0.5, 0.5]), at_rates(tmp_path / "b", [0.1, 0.1])

    found = aw.compare(fast, slow)

    assert found.layers[0].beside["mean_per_rate"] == pytest.approx((3, 3), rel=1e-5)
    assert any("sum of the learning rate (10 and 1)" in note for note in found.notes)


def test_a_schedule_is_summed_between_checkpoints(tmp_path: Path) -> None:
    falling, flat = at_rates(tmp_path / "a", [0.4, 0.2, 0]), at_rates(tmp_path / "b", [0.1, 0.1])

    found = aw.compare(falling, flat)

    # the path is 3 x 10 x (0.2 + 0), the sum of the rate 10 x (0.3 + 0.1)
    assert found.layers[0].beside["mean_per_rate"] == pytest.approx((1.5, 3), rel=1e-5)


def test_paths_seen_at_other_distances_are_not_compared_unsaid(tmp_path: Path) -> None:
    near, far = at_rates(tmp_path / "a", [0.1, 0.1]), at_rates(tmp_path / "b", [0.1, 0.1], 20)

    found = aw.compare(near, far)

    assert any("10 steps apart in a and 20 in b" in note for note in found.notes)


def test_a_rate_known_of_one_run_alone_divides_nothing(tmp_path: Path) -> None:
    known, other = at_rates(tmp_path / "a", [0.1, 0.1]), moved({"fc": 2.0})

    alone = aw.compare(known, other)
    given = aw.compare(known, other, rates=(0.2, 0.5))

    assert "mean_per_rate" not in alone.layers[0].beside
    assert any("that of b is not in its checkpoints" in note for note in alone.notes)
    assert given.layers[0].beside["mean_per_rate"] == pytest.approx((1.5, 4), rel=1e-5)
    with pytest.raises(ArgumentValueError, match="two positive numbers"):
        aw.compare(known, other, rates=(0.1, 0))


def test_renamed_layers_are_ranked_side_by_side() -> None:
    a = moved({"conv": 3.0, "mid": 2.0, "fc": 1.0}, {"conv": (4, 3, 3, 3), "mid": (5, 6)})
    b = moved(
        {"module.conv": 1.0, "val_3": 2.0, "module.fc": 3.0},
        {"module.conv": (4, 3, 3, 3), "val_3": (5, 6)},
    )

    found = aw.compare(a, b)

    assert [(p.layer, p.layer_b, p.rank_a, p.rank_b) for p in found.layers] == [
        ("conv", "module.conv", 1, 3),
        ("mid", "val_3", 2, 2),
        ("fc", "module.fc", 3, 1),
    ]
    assert found.spearman == pytest.approx(-1)
    assert (found.only_a, found.only_b) == ((), ())


def test_ranks_are_among_the_layers_that_both_have() -> None:
    found = aw.compare(trained(Former(4)), trained(Former(2)))

    assert len(found.layers) == 2 * 6 + 2
    assert sorted(p.rank_a for p in found.layers) == list(range(1, 15))
    assert sorted(p.rank_b for p in found.layers) == list(range(1, 15))
    assert {name.split(".")[1] for name in found.only_a} == {"2", "3"}
    assert all(math.isfinite(x) for x in (found.spearman, found.kendall, found.rbo))


def test_networks_of_other_widths_are_compared_by_name() -> None:
    found = aw.compare(trained(Cnn(4)), trained(Cnn(6)))

    places = {p.layer: p for p in found.layers}
    assert set(places) == {"conv1", "conv2", "fc"}
    assert all(p.shape_differs and p.sure == 0.8 for p in places.values())


def test_what_one_side_has_in_several_layers_is_folded_into_one_figure() -> None:
    parts = {f"attn.{part}": mean for part, mean in zip("qkv", (1.0, 2.0, 6.0), strict=True)}
    a = moved({**parts, "out": 0.5}, dict.fromkeys(parts, (4, 4)))
    b = moved({"attn.qkv": 5.0, "out": 0.5}, {"attn.qkv": (12, 4)})

    found = aw.compare(a, b, by="mean")

    merged = found.layers[0]
    assert (merged.layer, merged.layer_b) == ("attn.q, attn.k, attn.v", "attn.qkv")
    assert (merged.value_a, merged.value_b) == (3.0, 5.0)


def test_parameters_are_compared_through_their_layers(tmp_path: Path) -> None:
    net = Former(1)
    runs = []
    for step in range(2):
        torch.save(nudged(net, step).state_dict(), tmp_path / f"epoch_{step}.pt")
        exported(net, torch.arange(6).reshape(2, 3), tmp_path / f"epoch_{step}.onnx")
    runs = [
        aw.analyze(aw.open_run([tmp_path / f"epoch_{s}{end}" for s in range(2)]))
        for end in (".pt", ".onnx")
    ]

    found = aw.compare(*runs, per="parameter")

    names = {p.layer: p for p in found.layers}
    assert names["blocks.0.q.weight"].layer_b.startswith("onnx::MatMul")
    assert found.spearman == pytest.approx(1)
    assert all(p.value_a == pytest.approx(p.value_b, rel=1e-12) for p in found.layers)


def test_one_shared_layer_is_said_to_be_too_few() -> None:
    found = aw.compare(moved({"a": 1.0, "x": 2.0}, {"x": (7, 3, 3, 3)}), moved({"a": 1.0}))

    assert found.only_a == ("x",)
    assert math.isnan(found.spearman)
    assert found.notes[0] == "only one layer is in both: a rank correlation needs two"


def test_nothing_shared_says_what_could_be_done() -> None:
    a, b = moved({"a": 1.0}, {"a": (4, 3, 3, 3)}), moved({"b": 1.0})

    with pytest.raises(MismatchError, match="to compare them, give a file with --map"):
        aw.compare(a, b)


def test_a_map_says_which_layers_belong_together(tmp_path: Path) -> None:
    a, b = moved({"a": 1.0, "b": 2.0}), moved({"x": 1.0, "y": 2.0})
    file = tmp_path / "map.toml"
    file.write_text('[layers]\n"x" = "b"\n"y" = "a"\n')

    found, back = aw.compare(a, b, map=file), aw.compare(b, a, map=file)

    assert {p.layer: p.layer_b for p in found.layers} == {"a": "y", "b": "x"}
    assert {p.layer: p.layer_b for p in back.layers} == {"y": "a", "x": "b"}
    assert {(p.how, p.sure) for p in found.layers} == {("map", 1.0)}
    assert found.spearman == pytest.approx(-1)


def test_a_map_leaves_a_layer_alone(tmp_path: Path) -> None:
    a = moved({"a": 1.0, "b": 2.0, "c": 3.0})
    file = tmp_path / "map.toml"
    file.write_text('[layers]\n"b" = false\n"gone" = "nowhere"\n')

    found = aw.compare(a, a, map=file)

    assert (found.only_a, found.only_b) == (("b",), ("b",))
    assert "'gone', 'nowhere' is in neither network" in found.notes[0]


def test_guesses_are_counted_where_the_figures_stand() -> None:
    widths = {"k": (32, 3), "l": (64, 32), "m": (10, 64)}
    wider = {"x": (999, 99), "y": (1999, 999), "z": (320, 1999)}
    a, b = moved(dict.fromkeys(widths, 1.0), widths), moved(dict.fromkeys(wider, 1.0), wider)

    found = aw.compare(a, b)

    assert {p.layer: p.layer_b for p in found.layers} == {"k": "x", "l": "y", "m": "z"}
    assert found.notes[0].startswith("3 of 3 layers were matched with less than 50% confidence")


# --- the commands


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs: a transformer of three blocks, and one of two under other names."""
    folder = tmp_path_factory.mktemp("place")

    def save(name: str, net: nn.Module, prefix: str) -> None:
        (folder / name).mkdir()
        for step in range(3):
            state: dict[str, Tensor] = nudged(net, step).state_dict()
            renamed = {n.replace("blocks", prefix): value for n, value in state.items()}
            torch.save(renamed, folder / name / f"epoch_{step}.pt")
        done = accweight("analyze", folder / name, "-o", folder / f"{name}.accw")
        assert done.code == 0, done.err

    save("deep", Former(3), "blocks")
    save("shallow", Former(2), "transformer.h")
    return folder


def test_compare_says_how_layers_were_matched_and_how_sure_that_is(place: Path) -> None:
    answer = accweight("compare", place / "deep.accw", place / "shallow.accw")

    assert answer.code == 0
    assert "layer of b" in answer.out
    assert "similar" in answer.out
    assert "14 shared, 6 only in a, 0 only in b; ranks are among the shared" in answer.out
    assert "only in a: blocks.2.q" in answer.out
    assert widest(answer.out) <= 80


def test_compare_of_equal_names_says_no_more_than_before(place: Path) -> None:
    answer = accweight("compare", place / "deep.accw", place / "deep.accw")

    assert "matched by" not in answer.out
    assert "sure" not in answer.out


def test_the_document_of_compare_has_both_names(place: Path) -> None:
    document = accweight("compare", place / "deep.accw", place / "shallow.accw", "--json").document

    rows = {row["layer"]: row for row in document["layers"]}
    assert rows["blocks.1.k"]["layer_b"] == "transformer.h.1.k"
    assert rows["blocks.1.k"]["how"] == "similar name"
    assert 0.8 <= rows["blocks.1.k"]["sure"] <= 1
    assert document["only_b"] == []


def test_align_takes_sources_and_analyses(place: Path) -> None:
    answers = [
        accweight("align", place / left, place / right, "--json").document
        for left, right in (("deep", "shallow"), ("deep.accw", "shallow.accw"))
    ]

    for document in answers:
        matched = {m["layer_a"]: m["layer_b"] for m in document["matches"]}
        assert matched["blocks.0.up"] == "transformer.h.0.up"
        assert document["only_a"][0]["layer"] == "blocks.2.norm"


def test_align_prints_a_table_that_fits(place: Path) -> None:
    answer = accweight("align", place / "deep", place / "shallow")

    assert answer.code == 0
    assert "matched by" in answer.out
    assert "only in a" in answer.out
    assert widest(answer.out) <= 80


def test_align_writes_a_map_that_compare_takes(place: Path, tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    sides = place / "deep.accw", place / "shallow.accw"

    written = accweight("align", *sides, "-o", file)
    document = accweight("compare", *sides, "--map", file, "--json").document
    again = accweight("align", *sides, "-o", file)

    assert "map.toml written" in written.err
    assert {row["how"] for row in document["layers"]} == {"map"}
    assert len(document["layers"]) == 14
    assert "exists already; nothing is overwritten" in again.problem
