"""Names of results in files and tags: none leaves its folder or takes another's place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_results import POINTS, STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.figures import film
from accweight_core.analysis.figures.of_probes.beside import figures_beside
from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.analysis.probe_log import log_probes
from accweight_core.analysis.probe_names import in_files
from accweight_core.analysis.probe_pairs import ProbePair
from accweight_core.analysis.projector import write_projector
from accweight_core.cli.probes import write_figures, write_movies
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore

ODD = (
    "a/b",
    "a b",
    "A b",
    "../../a",
    "a=b",
    "a\nb",
    "a\x1b[2J",
    "😀",
    "😁",
    "n" * 300,
    "n" * 301,
    ".",
)

LOSS = field("loss", "step", (0,))
PLACES = field("places", "step point coordinate", (0, POINTS, 2))


def store(analysis: Path, number: int, *fields: FieldDocument, **options: Any) -> None:
    """Store ones, of a probe that another package may have."""
    document = ProbeDocument("odd", 1, options, STEPS, fields, number=number)
    found = ProbeStore.begun(analysis, f"{number:012x}", document)
    for step in STEPS:
        found.write_step(step, {one.name: np.ones(one.shape[1:]) for one in fields})


@pytest.fixture
def analysis(tmp_path: Path) -> aw.Analysis:
    """An analysis with a result per odd option."""
    out = stored_results(tmp_path / "run.accw")
    for number, of in enumerate(ODD):
        store(out, number, LOSS, PLACES, of=of)
    return aw.open_analysis(out)


def odd(analysis: aw.Analysis) -> dict[str, Any]:
    return {name: one for name, one in analysis.probes.items() if one.name == "odd"}


def test_no_figure_takes_the_place_of_another(analysis: aw.Analysis, tmp_path: Path) -> None:
    results = odd(analysis)

    written = write_figures(results, str(tmp_path / "figures"))

    assert len(results) == len(ODD)
    assert len({path.name.lower() for path in written}) == 2 * len(ODD)
    assert sorted(written) == sorted((tmp_path / "figures").iterdir())


def test_no_figure_of_two_runs_takes_the_place_of_another(analysis: aw.Analysis) -> None:
    found = figures_beside({name: ProbePair(one, one) for name, one in odd(analysis).items()})

    assert len({name.lower() for name in found}) == 2 * len(ODD)


def test_no_movie_takes_the_place_of_another(
    analysis: aw.Analysis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(film.FRAMES_PER_SECOND, ".gif", 1)
    some = dict(list(odd(analysis).items())[:3])
    (tmp_path / "films").mkdir()

    written = write_movies(some, tmp_path / "films" / "run.gif")

    assert [path.name for path in written] == [
        "run-odd-of-a-b-places.gif",
        "run-odd-of-a-b-2-places.gif",
        "run-odd-of-A-b-3-places.gif",
    ]
    assert sorted(written) == sorted((tmp_path / "films").iterdir())


def test_each_result_has_its_own_folder_in_the_projector(
    analysis: aw.Analysis, tmp_path: Path
) -> None:
    written = write_projector(analysis, tmp_path / "vectors")

    assert len({one.lower() for one in written.tensors}) == len(written.tensors)
    assert len(written.tensors) == (len(ODD) + 1) * len(STEPS)
    tables = [path.parent for path in (tmp_path / "vectors").rglob("tensors.tsv")]
    assert {path.relative_to(tmp_path / "vectors").as_posix() for path in tables} == set(
        written.tensors
    )


def test_arrays_of_one_result_have_their_own_tables_in_the_projector(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    axes = "step point feature"
    store(out, 1, field("one", axes, (0, POINTS, 2)), field("two", axes, (0, POINTS, 3)))

    tensors = write_projector(aw.open_analysis(out), tmp_path / "vectors").tensors

    assert len(set(tensors)) == len(tensors) == 3 * len(STEPS)
    assert {"0/odd", "0/odd-two"} <= set(tensors)


def test_each_number_has_its_own_tag(analysis: aw.Analysis) -> None:
    class Writer:
        """A writer that keeps tags."""

        def __init__(self) -> None:
            self.tags: list[tuple[str, int]] = []

        def add_scalar(self, tag: str, _: float, *, global_step: int, **__: Any) -> None:
            self.tags.append((tag, global_step))

        add_histogram = add_image = add_scalar

    writer: Any = Writer()

    log_probes(writer, odd(analysis), {})

    assert len(set(writer.tags)) == len(writer.tags) == len(ODD) * len(STEPS)


def test_figures_of_axes_stay_in_the_folder_and_beside_those_of_arrays(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    rows = (field("a", "step ../../away", (0, 2)), field("b", "step grid", (0, 2)))
    store(out, 1, *rows, field("grid", "step point coordinate", (0, POINTS, 2)))
    result = aw.open_analysis(out).probes["odd"]

    written = write_figures({"odd": result}, str(tmp_path / "figures"))

    assert list(figures_of(result)) == [".._.._away", "grid", "grid_2"]
    assert {path.parent for path in written} == {tmp_path / "figures"}
    assert sorted(written) == sorted((tmp_path / "figures").iterdir())


def test_names_that_differ_keep_their_names() -> None:
    assert in_files(["pca", "pca:of=x"]) == {"pca": "pca", "pca:of=x": "pca-of-x"}
