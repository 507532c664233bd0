"""Probes as such: how they are named, asked for, run, stored, continued; what third parties add."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner
from probe_networks import Classifier, Plain, digits, trained, write_states
from probe_results import stored_results

import accweight_core as aw
from accweight_core.cli import probing
from accweight_core.cli.app import application, run
from accweight_core.cli.probes import page
from accweight_core.cli.tables import Table
from accweight_core.errors import (
    ArgumentValueError,
    MismatchError,
    StoreError,
    UnknownNameError,
)
from accweight_core.probes.options import options_of, parsed_probe
from accweight_core.probes.probe import (
    RUNS_NETWORK,
    Batch,
    Field,
    Needs,
    Probe,
    Schema,
    Step,
    option,
)
from accweight_core.probes.registry import probes
from accweight_core.probes.steps import chosen_steps
from accweight_core.store.probe_store import FieldDocument, ProbeDocument, ProbeStore


@pytest.fixture(autouse=True)
def fresh_probes() -> Iterator[None]:
    """Look plug-ins up anew for each test, and after it."""
    probes.cache_clear()
    yield
    probes.cache_clear()


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of a classifier of digits, and the data beside them."""
    torch.manual_seed(0)
    folder, (x, y) = tmp_path_factory.mktemp("run"), digits()
    np.savez(folder / "digits.npz", x=x, y=y)
    write_states(folder / "checkpoints", trained(Classifier(), x, y))
    return folder


@pytest.fixture
def analysed(trained_run: Path, tmp_path: Path) -> Path:
    """An analysis of the run."""
    aw.analyze(aw.open_run(trained_run / "checkpoints"), tmp_path / "run.accw")
    return tmp_path / "run.accw"


@dataclass
class Counting(Probe):
    """Counts what it is given."""

    name: ClassVar[str] = "counting"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD

    every: int = option(1, "take every so many samples")
    node: str = option("fc1", "node to keep")
    stop: int = option(-1, "step at which it fails")

    def start(self, context: Any) -> Schema:
        context.keep(self.node)
        self.seen: list[tuple[int, ...]] = []
        fields = (
            Field("count", ("step",), (0,), "samples seen"),
            Field("sums", ("step", "unit"), (0, 8), "sums of the node"),
            Field("dots", ("step", "height", "width"), (0, 2, 3), "pixels", "uint8"),
            Field("drift", ("step",), (0,), "moves of the first sum", final=True),
        )
        rows = np.arange(0, len(context.data), self.every)
        return Schema(fields, {"unit": tuple("abcdefgh")}, rows=rows)

    def begin(self, step: Step) -> None:
        if step.number == self.stop:
            raise KeyboardInterrupt
        self.count, self.sums, self.step = 0, np.zeros(8), step.number

    def measure(self, batch: Batch) -> None:
        assert set(batch.outputs) >= {"output", self.node}
        assert len(batch.rows) == len(batch.inputs["input"]) == len(batch.outputs["output"])
        self.count += len(batch.rows)
        self.sums += batch.outputs[self.node].sum(axis=0)
        self.seen.append(tuple(batch.rows.tolist()))

    def end(self) -> Mapping[str, Any]:
        dots = np.full((2, 3), self.step, np.uint8)
        return {"count": np.float64(self.count), "sums": self.sums, "dots": dots}

    def finish(self, results: Any) -> Mapping[str, Any]:
        sums = [results.at("sums", i)[0] for i in range(len(results.steps))]
        return {"drift": np.diff(sums, prepend=sums[:1])}


def data_of(folder: Path) -> Path:
    return folder / "digits.npz"


# ---------------------------------------------------------------- running


def test_all_probes_share_one_pass_per_step(trained_run: Path, analysed: Path) -> None:
    network, counting = Plain(Classifier()), Counting(every=3)

    found = aw.probe(analysed, network, data_of(trained_run), ["evaluate", counting], batch_size=40)

    assert network.passes == [32, 32, 31, *[40, 40, 16] * 5]  # three trials
    assert found["counting"].array("count").tolist() == [32] * 5
    assert counting.seen[0] == tuple(range(0, 40, 3))
    assert [p.name for p in aw.open_analysis(analysed).probes.values()] == ["counting", "evaluate"]


def test_samples_that_no_probe_needs_are_not_run(trained_run: Path, analysed: Path) -> None:
    network = Plain(Classifier())

    aw.probe(
        analysed, network, data_of(trained_run), Counting(every=10), steps="last", batch_size=4
    )

    assert network.passes == [4, 3, 4, 4, 2]  # two trials


def test_a_stopped_run_goes_on_and_gives_the_same_bits(
    trained_run: Path, analysed: Path, tmp_path: Path
) -> None:
    whole, network = tmp_path / "whole.accw", Plain(Classifier())
    shutil.copytree(analysed, whole)
    asked = [Counting(every=2), "evaluate"]
    aw.probe(whole, network, data_of(trained_run), asked)
    with pytest.raises(KeyboardInterrupt):
        aw.probe(analysed, network, data_of(trained_run), [Counting(every=2, stop=3)])
    begun = aw.open_analysis(analysed).probes["counting"]
    assert begun.steps.tolist() == [0, 1, 2]
    assert "drift" not in begun.arrays
    folder = begun.path  # the option that stopped it is no other question
    right = aw.open_analysis(whole).probes["counting"].path.name
    document = json.loads((folder / "zarr.json").read_text())
    document["attributes"]["accweight_probe"]["options"]["stop"] = -1
    document["attributes"]["accweight_probe"]["asked"] = "counting:every=2"
    (folder / "zarr.json").write_text(json.dumps(document))
    folder.rename(folder.with_name(right))
    network.passes.clear()

    aw.probe(analysed, network, data_of(trained_run), asked)

    assert len(network.passes) == 3 + 5  # trials; steps 0 to 2 lacked one probe
    for file in sorted((whole / "probes").rglob("*")):
        if file.is_file():
            assert (analysed / file.relative_to(whole)).read_bytes() == file.read_bytes(), file


def test_the_same_question_again_runs_nothing(trained_run: Path, analysed: Path) -> None:
    network = Plain(Classifier())
    aw.probe(analysed, network, data_of(trained_run), "evaluate", steps="first,last")
    before = (aw.open_analysis(analysed).probes["evaluate"].path / "zarr.json").stat().st_mtime_ns
    network.passes.clear()

    found = aw.probe(analysed, network, data_of(trained_run), "evaluate", steps="last")

    assert network.passes == [32]
    assert (found["evaluate"].path / "zarr.json").stat().st_mtime_ns == before
    assert found["evaluate"].steps.tolist() == [0, 4]


def test_a_run_that_has_grown_keeps_what_was_found(trained_run: Path, tmp_path: Path) -> None:
    files = [str(trained_run / "checkpoints" / f"epoch_{step}.pt") for step in range(5)]
    out, network = tmp_path / "run.accw", Plain(Classifier())
    aw.analyze(aw.open_run(files[:3]), out, keep_state=True)
    before = aw.probe(out, network, data_of(trained_run), Counting())["counting"]
    sums = before.array("sums")
    aw.append(aw.open_run(files), out)
    network.passes.clear()

    after = aw.probe(out, network, data_of(trained_run), Counting())["counting"]

    assert network.passes == [32, 31, 96, 96]  # two trials
    assert after.steps.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(after.array("sums")[:3], sums)
    assert len(after.array("drift")) == 5


def test_other_data_options_or_networks_are_other_results(
    trained_run: Path, analysed: Path
) -> None:
    x, y = digits()
    for data, asked in (((x, y), Counting()), ((x[:50], y[:50]), Counting()), ((x, y), "counting")):
        if asked != "counting":
            aw.probe(analysed, Plain(Classifier()), data, asked, steps="last")
    aw.probe(analysed, Plain(Classifier()), (x, y), Counting(every=7), steps="last")

    found = aw.open_analysis(analysed).probes

    assert len(found) == 3
    assert list(found) == ["counting#1", "counting#2", "counting:every=7"]
    assert found["counting"].options["every"] == 7  # the latest
    counts = sorted(float(result.array("count")[0]) for result in found.values())
    assert counts == [14, 50, 96]


def test_a_run_is_analysed_first_and_another_one_is_refused(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained_run)  # an analysis has absolute paths, whatever the user gives
    out, data = tmp_path / "new.accw", data_of(trained_run)
    source = aw.open_run("checkpoints")

    aw.probe(source, Plain(Classifier()), data, "evaluate", out=out, steps="last")
    aw.probe(str(trained_run / "checkpoints"), Plain(Classifier()), data, Counting(), out=out)

    assert set(aw.open_analysis(out).probes) == {"evaluate", "counting"}
    other = aw.open_run([str(trained_run / "checkpoints" / f"epoch_{i}.pt") for i in (0, 2)])
    with pytest.raises(MismatchError, match="is the analysis of other checkpoints"):
        aw.probe(other, probes="trajectory", out=out)
    with pytest.raises(ArgumentValueError, match="name one with --out"):
        aw.probe(source, probes="trajectory")


def test_the_proof_of_the_binding_is_stored(trained_run: Path, analysed: Path) -> None:
    data, told = data_of(trained_run), list[str]()
    own, other = Classifier(), Classifier()
    own.load_state_dict(torch.load(trained_run / "checkpoints" / "epoch_2.pt"))

    sure = aw.probe(analysed, Plain(own), data, "evaluate", steps="last")["evaluate"]
    unsure = aw.probe(analysed, Plain(other), data, Counting(), steps="last", notice=told.append)

    assert sure.proof == "verified"
    assert unsure["counting"].proof == "not verified"
    assert any("weights are not verified: " in line for line in told)


def test_a_network_with_a_fixed_batch_size_gets_whole_batches(
    trained_run: Path, analysed: Path
) -> None:
    network = Plain(Classifier(), (20, 1, 8, 8))

    found = aw.probe(analysed, network, data_of(trained_run), Counting(), steps="last")

    assert set(network.passes) == {20}
    assert found["counting"].array("count")[0] == 96


# ---------------------------------------------------------------- the store


def test_any_zarr_reader_reads_the_arrays(trained_run: Path, analysed: Path) -> None:
    found = aw.probe(
        analysed, Plain(Classifier()), data_of(trained_run), Counting(), steps="first,last"
    )["counting"]

    group = zarr.open_group(analysed, mode="r")[f"probes/{found.path.name}"]

    assert isinstance(group, zarr.Group)
    sums, dots = np.asarray(group["sums"]), np.asarray(group["dots"])
    np.testing.assert_array_equal(sums[[0, 4]], found.array("sums"))
    assert np.isnan(sums[1:4]).all()
    assert dots.dtype == np.uint8
    assert dots[:, 0, 0].tolist() == [0, 0, 0, 0, 4]
    assert group["sums"].attrs["axes"] == ["step", "unit"]
    assert found.table("unit")["unit"].tolist() == list("abcdefgh") * 2


def test_an_analysis_with_probes_is_an_analysis_as_before(
    trained_run: Path, analysed: Path
) -> None:
    before = aw.open_analysis(analysed).ranking()

    aw.probe(analysed, Plain(Classifier()), data_of(trained_run), "evaluate", steps="last")

    after = aw.analyze(aw.open_run(trained_run / "checkpoints"), analysed)
    assert after.ranking().equals(before)
    assert list(after.probes) == ["evaluate"]


DAMAGE: dict[str, tuple[Callable[[Any], None], str]] = {
    "steps": (lambda d: d.update(finished=[99]), "others are finished"),
    "axes": (lambda d: d["fields"][0].update(axes=["unit"]), "has the axes"),
    "name": (lambda d: d["fields"][0].update(name="../../x"), "name"),
    "twice": (lambda d: d["fields"].append(d["fields"][0]), "two arrays have one name"),
    "labels": (lambda d: d["labels"].update(unit=["a"]), "axis 'unit' has 1 names"),
    "format": (lambda d: d.update(format=9), "format"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damaged_results_are_told(trained_run: Path, analysed: Path, what: str) -> None:
    data = data_of(trained_run)
    found = aw.probe(analysed, Plain(Classifier()), data, Counting(), steps="last")["counting"]
    document = json.loads((found.path / "zarr.json").read_text())
    change, said = DAMAGE[what]
    change(document["attributes"]["accweight_probe"])
    (found.path / "zarr.json").write_text(json.dumps(document))

    with pytest.raises(StoreError, match=rf"probes/counting-\w+ is damaged.*{said}"):
        aw.open_analysis(analysed).probes["counting"]


def test_links_lead_nowhere(trained_run: Path, analysed: Path, tmp_path: Path) -> None:
    data = data_of(trained_run)
    found = aw.probe(analysed, Plain(Classifier()), data, Counting(), steps="last")["counting"]
    shutil.move(found.path, tmp_path / "elsewhere")
    found.path.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StoreError, match="is a link"):
        aw.open_analysis(analysed).probes["counting"]


# ---------------------------------------------------------------- what is asked for


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("evalute", "no probe is called 'evalute'; did you mean 'evaluate'. installed probes: "),
        ("embedding:method=tnse", "method is 'tnse'; did you mean 'tsne'. expected pca"),
        ("nothing", "no probe is called 'nothing'; installed probes: .*evaluate.*trajectory"),
        ("evaluate:los=mse", "has no option 'los'; did you mean 'loss'. its options are loss"),
        ("evaluate:loss=l3", "loss is 'l3'; expected auto|cross_entropy|bce|mse"),
        ("evaluate:loss", "'loss' is no option; expected NAME:option=value"),
        ("trajectory:components=two", "components is 'two'; expected integer"),
    ],
)
def test_unknown_probes_and_options_are_told_in_one_line(text: str, said: str) -> None:
    with pytest.raises((UnknownNameError, ArgumentValueError), match=said):
        parsed_probe(text)


def test_options_are_typed() -> None:
    probe = parsed_probe("evaluate:loss=mse,output=fc1")

    assert probe.loss == "mse"  # type: ignore[attr-defined]
    assert [o.name for o in options_of(type(probe))] == ["loss", "output", "output_is"]


def test_a_node_that_is_not_there_is_told(trained_run: Path, analysed: Path) -> None:
    data = data_of(trained_run)

    with pytest.raises(UnknownNameError, match="no node 'fc9'; did you mean 'fc"):
        aw.probe(analysed, Plain(Classifier()), data, Counting(node="fc9"))


@pytest.mark.parametrize("name", [n for n, one in probes().items() if one.needs & RUNS_NETWORK])
def test_every_probe_of_a_network_says_in_a_line_what_to_give(
    name: str, analysed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["probe", str(analysed), "--probe", name])

    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.strip()]
    assert code == 1
    assert f"probe {name!r} runs the network; give it with --model NET.onnx" in line
    assert line.endswith("and samples with --data")


def test_probes_of_weights_alone_need_nothing_else(analysed: Path) -> None:
    alone = [name for name, one in probes().items() if not one.needs & RUNS_NETWORK]

    found = aw.probe(analysed, probes=alone)

    for name, result in found.items():
        numbers = result.table().select_dtypes("number").drop(columns="step", errors="ignore")
        assert len(result.steps) == 5, name
        assert all(numbers[column].notna().any() for column in numbers), name


def test_what_is_missing_is_told(trained_run: Path, analysed: Path) -> None:
    with pytest.raises(ArgumentValueError, match="'evaluate' runs the network; give it with"):
        aw.probe(analysed, probes="evaluate")
    with pytest.raises(ArgumentValueError, match="on samples; give them with --data"):
        aw.probe(analysed, Plain(Classifier()), probes="evaluate")
    with pytest.raises(ArgumentValueError, match="twice with the same options"):
        aw.probe(analysed, probes=["trajectory", "trajectory"])


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (None, (0, 5, 10, 15, 20)),
        ("first,last", (0, 20)),
        ("every:2", (0, 10, 20)),
        ("last:2,5", (5, 15, 20)),
        ([10], (10,)),
    ],
)
def test_steps_are_chosen_by_words(asked: Any, found: tuple[int, ...]) -> None:
    assert chosen_steps([0, 5, 10, 15, 20], asked) == found


@pytest.mark.parametrize(("asked", "said"), [("7", "has no step 7"), ("frist", "'frist' is none")])
def test_steps_that_are_none_are_told(asked: str, said: str) -> None:
    with pytest.raises((UnknownNameError, ArgumentValueError), match=said):
        chosen_steps([0, 5], asked)


# ---------------------------------------------------------------- the command


@pytest.fixture
def plain_network(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> Plain:
    """The network that the command opens, whatever file it is told."""
    module = Classifier()
    module.load_state_dict(torch.load(trained_run / "checkpoints" / "epoch_0.pt"))
    network = Plain(module)
    monkeypatch.setattr(probing, "network_at", lambda *_: network)
    return network


def test_the_command_prints_tables_and_one_json_document(
    trained_run: Path, analysed: Path, plain_network: Plain
) -> None:
    data = str(data_of(trained_run))
    asked = ["--probe", "evaluate", "--probe", "trajectory:components=2", "--steps", "every:2"]
    arguments = ["probe", str(analysed), "--model", "net.onnx", "--data", data, *asked]

    shown = CliRunner().invoke(application(), arguments)
    document = json.loads(CliRunner().invoke(application(), [*arguments, "--json"]).stdout)

    assert shown.exit_code == 0, shown.output
    assert "evaluate: 3 steps" in shown.output
    assert "(of a random walk): 1: " in shown.output
    assert [p["name"] for p in document["probes"]] == ["evaluate", "trajectory"]
    first = document["probes"][0]
    assert first["proof"] == "verified"
    assert first["steps"] == [0, 2, 4]
    assert [row["step"] for row in first["table"]] == [0, 2, 4]
    assert {"loss", "accuracy"} <= set(first["table"][0])


def test_the_command_takes_checkpoints_with_a_store(
    trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(trained_run / "checkpoints")

    assert run(["probe", source, "--probe", "trajectory"]) == 1
    assert "name one with --out NAME.accw" in capsys.readouterr().err
    assert run(["probe", source, "--probe", "trajectory", "-o", str(tmp_path / "a.accw")]) == 0
    assert list(aw.open_analysis(tmp_path / "a.accw").probes) == ["trajectory"]


def test_of_many_layers_those_of_the_largest_number_are_printed(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    count = 500
    fields = (FieldDocument("clear", ("step", "layer"), (0, count), "float64", "words", False),)
    names = tuple(f"layer_{at}" for at in range(count))
    document = ProbeDocument("deep", 1, {}, (0,), fields, labels={"layer": names})
    values = np.arange(float(count))[::-1] % 37
    ProbeStore.begun(out, "00112233aabb", document).write_step(0, {"clear": values})

    *_, heading, _, table, _ = page(aw.open_analysis(out).probes["deep"])

    assert str(heading) == (
        "at step 0, the 20 layers of the largest clear (480 more; --json has all):"
    )
    assert isinstance(table, Table)
    assert len(table.columns["layer"]) == 20
    assert table.columns["clear"][0] == "36"


def test_the_list_has_every_probe_with_its_options() -> None:
    page = CliRunner().invoke(application(), ["probe", "--list"]).output
    document = json.loads(CliRunner().invoke(application(), ["probe", "--list", "--json"]).output)

    assert "evaluate:loss=auto  (auto|cross_entropy|bce|mse)" in page
    assert [p["name"] for p in document["probes"]] == list(probes())
    assert all(p["text"] and all(o["text"] for o in p["options"]) for p in document["probes"])


def test_everything_that_was_found_is_drawn(
    trained_run: Path, analysed: Path, tmp_path: Path, plain_network: Plain
) -> None:
    names = ("activations:samples=2", "embedding:points=40", "evaluate", "filters",
             "representation:points=40", "trajectory")  # fmt: skip
    asked = [word for name in names for word in ("--probe", name)]
    arguments = ["--model", "net.onnx", "--data", str(data_of(trained_run)), *asked]

    done = CliRunner().invoke(
        application(), ["probe", str(analysed), *arguments, "--png", str(tmp_path / "figures")]
    )

    assert done.exit_code == 0, done.output
    drawn = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert drawn == {
        "activations-images", "activations-layers", "activations-values",
        "embedding-coordinates", "embedding-steps", "evaluate-class", "evaluate-confusion",
        "evaluate-steps", "filters-images", "filters-unit", "representation-coordinates",
        "representation-stage", "representation-views", "trajectory-coordinates",
        "trajectory-cosine", "trajectory-layers", "trajectory-steps",
    }  # fmt: skip
    assert done.output.count("drawn: ") == len(drawn)


def test_the_name_of_a_picture_makes_no_folder(analysed: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        application(),
        ["probe", str(analysed), "--probe", "filters:layer=fc1", "--png", str(tmp_path / "f.png")],
    )

    assert done.exit_code == 1
    assert "f.png: is the name of a picture; expected a folder" in str(done.exception)
    assert not (tmp_path / "f.png").exists()


def test_a_file_where_figures_are_to_be_is_told_before_anything_is_run(
    analysed: Path, tmp_path: Path
) -> None:
    (tmp_path / "figure.png").write_bytes(b"mine")
    before = sorted((analysed / "probes").glob("*"))

    done = CliRunner().invoke(
        application(),
        ["probe", str(analysed), "--probe", "filters:layer=fc1",
         "--png", str(tmp_path / "figure.png")],
    )  # fmt: skip

    assert done.exit_code == 1
    assert "figure.png: is a file; expected a folder" in str(done.exception)
    assert "Name a folder, such as figures; it is made" in str(done.exception)
    assert sorted((analysed / "probes").glob("*")) == before


# ---------------------------------------------------------------- third parties


def installed(folder: Path, source: str, points: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package as pip does: its module, and its metadata."""
    name = "package_with_a_probe"  # which the test before may have imported
    monkeypatch.delitem(sys.modules, name, raising=False)
    (folder / f"{name}.py").write_text(source)
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points.replace("my_package", name))
    monkeypatch.syspath_prepend(folder)


def contributed() -> tuple[str, str]:
    """Return the probe of CONTRIBUTING.md, and its registration."""
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    part = text[text.index("## Write a probe") :]
    source = part[part.index("```python\n") + 10 :]
    points = part[part.index("```toml\n") + 8 :]
    return source[: source.index("```")], points[: points.index("```")]


def test_the_probe_of_another_package_is_run_stored_and_listed(
    trained_run: Path,
    analysed: Path,
    tmp_path: Path,
    plain_network: Plain,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, points = contributed()
    points = points.replace('[project.entry-points."accweight.probes"]', "[accweight.probes]")
    installed(tmp_path, source, points.replace('"', ""), monkeypatch)
    data = str(data_of(trained_run))

    listed = CliRunner().invoke(application(), ["probe", "--list"]).output
    done = CliRunner().invoke(
        application(),
        ["probe", str(analysed), "--model", "net.onnx", "--data", data, "--probe", "margin:top=2"],
    )

    assert "margin" in listed
    assert done.exit_code == 0, done.output
    table = aw.open_analysis(analysed).probes["margin"].table()
    assert table["margin"].iloc[-1] > table["margin"].iloc[0]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("class Margin: pass", "no class derived from"),
        ("Margin = None", "no class derived from"),
    ],
)
def test_a_broken_probe_is_a_warning_and_the_others_go_on(
    tmp_path: Path, source: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = "[accweight.probes]\nmargin = my_package:Margin\n"
    installed(tmp_path, source, points, monkeypatch)

    with pytest.warns(UserWarning, match=f"probe 'margin' cannot be used: .*{said}"):
        found = probes()

    assert "evaluate" in found
    assert "margin" not in found
