"""What is drawn has the names that a reader knows: letters of a text, classes of units."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from probe_networks import Scored, probed, said, stack, steps_of

from accweight_core.analysis.figures.of_probes.choosing import figures_of
from accweight_core.probes.timed import span_text
from accweight_core.probes.varied import named
from accweight_core.reports.probe_views import Room, view_of
from accweight_core.samples.samples import Data

LETTERS = np.array(["(", ")", "a"])


def texts(home: Path, tokens: Any) -> Path:
    """Write one-hot letters with their names."""
    x, y = np.eye(3, dtype=np.float32)[tokens], np.zeros(tokens.shape, np.int64)
    np.savez(home / "texts.npz", x=x, y=y, vocabulary=LETTERS)
    return home / "texts.npz"


def test_letters_stand_above_the_states_and_the_span_stands_out(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 3, (6, 5))
    tokens[2] = [0, 2, 1, 0, 1]
    data, module = texts(tmp_path, tokens), Scored()

    asked = "hidden_state:sample=2,begin_at=1,length=2"
    found = probed(tmp_path, module, steps_of(module, 2), data, asked)
    view = view_of(found, "states", Room())
    drawn = figures_of(found)["states"]()

    assert view is not None
    assert view["columns"] == ["(", "a", ")", "(", ")"]
    assert view["marked"] == [1, 2]
    panel = drawn.axes[0]
    assert [one.get_text() for one in panel.get_xticklabels()] == ["(", "a", ")", "(", ")"]
    assert [list(line.get_xdata()) for line in panel.lines] == [[0.5, 1.5], [1.5, 2.5]]


def test_spans_that_are_found_have_their_letters(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).integers(0, 3, (6, 5))
    tokens[2], tokens[4] = [0, 2, 1, 0, 1], [0, 2, 1, 0, 0]
    states = steps_of(Scored(), 2)

    asked = "hidden_state:sample=2,begin_at=1,length=2,threshold=-1,matches=3"
    found = probed(tmp_path, Scored(), states, texts(tmp_path, tokens), asked)

    own, alike, best, *_ = said(found)
    assert own.startswith("on from time 1 of sample 2 («a)»(): "), own
    assert len(found.labels("span")) == 3
    first = found.labels("span")[0]
    assert first == "(«a)»(( (sample 4 from 1)", "the same letters come before it"
    assert alike == "most alike, by the share of units in common:"
    assert best == f"100% {first}"


def test_spans_of_words_stand_apart_and_blanks_are_seen() -> None:
    words, letters = ["it", "is", "not", "good", "at", "all"], named([0, 3, 2, 1], "ab\n ")

    assert span_text(words, 2, 2) == "it is «not good» at all"
    assert span_text(letters, 2, 2) == "a «\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}b»"
    assert span_text(letters, 1, 1) == "a«\N{OPEN BOX}»\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}b"


def test_inputs_that_units_answer_to_have_their_names(tmp_path: Path) -> None:
    tokens, module = np.random.default_rng(0).integers(0, 3, (9, 5)), Scored()

    found = probed(
        tmp_path, module, steps_of(module, 2), texts(tmp_path, tokens), "hidden_response:groups=2"
    )

    assert sorted(found.labels("input")) == ["(", ")", "a"]


def test_pictures_of_the_last_layer_have_the_names_of_classes(tmp_path: Path) -> None:
    module, x = stack(4, 3, 2), np.ones((4, 4), np.float32)
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(4) % 2, classes=np.array(["cat", "dog"]))

    asked = "feature_visualization:units=2"
    found = probed(tmp_path, module, steps_of(module, 2), tmp_path / "x.npz", asked)
    view = view_of(found, "images", Room())

    assert view is not None
    assert view["labels"] == ["0/0", "0/1", "2/0 cat", "2/1 dog"]
    assert found.labels("picture") == ("0/0", "0/1", "2/0", "2/1"), "which runs are compared by"


def test_names_below_a_map_are_turned_if_they_would_touch(tmp_path: Path) -> None:
    classes = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    for names, turn in ((classes, 90), ([name[0] for name in classes], 0)):
        home, module, x = tmp_path / str(turn), stack(4, 10), np.ones((10, 4), np.float32)
        home.mkdir()
        np.savez(home / "x.npz", x=x, y=np.arange(10), classes=np.array(names))

        found = probed(home, module, steps_of(module, 2), home / "x.npz", "evaluate")
        drawn = figures_of(found)["confusion"]()

        heads = drawn.axes[0].get_xticklabels()
        assert [one.get_text() for one in heads] == names
        assert {one.get_rotation() for one in heads} == {turn}
        drawn.canvas.draw()
        boxes = [one.get_window_extent() for one in heads]
        assert all(one.x1 < other.x0 for one, other in pairwise(boxes))
        lowest = min(box.y0 for box in boxes)
        assert all(one.get_window_extent().y1 < lowest for one in drawn.texts[2:4]), "notes below"


def test_captions_of_rewind_are_whole(tmp_path: Path) -> None:
    module, x = stack(4, 3), np.ones((6, 4), np.float32)

    found = probed(tmp_path, module, steps_of(module, 3), (x, np.arange(6) % 3), "rewind")
    written = [text.get_text() for text in figures_of(found)["layers"]().texts]

    assert any(text.startswith("accuracy: ") for text in written)
    assert not [text for text in written if text.endswith("\N{HORIZONTAL ELLIPSIS}")]


def test_other_names_are_another_question() -> None:
    data = Data((np.zeros((2, 3)),), np.zeros(2), Path("x.npz"), ())
    named, renamed = (replace(data, vocabulary=names) for names in (("(", ")"), ("[", "]")))
    classed = replace(data, classes=("(", ")"))

    assert len({one.digest for one in (data, named, renamed, classed)}) == 4
    assert replace(renamed, vocabulary=("(", ")")).digest == named.digest
