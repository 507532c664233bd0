"""Numbers, text and bytes of a pickle: the operations that read a value from the stream itself."""

from __future__ import annotations

import struct
from typing import Any, Final

from accweight_adapters.pickles.calls import BYTES_KEPT
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.pickles.values import BytesClaim, TextClaim
from accweight_adapters.untrusted import ClaimError

TEXT_KEPT: Final = 1 << 12
"""Longest text that is kept, in bytes; names and paths are shorter, so longer text is skipped."""


class Literals:
    """Reads values that are written in the pickle, and pushes them onto the stack."""

    def __init__(self, stream: PickleStream) -> None:
        """Begin with an empty stack."""
        self._stream = stream
        self._stack: list[Any] = []

    def _unsigned(self, width: int) -> int:
        return int.from_bytes(self._stream.read(width), "little")

    def _push(self, value: object) -> None:
        self._stack.append(value)

    def _skip_argument(self, width: int) -> None:
        """Ignore PROTO and FRAME."""
        self._stream.read(width)

    def _packed(self, code: str) -> None:
        (value,) = struct.unpack(code, self._stream.read(struct.calcsize(code)))
        self._push(value)

    def _line(self) -> str:
        _, _, content = self._stream.line()
        if content is None:
            raise ClaimError("its pickle has a name or number of thousands of characters")
        return content.decode("latin1")

    def _decimal(self) -> None:
        """Push INT: a number, or a truth value as 00 or 01."""
        text = self._line()
        self._push(text == "01" if text in ("00", "01") else int(text))

    def _long_decimal(self) -> None:
        self._push(int(self._line().removesuffix("L")))

    def _float_text(self) -> None:
        self._push(float(self._line()))

    def _long(self, width: int) -> None:
        count = self._unsigned(width)
        self._push(int.from_bytes(self._stream.read(count), "little", signed=True))

    def _text(self, width: int) -> None:
        count = self._unsigned(width)
        if count > TEXT_KEPT:
            self._push(TextClaim(self._stream.skip(count), count, "utf-8"))
        else:
            self._push(self._stream.read(count).decode("utf-8", "surrogatepass"))

    def _text_line(self) -> None:
        start, count, content = self._stream.line()
        if content is None:
            self._push(TextClaim(start, count, "raw-unicode-escape"))
        else:
            self._push(content.decode("raw-unicode-escape"))

    def _bytes(self, width: int) -> None:
        count = self._unsigned(width)
        start = self._stream.position
        if count > BYTES_KEPT:
            self._push(BytesClaim(self._stream.skip(count), count))
        else:
            self._push(BytesClaim(start, count, self._stream.read(count)))

    def _old_string(self, width: int) -> None:
        """Push a string of Python 2, which may be text or bytes; long ones are bytes."""
        count = self._unsigned(width)
        if count > BYTES_KEPT:
            self._push(BytesClaim(self._stream.skip(count), count))
        else:
            self._push(self._stream.read(count).decode("latin1"))

    def _quoted_string(self) -> None:
        """Push a string of Python 2 that is written as a literal."""
        start, count, content = self._stream.line()
        if content is None:
            self._push(BytesClaim(start + 1, max(0, count - 2), None, "escape"))
            return
        quoted = content.strip()
        if len(quoted) < 2 or quoted[:1] not in (b"'", b'"') or quoted[:1] != quoted[-1:]:
            raise ClaimError("its pickle has a string without quotes; it is damaged")
        self._push(quoted[1:-1].decode("unicode-escape"))
