"""A vector of float32 lanes as a numba value, so that kernels are vector code by construction.

LLVM can vectorise plain loops too, but whether it does hangs on how many arrays it must tell apart at run time, on the
direction of the outer loop and on its version; measured here, one reversed loop cost a factor of eight. With lanes as
values there is nothing to decide, and a state stays in registers.

``a + b``, ``a - b``, ``a * b`` and ``a / b`` work on lanes; products and sums may be fused, nothing else is reordered.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.extending import intrinsic, models, overload, register_model

# Empty is an answer too: NUMBA_CPU_NAME=generic, which makes one cache serve many machines, compiles with no feature.
_FEATURES = get_host_cpu_features() if config.CPU_FEATURES is None else config.CPU_FEATURES
HAS_AVX512 = "+avx512f" in _FEATURES.split(",")
LANES = 16 if HAS_AVX512 else 8
"""One register of AVX-512 or AVX2, two of SSE or NEON."""

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INTEGERS = ir.VectorType(ir.IntType(32), LANES)
_HALF = LANES // 2
_PREFETCH = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *[ir.IntType(32)] * 3])
_CURRENT_ROUNDING = 4  # of _MM_FROUND_CUR_DIRECTION


class LanesType(types.Type):
    """Numba type of LANES float32 numbers."""

    def __init__(self) -> None:
        super().__init__(name="float32_lanes")


lanes = LanesType()


@njit
def aligned(rows, width):
    """Zeros (rows, width) of float32 that begin with a cache line."""
    raw = np.zeros(rows * width + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip : skip + rows * width].reshape(rows, width)


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _VECTOR)


def element(context, builder, array_type, array, row):
    """Where a row of a C-contiguous float32 array (rows, LANES) begins, as a pointer to lanes."""
    data = context.make_array(array_type)(context, builder, array).data
    first = builder.gep(data, [builder.mul(row, ir.Constant(row.type, LANES))])
    return builder.bitcast(first, _VECTOR.as_pointer())


@intrinsic
def load(typingctx, tile, row):
    """Row of a C-contiguous float32 array (rows, LANES)."""

    def codegen(context, builder, signature, arguments):
        return builder.load(element(context, builder, signature.args[0], *arguments), align=4)

    return lanes(tile, types.intp), codegen


@intrinsic
def store(typingctx, tile, row, value):
    """Overwrite a row of a C-contiguous float32 array (rows, LANES)."""

    def codegen(context, builder, signature, arguments):
        array, index, vector = arguments
        builder.store(vector, element(context, builder, signature.args[0], array, index), align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, lanes), codegen


def position(context, builder, array_type, array, row, column):
    """Where an element of a float32 matrix is, as a pointer to lanes."""
    view = context.make_array(array_type)(context, builder, array)
    element = cgutils.get_item_pointer(context, builder, array_type, view, [row, column], wraparound=False)
    return builder.bitcast(element, _VECTOR.as_pointer())


@intrinsic
def load_at(typingctx, array, row, column):
    """LANES neighbours in a row of any float32 matrix whose columns are contiguous."""

    def codegen(context, builder, signature, arguments):
        return builder.load(position(context, builder, signature.args[0], *arguments), align=4)

    return lanes(array, types.intp, types.intp), codegen


@intrinsic
def store_at(typingctx, array, row, column, value):
    """Overwrite LANES neighbours in a row of any float32 matrix whose columns are contiguous."""

    def codegen(context, builder, signature, arguments):
        *place, vector = arguments
        builder.store(vector, position(context, builder, signature.args[0], *place), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, lanes), codegen


@intrinsic
def prefetch(typingctx, array, row, column):
    """Ask for an element of a matrix, and what lies beside it, to be brought near."""

    def codegen(context, builder, signature, arguments):
        byte = builder.bitcast(position(context, builder, signature.args[0], *arguments), ir.IntType(8).as_pointer())
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte.type], _PREFETCH)
        builder.call(function, [byte, *(ir.Constant(ir.IntType(32), number) for number in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def _in_every_lane(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(single, undefined, ir.Constant(_INTEGERS, [0] * LANES))


@intrinsic
def splat(typingctx, scalar):
    """The same float32 number in every lane."""

    def codegen(context, builder, signature, arguments):
        return _in_every_lane(builder, arguments[0])

    return lanes(types.float32), codegen


@intrinsic
def splat_at(typingctx, numbers, index):
    """One number of a contiguous float32 vector in every lane."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return _in_every_lane(builder, builder.load(builder.gep(data, [arguments[1]])))

    return lanes(numbers, types.intp), codegen


@intrinsic
def add_folded(typingctx, tile, row, first, second):
    """Add two vectors to a row, each folded to half as many sums: those of the first lie before those of the second."""

    def codegen(context, builder, signature, arguments):
        array, index, *pair = arguments
        masks = [[*range(start, start + _HALF), *range(LANES + start, LANES + start + _HALF)] for start in (0, _HALF)]
        halves = [builder.shuffle_vector(*pair, ir.Constant(_INTEGERS, mask)) for mask in masks]
        place = element(context, builder, signature.args[0], array, index)
        builder.store(builder.fadd(builder.load(place, align=4), builder.fadd(*halves)), place, align=4)
        return context.get_dummy_value()

    return types.void(tile, types.intp, lanes, lanes), codegen


@intrinsic
def half_total(typingctx, tile, row, half):
    """Sum over the first (0) or second (1) half of a row, in an order that LLVM may choose but never changes."""

    def codegen(context, builder, signature, arguments):
        array, index, half = arguments
        lower = element(context, builder, signature.args[0], array, index)
        part = builder.bitcast(lower, ir.VectorType(ir.FloatType(), _HALF).as_pointer())
        vector = builder.load(builder.gep(part, [half]), align=4)
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType(), vector.type])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{_HALF}f32")
        return builder.call(function, [ir.Constant(ir.FloatType(), 0.0), vector], fastmath=("reassoc",))

    return types.float32(tile, types.intp, types.intp), codegen


@intrinsic
def greater(typingctx, a, b):
    """The larger of both; lanes of a that are not a number stay so."""

    def codegen(context, builder, signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), arguments[1], arguments[0])

    return lanes(lanes, lanes), codegen


@intrinsic
def where_positive(typingctx, condition, yes, no):
    """Lanes of ``yes`` where the condition is above zero, else of ``no``."""

    def codegen(context, builder, signature, arguments):
        positive = builder.fcmp_ordered(">", arguments[0], ir.Constant(_VECTOR, [0.0] * LANES))
        return builder.select(positive, arguments[1], arguments[2])

    return lanes(lanes, lanes, lanes), codegen


@intrinsic
def nearest_integer(typingctx, value):
    """Rounded to the nearest whole number, as a float32."""

    def codegen(context, builder, signature, arguments):
        kind = ir.FunctionType(_VECTOR, [_VECTOR])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.rint.v{LANES}f32")
        return builder.call(function, arguments)

    return lanes(lanes), codegen


@intrinsic
def times_power_of_two(typingctx, value, exponent):
    """Product of a value and 2**exponent, a whole number in float32 and of any size.

    AVX-512 has an instruction for it. Elsewhere those beyond 127 count as 127, those of -127 and less
    make zero. Not a number stays so.
    """

    def scaled(context, builder, signature, arguments):
        mask, rounding = ir.IntType(16), ir.IntType(32)
        kind = ir.FunctionType(_VECTOR, [_VECTOR, _VECTOR, _VECTOR, mask, rounding])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.avx512.mask.scalef.ps.512")
        return builder.call(function, [*arguments, arguments[0], mask(0xFFFF), rounding(_CURRENT_ROUNDING)])

    def multiplied(context, builder, signature, arguments):
        value, exponent = arguments
        lowest, highest = (ir.Constant(_VECTOR, [bound] * LANES) for bound in (-127.0, 127.0))
        exponent = builder.select(builder.fcmp_ordered(">", exponent, lowest), exponent, lowest)
        exponent = builder.select(builder.fcmp_ordered("<", exponent, highest), exponent, highest)
        bits = builder.add(builder.fptosi(exponent, _INTEGERS), ir.Constant(_INTEGERS, [127] * LANES))
        power = builder.bitcast(builder.shl(bits, ir.Constant(_INTEGERS, [23] * LANES)), _VECTOR)
        return builder.fmul(value, power)

    return lanes(lanes, lanes), scaled if HAS_AVX512 else multiplied


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
