"""A matrix turned over, to the bit."""

import pytest
import torch

from burnish.kernels.transpose import transposed
from tests.unit.kernels.plain import FORMATS, assert_threads_do_not_matter, normal, same_bits


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 33), (33, 1), (31, 65), (32, 64), (257, 80), (0, 5), (5, 0)]
)
def test_it_is_torchs_transpose(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x = normal(*shape, dtype=dtype)
    if x.numel():
        x[-1, -1] = float("nan")
    found = transposed(x)
    assert found.is_contiguous() and same_bits(found, x.T.contiguous())


def test_threads_do_not_matter() -> None:
    x = normal(130, 70)
    assert_threads_do_not_matter(lambda: [transposed(x)])
