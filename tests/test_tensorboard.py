"""What is exported for TensorBoard is found in a real TensorBoard, with the numbers of the table.

It is started once, in this process, on a free port.
"""

from __future__ import annotations

import io
import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from urllib.request import urlopen

import numpy as np
import pytest
import torch
from checkpoints import states, write_run
from click.testing import CliRunner, Result
from PIL import Image

import accweight_core as aw
from accweight_core.analysis.event_log import flat_summary, tag_of, tags_of
from accweight_core.analysis.step_changes import Histogram, step_change_histograms
from accweight_core.analysis.tensorboard import write_events
from accweight_core.cli.app import application
from accweight_core.errors import (
    ArgumentTypeError,
    MismatchError,
    MissingLibraryError,
    StoreError,
    UnknownNameError,
)
from accweight_core.metrics.table import METRICS

Ask = Callable[..., Any]
LAYERS = ("conv1", "conv2", "fc1", "embed", "lstm", "fc2")


def accweight(*arguments: object, code: int = 0) -> Result:
    """Run the command, whose errors are raised, and return what it printed."""
    result = CliRunner().invoke(application(), list(map(str, arguments)))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two analyses, of files and of weights in memory."""
    folder = tmp_path_factory.mktemp("tensorboard")
    write_run(folder / "checkpoints", states(4))
    aw.analyze(aw.open_run(folder / "checkpoints"), folder / "first.accw")
    aw.analyze(aw.open_run(states(3, seed=1)), folder / "second.accw")
    return folder


@pytest.fixture(scope="module")
def document(home: Path) -> dict[str, Any]:
    """Return what the export of both says."""
    analyses = home / "first.accw", home / "second.accw"
    result = accweight("export", *analyses, "--to", "tensorboard", "-o", home / "runs", "--json")
    return dict(json.loads(result.stdout))


@pytest.fixture(scope="module")
def ask(home: Path, document: dict[str, Any]) -> Iterator[Ask]:
    """Yield what asks a TensorBoard of the exported runs, which has loaded them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard import default, program

        board = program.TensorBoard(default.get_plugins())
        options = ["--logdir", str(home / "runs"), "--host", "127.0.0.1", "--port", "0"]
        board.configure(argv=["tensorboard", *options, "--reload_interval", "0"])
        url = board.launch()
        for thread in threading.enumerate():
            if thread.name == "Reloader":
                thread.join()

    def get(route: str, **query: str) -> Any:
        with urlopen(f"{url}data/plugin/{route}?{urlencode(query)}", timeout=60) as answer:
            is_json = answer.headers.get_content_type() == "application/json"
            return json.load(answer) if is_json else answer.read()

    yield get
    with suppress(AttributeError):  # its server of data, where it has one, ends with this pipe
        board._ingester._stdin_handle.close()


def expected_tags(analysis: aw.Analysis) -> set[str]:
    layers = [row.name for row in analysis.measured()]
    table = analysis.table().groupby("layer")[list(analysis.metrics)].count() > 0
    return {f"{m}/{name}" for m in analysis.metrics for name in layers if table.loc[name, m]}


@pytest.mark.parametrize("run", ["first", "second"])
def test_both_runs_have_every_metric_of_every_layer(ask: Ask, home: Path, run: str) -> None:
    tags = set(ask("scalars/tags")[run])

    assert expected_tags(aw.open_analysis(home / f"{run}.accw")) == tags


@pytest.mark.parametrize("metric", ["mean", "relative", "update_ratio", "l2_path", "sign_flips"])
@pytest.mark.parametrize("run", ["first", "second"])
def test_the_scalars_are_the_table(ask: Ask, home: Path, run: str, metric: str) -> None:
    analysis = aw.open_analysis(home / f"{run}.accw")

    for layer, rows in analysis.table().groupby("layer"):
        defined = rows[rows[metric].notna()]
        points = ask("scalars/scalars", run=run, tag=f"{metric}/{layer}")
        assert [step for _, step, _ in points] == defined["step"].tolist()
        values = defined[metric].to_numpy(np.float32).tolist()
        assert [value for _, _, value in points] == values


def test_times_are_those_of_the_files_or_else_the_steps(ask: Ask, home: Path) -> None:
    files = sorted((home / "checkpoints").iterdir())

    first, second = (ask("scalars/scalars", run=run, tag="mean/fc1") for run in ("first", "second"))

    assert [time for time, _, _ in first] == pytest.approx([f.stat().st_mtime for f in files])
    assert [time for time, _, _ in second] == [0, 1, 2]


def test_histograms_are_of_the_exact_change_per_step(ask: Ask, home: Path) -> None:
    assert set(ask("histograms/tags")["first"]) == {f"step_change/{name}" for name in LAYERS}
    weights = [state["fc1.weight"].double().numpy() for state in states(4)]

    found = ask("histograms/histograms", run="first", tag="step_change/fc1")

    assert [step for _, step, _ in found] == [1, 2, 3]
    for _, step, bins in found:
        change = np.abs(weights[step] - weights[step - 1])
        counted = sum(count for _, _, count in bins)
        below = sum(count for _, right, count in bins if right <= change.max() / 2)
        assert counted == pytest.approx(change.size)
        assert bins[-1][1] == pytest.approx(change.max(), rel=1e-6)
        assert below == pytest.approx((change <= change.max() / 2).sum(), abs=0.06 * change.size)


def test_checkpoints_that_are_not_to_be_had_cost_the_histograms_and_a_note(
    ask: Ask, document: dict[str, Any]
) -> None:
    first, second = document["runs"]

    assert "second" not in {run for run, tags in ask("histograms/tags").items() if tags}
    assert first["notes"] == []
    assert first["histograms"] == 3 * 6
    (note,) = second["notes"]
    assert note.startswith("histograms of the step change are left out: memory")
    assert second["histograms"] == 0


def test_pictures_have_the_colours_of_the_viewer(ask: Ask, home: Path) -> None:
    tags = ask("images/tags")["first"]
    own = {f"layers/{name}" for name in ("conv1", "conv2", "fc1", "embed", "fc2")}
    assert set(tags) == own | {"layers/lstm/weight_ih_l0", "layers/lstm/weight_hh_l0"}

    series = ask("images/images", run="first", tag="layers/fc1", sample="0")

    assert [picture["step"] for picture in series] == [0, 1, 2, 3]
    content = ask("images/individualImage", **dict(parse_qsl(series[-1]["query"])))
    with Image.open(io.BytesIO(content)) as picture:
        pixels = np.asarray(picture)
    figure = aw.open_analysis(home / "first.accw").plot.layers()
    drawn = np.asarray(figure.axes[2].images[0].get_array())
    factor = pixels.shape[0] // drawn.shape[0]
    np.testing.assert_array_equal(pixels[::factor, ::factor], drawn)


def test_what_is_written_is_counted(home: Path, document: dict[str, Any]) -> None:
    analysis = aw.open_analysis(home / "first.accw")

    numbers = analysis.table()[list(analysis.metrics)]
    assert document["runs"][0]["scalars"] == int(numbers.notna().to_numpy().sum())
    assert document["runs"][0]["pictures"] == 4 * 7
    assert [Path(run["folder"]).name for run in document["runs"]] == ["first", "second"]


# --- without TensorBoard --------------------------------------------------------------------


def events_in(folder: Path) -> Any:
    """Return what TensorBoard reads from the files of a run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        return EventAccumulator(str(folder), {"images": 0, "histograms": 0}).Reload()


def scalars_in(folder: Path) -> dict[str, list[float]]:
    """Return the values of every scalar in the files of a run."""
    events = events_in(folder)
    return {tag: [e.value for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_metrics_and_rows_can_be_chosen(home: Path, tmp_path: Path) -> None:
    options = "--to", "tensorboard", "-o", tmp_path, "--by", "mean", "--by", "max"

    accweight("export", home / "second.accw", *options, "--per", "parameter", "--roles", "bias")

    tags = set(scalars_in(tmp_path / "second"))
    names = {"conv1.bias", "conv2.bias", "fc1.bias", "fc2.bias"}
    recurrent = {"lstm.bias_ih_l0", "lstm.bias_hh_l0"}
    assert tags == {f"{metric}/{name}" for metric in ("mean", "max") for name in names | recurrent}


def test_loss_and_accuracy_of_the_checkpoints_come_along(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step, state in enumerate(states(3)):
        torch.save(
            {"state_dict": state, "epoch": step, "loss": 2.0 - step}, run / f"epoch_{step}.pt"
        )
    aw.analyze(aw.open_run(run), tmp_path / "run.accw")

    accweight("export", tmp_path / "run.accw", "--to", "tensorboard", "-o", tmp_path / "runs")

    assert scalars_in(tmp_path / "runs" / "run")["training/loss"] == [2.0, 1.0, 0.0]


def test_analyses_of_one_name_get_folders_of_their_own(home: Path, tmp_path: Path) -> None:
    twice = home / "second.accw", home / "second.accw"

    result = accweight("export", *twice, "--to", "tensorboard", "-o", tmp_path, "--json")

    assert [Path(r["folder"]).name for r in json.loads(result.stdout)["runs"]] == [
        "second",
        "second-2",
    ]


def test_a_run_is_only_replaced_when_asked_and_nothing_else_ever(
    home: Path, tmp_path: Path
) -> None:
    options = home / "second.accw", "--to", "tensorboard", "-o", tmp_path
    accweight("export", *options)

    with pytest.raises(StoreError, match="second: exists already"):
        accweight("export", *options)

    accweight("export", *options, "--overwrite", "--by", "mean")
    assert len(list((tmp_path / "second").iterdir())) == 1
    assert set(scalars_in(tmp_path / "second")) == {f"mean/{n}" for n in LAYERS}
    (tmp_path / "second" / "thesis.tex").write_text("years of work")
    with pytest.raises(StoreError, match=r"holds 'thesis\.tex', which no such export has written"):
        accweight("export", *options, "--overwrite")
    assert (tmp_path / "second" / "thesis.tex").exists()


def test_a_file_is_not_replaced_by_a_run(home: Path, tmp_path: Path) -> None:
    target = tmp_path / "runs"
    target.write_text("years of work")

    with pytest.raises(StoreError, match=r"runs: cannot be written \(Not a directory\)"):
        write_events(aw.open_analysis(home / "second.accw"), target, overwrite=True)

    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_pictures_that_were_not_written_are_not_counted(tmp_path: Path) -> None:
    folder, run = tmp_path / "checkpoints", [{"a.weight": np.eye(2) * t} for t in range(3)]
    write_run(folder, run)
    aw.analyze(aw.open_run(folder), tmp_path / "run.accw", picture_budget_bytes=0)
    for path in folder.iterdir():
        path.unlink()

    written = write_events(aw.open_analysis(tmp_path / "run.accw"), tmp_path / "events")

    assert written.pictures == 0
    assert written.notes[0].startswith("some pictures are left out: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("first.accw", "second.accw", "--to", "csv"), "csv holds one analysis"),
        (("first.accw", "--to", "csv", "--by", "mean"), "csv holds one analysis"),
        (("first.accw", "--to", "tensorboard", "--out", "-"), "which stdout cannot be"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(home)

    result = accweight("export", "--out", "out", *arguments, code=2)

    assert told in " ".join(result.output.split())


def test_an_unknown_metric_is_named_before_anything_is_written(home: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no metric is called 'size'"):
        accweight(
            "export", home / "first.accw", "--to", "tensorboard", "-o", tmp_path, "--by", "size"
        )

    assert list(tmp_path.iterdir()) == []


def test_a_missing_library_names_the_extra(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)

    with pytest.raises(MissingLibraryError, match=r"pip install 'accweight\[tensorboard\]'"):
        accweight("export", home / "first.accw", "--to", "tensorboard", "-o", tmp_path / "runs")

    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_is_logged_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = aw.ChangeTracker(errors="raise")
    for step, loss in enumerate([0.5, np.inf, np.nan]):
        tracker.update({"fc.weight": np.full((2, 2), step / 4)}, loss=loss)

    written = write_events(tracker.analysis(), tmp_path / "run")

    logged = scalars_in(tmp_path / "run")["training/loss"]
    np.testing.assert_array_equal(logged, [0.5, np.inf, np.nan])
    assert written.notes[0] == (
        "loss is inf at step 1, and not finite at 2 of the 3 steps that have it: "
        "TensorBoard marks it"
    )
    assert capsys.readouterr().err == ""


# --- histograms and names -------------------------------------------------------------------


def test_a_histogram_has_the_sums_of_its_values() -> None:
    histogram = Histogram.up_to(2.0)

    histogram.add(np.array([0.0, 0.5, 2.0]))
    histogram.add(np.array([1.0, 2.0 + 1e-16]))

    assert histogram.counts[[0, 16, 32, 63]].tolist() == [1, 1, 1, 2]
    assert (histogram.least, histogram.sum, histogram.square_sum) == (0.0, 5.5, 9.25)


def test_histograms_of_nothing_that_moved_and_of_what_is_not_finite_have_all_weights() -> None:
    moved = np.array([[0.0, 1.0], [np.nan, 2.0]])
    run = aw.open_run([{"a.weight": np.ones((2, 2)), "b.weight": w} for w in (np.eye(2), moved)])

    (_, still), (_, odd) = step_change_histograms(run.checkpoints, aw.analyze(run).measured())

    assert still[0].counts[0] == 4
    assert odd[0].counts.sum() == 4
    assert odd[0].counts[0] == 1
    assert np.diff(still[0].edges).min() > 0


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("layer1.0.conv1", "layer1.0.conv1"),
        ("h/0/attn", "h/0/attn"),
        ("a b<script>:层", "a_b_script___"),
        ("/etc/../x", "_/etc/_/x"),
        ("", "_"),
    ],
)
def test_tags_have_letters_that_every_program_takes(name: str, tag: str) -> None:
    assert tag_of(name) == tag


def test_names_with_one_tag_get_different_ones() -> None:
    assert tags_of(["a b", "a_b", "a:b"]) == {"a b": "a_b", "a_b": "a_b_2", "a:b": "a_b_3"}


def test_a_flat_summary_has_a_number_per_layer_and_metric(home: Path) -> None:
    analysis = aw.open_analysis(home / "first.accw")

    summary = flat_summary(analysis.measured(), -1)

    last = analysis.ranking().set_index("layer")
    assert summary["accweight/fc1/mean"] == last.loc["fc1", "mean"]
    assert len(summary) == int(last[list(analysis.metrics)].notna().to_numpy().sum())
    assert all(type(value) is float for value in summary.values())


# --- live -----------------------------------------------------------------------------------


def writer_of(library: str, folder: Path) -> Any:
    """Return the writer of a library."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(library).SummaryWriter(str(folder))


def scalars(events: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def histograms(events: Any, tag: str) -> list[tuple[Any, ...]]:
    found = [(event.step, event.histogram_value) for event in events.Histograms(tag)]
    return [(step, h.num, h.max, *h.bucket, *h.bucket_limit) for step, h in found]


@pytest.mark.parametrize("library", ["tensorboardX", "torch.utils.tensorboard"])
def test_a_tracker_logs_what_an_export_has(
    library: str, document: dict[str, Any], tmp_path: Path
) -> None:
    tracker = aw.ChangeTracker()
    with writer_of(library, tmp_path / "live") as writer:
        tracker.log_to(writer)
        for step, state in enumerate(states(4)):
            tracker.update(state, step=step)

    live, exported = events_in(tmp_path / "live"), events_in(Path(document["runs"][0]["folder"]))
    assert live.Tags()["scalars"] == exported.Tags()["scalars"]
    for tag in exported.Tags()["scalars"]:
        assert scalars(live, tag) == scalars(exported, tag)
    assert set(live.Tags()["histograms"]) == set(exported.Tags()["histograms"])
    for tag in exported.Tags()["histograms"]:
        assert histograms(live, tag) == histograms(exported, tag)
    assert set(live.Tags()["images"]) == set(exported.Tags()["images"])
    assert [e.step for e in live.Images("layers/fc1")] == [1, 2]


class Recorder:
    """A writer with the three methods that are asked for."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, int]] = []
        self.values: dict[str, np.ndarray] = {}

    def add_scalar(self, tag: str, value: float, global_step: int) -> None:
        self.logged.append((tag, global_step))

    def add_histogram(self, tag: str, values: np.ndarray, global_step: int) -> None:
        self.logged.append((tag, global_step))
        self.values[tag] = values

    def add_image(self, tag: str, image: np.ndarray, global_step: int, dataformats: str) -> None:
        self.logged.append((tag, global_step))
        assert image.shape[2] == 3
        assert dataformats == "HWC"


def test_any_writer_with_three_methods_will_do() -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder, metrics=["mean"])

    for step in range(6):
        tracker.update({"fc.weight": np.full((3, 4), step * 0.5)}, step=10 * step)

    logged = recorder.logged
    assert [step for tag, step in logged if tag == "mean/fc"] == [0, 10, 20, 30, 40, 50]
    assert [step for tag, step in logged if tag == "step_change/fc"] == [10, 20, 30, 40, 50]
    assert [step for tag, step in logged if tag == "layers/fc"] == [10, 20, 40]
    assert recorder.values["step_change/fc"] == pytest.approx(np.full(12, 0.5), rel=1 / 64)


def test_figures_of_an_update_are_logged_with_it() -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder, metrics=["mean"])

    tracker.update({"fc.weight": np.zeros((3, 4))}, step=5, loss=2.0)
    tracker.update({"fc.weight": np.ones((3, 4))}, step=9)

    assert [logged for logged in recorder.logged if logged[0] == "training/loss"] == [
        ("training/loss", 5)
    ]


def test_a_writer_that_fails_does_not_stop_training(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder)

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    recorder.add_scalar = disk_full  # type: ignore[method-assign]
    for state in states(3):
        tracker.update(state)

    assert len(tracker.analysis().steps) == 3
    assert "this update is not logged" in caplog.text


def test_histograms_begin_with_the_first_update_whose_change_is_known() -> None:
    states = [{"fc.weight": np.full((2, 2), value)} for value in (0.0, 4.0, 5.0, 7.0)]
    late, resumed = Recorder(), Recorder()
    tracker = aw.ChangeTracker().update(states[0]).update(states[1]).log_to(late)
    again = aw.ChangeTracker().load_state_dict(tracker.state_dict()).log_to(resumed)

    for state in states[2:]:
        tracker.update(state)
        again.update(state)

    for recorder in (late, resumed):
        assert [step for tag, step in recorder.logged if tag == "step_change/fc"] == [3]
        assert recorder.values["step_change/fc"] == pytest.approx(np.full(4, 2.0), rel=1 / 64)


def test_an_update_that_was_not_logged_costs_the_next_histogram_alone() -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder, metrics=["mean"])
    add_histogram = recorder.add_histogram

    def disk_full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    for step, value in enumerate((0.0, 1.0, 5.0, 6.0, 9.0)):
        recorder.add_histogram = disk_full if step == 2 else add_histogram  # type: ignore[method-assign]
        tracker.update({"fc.weight": np.full((2, 2), value)})

    assert [step for tag, step in recorder.logged if tag == "step_change/fc"] == [1, 4]
    assert recorder.values["step_change/fc"] == pytest.approx(np.full(4, 3.0), rel=1 / 64)


def test_a_tracker_that_was_reset_logs_another_run() -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder, metrics=["mean"])
    for value in (0.0, 1.0):
        tracker.update({"fc.weight": np.full((2, 2), value)})

    tracker.reset()
    for value in (7.0, 9.0):
        tracker.update({"conv.weight": np.full((2, 2), value)})

    assert recorder.values["step_change/conv"] == pytest.approx(np.full(4, 2.0), rel=1 / 64)


def test_histograms_and_pictures_can_be_left_out() -> None:
    recorder = Recorder()
    tracker = aw.ChangeTracker().log_to(recorder, histograms=False, pictures=False)

    for state in states(3):
        tracker.update(state)

    assert {tag.partition("/")[0] for tag, _ in recorder.logged} == set(METRICS)


def test_what_is_no_writer_is_refused() -> None:
    with pytest.raises(ArgumentTypeError, match="got str, which has no add_scalar"):
        aw.ChangeTracker().log_to("runs")
    with pytest.raises(UnknownNameError, match="no metric is called 'size'"):
        aw.ChangeTracker().log_to(Recorder(), metrics=["size"])


def test_a_summary_before_any_update_is_empty_unless_errors_are_to_be_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert aw.ChangeTracker().summary() == {}
    assert "no update yet, so there is nothing to sum up; the summary is empty" in caplog.text
    with pytest.raises(MismatchError, match="no update yet"):
        aw.ChangeTracker(errors="raise").summary()


def test_the_summary_of_a_tracker_is_that_of_its_analysis() -> None:
    tracker = aw.ChangeTracker()
    for state in states(3):
        tracker.update(state)

    assert tracker.summary() == flat_summary(tracker.analysis().measured(), -1)
    assert json.loads(json.dumps(tracker.summary())) == tracker.summary()
