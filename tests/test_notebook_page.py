"""An analysis shows itself in a notebook: its own numbers, nothing from outside, names as text."""

from __future__ import annotations

import io
import re
import sys
from base64 import b64decode
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from checkpoints import states
from PIL import Image

import accweight_core as aw
from accweight_core.colours.png import indexed_png
from accweight_core.colours.scale import colour_table

HOSTILE = '</td><script>alert(1)</script>" onload="x\x1b[31m.weight'
ALLOWED = {"div", "style", "b", "table", "tbody", "tr", "th", "td", "span", "i", "img", "svg",
           "polyline"}  # fmt: skip


class Page(HTMLParser):
    """The tags, attributes and rows of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data

    @property
    def pictures(self) -> list[np.ndarray]:
        """The pictures, as (rows, columns, red green blue and opacity)."""
        sources = [value for name, value in self.attributes if name == "src"]
        content = [b64decode(source.removeprefix("data:image/png;base64,")) for source in sources]
        return [np.asarray(Image.open(io.BytesIO(one)).convert("RGBA")) for one in content]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a stored analysis of a network with a layer of most kinds."""
    out = tmp_path_factory.mktemp("page") / "run.accw"
    aw.analyze(aw.open_run(states(4)), out)
    return out


def test_the_page_has_the_ranking(path: Path) -> None:
    analysis = aw.open_analysis(path)

    page = Page(analysis._repr_html_())

    ranking = analysis.ranking()
    heads, *rows = page.rows
    assert [row[heads.index("layer")] for row in rows] == ranking["layer"].tolist()
    assert [float(row[heads.index("relative")]) for row in rows] == pytest.approx(
        ranking["relative"].tolist(), rel=1e-3
    )
    widths = [float(w) for name, v in page.attributes for w in re.findall(r"width:([\d.]+)%", v)]
    assert widths == pytest.approx(
        (100 * ranking["relative"] / ranking["relative"].max()).tolist(), abs=0.1
    )


def test_the_pictures_of_a_page_are_those_of_the_figure(path: Path) -> None:
    analysis = aw.open_analysis(path)

    pictures = Page(analysis._repr_html_()).pictures

    drawn = [np.asarray(axes.images[0].get_array()) for axes in analysis.plot.layers().axes]
    shapes = sorted(picture.shape[:2] for picture in pictures)
    assert len(pictures) == 6
    assert shapes == sorted(picture.shape[:2] for at, picture in enumerate(drawn) if at != 5)
    for picture in pictures:
        same = [d for d in drawn if d.shape[:2] == picture.shape[:2]]
        opaque = picture[..., 3] == 255
        assert any(np.array_equal(picture[opaque][:, :3], d[opaque]) for d in same)


def test_a_page_needs_no_library_for_figures_and_no_network(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("matplotlib", "PIL"):
        monkeypatch.setitem(sys.modules, name, None)

    text = aw.open_analysis(path)._repr_html_()

    page = Page(text)
    assert page.tags <= ALLOWED
    assert "http" not in text
    assert "url(" not in text
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_names_from_files_are_text_and_nothing_else() -> None:
    series = [{HOSTILE: np.full((2, 2), 1 + t / 2), "b.weight": np.ones((2, 2))} for t in range(3)]

    page = Page(aw.analyze(aw.open_run(series))._repr_html_())

    assert page.tags <= ALLOWED
    assert not any(name.startswith("on") for name, _ in page.attributes)
    titles = [value for name, value in page.attributes if name == "title"]
    assert titles[0] == HOSTILE.removesuffix(".weight").replace("\x1b", "\\x1b")


def test_a_page_of_hundreds_of_layers_stays_small() -> None:
    rng = np.random.default_rng(0)
    walk = rng.normal(size=(20, 300, 40, 40)).astype(np.float32).cumsum(axis=0)
    series = [{f"h.{n}.w.weight": step[n] for n in range(300)} for step in walk]

    text = aw.analyze(aw.open_run(series))._repr_html_()

    page = Page(text)
    assert len(text) < 200_000
    assert len(page.pictures) == len(page.rows) - 1 == 24
    assert "276 more layers" in text


def test_checkpoints_that_are_gone_cost_the_pictures_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in range(3):
        np.savez(run / f"step_{step}.npz", **{"fc.weight": np.full((3, 3), step / 3)})
    aw.analyze(aw.open_run(run), tmp_path / "run.accw", picture_budget_bytes=0)
    with_files = Page(aw.open_analysis(tmp_path / "run.accw")._repr_html_())
    for file in run.iterdir():
        file.unlink()

    without = Page(aw.open_analysis(tmp_path / "run.accw")._repr_html_())

    assert len(with_files.pictures) == 1
    assert without.pictures == []
    assert without.rows[1][1:] == with_files.rows[1][1:]


def test_a_model_in_training_shows_itself() -> None:
    tracker = aw.ChangeTracker()
    for step, state in enumerate(states(3)):
        tracker.update(state, step=step)

    page = Page(tracker.analysis()._repr_html_())

    assert len(page.rows) == 7
    assert len(page.pictures) == 6


def test_an_analysis_without_rows_shows_itself() -> None:
    empty = aw.analyze(aw.open_run([{"w.weight": np.zeros((0, 3))}] * 2))

    assert len(Page(empty._repr_html_()).rows) == 1


def test_a_png_has_the_colours_of_the_map_and_holes_where_no_weight_is() -> None:
    entries = np.array([[0, 254, 255], [128, 1, 0]], np.uint8)
    colours = colour_table("viridis")

    with Image.open(io.BytesIO(indexed_png(entries, colours))) as image:
        pixels = np.asarray(image.convert("RGBA"))

    there = entries < 255
    assert pixels[there][:, :3].tolist() == colours[entries[there]].tolist()
    assert (pixels[..., 3] == np.where(there, 255, 0)).all()
