"""Parts that probes are made of: collectors, axes and limits, batches of one's own, rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from probe_networks import Plain, stack, steps_of, write_states

import accweight_core as aw
from accweight_core.cli.probes import list_page
from accweight_core.errors import ArgumentValueError
from accweight_core.probes.collecting import Largest, SumsOfSamples, Top
from accweight_core.probes.options import as_probes
from accweight_core.probes.patches import with_mask, without_unit
from accweight_core.probes.probe import (
    Batch,
    Field,
    Limits,
    Needs,
    Probe,
    Schema,
    Step,
    array,
    final,
    option,
)
from accweight_core.probes.units import UnitAxes
from accweight_core.samples.rules import Rule

Array = np.ndarray[Any, np.dtype[Any]]


def batch(rows: list[int], values: Array) -> Batch:
    """Return some samples with the values of a node."""
    return Batch(np.array(rows), {}, np.empty((len(rows), 0)), {"node": values})


# ---------------------------------------------------------------- collectors


def test_top_keeps_the_largest_of_all_batches_and_of_equal_ones_the_first() -> None:
    def taken(one: Batch) -> Mapping[str, Array]:
        rows = np.broadcast_to(one.rows[:, None], one.outputs["node"].shape)
        return {"values": one.outputs["node"], "rows": rows}

    values = np.array([[3, 0], [1, 0], [3, 7], [2, 5], [9, 7]])
    top = Top(taken, "values", 3)
    for _ in range(2):  # a step starts with nothing
        top.begin()
        for rows in ([0, 1], [2, 3], [4]):
            top.add(batch(rows, values[rows]))

    assert top["values"].tolist() == [[9, 3, 3], [7, 7, 5]]
    assert top["rows"].tolist() == [[4, 0, 2], [2, 4, 3]]


def test_the_largest_values_of_batches_are_those_of_all_samples() -> None:
    values = np.random.default_rng(0).standard_normal((7, 3))
    largest = Largest(lambda one: {"node": one.outputs["node"].max(axis=0)})
    largest.begin()
    for rows in ([0, 1, 2], [3], [4, 5, 6]):
        largest.add(batch(rows, values[rows]))

    np.testing.assert_array_equal(largest["node"], values.max(axis=0))


def test_sums_of_samples_do_not_depend_on_batches() -> None:
    values = np.random.default_rng(0).standard_normal(9) * 10.0 ** np.arange(9)

    def sums_of(batches: list[list[int]]) -> Any:
        sums = SumsOfSamples(lambda one: ({"all": own} for own in one.outputs["node"]))
        for _ in range(2):  # a step starts with nothing
            sums.begin()
            for rows in batches:
                sums.add(batch(rows, values[rows]))
        return sums["all"]

    assert sums_of([[0, 1, 2, 3], [4, 5, 6, 7, 8]]) == sums_of([[*range(9)]])
    assert sums_of([[at] for at in range(9)]) == pytest.approx(values.sum())


# ---------------------------------------------------------------- what is stored, and options


def test_axes_have_their_lengths_in_all_arrays_and_names_become_labels() -> None:
    odd = Field("odd", ("step", "unit"), (0, 1), "of another length")

    schema = Schema.of(
        {"layer": ["a", "b"], "unit": 4},
        array("values", "step layer unit", "values", "float32"),
        final("pairs", "step step", "all pairs"),
        odd,
        attributes={"node": "a"},
    )

    assert [field.shape for field in schema.fields] == [(0, 2, 4), (0, 0), (0, 1)]
    assert [field.final for field in schema.fields] == [False, True, False]
    assert schema.fields[0].dtype == "float32"
    assert schema.labels == {"layer": ("a", "b")}
    assert schema.attributes == {"node": "a"}


@dataclass
class Limited(Probe):
    """A probe whose option has limits."""

    name: ClassVar[str] = "limited"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.WEIGHTS

    share: float | None = option(0.5, "a share", above=0, most=1)


@pytest.mark.parametrize("share", [0.1, 1, None])
def test_an_option_within_its_limits_is_taken(share: float | None) -> None:
    assert as_probes(Limited(share)) == [Limited(share)]


@pytest.mark.parametrize("share", [0, 1.5, float("nan"), -float("inf")])
def test_an_option_outside_of_its_limits_is_told_before_anything_is_done(share: float) -> None:
    said = f"probe 'limited': share is {share:g}; expected above 0 and at most 1"

    with pytest.raises(ArgumentValueError, match=said):
        aw.probe("nowhere.accw", probes=Limited(share))


def test_an_option_without_limits_may_be_infinite() -> None:
    @dataclass
    class Unlimited(Probe):
        name: ClassVar[str] = "unlimited"
        version: ClassVar[int] = 1
        needs: ClassVar[Needs] = Needs.WEIGHTS

        reach: float = option(float("inf"), "how far it goes")

    assert as_probes(Unlimited())[0].reach == float("inf")  # type: ignore[attr-defined]


def test_limits_are_said_in_words() -> None:
    assert str(Limits(least=2, most=512)) == "at least 2 and at most 512"
    assert str(Limits(above=1)) == "above 1"


def test_the_list_of_probes_says_the_limits_of_options() -> None:
    lines = [line for line in list_page() if isinstance(line, str)]

    assert any(line.startswith("failure:times=100.0  (number, above 1) ") for line in lines)
    assert any(line.startswith("evaluate:output=output  (text) ") for line in lines)


# ---------------------------------------------------------------- networks


@dataclass
class Own(Probe):
    """Runs values of its own, and samples again with a unit silenced."""

    name: ClassVar[str] = "own"
    version: ClassVar[int] = 1
    needs: ClassVar[Needs] = Needs.FORWARD
    takes_broken: ClassVar[bool] = True

    def start(self, context: Any) -> Schema:
        self.context, self.axes = context, context.axes_of(["0"])["0"]
        self.values = {"input": np.arange(15, dtype=np.float32).reshape(5, 3)}
        return Schema.of(
            {"sample": 5, "unit": 4, "row": 3},
            array("hidden", "step sample unit", "of values of its own"),
            array("silenced", "step row unit", "of samples, without unit 1"),
        )

    def begin(self, step: Step) -> None:
        made = self.context.batches(step.bound, self.values, ["0"])
        self.hidden = np.concatenate([one.outputs["0"] for one in made])
        without = without_unit(step.bound, "0", self.axes, 1)
        again = self.context.batches(without, np.array([1, 2, 6]), ["0"])
        self.silenced = np.concatenate([one.outputs["0"] for one in again])

    def end(self) -> Mapping[str, Array]:
        return {"hidden": self.hidden, "silenced": self.silenced}


@pytest.mark.parametrize("shape", [None, (2, 3)])
def test_values_of_ones_own_run_like_samples_whatever_the_network_takes_at_a_time(
    tmp_path: Path, shape: tuple[int, ...] | None
) -> None:
    module, x = stack(3, 4, 2), np.random.default_rng(0).standard_normal((7, 3)).astype("f4")
    states = steps_of(module, 2)
    states[1]["0.weight"][1] = torch.nan
    run = aw.open_run(write_states(tmp_path / "run", states))

    found = aw.probe(run, Plain(module, shape), x, Own(), out=tmp_path / "a.accw")["own"]

    with torch.no_grad():
        expected = module[0](torch.arange(15.0).reshape(5, 3)).numpy()
        of_samples = module[0](torch.from_numpy(x[[1, 2, 6]])).numpy()
    np.testing.assert_allclose(found.array("hidden", 0), expected, rtol=1e-6)
    of_samples[:, 1] = 0
    np.testing.assert_allclose(found.array("silenced", 0), of_samples, rtol=1e-6)
    np.testing.assert_allclose(found.array("silenced", 1), of_samples, rtol=1e-6)


def test_a_mask_leaves_single_units_of_single_samples() -> None:
    module, axes = stack(3, 4, 2), UnitAxes(0, (1,), 4, ())
    bound, x = Plain(module).with_weights({}), np.ones((2, 3), np.float32)
    mask = np.zeros((2, 4, 1), np.float32)
    mask[0, 3] = mask[1, 0] = 1

    found = with_mask(bound, "0", axes, mask).run(x, ["0"])["0"]

    np.testing.assert_array_equal(found, bound.run(x, ["0"])["0"] * mask[:, :, 0])


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("x1>=2", [1, 2]), ("x0<1", [1]), ("mean==2", [2]), ("y==1", [0, 2]), ("y<=0", [1])],
)
def test_a_rule_chooses_samples(text: str, chosen: list[int]) -> None:
    x, labels = np.array([[1, 0], [0, 2], [1, 3]]), np.array([1, 0, 1])

    assert np.flatnonzero(Rule.of(text).holds(x, labels)).tolist() == chosen


@pytest.mark.parametrize("text", ["x>1", "x1=2", "z<1", "x1>1e", "y==", ""])
def test_what_is_no_rule_is_told(text: str) -> None:
    with pytest.raises(ArgumentValueError, match=r"is none; expected x12>0\.5, y==3"):
        Rule.of(text)


def test_a_rule_of_what_samples_do_not_have_is_told() -> None:
    with pytest.raises(
        ArgumentValueError, match=r"rule x2: samples have 2 numbers, .* and classes"
    ):
        Rule.of("x2>1").holds(np.zeros((3, 2)), np.zeros(3))
    with pytest.raises(ArgumentValueError, match="and no classes"):
        Rule.of("y==1").holds(np.zeros((3, 2)), None)
