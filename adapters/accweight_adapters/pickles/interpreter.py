"""Interpret a pickle symbolically, without executing any of it; all readers of pickles share this.

No name is looked up, nothing is called, no object is larger than the pickle, and neither torch nor
NumPy is imported. `pickle` would call what a file names; `torch.load(weights_only=True)` calls only
names on a list, but with the file's arguments, so it allocates as much as a hostile file asks for,
and its list is global to the process. Objects of any class are harmless here (`Entity`), and so are
settings, dates and paths beside the weights; only names that nothing but an attack contains are
refused (`code_names`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from accweight_adapters.pickles.calls import (
    REMAKERS,
    called,
    filled_array,
    is_array_state,
)
from accweight_adapters.pickles.code_names import RefusedGlobalError, runs_code
from accweight_adapters.pickles.keys import key_of
from accweight_adapters.pickles.literals import Literals
from accweight_adapters.pickles.stream import PickleStream
from accweight_adapters.pickles.values import (
    ArrayClaim,
    BytesClaim,
    Entity,
    Global,
    NumpyDtype,
    TensorClaim,
)
from accweight_adapters.untrusted import ClaimError

ORDERED: Final = Global("collections.OrderedDict")
LOADED: Final = Global("torch.storage._load_from_bytes")

Referred = Callable[[object], object]
"""Returns what a persistent id stands for, or raises `ClaimError`."""

Loaded = Callable[[BytesClaim], object]
"""Returns the content of a torch.save file in a string of bytes."""

Following = Callable[[Entity, PickleStream], object]
"""Returns what an object stands for that is followed by raw bytes, or the object itself."""


def opaque_reference(_claim: object) -> object:
    """Return what any persistent id stands for where none has a meaning."""
    return Entity("a reference to something outside the pickle")


class Interpreter(Literals):
    """One pickle, read from the position of `stream` up to and including its end.

    Attributes:
        claims: Number of tensors and arrays so far.
    """

    def __init__(
        self,
        stream: PickleStream,
        *,
        referred: Referred = opaque_reference,
        loaded: Loaded | None = None,
        following: Following | None = None,
    ) -> None:
        """Prepare to read; nothing is read yet.

        Args:
            stream: The pickle.
            referred: Interprets persistent ids.
            loaded: Interprets torch.save files in strings of bytes.
            following: Reads the raw bytes that follow an object.
        """
        super().__init__(stream)
        self.claims = 0
        self._referred = referred
        self._loaded = loaded
        self._following = following
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._opcodes = 0
        self._copied = 0

    def load(self) -> object:
        """Return what the pickle describes: dicts, lists, numbers, text, claims and entities.

        Raises:
            RefusedGlobalError: If it contains a name that only an attack contains.
            ClaimError: If it is damaged.
        """
        read, is_counted = self._stream.read, self._stream.counts_operations
        while True:
            if is_counted:
                self._stream.count_operation()
            code = read(1)[0]
            self._opcodes += 1
            if code == STOP:
                return self._stack.pop()
            handler = HANDLERS.get(code)
            if handler is None:
                raise ClaimError(f"its pickle has an unknown operation, byte {code}; it is damaged")
            handler(self)

    # ------------------------------------------------------------ stack and memo

    def _mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _pop(self) -> None:
        """Pop a value; objects that contain themselves are popped and fetched from the memo."""
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self) -> None:
        self._since_mark()

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._push(self._memo[index])

    # ------------------------------------------------------------ containers

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise ClaimError("its pickle takes more values than it made")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _marked(self, make: Callable[[list[Any]], object]) -> None:
        items = self._since_mark()
        self._push(make(items))

    def _dict(self) -> None:
        items = self._since_mark()
        self._push({})
        self._set_items(items)

    def _frozen_set(self) -> None:
        entity = Entity("builtins.frozenset")
        entity.add(self._since_mark())
        self._push(entity)

    def _append(self) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Entity):
            target.add(items)
        else:
            raise ClaimError("its pickle appends to something that is not a list")

    def _set_item(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _set_items(self, items: list[Any]) -> None:
        """Set the items whose key can be part of a name; hashing other keys is not safe."""
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise ClaimError("its pickle sets an item of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            plain = key if type(key) is str else key_of(key)
            if plain is not None:
                target[plain] = value

    # ------------------------------------------------------------ classes and objects

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._push_global(module, name)

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ClaimError("its pickle names a class by something that is not text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        module = "builtins" if module == "__builtin__" else module
        full_name = f"{module}.{name}"
        if runs_code(full_name):
            raise RefusedGlobalError(full_name)
        self._push(Global(full_name))

    def _extension(self, width: int) -> None:
        """Push a class that is known by a number to the program that wrote it."""
        self._push(Global(f"class {self._unsigned(width)} of a private registry"))

    def _instance(self) -> None:
        """Make an object as protocol 0 did: by the names of its class, with what follows a mark."""
        arguments = tuple(self._since_mark())
        self._global()
        self._call(self._stack.pop(), arguments)

    def _object(self) -> None:
        """Make an object as protocol 1 did: class and arguments follow a mark."""
        kind, *arguments = self._since_mark()
        self._call(kind, tuple(arguments))

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._call(function, arguments)

    def _reduce_with_keywords(self) -> None:
        self._stack.pop()
        self._reduce()

    def _call(self, function: object, arguments: object) -> None:
        """Push the symbolic result of a call; nothing is called."""
        if not isinstance(function, (Global, Entity)) or not isinstance(arguments, tuple):
            raise ClaimError("its pickle calls something that is not a known function")
        if isinstance(function, Global) and function.name in REMAKERS:
            function, arguments = REMAKERS[function.name](arguments)
        if function == ORDERED:
            self._push(Entity(ORDERED.name))
            self._set_items(self._flat_pairs(arguments))
            return
        if function == LOADED and self._loaded and isinstance(arguments[0], BytesClaim):
            self._push(self._loaded(arguments[0]))
            return
        if isinstance(function, Global):
            result = called(function.name, arguments)
            self.claims += isinstance(result, (TensorClaim, ArrayClaim))
            self._push(result)
        else:  # the result of another call, as for nested classes
            self._push(Entity())

    def _flat_pairs(self, args: Any) -> list[Any]:
        """Return ``([(key, value), ...],)`` as a flat list: OrderedDicts pickled by Python 2.

        A pickle can refer to one list a thousand times, so the size of copies is limited by the
        pickle's.
        """
        pairs = args[0] if args else []
        pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
        self._copied += len(pairs)
        if self._copied > self._opcodes:
            raise ClaimError("its pickle copies one list again and again")
        return [item for key, value in pairs for item in (key, value)]

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Entity):
            target.state = state
            if self._following is not None:
                self._stack[-1] = self._following(target, self._stream)
        elif isinstance(target, ArrayClaim) and is_array_state(state):
            filled_array(target, state)
        elif isinstance(target, NumpyDtype):
            order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
            target.order = order if order in ("<", ">") else target.order
        elif not isinstance(target, (dict, ArrayClaim)):
            raise ClaimError("its pickle changes a tensor after making it, as torch 0.1 did")

    def _persistent(self) -> None:
        self._push(self._referred(self._stack.pop()))

    def _persistent_line(self) -> None:
        self._push(self._referred(self._line()))

    def _buffer(self) -> None:
        self._push(Entity("a buffer outside the pickle"))


STOP: Final = ord(".")

Handler = Callable[[Interpreter], None]

HANDLERS: Final[dict[int, Handler]] = {
    0x80: lambda p: p._skip_argument(1),  # PROTO
    0x95: lambda p: p._skip_argument(8),  # FRAME
    ord("I"): Interpreter._decimal,
    ord("L"): Interpreter._long_decimal,
    ord("F"): Interpreter._float_text,
    ord("J"): lambda p: p._packed("<i"),
    ord("K"): lambda p: p._push(p._unsigned(1)),
    ord("M"): lambda p: p._push(p._unsigned(2)),
    ord("G"): lambda p: p._packed(">d"),
    0x8A: lambda p: p._long(1),
    0x8B: lambda p: p._long(4),
    ord("V"): Interpreter._text_line,
    0x8C: lambda p: p._text(1),
    ord("X"): lambda p: p._text(4),
    0x8D: lambda p: p._text(8),
    ord("S"): Interpreter._quoted_string,
    ord("U"): lambda p: p._old_string(1),
    ord("T"): lambda p: p._old_string(4),
    ord("C"): lambda p: p._bytes(1),
    ord("B"): lambda p: p._bytes(4),
    0x8E: lambda p: p._bytes(8),
    0x96: lambda p: p._bytes(8),  # BYTEARRAY8
    ord("N"): lambda p: p._push(None),
    0x88: lambda p: p._push(True),
    0x89: lambda p: p._push(False),
    ord("}"): lambda p: p._push({}),
    ord("]"): lambda p: p._push([]),
    ord(")"): lambda p: p._push(()),
    0x8F: lambda p: p._push(Entity("builtins.set")),
    ord("("): Interpreter._mark,
    ord("0"): Interpreter._pop,
    ord("1"): Interpreter._pop_mark,
    ord("2"): lambda p: p._push(p._stack[-1]),  # DUP
    ord("p"): lambda p: p._put(int(p._line())),
    ord("q"): lambda p: p._put(p._unsigned(1)),
    ord("r"): lambda p: p._put(p._unsigned(4)),
    0x94: lambda p: p._put(len(p._memo)),  # MEMOIZE
    ord("g"): lambda p: p._get(int(p._line())),
    ord("h"): lambda p: p._get(p._unsigned(1)),
    ord("j"): lambda p: p._get(p._unsigned(4)),
    ord("t"): lambda p: p._marked(tuple),
    0x85: lambda p: p._tuple_of(1),
    0x86: lambda p: p._tuple_of(2),
    0x87: lambda p: p._tuple_of(3),
    ord("l"): lambda p: p._marked(lambda items: items),
    ord("d"): Interpreter._dict,
    ord("a"): Interpreter._append,
    ord("e"): lambda p: p._extend(p._since_mark()),
    0x90: lambda p: p._extend(p._since_mark()),  # ADDITEMS
    0x91: Interpreter._frozen_set,
    ord("s"): Interpreter._set_item,
    ord("u"): lambda p: p._set_items(p._since_mark()),
    ord("c"): Interpreter._global,
    0x93: Interpreter._stack_global,
    0x82: lambda p: p._extension(1),
    0x83: lambda p: p._extension(2),
    0x84: lambda p: p._extension(4),
    ord("i"): Interpreter._instance,
    ord("o"): Interpreter._object,
    ord("R"): Interpreter._reduce,
    0x81: Interpreter._reduce,  # NEWOBJ
    0x92: Interpreter._reduce_with_keywords,  # NEWOBJ_EX
    ord("b"): Interpreter._build,
    ord("P"): Interpreter._persistent_line,
    ord("Q"): Interpreter._persistent,
    0x97: Interpreter._buffer,  # NEXT_BUFFER
    0x98: lambda p: None,  # READONLY_BUFFER
}
"""Every operation of protocols 0 to 5, by its byte."""
