"""The probe `hidden_state`: a latch that is set by hand is found wherever it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_networks import Classifier, Scored, digits, probed, said, steps_of

from accweight_core.errors import ArgumentValueError

Sequences = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def latched(state: dict[str, torch.Tensor]) -> None:
    """Let unit 1 be set by input 0, reset by input 1, and hold at input 2."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        state[f"rnn.{name}"] *= 0 if "bias" in name else 0.3
    gates, bias = state["rnn.weight_ih_l0"], state["rnn.bias_ih_l0"]
    state["rnn.weight_hh_l0"][[1, 5, 9, 13]] = 0
    gates[1] = torch.tensor([20.0, -20.0, -20.0])  # input gate: open to set
    gates[5] = torch.tensor([-20.0, -20.0, 20.0])  # forget gate: keep at input 2
    gates[9], bias[9] = 0, 20  # what is written: 1
    gates[13], bias[13] = 0, 20  # output gate: open


@pytest.fixture(scope="module")
def sequences() -> Sequences:
    """Return sequences of set, reset and hold, and whether the latch is set at every time."""
    tokens = np.random.default_rng(0).choice(3, (30, 12), p=[0.2, 0.2, 0.6])
    tokens[:, 0] = 0
    is_set = np.zeros((30, 12), np.int64)
    for time in range(12):
        before = is_set[:, time - 1] if time else 0
        is_set[:, time] = np.where(tokens[:, time] == 2, before, tokens[:, time] == 0)
    return np.eye(3, dtype=np.float32)[tokens], is_set


def test_a_latch_is_found_where_it_holds(tmp_path: Path, sequences: Sequences) -> None:
    x, y = sequences
    states = steps_of(Scored(), 2)
    latched(states[1])

    asked = "hidden_state:sample=3,begin_at=0,length=1,threshold=0.5,matches=40"
    found = probed(tmp_path, Scored(), states, (x, y), asked)

    assert found.attributes["node"] == "rnn"
    np.testing.assert_array_equal(found.array("pattern", 1), [0, 1, 0, 0])
    correlation = np.abs(found.array("correlation", 1))
    assert correlation[1] == pytest.approx(1, abs=1e-3)
    assert np.delete(correlation, 1).max() < 0.9
    assert found.array("agreement", 1) == 1
    assert found.array("by_chance", 1) == pytest.approx(y.mean())
    rows, firsts, overlap = found.array("found", 1).T
    assert (overlap == 1).all()
    assert (3, 0) not in set(zip(rows.tolist(), firsts.tolist(), strict=True))
    assert y[rows.astype(int), firsts.astype(int)].all()
    on = np.tanh(1.0) * y[3]
    np.testing.assert_allclose(found.array("states", 1)[1], on, atol=1e-3)
    assert said(found)[0] == "on from time 0 of sample 3: 1"


def test_a_unit_has_to_be_on_throughout_the_span(tmp_path: Path, sequences: Sequences) -> None:
    x, y = sequences
    states = steps_of(Scored(), 2)
    latched(states[1])
    spans = np.lib.stride_tricks.sliding_window_view(y, 3, axis=1)
    holds, ends = (np.argwhere(spans.sum(axis=2) == count)[0] for count in (3, 1))
    asked = "hidden_state:sample={},begin_at={},length=3,threshold=0.5,matches=10"

    whole = probed(tmp_path, Scored(), states, (x, y), asked.format(*holds))
    part = probed(tmp_path, Scored(), states, (x, y), asked.format(*ends))

    np.testing.assert_array_equal(whole.array("pattern", 1), [0, 1, 0, 0])
    rows, firsts, _ = whole.array("found", 1).astype(int).T
    assert spans[rows, firsts].all()
    assert whole.array("by_chance", 1) == pytest.approx(y[:, 2:].mean()), "by the end of spans"
    assert whole.array("by_chance", 1) != pytest.approx(y[:, :-2].mean())
    assert part.array("pattern", 1)[1] == 0


def test_of_spans_with_as_much_in_common_the_nearest_comes_first(
    tmp_path: Path, sequences: Sequences
) -> None:
    x, y = (one.copy() for one in sequences)
    row = int(np.flatnonzero(y[:20, 6])[0])
    x[20], y[20] = x[row], y[row]
    states = steps_of(Scored(), 2)
    latched(states[1])

    asked = f"hidden_state:sample={row},begin_at=6,length=1,threshold=0.5,matches=5"
    found = probed(tmp_path, Scored(), states, (x, y), asked)

    assert found.array("found", 1)[0, :2].tolist() == [20, 6], "a copy"


def test_a_span_that_is_not_there_is_told(tmp_path: Path, sequences: Sequences) -> None:
    with pytest.raises(ArgumentValueError, match="rnn has 12 times; the span from 11 of length 3"):
        probed(tmp_path, Scored(), steps_of(Scored(), 2), sequences, "hidden_state:begin_at=11")


def test_a_pattern_of_no_unit_is_said_to_be_none(tmp_path: Path, sequences: Sequences) -> None:
    module = Scored()

    found = probed(tmp_path, module, steps_of(module, 2), sequences, "hidden_state:threshold=2")

    assert len(said(found)) == 1
    assert said(found)[0].startswith("no unit is on from time 0 of sample 0, over 3 times: lower")


def test_pictures_have_no_times(tmp_path: Path) -> None:
    module = Classifier()

    with pytest.raises(ArgumentValueError, match=r"node conv has places of shape \(6, 6\)"):
        probed(tmp_path, module, steps_of(module, 2), digits(12), "hidden_state")
