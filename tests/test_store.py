"""The store: opened lazily, never half trusted, and nothing of anyone else's ever overwritten."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numcodecs
import numpy as np
import oracle
import pytest
import torch
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

import accweight_core as aw
from accweight_core.accumulate.cutting import Block
from accweight_core.accumulate.walk import BlockWalk
from accweight_core.errors import AccweightError, MissingLibraryError, NonFiniteError, StoreError
from accweight_core.metrics.table import METRICS
from accweight_core.pictures import packing as packs
from accweight_core.schema import Run
from accweight_core.store import files
from accweight_core.store import lock as exclusive
from accweight_core.store import part as store
from accweight_core.store import zarr_chunks as chunks
from accweight_core.store.analysis_store import Store
from accweight_core.store.header import FORMAT_VERSION
from accweight_core.store.lock import locked

Stored = Callable[..., Run]


def checkpoints_of(seed: int = 0, steps: int = 3) -> list[dict[str, torch.Tensor]]:
    walks = {
        "conv.weight": oracle.series((60, 20, 3, 3), steps=steps, seed=seed),
        "fc.weight": oracle.series((120, 170), steps=steps, seed=seed),
        "fc.empty": oracle.series((0, 4), steps=steps),
    }
    return [{name: states[t] for name, states in walks.items()} for t in range(steps)]


@pytest.fixture
def run(stored: Stored) -> Run:
    return stored(checkpoints_of())


@pytest.fixture
def other_run(tmp_path: Path) -> Run:
    (tmp_path / "other").mkdir()
    return oracle.raw_run(tmp_path / "other", checkpoints_of(seed=5))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.accw"


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in folder.rglob("*")
    }


def chunks_of(out: Path, *kinds: str) -> list[Path]:
    return [f for kind in kinds for f in (out / kind).rglob("c.*") if f.is_file()]


# --- what lies on disk


def test_any_zarr_reader_shows_the_arrays(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out)

    group = zarr.open_group(out, mode="r")

    assert group.metadata.zarr_format == 3
    for name in METRICS:
        array = group[f"metrics/{name}"]
        assert array.shape == (3, 3)
        assert array.dtype == np.float64
        for row in analysis.measured("parameter"):
            column = analysis.parameter_index(row.name)
            np.testing.assert_array_equal(array[:, column], row.metrics[name])
    assert np.isnan(group["metrics/mean"][:, analysis.parameter_index("fc.empty")]).all()
    picture = group["pictures/000000"]
    assert picture.dtype == np.float32
    said = picture.attrs["accweight"]
    assert said["parameter"] == "conv.weight"
    keys = ("levels", "planes", "first_texels", "rows", "columns")
    for level, plane, first, rows, cols in zip(*map(said.__getitem__, keys), strict=True):
        assert (rows, cols) == analysis.header.plan(0).size(level)
        found = picture[:, first : first + rows * cols].reshape(3, rows, cols)
        np.testing.assert_array_equal(found, analysis.store.picture(0, level, plane, slice(None)))
    assert set(said["levels"]) == set(analysis.header.plan(0).levels)


def test_attributes_say_what_the_run_was(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out)

    said: Any = zarr.open_group(out, mode="r").attrs["accweight"]

    assert said["format"] == FORMAT_VERSION  # no picture of it is small
    assert said["complete"] is True
    assert said["reader"] == "raw"
    assert [c["step"] for c in said["checkpoints"]] == [0, 10, 20]
    assert [c["path"] for c in said["checkpoints"]] == [c.path for c in run.checkpoints]
    assert [p["name"] for p in said["parameters"]] == ["conv.weight", "fc.weight", "fc.empty"]
    assert said["parameters"][0] == {
        "name": "conv.weight",
        "layer": "conv",
        "kind": "other",
        "role": "weight",
        "shape": [60, 20, 3, 3],
        "dtype": "float32",
        "axes": list(map(str, analysis.parameters[0].axes)),
        "sections": [],
    }
    largest = max(("conv.weight", "fc.weight"), key=lambda n: analysis.cumulative(n).max())
    path = analysis.cumulative(largest)
    assert said["maximum"]["parameter"] == largest
    assert said["maximum"]["value"] == path.max()
    assert said["maximum"]["index"] == list(map(int, np.unravel_index(path.argmax(), path.shape)))
    assert set(said["versions"]) == {"accweight", "numpy", "torch", "python"}


def test_the_header_comes_back_as_it_was(run: Run, out: Path) -> None:
    written = aw.analyze(run, out, roles=["weight", "bias"]).header

    assert aw.open_analysis(out).header == written


def test_the_same_run_gives_the_same_bytes(run: Run, out: Path, tmp_path: Path) -> None:
    aw.analyze(run, out)
    aw.analyze(run, tmp_path / "again.accw", threads=3)

    assert files_of(out) == files_of(tmp_path / "again.accw")


def test_nothing_is_left_beside_a_finished_analysis(run: Run, out: Path) -> None:
    before = set(os.listdir(out.parent))

    aw.analyze(run, out)

    assert set(os.listdir(out.parent)) == before | {out.name}
    assert not list(out.rglob("*.partial"))


def recompressed(folder: Path) -> int:
    """Let zarr write every array anew, compressed and cut in another way."""
    arrays = [file.parent for file in folder.rglob("zarr.json") if '"array"' in file.read_text()]
    for path in arrays:
        values: Any = zarr.open_array(path, mode="r")[:]
        zarr.create_array(path, data=values, compressors=ZstdCodec(), overwrite=True)
    return len(arrays)


def test_a_store_that_zarr_has_recompressed_reads_the_same(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out, keep_state=True)
    assert analysis.store is not None
    plan = analysis.header.plan(1)
    expected = [analysis.store.picture(1, level, "mean", 1) for level in plan.levels]
    state = analysis.store.read_state(1, Block(0, 120 * 170))

    count = recompressed(out)

    assert count > len(METRICS)
    opened = aw.open_analysis(out)
    np.testing.assert_array_equal(opened.values, analysis.values)
    assert opened.store is not None
    assert opened.store.picture_array(1, 0).shape == (3, *plan.size(0))
    for level, picture in zip(plan.levels, expected, strict=True):
        np.testing.assert_array_equal(opened.store.picture(1, level, "mean", 1), picture)
    for part, before in zip(opened.store.read_state(1, Block(0, 120 * 170)), state, strict=True):
        np.testing.assert_array_equal(part, before)


BOMB = bytes(64 << 20)
BOMBS: dict[str, tuple[Any, Callable[[], bytes]]] = {
    "gzip": (GzipCodec(), lambda: gzip.compress(BOMB)),
    "zstd": (ZstdCodec(), lambda: bytes(numcodecs.Zstd().encode(BOMB))),
    "blosc": (BloscCodec(), lambda: bytes(numcodecs.Blosc().encode(BOMB))),
}


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("name", BOMBS)
def test_a_chunk_that_unpacks_to_more_than_its_array_is_refused(
    tmp_path: Path, name: str, sharded: bool
) -> None:
    codec, bomb = BOMBS[name]
    values = np.random.default_rng(0).random((3, 64), np.float32)
    shards = (3, 64) if sharded else None
    array = tmp_path / "array"
    zarr.create_array(array, data=values, chunks=(3, 32), shards=shards, compressors=codec)
    np.testing.assert_array_equal(chunks.open_array(array)[:], values)
    for file in (array / "c").rglob("*"):
        if file.is_file():
            file.write_bytes(in_a_shard(bomb()) if sharded else bomb())

    with pytest.raises(StoreError, match="unpacks to more than"):
        chunks.open_array(array)[:]


def in_a_shard(chunk: bytes) -> bytes:
    """Return a shard of two chunks, both the same, with its index at the end."""
    index = struct.pack("<4Q", 0, len(chunk), 0, len(chunk))
    return chunk + index + google_crc32c.Checksum(index).digest()[::-1]


def test_without_zarr_a_recompressed_store_says_what_to_install(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aw.analyze(run, out)
    recompressed(out)
    monkeypatch.setitem(sys.modules, "zarr", None)

    with pytest.raises(MissingLibraryError) as caught:
        _ = aw.open_analysis(out).values

    assert str(caught.value) == (
        f"{out}/totals: reading an array that was stored anew, compressed or in another form, "
        "needs zarr, which is not installed; install it with: pip install zarr"
    )


# --- lazily


def test_opening_reads_no_numbers(run: Run, out: Path) -> None:
    aw.analyze(run, out)
    for chunk in chunks_of(out, "metrics", "pictures", "totals"):
        chunk.unlink()

    analysis = aw.open_analysis(out)

    assert analysis.steps.tolist() == [0, 10, 20]
    assert [layer.name for layer in analysis.layers] == ["conv", "fc"]
    assert analysis.maximum is not None


def test_rankings_read_neither_pictures_nor_metric_arrays(run: Run, out: Path) -> None:
    expected = aw.analyze(run, out).ranking()
    for chunk in chunks_of(out, "metrics", "pictures"):
        chunk.write_bytes(b"damaged")

    assert aw.open_analysis(out).ranking().equals(expected)


def test_one_step_of_a_picture_reads_no_other_parameter(run: Run, out: Path) -> None:
    analysis = aw.analyze(run, out)
    assert analysis.store is not None
    expected = analysis.store.picture(0, 0, "mean", 2)
    for chunk in chunks_of(out / "pictures", "000001"):
        chunk.write_bytes(b"damaged")

    opened = aw.open_analysis(out)

    assert opened.store is not None
    np.testing.assert_array_equal(opened.store.picture(0, 0, "mean", 2), expected)


# --- what is no analysis


def test_there_is_none(out: Path) -> None:
    with pytest.raises(StoreError, match=r"run.accw: there is no such analysis; make one with"):
        aw.open_analysis(out)


def foreign(kind: str, path: Path) -> None:
    """Put something at the path that is not an analysis."""
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("mine")
    elif kind == "group":
        zarr.create_group(path, attributes={"mine": 1})
    elif kind == "array":
        zarr.create_array(path, shape=(3,), dtype="float32")
    elif kind == "old zarr":
        zarr.create_group(path, zarr_format=2)
    elif kind == "broken json":
        path.mkdir()
        (path / "zarr.json").write_text('{"zarr_format": 3, "node_')
    else:
        path.symlink_to(path.with_name("nowhere"))


FOREIGN = ("file", "folder", "group", "array", "old zarr", "broken json", "dangling link")


@pytest.mark.parametrize("kind", FOREIGN)
def test_something_else_is_not_opened(out: Path, kind: str) -> None:
    foreign(kind, out)

    with pytest.raises(StoreError, match=r"run.accw"):
        aw.open_analysis(out)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_something_else_is_never_overwritten(
    run: Run, out: Path, kind: str, overwrite: bool
) -> None:
    foreign(kind, out)
    before = files_of(out) if out.is_dir() else out.is_symlink() or out.read_bytes()

    with pytest.raises(StoreError, match=r"run.accw") as caught:
        aw.analyze(run, out, overwrite=overwrite)

    assert "\n" not in str(caught.value)
    assert (files_of(out) if out.is_dir() else out.is_symlink() or out.read_bytes()) == before
    assert not list(out.parent.glob(".run*"))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_in_the_way_is_said_to_be(run: Run, out: Path, kind: str) -> None:
    foreign(kind, out)

    with pytest.raises(StoreError, match="not an accweight analysis"):
        aw.analyze(run, out)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_empty_folder_is_taken(run: Run, out: Path, overwrite: bool) -> None:
    out.mkdir()

    aw.analyze(run, out, overwrite=overwrite)

    assert aw.open_analysis(out).steps.tolist() == [0, 10, 20]


def test_folders_on_the_way_are_made(run: Run, tmp_path: Path) -> None:
    aw.analyze(run, tmp_path / "deep" / "down" / "run.accw")

    assert aw.open_analysis(tmp_path / "deep" / "down" / "run.accw").header.complete


# --- other runs, other options


def test_the_analysis_of_another_run_is_kept(run: Run, other_run: Run, out: Path) -> None:
    aw.analyze(other_run, out)
    before = files_of(out)

    with pytest.raises(StoreError, match=r"with other options; .* --overwrite"):
        aw.analyze(run, out)

    assert files_of(out) == before


def test_the_analysis_of_another_run_is_replaced_when_asked(
    run: Run, other_run: Run, out: Path, tmp_path: Path
) -> None:
    aw.analyze(other_run, out)

    aw.analyze(run, out, overwrite=True)

    aw.analyze(run, tmp_path / "fresh.accw")
    assert files_of(out) == files_of(tmp_path / "fresh.accw")


def test_a_link_to_an_analysis_can_be_written_through(
    run: Run, other_run: Run, out: Path, tmp_path: Path
) -> None:
    aw.analyze(other_run, tmp_path / "real.accw")
    out.symlink_to(tmp_path / "real.accw")

    try:
        analysis = aw.analyze(run, out, overwrite=True)
    except StoreError:
        assert aw.open_analysis(out).header.checkpoints[0].path == other_run.checkpoints[0].path
    else:
        assert analysis.header.complete


def test_other_weights_in_memory_are_another_run(out: Path) -> None:
    first, second = ([{"a.weight": torch.ones(2, 2) * v} for v in (0, top)] for top in (1, 5))
    aw.analyze(aw.open_run(first), out)

    try:
        analysis = aw.analyze(aw.open_run(second), out)
    except StoreError:
        return  # refusing is honest

    assert analysis.ranking()["mean"].tolist() == [5]


@pytest.mark.parametrize(
    "options", [{"roles": ["bias", "weight"]}, {"picture_budget_bytes": 0}], ids=str
)
def test_other_options_are_other_work(run: Run, out: Path, options: dict[str, Any]) -> None:
    aw.analyze(run, out)

    with pytest.raises(StoreError, match="with other options"):
        aw.analyze(run, out, **options)


def test_checkpoints_that_were_written_anew_are_another_run(run: Run, out: Path) -> None:
    from dataclasses import replace

    aw.analyze(run, out)
    touched = replace(run.checkpoints[1], changed_ns=run.checkpoints[1].changed_ns + 1)
    changed = replace(run, checkpoints=(run.checkpoints[0], touched, run.checkpoints[2]))

    with pytest.raises(StoreError, match="holds the analysis of other checkpoints"):
        aw.analyze(changed, out)


def test_a_finished_analysis_is_opened_without_work(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = aw.analyze(run, out).ranking()
    before = {str(f): f.stat().st_mtime_ns for f in out.rglob("*")}
    monkeypatch.setattr(BlockWalk, "run", None)  # calling it would fail

    again = aw.analyze(run, out, threads=2, block_elements=20000)

    assert again.ranking().equals(expected)
    assert {str(f): f.stat().st_mtime_ns for f in out.rglob("*")} == before


def test_strict_holds_for_what_was_finished_before(stored: Stored, out: Path) -> None:
    checkpoints = checkpoints_of()
    checkpoints[1]["fc.weight"][0, 0] = np.nan
    run = stored(checkpoints)
    aw.analyze(run, out)

    with pytest.raises(NonFiniteError, match=r"'fc.weight' has 1 non-finite elements at step 10"):
        aw.analyze(run, out, strict=True)


# --- versions and damage


def edited(out: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((out / "zarr.json").read_text())
    change(document["attributes"])
    (out / "zarr.json").write_text(json.dumps(document))


def test_a_newer_format_is_refused_with_the_way_out(run: Run, out: Path) -> None:
    aw.analyze(run, out)
    newer = FORMAT_VERSION + 1
    edited(out, lambda a: a["accweight"].update(format=newer))
    before = files_of(out)

    for attempt in (lambda: aw.open_analysis(out), lambda: aw.analyze(run, out)):
        with pytest.raises(StoreError, match=rf"by a newer accweight \(analysis format {newer}, "):
            attempt()

    assert files_of(out) == before


DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no parameters": lambda a: a["accweight"].pop("parameters"),
    "parameters are a number": lambda a: a["accweight"].update(parameters=5),
    "a parameter is a number": lambda a: a["accweight"].update(parameters=[5]),
    "unknown role": lambda a: a["accweight"].update(roles=["zzz"]),
    "half a maximum": lambda a: a["accweight"].update(maximum={"value": 1}),
    "format is a word": lambda a: a["accweight"].update(format=str(FORMAT_VERSION)),
    "format is null": lambda a: a["accweight"].update(format=None),
    "no format": lambda a: a["accweight"].pop("format"),
    "header is a number": lambda a: a.update(accweight=5),
    "header is a list": lambda a: a.update(accweight=[]),
    "no header": lambda a: a.pop("accweight"),
    "a parameter too few": lambda a: a["accweight"]["parameters"].pop(),
    "a checkpoint too few": lambda a: a["accweight"]["checkpoints"].pop(),
    "no checkpoints": lambda a: a["accweight"].update(checkpoints=[]),
    "a picture too few": lambda a: a["accweight"]["picture_bases"].pop(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_header_is_refused(
    run: Run, out: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    aw.analyze(run, out)
    edited(out, damage)

    with pytest.raises(StoreError, match=r"run.accw: ") as caught:
        aw.open_analysis(out).ranking()

    assert "\n" not in str(caught.value)


def test_a_lost_or_cut_chunk_of_numbers_is_an_error_and_not_nan(run: Run, out: Path) -> None:
    aw.analyze(run, out)
    (chunk,) = chunks_of(out, "totals")
    content = chunk.read_bytes()

    chunk.write_bytes(content[:11])
    with pytest.raises(StoreError, match="damaged"):
        aw.open_analysis(out).ranking()
    chunk.unlink()
    with pytest.raises(StoreError, match="damaged"):
        aw.open_analysis(out).ranking()


def test_lost_arrays_are_an_error_of_ours(run: Run, out: Path) -> None:
    aw.analyze(run, out)
    shutil.rmtree(out / "totals")

    with pytest.raises(StoreError, match=r"run.accw: .*totals.* damaged"):
        aw.open_analysis(out).ranking()


def test_an_unfinished_analysis_says_how_far_it_got(run: Run, out: Path) -> None:
    stopped(run, out, after=1)

    with pytest.raises(StoreError, match=r"is not finished \(1 of 3 parameters\); run the same"):
        aw.open_analysis(out)


def test_an_unfinished_analysis_opens_when_asked_and_shows_what_it_has(
    run: Run, out: Path, tmp_path: Path
) -> None:
    whole = aw.analyze(run, tmp_path / "whole.accw")
    stopped(run, out, after=1)

    analysis = aw.open_analysis(out, unfinished=True)

    assert not analysis.header.complete
    assert analysis.finished() == [True, False, False]
    assert np.isnan(analysis.values[:, 1:]).all()
    known, unknown = analysis.measured()
    assert (known.name, unknown.name, unknown.elements) == ("conv", "fc", 120 * 170)
    for name in METRICS:
        np.testing.assert_array_equal(known.metrics[name], whole.measured()[0].metrics[name])
        assert np.isnan(unknown.metrics[name]).all()
    assert analysis.ranking()["layer"].tolist() == ["conv", "fc"]
    assert analysis.store is not None
    assert whole.store is not None
    np.testing.assert_array_equal(
        analysis.store.picture_array(0, 0)[:], whole.store.picture_array(0, 0)[:]
    )


def test_the_maximum_of_an_unfinished_analysis_is_that_of_what_is_finished(
    run: Run, out: Path
) -> None:
    path = aw.analyze(run).cumulative("conv.weight")
    stopped(run, out, after=1)

    analysis = aw.open_analysis(out, unfinished=True)

    assert analysis.header.maximum is None
    assert analysis.maximum is not None
    assert (analysis.maximum.layer, analysis.maximum.value) == ("conv", path.max())
    assert analysis.scale("conv.weight") == path.max()
    assert np.isnan(analysis.scale("fc.weight", "layer"))
    with pytest.raises(IndexError, match="'fc' has not been measured yet"):
        analysis.measured()[1].maximum_at(-1)


def test_an_analysis_that_has_just_begun_opens_when_asked(run: Run, out: Path) -> None:
    stopped(run, out, after=0)

    analysis = aw.open_analysis(out, unfinished=True)

    assert analysis.finished() == [False] * 3
    assert analysis.maximum is None
    assert all(np.isnan(row.metrics["mean"]).all() for row in analysis.measured())
    with pytest.raises(StoreError, match="not finished"):
        analysis.save(out.with_name("copy.accw"))
    assert not out.with_name("copy.accw").exists()


def test_a_layer_is_known_when_all_of_its_parameters_are(stored: Stored, out: Path) -> None:
    walks = {name: oracle.series((8, 8), steps=2) for name in ("a.weight", "a.bias", "b.weight")}
    run = stored([{name: states[t] for name, states in walks.items()} for t in range(2)])
    stopped(run, out, after=1, roles=["weight", "bias"], threads=1)

    analysis = aw.open_analysis(out, unfinished=True)

    assert analysis.finished() == [True, False, False]
    assert [np.isnan(row.metrics["max"]).all() for row in analysis.measured()] == [True, True]
    first = analysis.measured("parameter")[0]
    assert not np.isnan(first.metrics["mean"]).any()
    assert analysis.maximum is None


def test_an_analysis_opened_while_unfinished_sees_it_being_finished(run: Run, out: Path) -> None:
    stopped(run, out, after=1)
    early = aw.open_analysis(out, unfinished=True)
    before = early.values.copy()

    late = aw.analyze(run, out)

    assert early.finished() == [True] * 3
    np.testing.assert_array_equal(early.values, before)
    again = aw.open_analysis(out, unfinished=True)
    np.testing.assert_array_equal(again.values, late.values)
    assert again.maximum == late.maximum == late.header.maximum


def test_what_counts_as_finished_has_all_its_pictures(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_WAITING_BYTES", 0)  # written one by one
    flush, seen = Store.flush, dict[tuple[int, ...], list[bytes]]()

    def pictures(analysis: aw.Analysis, index: int) -> list[bytes]:
        assert analysis.store is not None
        return [
            analysis.store.picture_array(index, level, plane)[:].tobytes()
            for level in analysis.header.plan(index).levels
            for plane in (("mean", "max") if level else ("mean",))
            if analysis.parameters[index].elements
        ]

    def watched(self: Store) -> None:
        flush(self)
        now = aw.open_analysis(out, unfinished=True)
        done = [index for index, finished in enumerate(now.finished()) if finished]
        seen[tuple(done)] = [level for index in done for level in pictures(now, index)]

    monkeypatch.setattr(Store, "flush", watched)

    analysis = aw.analyze(run, out, threads=2)

    assert len(seen) == 3
    for done, levels in seen.items():
        assert levels == [level for index in done for level in pictures(analysis, index)]


def stopped(run: Run, out: Path, after: int, **options: Any) -> None:
    """Begin an analysis and let it fail after some parameters."""
    finish, done = Store.finish_parameters, []

    def failing(self: Store, members: Sequence[int], totals: Any) -> None:
        if len(done) == after:
            raise KeyboardInterrupt
        finish(self, members, totals)
        done.append(members)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packs, "PACK_TEXELS", 0)  # one parameter in each
        patch.setattr(Store, "finish_parameters", failing)
        with pytest.raises(KeyboardInterrupt):
            aw.analyze(run, out, **options)


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_stopped_analysis_goes_on_and_ends_the_same(
    run: Run, out: Path, tmp_path: Path, after: int
) -> None:
    stopped(run, out, after)

    aw.analyze(run, out, threads=2)

    aw.analyze(run, tmp_path / "fresh.accw")
    assert files_of(out) == files_of(tmp_path / "fresh.accw")


def test_what_smaller_blocks_left_unfinished_is_cleared_away(
    run: Run, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accweight_core.pictures.plan.WHOLE_BYTES", 0)
    stopped(run, out, 1, block_elements=1)
    assert len(chunks_of(out / "pictures", "000001")) > 1

    aw.analyze(run, out)

    aw.analyze(run, tmp_path / "fresh.accw")
    assert files_of(out) == files_of(tmp_path / "fresh.accw")


def test_what_is_finished_is_not_measured_again(run: Run, out: Path) -> None:
    stopped(run, out, 1)
    shown: list[tuple[int, int]] = []

    aw.analyze(run, out, progress=lambda *now: shown.append(now))

    assert shown[0] == (0, 3 * 4 * 120 * 170)


# --- where nothing can be written


@pytest.mark.parametrize("name", ["file/run.accw", "file/deep/run.accw"])
def test_a_file_where_a_folder_should_be_is_a_clear_error(
    run: Run, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("mine")

    with pytest.raises(StoreError, match=r"run.accw"):
        aw.analyze(run, tmp_path / name)

    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_a_clear_error(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refused(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
        if Path(path).parent == out.parent and flags & os.O_CREAT:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, flags, *arguments, **named)

    monkeypatch.setattr(os, "open", refused)

    with pytest.raises(StoreError, match=r"run.accw: cannot be written \(Permission denied\)"):
        aw.analyze(run, out)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_file_system_that_takes_no_files_is_a_clear_error(run: Run) -> None:
    with pytest.raises(StoreError, match=r"/proc/run.accw"):
        aw.analyze(run, "/proc/run.accw")


def test_a_checkpoint_that_cannot_be_read_is_not_blamed_on_the_output(run: Run, out: Path) -> None:
    lost = Path(run.checkpoints[1].path)
    lost.unlink()
    lost.mkdir()

    with pytest.raises(AccweightError, match=r"plain_1.raw") as caught:
        aw.analyze(run, out)

    assert "cannot be written" not in str(caught.value)


@pytest.mark.parametrize("can_reserve", [True, False])
def test_a_large_file_holds_its_bytes_whether_or_not_space_can_be_reserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_reserve: bool
) -> None:
    content = bytes(range(256)) * (files.RESERVED_BYTES // 256) + b"odd"
    if not can_reserve:
        monkeypatch.setattr(files, "_fallocate", lambda: None)

    files.write_new(tmp_path / "large", content)

    assert (tmp_path / "large").read_bytes() == content


@pytest.mark.parametrize("writes", [0, 1, 2, 5, 9, 14, 25])
def test_a_full_disk_is_a_clear_error_and_the_next_run_goes_on(
    run: Run, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    name, write, done = os.replace, files.write_new, []

    def count(path: Any) -> None:
        if len(done) >= writes:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        done.append(path)

    def full(draft: Any, path: Any) -> None:
        count(path)
        name(draft, path)

    def full_anew(path: Any, content: Any) -> None:
        count(path)
        write(path, content)

    monkeypatch.setattr(os, "replace", full)
    monkeypatch.setattr(files, "write_new", full_anew)
    with pytest.raises(StoreError, match=r"run.accw: cannot be written \(No space left") as caught:
        aw.analyze(run, out, threads=2)
    monkeypatch.undo()

    assert "the same command continues the analysis" in str(caught.value)
    aw.analyze(run, out)
    aw.analyze(run, tmp_path / "fresh.accw")
    assert files_of(out) == files_of(tmp_path / "fresh.accw")
    assert not list(tmp_path.glob(".*"))


def test_a_disk_that_is_really_full_loses_nothing(
    run: Run, small_disk: Path, tmp_path: Path
) -> None:
    out, ballast = small_disk / "run.accw", small_disk / "ballast"
    ballast.write_bytes(bytes(400_000))

    with pytest.raises(StoreError, match=r"cannot be written \(No space left on device\)"):
        aw.analyze(run, out, picture_budget_bytes=1 << 30)
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)

    aw.analyze(run, out)
    aw.analyze(run, tmp_path / "fresh.accw")
    assert files_of(out) == files_of(tmp_path / "fresh.accw")
    assert os.listdir(small_disk) == [out.name]


# --- two at once


def test_a_second_writer_is_told_to_wait(run: Run, out: Path) -> None:
    with locked(out), pytest.raises(StoreError, match="another accweight is writing"):
        aw.analyze(run, out)

    assert not out.exists()


def test_a_lock_file_left_by_a_killed_writer_does_not_lock(run: Run, out: Path) -> None:
    (out.parent / f".{out.name}{exclusive.LOCK}").write_text("")

    aw.analyze(run, out)

    assert os.listdir(out.parent).count(out.name) == 1
    assert not list(out.parent.glob(".*"))


def test_many_parameters_are_created_by_many_threads(stored: Stored, out: Path) -> None:
    checkpoints = [
        {f"p{i}.weight": torch.full((3, i + 1), float(t)) for i in range(60)} for t in range(2)
    ]

    analysis = aw.analyze(stored(checkpoints), out, threads=4)

    assert analysis.store is not None
    for index in range(60):
        picture = analysis.store.picture(index, 0, "mean", 1)
        assert np.nanmin(picture) == np.nanmax(picture) == 1


def test_readers_may_read_while_others_read(run: Run, out: Path) -> None:
    aw.analyze(run, out)
    found: list[float] = []

    def read() -> None:
        found.append(float(aw.open_analysis(out).ranking()["mean"].iloc[0]))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()

    assert len(found) == 4
    assert len(set(found)) == 1


def test_an_overwrite_that_is_stopped_half_way_can_be_repeated(
    run: Run, other_run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    aw.analyze(other_run, out)
    remove = shutil.rmtree

    def interrupted(path: Any, *arguments: Any, **named: Any) -> None:
        if (Path(path) / "zarr.json").exists():
            (Path(path) / "zarr.json").unlink()
            raise KeyboardInterrupt
        remove(path, *arguments, **named)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        aw.analyze(run, out, overwrite=True)
    monkeypatch.undo()

    analysis = aw.analyze(run, out, overwrite=True)

    assert analysis.header.checkpoints[0].path == run.checkpoints[0].path
    assert not list(out.parent.glob(".*"))


def test_metadata_of_a_picture_is_parsed_once_and_again_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = [{"a.weight": torch.full((90, 80), float(step))} for step in range(3)]
    aw.analyze(aw.open_run(weights), tmp_path / "run.accw")
    opened = Store.open(tmp_path / "run.accw")
    parsed: list[Path] = []
    monkeypatch.setattr(
        "accweight_core.store.arrays.open_array",
        lambda path: parsed.append(path) or chunks.open_array(path),
    )

    for step in (0, 1, 2):
        assert opened.picture(0, 0, "mean", step).max() == step
    assert len(parsed) == 1
    metadata = opened.path / "pictures" / "000000" / "zarr.json"
    metadata.write_bytes(metadata.read_bytes() + b" ")

    assert opened.picture(0, 0, "mean", 2).max() == 2
    assert len(parsed) == 2
