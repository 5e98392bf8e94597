"""Writes LLVM's instructions on whole vectors, for what plain loops are not compiled to.

Only inside numba's intrinsics. LLVM cuts a vector to those that the processor has.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from numba.core.cgutils import alloca_once_value, for_range

FUSED = ("contract",)
"""A product and the sum after it may be one instruction."""


class Matrix:
    """A contiguous array of two dimensions."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any) -> None:
        from llvmlite import ir

        self._ir, self._builder = ir, builder
        made = context.make_array(kind)(context, builder, array)
        self._data = made.data
        self.rows, self.size = (builder.extract_value(made.shape, axis) for axis in (0, 1))

    def address(self, row: Any, column: Any) -> Any:
        builder = self._builder
        return builder.gep(self._data, [builder.add(builder.mul(row, self.size), column)])

    def number(self, row: Any, column: Any) -> Any:
        return self._builder.load(self.address(row, column))

    def load(self, row: Any, column: Any, lanes: int) -> Any:
        """A vector as it is stored; the bits of bfloat16 as float32."""
        builder, ir = self._builder, self._ir
        address = self.address(row, column)
        element = address.type.pointee
        kind = ir.VectorType(element, lanes)
        bits = element == ir.IntType(16)
        vector = builder.load(builder.bitcast(address, kind.as_pointer()), align=2 if bits else 4)
        if not bits:
            return vector
        words = ir.VectorType(ir.IntType(32), lanes)
        shifted = builder.shl(builder.zext(vector, words), ir.Constant(words, [16] * lanes))
        return builder.bitcast(shifted, ir.VectorType(ir.FloatType(), lanes))

    def store(self, vector: Any, row: Any, column: Any) -> None:
        address = self._builder.bitcast(self.address(row, column), vector.type.as_pointer())
        bits = vector.type.element == self._ir.IntType(16)
        self._builder.store(vector, address, align=2 if bits else 4)


class Emitter:
    """Instructions on vectors of `lanes` numbers of float32."""

    def __init__(self, builder: Any, lanes: int) -> None:
        from llvmlite import ir

        self._ir, self._builder, self.lanes = ir, builder, lanes
        self.vector = ir.VectorType(ir.FloatType(), lanes)
        self.words = ir.VectorType(ir.IntType(32), lanes)

    def whole(self, number: int) -> Any:
        return self._ir.Constant(self._ir.IntType(64), number)

    def after(self, first: Any, count: int, step: int = 1) -> list[Any]:
        """Whole numbers from `first` on."""
        return [self._builder.add(first, self.whole(k * step)) for k in range(count)]

    def everywhere(self, number: Any) -> Any:
        """A vector of one number, whole or not."""
        kind = self._ir.VectorType(number.type, self.lanes)
        first = self._builder.insert_element(
            self._ir.Constant(kind, self._ir.Undefined), number, self.whole(0)
        )
        return self._shuffled(first, first, [0] * self.lanes)

    def sum(self) -> Any:
        """A place for a sum, which is 0."""
        return alloca_once_value(self._builder, self._ir.Constant(self.vector, [0.0] * self.lanes))

    def add_product(self, total: Any, x: Any, y: Any) -> Any:
        """total + x * y"""
        return self._builder.fadd(total, self._builder.fmul(x, y, flags=FUSED), flags=FUSED)

    @contextmanager
    def parts(self, size: Any) -> Iterator[Any]:
        """A loop over the vectors of `size` numbers: where each starts."""
        builder, lanes = self._builder, self.whole(self.lanes)
        with for_range(builder, builder.udiv(size, lanes)) as loop:
            yield builder.mul(loop.index, lanes)

    def narrowed(self, vector: Any) -> Any:
        """The bits of bfloat16: to nearest, ties to even, as `numbers.narrow`."""
        builder, sixteen = self._builder, self._words(16)
        bits = builder.bitcast(vector, self.words)
        odd = builder.and_(builder.lshr(bits, sixteen), self._words(1))
        rounded = builder.add(builder.add(bits, self._words(0x7FFF)), odd)
        halves = self._ir.VectorType(self._ir.IntType(16), self.lanes)
        return builder.trunc(builder.lshr(rounded, sixteen), halves)

    def four_sums(self, vectors: Sequence[Any]) -> Any:
        """The sums of four vectors, as a vector of four.

        Within each quarter of 16 bytes: halves of two vectors are laid beside each other and added,
        then halves of those; at last the quarters.
        """
        first = self._added(vectors[:2], [0, 4, 1, 5], [2, 6, 3, 7])
        second = self._added(vectors[2:], [0, 4, 1, 5], [2, 6, 3, 7])
        found = self._added([first, second], [0, 1, 4, 5], [2, 3, 6, 7])
        lanes = self.lanes
        while lanes > 4:
            lanes //= 2
            low = self._shuffled(found, found, range(lanes))
            high = self._shuffled(found, found, range(lanes, 2 * lanes))
            found = self._builder.fadd(low, high)
        return found

    def _words(self, number: int) -> Any:
        return self._ir.Constant(self.words, [number] * self.lanes)

    def _added(self, two: Sequence[Any], low: Sequence[int], high: Sequence[int]) -> Any:
        """The numbers at `low` and `high` of each quarter of the first (0 to 3) and the other."""
        quarters = range(0, self.lanes, 4)
        parts = (
            [q + (p if p < 4 else p - 4 + self.lanes) for q in quarters for p in places]
            for places in (low, high)
        )
        return self._builder.fadd(*(self._shuffled(two[0], two[1], part) for part in parts))

    def _shuffled(self, x: Any, y: Any, lanes: Sequence[int]) -> Any:
        mask = self._ir.VectorType(self._ir.IntType(32), len(lanes))
        return self._builder.shuffle_vector(x, y, self._ir.Constant(mask, list(lanes)))


def prefetch_into_l2(builder: Any, address: Any) -> None:
    """Ask memory for what lies at an address, which has to be one that was written before.

    To ask for a page that is not there is allowed, and takes longer than to wait for one that is.
    Into the second cache: the first one follows fewer requests at a time than memory could serve.
    """
    from llvmlite import ir

    byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
    ask = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
    to_read, soon, data = 0, 2, 1
    builder.call(ask, [builder.bitcast(address, byte), word(to_read), word(soon), word(data)])


def for_each_number(builder: Any, number: Any, most: int, emit: Callable[[int], None]) -> None:
    """Emit code for each number from 1 to `most`: which it is shows only when it runs."""
    end = builder.append_basic_block()
    choice = builder.switch(number, end)
    for each in range(1, most + 1):
        block = builder.append_basic_block()
        choice.add_case(number.type(each), block)
        with builder.goto_block(block):
            emit(each)
            builder.branch(end)
    builder.position_at_end(end)
