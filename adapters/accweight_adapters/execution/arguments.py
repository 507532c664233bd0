"""Which inputs of operators are arguments: numbers such as axes and sizes, not values to work on.

Engines take them before the graph is run where they can; and a table of floating-point numbers that
is only an argument, such as the scales of a Resize, is no parameter that a checkpoint could have.
"""

from __future__ import annotations

ARGUMENTS: dict[str, frozenset[int]] = {
    "AffineGrid": frozenset({1}),
    "BlackmanWindow": frozenset({0}),
    "CenterCropPad": frozenset({1}),
    "Col2Im": frozenset({1, 2}),
    "ConstantOfShape": frozenset({0}),
    "CumProd": frozenset({1}),
    "CumSum": frozenset({1}),
    "DFT": frozenset({1, 2}),
    "Expand": frozenset({1}),
    "HammingWindow": frozenset({0}),
    "HannWindow": frozenset({0}),
    "MaxUnpool": frozenset({2}),
    "MelWeightMatrix": frozenset({0, 1, 2, 3, 4}),
    "NonMaxSuppression": frozenset({2, 3, 4}),
    "OneHot": frozenset({1}),
    "Pad": frozenset({1, 2, 3}),
    "ReduceL1": frozenset({1}),
    "ReduceL2": frozenset({1}),
    "ReduceLogSum": frozenset({1}),
    "ReduceLogSumExp": frozenset({1}),
    "ReduceMax": frozenset({1}),
    "ReduceMean": frozenset({1}),
    "ReduceMin": frozenset({1}),
    "ReduceProd": frozenset({1}),
    "ReduceSum": frozenset({1}),
    "ReduceSumSquare": frozenset({1}),
    "Reshape": frozenset({1}),
    "Resize": frozenset({1, 2, 3}),
    "STFT": frozenset({1, 3}),
    "SequenceAt": frozenset({1}),
    "SequenceErase": frozenset({1}),
    "SequenceInsert": frozenset({2}),
    "Slice": frozenset({1, 2, 3, 4}),
    "Split": frozenset({1}),
    "SplitToSequence": frozenset({1}),
    "Squeeze": frozenset({1}),
    "Tile": frozenset({1}),
    "TopK": frozenset({1}),
    "Trilu": frozenset({1}),
    "Unsqueeze": frozenset({1}),
    "Upsample": frozenset({1}),
}
"""Positions of the arguments by types of operators; none for those that are not listed."""
