"""What probes found, on a page and in the report: every kind of result, whatever names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser_pages import Tags
from click.testing import CliRunner
from probe_networks import write_states
from probe_results import HOSTILE, STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.probe_kinds import ResultKind, kind_of
from accweight_core.cli.app import application
from accweight_core.colours.png import pixel_png
from accweight_core.colours.themes import DARK, LIGHT
from accweight_core.errors import UnknownNameError
from accweight_core.pictures.sprites import sprite
from accweight_core.probes.options import parsed_probe, spec_of, values_of
from accweight_core.reports.probe_page import probe_page
from accweight_core.reports.probe_views import Room, view_of
from accweight_core.samples.pictures import sample_pictures
from accweight_core.samples.samples import Data
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with results of every kind, under hostile names."""
    return stored_results(tmp_path_factory.mktemp("page") / "run.accw")


@pytest.fixture(scope="module")
def page(analysed: Path) -> str:
    """Return the page of these results."""
    results = list(aw.open_analysis(analysed).probes.values())
    path = probe_page(results, analysed.parent / "page.html", command="accweight probe run.accw")
    return path.read_text("utf-8")


def data_in(page: str) -> list[Any]:
    text = page.split('id="probe-data">')[1].split("</script>")[0]
    found: list[Any] = json.loads(text)
    return found


def test_every_kind_of_result_is_shown(page: str) -> None:
    ((everything,),) = data_in(page)

    kinds = {ResultKind(view["kind"]) for view in everything["views"]}
    assert kinds == set(ResultKind) - {
        ResultKind.POINTS,  # which its stages show as well
        ResultKind.LINKS,  # of no network
    }
    assert everything["steps"] == [0, 10, 40]


def test_the_page_needs_nothing_from_elsewhere(page: str) -> None:
    tags = Tags(page).found

    sources = [value for _, at in tags for name, value in at.items() if name in ("src", "href")]
    assert all(source.startswith(("#", "data:image/png;base64,")) for source in sources if source)
    assert "@import" not in page
    assert "url(" not in page
    policy = next(at["content"] for _, at in tags if "http-equiv" in at)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_a_hostile_name_of_a_layer_or_class_is_text(page: str) -> None:
    tags = Tags(page)

    assert [at for tag, at in tags.found if tag == "img" and at.get("src") == "x"] == []
    assert sum(tag == "script" for tag, _ in tags.found) == 3
    assert "\x1b" not in page
    assert HOSTILE not in page
    ((everything,),) = data_in(page)
    views = {view["kind"]: view for view in everything["views"]}
    assert HOSTILE in views["layers"]["labels"]
    assert HOSTILE in views["stages"]["names"]


def test_the_report_shows_the_same_results(analysed: Path) -> None:
    report = aw.report(analysed, out=analysed.parent / "report.html").read_text("utf-8")

    (probes,) = data_in(report)
    assert [probe["name"] for probe in probes] == ["everything"]
    assert "What the network does" in report
    assert "<h3>everything" in report
    text = aw.report(analysed, out=analysed.parent / "r.json", form="json").read_text("utf-8")
    (run,) = json.loads(text)["runs"]
    shown = aw.report(analysed, out=analysed.parent / "r.md", form="md").read_text("utf-8")
    assert "| everything | node=" in shown
    assert run["probes"][0]["table"]["rows"][0][1] == pytest.approx(0.3)


def test_a_damaged_result_costs_its_own_section_alone(analysed: Path, tmp_path: Path) -> None:
    copy = stored_results(tmp_path / "run.accw")
    (group,) = (copy / "probes").glob("everything-*/zarr.json")
    group.write_text("{")

    report = aw.report(copy, out=tmp_path / "report.html").read_text("utf-8")

    assert "cannot be read" in report.rsplit("What the network does")[-1]


def test_a_view_has_fewer_steps_rather_than_more_than_its_room(analysed: Path) -> None:
    result = aw.open_analysis(analysed).probes["everything"]

    whole = view_of(result, "loss", Room())
    narrow = view_of(result, "images", Room(pixels=1, units=2))

    assert whole is not None
    assert whole["charts"][0]["lines"] == [[2.0, 1.0, 0.5]]
    assert narrow is not None
    assert len(narrow["sheets"]) == 3  # at least eight steps are kept
    assert (len(narrow["labels"]), narrow["left_out"]) == (2, "10 more are not shown")


def test_curves_without_a_number_are_named_instead_of_drawn_as_empty_charts(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("overlap", "step", (0,)), field("by_chance", "step", (0,)))
    document = ProbeDocument(probe="spans", version=1, options={}, steps=STEPS, fields=fields)
    store = ProbeStore.begun(out, "00112233aabb", document)
    for step in STEPS:
        store.write_step(step, {"overlap": np.array(step / 40), "by_chance": np.array(np.nan)})
    store.write_final({})

    view = view_of(aw.open_analysis(out).probes["spans"], "overlap", Room())

    assert view is not None
    assert [chart["name"] for chart in view["charts"]] == ["overlap"]
    assert view["left_out"] == "without numbers here: by chance"


def test_the_command_writes_the_page_and_says_how_it_was_made(
    tmp_path: Path,
) -> None:
    states = [{"fc.weight": torch.eye(3) * step, "fc.bias": torch.ones(3)} for step in (1, 2, 4)]
    analysed, out = tmp_path / "run.accw", str(tmp_path / "page.html")
    aw.analyze(aw.open_run(write_states(tmp_path / "run", states)), analysed)
    given = ["probe", str(analysed), "--probe", "trajectory:components=2", "--html", out]

    answer = CliRunner().invoke(application(), [*given, "--json"], prog_name="accweight")

    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["html"] == out
    text = Path(out).read_text("utf-8")
    assert '<span class="word">--html</span>' in text, "a browser breaks lines at hyphens"
    words = Tags(text).words
    assert f"accweight probe {analysed} --probe trajectory:components=2 --html {out}" in words
    assert f"accweight probe {analysed} --probe trajectory:components=2\n" in words


# ---------------------------------------------------------------- kinds, texts, pictures


@pytest.mark.parametrize(
    ("axes", "dtype", "kind"),
    [
        (("step",), "float64", ResultKind.NUMBERS),
        (("step", "layer"), "float64", ResultKind.LAYERS),
        (("step", "class"), "float64", ResultKind.ROWS),
        (("step", "component"), "float64", ResultKind.PATH),
        (("step", "bound"), "float64", None),
        (("step", "height", "width"), "uint8", ResultKind.PICTURES),
        (("step", "unit", "height", "width", "channel"), "uint8", ResultKind.PICTURES),
        (("step", "unit", "height", "width", "channel"), "float32", None),
        (("step", "point", "feature"), "float32", None),
        (("parameter", "step", "step"), "float64", None),
    ],
)
def test_the_kind_of_an_array_is_that_of_its_axes(
    axes: tuple[str, ...], dtype: Any, kind: ResultKind | None
) -> None:
    field = FieldDocument("a", axes, (2,) * len(axes), dtype, "", False)

    assert kind_of(field) is kind


@pytest.mark.parametrize(
    "text", ["filters", "embedding:layer=fc1,method=tsne", "activations:rows=3+17,node=a.b"]
)
def test_the_text_of_a_probe_asks_for_the_same_probe(text: str) -> None:
    probe = parsed_probe(text)

    again = parsed_probe(spec_of(probe.name, values_of(probe)))

    assert values_of(again) == values_of(probe)


def samples(x: np.ndarray[Any, Any]) -> Data:
    return Data((x,), np.zeros((len(x), 0)), Path("x.npz"))


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((5, 1, 28, 28), (28, 28, 1)),
        ((5, 3, 96, 64), (32, 21, 3)),
        ((5, 20, 30, 3), (20, 30, 3)),
        ((5, 64), (8, 8, 1)),
        ((5, 65), None),
        ((5, 7), None),
    ],
)
def test_samples_are_pictures_if_they_have_such_a_shape(
    shape: tuple[int, ...], size: tuple[int, ...] | None
) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype("f4")

    found = sample_pictures(samples(x), np.array([1, 3]))

    assert (None if found is None else found.shape) == (size and (2, *size))


def test_pictures_of_samples_share_one_scale_and_keep_bytes() -> None:
    x = np.zeros((2, 1, 8, 8), "f4")
    x[0, 0, 0, 0], x[1, 0, 0, 0] = -1, 3
    bytes_ = np.arange(128, dtype=np.uint8).reshape(2, 8, 8)

    scaled = sample_pictures(samples(x), np.arange(2))
    kept = sample_pictures(samples(bytes_), np.arange(2))

    assert scaled is not None
    assert scaled[:, 0, 0, 0].tolist() == [0, 255]
    assert scaled[0, 1, 1, 0] == 64
    assert kept is not None
    np.testing.assert_array_equal(kept[..., 0], bytes_)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_has_the_pixels_of_its_pictures(channels: int) -> None:
    image = pytest.importorskip("PIL.Image")
    import io

    pictures = np.random.default_rng(0).integers(0, 256, (5, 3, 4, channels)).astype(np.uint8)

    whole, columns = sprite(pictures)
    read = np.asarray(image.open(io.BytesIO(pixel_png(whole)))).reshape(whole.shape)

    for at, picture in enumerate(pictures):
        row, column = divmod(at, columns)
        np.testing.assert_array_equal(
            read[row * 3 : row * 3 + 3, column * 4 : column * 4 + 4], picture
        )


SIMULATED: Mapping[str, list[list[float]]] = {
    "none": np.eye(3).tolist(),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def seen(colours: list[str], matrix: list[list[float]]) -> np.ndarray[Any, Any]:
    """Return colours in OKLab as someone with a colour blindness sees them."""
    rgb = np.array([[int(c[at : at + 2], 16) / 255 for at in (1, 3, 5)] for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(matrix).T, 0, 1)
    cones = (
        linear
        @ np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]]).T
    )
    found: np.ndarray[Any, Any] = (
        np.cbrt(cones)
        @ np.array(
            [[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]]
        ).T
    )
    return found


def least_difference(colours: list[str]) -> float:
    found = [seen(colours, matrix) for matrix in SIMULATED.values()]
    pairs = np.triu_indices(len(colours), 1)
    return float(min(np.linalg.norm(a[pairs[0]] - a[pairs[1]], axis=1).min() for a in found))


@pytest.mark.parametrize("theme", [DARK, LIGHT])
def test_colours_of_classes_differ_for_colour_blind_people_too(theme: Any) -> None:
    usual = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"]  # half of Matplotlib's

    least = least_difference([*theme.classes, theme.page])

    assert least > 1.5 * least_difference([*usual, theme.page])
    assert len(set(theme.classes)) == 10


# Numbers of a probe as a metric


def test_a_number_of_the_whole_network_is_not_said_to_be_unknown(analysed: Path) -> None:
    with pytest.raises(UnknownNameError, match="a number of the whole network, not one per layer"):
        aw.open_analysis(analysed).ranking("everything.loss")
