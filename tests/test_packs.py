"""Packs: small parameters are walked, drawn and finished together, and nobody who reads notices."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
import zarr
from hypothesis import given
from hypothesis import strategies as st
from store_edits import set_apart
from zarr.codecs import ZstdCodec

import accweight_core as aw
from accweight_core.accumulate.pack import PackWalk
from accweight_core.errors import NonFiniteError, StoreError
from accweight_core.metrics.sums import SUMS
from accweight_core.pictures import packing as packs
from accweight_core.pictures.packing import planned_packs
from accweight_core.schema import Hints, Run
from accweight_core.store.analysis_store import Store
from accweight_core.store.beginning import sweep
from accweight_core.store.header import FORMAT_VERSION, PACKED_VERSION, UNPACKED_VERSION

Stored = Callable[..., Run]

SHAPES: dict[str, tuple[int, ...]] = {
    "a.weight": (20, 30),
    "a.bias": (20,),
    "big.weight": (90, 80),  # with coarser levels, and so by itself
    "b.weight": (6, 4, 3, 3),  # with gaps between kernels
    "b.bias": (6,),
    "c.weight": (20, 30),
    "c.bias": (37,),  # its last line is not full
    "empty.weight": (0, 4),
    "half.weight": (5, 7),
    "complex.weight": (4, 5),
    "scalar": (),
}
SMALL = [name for name in SHAPES if name not in ("big.weight", "empty.weight")]
DTYPES = {"half.weight": torch.bfloat16, "complex.weight": torch.complex64}
ROLES = ("weight", "bias")


def states(steps: int = 5) -> list[dict[str, torch.Tensor]]:
    walks = {
        name: oracle.series(shape, DTYPES.get(name, torch.float32), steps=steps, seed=number)
        for number, (name, shape) in enumerate(SHAPES.items())
    }
    found = [{name: walk[t] for name, walk in walks.items()} for t in range(steps)]
    found[3]["c.bias"][5] = torch.nan
    return found


@pytest.fixture
def run(stored: Stored) -> Run:
    return stored(states(), "plain", Hints())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.accw"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make packs that hold little, so that there are several."""
    monkeypatch.setattr(packs, "PACK_TEXELS", 700)


def written_before_there_were_packs(run: Run, out: Path, **options: Any) -> aw.Analysis:
    """Store an analysis as programs did that knew of no packs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "SMALL_TEXELS", 0)
        aw.analyze(run, out, roles=ROLES, **options)
    set_apart(out)
    document = json.loads((out / "zarr.json").read_text())
    del document["attributes"]["accweight"]["packs"]
    assert document["attributes"]["accweight"]["format"] == UNPACKED_VERSION
    (out / "zarr.json").write_text(json.dumps(document))
    return aw.open_analysis(out)


def store_of(analysis: aw.Analysis) -> Store:
    assert analysis.store is not None
    return analysis.store


def pictures(analysis: aw.Analysis) -> dict[tuple[str, int, str], bytes]:
    """Every picture that is stored."""
    store, header = store_of(analysis), analysis.header
    return {
        (parameter.name, level, plane): store.picture(index, level, plane, slice(None)).tobytes()
        for index, parameter in enumerate(header.parameters)
        for level in (header.plan(index).levels if parameter.elements else ())
        for plane in (("mean", "max") if level else ("mean",))
    }


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def names(analysis: aw.Analysis) -> list[list[str]]:
    return [[analysis.parameters[i].name for i in members] for members in analysis.header.packs]


def stopped(run: Run, out: Path, after: int, **options: Any) -> None:
    """Begin an analysis and let it fail after so many packs or parameters."""
    finish, done = Store.finish_parameters, []

    def failing(self: Store, members: Sequence[int], totals: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        finish(self, members, totals)
        done.append(members)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Store, "finish_parameters", failing)
        with pytest.raises(KeyboardInterrupt):
            aw.analyze(run, out, roles=ROLES, **options)


# --- the plan


@given(st.lists(st.integers(0, 9000), max_size=60), st.integers(2, 3000))
def test_packs_hold_small_parameters_in_their_order_and_are_not_large(
    texels: list[int], steps: int
) -> None:
    planned = planned_packs(texels, steps)

    size_bytes = [steps * (4 * size + 8 * len(SUMS)) for size in texels]
    small = [
        index
        for index, size in enumerate(texels)
        if 0 < size <= packs.SMALL_TEXELS and size_bytes[index] <= packs.MEMBER_BYTES
    ]
    assert [index for members in planned for index in members] == small
    for members in planned:
        assert sum(texels[index] for index in members) <= packs.PACK_TEXELS
        assert sum(size_bytes[index] for index in members) <= packs.PACK_BYTES


def test_a_pack_is_filled_before_the_next_one_is_begun() -> None:
    size = packs.PACK_TEXELS // 32

    planned = planned_packs([size, 0, *[size] * 40], 2)

    assert [len(members) for members in planned] == [32, 9]
    assert planned[0][:2] == (0, 2)


def test_small_parameters_are_packed_and_others_are_not(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out, roles=ROLES)

    assert names(analysis) == [SMALL]
    assert sorted(f.name for f in (out / "pictures").iterdir()) == ["000002", "packed", "zarr.json"]


# --- what lies on disk


@pytest.mark.usefixtures("several")
def test_any_zarr_reader_finds_the_pictures_in_a_pack(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out, roles=ROLES)

    group = zarr.open_group(out, mode="r")
    found = {}
    for number in range(len(analysis.header.packs)):
        array: Any = group[f"pictures/packed/{number:06d}"]
        said: Any = array.attrs["accweight"]
        values = array[:]
        assert array.dtype == np.float32
        for name, first, rows, cols in zip(
            *(said[key] for key in ("parameters", "first_texels", "rows", "columns")), strict=True
        ):
            found[name] = values[:, first : first + rows * cols].reshape(-1, rows, cols)
        assert said["indices"] == list(analysis.header.packs[number])

    assert len(analysis.header.packs) > 2
    assert list(found) == SMALL
    for name, picture in found.items():
        layout, exact = analysis.layout(name), analysis.cumulative(name)
        assert picture.shape == (5, layout.rows, layout.cols)
        for row in range(layout.rows):
            for col in range(layout.cols):
                index = layout.element(row, col)
                expected = np.nan if index is None else np.float32(exact[index])
                np.testing.assert_equal(picture[-1, row, col], expected)


def test_programs_that_know_no_packs_are_told_if_they_need_to(run: Run, out: Path) -> None:
    def said(folder: Path) -> Any:
        return json.loads((folder / "zarr.json").read_text())["attributes"]["accweight"]["format"]

    aw.analyze(run, out)
    small = [{"a.weight": state["a.weight"]} for state in states()]
    aw.analyze(dict(enumerate(small)), out.with_name("small.accw"))
    without = aw.analyze(run, out.with_name("numbers.accw"), picture_budget_bytes=0)

    assert said(out) == FORMAT_VERSION == 4
    assert said(out.with_name("small.accw")) == PACKED_VERSION == 2
    assert said(out.with_name("numbers.accw")) == UNPACKED_VERSION == 1
    assert without.header.packs


@pytest.mark.usefixtures("several")
@pytest.mark.parametrize("form", ["plain", "transposed", "hidden"])
def test_numbers_and_pictures_are_those_of_parameters_alone(
    stored: Stored, out: Path, form: str
) -> None:
    run = stored(states(), form, Hints())
    packed = aw.analyze(run, out, roles=ROLES, threads=3)

    alone = written_before_there_were_packs(run, out.with_name("old.accw"))

    assert packed.values.tobytes() == alone.values.tobytes()
    assert pictures(packed) == pictures(alone)
    for name in ("mean", "rotation"):
        ours, theirs = (store_of(a).metric(name) for a in (packed, alone))
        assert ours.tobytes() == theirs.tobytes()


def test_numbers_are_the_same_without_pictures_and_in_memory(run: Run, out: Path) -> None:
    expected = aw.analyze(run, out, roles=ROLES).values.tobytes()

    numbers = aw.analyze(run, out.with_name("n.accw"), roles=ROLES, picture_budget_bytes=0)

    assert numbers.values.tobytes() == expected
    assert aw.analyze(run, roles=ROLES).values.tobytes() == expected


INDICES: list[Any] = [
    0,
    -1,
    slice(None),
    slice(1, 3),
    slice(3, 1),
    np.int64(2),
    (1, 2),
    (slice(None), 0),
    (-2, slice(1, -1), 3),
    (slice(1, 4), slice(2, 99), slice(0, 2)),
    (4, -1, -1),
]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_a_packed_picture_is_indexed_like_any_array(run: Run, out: Path, index: Any) -> None:
    packed = aw.analyze(run, out, roles=ROLES)
    alone = written_before_there_were_packs(run, out.with_name("old.accw"))

    for name in ("c.weight", "b.weight", "c.bias"):
        position = packed.parameter_index(name)
        ours, theirs = (store_of(a).picture_array(position, 0) for a in (packed, alone))
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours[index], theirs[index])
        assert np.shape(ours[index]) == np.shape(theirs[index])


@pytest.mark.parametrize("index", [5, -6, (0, 20), (0, 0, 0, 0), slice(0, 4, 2), (0, 0, 30)])
def test_a_part_that_a_packed_picture_has_not_is_an_index_error(
    run: Run, out: Path, index: Any
) -> None:
    picture = store_of(aw.analyze(run, out, roles=ROLES)).picture_array(0, 0)

    with pytest.raises(IndexError):
        picture[index]


def test_packed_pictures_have_no_other_levels(run: Run, out: Path) -> None:
    store = store_of(aw.analyze(run, out, roles=ROLES))

    with pytest.raises(StoreError, match="levels 0 to 0 are stored, not level 1"):
        store.picture_array(0, 1, "max")


def test_a_pack_that_zarr_has_recompressed_reads_the_same(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out, roles=ROLES)
    expected = pictures(analysis)
    path = out / "pictures/packed/000000"

    values: Any = zarr.open_array(path, mode="r")[:]
    zarr.create_array(path, data=values, compressors=ZstdCodec(), overwrite=True)

    assert pictures(aw.open_analysis(out)) == expected
    assert pictures(analysis) == expected  # which had opened the pack as it was


@pytest.mark.parametrize("damage", ["lost", "cut", "of another run"])
def test_a_damaged_pack_is_an_error_of_ours(run: Run, out: Path, damage: str) -> None:
    aw.analyze(run, out, roles=ROLES)
    path = out / "pictures/packed/000000"
    if damage == "lost":
        shutil.rmtree(path)
    elif damage == "cut":
        (path / "c.0.0").write_bytes(b"short")
    else:
        shutil.rmtree(path)
        zarr.create_array(path, data=np.zeros((5, 9), np.float32))

    with pytest.raises(StoreError, match="damaged"):
        store_of(aw.open_analysis(out)).picture(0, 0, "mean", 1)


@pytest.mark.parametrize(
    "wrong", [[[99]], [[0, 0]], [[0], [0]], [[]], [["a"]], [[True]], [[-1]], 3, [3]], ids=str
)
def test_packs_that_cannot_be_are_a_damaged_header(run: Run, out: Path, wrong: Any) -> None:
    aw.analyze(run, out, roles=ROLES)
    document = json.loads((out / "zarr.json").read_text())
    document["attributes"]["accweight"]["packs"] = wrong
    (out / "zarr.json").write_text(json.dumps(document))

    with pytest.raises(StoreError, match="the header of the analysis is damaged"):
        aw.open_analysis(out)


# --- finished together


@pytest.mark.usefixtures("several")
def test_a_stopped_analysis_has_whole_packs_and_ends_the_same(run: Run, out: Path) -> None:
    whole = aw.analyze(run, out.with_name("whole.accw"), roles=ROLES)
    stopped(run, out, after=2, threads=1)

    early = aw.open_analysis(out, unfinished=True)
    finished = early.finished()
    for members in early.header.packs:
        assert len({finished[index] for index in members}) == 1
    assert sum(finished) == sum(map(len, early.header.packs[:1])) + 1  # and the large one
    for name in early.header.packs[0]:
        np.testing.assert_array_equal(
            store_of(early).picture(name, 0, "mean", slice(None)),
            store_of(whole).picture(name, 0, "mean", slice(None)),
        )

    aw.analyze(run, out, roles=ROLES)

    assert files_of(out) == files_of(out.with_name("whole.accw"))


def test_a_pack_with_one_member_unfinished_is_walked_anew(run: Run, out: Path) -> None:
    aw.analyze(run, out.with_name("whole.accw"), roles=ROLES)
    stopped(run, out, after=2, threads=1)
    store = Store.open(out)
    assert all(store.finished()[index] for index in store.header.packs[0])

    values = store.totals
    values[:, store.header.packs[0][3]] = np.nan
    store._totals_array.write((0, 0, 0), values)

    assert not any(store.finished()[index] for index in store.header.packs[0])
    sweep(store)
    assert not (out / "pictures/packed/000000").exists()
    aw.analyze(run, out, roles=ROLES)
    assert files_of(out) == files_of(out.with_name("whole.accw"))


def test_strict_names_the_member_of_a_pack(run: Run, out: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"parameter 'c.bias' has 1 non-finite .* at step 30"):
        aw.analyze(run, out, roles=ROLES, strict=True)

    assert not aw.open_analysis(out, unfinished=True).finished()[0]


# --- stores of programs that knew of no packs


def test_an_old_store_opens(run: Run, out: Path) -> None:
    expected = aw.analyze(run).cumulative("a.weight").max()

    old = written_before_there_were_packs(run, out)

    assert old.header.packs == ()
    assert (out / "pictures/000000/0/zarr.json").exists()
    assert not (out / "pictures/packed").exists()
    assert np.nanmax(store_of(old).picture(0, 0, "mean", -1)) == np.float32(expected)


def test_an_old_store_goes_on_as_it_was_begun(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(packs, "SMALL_TEXELS", 0)
        stopped(run, out, after=3)
        aw.analyze(run, out.with_name("whole.accw"), roles=ROLES)

    aw.analyze(run, out, roles=ROLES)

    assert files_of(out) == files_of(out.with_name("whole.accw"))


def test_an_old_store_can_be_appended_to(run: Run, out: Path) -> None:
    whole = aw.analyze(run, out.with_name("whole.accw"), roles=ROLES, keep_state=True)
    first = Run(run.source, run.reader, run.checkpoints[:3], run.layers)
    written_before_there_were_packs(first, out, keep_state=True)

    grown = aw.append(run, out)

    assert grown.header.packs == whole.header.packs
    assert grown.values.tobytes() == whole.values.tobytes()
    assert pictures(grown) == pictures(whole)


def test_what_is_too_large_for_a_pack_with_more_steps_is_appended_too(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MEMBER_BYTES", 4 * (4 * 600 + 8 * len(SUMS)))  # at four steps
    first = Run(run.source, run.reader, run.checkpoints[:3], run.layers)
    begun = aw.analyze(first, out, roles=ROLES, keep_state=True)
    assert "a.weight" in names(begun)[0]
    whole = aw.analyze(run, out.with_name("whole.accw"), roles=ROLES)
    assert "a.weight" not in names(whole)[0]

    grown = aw.append(run, out)

    assert names(grown) == names(whole)
    assert pictures(grown) == pictures(whole)


def test_who_knows_of_fewer_steps_reads_those_while_others_are_appended(
    run: Run, out: Path
) -> None:
    first = Run(run.source, run.reader, run.checkpoints[:3], run.layers)
    early = aw.analyze(first, out, roles=ROLES, keep_state=True)
    before = store_of(early).picture(0, 0, "mean", slice(0, 3))

    aw.append(run, out)

    np.testing.assert_array_equal(store_of(early).picture(0, 0, "mean", slice(0, 3)), before)


# --- walked together


def test_what_is_alike_is_walked_in_one_call_and_the_rest_alone(stored: Stored) -> None:
    shapes = {"a": (3,), "b": (2, 2), "c": (4,), "d": (3,), "half": (3,), "e": (4,), "f": (4,)}
    described = {"half": torch.bfloat16, "e": torch.complex64, "f": torch.complex64}
    run = stored(
        [{n: torch.zeros(s, dtype=described.get(n)) for n, s in shapes.items()} for _ in range(2)]
    )
    tensors = [[c.tensors[name] for c in run.checkpoints] for name in shapes]

    def together(**options: Any) -> list[list[str]]:
        members = range(len(shapes))
        walk = PackWalk(members, list(shapes), tensors, done=lambda values: None, **options)
        return [[walk.names[member] for member in group] for group in walk.together]

    # half precision is widened to float32; the modulus of complex numbers may round another way
    assert together() == [["a", "d", "half"], ["b", "c"], ["e"], ["f"]]
    assert together(keep=lambda index, block, carry: None) == [[name] for name in shapes]
