"""Samples as vectors for the Embedding Projector, as its own reader in TensorBoard opens them."""

from __future__ import annotations

import io
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from probe_results import HOSTILE, POINTS, STEPS, field, stored_results

import accweight_core as aw
from accweight_core.analysis.projector import write_projector
from accweight_core.cli.app import application
from accweight_core.errors import StoreError, UnknownNameError
from accweight_core.store.probe_store import ProbeDocument, ProbeStore

projector_plugin = pytest.importorskip("tensorboard.plugins.projector.projector_plugin")

pytestmark = pytest.mark.filterwarnings("ignore:html5lib's sanitizer:DeprecationWarning")


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an analysis with points, classes and pictures of samples."""
    return stored_results(tmp_path_factory.mktemp("projector") / "run.accw")


@pytest.fixture(scope="module")
def exported(analysed: Path) -> Path:
    """Return the folder of the export."""
    folder = analysed.parent / "vectors"
    out = str(folder)
    answer = CliRunner().invoke(
        application(), ["export", str(analysed), "--to", "projector", "-o", out, "--json"]
    )
    assert answer.exit_code == 0, answer.output
    assert len(json.loads(answer.stdout)["tensors"]) == len(STEPS)
    return folder


@pytest.fixture(scope="module")
def ask(exported: Path) -> Any:
    """Return what asks TensorBoard's projector, over its WSGI application."""
    events = "tensorboard.backend.event_processing"
    data_provider = import_module(f"{events}.data_provider")
    plugin_event_multiplexer = import_module(f"{events}.plugin_event_multiplexer")
    base_plugin = import_module("tensorboard.plugins.base_plugin")
    tensorboard_application = import_module("tensorboard.backend.application")
    werkzeug_test = import_module("werkzeug.test")
    wrappers = import_module("werkzeug.wrappers")

    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(exported))
    multiplexer.Reload()
    context = base_plugin.TBContext(
        logdir=str(exported),
        data_provider=data_provider.MultiplexerDataProvider(multiplexer, str(exported)),
    )
    plugin = projector_plugin.ProjectorPlugin(context)
    server = werkzeug_test.Client(
        tensorboard_application.TensorBoardWSGI([plugin]), wrappers.Response
    )

    def asked(route: str, **query: str) -> Any:
        answer = server.get(f"/data/plugin/projector/{route}", query_string=query)
        assert answer.status_code == 200, answer.data
        return answer.data

    return asked


def test_the_projector_lists_every_step(ask: Any) -> None:
    assert json.loads(ask("runs")) == ["."]

    info = json.loads(ask("info", run="."))

    found = [(one["tensorName"], one["tensorShape"]) for one in info["embeddings"]]
    tag = found[0][0].partition("/")[2]
    assert found == [(f"{step}/{tag}", [POINTS, 2]) for step in reversed(STEPS)]
    assert set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789_.-ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert info["embeddings"][0]["sprite"]["singleImageDim"] == [8, 8]


def test_results_of_one_probe_are_told_apart_by_their_options(tmp_path: Path) -> None:
    out = stored_results(tmp_path / "run.accw")
    fields = (field("coordinates", "step point coordinate", (0, 3, 2)),)
    for digit, options in (("a", ""), ("b", ":method=tsne"), ("c", ":layer=fc1,method=tsne")):
        given = dict(one.split("=") for one in options[1:].split(",") if one)
        node = {"node": given.get("layer", "fc2")}
        document = ProbeDocument(
            "map", 1, given, STEPS, fields, attributes=node, asked=f"map{options}"
        )
        store = ProbeStore.begun(out, digit * 12, document)
        for step in STEPS:
            store.write_step(step, {"coordinates": np.zeros((3, 2))})

    write_projector(aw.open_analysis(out), tmp_path / "vectors")

    found = {path.name for path in (tmp_path / "vectors" / str(STEPS[0])).iterdir()}
    assert found > {"map-fc2", "map-method-tsne-fc2", "map-layer-fc1-method-tsne"}


def test_the_vectors_of_a_step_are_those_of_the_probe(ask: Any, analysed: Path) -> None:
    name = json.loads(ask("info", run="."))["embeddings"][0]["tensorName"]

    vectors = np.frombuffer(ask("tensor", run=".", name=name), np.float32).reshape(POINTS, 2)

    stored = aw.open_analysis(analysed).probes["everything"].array("coordinates", STEPS[-1])
    np.testing.assert_allclose(vectors, stored, rtol=1e-5)


def test_labels_and_pictures_are_in_the_order_of_the_vectors(ask: Any) -> None:
    image = pytest.importorskip("PIL.Image")
    name = json.loads(ask("info", run="."))["embeddings"][0]["tensorName"]

    lines = ask("metadata", run=".", name=name).decode().splitlines()
    sheet = np.asarray(image.open(io.BytesIO(ask("sprite_image", run=".", name=name))))

    assert lines[:2] == ["sample\tclass", "100\ta"]
    assert lines[2].startswith("101\t</script>")
    assert "\x1b" not in lines[2]
    assert len(lines) == POINTS + 1
    assert HOSTILE not in lines[2]
    assert sheet.shape == (24, 32)  # 12 pictures of 8 x 8, four in a row
    assert sheet[8, 0] == 4 * 64 % 256  # the first pixel of the fifth


def test_a_folder_of_something_else_is_not_replaced(exported: Path, analysed: Path) -> None:
    analysis = aw.open_analysis(analysed)
    with pytest.raises(StoreError, match="exists already"):
        write_projector(analysis, exported)
    write_projector(analysis, exported, overwrite=True)
    other = exported / "notes.txt"
    other.write_text("mine")

    with pytest.raises(StoreError, match=r"holds 'notes.txt'"):
        write_projector(analysis, exported, overwrite=True)

    assert other.read_text() == "mine"
    other.unlink()


def test_an_analysis_without_points_says_what_computes_some() -> None:
    analysis = aw.analyze(aw.open_run([{"a.weight": np.eye(3) * t} for t in (1, 2)]))

    with pytest.raises(UnknownNameError, match="--probe embedding computes some"):
        write_projector(analysis, "vectors")


def test_tensorboard_gets_numbers_layers_and_pictures_of_probes(
    analysed: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboardX")
    accumulator = import_module("tensorboard.backend.event_processing.event_accumulator")
    from accweight_core.analysis.tensorboard import write_events

    write_events(aw.open_analysis(analysed), tmp_path / "run")

    events = accumulator.EventAccumulator(
        str(tmp_path / "run"), {"images": 0, "scalars": 0}
    ).Reload()
    losses = [(event.step, event.value) for event in events.Scalars("everything/loss")]
    assert losses == [(0, 2.0), (10, 1.0), (40, 0.5)]
    assert events.Scalars("everything.sparsity/conv")[0].value == pytest.approx(0.1)
    assert [image.step for image in events.Images("everything/images")] == list(STEPS)
