"""SIMD operations on sixteen lanes, for compiled loops.

LLVM does not vectorise a loop with a maximum, an argmax, a count and nine sums by itself: it gives
up, or its vector width, and so the order of sums, depends on the processor. These operations emit
the instructions explicitly. ``load(array, i) - load(other, i)`` is one instruction for sixteen
float32 with 512-bit vectors, and two or four with shorter ones; the order of sums is the same
everywhere. They work in compiled code only.
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
    """Numba type of sixteen numbers of one dtype."""

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        super().__init__(name=f"Lanes({dtype})")

    @property
    def vector(self) -> ir.VectorType:
        """The LLVM vector type."""
        bits = self.dtype.bitwidth
        floating = isinstance(self.dtype, types.Float)
        return ir.VectorType(_FLOATS[bits] if floating else ir.IntType(bits), LANES)

    @property
    def integers(self) -> ir.VectorType:
        """The LLVM vector type of their bit patterns."""
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), LANES)


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        super().__init__(manager, lanes, lanes.vector)  # type: ignore[no-untyped-call]


def _word(generator: Callable[..., Any]) -> Callable[..., Any]:
    """Make an intrinsic from a function that generates its instructions."""
    made: Callable[..., Any] = intrinsic(generator)
    return made


def _constant(vector: ir.VectorType, value: int) -> ir.Constant:
    return ir.Constant(vector, [value] * LANES)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    """Return the address of sixteen elements; the last axis of the array must be contiguous."""
    data = context.make_array(array_type)(context, builder, array).data
    element = builder.gep(data, [index])
    return builder.bitcast(element, Lanes(array_type.dtype).vector.as_pointer())


@_word
def load(typing: Any, array: Any, index: Any) -> Any:
    """Return elements index..index + 16 of a one-dimensional array."""
    lanes = Lanes(array.dtype)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _pointer(context, builder, array, *values)
        return builder.load(place, align=array.dtype.bitwidth // 8)

    return lanes(array, types.intp), generate


@_word
def store(typing: Any, array: Any, index: Any, lanes: Any) -> Any:
    """Write elements index..index + 16 of a one-dimensional array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _pointer(context, builder, array, values[0], values[1])
        builder.store(values[2], place, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes), generate


@_word
def spread(typing: Any, value: Any) -> Any:
    """Return a number in all lanes."""
    lanes = Lanes(value)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        nothing = ir.Constant(lanes.vector, ir.Undefined)
        first = builder.insert_element(nothing, values[0], ir.IntType(32)(0))
        order = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, nothing, order)

    return lanes(value), generate


def _operator(sign: Callable[[Any, Any], Any], instruction: str) -> None:
    """Define a Python operator for lanes; nothing is compiled for it."""
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
_operator(operator.mul, "fmul")
_operator(operator.truediv, "fdiv")


@_word
def plus_square(typing: Any, total: Any, lanes: Any) -> Any:
    """Return ``total + lanes * lanes``, rounded once where the processor can."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        square = builder.fmul(values[1], values[1], flags=("contract",))
        return builder.fadd(values[0], square, flags=("contract",))

    return total(total, lanes), generate


@_word
def size(typing: Any, lanes: Any) -> Any:
    """Return the absolute values."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.bitcast(values[0], lanes.integers)
        mask = _constant(lanes.integers, (1 << (lanes.dtype.bitwidth - 1)) - 1)
        return builder.bitcast(builder.and_(bits, mask), lanes.vector)

    return lanes(lanes), generate


@_word
def wide(typing: Any, lanes: Any) -> Any:
    """Return the lanes as float64."""
    doubles = Lanes(types.float64)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return values[0] if lanes == doubles else builder.fpext(values[0], doubles.vector)

    return doubles(lanes), generate


@_word
def from_bfloat16(typing: Any, lanes: Any) -> Any:
    """Return bfloat16 numbers, given as uint16 bit patterns, as float32."""
    floats, integers = Lanes(types.float32), ir.VectorType(ir.IntType(32), LANES)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        bits = builder.shl(builder.zext(values[0], integers), _constant(integers, 16))
        return builder.bitcast(bits, floats.vector)

    return floats(lanes), generate


@_word
def from_float16(typing: Any, lanes: Any) -> Any:
    """Return float16 numbers, given as uint16 bit patterns, as float32."""
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
    """Return float64 lanes as float32, rounded."""
    floats = Lanes(types.float32)

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.fptrunc(values[0], floats.vector)

    return floats(lanes), generate


_PATTERNS: dict[Any, Any] = {types.float32: types.int32, types.float64: types.int64}
_NUMBERS: dict[Any, Any] = {pattern: number for number, pattern in _PATTERNS.items()}


def _reread(dtypes: Any, lanes: Any) -> Any:
    """Return the same bits as another dtype."""
    other = Lanes(dtypes[lanes.dtype])

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], other.vector)

    return other(lanes), generate


@_word
def pattern(typing: Any, lanes: Any) -> Any:
    """Return the bit patterns as integers, which order non-negative numbers."""
    return _reread(_PATTERNS, lanes)


@_word
def number(typing: Any, lanes: Any) -> Any:
    """Return the numbers with these bit patterns."""
    return _reread(_NUMBERS, lanes)


@_word
def larger(typing: Any, left: Any, right: Any) -> Any:
    """Return the elementwise maximum of integers: one instruction; floats take three for NaN."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.select(builder.icmp_signed(">", *values), *values)

    return left(left, right), generate


def _mask(builder: Any, condition: Any) -> Any:
    """Return sixteen conditions as the low bits of an integer."""
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
def where_positive(typing: Any, lanes: Any, yes: Any, no: Any) -> Any:
    """Return the lanes of `yes` where `lanes` is above 0, else those of `no`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        zero = ir.Constant(lanes.vector, [0.0] * LANES)
        return builder.select(builder.fcmp_ordered(">", values[0], zero), *values[1:])

    return yes(lanes, yes, no), generate


@_word
def ones(typing: Any, mask: Any) -> Any:
    """Return the number of set bits of a mask."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return types.int64(mask), generate


@_word
def lowest(typing: Any, mask: Any) -> Any:
    """Return the index of the lowest set bit of a non-zero mask."""

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
"""``evens(low, high)``: lanes 0, 2, 4, ... of thirty-two."""

odds = _every_other(1)
"""``odds(low, high)``: lanes 1, 3, 5, ... of thirty-two."""


def _fold(combine: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """Return a function that reduces sixteen lanes to eight, four, two, one."""

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
def lane(typing: Any, lanes: Any, index: Any) -> Any:
    """Return one lane."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.extract_element(*values)

    return lanes.dtype(lanes, types.intp), generate


@_word
def sum_of(typing: Any, lanes: Any) -> Any:
    """Return the sum of all lanes, by pairwise reduction."""
    return lanes.dtype(lanes), _fold(lambda builder, low, high: builder.fadd(low, high))


@_word
def largest_of(typing: Any, lanes: Any) -> Any:
    """Return the largest lane of integers."""

    def combine(builder: Any, low: Any, high: Any) -> Any:
        return builder.select(builder.icmp_signed(">", low, high), low, high)

    return lanes.dtype(lanes), _fold(combine)


@_word
def number_of(typing: Any, bits: Any) -> Any:
    """Return the number with this bit pattern."""
    dtype = _NUMBERS[bits]

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.bitcast(values[0], _FLOATS[dtype.bitwidth])

    return dtype(bits), generate
