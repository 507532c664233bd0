"""Tell which axis of a matrix is the output, where files do not say.

PyTorch's `Linear` stores (outputs, inputs). Others store (inputs, outputs) in the same files: the
`Conv1D` of GPT-2, many hand-written layers. A bias is as long as the outputs. Where the matrix is
square or has no bias, its neighbours decide: what is called like it elsewhere in the network, what
lies beside it in its block, and the width that a block passes on, which is that of its norms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from accweight_core.schema import Axis

Axes = tuple[Axis, ...]

STORED_AS_IN_TORCH: Axes = (Axis.OUTPUT, Axis.INPUT)
INPUTS_FIRST: Axes = (Axis.INPUT, Axis.OUTPUT)

DEEPEST = 64
"""Most modules around a layer that are looked at; those of real networks are ten deep."""

BIAS, NEIGHBOURS, WIDTH = "bias", "neighbours", "width of the norms"
"""What can tell the axes, in the words of `inspect`."""

WIDENING = frozenset(
    [
        "c_fc",
        "fc1",
        "fc_in",
        "wi",
        "wi_0",
        "wi_1",
        "up_proj",
        "gate_proj",
        "gate_up_proj",
        "w1",
        "w3",
        "lin1",
        "linear1",
        "dense_h_to_4h",
        "c_attn",
        "qkv",
        "qkv_proj",
        "Wqkv",
        "query_key_value",
        "in_proj",
        "lm_head",
    ]
)
"""Names of layers that take the width of the network and give more."""

NARROWING = frozenset(
    ["c_proj", "fc2", "fc_out", "wo", "down_proj", "w2", "lin2", "linear2", "dense_4h_to_h"]
)
"""Names of layers that give the width of the network and take more."""


def by_bias(shape: Sequence[int], bias: Sequence[int]) -> Axes | None:
    """Return the axes of a matrix by the length of its bias, None if it fits both or neither.

    >>> by_bias((32, 96), (96,))
    (<Axis.INPUT: 'input'>, <Axis.OUTPUT: 'output'>)
    """
    if len(bias) != 1 or len(shape) != 2 or (bias[0] == shape[0]) == (bias[0] == shape[1]):
        return None
    return STORED_AS_IN_TORCH if bias[0] == shape[0] else INPUTS_FIRST


class Matrix(NamedTuple):
    """A matrix whose axes the file does not name.

    Attributes:
        name: Its name.
        layer: Name of its layer.
        shape: Its two lengths.
        bias: Shape of the bias of its layer; empty without one.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    bias: tuple[int, ...] = ()

    @property
    def last(self) -> str:
        """Last part of the layer's name."""
        return self.layer.rpartition(".")[2]


@dataclass
class _Votes:
    """Whether matrices with evidence are stored (inputs, outputs), by name and by module."""

    by_name: dict[str, set[bool]] = field(default_factory=dict)
    by_module: dict[str, set[bool]] = field(default_factory=dict)

    def add(self, matrix: Matrix, *, inputs_first: bool) -> None:
        self.by_name.setdefault(matrix.last, set()).add(inputs_first)
        for module in _around(matrix.layer):
            self.by_module.setdefault(module, set()).add(inputs_first)

    def of(self, matrix: Matrix) -> bool:
        """Tell whether all that is called so, or else all that lies nearest, has inputs first."""
        if matrix.last in self.by_name:
            return self.by_name[matrix.last] == {True}
        for module in _around(matrix.layer):
            if module in self.by_module:
                return self.by_module[module] == {True}
        return False


def inputs_first(matrices: Iterable[Matrix], norms: Mapping[str, Iterable[int]]) -> dict[str, str]:
    """Return the matrices that are stored (inputs, outputs), and what tells so.

    Args:
        matrices: The matrices of a network.
        norms: Lengths of norms by the name of their layer.

    Returns:
        `BIAS`, `NEIGHBOURS` or `WIDTH` by the name of the matrix.
    """
    votes, open_, found = _Votes(), list[Matrix](), dict[str, str]()
    for matrix in matrices:
        axes = by_bias(matrix.shape, matrix.bias) if matrix.bias else None
        if axes is None:
            open_.append(matrix)
        elif axes == INPUTS_FIRST:
            found[matrix.name] = BIAS
            votes.add(matrix, inputs_first=True)
    contrary = [m for m in open_ if m.shape[0] != m.shape[1] and _is_contrary(m)]
    if contrary:
        widths = _widths(norms)
        for matrix in contrary:
            if min(matrix.shape) == _width_around(matrix.layer, widths):
                found[matrix.name] = WIDTH
                votes.add(matrix, inputs_first=True)
    if not found:
        return found
    for matrix in matrices:
        if by_bias(matrix.shape, matrix.bias) == STORED_AS_IN_TORCH:
            votes.add(matrix, inputs_first=False)
    for matrix in open_:
        is_square = matrix.shape[0] == matrix.shape[1]
        if is_square and matrix.name not in found and votes.of(matrix):
            found[matrix.name] = NEIGHBOURS
    return found


def _is_contrary(matrix: Matrix) -> bool:
    """Tell whether a name says the opposite of what PyTorch's order of axes would mean."""
    outputs, inputs = matrix.shape
    if outputs < inputs:
        return matrix.last in WIDENING
    return outputs > inputs and matrix.last in NARROWING


def _around(layer: str) -> Iterator[str]:
    """Yield the modules around a layer, the nearest first, and '' for the whole network last."""
    for _ in range(DEEPEST):
        if not layer:
            return
        layer = layer.rpartition(".")[0]
        yield layer


def _widths(norms: Mapping[str, Iterable[int]]) -> dict[str, Counter[int]]:
    """Return how often norms have which length, by every module around them."""
    widths: dict[str, Counter[int]] = {}
    for layer, lengths in norms.items():
        lengths = list(lengths)
        for module in _around(layer):
            widths.setdefault(module, Counter()).update(lengths)
    return widths


def _width_around(layer: str, widths: Mapping[str, Counter[int]]) -> int:
    """Return the commonest length of the norms nearest to a layer, 0 without any."""
    for module in _around(layer):
        if module in widths:
            return widths[module].most_common(1)[0][0]
    return 0
