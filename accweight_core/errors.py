"""Every error accweight raises on purpose, so that a caller can tell them from faults.

    AccweightError
    ├── SourceError            (also LookupError)    nothing to read where the user pointed
    ├── FormatError            (also ValueError)     a file is damaged, unsafe or not what it says
    ├── MissingLibraryError    (also ImportError)    a reader or exporter needs an extra
    ├── StepOrderError         (also ValueError)     checkpoints cannot be put in order
    ├── MismatchError          (also ValueError)     checkpoints do not belong to one run
    │   └── ShapeMismatchError                       one parameter with two shapes
    ├── NonFiniteError         (also ValueError)     NaN or infinity under `strict`
    ├── UnsupportedDtypeError  (also TypeError)      values that cannot be subtracted
    ├── ArgumentTypeError      (also TypeError)      a call was given something else than it takes
    ├── UnknownNameError       (also KeyError)       no such parameter, layer, metric or step
    ├── MemoryLimitError                             more memory is needed than there is
    ├── EngineError            (also RuntimeError)   workers cannot do, or have lost, their work
    └── StoreError             (also OSError)        an analysis cannot be written or opened

A message is one line: what is wrong with which thing, what was expected, what came, what to do.
"""

from __future__ import annotations

import errno
from typing import Any


class AccweightError(Exception):
    """Base of every error that accweight raises for a reason the user can mend.

    One that is raised in another process arrives as it was, with its message and attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the attributes, not the arguments they were made of."""
        return _as_raised, (type(self), self.args, self.__dict__)


def _as_raised(
    kind: type[AccweightError], args: tuple[object, ...], attributes: dict[str, object]
) -> AccweightError:
    """Return an error as it was raised, without composing its message anew."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class SourceError(AccweightError, LookupError):
    """There is nothing to read where the user pointed."""


class FormatError(AccweightError, ValueError):
    """A file is truncated, corrupt, unsafe to load, or not the format it claims.

    Attributes:
        path: The file in question.
    """

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)


class MissingLibraryError(AccweightError, ImportError):
    """An optional library is not installed; the message says what to install.

    Attributes:
        library: Its name.
        extra: The extra of accweight that brings it; empty if it is installed by its own name.
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        wanted = f"'accweight[{extra}]'" if extra else library
        super().__init__(
            f"{purpose} needs {library}, which is not installed; "
            f"install it with: pip install {wanted}"
        )
        self.library = library
        self.extra = extra


class StepOrderError(AccweightError, ValueError):
    """Checkpoints cannot be ordered, or two of them claim the same step."""


class MismatchError(AccweightError, ValueError):
    """Checkpoints that do not hold the same parameters were offered as one run."""


class ShapeMismatchError(MismatchError):
    """One parameter has different shapes where one shape is needed.

    Attributes:
        parameter: Its name.
        expected: The first shape met.
        got: The other shape.
    """

    def __init__(
        self,
        parameter: str,
        expected: tuple[int, ...],
        got: tuple[int, ...],
        *,
        where: str = "",
        remedy: str = "",
    ) -> None:
        text = f"parameter {parameter!r} has shape {got} but {expected} was expected"
        super().__init__(
            text + (f" ({where})" if where else "") + (f"; {remedy}" if remedy else "")
        )
        self.parameter = parameter
        self.expected = expected
        self.got = got


class NonFiniteError(AccweightError, ValueError):
    """A tensor holds NaN or infinity and the caller asked for `strict`."""


class UnsupportedDtypeError(AccweightError, TypeError):
    """The values of a tensor cannot be widened and subtracted; the message says why."""


class ArgumentTypeError(AccweightError, TypeError):
    """A call was given something else than it takes; the message says what it takes."""


class UnknownNameError(AccweightError, KeyError):
    """No parameter, layer, metric or step of that name; the message lists what there is."""

    def __str__(self) -> str:
        """Return the message itself: KeyError would show its repr."""
        return str(self.args[0]) if self.args else ""


class MemoryLimitError(AccweightError):
    """Something takes more memory than the budget, or the machine, has; the message says what."""


class EngineError(AccweightError, RuntimeError):
    """Workers cannot be reached, do not see the files, or have died over their work."""


class StoreError(AccweightError, OSError):
    """An analysis cannot be created, opened or continued."""


def reason_of(error: OSError) -> str:
    """Return why the system refused something; where a limit is why, which one, and what to do."""
    if error.errno not in (errno.EMFILE, errno.ENFILE):
        return str(error.strerror or error)
    whose = "this process" if error.errno == errno.EMFILE else "this machine"
    return f"{whose} has as many files open as it may{_limit()}; raise that, or take fewer threads"


def _limit() -> str:
    try:
        import resource  # not on every system
    except ImportError:
        return ""
    return f", ulimit -n is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
