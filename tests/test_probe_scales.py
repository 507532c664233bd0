"""Scales of probes: one for figures and pages, from all steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from probe_networks import probed, stack, steps_of
from probe_results import field, stored_results

import accweight_core as aw
from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.analysis.probe_results import ProbeResult
from accweight_core.analysis.probe_scales import curve_scale
from accweight_core.reports.probe_views import Room, view_of
from accweight_core.store.probe_store import ProbeDocument, ProbeStore

STEPS = tuple(range(5))


@pytest.fixture
def uneven(tmp_path: Path) -> ProbeResult:
    """Return a result whose largest and smallest cells are at steps that figures leave out."""
    out = stored_results(tmp_path / "run.accw")
    fields = (
        field("left", "step unit side", (0, 2, 2)),
        field("loss", "step", (0,)),
        field("agreement", "step", (0,)),
    )
    document = ProbeDocument(probe="spans", version=1, options={}, steps=STEPS, fields=fields)
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step, (cell, loss) in enumerate(
        zip([1, 7, 2, -3, 1], [9, 1, 0.1, 0.01, 0.001], strict=True)
    ):
        values = {"left": np.full((2, 2), cell), "loss": np.array(loss), "agreement": np.nan}
        store.write_step(step, {name: np.asarray(one, np.float64) for name, one in values.items()})
    store.write_final({})
    return aw.open_analysis(out).probes["spans"]


def test_a_matrix_has_the_scale_of_all_steps_in_the_figure_and_on_the_page(
    uneven: ProbeResult,
) -> None:
    view = view_of(uneven, "left", Room())
    drawn = figures_of(uneven)["left"]()

    assert view is not None
    assert (view["low"], view["high"]) == (-3, 7)
    assert "from -3 (dark) to 7 (bright)" in " ".join(text.get_text() for text in drawn.texts)


def test_a_curve_is_logarithmic_in_the_figure_and_on_the_page(uneven: ProbeResult) -> None:
    view = view_of(uneven, "loss", Room())
    drawn = figures_of(uneven)["steps"]()

    assert view is not None
    (chart,) = view["charts"]
    (panel,) = drawn.axes
    assert chart["log"]
    assert panel.get_yscale() == "log"
    assert panel.get_ylim() == pytest.approx(chart["range"])
    assert list(panel.get_yticks()) == pytest.approx([0.001, 0.01, 0.1, 1, 10])


def test_a_figure_names_curves_without_numbers(uneven: ProbeResult) -> None:
    drawn = figures_of(uneven)["steps"]()

    assert len(drawn.axes) == 1
    assert "without numbers here: agreement" in {text.get_text() for text in drawn.texts}


def test_curves_begin_at_0_unless_that_costs_much() -> None:
    assert curve_scale(np.array([4.0, 10.0, np.nan])).low == 0
    assert curve_scale(np.array([9.0, 10.0])).low == pytest.approx(8.96)
    assert curve_scale(np.array([2.0, 2.0]))[:2] == pytest.approx((0, 2.2))
    assert curve_scale(np.array([np.nan]))[:2] == (0, 1)


def test_a_figure_without_any_number_says_so(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("purity", "step layer", (0, 3)),)
    document = ProbeDocument("spans", 1, {}, STEPS, fields)
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        store.write_step(step, {"purity": np.full(3, np.nan)})

    drawn = figures_of(aw.open_analysis(out).probes["spans"])["layers"]()

    assert "without numbers here: purity" in {text.get_text() for text in drawn.texts}


def test_rounding_is_no_range_of_a_scale() -> None:
    assert curve_scale(np.array([1 - 1e-11, 1.0]))[:2] == pytest.approx((0, 1.1))
    assert curve_scale(np.array([1 - 1e-6, 1.0])).low > 0.999
    assert curve_scale(np.array([-1e-30, 1e-30])).low < 0


def test_large_numbers_above_points_are_not_cut(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (
        field("coordinates", "step point coordinate", (0, 3, 2)),
        field("trustworthiness", "step", (0,)),
        field("purity", "step", (0,)),
        field("jump", "step", (0,)),
    )
    document = ProbeDocument(probe="spans", version=1, options={}, steps=STEPS, fields=fields)
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        found = {"trustworthiness": 0.999, "purity": 0.123, "jump": 1097.4}
        values = {name: np.asarray(one) for name, one in found.items()}
        store.write_step(step, {"coordinates": np.eye(3)[:, :2], **values})
    store.write_final({})

    drawn = figures_of(aw.open_analysis(out).probes["spans"])["coordinates"]()

    assert "trust 1, purity 0.12, jump 1097" in {text.get_text() for text in drawn.texts}


def test_a_sheet_of_many_pictures_has_the_last_one(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("images", "step unit height width channel", (0, 20, 4, 4, 1), "uint8"),)
    names = (*(f"u{at}" for at in range(19)), "all")
    document = ProbeDocument(
        probe="planes", version=1, options={}, steps=STEPS, fields=fields, labels={"unit": names}
    )
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        store.write_step(step, {"images": np.zeros((20, 4, 4, 1), np.uint8)})
    store.write_final({})

    drawn = figures_of(aw.open_analysis(out).probes["planes"])["images"]()
    written = [text.get_text() for text in drawn.texts]

    assert {"u0", "u14", "all"} <= set(written)
    assert "u15" not in written


def test_pictures_on_scales_of_their_own_are_not_said_to_share_one(tmp_path: Path) -> None:
    module = stack(2, 2)
    states = steps_of(module, 12)
    for step, state in enumerate(states):
        state["0.weight"] = (step + 1) * torch.eye(2) * torch.tensor([[1.0], [50.0]])

    found = probed(tmp_path, module, states, np.ones((2, 2), np.float32), "feature_visualization")
    drawn = figures_of(found)["images"]()
    written = {text.get_text() for text in drawn.texts}

    images = found.array("images")
    assert images.max(axis=(0, 2, 3, 4)).tolist() == [255, 255], "each reaches its own largest"
    assert images[0].max() < 160, "and is pale at a step at which it is small"
    assert "grey is 0; each picture has a scale of its own, the same at all steps" in written
    assert "2 steps between are not shown" in written


@pytest.mark.parametrize("steps", [11, 10])
def test_a_sheet_leaves_out_what_is_blank_and_counts_the_steps_between(
    tmp_path: Path, steps: int
) -> None:
    fields = (field("images", "step unit height width channel", (0, 3, 4, 4, 1), "uint8"),)
    document = ProbeDocument(
        probe="planes", version=1, options={}, steps=tuple(range(steps)), fields=fields,
        labels={"unit": ("a", "never", "c")}, attributes={"blank": 255},
    )  # fmt: skip
    out = stored_results(tmp_path / "run.accw")
    store = ProbeStore.begun(out, "00112233aabb", document)
    pictures = np.full((3, 4, 4, 1), 255, np.uint8)
    pictures[0], pictures[2, 0] = 0, 7
    for step in range(steps):
        store.write_step(step, {"images": pictures})
    store.write_final({})

    drawn = figures_of(aw.open_analysis(out).probes["planes"])["images"]()
    written = [text.get_text() for text in drawn.texts]

    assert {"a", "c"} <= set(written)
    assert "never" not in written
    assert ("1 step between is not shown" in written) == (steps == 11)


def test_a_median_and_its_bounds_are_one_chart(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = tuple(field(name, "step", (0,)) for name in ("median", "low", "high"))
    document = ProbeDocument(
        probe="spans", version=1, options={}, steps=STEPS, fields=fields,
        attributes={"bands": {"median": ["low", "high"]}},
    )  # fmt: skip
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        values = {"median": 4.0 + step, "low": 3.0, "high": 30.0 + step}
        store.write_step(step, {name: np.asarray(one) for name, one in values.items()})
    found = aw.open_analysis(out).probes["spans"]

    view = view_of(found, "median", Room())
    drawn = figures_of(found)["steps"]()

    assert view is not None
    (chart,) = view["charts"]
    assert chart["band"] == [[3] * 5, [30, 31, 32, 33, 34]]
    assert chart["range"][1] > 34, "the band has room"
    (panel,) = drawn.axes
    assert len(panel.lines) == len(panel.collections) == 1
    assert panel.get_ylim() == pytest.approx(chart["range"])


@pytest.mark.parametrize(("count", "rotation", "shown"), [(4, 0, 4), (21, 90, 21), (60, 0, 3)])
def test_every_column_has_its_name_up_to_a_number(
    tmp_path: Path, count: int, rotation: int, shown: int
) -> None:
    out = stored_results(tmp_path / "run.accw")
    names = tuple(f"{'class' if count > 4 else 'c'} {at}" for at in range(count))
    document = ProbeDocument(
        probe="spans", version=1, options={}, steps=STEPS,
        fields=(field("answers", "step unit subset", (0, 3, count)),), labels={"subset": names},
    )  # fmt: skip
    store = ProbeStore.begun(out, "00112233aabb", document)
    store.write_step(0, {"answers": np.arange(3.0 * count).reshape(3, count)})

    drawn = figures_of(aw.open_analysis(out).probes["spans"])["answers"]()
    heads = drawn.axes[0].get_xticklabels()

    assert {head.get_rotation() for head in heads} == {rotation}
    assert (len(heads) == count) == (count == shown)
    written = " ".join(text.get_text() for text in drawn.texts)
    assert ("1 subset of " in written) == (count != shown)
