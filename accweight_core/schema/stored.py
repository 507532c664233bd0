"""What a reader says about a file: its tensors, where their values lie, what is known of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accweight_core.schema.meaning import Axis, Kind, Role, Split


@dataclass(frozen=True, slots=True)
class Extent:
    """Location of the values of one tensor in a file.

    Attributes:
        path: The file, or its URL without secrets.
        offset: Byte offset of element (0, ..., 0).
        dtype: Name of the element type, as in `accweight_core.dtypes`.
        shape: Shape of the tensor.
        strides: Stride of each axis in elements; None for contiguous C order.
        big_endian: Whether elements are stored most significant byte first.
    """

    path: str
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    big_endian: bool = False

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class HiddenValues:
    """Values that are not plain bytes in a file: compressed, packed, quantised or in memory.

    Attributes:
        load: Returns the whole tensor as a floating or complex array or a torch tensor; for a
            `dtype` that NumPy lacks (bfloat16, 8-bit floats) an array of its codes
            (`Dtype.code`) will do. Called once per walk over the parameter.
        dtype: Name of the element type that `load` returns.
        shape: Shape of the tensor.
    """

    load: Callable[[], Any]
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a reader knows about a tensor beyond its name; None for what the format does not say.

    Attributes:
        layer: Name of the module it belongs to.
        kind: What that module computes.
        role: What the tensor is for.
        axes: Meaning of each axis.
        sections: Names of equal parts stacked along the output axis (gates, q/k/v).
        split: Projections and heads along one axis.
        axes_from: What tells the axes, in words, if not the format itself.
    """

    layer: str | None = None
    kind: Kind | None = None
    role: Role | None = None
    axes: tuple[Axis, ...] | None = None
    sections: tuple[str, ...] | None = None
    split: Split | None = None
    axes_from: str = ""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One named tensor of one checkpoint: where its values lie, and the reader's hints.

    Attributes:
        name: Name in the checkpoint, wrapping prefixes removed.
        values: Where the values lie.
        hints: What the format says about its meaning.
        refusal: Why the values cannot be analysed (integer codes without a scale, for
            example); empty if they can.
    """

    name: str
    values: Extent | HiddenValues
    hints: Hints = Hints()
    refusal: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return self.values.shape

    @property
    def dtype(self) -> str:
        """Name of the element type."""
        return self.values.dtype


BESIDE_MODEL = "beside the model itself"
"""How the notes of readers end on averaged copies that they leave out."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a reader says about one checkpoint without reading its weights.

    Attributes:
        format: Format in words, as `inspect` shows it ("torch zip").
        tensors: Tensors, in network order if the format keeps it.
        step: Step stored inside the file, or None.
        step_key: Name under which the step is stored.
        is_step_sure: Whether that is more than what the names of files say; if not, it counts only
            where names say nothing.
        files: Every file of the checkpoint (shards, external data).
        notes: Remarks for the user: what was left out, and why.
        measures: Training metrics stored with the weights (loss, accuracy), by name; nested names
            are joined with a dot. They may be NaN or infinite.
        beside: Files of the run next to the checkpoint that are not checkpoints themselves,
            even if they look like one (the graph of the network).
        copies: Averaged copies of the model that were left out (ema), by their key in the
            checkpoint: their tensors, in the same order and by the same names as the model's.
        is_model: Whether the file itself says that all tensors are the model's, as a pickled module
            does; then layers called `optimizer` or `ema` stay.
    """

    format: str
    tensors: tuple[StoredTensor, ...]
    step: int | None = None
    step_key: str = ""
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)
    beside: tuple[str, ...] = ()
    copies: Mapping[str, tuple[StoredTensor, ...]] = field(default_factory=dict)
    is_model: bool = False
    is_step_sure: bool = True


class Stamp(NamedTuple):
    """Identity and state of a file at one moment, to tell whether it has changed.

    Attributes:
        device: Device of the file system.
        inode: Number of the file on it; a replaced file has another.
        size_bytes: Length.
        changed_ns: Modification time in ns; for a URL, a number made from the server's headers.
        status_ns: Time of the last change of contents or metadata in ns; 0 for a URL.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int
    status_ns: int
