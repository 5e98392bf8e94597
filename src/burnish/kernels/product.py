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
from numba.extending import intrinsic, overload
from torch import Tensor

from burnish.kernels.emit import Emitter, Matrix, for_each_number, prefetch_into_l2
from burnish.kernels.numbers import array, torch_multiplies_bfloat16, wide

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
    numbers: Any
    """`[E / panel, D * panel]` of 16 bits, input by input; where pairs are multiplied `[E / panel,
    D / 2 * panel]` of 32 bits, pairs of inputs."""

    @property
    def outputs(self) -> int:
        return len(self.numbers) * self.form.panel


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
    numbers = array(weight.contiguous())
    if form == PAIRS:
        numbers = numbers.view(np.uint32)
    panels = numbers.reshape(len(numbers) // form.panel, form.panel, -1).transpose(0, 2, 1)
    return Panels(form, np.ascontiguousarray(panels).reshape(len(panels), -1))


def product(packed: Panels, x: Tensor, out: Tensor | None = None) -> Tensor:
    """x W^T for rows `[N, D]`, in `out` if it is given."""
    if out is None:
        out = x.new_empty(len(x), packed.outputs)
    multiply(array(x.contiguous()), packed.numbers, array(out))
    return out


Step = Callable[[Any, Emitter, Matrix, Any, Sequence[Any], Sequence[Any], Sequence[Any]], None]
"""Adds the products of an input or a pair of them: builder, emitter, rows, which it is, numbers of
the rows, its weights, and for each row where its sums are."""


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

            def weights(index: Any) -> list[Any]:
                parts = to.after(builder.mul(index, outputs), form.vectors, LANES)
                for part in parts:
                    address = panels.address(panel, part)
                    prefetch_into_l2(builder, builder.gep(address, [following]))
                return [panels.load(panel, part, LANES) for part in parts]

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


def _add_inputs(
    builder: Any, to: Emitter, rows: Matrix, index: Any, numbers: Sequence[Any],
    weights: Sequence[Any], totals: Sequence[Any],
) -> None:  # fmt: skip
    """By a product and a sum; rows hold float32."""
    for number, own in zip(numbers, totals, strict=True):
        x = to.everywhere(rows.number(number, index))
        for total, weight in zip(own, weights, strict=True):
            builder.store(to.add_product(builder.load(total), weight, x), total)


_tile_of_pairs, _tile_widened = _tiles(PAIRS, _add_pairs), _tiles(WIDENED, _add_inputs)


@njit(parallel=True, cache=True)
def _by_pairs(x: Any, packed: Any, out: Any) -> None:
    pairs = x.view(np.uint32)
    rows = len(x)
    tiles = (rows + PAIRS_ROWS - 1) // PAIRS_ROWS
    for panel in prange(len(packed)):
        for tile in range(tiles):
            start, end = rows * tile // tiles, rows * (tile + 1) // tiles
            _tile_of_pairs(pairs, start, end - start, packed, panel, out)


@njit(parallel=True, cache=True)
def _widened(x: Any, packed: Any, out: Any) -> None:
    rows = len(x)
    numbers = np.empty(x.shape, np.float32)
    for row in prange(rows):
        for j in range(x.shape[1]):
            numbers[row, j] = wide(x[row, j])
    tiles = (rows + WIDENED_ROWS - 1) // WIDENED_ROWS
    for panel in prange(len(packed)):
        for tile in range(tiles):
            start, end = rows * tile // tiles, rows * (tile + 1) // tiles
            _tile_widened(numbers, start, end - start, packed, panel, out)


def multiply(x: Any, packed: Any, out: Any) -> None:
    """x W^T inside compiled loops: of which form the panels are, their format tells."""
    (_by_pairs if packed.dtype == np.uint32 else _widened)(x, packed, out)


@overload(multiply)
def _multiply(x: Any, packed: Any, out: Any) -> Any:
    def by_pairs(x: Any, packed: Any, out: Any) -> None:
        _by_pairs(x, packed, out)

    def widened(x: Any, packed: Any, out: Any) -> None:
        _widened(x, packed, out)

    return by_pairs if packed.dtype == types.uint32 else widened
