"""x W^T in bfloat16 for few rows, on processors that multiply pairs of it (AVX512_BF16).

A decoding step multiplies some tens of rows by every weight of the model. Here a panel of weights
stays in the second cache while all rows pass it, the next panel is fetched meanwhile, and up to
twelve rows by 32 outputs are summed in registers. An output is summed over its inputs in order,
whatever rows there are beside it: a row's bits depend on nothing but the row.
"""

from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit, prange, types
from numba.core.cgutils import for_range
from numba.extending import intrinsic
from torch import Tensor

from burnish.kernels.emit import Emitter, Matrix, for_each_number, prefetch_into_l2
from burnish.kernels.numbers import array

LANES, VECTORS = 16, 2
PANEL = LANES * VECTORS
"""Outputs that are summed together."""
ROWS = 12
"""At most, for as many sums as registers hold."""


@cache
def fits_processor() -> bool:
    """Whether this processor has the instruction, and no units for whole matrices, which torch's
    own product uses and which are faster."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    return bool(features.get("avx512bf16")) and not features.get("amx-bf16")


def fits(weight: Tensor) -> bool:
    """Whether a weight `[E, D]` can be packed."""
    outputs, inputs = weight.shape
    return weight.dtype == torch.bfloat16 and outputs % PANEL == 0 and inputs % 2 == 0


def pack(weight: Tensor) -> Any:
    """Panels of pairs of inputs: `[E / 32, D / 2 * 32]` of 32 bits, a pair in each."""
    pairs = array(weight.contiguous()).view(np.uint32)
    panels = pairs.reshape(len(pairs) // PANEL, PANEL, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(panels).reshape(len(panels), -1)


def product(packed: Any, x: Tensor) -> Tensor:
    """x W^T for rows `[N, D]`."""
    out = x.new_empty(len(x), len(packed) * PANEL)
    _product(array(x.contiguous()).view(np.uint32), packed, array(out))
    return out


@intrinsic
def _tile(context: Any, x: Any, row: Any, num: Any, packed: Any, panel: Any, out: Any) -> Any:
    """The outputs of a panel for `num` rows."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        rows, panels, found = (
            Matrix(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
        )
        _, first, num, _, panel, _ = args
        to = Emitter(builder, LANES)
        add = _add_pairs(builder, to)
        last = builder.icmp_unsigned("==", builder.add(panel, to.whole(1)), panels.rows)
        following = builder.select(last, to.whole(0), panels.size)

        def emit(num: int) -> None:
            numbers = to.after(first, num)
            totals = [[to.sum() for _ in range(VECTORS)] for _ in numbers]
            with for_range(builder, rows.size) as loop:
                place = builder.mul(loop.index, to.whole(PANEL))
                weights = []
                for part in (builder.add(place, to.whole(LANES * v)) for v in range(VECTORS)):
                    address = panels.address(panel, part)
                    vector = builder.bitcast(address, to.words.as_pointer())
                    weights.append(builder.load(vector, align=4))
                    prefetch_into_l2(builder, builder.gep(address, [following]))
                for number, own in zip(numbers, totals, strict=True):
                    pair = to.everywhere(rows.number(number, loop.index))
                    for total, weight in zip(own, weights, strict=True):
                        builder.store(add(builder.load(total), weight, pair), total)
            column = builder.mul(panel, to.whole(PANEL))
            for number, own in zip(numbers, totals, strict=True):
                for v, total in enumerate(own):
                    place = builder.add(column, to.whole(LANES * v))
                    found.store(to.narrowed(builder.load(total)), number, place)

        for_each_number(builder, num, ROWS, emit)
        return context.get_dummy_value()

    return types.void(x, row, num, packed, panel, out), generate


def _add_pairs(builder: Any, to: Emitter) -> Any:
    """A function of (total, x, y) that adds the products of two pairs in each number."""
    from llvmlite import binding, ir

    binding.initialize_native_asmparser()
    kind = ir.FunctionType(to.vector, [to.vector, to.words, to.words])
    code = ir.InlineAsm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", side_effect=False)
    return lambda total, x, y: builder.call(code, [total, x, y])


@njit(parallel=True, cache=True)
def _product(x: Any, packed: Any, out: Any) -> None:
    rows = len(x)
    tiles = (rows + ROWS - 1) // ROWS
    for panel in prange(len(packed)):
        for tile in range(tiles):
            start, end = rows * tile // tiles, rows * (tile + 1) // tiles
            _tile(x, start, end - start, packed, panel, out)
