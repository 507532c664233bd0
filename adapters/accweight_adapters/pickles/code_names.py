"""Names that only a malicious pickle contains.

No name in a pickle is looked up, so all of them are harmless. Names that run code when a file is
loaded elsewhere are refused all the same, so that such a file does not pass for a checkpoint.
"""

from __future__ import annotations

import re
from typing import Final

from accweight_adapters.untrusted import ClaimError, quoted

CODE_MODULES: Final = (
    r"(os|posix|nt|subprocess|commands|sys|_?ctypes|socket|shutil|runpy|pty|importlib|imp|marshal"
    r"|webbrowser|[_c]?[Pp]ickle)\..*"
)
"""Modules that settings never refer to, but malicious pickles do.

Old protocols use Python 2's names: `commands` is `subprocess`.
"""

CODE_PARTS: Final = r"(.*\.)?(os|posix|nt|subprocess|__import__|import_module)(\..*)?"
"""Names that are dangerous anywhere in a path: ``torch.serialization.os.system``."""

CODE_FUNCTIONS = re.compile(r"(.*\.)?(eval|exec|execfile|system|popen)(\..*)?", re.DOTALL)
"""Names that are dangerous unless they are a module with a class: ``utils.eval.AverageMeter``."""

CODE_BUILTINS: Final = (
    r"(builtins|_?io)\.(compile|open|input|breakpoint|setattr|delattr|globals|vars)"
)
"""`getattr` is not included: nested classes and bound methods are pickled with it."""

CODE_LOADERS: Final = (
    r"(torch|numpy|pandas|joblib|dill)(\..*)?\.(load|loads|read_pickle|fromfile)"
    r"|torch\.hub\..*|torch\._utils\._import_dotted_name"
)
"""Functions that load another file, or import a module by its name."""

CODE = re.compile(f"{CODE_MODULES}|{CODE_PARTS}|{CODE_BUILTINS}|{CODE_LOADERS}", re.DOTALL)


def runs_code(name: str) -> bool:
    """Tell whether only a pickle made to execute code would contain a full name."""
    if CODE.fullmatch(name):
        return True
    is_class = name.rpartition(".")[2][:1].isupper()
    return not is_class and CODE_FUNCTIONS.fullmatch(name) is not None


class RefusedGlobalError(ClaimError):
    """Raised for a name that only a malicious pickle contains.

    Attributes:
        name: The name.
    """

    def __init__(self, name: str) -> None:
        super().__init__(
            f"its pickle needs {quoted(name)}, which runs code where the file is loaded; only "
            "plain weights are read and nothing in the file is run. If you trust it, convert it in "
            "the environment that made it: torch.save(torch.load(PATH, weights_only=False)['KEY'], "
            "NEW), KEY being the entry with the weights; for a model, add .state_dict()"
        )
        self.name = name
