"""Products of few rows by packed weights against the same in float64."""

import pytest
import torch
from llvmlite.binding import get_host_cpu_features
from torch import Tensor

from burnish.kernels import product as kernel
from burnish.kernels.product import PAIRS, WIDENED, Form, fits, pack, product
from tests.unit.kernels.plain import (
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

BF16 = torch.bfloat16
FORMS = [
    pytest.param(
        PAIRS,
        marks=pytest.mark.skipif(
            not get_host_cpu_features().get("avx512bf16"),
            reason="this processor does not multiply pairs",
        ),
        id="pairs",
    ),
    pytest.param(WIDENED, id="widened"),
]
each_form = pytest.mark.parametrize("form", FORMS)


def weight(outputs: int, inputs: int) -> Tensor:
    return normal(outputs, inputs, seed=1, dtype=BF16)


@each_form
@pytest.mark.parametrize("rows", [*range(1, PAIRS.rows + 3), 2 * PAIRS.rows + 1, 64])
@pytest.mark.parametrize("shape", [(32, 2), (96, 30), (64, 576)])
def test_the_product(form: Form, rows: int, shape: tuple[int, int]) -> None:
    x, w = normal(rows, shape[1], dtype=BF16), weight(*shape)
    exact = x.double() @ w.double().T
    terms = float((x.double().abs() @ w.double().abs().T).max())
    assert_near(product(pack(w, form), x), exact, scale=terms)


@each_form
def test_a_row_gives_the_same_bits_among_any_others(form: Form) -> None:
    x, packed = normal(29, 576, dtype=BF16), pack(weight(96, 576), form)
    assert_threads_do_not_matter(lambda: [product(packed, x)])
    whole = product(packed, x)
    for rows in (slice(0, 1), slice(5, 18), slice(28, 29)):
        assert same_bits(product(packed, x[rows]), whole[rows])


@each_form
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_row_and_in_no_other(form: Form, bad: float) -> None:
    x, packed = normal(3, 64, dtype=BF16), pack(weight(64, 64), form)
    x[1, 7] = bad
    found = product(packed, x)
    assert not found[1].isfinite().any()
    assert bool(found[[0, 2]].isfinite().all())


@each_form
def test_rows_that_are_not_contiguous(form: Form) -> None:
    x, packed = normal(5, 2, 64, dtype=BF16)[:, 0], pack(weight(32, 64), form)
    assert same_bits(product(packed, x), product(packed, x.contiguous()))


def test_what_can_be_packed() -> None:
    assert fits(weight(64, 6), PAIRS)
    assert not fits(weight(48, 6), PAIRS), "outputs are packed by 32"
    assert fits(weight(48, 6), WIDENED)
    assert not fits(weight(40, 6), WIDENED), "outputs are packed by 16"
    for form in (PAIRS, WIDENED):
        assert not fits(weight(64, 5), form), "inputs are multiplied in pairs"
        assert not fits(weight(64, 6).float(), form)


def test_a_pair_of_inputs_lies_together() -> None:
    w = torch.arange(64 * 4, dtype=torch.float32).reshape(64, 4).to(BF16)
    halves = pack(w, PAIRS).numbers.view("uint16").reshape(2, 2, 32, 2)
    pairs = torch.from_numpy(halves.copy()).view(BF16)
    for panel, pair, output, which in [(0, 0, 0, 0), (0, 1, 31, 1), (1, 0, 5, 1)]:
        assert pairs[panel, pair, output, which] == w[32 * panel + output, 2 * pair + which]


@pytest.mark.parametrize(
    ("features", "torch_multiplies", "wanted"),
    [
        ({"avx512bf16": True, "amx-bf16": False}, True, PAIRS),
        ({"avx512bf16": True, "amx-bf16": True}, True, None),  # units for matrices
        ({"avx512f": True}, True, None),
        ({"avx2": True}, False, WIDENED),
    ],
)
def test_each_kind_of_processor_has_its_form(
    features: dict[str, bool],
    torch_multiplies: bool,
    wanted: Form | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import llvmlite.binding

    monkeypatch.setattr(llvmlite.binding, "get_host_cpu_features", lambda: features)
    monkeypatch.setattr(kernel, "torch_multiplies_bfloat16", lambda: torch_multiplies)
    kernel.form_here.cache_clear()
    assert kernel.form_here() is wanted
    kernel.form_here.cache_clear()
