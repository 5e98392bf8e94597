"""Products of a group's queries with stored keys and values, four of these at a time.

In plain loops each stored number is widened anew for every query, and each product of two heads is
summed on its own. Here four stored heads meet up to four queries, and four sums are made together.
"""

from collections.abc import Callable
from typing import Any

from numba import njit, types
from numba.extending import intrinsic

from burnish.kernels.emit import Emitter, Matrix, for_each_number

STORED, QUERIES = 4, 4
"""Stored heads and queries that meet at one time: their sums stay in registers."""
WIDE, NARROW = 16, 4
"""Numbers of a vector; the second has to divide the size of a head."""


def _for_both_widths(builder: Any, size: Any, emit: Callable[[Emitter], None]) -> None:
    """Which of them divide the size of a head shows only when it runs."""
    wide, narrow = Emitter(builder, WIDE), Emitter(builder, NARROW)
    fits = builder.icmp_signed("==", builder.urem(size, wide.whole(WIDE)), wide.whole(0))
    with builder.if_else(fits) as (then, otherwise):
        with then:
            emit(wide)
        with otherwise:
            emit(narrow)


@intrinsic
def _dots(
    context: Any, queries: Any, query: Any, num: Any, keys: Any, key: Any, scale: Any, scores: Any
) -> Any:
    """Four scores of each of `num` queries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        asking, stored, found = (
            Matrix(context, builder, signature.args[i], args[i]) for i in (0, 3, 6)
        )
        _, query, num, _, key, scale, _ = args

        def emit(to: Emitter, num: int) -> None:
            rows, columns = to.after(query, num), to.after(key, STORED)
            totals = [[to.sum() for _ in columns] for _ in rows]
            with to.parts(asking.size) as part:
                heads = [stored.load(c, part, to.lanes) for c in columns]
                for row, own in zip(rows, totals, strict=True):
                    q = asking.load(row, part, to.lanes)
                    for total, head in zip(own, heads, strict=True):
                        builder.store(to.add_product(builder.load(total), q, head), total)
            times = Emitter(builder, STORED).everywhere(scale)
            for row, own in zip(rows, totals, strict=True):
                sums = to.four_sums([builder.load(total) for total in own])
                found.store(builder.fmul(sums, times), row, key)

        def emit_both(num: int) -> None:
            _for_both_widths(builder, asking.size, lambda to: emit(to, num))

        for_each_number(builder, num, QUERIES, emit_both)
        return context.get_dummy_value()

    return types.void(queries, query, num, keys, key, scale, scores), generate


@intrinsic
def _sums(
    context: Any, weights: Any, query: Any, num: Any, values: Any, value: Any, out: Any
) -> Any:
    """Adds four values with the weights of each of `num` queries."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        given, stored, mixed = (
            Matrix(context, builder, signature.args[i], args[i]) for i in (0, 3, 5)
        )
        _, query, num, _, value, _ = args

        def emit(to: Emitter, num: int) -> None:
            rows, columns = to.after(query, num), to.after(value, STORED)
            shares = [[to.everywhere(given.number(r, c)) for c in columns] for r in rows]
            with to.parts(mixed.size) as part:
                heads = [stored.load(c, part, to.lanes) for c in columns]
                for row, own in zip(rows, shares, strict=True):
                    total = mixed.load(row, part, to.lanes)
                    for share, head in zip(own, heads, strict=True):
                        total = to.add_product(total, share, head)
                    mixed.store(total, row, part)

        def emit_both(num: int) -> None:
            _for_both_widths(builder, mixed.size, lambda to: emit(to, num))

        for_each_number(builder, num, QUERIES, emit_both)
        return context.get_dummy_value()

    return types.void(weights, query, num, values, value, out), generate


@njit(inline="always")
def four_dots(queries: Any, keys: Any, c: Any, scale: Any, scores: Any) -> None:
    """scores[:, c : c + 4] = scale * queries @ keys[c : c + 4].T"""
    for r in range(0, len(queries), QUERIES):
        _dots(queries, r, min(len(queries) - r, QUERIES), keys, c, scale, scores)


@njit(inline="always")
def add_four(weights: Any, values: Any, c: Any, out: Any) -> None:
    """out += weights[:, c : c + 4] @ values[c : c + 4]"""
    for r in range(0, len(weights), QUERIES):
        _sums(weights, r, min(len(weights) - r, QUERIES), values, c, out)
