"""Matrix products of a few vectors at once, written in LLVM's vectors: where the WaveNet spends its time.

A tile is a row of outputs times some lanes, each lane a vector of its own: the sums stay in registers while the inputs
pass by, and every weight that is read serves all lanes. So one lane runs as fast as weights can be read, and each
further one costs little more than its multiplications. A sum is always made in the order of the inputs, one fused
multiplication after the other: how many lanes go together cannot be seen in any bit of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]

PADDED_TO: Final = 16  # outputs come in multiples of it, whatever the machine's vectors hold

_FEATURES: Final = llvm.get_host_cpu_features()
_MANY_REGISTERS: Final = bool(_FEATURES.get("avx512f") or _FEATURES.get("neon"))  # 32 of them, not 16
_WIDTH: Final = 16 if _FEATURES.get("avx512f") else 8 if _FEATURES.get("avx") else 4
_FLOAT: Final = ir.FloatType()
_INT32: Final = ir.IntType(32)
_INT64: Final = ir.IntType(64)
_FLOATS: Final = ir.VectorType(_FLOAT, _WIDTH)
_WORDS: Final = ir.VectorType(_INT32, _WIDTH)

Body = Callable[[ir.Value, Sequence[ir.Value]], Sequence[ir.Value]]


def padded(outputs: int) -> int:
    """The number of outputs that a matrix has in memory."""
    return -(-outputs // PADDED_TO) * PADDED_TO


def _loop(
    builder: ir.IRBuilder, start: ir.Value, end: ir.Value, stride: ir.Value, carried: Sequence[ir.Value], body: Body
) -> Sequence[ir.Value]:
    """for at in range(start, end, stride): carried = body(at, carried)."""
    before = builder.block
    head, inside, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(_INT64)
    at.add_incoming(start, before)
    values = [builder.phi(value.type) for value in carried]
    for value, begun in zip(values, carried, strict=True):
        value.add_incoming(begun, before)
    builder.cbranch(builder.icmp_signed("<", at, end), inside, after)
    builder.position_at_end(inside)
    changed = body(at, values)
    at.add_incoming(builder.add(at, stride), builder.block)
    for value, new in zip(values, changed, strict=True):
        value.add_incoming(new, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return values


def _vector_at(builder: ir.IRBuilder, data: ir.Value, place: ir.Value) -> ir.Value:
    return builder.bitcast(builder.gep(data, [place]), _FLOATS.as_pointer())


def _fused(builder: ir.IRBuilder, one: ir.Value, other: ir.Value, added: ir.Value) -> ir.Value:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{_WIDTH}f32")
    return builder.call(function, [one, other, added])


class _Tile:
    """Emits out[lane] += matrix @ vectors[lane] for `lanes` lanes from `first` on, `columns` registers wide."""

    def __init__(self, lanes: int, columns: int, *, paired: bool) -> None:
        self._lanes = lanes
        self._columns = columns
        self._paired = paired

    def __call__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
        matrix, vectors, out = (
            context.make_array(kind)(context, builder, value=value)
            for kind, value in zip(signature.args[:3], arguments[:3], strict=True)
        )
        first = arguments[3]
        self._builder = builder
        self._matrix = matrix.data
        self._inputs, self._row = cgutils.unpack_tuple(builder, matrix.shape)
        self._vectors = [self._lane(vectors, first, lane) for lane in range(self._lanes)]
        self._out = [self._lane(out, first, lane) for lane in range(self._lanes)]
        stride = _INT64(_WIDTH * self._columns)
        whole = builder.mul(builder.sdiv(self._row, stride), stride)
        _loop(builder, _INT64(0), whole, stride, [], lambda at, _: self._tile(at, self._columns))
        if self._columns > 1:
            _loop(builder, whole, self._row, _INT64(_WIDTH), [], lambda at, _: self._tile(at, 1))
        return context.get_dummy_value()

    def _lane(self, array: Any, first: ir.Value, lane: int) -> ir.Value:
        builder = self._builder
        row = cgutils.unpack_tuple(builder, array.shape)[1]
        return builder.gep(array.data, [builder.mul(builder.add(first, _INT64(lane)), row)])

    def _tile(self, at: ir.Value, columns: int) -> Sequence[ir.Value]:
        builder = self._builder
        starts = [builder.add(at, _INT64(_WIDTH * column)) for column in range(columns)]
        if self._paired:
            starts = [where for start in starts for where in (start, builder.add(start, self._row))]
        places = [_vector_at(builder, out, start) for out in self._out for start in starts]
        sums = [builder.load(place, align=4) for place in places]

        def add_input(number: ir.Value, sums: Sequence[ir.Value]) -> list[ir.Value]:
            row = builder.gep(self._matrix, [builder.add(builder.mul(number, self._row), at)])
            weights = [weight for column in range(columns) for weight in self._weights(row, column)]
            values = [self._spread(builder.load(builder.gep(vector, [number]), align=4)) for vector in self._vectors]
            factors = [(weight, value) for value in values for weight in weights]
            return [
                _fused(builder, weight, value, so_far) for (weight, value), so_far in zip(factors, sums, strict=True)
            ]

        totals = _loop(builder, _INT64(0), self._inputs, _INT64(1), sums, add_input)
        for place, total in zip(places, totals, strict=True):
            builder.store(total, place, align=4)
        return []

    def _weights(self, row: ir.Value, column: int) -> list[ir.Value]:
        """The weights of one register's outputs; of a word's two weights see bfloat.py."""
        builder = self._builder
        kind = _WORDS if self._paired else _FLOATS
        place = builder.bitcast(builder.gep(row, [_INT64(_WIDTH * column)]), kind.as_pointer())
        read = builder.load(place, align=4)
        if not self._paired:
            return [read]
        lower = builder.shl(read, ir.Constant(_WORDS, [16] * _WIDTH))
        return [builder.bitcast(lower, _FLOATS), builder.bitcast(read, _FLOATS)]

    def _spread(self, value: ir.Value) -> ir.Value:
        """The same number in all places of a vector."""
        nothing = ir.Constant(_FLOATS, ir.Undefined)
        one = self._builder.insert_element(nothing, value, _INT32(0))
        return self._builder.shuffle_vector(one, nothing, ir.Constant(_WORDS, [0] * _WIDTH))


def _tile(lanes: int, columns: int, *, paired: bool) -> Any:
    emit = _Tile(lanes, columns, paired=paired)

    @intrinsic
    def tile(typing_context: Any, matrix: Any, vectors: Any, out: Any, first: Any) -> Any:
        return types.void(matrix, vectors, out, types.int64), emit

    return tile


_PAIRED_1: Final = _tile(1, 4, paired=True)
_PAIRED_2: Final = _tile(2, 2, paired=True)
_PAIRED_4: Final = _tile(4, 2 if _MANY_REGISTERS else 1, paired=True)
_PAIRED_8: Final = _tile(8, 1, paired=True)
_PLAIN_1: Final = _tile(1, 4, paired=False)
_PLAIN_4: Final = _tile(4, 2, paired=False)


@numba.njit(cache=True, nogil=True)
def add_paired_products(words: U32, vectors: F32, out: F32, lanes: int) -> None:
    """out (lanes, 2 * half) += words @ vectors (lanes, inputs), for a matrix as `bfloat.pack_pairs` packs it.

    words: (inputs, half), half a multiple of 16; vectors may have more lanes, and be longer. All contiguous.
    """
    lane = 0
    while _MANY_REGISTERS and lanes - lane >= 8:
        _PAIRED_8(words, vectors, out, lane)
        lane += 8
    while lanes - lane >= 4:
        _PAIRED_4(words, vectors, out, lane)
        lane += 4
    if lanes - lane >= 2:
        _PAIRED_2(words, vectors, out, lane)
        lane += 2
    if lanes - lane >= 1:
        _PAIRED_1(words, vectors, out, lane)


@numba.njit(cache=True, nogil=True)
def add_products(matrix: F32, vectors: F32, out: F32, lanes: int) -> None:
    """out (lanes, outputs) += matrix @ vectors (lanes, inputs), the matrix as (inputs, outputs), outputs a multiple
    of 16."""
    lane = 0
    while lanes - lane >= 4:
        _PLAIN_4(matrix, vectors, out, lane)
        lane += 4
    while lanes - lane >= 1:
        _PLAIN_1(matrix, vectors, out, lane)
        lane += 1


class _Elementwise:
    """Emits out[i] = f(in[i], in[i + n]) or f(in[i]) for i below n, the length of `out`, in whole registers."""

    def __init__(self, function: Callable[[_Numbers, list[ir.Value]], ir.Value], operands: int) -> None:
        self._function = function
        self._operands = operands

    def __call__(self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Sequence[Any]) -> Any:
        read, written = (
            context.make_array(kind)(context, builder, value=value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        (length,) = cgutils.unpack_tuple(builder, written.shape)

        def one_register(at: ir.Value, _: Sequence[ir.Value]) -> Sequence[ir.Value]:
            places = [builder.add(at, builder.mul(length, _INT64(operand))) for operand in range(self._operands)]
            values = [builder.load(_vector_at(builder, read.data, place), align=4) for place in places]
            result = self._function(_Numbers(builder), values)
            builder.store(result, _vector_at(builder, written.data, at), align=4)
            return []

        _loop(builder, _INT64(0), length, _INT64(_WIDTH), [], one_register)
        return context.get_dummy_value()


class _Numbers:
    """Arithmetic on registers of floats."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self._builder = builder

    def constant(self, value: float) -> ir.Constant:
        return ir.Constant(_FLOATS, [float(np.float32(value))] * _WIDTH)

    def power_of_two(self, x: ir.Value) -> ir.Value:
        """2 ** x, x brought to within +-60, to 3e-7 of it: the whole part in the exponent, a series for the rest."""
        builder = self._builder
        for comparison, limit in ((">", 60.0), ("<", -60.0)):
            beyond = builder.fcmp_ordered(comparison, x, self.constant(limit))
            x = builder.select(beyond, self.constant(limit), x)
        shifted = builder.fadd(x, self.constant(1.5 * 2.0**23))  # its lowest bits are the nearest whole number
        rest = builder.fsub(x, builder.fsub(shifted, self.constant(1.5 * 2.0**23)))
        series = self.constant(np.log(2.0) ** 6 / 720)
        for power, factorial in ((5, 120), (4, 24), (3, 6), (2, 2), (1, 1), (0, 1)):
            series = _fused(builder, series, rest, self.constant(np.log(2.0) ** power / factorial))
        exponent = builder.shl(builder.bitcast(shifted, _WORDS), ir.Constant(_WORDS, [23] * _WIDTH))
        return builder.bitcast(builder.add(builder.bitcast(series, _WORDS), exponent), _FLOATS)

    def gated(self, values: list[ir.Value]) -> ir.Value:
        """tanh(a) * sigmoid(b), in one division."""
        builder = self._builder
        a = self.power_of_two(builder.fmul(values[0], self.constant(-2 / np.log(2.0))))
        b = self.power_of_two(builder.fmul(values[1], self.constant(-1 / np.log(2.0))))
        one = self.constant(1.0)
        return builder.fdiv(builder.fsub(one, a), builder.fmul(builder.fadd(one, a), builder.fadd(one, b)))

    def silu(self, values: list[ir.Value]) -> ir.Value:
        """x * sigmoid(x)."""
        builder = self._builder
        inverse = self.power_of_two(builder.fmul(values[0], self.constant(-1 / np.log(2.0))))
        return builder.fdiv(values[0], builder.fadd(self.constant(1.0), inverse))


def _elementwise(function: Callable[[_Numbers, list[ir.Value]], ir.Value], operands: int) -> Any:
    emit = _Elementwise(function, operands)

    @intrinsic
    def apply(typing_context: Any, values: Any, out: Any) -> Any:
        return types.void(values, out), emit

    return apply


# Within numba: out (n,) = tanh(values[:n]) * sigmoid(values[n:]), and out (n,) = values * sigmoid(values); n a multiple
# of 16, all contiguous. Within 1e-6 of the true values.
apply_gates: Final = _elementwise(_Numbers.gated, 2)
apply_silu: Final = _elementwise(_Numbers.silu, 1)


def _at_address(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], _FLOAT.as_pointer())

    return types.CPointer(types.float32)(types.int64), generate


# Within numba: the float32 numbers that begin at an address; numba's `carray` gives them a shape.
at_address: Final[Any] = intrinsic(_at_address)
