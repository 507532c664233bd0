"""What readers read bytes through, on literal bytes: nothing beyond the end, no number for ever."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

from accweight_adapters.bytes.compressed import of_snappy
from accweight_adapters.bytes.cursor import Cursor, FileCursor
from accweight_adapters.bytes.protobuf import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    fields,
    length_delimited,
    signed,
    values,
)
from accweight_adapters.bytes.source import WINDOW_BYTES, FilePart, InflatedPart
from accweight_adapters.bytes.stretch import Stretch, StretchFile
from accweight_adapters.bytes.varint import encoded, varint
from accweight_adapters.bytes.window import FileWindow
from accweight_adapters.bytes.zip import members_of
from accweight_adapters.untrusted import ClaimError


def window(content: bytes, least_bytes: int = 4) -> FileWindow:
    return FileWindow(io.BytesIO(content), least_bytes)


# ---------------------------------------------------------------- numbers of variable length


@pytest.mark.parametrize(
    ("content", "number"),
    [
        (b"\x00", 0),
        (b"\x7f", 127),
        (b"\x80\x01", 128),
        (b"\xac\x02", 300),
        (b"\xff" * 9 + b"\x01", 2**64 - 1),
    ],
)
def test_numbers_are_read_as_they_are_written(content: bytes, number: int) -> None:
    assert varint(b"?" + content + b"?", 1, len(content) + 2) == (number, len(content) + 1)
    assert encoded(number) == content


def test_a_number_may_be_longer_than_it_needs_to_be() -> None:
    assert varint(b"\x81\x80\x80\x00", 0, 4) == (1, 4)


@pytest.mark.parametrize(
    ("content", "most"),
    [(b"", 10), (b"\x80", 10), (b"\x80" * 9, 10), (b"\x80" * 10 + b"\x01", 10), (b"\x80\x01", 1)],
    ids=["nothing", "cut", "cut before the tenth", "eleven bytes", "more than allowed"],
)
def test_a_number_that_does_not_end_is_refused(content: bytes, most: int) -> None:
    with pytest.raises(ClaimError, match="the count of it is not terminated"):
        varint(content, 0, len(content), most, "the count of it")


def test_a_number_may_not_reach_beyond_its_structure() -> None:
    with pytest.raises(ClaimError, match="is not terminated"):
        varint(b"\xac\x02", 0, 1)


# ---------------------------------------------------------------- protobuf


def test_values_come_by_wire_type() -> None:
    message = b"\x08\xac\x02" + b"\x12\x02hi" + b"\x1d\x01\0\0\0" + b"\x21" + b"\xff" * 8

    assert list(values(message)) == [(1, 300), (2, b"hi"), (3, 1), (4, 2**64 - 1)]


def test_a_message_in_a_file_is_walked_around_its_contents() -> None:
    message = b"\x08\xac\x02" + b"\x12\x02hi" + b"\x1d\x01\0\0\0" + b"\x21" + b"\xff" * 8
    content = b"??" + message + b"?"

    found = list(fields(window(content), 2, 2 + len(message)))

    assert [(f.number, f.wire, f.start, f.body, f.stop) for f in found] == [
        (1, VARINT, 2, 3, 5),
        (2, LENGTH, 5, 7, 9),
        (3, FIXED32, 9, 10, 14),
        (4, FIXED64, 14, 15, 23),
    ]


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x0b\x08\x01\x0c", "wire type 3"),  # a group, as protobuf had them once
        (b"\x0c", "wire type 4"),
        (b"\x0e\x01", "wire type 6"),
        (b"\x0f\x01", "wire type 7"),
        (b"\x00\x01", "number 0"),
        (b"\x07\x01", "number 0"),
        (b"\x80", "not terminated"),
        (b"\x08", "not terminated"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "not terminated"),
        (b"\x12", "not terminated"),
        (b"\x12\x03hi", "ends at byte 5"),
        (b"\x12" + b"\xff" * 9 + b"\x01", "ends at byte"),
        (b"\x1d\x01\0\0", "ends at byte 5"),
        (b"\x21" + b"\xff" * 7, "ends at byte 9"),
    ],
)
def test_damaged_messages_are_refused_at_hand_and_in_a_file(message: bytes, problem: str) -> None:
    with pytest.raises(ClaimError, match=problem):
        list(values(message))
    with pytest.raises(ClaimError, match=problem):
        list(fields(window(message), 0, len(message)))


def test_a_field_may_not_reach_beyond_its_message_into_the_file() -> None:
    with pytest.raises(
        ClaimError, match=r"ends at byte 5, past byte 4, the end of its message .*0"
    ):
        list(fields(window(b"\x12\x03hi!" + bytes(40)), 0, 4))


def test_a_number_may_not_reach_beyond_its_message_into_the_file() -> None:
    with pytest.raises(ClaimError, match=r"not terminated; it is damaged or cut short \(byte 0\)"):
        list(fields(window(b"\x08\x80\x01"), 0, 2))


def test_a_file_that_ends_before_its_message_was_cut_short() -> None:
    with pytest.raises(ClaimError, match=r"past byte 4, the end of the file: it was cut short"):
        list(fields(window(b"\x12\x03hi"), 0, 4))


def test_numbers_have_a_sign_where_the_schema_says_so() -> None:
    assert signed(2**63 - 1) == 2**63 - 1
    assert signed(2**63) == -(2**63)
    assert signed(2**64 - 1) == -1
    with pytest.raises(ClaimError, match="bytes where a number should be"):
        signed(b"\x01")


def test_what_is_written_is_read_again() -> None:
    assert list(values(length_delimited(300, b"a" * 200))) == [(300, b"a" * 200)]


# ---------------------------------------------------------------- windows


def test_a_window_gives_what_the_file_has_wherever_it_is_asked() -> None:
    content = bytes(range(200))
    part = window(content, 16)
    chance = random.Random(1)

    for _ in range(200):
        place = chance.randrange(200)
        count = chance.randrange(200 - place + 1)
        assert part.read(place, count) == content[place : place + count]
        block, first = part.around(place, 20)
        assert block[first : first + 20] == content[place : place + 20]


def test_a_stretch_may_end_with_the_file_but_not_behind_it() -> None:
    part = window(bytes(10))

    assert part.read(9, 1) == b"\0"
    assert part.read(10, 0) == b""
    for place, count in ((9, -1), (9, 2), (11, 0), (-1, 1), (0, -1), (0, 2**63)):
        with pytest.raises(ClaimError, match="should reach to byte"):
            part.read(place, count)
        with pytest.raises(ClaimError, match="should reach to byte"):
            part.check(place, count)


def test_a_window_asks_for_no_more_than_it_is_told_to() -> None:
    asked: list[int] = []

    class File(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            asked.append(size or 0)
            return super().read(size)

    part = FileWindow(File(bytes(1000)), 16)
    for place in (500, 505, 515, 100, 600):
        part.read(place, 1)
    part.read(700, 40)

    assert asked == [16, 16, 16, 40]


def test_a_file_may_give_what_it_has_in_parts() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(3, size or 0))

    assert FileWindow(Slow(bytes(range(20))), 4).read(2, 11) == bytes(range(2, 13))


def test_a_file_that_shrinks_while_it_is_read_is_an_error() -> None:
    file = io.BytesIO(bytes(100))
    part, cursor = FileWindow(file, 4), FileCursor(file)
    file.truncate(50)

    with pytest.raises(ClaimError, match="has become shorter"):
        part.read(48, 4)
    file.seek(48)
    with pytest.raises(ClaimError, match="has become shorter"):
        cursor.take(4)


# ---------------------------------------------------------------- from the front


def test_a_cursor_takes_what_comes_next_and_nothing_beyond_the_end() -> None:
    cursor = Cursor(b"\x01\x02\x03\xac\x02ab", "a node")

    assert cursor.byte() == 1
    assert cursor.number(2, "big") == 0x0203
    assert cursor.varint() == 300
    assert (cursor.take(2), cursor.place) == (b"ab", 7)
    for take in (cursor.byte, lambda: cursor.take(1), lambda: cursor.take(-1)):
        with pytest.raises(ClaimError, match="a node ends too early"):
            take()
    with pytest.raises(ClaimError, match="a number in a node is not terminated"):
        cursor.varint()


def test_a_count_of_numbers_that_cannot_fit_is_refused_at_once() -> None:
    cursor = Cursor(b"\x01\x02\x03", "a node")

    with pytest.raises(ClaimError, match=r"a node claims 1099511627776 entries, more than fit"):
        cursor.varints(2**40)
    assert cursor.varints(3) == [1, 2, 3]
    assert cursor.varints(0) == []


@pytest.mark.parametrize("count", [1, 2**40, 2**64 - 1, 2**70])
def test_a_file_has_no_bytes_behind_its_end(count: int) -> None:
    cursor = FileCursor(io.BytesIO(b"\x01\x02\x03"))
    assert cursor.unpack("H") == 0x0201
    assert cursor.skip(1) == 2

    with pytest.raises(ClaimError, match=f"should reach to byte {count + 3}, it has 3"):
        cursor.take(count)
    cursor.skip(0)
    with pytest.raises(ClaimError, match=f"should reach to byte {count + 3}, it has 3"):
        cursor.skip(count)


def test_no_step_leads_back() -> None:
    cursor = FileCursor(io.BytesIO(bytes(9)), ">")
    cursor.skip(4)

    for step in (cursor.take, cursor.skip):
        with pytest.raises(ClaimError, match="should reach to byte 3"):
            step(-1)
    assert cursor.place == 4


def test_what_is_cut_short_can_be_passed_over_by_who_only_wants_to_know() -> None:
    cursor = FileCursor(io.BytesIO(bytes(9)))
    cursor.skip(4)

    assert cursor.skip(2**64, is_whole=False) == 4

    with pytest.raises(ClaimError, match="should reach to byte"):
        cursor.take(1)


# ---------------------------------------------------------------- stretches of files


def test_a_stretch_reads_like_a_file_of_its_own() -> None:
    file = StretchFile(io.BytesIO(b"??hello??"), Stretch(2, 5))

    assert file.read() == b"hello"
    assert file.seek(-2, io.SEEK_END) == 3
    assert file.read(9) == b"lo"
    assert file.seek(9) == 9
    assert file.read(1) == b""
    with pytest.raises(OSError, match="before the beginning"):
        file.seek(-1)


def test_bytes_that_were_there_are_missed_when_they_are_gone() -> None:
    stretch = Stretch(2, 5)

    assert stretch.end == 7
    assert stretch.read(io.BytesIO(b"??hello"), "tensor 'w'") == b"hello"
    with pytest.raises(ClaimError, match="tensor 'w' is cut short since it was described"):
        stretch.read(io.BytesIO(b"??hell"), "tensor 'w'")


def test_reading_in_circles_ends() -> None:
    part = FilePart(io.BytesIO(bytes(1000)), 0, 1000)

    with pytest.raises(ClaimError, match="form a cycle"):
        read_for_ever(part)


def read_for_ever(part: FilePart) -> None:
    while True:
        part.read(0, 8)


# ---------------------------------------------------------------- compressed


@pytest.fixture(scope="module")
def deflated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """Return a zip with one deflated member of several windows, and its content."""
    chance = np.random.default_rng(0)
    content = chance.integers(0, 9, 5 * WINDOW_BYTES // 2, dtype=np.uint8).tobytes()
    path = tmp_path_factory.mktemp("zips") / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("m", content)
    return path, content


def test_a_deflated_member_is_read_at_any_place(deflated: tuple[Path, bytes]) -> None:
    path, content = deflated
    with path.open("rb") as file:
        part = InflatedPart(path, members_of(file, path.stat().st_size)["m"])
    chance = random.Random(1)

    for _ in range(40):
        place = chance.randrange(len(content))
        count = min(chance.choice((1, 100, WINDOW_BYTES)), len(content) - place)
        assert part.read(place, count) == content[place : place + count]
    assert part.values(0, len(content)) == content
    with pytest.raises(ClaimError, match="should reach to byte"):
        part.read(len(content), 1)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\x05\x10hello", b"hello"),
        (b"\x0a\x04ab\x1e\x02\x00", b"ababababab"),
        (b"\x06\x04ab\x01\x02", b"ababab"),
        (b"\x05\xf0\x04hello", b"hello"),
    ],
)
def test_snappy_is_undone(raw: bytes, expected: bytes) -> None:
    assert of_snappy(raw, 100) == expected


@pytest.mark.parametrize(
    "raw",
    [b"", b"\x05\x10hell", b"\x04\x10hello", b"\x06\x04ab\x01\x09", b"\xff\xff\xff\xff\x0f\x00",
     b"\x80" * 9, b"\x80\x80\x80\x80\x80\x00", b"\x0a\x1e\x02\x00", b"\x06\x04ab\x01\x00"],
)  # fmt: skip
def test_damaged_snappy_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="snappy"):
        of_snappy(raw, 1 << 20)
