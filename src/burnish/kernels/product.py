"""x W^T in bfloat16 for few rows, on processors that torch's own product does not suit.

A decoding step multiplies some tens of rows by every weight of the model. Here a panel of weights
stays in a near cache while all rows pass it, the next panel is fetched meanwhile, and as many sums
as registers hold, of some rows by some outputs, are added up in float32. Processors that multiply
pairs of bfloat16 (AVX512_BF16) do so; where there is nothing for bfloat16, weights are widened on
their way. An output is summed over its inputs in order, whatever rows there are beside it: a row's
bits depend on nothing but the row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import njit, prange, types
from numba.core.cgutils import for_range
from numba.extending import intrinsic
from torch import Tensor

from burnish.kernels.emit import Emitter, Matrix, for_each_number, prefetch_into_l2
from burnish.kernels.numbers import array, torch_multiplies_bfloat16

LANES = 16


@dataclass(frozen=True, slots=True)
class Form:
    """How many sums are made together."""

    vectors: int
    """Of outputs, 16 in each."""
    rows: int
    """At most."""

    @property
    def panel(self) -> int:
        """Outputs that are summed together."""
        return LANES * self.vectors


PAIRS_ROWS, WIDENED_ROWS = 12, 6
PAIRS, WIDENED = Form(2, PAIRS_ROWS), Form(1, WIDENED_ROWS)
"""Without AVX512 there are half as many registers, of half the size."""


@dataclass(frozen=True, slots=True)
class Panels:
    """A packed weight."""

    form: Form
    pairs: Any
    """`[E / panel, D / 2 * panel]` of 32 bits: pairs of inputs."""


@cache
def form_here() -> Form | None:
    """The form for this processor. None where torch's product serves: it has units for matrices,
    or torch multiplies bfloat16 by other instructions."""
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    if features.get("amx-bf16"):
        return None
    if features.get("avx512bf16"):
        return PAIRS
    return None if torch_multiplies_bfloat16() else WIDENED


def fits(weight: Tensor, form: Form) -> bool:
    """Whether a weight `[E, D]` can be packed."""
    outputs, inputs = weight.shape
    return weight.dtype == torch.bfloat16 and outputs % form.panel == 0 and inputs % 2 == 0


def pack(weight: Tensor, form: Form) -> Panels:
    """A weight `[E, D]` in panels."""
    pairs = array(weight.contiguous()).view(np.uint32)
    panels = pairs.reshape(len(pairs) // form.panel, form.panel, -1).transpose(0, 2, 1)
    return Panels(form, np.ascontiguousarray(panels).reshape(len(panels), -1))


def product(packed: Panels, x: Tensor) -> Tensor:
    """x W^T for rows `[N, D]`."""
    out = x.new_empty(len(x), len(packed.pairs) * packed.form.panel)
    if packed.form == PAIRS:
        _by_pairs(array(x.contiguous()).view(np.uint32), packed.pairs, array(out))
    else:
        _widened(array(x.float().contiguous()), packed.pairs, array(out))
    return out


Step = Callable[[Any, Emitter, Matrix, Any, Sequence[Any], Sequence[Any], Sequence[Any]], None]
"""Adds the products of a pair of inputs: builder, emitter, rows, the pair, numbers of the rows,
pairs of weights, and for each row where its sums are."""


def _tiles(form: Form, step: Step) -> Any:
    """An intrinsic for the outputs of a panel for `num` rows."""

    @intrinsic
    def tile(context: Any, x: Any, row: Any, num: Any, packed: Any, panel: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            rows, panels, found = (
                Matrix(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
            )
            _, first, num, _, panel, _ = args
            to = Emitter(builder, LANES)
            outputs = to.whole(form.panel)
            last = builder.icmp_unsigned("==", builder.add(panel, to.whole(1)), panels.rows)
            following = builder.select(last, to.whole(0), panels.size)

            def weights(pair: Any) -> list[Any]:
                found = []
                for part in to.after(builder.mul(pair, outputs), form.vectors, LANES):
                    address = panels.address(panel, part)
                    vector = builder.bitcast(address, to.words.as_pointer())
                    found.append(builder.load(vector, align=4))
                    prefetch_into_l2(builder, builder.gep(address, [following]))
                return found

            def emit(num: int) -> None:
                numbers = to.after(first, num)
                totals = [[to.sum() for _ in range(form.vectors)] for _ in numbers]
                with for_range(builder, builder.udiv(panels.size, outputs)) as loop:
                    step(builder, to, rows, loop.index, numbers, weights(loop.index), totals)
                column = builder.mul(panel, outputs)
                for number, own in zip(numbers, totals, strict=True):
                    places = to.after(column, form.vectors, LANES)
                    for place, total in zip(places, own, strict=True):
                        found.store(to.narrowed(builder.load(total)), number, place)

            for_each_number(builder, num, form.rows, emit)
            return context.get_dummy_value()

        return types.void(x, row, num, packed, panel, out), generate

    return tile


def _add_pairs(
    builder: Any, to: Emitter, rows: Matrix, pair: Any, numbers: Sequence[Any],
    weights: Sequence[Any], totals: Sequence[Any],
) -> None:  # fmt: skip
    """By the instruction that adds the products of two pairs; rows hold pairs."""
    from llvmlite import binding, ir

    binding.initialize_native_asmparser()
    kind = ir.FunctionType(to.vector, [to.vector, to.words, to.words])
    code = ir.InlineAsm(kind, "vdpbf16ps $3, $2, $0", "=v,0,v,v", side_effect=False)
    for number, own in zip(numbers, totals, strict=True):
        x = to.everywhere(rows.number(number, pair))
        for total, weight in zip(own, weights, strict=True):
            builder.store(builder.call(code, [builder.load(total), weight, x]), total)


def _add_halves(
    builder: Any, to: Emitter, rows: Matrix, pair: Any, numbers: Sequence[Any],
    weights: Sequence[Any], totals: Sequence[Any],
) -> None:  # fmt: skip
    """One half of a pair after the other, each as float32; rows hold float32."""
    halves = zip(*(to.halves(weight) for weight in weights), strict=True)
    inputs = to.after(builder.mul(pair, to.whole(2)), 2)
    for column, half in zip(inputs, halves, strict=True):
        for number, own in zip(numbers, totals, strict=True):
            x = to.everywhere(rows.number(number, column))
            for total, weight in zip(own, half, strict=True):
                builder.store(to.add_product(builder.load(total), weight, x), total)


_tile_of_pairs, _tile_widened = _tiles(PAIRS, _add_pairs), _tiles(WIDENED, _add_halves)


@njit(parallel=True, cache=True)
def _by_pairs(x: Any, packed: Any, out: Any) -> None:
    rows = len(x)
    tiles = (rows + PAIRS_ROWS - 1) // PAIRS_ROWS
    for panel in prange(len(packed)):
        for tile in range(tiles):
            start, end = rows * tile // tiles, rows * (tile + 1) // tiles
            _tile_of_pairs(x, start, end - start, packed, panel, out)


@njit(parallel=True, cache=True)
def _widened(x: Any, packed: Any, out: Any) -> None:
    rows = len(x)
    tiles = (rows + WIDENED_ROWS - 1) // WIDENED_ROWS
    for panel in prange(len(packed)):
        for tile in range(tiles):
            start, end = rows * tile // tiles, rows * (tile + 1) // tiles
            _tile_widened(x, start, end - start, packed, panel, out)
