"""Blocks of a float32 matrix whose columns are contiguous, transposed in registers on their way to and from a tile."""

from functools import partial

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nnunetv2_mamba.ops.cpu.lanes import LANES, element, position

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)


@intrinsic
def load_transposed(typingctx, source, row, column, tile, start):
    """Tile rows from ``start`` on: LANES rows and columns of a float32 matrix whose rows are contiguous the other way.

    The matrix is indexed [row, column] and neighbours in a column are neighbours in memory.
    """

    def codegen(context, builder, signature, arguments):
        matrix, row, column, tile, start = arguments
        place = partial(position, context, builder, signature.args[0], matrix, row)
        columns = [builder.load(place(_plus(builder, column, lane)), align=4) for lane in range(LANES)]
        for step, vector in enumerate(_transposed(builder, columns)):
            target = element(context, builder, signature.args[3], tile, _plus(builder, start, step))
            builder.store(vector, target, align=4)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, tile, types.intp), codegen


@intrinsic
def add_transposed(typingctx, tile, start, accumulate, target, row, column):
    """Undo `load_transposed`: tile rows from ``start`` on overwrite the block of the matrix, or are added to it."""

    def codegen(context, builder, signature, arguments):
        tile, start, accumulate, matrix, row, column = arguments
        steps = (element(context, builder, signature.args[0], tile, _plus(builder, start, t)) for t in range(LANES))
        zeros = ir.Constant(_VECTOR, [0.0] * LANES)
        for lane, vector in enumerate(_transposed(builder, [builder.load(step, align=4) for step in steps])):
            place = position(context, builder, signature.args[3], matrix, row, _plus(builder, column, lane))
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
