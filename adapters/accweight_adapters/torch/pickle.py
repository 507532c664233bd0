"""Interpret the pickle in a torch checkpoint symbolically, without executing any of it.

The opcodes come from the standard library's `pickletools`. `torch.load(weights_only=True)` allows
the same names, but calls them with the file's arguments: it allocates as much as a hostile file
asks for, its allow-list is global to the process (any library may have extended it), and the ways
to get byte offsets from it differ between torch 2.4 and 2.13. Here nothing is called, no object is
larger than the pickle, and torch is not imported, whatever its version.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from typing import IO, Any, Final

from accweight_adapters.torch.pickle_globals import (
    OPAQUE,
    PLAIN,
    STORAGE_DTYPES,
    Global,
    NumpyDtype,
    Opaque,
    Record,
    RefusedGlobalError,
    StorageClaim,
    Vocabulary,
)
from accweight_adapters.untrusted import ClaimError, checked_size, quoted

LITERALS: Final = frozenset(
    {
        "INT",
        "LONG",
        "LONG1",
        "LONG4",
        "BININT",
        "BININT1",
        "BININT2",
        "FLOAT",
        "BINFLOAT",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BYTEARRAY8",
    }
)
"""Opcodes that push their argument."""

FRESH: Final[dict[str, Callable[[], object]]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": lambda: OPAQUE,
}
"""Opcodes that push a new value."""


class WeightsPickle:
    """One pickle, read from the position of `stream` up to and including its end.

    Attributes:
        item_bytes: Bytes per element of every storage in the pickle, by key.
    """

    def __init__(self, stream: IO[bytes], vocabulary: Vocabulary = PLAIN) -> None:
        self.item_bytes: dict[str, int] = {}
        self._vocabulary = vocabulary
        self._stream = stream
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._opcodes = 0
        self._copied = 0

    def load(self) -> object:
        """Return what the pickle describes: dicts, lists, numbers, text and `TensorClaim`s.

        Raises:
            RefusedGlobalError: If it contains a name that plain weights do not need.
            ClaimError: If it does anything else that pickles of weights do not do.
        """
        for opcode, argument, _ in pickletools.genops(self._stream):
            self._opcodes += 1
            if opcode.name in LITERALS:
                self._stack.append(argument)
            elif opcode.name in FRESH:
                self._stack.append(FRESH[opcode.name]())
            else:
                self._follow(opcode.name, argument)
        return self._stack.pop()

    def _follow(self, name: str, argument: Any) -> None:
        handler = HANDLERS.get(name)
        if handler is None:
            raise ClaimError(f"its pickle uses {name}, which no pickle of plain weights needs")
        handler(self, argument)

    def _nothing(self, _argument: Any) -> None:
        """Ignore PROTO, FRAME and STOP."""

    def _mark(self, _argument: Any) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._outer.pop()
        return items

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _memoize(self, _argument: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, _argument: Any) -> None:
        items = tuple(self._since_mark())
        self._stack.append(items)

    def _tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise ClaimError("its pickle takes more values than it made")
        self._stack[-count:] = [tuple(self._stack[-count:])]

    def _list(self, _argument: Any) -> None:
        items = self._since_mark()
        self._stack.append(items)

    def _dict(self, _argument: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._set_items(items)

    def _append(self, _argument: Any) -> None:
        item = self._stack.pop()
        self._extend([item])

    def _appends(self, _argument: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise ClaimError("its pickle appends to something that is not a list")

    def _set_item(self, _argument: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._set_items([key, value])

    def _set_items_marked(self, _argument: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[Any]) -> None:
        """Set the items whose key can be part of a name; hashing other keys is not safe."""
        target = self._stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            kept = (pair for pair in pairs if isinstance(pair[0], (str, int, Record)))
            target.update(kept)
        elif not isinstance(target, Opaque):
            raise ClaimError("its pickle sets an item of something that is not a dict")

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_global(module, name)

    def _stack_global(self, _argument: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ClaimError("its pickle names a class by something that is not text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        module = "builtins" if module == "__builtin__" else module
        full_name = f"{module}.{name}"
        if not self._vocabulary.allows(full_name):
            is_class = name[:1].isupper()  # by convention; 'os.system' is not convertible
            raise RefusedGlobalError(full_name, whole=is_class and self._is_at_top())
        self._stack.append(Global(full_name))

    def _is_at_top(self) -> bool:
        """Tell whether the value being built is the whole content.

        The legacy format wraps the class of a whole module as ``("module", class, source)``.
        """
        outer = [value for stack in self._outer for value in stack]
        return not outer and self._stack in ([], ["module"])

    def _reduce(self, _argument: Any) -> None:
        args, function = self._stack.pop(), self._stack.pop()
        if function == Global("collections.OrderedDict"):
            self._stack.append({})
            self._set_items(self._flat_pairs(args))
        else:
            self._stack.append(self._vocabulary.call(function, args))

    def _reduce_with_keywords(self, _argument: Any) -> None:
        self._stack.pop()
        self._reduce(None)

    def _frozen_set(self, _argument: Any) -> None:
        self._since_mark()
        self._stack.append(OPAQUE)

    def _pop(self, _argument: Any) -> None:
        """Pop a value; objects that contain themselves are popped and fetched from the memo."""
        if self._stack:
            self._stack.pop()
        else:
            self._since_mark()

    def _pop_mark(self, _argument: Any) -> None:
        self._since_mark()

    def _flat_pairs(self, args: Any) -> list[Any]:
        """Return ``([(key, value), ...],)`` as a flat list: OrderedDicts pickled by Python 2.

        A pickle can refer to one list a thousand times, so the size of copies is limited by the
        pickle's.
        """
        pairs = args[0] if args else []
        self._copied += len(pairs)
        if self._copied > self._opcodes:
            raise ClaimError("its pickle copies one list again and again")
        return [item for key, value in pairs for item in (key, value)]

    def _build(self, _argument: Any) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, NumpyDtype):
            target.order = state[1] if state[1] in ("<", ">") else target.order
        elif isinstance(target, Record):
            target.state = state
        elif not isinstance(target, (dict, Opaque)):
            raise ClaimError("its pickle changes a tensor after making it, as torch 0.1 did")

    def _persistent(self, _argument: Any) -> None:
        """Record a storage: ``("storage", class, key, location, elements[, view])``.

        The legacy format refers to classes of modules as well: ``("module", class, file, source)``.
        """
        claim = self._stack.pop()
        if isinstance(claim, tuple) and len(claim) == 4 and claim[0] == "module":
            self._stack.append(claim[1])
            return
        if not isinstance(claim, tuple) or len(claim) not in (5, 6) or claim[0] != "storage":
            raise ClaimError("its pickle refers to something that is not a storage")
        _, kind, key, _, elements = claim[:5]
        if not isinstance(kind, Global) or kind.name not in STORAGE_DTYPES:
            raise ClaimError(f"its pickle names a storage of unknown type {quoted(kind)}")
        if not isinstance(key, str):
            raise ClaimError("its pickle names a storage by something that is not text")
        view = claim[5] if len(claim) == 6 else None
        self._stack.append(self._storage(kind.name, key, elements, view))

    def _storage(self, kind: str, key: str, elements: object, view: Any) -> StorageClaim:
        dtype, item_bytes = STORAGE_DTYPES[kind]
        if self.item_bytes.setdefault(key, item_bytes) != item_bytes:
            raise ClaimError(f"storage {quoted(key)} is claimed with two element sizes")
        size = checked_size(elements, "a storage size")
        start = 0
        if view is not None:
            start, part = (checked_size(value, "a storage view") for value in view[1:3])
            if start + part > size:
                raise ClaimError(f"a view of storage {quoted(key)} reaches past its end")
            size = part
        return StorageClaim(key, dtype, start * item_bytes, size * item_bytes)


HANDLERS: Final[dict[str, Callable[[WeightsPickle, Any], None]]] = {
    "PROTO": WeightsPickle._nothing,
    "FRAME": WeightsPickle._nothing,
    "STOP": WeightsPickle._nothing,
    "MARK": WeightsPickle._mark,
    "PUT": WeightsPickle._put,
    "BINPUT": WeightsPickle._put,
    "LONG_BINPUT": WeightsPickle._put,
    "MEMOIZE": WeightsPickle._memoize,
    "GET": WeightsPickle._get,
    "BINGET": WeightsPickle._get,
    "LONG_BINGET": WeightsPickle._get,
    "TUPLE": WeightsPickle._tuple,
    "TUPLE1": lambda pickle, _: pickle._tuple_of(1),
    "TUPLE2": lambda pickle, _: pickle._tuple_of(2),
    "TUPLE3": lambda pickle, _: pickle._tuple_of(3),
    "LIST": WeightsPickle._list,
    "DICT": WeightsPickle._dict,
    "APPEND": WeightsPickle._append,
    "APPENDS": WeightsPickle._appends,
    "ADDITEMS": WeightsPickle._appends,
    "SETITEM": WeightsPickle._set_item,
    "SETITEMS": WeightsPickle._set_items_marked,
    "GLOBAL": WeightsPickle._global,
    "STACK_GLOBAL": WeightsPickle._stack_global,
    "REDUCE": WeightsPickle._reduce,
    "NEWOBJ": WeightsPickle._reduce,
    "NEWOBJ_EX": WeightsPickle._reduce_with_keywords,
    "FROZENSET": WeightsPickle._frozen_set,
    "POP": WeightsPickle._pop,
    "POP_MARK": WeightsPickle._pop_mark,
    "BUILD": WeightsPickle._build,
    "BINPERSID": WeightsPickle._persistent,
}
"""All other opcodes that pickles of weights use; the rest are refused."""
