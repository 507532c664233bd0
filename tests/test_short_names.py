"""Short names of layers: what tells them apart stays, what many share goes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewer_helpers import session_of, stored, walks

from accweight_core.cli.tables import Table
from accweight_core.short_names import block_name, elided, fitting, short_names
from accweight_viewer.model.chart import Chart
from accweight_viewer.model.labels import labels_of
from accweight_viewer.model.plate_choice import PlateChoices
from accweight_viewer.panes.layer_model import Column, LayerModel

PARTS = ("attention.self.query", "attention.self.key", "attention.output.dense", "output.dense")
ROBERTA = [
    "roberta.embeddings.word",
    *(f"roberta.encoder.layer.{n}.{part}" for n in range(12) for part in PARTS),
    "classifier.dense",
]
NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b", "layer", "0", "1", "12"]), min_size=1, max_size=5).map(
        ".".join
    ),
    max_size=12,
)


def test_blocks_keep_their_number_and_what_tells_their_layers_apart() -> None:
    short = short_names(ROBERTA)

    assert short["roberta.encoder.layer.11.attention.self.query"] == "layer 11 · query"
    assert short["roberta.encoder.layer.3.attention.output.dense"] == ("layer 3 · attention.output")
    assert short["roberta.encoder.layer.3.output.dense"] == "layer 3 · output"
    assert short["roberta.embeddings.word"] == "embeddings.word"
    assert short["classifier.dense"] == "classifier.dense"


def test_two_stacks_of_blocks_stay_apart() -> None:
    names = [
        f"{side}.layers.{n}.{p}" for side in ("encoder", "decoder") for n in (0, 1) for p in "qk"
    ]

    short = short_names(names)

    assert short["encoder.layers.1.q"] == "encoder.layers 1 · q"
    assert short["decoder.layers.1.q"] == "decoder.layers 1 · q"


def test_names_of_small_networks_stay_as_they_are() -> None:
    names = ["conv1", "features.0", "features.3", "head.fc", "5"]

    assert short_names(names) == {name: name for name in names}


def test_a_wrapper_that_all_share_is_left_out() -> None:
    assert list(short_names(["net.conv1", "net.fc", "net.block.fc"]).values()) == [
        "conv1",
        "fc",
        "block.fc",
    ]


@given(NAMES)
def test_no_two_names_become_one(names: list[str]) -> None:
    short = short_names(names)

    assert set(short) == set(names)
    assert len(set(short.values())) == len(set(names))


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (99, "layer 11 · attention.output"),
        (21, "11 · attention.output"),
        (20, "layer 11 · …output"),
        (16, "layer 11 · …tput"),
        (9, "…output"),
        (1, "…"),
    ],
)
def test_a_name_that_does_not_fit_keeps_its_block(room: int, shown: str) -> None:
    assert elided("layer 11 · attention.output", room) == shown


LAYERS = [f"layers {n} · {part}" for n in (0, 11) for part in ("q_proj", "gate_proj", "up_proj")]


@pytest.mark.parametrize(
    ("room", "shown"),
    [
        (21, ["layers 0 · q_proj", "layers 11 · gate_proj"]),
        (20, ["0 · q_proj", "11 · gate_proj"]),
        (11, ["0 · q_proj", "11 · gate_…"]),
    ],
)
def test_names_of_a_column_have_one_form(room: int, shown: list[str]) -> None:
    fitted = fitting([*LAYERS, "head"], room)

    assert [fitted[LAYERS[0]], fitted[LAYERS[4]]] == shown
    assert fitted["head"] == "head"


def test_the_word_of_a_block_stays_where_it_tells_blocks_apart() -> None:
    names = [f"{word} {n} · attention.output" for word in ("encoder", "decoder") for n in (0, 1)]

    assert fitting(names, 20)[names[2]] == "decoder 0 · …output"


def test_names_that_begin_alike_keep_their_ends_in_a_column() -> None:
    assert list(fitting(["linears.0", "linears.1", "rgb"], 8).values()) == [
        "linear…0",
        "linear…1",
        "rgb",
    ]


@given(NAMES, st.integers(0, 30))
def test_names_of_a_column_fit_in_it(names: list[str], room: int) -> None:
    shorts = list(short_names(names).values())

    fitted = fitting(shorts, room)

    assert list(fitted) == shorts
    assert all(len(shown) <= max(room, 1) for shown in fitted.values())


def test_a_word_that_ends_in_a_number_is_joined_by_a_dot() -> None:
    assert (block_name("layer", "3"), block_name("layer1", "3"), block_name("", "3")) == (
        "layer 3",
        "layer1.3",
        "3",
    )


def test_table_plates_timeline_and_chooser_have_the_same_names(tmp_path: Path) -> None:
    names = ["net.embed", *(f"net.layer.{n}.self.{part}" for n in (0, 1) for part in "qk")]
    session = session_of(stored(tmp_path, "run", walks(names, 2)), arrangement="line")
    wanted = ["embed", "layer 0 · q", "layer 0 · k", "layer 1 · q", "layer 1 · k"]

    model, source = LayerModel(session), session.sources[0]
    labels = labels_of(source.layers, session.arrangement(source), None, session.short_names)

    assert [model.cell(row, Column.LAYER).text for row in range(5)] == wanted
    assert [label.text for label in labels if label.names] == wanted
    assert [Chart(session).short_names[name] for name in names] == wanted
    assert list(PlateChoices(session).texts.values()) == [f"{name}.weight" for name in wanted]


def test_rows_of_blocks_are_called_by_their_number(tmp_path: Path) -> None:
    names = [f"net.layer.{n}.self.{part}" for n in (0, 1) for part in "qk"]
    session = session_of(stored(tmp_path, "run", walks(names, 2)), arrangement="rows")
    source = session.sources[0]

    labels = labels_of(source.layers, session.arrangement(source), None, session.short_names)

    assert [label.text for label in labels if not label.layer] == ["layer 0", "layer 1"]
    assert [label.text for label in labels if label.names] == ["q", "k", "q", "k"]


def test_tables_of_the_terminal_shorten_layers_that_do_not_fit() -> None:
    table = Table({"layer": ROBERTA, "mean": ["1"] * len(ROBERTA)})

    short = table.shortened()

    assert short.columns["layer"][1] == "layer 0 · query"
    assert short.width < table.width
