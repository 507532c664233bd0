"""All errors that accweight raises on purpose, so that callers can tell them from bugs.

    AccweightError
    ├── SourceError            (also LookupError)    the source does not exist or has no checkpoints
    ├── FormatError            (also ValueError)     a file is damaged, unsafe or of another format
    ├── MissingLibraryError    (also ImportError)    a reader or exporter needs an extra
    ├── StepOrderError         (also ValueError)     checkpoints cannot be put in order
    ├── MismatchError          (also ValueError)     checkpoints do not belong to one run
    │   ├── ShapeMismatchError                       one parameter has two shapes
    │   └── SeveralSeriesError (also StepOrderError) a source holds several runs
    ├── NonFiniteError         (also ValueError)     NaN or infinity under `strict`
    ├── UnsupportedDtypeError  (also TypeError)      values that cannot be subtracted
    ├── UnsupportedOperatorError                     a network has a part that cannot be run
    │                          (also NotImplementedError)
    ├── ArgumentTypeError      (also TypeError)      an argument has a wrong type
    ├── ArgumentValueError     (also ValueError)     an argument has an invalid value
    ├── UnknownNameError       (also KeyError)       no such parameter, layer, metric or step
    ├── MemoryLimitError                             more memory is needed than is available
    ├── BindingError           (also ValueError)     weights do not fit a network
    ├── EngineError            (also RuntimeError)   workers cannot be used, or have died
    └── StoreError             (also OSError)        an analysis cannot be written or opened

A message is one line: what is wrong and where, what was expected, what was found, what to do.
"""

from __future__ import annotations

import errno
from typing import Any

from accweight_core.text import plain


class AccweightError(Exception):
    """Base class of all errors whose cause the user can fix.

    An error raised in another process keeps its message and attributes when it is unpickled.
    """

    def __str__(self) -> str:
        """Return the message in one line: names from files may contain line breaks."""
        return plain(self.args[0]) if self.args else ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the attributes instead of the constructor arguments."""
        return _as_raised, (type(self), self.args, self.__dict__)


def _as_raised(
    kind: type[AccweightError], args: tuple[object, ...], attributes: dict[str, object]
) -> AccweightError:
    """Return an unpickled error with its original message, without calling its constructor."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class SourceError(AccweightError, LookupError):
    """The source does not exist or has no checkpoints."""


class FormatError(AccweightError, ValueError):
    """A file is truncated, corrupt, unsafe to load, or not of the format it claims.

    Attributes:
        path: The path of the file.
    """

    def __init__(self, path: object, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = str(path)


class MissingLibraryError(AccweightError, ImportError):
    """An optional library is not installed; the message says what to install.

    Attributes:
        library: Name of the library.
        extra: The extra of accweight that installs it; empty if it is installed by its own name.
    """

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        wanted = f"'accweight[{extra}]'" if extra else library
        super().__init__(
            f"{purpose} needs {library}, which is not installed; "
            f"install it with: pip install {wanted}"
        )
        self.library = library
        self.extra = extra


class DrawingError(AccweightError, RuntimeError):
    """A drawing cannot be laid out."""


class StepOrderError(AccweightError, ValueError):
    """Checkpoints cannot be ordered, or two of them have the same step."""


class MismatchError(AccweightError, ValueError):
    """Checkpoints with different parameters were given as one run."""


class ShapeMismatchError(MismatchError):
    """One parameter has different shapes where one shape is needed.

    Attributes:
        parameter: Name of the parameter.
        expected: The first shape found.
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


class SeveralSeriesError(StepOrderError, MismatchError):
    """A source holds several series of checkpoints, and none was chosen, or not one that exists.

    Attributes:
        series: Names of the series.
    """

    def __init__(self, problem: str, series: tuple[str, ...]) -> None:
        super().__init__(problem)
        self.series = series


class NonFiniteError(AccweightError, ValueError):
    """A tensor has NaN or infinity and the caller asked for `strict`."""


class UnsupportedDtypeError(AccweightError, TypeError):
    """The values of a tensor cannot be widened and subtracted; the message says why."""


class UnsupportedOperatorError(AccweightError, NotImplementedError):
    """An engine does not know an operator of a network, or not this form of it.

    Attributes:
        operator: Type of the operator; empty if none in particular.
    """

    def __init__(self, problem: str, operator: str = "") -> None:
        super().__init__(problem)
        self.operator = operator


class ArgumentTypeError(AccweightError, TypeError):
    """An argument has a wrong type; the message says which types are accepted."""


class ArgumentValueError(AccweightError, ValueError):
    """An argument has an invalid value; the message says which values are accepted."""


class UnknownNameError(AccweightError, KeyError):
    """No parameter, layer, metric or step has that name; the message lists the known ones."""


class MemoryLimitError(AccweightError):
    """More memory is needed than the budget or the machine has; the message says for what."""


class BindingError(AccweightError, ValueError):
    """The weights of a checkpoint cannot be put into a network, or would be put in wrongly.

    Attributes:
        tensors: Names of the network's tensors that it is about; may be empty.
    """

    def __init__(self, problem: str, tensors: tuple[str, ...] = ()) -> None:
        super().__init__(problem)
        self.tensors = tensors


class EngineError(AccweightError, RuntimeError):
    """Workers cannot be reached, cannot read the files, or have died."""


class StoreError(AccweightError, OSError):
    """An analysis cannot be created, opened or continued."""


def reason_of(error: OSError) -> str:
    """Return the reason of a system error; for too many open files, also the limit and a remedy."""
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
