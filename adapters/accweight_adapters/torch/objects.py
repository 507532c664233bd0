"""Objects of any class beside the weights: followed by name and shape of the pickle, never made.

Trainers pickle their settings with the weights, and settings may be of any class. Nothing that
a pickle names is looked up here, so all of it is harmless; what only a pickle that means to run
something would name is refused nevertheless, so that no such file passes for a checkpoint.
"""

from __future__ import annotations

import re
from typing import Final

from accweight_adapters.torch.pickle_globals import OPAQUE, Global, Vocabulary, call

CODE_MODULES: Final = (
    r"(os|posix|nt|subprocess|commands|sys|_?ctypes|socket|shutil|runpy|pty|importlib|imp|marshal"
    r"|webbrowser|[_c]?[Pp]ickle)\..*"
)
"""Modules whose names nobody stores in settings, and which the pickles of attackers name.

Old protocols name them as Python 2 did: `commands` is `subprocess`.
"""

CODE_PARTS: Final = (
    r"(.*\.)?(os|posix|nt|subprocess|eval|exec|execfile|system|popen|__import__|import_module)"
    r"(\..*)?"
)
"""Names that mean the same anywhere in a path: ``torch.serialization.os.system``."""

CODE_BUILTINS: Final = (
    r"(builtins|_?io)\.(compile|open|input|breakpoint|setattr|delattr|globals|vars)"
)
"""Not `getattr`: nested classes and bound methods are pickled with it."""

CODE = re.compile(f"{CODE_MODULES}|{CODE_PARTS}|{CODE_BUILTINS}", re.DOTALL)


def runs_code(name: str) -> bool:
    """Tell whether a full name is one that only a pickle made to run something would mention."""
    return CODE.fullmatch(name) is not None


def _stands_for(function: object, args: object) -> object:
    """Return what a call stands for; what a call returned may be called again, as inner classes."""
    return call(function, args) if isinstance(function, Global) else OPAQUE


WITH_OBJECTS: Final = Vocabulary(lambda name: not runs_code(name), _stands_for)
"""Weights beside objects of any class, which stay opaque."""
