"""The machine, and the two limits that all work on it has: matrix products, and reading memory."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.bench.spread import Spread, timed
from burnish.models.products import linear, product
from burnish.pipeline.environment import cpu_name, memory_bytes, usable_cores

SQUARES = (512, 1024, 2048, 3072)
"""Sides of square products. Which size is fastest depends on the caches."""
READ_BYTES = 1 << 30
"""More than caches hold."""
REPEATS = 5
LAYER_TOKENS, HEAD_TOKENS = 2048, 512
"""Rows that a layer and the head multiply at one time, as in training with the default sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Machine:
    """What is there to compute with."""

    cpu: str
    cores: int
    threads: int
    memory_bytes: int
    torch: str
    gpu: str | None
    """Named only: the work that is timed runs on the processor."""

    @classmethod
    def here(cls) -> "Machine":
        """This one."""
        return cls(
            cpu=cpu_name(),
            cores=usable_cores(),
            threads=torch.get_num_threads(),
            memory_bytes=memory_bytes(),
            torch=torch.__version__,
            gpu=torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Products:
    """Matrix products, in floating-point operations a second."""

    flops_per_s: Spread
    sizes: str
    """Of the fastest: rows x inner x columns."""


def product_rate(dtype: torch.dtype, shapes: Sequence[tuple[int, int, int]]) -> Products:
    """The fastest of products of these (rows, inner, columns), as the models make them: those of
    bfloat16 in float32 where the processor has none."""
    found = [
        Products(
            flops_per_s=_product(*shape, dtype).per(2.0 * shape[0] * shape[1] * shape[2]),
            sizes=" x ".join(map(str, shape)),
        )
        for shape in shapes
    ]
    return max(found, key=lambda products: products.flops_per_s.median)


def squares() -> list[tuple[int, int, int]]:
    """Square products."""
    return [(side, side, side) for side in SQUARES]


def layer_products(body: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """The products of a model's layers, forwards, each size once."""
    return [(LAYER_TOKENS, inner, columns) for columns, inner in dict.fromkeys(body)]


def own_rate(body: Sequence[tuple[int, int]], head: tuple[int, int], dtype: torch.dtype) -> Spread:
    """Operations a second of all of a model's products one after the other, forwards and backwards:
    what its training would reach if there were nothing beside them."""
    matrices = {shape: (LAYER_TOKENS, body.count(shape)) for shape in body}
    matrices[head] = HEAD_TOKENS, LAYER_TOKENS // HEAD_TOKENS
    flops, times = 0.0, []
    for (columns, inner), (rows, count) in matrices.items():
        flops += count * 6.0 * rows * inner * columns
        each = _all_products(rows, inner, columns, dtype)
        times.append((count * each.median, count * each.low, count * each.high))
    median, low, high = (sum(column) for column in zip(*times, strict=True))
    return Spread(median=median, low=low, high=high, count=REPEATS).per(flops)


def read_rate() -> Spread:
    """Bytes a second that reading memory from end to end gives (a float32 dot product with itself,
    which reads fastest of torch's operations)."""
    numbers = torch.ones(READ_BYTES // 4)
    return timed(lambda: torch.dot(numbers, numbers), REPEATS).per(READ_BYTES)


def _product(rows: int, inner: int, columns: int, dtype: torch.dtype) -> Spread:
    given, weight = _filled(rows, inner, dtype), _filled(columns, inner, dtype)
    return timed(lambda: linear(given, weight), REPEATS)


def _all_products(rows: int, inner: int, columns: int, dtype: torch.dtype) -> Spread:
    given, weight = _filled(rows, inner, dtype), _filled(columns, inner, dtype)
    gradient = _filled(rows, columns, dtype)

    def work() -> None:
        linear(given, weight)
        product(gradient, weight)
        product(gradient.T, given)

    return timed(work, REPEATS)


def _filled(rows: int, columns: int, dtype: torch.dtype) -> Tensor:
    """Neither zeros nor denormals, which some processors multiply at another speed."""
    return torch.linspace(-1, 1, rows * columns).to(dtype).view(rows, columns)
