"""A vector of float32 lanes as a numba value, so that kernels are vector code by construction.

LLVM can vectorise plain loops too, but whether it does hangs on how many arrays it must tell apart at run time, on the
direction of the outer loop and on its version; measured here, one reversed loop cost a factor of eight. With lanes as
values there is nothing to decide, and a state stays in registers.

``a + b``, ``a - b``, ``a * b`` and ``a / b`` work on lanes; products and sums may be fused, nothing else is reordered.
"""

import operator
from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

LANES = 16
"""One AVX-512 register, two of AVX2, four of SSE or NEON."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)


class LanesType(types.Type):
    """Numba type of LANES float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float32_lanes")


lanes = LanesType()


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


def _element(context, builder, array_type, array, row):
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, LANES))])
    return builder.bitcast(first, _VECTOR.as_pointer())


@intrinsic
def load(typingctx, tile, row):
    """Row of a C-contiguous float32 array (rows, LANES)."""

    def codegen(context, builder, signature, arguments):
        return builder.load(_element(context, builder, signature.args[0], *arguments), align=4)

    return lanes(tile, types.intp), codegen


@intrinsic
def store(typingctx, tile, row, value):
    """Overwrite a row of a C-contiguous float32 array (rows, LANES)."""

    def codegen(context, builder, signature, arguments):
        array, index, vector = arguments
        builder.store(vector, _element(context, builder, signature.args[0], array, index), align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, lanes), codegen


def _position(context, builder, array_type, array, row, column):
    view = context.make_array(array_type)(context, builder, array)
    element = cgutils.get_item_pointer(context, builder, array_type, view, [row, column], wraparound=False)
    return builder.bitcast(element, _VECTOR.as_pointer())


@intrinsic
def load_at(typingctx, array, row, column):
    """LANES neighbours in a row of any float32 matrix whose columns are contiguous."""

    def codegen(context, builder, signature, arguments):
        return builder.load(_position(context, builder, signature.args[0], *arguments), align=4)

    return lanes(array, types.intp, types.intp), codegen


@intrinsic
def store_at(typingctx, array, row, column, value):
    """Overwrite LANES neighbours in a row of any float32 matrix whose columns are contiguous."""

    def codegen(context, builder, signature, arguments):
        *place, vector = arguments
        builder.store(vector, _position(context, builder, signature.args[0], *place), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), codegen


@intrinsic
def load_transposed(typingctx, source, row, column, tile, start):
    """Tile rows from ``start`` on: LANES rows and columns of a float32 matrix whose rows are contiguous the other way.

    The matrix is indexed [row, column] and neighbours in a column are neighbours in memory.
    """

    def codegen(context, builder, signature, arguments):
        matrix, row, column, tile, start = arguments
        place = partial(_position, context, builder, signature.args[0], matrix, row)
        columns = [builder.load(place(_plus(builder, column, lane)), align=4) for lane in range(LANES)]
        for step, vector in enumerate(_transposed(builder, columns)):
            target = _element(context, builder, signature.args[3], tile, _plus(builder, start, step))
            builder.store(vector, target, align=4)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, tile, types.intp), codegen


@intrinsic
def add_transposed(typingctx, tile, start, accumulate, target, row, column):
    """Undo `load_transposed`: tile rows from ``start`` on overwrite the block of the matrix, or are added to it."""

    def codegen(context, builder, signature, arguments):
        tile, start, accumulate, matrix, row, column = arguments
        steps = (_element(context, builder, signature.args[0], tile, _plus(builder, start, t)) for t in range(LANES))
        zeros = ir.Constant(_VECTOR, [0.0] * LANES)
        for lane, vector in enumerate(_transposed(builder, [builder.load(step, align=4) for step in steps])):
            place = _position(context, builder, signature.args[3], matrix, row, _plus(builder, column, lane))
            before = builder.select(accumulate, builder.load(place, align=4), zeros)
            builder.store(builder.fadd(vector, before), place, align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, types.boolean, target, types.intp, types.intp), codegen


def _plus(builder, index, offset: int):
    return builder.add(index, ir.Constant(index.type, offset))


def _transposed(builder, rows: list) -> list:
    """Transpose LANES vectors in registers: exchange ever larger blocks across the diagonal."""
    rows = list(rows)
    for distance in (1 << bit for bit in range(LANES.bit_length() - 1)):
        lower = [lane if not lane & distance else LANES + (lane ^ distance) for lane in range(LANES)]
        upper = [lane ^ distance if not lane & distance else LANES + lane for lane in range(LANES)]
        masks = [ir.Constant(_INTEGERS, lower), ir.Constant(_INTEGERS, upper)]
        for row in (row for row in range(LANES) if not row & distance):
            pair = rows[row], rows[row | distance]
            rows[row], rows[row | distance] = (builder.shuffle_vector(*pair, mask) for mask in masks)
    return rows


@intrinsic
def splat(typingctx, scalar):
    """The same float32 number in every lane."""

    def codegen(context, builder, signature, arguments):
        single = builder.insert_element(
            ir.Constant(_VECTOR, ir.Undefined), arguments[0], ir.Constant(ir.IntType(32), 0)
        )
        zeros = ir.Constant(_INTEGERS, [0] * LANES)
        return builder.shuffle_vector(single, ir.Constant(_VECTOR, ir.Undefined), zeros)

    return lanes(types.float32), codegen


@intrinsic
def total(typingctx, value):
    """Sum over the lanes, in an order that LLVM may choose."""

    def codegen(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), _VECTOR])
        name = f"llvm.vector.reduce.fadd.v{LANES}f32"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), arguments[0]], fastmath=("reassoc",))

    return types.float32(lanes), codegen


@intrinsic
def greater(typingctx, a, b):
    """The larger of both; lanes of a that are not a number stay so."""

    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), arguments[1], arguments[0])

    return lanes(lanes, lanes), codegen


@intrinsic
def smaller(typingctx, a, b):
    """The smaller of both; lanes of a that are not a number stay so."""

    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), arguments[1], arguments[0])

    return lanes(lanes, lanes), codegen


@intrinsic
def where_positive(typingctx, condition, yes, no):
    """Lanes of ``yes`` where the condition is above zero, else of ``no``."""

    def codegen(context, builder, signature, arguments):
        positive = builder.fcmp_ordered(">", arguments[0], ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.select(positive, arguments[1], arguments[2])

    return lanes(lanes, lanes, lanes), codegen


@intrinsic
def shift_exponent(typingctx, value, rounded):
    """Product of value and 2**i, with i the integers in the low bits of ``rounded``; it must be a normal number."""

    def codegen(context, builder, signature, arguments):
        value, rounded = (builder.bitcast(argument, _INTEGERS) for argument in arguments)
        exponent = builder.shl(rounded, ir.Constant(_INTEGERS, [23] * LANES))
        return builder.bitcast(builder.add(value, exponent), _VECTOR)

    return lanes(lanes, lanes), codegen


def _arithmetic(symbol, instruction: str) -> None:
    @intrinsic
    def compute(typingctx, a, b):
        def codegen(context, builder, signature, arguments):
            return getattr(builder, instruction)(*arguments, flags=("contract",))

        return lanes(lanes, lanes), codegen

    @overload(symbol)
    def _(a, b):
        if isinstance(a, LanesType) and isinstance(b, LanesType):
            return lambda a, b: compute(a, b)
        return None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _arithmetic(_symbol, _instruction)
