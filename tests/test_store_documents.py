"""Every field of every document of a store, edited: an error in one line, or the right figures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import store_edits
from store_edits import DOCUMENTS, MISSING, VALUES, Place, edited, nested, places, with_extra
from thorough import sampled

import accweight_core as aw
from accweight_core.errors import StoreError
from accweight_core.schema import Run

Figures = dict[str, object]
Read = Callable[[Path], Figures]

FIGURES, STATE, EXACT, SHOWN = (
    store_edits.figures,
    store_edits.state,
    store_edits.exact,
    store_edits.shown,
)
ARRAYS, PICTURES, METRIC = store_edits.arrays, store_edits.pictures, store_edits.metric
READERS: tuple[Read, ...] = (FIGURES, STATE, EXACT, SHOWN, PICTURES, METRIC)

READ_BY: dict[str, tuple[Read, ...]] = {
    "zarr.json": (FIGURES, STATE, EXACT, SHOWN),
    "totals/zarr.json": (ARRAYS, SHOWN),
    "pictures/000000/zarr.json": (PICTURES, SHOWN),
    "pictures/packed/000000/zarr.json": (PICTURES, SHOWN),
    "metrics/mean/zarr.json": (METRIC,),
    "state/packed/previous/zarr.json": (STATE,),
}
"""Who reads a document; of all others the arrays are looked at."""

LARGE_BYTES = 16 << 20
"""The whole analysis has 0.3 MB."""

HEADER: Place = ("attributes", "accweight")

SEGMENT: Place = ("attributes", "accweight_segment")

OTHER_ANALYSES: list[tuple[Place, str]] = [
    ((*HEADER, "picture_bases"), "list"),  # one without pictures
    ((*HEADER, "sums", 0), "text"),  # one of a newer program, with other sums
    ((*HEADER, "sums", 0), "two lines"),
]
"""Edits that make another sound analysis of one, with fewer figures."""


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return store_edits.checkpoints(tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture(scope="module")
def run(paths: list[str]) -> Run:
    return aw.open_run(paths)


@pytest.fixture(scope="module")
def finished(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("finished") / "run.accw"
    store_edits.analysed(run, out)
    return out


@pytest.fixture(scope="module")
def expected(finished: Path) -> dict[Read, Figures]:
    return {read: read(finished) for read in (*READERS, ARRAYS)}


@pytest.fixture
def memory() -> Iterator[Callable[[], int]]:
    """Return what tells the most memory that was taken since it was last asked."""
    tracemalloc.start()

    def taken() -> int:
        now, most = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        return most - now

    yield taken
    tracemalloc.stop()


def edits(document: Any) -> Iterator[tuple[Place, str, Any]]:
    """Yield where a document is edited, how that is called, and what becomes of it."""
    for place in places(document):
        for name, value in VALUES.items():
            if (place, name) not in OTHER_ANALYSES:
                yield place, name, edited(document, place, value)
        yield place, "extra", with_extra(document, place)


def read_or_refused(store: Path, read: Read, what: object) -> Figures | None:
    """Return what is read of an analysis, None if it is refused in one line."""
    try:
        return read(store)
    except StoreError as error:
        message = str(error)
    except Exception as error:
        error.add_note(f"{what} {read.__name__}")
        raise
    assert "\n" not in message, what
    return None


def refused(act: Callable[[], Any]) -> bool:
    """Tell whether something is refused as it should be; raises what should not come out of it."""
    try:
        act()
    except StoreError as error:
        message = str(error)
    else:
        return False
    assert "\n" not in message
    return True


@pytest.mark.parametrize("name", [name for name in DOCUMENTS if name != "begun.json"])
def test_an_edited_document_is_refused_or_changes_no_figure(
    finished: Path, expected: dict[Read, Figures], name: str
) -> None:
    file = finished / name
    content = file.read_bytes()
    count = 0
    try:
        for place, edit, document in sampled(edits(json.loads(content)), 5):
            file.write_text(json.dumps(document))
            for read in READ_BY.get(name, (ARRAYS,)):
                found = read_or_refused(finished, read, (place, edit))
                assert found in (None, expected[read]), (place, edit, read.__name__)
                count += found is None
    finally:
        file.write_bytes(content)

    assert all(read(finished) == expected[read] for read in READERS)
    assert count or name == "pictures/zarr.json"  # for others


@pytest.mark.parametrize("name", ["zarr.json", "totals/zarr.json", "pictures/000000/zarr.json"])
def test_a_document_that_says_large_numbers_takes_no_memory(
    finished: Path, name: str, memory: Callable[[], int]
) -> None:
    file = finished / name
    content = file.read_bytes()
    try:
        cases = ((p, v) for p in places(json.loads(content)) for v in (10**7, 2**62))
        for place, value in sampled(cases, 3):
            file.write_text(json.dumps(edited(json.loads(content), place, value)))
            memory()
            refused(lambda: store_edits.figures(finished))
            assert memory() < LARGE_BYTES, (place, value)
    finally:
        file.write_bytes(content)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"[" * 200_000, b'{"a":' * 200_000, b"1" * 5000, b"nul"],
    ids=[
        "empty",
        "no text",
        "deep lists",
        "deep objects",
        "a number",
        "half a word",
    ],
)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_no_json_is_refused_or_changes_no_figure(
    finished: Path, expected: dict[Read, Figures], name: str, content: bytes
) -> None:
    file = finished / name
    sound = file.read_bytes() if file.exists() else None
    try:
        file.write_bytes(content)
        for read in READ_BY.get(name, (ARRAYS,)):
            assert read_or_refused(finished, read, name) in (None, expected[read])
    finally:
        file.unlink() if sound is None else file.write_bytes(sound)


def test_a_document_without_an_end_is_not_read_into_memory(
    finished: Path, tmp_path: Path, memory: Callable[[], int]
) -> None:
    copy = tmp_path / "run.accw"
    shutil.copytree(finished, copy)
    for name in ("zarr.json", "totals/zarr.json"):
        with (copy / name).open("wb") as file:
            file.truncate(1 << 40)  # sparse

        with pytest.raises(StoreError):
            aw.open_analysis(copy)

    assert memory() < LARGE_BYTES


@pytest.mark.parametrize("version", [-1, 0, -(2**70), 5, 2**31, 10**300, True, 1.0, "1", None])
def test_an_unknown_version_is_refused(finished: Path, tmp_path: Path, version: object) -> None:
    copy = tmp_path / "run.accw"
    shutil.copytree(finished, copy)
    document = json.loads((copy / "zarr.json").read_text())
    document["attributes"]["accweight"]["format"] = version
    (copy / "zarr.json").write_text(json.dumps(document))

    with pytest.raises(StoreError, match=r"damaged|newer accweight"):
        aw.open_analysis(copy)


def test_a_file_that_is_lost_or_cut_is_never_read_as_numbers(
    finished: Path, expected: dict[Read, Figures], tmp_path: Path
) -> None:
    copy = tmp_path / "copy.accw"
    shutil.copytree(finished, copy)
    refusals = 0
    files = sorted(file for file in copy.rglob("*") if file.is_file())
    for file, lost in sampled(((file, lost) for file in files for lost in (True, False)), 3):
        content = file.read_bytes()
        file.unlink() if lost else file.write_bytes(content[: len(content) // 2])
        for read in READERS:
            found = read_or_refused(copy, read, (file, lost))
            assert found in (None, expected[read]), (file, read.__name__)
            refusals += found is None
        file.write_bytes(content)
    assert refusals > 20


# --- who writes


SAMPLES: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "text": "x",
    "negative": -1,
    "10**400": 10**400,
    "list of lists": [[1, 2], [3]],
    "deeper": nested(900),
}


def samples(document: Any, stride: int = 1) -> Iterator[Any]:
    cases = ((place, value) for place in places(document) for value in SAMPLES.values())
    yield from (edited(document, place, value) for place, value in sampled(cases, stride))


def refused_or_the_same(
    original: Path,
    name: str,
    documents: Iterator[Any],
    go_on: Callable[[Path], Any],
    same: Figures,
    figures: Read = store_edits.arrays,
) -> None:
    """Go on with an analysis whose document is edited, which a refusal leaves as it was."""
    copy, before = original.with_name("copy.accw"), contents(original)
    for document in documents:
        if not copy.exists():
            shutil.copytree(original, copy)
        (copy / name).write_text(json.dumps(document))
        if refused(lambda: go_on(copy)):
            shutil.copy(original / name, copy / name)
            assert contents(copy) == before
        else:
            assert figures(copy) == same
            shutil.rmtree(copy)


def contents(store: Path) -> dict[str, bytes]:
    """Return the bytes of every file of an analysis."""
    files = sorted(file for file in store.rglob("*") if file.is_file())
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


@pytest.mark.parametrize("name", ["begun.json", "totals/zarr.json"])
def test_going_on_with_an_edited_analysis_is_refused_or_ends_the_same(
    finished: Path, expected: dict[Read, Figures], run: Run, tmp_path: Path, name: str
) -> None:
    stopped = tmp_path / "stopped.accw"
    shutil.copytree(finished, stopped)
    store_edits.unfinish(stopped)
    if name == "begun.json":  # what it would remember of its files when it is begun
        paths = [checkpoint.path for checkpoint in run.checkpoints]
        (stopped / name).write_text(json.dumps({path: [1, 2, 3, 4, 5] for path in paths[:2]}))
    documents = samples(json.loads((stopped / name).read_text()), 3)

    def go_on(copy: Path) -> None:
        store_edits.analysed(run, copy)

    refused_or_the_same(stopped, name, documents, go_on, expected[ARRAYS])


@pytest.mark.parametrize("name", ["zarr.json", "state/packed/total/zarr.json"])
def test_appending_to_an_edited_analysis_is_refused_or_gives_the_same(
    paths: list[str], run: Run, expected: dict[Read, Figures], tmp_path: Path, name: str
) -> None:
    short = tmp_path / "short.accw"
    store_edits.analysed(aw.open_run(paths[:3]), short)
    document = json.loads((short / name).read_text())
    documents = samples(document, 3)
    if name == "zarr.json":  # the parts that appending alone reads
        header = document["attributes"]["accweight"]
        kept = {key: header[key] for key in ("packs", "keeps_state", "name_map", "notes")}
        changed = ({**header, **change} for change in samples(kept) if isinstance(change, dict))
        documents = ({**document, "attributes": {"accweight": one}} for one in changed)
    same = {"values": expected[FIGURES]["values"]}

    def values(copy: Path) -> Figures:  # pictures of the steps before are not read
        return {"values": aw.open_analysis(copy).values.tobytes()}

    refused_or_the_same(short, name, documents, lambda copy: aw.append(run, copy), same, values)


@pytest.mark.parametrize("name", ["", "totals", "pictures/packed/000000"])
def test_an_edited_document_of_a_segment_is_refused_or_changes_no_figure(
    paths: list[str], expected: dict[Read, Figures], tmp_path: Path, name: str
) -> None:
    grown = tmp_path / "grown.accw"
    store_edits.analysed(paths[:3], grown)
    aw.append(aw.open_run(paths), grown)
    file = grown / "segments" / "000003-000003" / name / "zarr.json"
    content, count = file.read_bytes(), 0
    bare = json.loads(content)
    if not name:
        bare = edited(bare, (*SEGMENT, "picture_bases"), [])

    assert FIGURES(grown) == expected[FIGURES]
    for other in [*samples(json.loads(content), 3), None]:
        if other == bare and not name:
            continue  # a sound one, without pictures
        file.write_text(json.dumps(other))
        found = read_or_refused(grown, FIGURES, other)
        assert found in (None, expected[FIGURES])
        count += found is None
    file.write_bytes(b"\xff")
    assert read_or_refused(grown, FIGURES, "no text") is None

    assert count


@pytest.mark.parametrize("name", ["zarr.json", "totals/zarr.json"])
def test_comparing_with_an_edited_analysis_is_refused_or_gives_the_same(
    finished: Path, tmp_path: Path, name: str
) -> None:
    copy = tmp_path / "run.accw"
    shutil.copytree(finished, copy)

    def compared(other: Path) -> Figures:
        comparison = aw.compare(finished, other)
        places = [
            (pair.rank_a, pair.rank_b, pair.value_a, pair.value_b) for pair in comparison.layers
        ]
        return {"places": places, "agreement": comparison.spearman}

    same = compared(copy)
    document = json.loads((copy / name).read_text())
    shown = HEADER if name == "zarr.json" else ()
    words = ("name", "layer", "source", "sections", "path")  # what texts they are, nobody knows
    others = [place for place, _ in OTHER_ANALYSES]

    cases = ((place, value) for place in places(document) for value in SAMPLES.values())
    for place, value in sampled(cases, 3):
        if place[: len(shown)] != shown or place in others or {*place} & {*words}:
            continue
        (copy / name).write_text(json.dumps(edited(document, place, value)))
        found = read_or_refused(copy, compared, place)
        assert found in (None, same), (place, value)


FIRST_USE = """
import sys
from threading import Barrier, Thread

from msgspec import Struct

from accweight_core.store.documents import checked

def use(kind, start):
    start.wait()
    checked({"items": [{"number": 1}]}, kind)

sys.setswitchinterval(1e-6)
for _ in range(100):
    Item = type("Item", (Struct,), {"__annotations__": {"number": int}})
    kind = type("Items", (Struct,), {"__annotations__": {"items": tuple[Item, ...]}})
    start = Barrier(4)
    threads = [Thread(target=use, args=(kind, start)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


def test_threads_can_check_documents_of_a_new_type_at_once() -> None:
    ended = subprocess.run([sys.executable, "-c", FIRST_USE], check=False)
    assert ended.returncode == 0
