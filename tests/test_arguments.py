"""What a script hands over that cannot be meant: errors of the library, which name it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import accweight_core as aw
from accweight_core.analysis.export import export

ZEROS, ONES = np.zeros((2, 2), np.float32), np.ones((2, 2), np.float32)
W, V = {"a.weight": ZEROS}, {"a.weight": ONES}

NO_STEPS: dict[str, Any] = {
    "NaN": float("nan"), "infinite": float("inf"), "half": 1.5, "half, of NumPy": np.float32(1.5),
    "too large": 2**70, "too small": -(2**63) - 1, "of 5,000 digits": 10**5000, "a word": "a",
    "digits without an end": "9" * 5000, "true": True, "true, of NumPy": np.True_,
    "a tuple": (1,), "nothing": None, "a complex one": 1j, "bytes": b"1",
}  # fmt: skip


@pytest.mark.parametrize("name", NO_STEPS)
def test_what_is_no_step_is_refused(name: str) -> None:
    step = NO_STEPS[name]

    with pytest.raises(aw.AccweightError, match="is not a step; expected a whole number"):
        aw.open_run({0: W, step: V})
    if step is not None:
        with pytest.raises(aw.AccweightError, match="is not a step; expected a whole number"):
            aw.ChangeTracker(errors="raise").update(W, step=step)


@pytest.mark.parametrize("step", [1.0, np.int8(1), np.float64(1), "1", torch.tensor(1)], ids=repr)
def test_whole_numbers_of_every_kind_are_steps(step: Any) -> None:
    assert list(aw.open_run({0: W, step: V}).steps) == [0, 1]
    assert aw.ChangeTracker().update(W).update(V, step=step).analysis().steps[-1] == 1


def test_two_names_of_one_step_are_refused() -> None:
    with pytest.raises(aw.AccweightError, match="are both step 1; leave one out"):
        aw.open_run({1: W, "1": V})


@pytest.mark.parametrize("name", [1, None, b"a.weight", ("a", "weight"), 1.5], ids=repr)
def test_names_that_are_no_text_are_refused(name: Any) -> None:
    with pytest.raises(aw.AccweightError, match="parameter names are text"):
        aw.open_run([{name: ZEROS}, {name: ONES}])
    with pytest.raises(aw.AccweightError, match="parameter names are text"):
        aw.ChangeTracker(errors="raise").update({name: ZEROS})


class Unwilling:
    """Fails when it is asked for an array."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        """Fail."""
        raise RuntimeError("not now")


NO_VALUES: dict[str, Callable[[], Any]] = {
    "on no device": lambda: torch.zeros(2, 2, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "sparse by rows": lambda: torch.eye(3).to_sparse_csr(),
    "without a shape yet": lambda: torch.nn.LazyLinear(3).weight,
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(2, 2), 0.1, 0, torch.qint8),
    "nothing": lambda: None,
    "text": lambda: "1.0",
    "objects": lambda: np.array([[1.0, None]], object),
    "texts": lambda: np.array([["a"]]),
    "times": lambda: np.array([["2020-01-01"]], "M8[D]"),
    "records": lambda: np.zeros((2, 2), [("a", "f4")]),
    "lists of several lengths": lambda: [[1.0], [1.0, 2.0]],
    "a mapping": lambda: {"a": 1},
    "a class": lambda: np.ndarray,
    "what fails": Unwilling,
}


@pytest.mark.filterwarnings("ignore")  # of torch, on sparse and quantised tensors
@pytest.mark.parametrize("name", NO_VALUES)
@pytest.mark.parametrize("later", [False, True], ids=["first", "later"])
def test_values_that_are_no_numbers_are_refused(name: str, later: bool) -> None:
    value = NO_VALUES[name]()
    first = ZEROS if later else value

    with pytest.raises(aw.AccweightError) as caught:
        aw.analyze(aw.open_run([{"fc.weight": first}, {"fc.weight": value}])).ranking()
    assert "\n" not in str(caught.value)
    with pytest.raises(aw.AccweightError) as caught:
        aw.ChangeTracker(errors="raise").update({"fc.weight": first}).update({"fc.weight": value})
    assert "\n" not in str(caught.value)


def test_lists_of_numbers_are_weights() -> None:
    run = aw.open_run([{"fc.weight": [[0.0, 1.0]]}, {"fc.weight": [[1.0, 1.0]]}])

    assert aw.analyze(run).ranking()["mean"][0] == 0.5
    tracker = aw.ChangeTracker().update({"fc.weight": [[0.0, 1.0]]})
    assert tracker.update({"fc.weight": [[1.0, 1.0]]}).analysis().ranking()["mean"][0] == 0.5


ODD: dict[str, Any] = {
    "nothing": None, "a number": 5, "a float": 1.5, "true": True, "bytes": b"x", "a list": [1],
    "a mapping": {}, "a list of nothing": [None, None], "an object": object(),
    "a zero byte": "a\0b", "a long word": "x" * 5000, "a long number": 10**5000,
    "an array": ZEROS, "half a letter": "\ud800",
}  # fmt: skip
"""Of these, few mean anything to the calls below."""

CALLS: dict[str, Callable[[Any, aw.Analysis, Path], object]] = {
    "open_run": lambda odd, of, at: aw.open_run(odd),
    "open_run, model": lambda odd, of, at: aw.open_run([W, V], model=odd),
    "open_run, map": lambda odd, of, at: aw.open_run([W, V], map=odd),
    "open_run, reader": lambda odd, of, at: aw.open_run("nowhere", reader=odd),
    "open_run, skip": lambda odd, of, at: aw.open_run("nowhere", skip=odd),
    "open_run, exclude": lambda odd, of, at: aw.open_run("nowhere", exclude=odd),
    "open_run, storage": lambda odd, of, at: aw.open_run("nowhere", storage_options=odd),
    "open_analysis": lambda odd, of, at: aw.open_analysis(odd),
    "analyze": lambda odd, of, at: aw.analyze(odd),
    "analyze, out": lambda odd, of, at: aw.analyze([W, V], odd),
    "analyze, roles": lambda odd, of, at: aw.analyze([W, V], roles=odd),
    "append": lambda odd, of, at: aw.append(odd, at / "a.accw"),
    "append, out": lambda odd, of, at: aw.append([W, V], odd),
    "compare, a": lambda odd, of, at: aw.compare(odd, of),
    "compare, b": lambda odd, of, at: aw.compare(of, odd),
    "compare, by": lambda odd, of, at: aw.compare(of, of, odd),
    "compare, per": lambda odd, of, at: aw.compare(of, of, per=odd),
    "compare, step": lambda odd, of, at: aw.compare(of, of, step_a=odd),
    "compare, map": lambda odd, of, at: aw.compare(of, of, map=odd),
    "compare, values": lambda odd, of, at: aw.compare(of, of, values=odd),
    "align, a": lambda odd, of, at: aw.align(odd, of),
    "align, b": lambda odd, of, at: aw.align(of, odd),
    "align, map": lambda odd, of, at: aw.align(of, of, map=odd),
    "align, values": lambda odd, of, at: aw.align(of, of, values=odd),
    "ranking, by": lambda odd, of, at: of.ranking(odd),
    "ranking, step": lambda odd, of, at: of.ranking(step=odd),
    "ranking, per": lambda odd, of, at: of.ranking(per=odd),
    "ranking, roles": lambda odd, of, at: of.ranking(roles=odd),
    "table": lambda odd, of, at: of.table(odd),
    "cumulative": lambda odd, of, at: of.cumulative(odd),
    "cumulative, step": lambda odd, of, at: of.cumulative("a.weight", odd),
    "trace": lambda odd, of, at: of.trace(odd, (0, 0)),
    "trace, index": lambda odd, of, at: of.trace("a.weight", odd),
    "layout": lambda odd, of, at: of.layout(odd),
    "checkpoint": lambda odd, of, at: of.checkpoint(odd),
    "normalized, scope": lambda odd, of, at: of.normalized("a.weight", scope=odd),
    "save": lambda odd, of, at: of.save(odd),
    "export": lambda odd, of, at: export(odd, at / "a.csv", "csv"),
    "export, out": lambda odd, of, at: export(of, odd, "csv"),
    "export, to": lambda odd, of, at: export(of, at / "a.csv", odd),
    "export, per": lambda odd, of, at: export(of, at / "a.csv", "csv", per=odd),
    "tracker, weights": lambda odd, of, at: aw.ChangeTracker(errors="raise").update(odd),
    "tracker, roles": lambda odd, of, at: aw.ChangeTracker(roles=odd),
    "tracker, every": lambda odd, of, at: aw.ChangeTracker(every=odd),
    "tracker, errors": lambda odd, of, at: aw.ChangeTracker(errors=odd),
    "tracker, state": lambda odd, of, at: aw.ChangeTracker().load_state_dict(odd),
    "tracker, merge": lambda odd, of, at: aw.ChangeTracker().merge(odd),
    "tracker, loss": lambda odd, of, at: aw.ChangeTracker(errors="raise").update(W, loss=odd),
    "tracker, precision": lambda odd, of, at: aw.ChangeTracker(precision=odd),
    "tracker, cumulative": lambda odd, of, at: aw.ChangeTracker().update(W).cumulative(odd),
}


@pytest.mark.parametrize("call", CALLS)
def test_arguments_of_a_wrong_kind_are_refused(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = aw.analyze(aw.open_run([W, V]))
    escaped: list[tuple[str, str, str]] = []

    for name, odd in ODD.items():
        try:
            CALLS[call](odd, analysis, tmp_path)
        except aw.AccweightError as error:
            escaped += [(name, "several lines", str(error))] if "\n" in str(error) else []
        except Exception as error:
            escaped.append((name, type(error).__name__, str(error)[:80]))

    assert escaped == []


NUMBERS_ARE_MEANT = {"open_run, skip", "open_run, exclude", "tracker, every", "tracker, loss"}


@pytest.mark.parametrize("call", sorted(set(CALLS) - NUMBERS_ARE_MEANT))
def test_a_number_where_none_is_meant_is_no_quiet_default(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    analysis = aw.analyze(aw.open_run([W, V]))

    with pytest.raises(aw.AccweightError):
        CALLS[call](5, analysis, tmp_path)


NO_COUNTS: dict[str, Any] = {
    "zero": 0, "less": -1, "text": "2", "half": 1.5, "true": True, "several": [1],
}  # fmt: skip


@pytest.mark.parametrize("name", NO_COUNTS)
@pytest.mark.parametrize("what", ["threads", "block_elements", "memory_bytes"])
def test_numbers_of_things_are_whole_and_at_least_one(what: str, name: str) -> None:
    with pytest.raises(aw.AccweightError, match=f"{what} must be a whole number of at least 1"):
        aw.analyze([W, V], **{what: NO_COUNTS[name]})
    with pytest.raises(aw.AccweightError, match=f"{what} must be a whole number of at least 1"):
        aw.append([W, V], "none.accw", **{what: NO_COUNTS[name]})


def test_a_budget_of_pictures_may_be_nothing_but_not_less(tmp_path: Path) -> None:
    aw.analyze([W, V], tmp_path / "a.accw", picture_budget_bytes=0)
    with pytest.raises(aw.AccweightError, match="picture_budget_bytes must be a whole number"):
        aw.analyze([W, V], tmp_path / "b.accw", picture_budget_bytes=-1)


@pytest.mark.parametrize("what", ["progress", "notice"])
def test_what_is_called_must_be_a_function(what: str) -> None:
    with pytest.raises(aw.AccweightError, match=f"{what} must be a function, got 5"):
        aw.analyze([W, V], **{what: 5})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"engine": ["dask"]}, "there is no engine"),
        ({"engine": None}, "there is no engine None"),
        ({"executor": 5}, "executor must have submit"),
        ({"engine": "dask", "scheduler": 8786}, "scheduler must be an address"),
    ],
    ids=str,
)
def test_workers_of_a_wrong_kind_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(aw.AccweightError, match=said):
        aw.analyze([W, V], **given)
