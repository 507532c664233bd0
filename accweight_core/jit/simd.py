"""Lanes: sixteen numbers at a time, as words for compiled loops.

A loop that LLVM is to vectorise by itself must not hold a maximum, an argmax, a count and nine
sums at once: it gives up, or picks vectors and an order of sums by the processor. These words
say it outright. ``load(array, i) - load(other, i)`` is one instruction for sixteen float32 where
the processor has such vectors, and two or four where it has not; the order in which sums are
added is the same everywhere. They mean something in compiled code alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, lower_builtin, register_model

from accweight_core.jit.order import LANES

_BYTE = ir.IntType(8)
_WORD = ir.IntType(64)
_FLOATS = {32: ir.FloatType(), 64: ir.DoubleType()}


class Lanes(types.Type):
    """The type of sixteen numbers of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")

    @property
    def vector(self) -> ir.VectorType:
        """How LLVM holds them."""
        bits = self.dtype.bitwidth
        floating = isinstance(self.dtype, types.Float)
        return ir.VectorType(_FLOATS[bits] if floating else ir.IntType(bits), LANES)

    @property
    def integers(self) -> ir.VectorType:
        """Their bit patterns."""
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), LANES)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)  # type: ignore[no-untyped-call]


def _word(generator: Callable[..., Any]) -> Callable[..., Any]:
    """Make a word for compiled loops of what generates its instructions."""
    made: Callable[..., Any] = intrinsic(generator)
    return made


def _constant(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return the address of sixteen elements, the last axis of the array being contiguous."""
    data = context.make_array(array_type)(context, builder, array).data
    element = builder.gep(data, [index])
    return builder.bitcast(element, Lanes(array_type.dtype).vector.as_pointer())


@_word
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return elements index..index + 16 of an array of one axis."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _pointer(context, builder, array, *values)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@_word
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write elements index..index + 16 of an array of one axis."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _pointer(context, builder, array, values[0], values[1])
        builder.store(values[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_word
def spread(typing: Any, value: Any) -> Any:
    """Return one number in every lane."""
    lanes = Lanes(value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        nothing = ir.Constant(lanes.vector, ir.Undefined)
        first = builder.insert_element(nothing, values[0], ir.IntType(32)(0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, nothing, order)

    return lanes(value), generate


def _operator(sign: Callable[[Any, Any], Any], instruction: str) -> None:
    """Give an operator of Python its meaning for lanes, for which nothing has to be compiled."""
    infer: Callable[..., Any] = infer_global(sign)  # type: ignore[no-untyped-call]
    lower: Callable[..., Any] = lower_builtin(sign, Lanes, Lanes)  # type: ignore[no-untyped-call]

    @infer
    class _Template(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            is_known = len(args) == 2 and isinstance(args[0], Lanes) and args[0] == args[1]
            return args[0](*args) if is_known else None

    @lower
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return getattr(builder, instruction)(*values)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")


@_word
def plus_square(typing: Any, total: Any, lanes: Any) -> Any:
    """Return ``total + lanes * lanes``, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        square = builder.fmul(values[1], values[1], flags=("contract",))
        return builder.fadd(values[0], square, flags=("contract",))

    return total(total, lanes), generate


@_word
def size(typing: Any, lanes: Any) -> Any:
    """Return absolute values."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.bitcast(values[0], lanes.integers)
        mask = _constant(lanes.integers, (1 << (lanes.dtype.bitwidth - 1)) - 1)
        return builder.bitcast(builder.and_(bits, mask), lanes.vector)

    return lanes(lanes), generate


@_word
def wide(typing: Any, lanes: Any) -> Any:
    """Return them as float64."""
    doubles = Lanes(types.float64)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return values[0] if lanes == doubles else builder.fpext(values[0], doubles.vector)

    return doubles(lanes), generate


@_word
def from_bfloat16(typing: Any, lanes: Any) -> Any:
    """Return the float32 of which sixteen unsigned numbers of two bytes are the upper halves."""
    floats, integers = Lanes(types.float32), ir.VectorType(ir.IntType(32), LANES)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.shl(builder.zext(values[0], integers), _constant(integers, 16))
        return builder.bitcast(bits, floats.vector)

    return floats(lanes), generate


@_word
def from_float16(typing: Any, lanes: Any) -> Any:
    """Return as float32 the numbers of which sixteen unsigned ones hold the bits of float16."""
    floats, integers = Lanes(types.float32), ir.VectorType(ir.IntType(32), LANES)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        half = builder.zext(values[0], integers)
        moved = builder.shl(
            builder.and_(half, _constant(integers, 0x7FFF)), _constant(integers, 13)
        )
        larger = ir.Constant(floats.vector, [2.0**112] * LANES)
        size = builder.fmul(builder.bitcast(moved, floats.vector), larger)
        top = _constant(integers, 0x7C00)
        is_odd = builder.icmp_unsigned("==", builder.and_(half, top), top)
        bits = builder.bitcast(size, integers)
        odd = builder.or_(bits, _constant(integers, 0x7F800000))
        sign = builder.shl(builder.and_(half, _constant(integers, 0x8000)), _constant(integers, 16))
        return builder.bitcast(builder.or_(builder.select(is_odd, odd, bits), sign), floats.vector)

    return floats(lanes), generate


@_word
def narrow(typing: Any, lanes: Any) -> Any:
    """Return float64 as float32, rounded."""
    floats = Lanes(types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fptrunc(values[0], floats.vector)

    return floats(lanes), generate


_PATTERNS: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}
_NUMBERS: dict[Any, Any] = {pattern: number for number, pattern in _PATTERNS.items()}


def _reread(dtypes: Any, lanes: Any) -> Any:
    """Return the same bits read as another dtype."""
    other = Lanes(dtypes[lanes.dtype])

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], other.vector)

    return other(lanes), generate


@_word
def pattern(typing: Any, lanes: Any) -> Any:
    """Return bit patterns as integers, by which numbers that are not negative are ordered."""
    return _reread(_PATTERNS, lanes)


@_word
def number(typing: Any, lanes: Any) -> Any:
    """Return the numbers that have these bit patterns."""
    return _reread(_NUMBERS, lanes)


@_word
def larger(typing: Any, left: Any, right: Any) -> Any:
    """Return the larger of each two integers: one instruction, where floats take three for NaN."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *values), *values)

    return left(left, right), generate


def _mask(builder: Any, condition: Any) -> Any:
    """Return sixteen conditions as the lowest bits of an integer."""
    return builder.zext(builder.bitcast(condition, ir.IntType(LANES)), _WORD)


def _comparison(condition: str) -> Callable[..., Any]:
    @_word
    def comparison(typing: Any, left: Any, right: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return _mask(builder, builder.fcmp_ordered(condition, *values))

        return types.uint64(left, right), generate

    return comparison


below = _comparison("<")
"""``below(a, b)``: a bit for every lane in which a < b."""

not_above = _comparison("<=")
"""``not_above(a, b)``: a bit for every lane in which a <= b."""

equal = _comparison("==")
"""``equal(a, b)``: a bit for every lane in which a == b."""


@_word
def ones(typing: Any, mask: Any) -> Any:
    """Return how many bits of a mask are set."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return types.int64(mask), generate


@_word
def lowest(typing: Any, mask: Any) -> Any:
    """Return the number of the lowest bit that is set; there is one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(mask), generate


def _every_other(first: int) -> Callable[..., Any]:
    @_word
    def every_other(typing: Any, low: Any, high: Any) -> Any:
        order = ir.VectorType(ir.IntType(32), LANES)
        picked = ir.Constant(order, list(range(first, first + 2 * LANES, 2)))

        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.shuffle_vector(*values, picked)

        return low(low, high), generate

    return every_other


evens = _every_other(0)
"""``evens(low, high)``: the first, third, ... of thirty-two lanes."""

odds = _every_other(1)
"""``odds(low, high)``: the second, fourth, ... of thirty-two lanes."""


def _fold(combine: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Return what folds sixteen lanes to eight, four, two, one."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        lanes, count = values[0], LANES
        while count > 1:
            count //= 2
            kind = ir.VectorType(ir.IntType(32), count)
            low, high = (
                builder.shuffle_vector(lanes, lanes, ir.Constant(kind, list(range(at, at + count))))
                for at in (0, count)
            )
            lanes = combine(builder, low, high)
        return builder.extract_element(lanes, ir.IntType(32)(0))

    return generate


@_word
def sum_of(typing: Any, lanes: Any) -> Any:
    """Return the sum of all lanes, added in pairs."""
    return lanes.dtype(lanes), _fold(lambda builder, low, high: builder.fadd(low, high))


@_word
def largest_of(typing: Any, lanes: Any) -> Any:
    """Return the largest lane of integers."""

    def combine(builder: Any, low: Any, high: Any) -> Any:
        return builder.select(builder.icmp_signed(">", low, high), low, high)

    return lanes.dtype(lanes), _fold(combine)


@_word
def number_of(typing: Any, bits: Any) -> Any:
    """Return the number that has this bit pattern."""
    dtype = _NUMBERS[bits]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _FLOATS[dtype.bitwidth])

    return dtype(bits), generate
