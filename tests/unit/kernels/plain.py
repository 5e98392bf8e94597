"""What every test of a kernel asks: near the float64 form, and the same bits however it is run."""

from collections.abc import Callable, Sequence

import numba
import torch
from torch import Tensor

FORMATS = [torch.float32, torch.bfloat16]
UNIT = {torch.float32: 2.0**-24, torch.bfloat16: 2.0**-8}
"""The largest relative error of one rounding: half a step of 24 or of 8 significant bits."""
SUMMED = 2e-6
"""Of what kernels carry in float32 on the way, relative to the largest number of the result."""


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers to try a kernel with, rounded to its format."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator).to(dtype)


def assert_near(found: Tensor, exact: Tensor, *, roundings: float = 1.0, scale: float = 0) -> None:
    """`found` is `exact`, rounded to its format so many times and summed in float32.

    `scale` is that of the terms summed, where they cancel: by default the largest of the results.
    """
    assert found.shape == exact.shape and exact.dtype == torch.float64
    if not exact.numel():
        return
    allowed = SUMMED * max(scale, float(exact.abs().max()))
    error = (found.double() - exact).abs() - roundings * UNIT[found.dtype] * exact.abs()
    assert float(error.max()) <= allowed, (float(error.max()), allowed)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bits; a NaN is the same as itself."""
    as_int = {2: torch.int16, 4: torch.int32, 8: torch.int64}[one.element_size()]
    return one.dtype == other.dtype and torch.equal(one.view(as_int), other.view(as_int))


def assert_threads_do_not_matter(run: Callable[[], Sequence[Tensor]]) -> None:
    """The same bits by one thread and by two."""
    before = numba.get_num_threads()
    try:
        found = []
        for threads in (1, min(2, numba.config.NUMBA_NUM_THREADS)):
            numba.set_num_threads(threads)
            found.append([x.clone() for x in run()])
    finally:
        numba.set_num_threads(before)
    assert all(same_bits(a, b) for a, b in zip(*found, strict=True))
