"""Products of few rows by packed weights against the same in float64."""

import pytest
import torch
from torch import Tensor

from burnish.kernels import product as kernel
from burnish.kernels.product import ROWS, fits, fits_processor, pack, product
from tests.unit.kernels.plain import (
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

here = pytest.mark.skipif(not fits_processor(), reason="this processor lacks the instruction")
BF16 = torch.bfloat16


def weight(outputs: int, inputs: int) -> Tensor:
    return normal(outputs, inputs, seed=1, dtype=BF16)


@here
@pytest.mark.parametrize("rows", [*range(1, ROWS + 3), 2 * ROWS + 1, 64])
@pytest.mark.parametrize("shape", [(32, 2), (96, 30), (64, 576)])
def test_the_product(rows: int, shape: tuple[int, int]) -> None:
    x, w = normal(rows, shape[1], dtype=BF16), weight(*shape)
    exact = x.double() @ w.double().T
    terms = float((x.double().abs() @ w.double().abs().T).max())
    assert_near(product(pack(w), x), exact, scale=terms)


@here
def test_a_row_gives_the_same_bits_among_any_others() -> None:
    x, packed = normal(29, 576, dtype=BF16), pack(weight(96, 576))
    assert_threads_do_not_matter(lambda: [product(packed, x)])
    whole = product(packed, x)
    for rows in (slice(0, 1), slice(5, 18), slice(28, 29)):
        assert same_bits(product(packed, x[rows]), whole[rows])


@here
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_row_and_in_no_other(bad: float) -> None:
    x, packed = normal(3, 64, dtype=BF16), pack(weight(64, 64))
    x[1, 7] = bad
    found = product(packed, x)
    assert not found[1].isfinite().any()
    assert bool(found[[0, 2]].isfinite().all())


@here
def test_rows_that_are_not_contiguous() -> None:
    x, packed = normal(5, 2, 64, dtype=BF16)[:, 0], pack(weight(32, 64))
    assert same_bits(product(packed, x), product(packed, x.contiguous()))


def test_what_can_be_packed() -> None:
    assert fits(weight(64, 6))
    assert not fits(weight(48, 6)), "outputs are packed by 32"
    assert not fits(weight(64, 5)), "inputs are multiplied in pairs"
    assert not fits(weight(64, 6).float())


def test_a_pair_of_inputs_lies_together() -> None:
    w = torch.arange(64 * 4, dtype=torch.float32).reshape(64, 4).to(BF16)
    pairs = torch.from_numpy(pack(w).view("uint16").reshape(2, 2, 32, 2).copy()).view(BF16)
    for panel, pair, output, which in [(0, 0, 0, 0), (0, 1, 31, 1), (1, 0, 5, 1)]:
        assert pairs[panel, pair, output, which] == w[32 * panel + output, 2 * pair + which]


def test_a_processor_with_units_for_matrices_uses_torchs_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import llvmlite.binding

    for features, wanted in [
        ({"avx512bf16": True, "amx-bf16": False}, True),
        ({"avx512bf16": True, "amx-bf16": True}, False),
        ({"avx512f": True}, False),
    ]:
        monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda f=features: f)
        kernel.fits_processor.cache_clear()
        assert kernel.fits_processor() is wanted
    kernel.fits_processor.cache_clear()
