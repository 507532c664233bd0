"""Objects of arbitrary classes next to the weights: parsed symbolically, never created.

Trainers pickle their settings with the weights, and settings may be of any class. No name in a
pickle is looked up, so all of them are harmless. Names that only a malicious pickle would contain
are refused all the same, so that such a file does not pass for a checkpoint.
"""

from __future__ import annotations

import re
from typing import Final

from accweight_adapters.torch.pickle_globals import OPAQUE, Global, Vocabulary, call

CODE_MODULES: Final = (
    r"(os|posix|nt|subprocess|commands|sys|_?ctypes|socket|shutil|runpy|pty|importlib|imp|marshal"
    r"|webbrowser|[_c]?[Pp]ickle)\..*"
)
"""Modules that settings never refer to, but malicious pickles do.

Old protocols use Python 2's names: `commands` is `subprocess`.
"""

CODE_PARTS: Final = (
    r"(.*\.)?(os|posix|nt|subprocess|eval|exec|execfile|system|popen|__import__|import_module)"
    r"(\..*)?"
)
"""Names that are dangerous anywhere in a path: ``torch.serialization.os.system``."""

CODE_BUILTINS: Final = (
    r"(builtins|_?io)\.(compile|open|input|breakpoint|setattr|delattr|globals|vars)"
)
"""`getattr` is not included: nested classes and bound methods are pickled with it."""

CODE = re.compile(f"{CODE_MODULES}|{CODE_PARTS}|{CODE_BUILTINS}", re.DOTALL)


def runs_code(name: str) -> bool:
    """Tell whether only a pickle made to execute code would contain a full name."""
    return CODE.fullmatch(name) is not None


def _stands_for(function: object, args: object) -> object:
    """Return the result of a call; a result may be called again, as for nested classes."""
    return call(function, args) if isinstance(function, Global) else OPAQUE


WITH_OBJECTS: Final = Vocabulary(lambda name: not runs_code(name), _stands_for)
"""Weights next to objects of any class, which become `OPAQUE`."""
