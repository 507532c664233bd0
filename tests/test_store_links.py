"""What in a store is neither a file nor a folder is refused; what lies elsewhere is left alone."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import store_edits

import accweight_core as aw
from accweight_core.errors import StoreError
from accweight_core.store.beside import What, beside
from accweight_core.store.lock import locked

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and FIFOs")

BESIDE: tuple[What, ...] = ("lock", "draft", "next", "replaced", "doomed", "appended")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return store_edits.checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def finished(paths: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An analysis of all checkpoints but the last."""
    out = tmp_path_factory.mktemp("finished") / "run.accw"
    store_edits.analysed(paths[:-1], out)
    return out


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder with something dear in it, also where leftovers of a store would lie."""
    folder = tmp_path / "elsewhere"
    for name in (".", "000000", "0", "packed", "pieces"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "thesis.txt").write_text("dear")
        (folder / name / "c.0.0.0.partial").write_text("dear")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes() if file.is_file() else b""
        for file in folder.rglob("*")
    }


def names_in(store: Path) -> list[str]:
    """Return where everything in a store lies; one name of each kind, and of each parameter."""
    return sorted(str(found.relative_to(store)) for found in store.rglob("*"))


def put_link(store: Path, name: str, outside: Path) -> None:
    """Put something of a store elsewhere, and a link to it in its place."""
    moved = outside / f"moved-{name.replace('/', '-')}"
    shutil.move(store / name, moved)
    (store / name).symlink_to(moved)


Act = Callable[[Path, list[str]], object]

ACTS: dict[str, Act] = {
    "reading": lambda store, paths: store_edits.figures(store),
    "reading for the viewer": lambda store, paths: store_edits.shown(store),
    "appending": lambda store, paths: aw.append(aw.open_run(paths), store),
    "going on": lambda store, paths: store_edits.analysed(paths[:-1], store),
    "overwriting": lambda store, paths: aw.analyze(aw.open_run(paths), store, overwrite=True),
}


@pytest.mark.parametrize("act", ACTS)
def test_a_link_at_any_place_of_a_store_leads_nobody_out_of_it(
    finished: Path, paths: list[str], tmp_path: Path, act: str
) -> None:
    expected = ACTS[act](finished, paths) if act.startswith("reading") else None
    outcomes = []
    for number, name in enumerate(names_in(finished)):
        if name.startswith("metrics/") and not name.startswith("metrics/mean"):
            continue  # alike
        store, outside = tmp_path / f"{number}.accw", tmp_path / f"outside-{number}"
        shutil.copytree(finished, store)
        if act == "going on":
            store_edits.unfinish(store, parameters=3)
            if not (store / name).exists():
                continue
        outside.mkdir()
        put_link(store, name, outside)
        before = contents(outside)

        try:
            ACTS[act](store, paths)
        except StoreError as error:
            outcomes.append(str(error))
        else:
            outcomes.append("")
            if act.startswith("reading"):  # then nobody reads what is there
                (store / name).unlink()
                assert ACTS[act](store, paths) == expected, name
            elif act != "appending":  # which looks at few of the old files
                assert not any(found.is_symlink() for found in store.rglob("*")), name
        assert contents(outside) == before, name

    refusals = [text for text in outcomes if text]
    assert all("is a link" in text for text in refusals), refusals
    assert len(refusals) == len(outcomes) if act == "going on" else refusals or act == "overwriting"


@pytest.mark.parametrize("name", ["pictures", "pictures/000000", "state", "pictures/packed"])
def test_the_sweep_of_a_resume_never_leaves_the_store(
    finished: Path, paths: list[str], tmp_path: Path, elsewhere: Path, name: str
) -> None:
    store = tmp_path / "run.accw"
    shutil.copytree(finished, store)
    store_edits.unfinish(store, parameters=3)
    shutil.rmtree(store / name)
    (store / name).symlink_to(elsewhere)

    with pytest.raises(StoreError, match=rf"{name}: is a link, where an analysis has plain files"):
        store_edits.analysed(paths[:-1], store)


@pytest.mark.parametrize("what", BESIDE)
def test_a_link_beside_a_store_is_not_followed(
    finished: Path, paths: list[str], tmp_path: Path, elsewhere: Path, what: What
) -> None:
    store = tmp_path / "run.accw"
    shutil.copytree(finished, store)
    target = elsewhere / "thesis.txt" if what == "lock" else elsewhere
    beside(store, what).symlink_to(target)

    for overwrite in (False, True):
        if what == "lock":
            with pytest.raises(StoreError, match=r"since .*\.lock is not a plain file"):
                aw.analyze(aw.open_run(paths), store, overwrite=overwrite)
        elif overwrite:
            aw.analyze(aw.open_run(paths), store, overwrite=True)

    assert aw.open_analysis(store).header.complete
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == (
        [beside(store, what).name] if what == "lock" else []
    )


def test_an_analysis_that_is_aside_is_not_found_through_a_link(
    finished: Path, tmp_path: Path
) -> None:
    beside(tmp_path / "run.accw", "replaced").symlink_to(finished)

    with pytest.raises(StoreError, match="there is no such analysis"):
        aw.open_analysis(tmp_path / "run.accw")


# --- FIFOs, sockets, devices


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        where = os.getcwd()
        os.chdir(path.parent)  # names of sockets are short
        try:
            made.bind(path.name)
        finally:
            os.chdir(where)


def a_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # endless zeros
    except PermissionError:
        pytest.skip("cannot make devices")


SPECIAL: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "socket": a_socket,
    "device": a_device,
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize(
    "name",
    [
        "zarr.json",
        "totals",
        "totals/zarr.json",
        "totals/c.0.0.0",
        "pictures/000000/zarr.json",
        "pictures/000000/c.0.0",
        "pictures/packed/000000/c.0.0",
    ],
)
def test_what_is_no_file_is_refused_at_once(
    finished: Path, paths: list[str], tmp_path: Path, kind: str, name: str
) -> None:
    store = tmp_path / "run.accw"
    shutil.copytree(finished, store)
    place = store / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    SPECIAL[kind](place)

    with pytest.raises(StoreError, match=rf"{name}.*: is a {kind}"):
        store_edits.figures(store)
    with pytest.raises(StoreError, match=rf"{name}.*: is a {kind}"):
        store_edits.analysed(paths[:-1], store)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_lock_that_is_no_file_is_refused_at_once(
    paths: list[str], tmp_path: Path, kind: str
) -> None:
    SPECIAL[kind](beside(tmp_path / "run.accw", "lock"))

    with pytest.raises(StoreError, match=r"run\.accw: cannot be (locked|written)"):
        store_edits.analysed(paths, tmp_path / "run.accw")


# --- the lock


def test_what_lies_where_the_lock_would_is_neither_cut_nor_removed(
    paths: list[str], tmp_path: Path
) -> None:
    mine = beside(tmp_path / "run.accw", "lock")
    mine.write_text("mine")

    store_edits.analysed(paths, tmp_path / "run.accw")

    assert mine.read_text() == "mine"


def names_of(store: Path) -> Iterator[tuple[str, Path]]:
    """Yield several names of one folder."""
    (store.parent / "deep").mkdir()
    (store.parent / "link.accw").symlink_to(store)
    (store.parent / "deep" / "parent").symlink_to(store.parent)
    yield "link", store.parent / "link.accw"
    yield "link on the way", store.parent / "deep" / "parent" / store.name
    yield "dots", store.parent / "deep" / ".." / store.name
    yield "relative", Path(os.path.relpath(store))


@pytest.mark.parametrize("there", [True, False])
def test_two_names_of_one_folder_share_one_lock(
    finished: Path, tmp_path: Path, there: bool
) -> None:
    store = tmp_path / "run.accw"
    if there:
        shutil.copytree(finished, store)

    for name, other in names_of(store):
        with (
            locked(store),
            pytest.raises(StoreError, match="another accweight is writing"),
            locked(other),
        ):
            pytest.fail(name)
        with (
            locked(other),
            pytest.raises(StoreError, match="another accweight is writing"),
            locked(store),
        ):
            pytest.fail(name)


def test_a_folder_that_is_mounted_under_another_name_has_one_lock(
    finished: Path, tmp_path: Path
) -> None:
    store, other = tmp_path / "run.accw", tmp_path / "other" / "name.accw"
    shutil.copytree(finished, store)
    other.mkdir(parents=True)
    if subprocess.run(["mount", "--bind", store, other], capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        with (
            locked(store),
            pytest.raises(StoreError, match="another accweight is writing"),
            locked(other),
        ):
            pytest.fail("two writers")
    finally:
        subprocess.run(["umount", "-l", str(other)], check=True)
