"""OCDBT, the key-value store of Orbax arrays: a manifest, and a B-tree in data files.

The format is TensorStore's ("Storage format" of its ocdbt driver). It is parsed here so that a
damaged or hostile store can neither crash a library nor make it read other files. Every node has a
checksum; small values are in the nodes, larger ones are byte ranges of data files, and all files
must be below the folder of the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from accweight_adapters.bytes.compressed import unpacked_zstd
from accweight_adapters.bytes.cursor import Cursor
from accweight_adapters.jax.marks import MANIFEST
from accweight_adapters.untrusted import MAX_SIZE, ClaimError, quoted

MANIFEST_MAGIC: Final = 0x0CDB3A2A
NODE_MAGIC: Final = 0x0CDB20DE
LARGEST_NODE: Final = 1 << 26
"""Most bytes of a node; writers limit nodes to 8 MiB, except for a long key."""

MOST_HEIGHT: Final = 64
LONGEST_KEY: Final = 1 << 16
MOST_BYTES: Final = 1 << 28
"""Most bytes of all keys and values in nodes: shared prefixes let a small file expand a lot."""

HEADER_BYTES: Final = 12
CHECKSUM_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A stored value: a byte range of a file, or bytes in memory."""

    path: Path
    offset: int
    size_bytes: int
    content: bytes | None = None

    def read(self, start: int = 0, count: int | None = None) -> bytes:
        """Return `count` bytes from `start`, or all bytes from there.

        Raises:
            ClaimError: If the file has become shorter.
        """
        count = self.size_bytes - start if count is None else count
        if start < 0 or count < 0 or start + count > self.size_bytes:
            raise ClaimError(f"cut short: {count} bytes at {start} of {self.size_bytes}")
        if self.content is not None:
            return self.content[start : start + count]
        with self.path.open("rb") as file:
            file.seek(self.offset + start)
            content = file.read(count)
        if len(content) < count:
            raise ClaimError(f"its file {quoted(self.path.name)} has become shorter")
        return content


@dataclass(frozen=True, slots=True)
class _Place:
    """Location of a node or value: path of its file in two parts, offset and length."""

    base: str
    name: str
    offset: int
    size_bytes: int


def stored_values(folder: Path) -> dict[str, Piece]:
    """Return everything in the store at `folder`, by key.

    Raises:
        ClaimError: If it is damaged, or names a file outside the folder.
    """
    manifest = folder / MANIFEST
    body = _opened(manifest.read_bytes() if _is_small(manifest) else b"", MANIFEST_MAGIC)
    root = _root(body)
    return dict(_Tree(folder).values(*root)) if root else {}


def _is_small(manifest: Path) -> bool:
    if manifest.stat().st_size > LARGEST_NODE:
        raise ClaimError(f"its {MANIFEST} has {manifest.stat().st_size} bytes; it is damaged")
    return True


def _opened(raw: bytes, magic: int) -> Cursor:
    """Return the body of a node or manifest, after verifying its header and checksum."""
    if len(raw) < HEADER_BYTES + 2 + CHECKSUM_BYTES or raw[:4] != magic.to_bytes(4, "big"):
        raise ClaimError("the header of its store, or of a node in it, is damaged or cut short")
    if int.from_bytes(raw[4:HEADER_BYTES], "little") != len(raw):
        raise ClaimError("its store, or a node in it, has another size than it says")
    import google_crc32c

    checksum = int.from_bytes(raw[-CHECKSUM_BYTES:], "little")
    if google_crc32c.value(raw[:-CHECKSUM_BYTES]) != checksum:
        raise ClaimError("its store, or a node in it, is damaged: the checksum differs")
    inner = raw[HEADER_BYTES + 2 : -CHECKSUM_BYTES]
    version, packing = raw[HEADER_BYTES : HEADER_BYTES + 2]
    if version or packing > 1:
        raise ClaimError(f"its store is of version {version}, packing {packing}; 0 and 1 are known")
    content = bytes(unpacked_zstd(inner, LARGEST_NODE)) if packing else inner
    return Cursor(content, "a node of its tree")


def _root(body: Cursor) -> tuple[_Place, int] | None:
    """Return the location and height of the newest root; None for an empty store."""
    body.take(16)
    kind, *_ = body.varints(3)
    body.take(1)
    if body.varint():
        body.take(4)
    if kind:
        raise ClaimError("its store keeps numbered manifests, which are not supported")
    files = _files(body, "")
    count = body.varint()
    body.varints(count)
    heights = body.take(count)
    columns = [body.varints(count) for _ in range(3)]
    if not count:
        return None
    place = _placed(files, *(column[-1] for column in columns))
    return (place, heights[-1]) if place.size_bytes else None


def _files(body: Cursor, above: str) -> list[tuple[str, str]]:
    """Return the table of data files, each path in two parts: inherited folder and name."""
    count = body.varint()
    suffixes, lengths = _shared(body, count, with_column=True)
    return [(above + p[:n], p[n:]) for p, n in zip(_joined(suffixes), lengths, strict=True)]


def _shared(
    body: Cursor, count: int, *, with_column: bool
) -> tuple[list[tuple[int, bytes]], list[int]]:
    """Return strings as prefix length and suffix, and the column stored between them."""
    prefixes = [0, *body.varints(count - 1)] if count else []
    sizes = body.varints(count)
    column = body.varints(count) if with_column else []
    return [(p, body.take(n)) for p, n in zip(prefixes, sizes, strict=True)], column


def _joined(pieces: list[tuple[int, bytes]]) -> Iterator[str]:
    """Yield strings, each of which shares a prefix with the one before."""
    previous = b""
    total = 0
    for shared, suffix in pieces:
        if shared > len(previous) or shared + len(suffix) > LONGEST_KEY:
            raise ClaimError("a key in its store has too long a shared prefix; it is damaged")
        previous = previous[:shared] + suffix
        total += len(previous)
        if total > MOST_BYTES:
            raise ClaimError(f"the keys of its store take more than {MOST_BYTES} bytes")
        yield previous.decode("utf-8", "replace")


def _placed(files: list[tuple[str, str]], number: int, offset: int, size_bytes: int) -> _Place:
    if number >= len(files) or offset + size_bytes > MAX_SIZE:
        raise ClaimError("its store points to a file that it does not list")
    return _Place(*files[number], offset, size_bytes)


class _Tree:
    """Walks the tree of a store; each node once, so that cycles end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, tuple[Path, int]] = {}
        self._seen: set[_Place] = set()
        self._bytes = 0

    def values(self, place: _Place, height: int, prefix: str = "") -> Iterator[tuple[str, Piece]]:
        """Yield the keys and values below a node."""
        if place in self._seen or height > MOST_HEIGHT:
            raise ClaimError("damaged: the nodes of its tree form a cycle")
        self._seen.add(place)
        body = _opened(self._piece(place, LARGEST_NODE).read(), NODE_MAGIC)
        self._count(body.size_bytes)
        if body.byte() != height:
            raise ClaimError("a node of its tree is on another level than it should be")
        files, count = _files(body, place.base), body.varint()
        if height:
            yield from self._below(body, files, count, height - 1, prefix)
        else:
            yield from self._leaves(body, files, count, prefix)

    def _below(
        self, body: Cursor, files: list[tuple[str, str]], count: int, height: int, prefix: str
    ) -> Iterator[tuple[str, Piece]]:
        suffixes, common = _shared(body, count, with_column=True)
        columns = [body.varints(count) for _ in range(3)]
        for key, shared, *numbers in zip(_joined(suffixes), common, *columns, strict=True):
            child = prefix + key[:shared]
            if len(child) > LONGEST_KEY:
                raise ClaimError("a key in its store is too long; it is damaged")
            yield from self.values(_placed(files, *numbers), height, child)

    def _leaves(
        self, body: Cursor, files: list[tuple[str, str]], count: int, prefix: str
    ) -> Iterator[tuple[str, Piece]]:
        suffixes, _ = _shared(body, count, with_column=False)
        sizes, kinds = body.varints(count), body.varints(count)
        apart = sum(1 for kind in kinds if kind)
        places = zip(body.varints(apart), body.varints(apart), strict=True)
        for key, size, kind in zip(_joined(suffixes), sizes, kinds, strict=True):
            self._count(len(prefix) + len(key))
            if kind:
                number, offset = next(places)
                yield prefix + key, self._piece(_placed(files, number, offset, size), MAX_SIZE)
            else:
                yield prefix + key, Piece(self._folder / MANIFEST, 0, size, body.take(size))

    def _count(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        if self._bytes > MOST_BYTES:
            raise ClaimError(f"the nodes of its store make more than {MOST_BYTES} bytes")

    def _piece(self, place: _Place, most: int) -> Piece:
        """Return a byte range of a data file, after checking that it lies in the file."""
        path, size_bytes = self._file(place.base + place.name)
        if place.size_bytes > most or place.offset + place.size_bytes > size_bytes:
            raise ClaimError(
                f"its file {quoted(path.name)} has {size_bytes} bytes, something in it should "
                f"reach to byte {place.offset + place.size_bytes}; it is cut short or damaged"
            )
        return Piece(path, place.offset, place.size_bytes)

    def _file(self, name: str) -> tuple[Path, int]:
        if name not in self._sizes:
            path = path_below(self._folder, name)
            self._sizes[name] = path, path.stat().st_size
        return self._sizes[name]


def path_below(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder, after resolving links.

    Raises:
        ClaimError: If it is missing, or outside the folder.
    """
    parts = name.split("/")
    if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise ClaimError(f"names a file {quoted(name)}; expected one below its own folder")
    path = folder.joinpath(*parts)
    try:
        is_there = path.is_file()
    except OSError:  # a name that is invalid on this system
        is_there = False
    if not is_there:
        raise ClaimError(f"its file {quoted(name)} is missing; copy the folder again")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ClaimError(f"its file {quoted(name)} is a link that leads out of its folder")
    return path
