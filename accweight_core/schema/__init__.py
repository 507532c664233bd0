"""The vocabulary of accweight as types: checkpoint, parameter, layer, run.

This package knows no file format and no framework. A reader returns `StoredTensor`s that say
*where* the values lie (an `Extent`) without loading them; core then reads them in blocks, equally
fast for every format. Formats without plain bytes (compressed, packed, quantised) give a function
instead (`HiddenValues`). `stored` is what readers say, `meaning` what it means, `run` what is made
of the checkpoints of one training.
"""

from accweight_core.schema.meaning import (
    DEFAULT_ROLES,
    MEASURED_ROLES,
    Axis,
    Kind,
    Part,
    Role,
    Span,
    Split,
)
from accweight_core.schema.measures import Word, figures_from, finite_and_not
from accweight_core.schema.run import (
    Checkpoint,
    Layer,
    Parameter,
    Restart,
    Run,
    TypeChange,
    in_short,
    type_changes,
    types_changed,
)
from accweight_core.schema.stored import (
    BESIDE_MODEL,
    Description,
    Extent,
    HiddenValues,
    Hints,
    Stamp,
    StoredTensor,
)

__all__ = [
    "BESIDE_MODEL",
    "DEFAULT_ROLES",
    "MEASURED_ROLES",
    "Axis",
    "Checkpoint",
    "Description",
    "Extent",
    "HiddenValues",
    "Hints",
    "Kind",
    "Layer",
    "Parameter",
    "Part",
    "Restart",
    "Role",
    "Run",
    "Span",
    "Split",
    "Stamp",
    "StoredTensor",
    "TypeChange",
    "Word",
    "figures_from",
    "finite_and_not",
    "in_short",
    "type_changes",
    "types_changed",
]
