"""A decoding step's attention against the same in float64."""

import pytest
import torch
from torch import Tensor

from burnish.kernels.decode import decode
from tests.unit.kernels.plain import (
    FORMATS,
    assert_near,
    assert_threads_do_not_matter,
    normal,
    same_bits,
)

CAPACITY, SLOTS = 23, 5
POSITIONS = torch.tensor([0, 22, 7])
SCALE = 0.2
SHAPES = [(16, 1, 1), (16, 2, 3), (64, 3, 4), (80, 1, 3), (80, 2, 1)]


class Step:
    """Three rows at different positions of a store that has room for five."""

    def __init__(
        self, size: int, groups: int, share: int, dtype: torch.dtype, angles: bool = True
    ) -> None:
        self.heads, self.groups, self.share = groups * share, groups, share
        self.qkv = 2 * normal(3, self.heads + 2 * groups, size, dtype=dtype)
        turn = normal(3, size, seed=1, dtype=dtype), normal(3, size, seed=2, dtype=dtype)
        self.angles = turn if angles else None
        self.keys = normal(SLOTS, groups, CAPACITY, size, seed=3, dtype=dtype)
        self.values = normal(SLOTS, groups, CAPACITY, size, seed=4, dtype=dtype)

    def run(self, rows: slice = slice(0, 3)) -> tuple[Tensor, Tensor, Tensor]:
        """Output, and the stores after it; these rows in the first slots."""
        count = rows.stop - rows.start
        slots = slice(rows.start, rows.start + count + 2)
        keys, values = self.keys[slots].clone(), self.values[slots].clone()
        angles = self.angles and (self.angles[0][rows], self.angles[1][rows])
        out = self.qkv.new_empty(count, self.heads, self.qkv.shape[2])
        decode(self.qkv[rows], angles, keys, values, POSITIONS[rows], SCALE, out)
        return out, keys, values

    def plain(self, keys: Tensor) -> Tensor:
        """Over the keys as they were stored: what is stored is rounded, what asks is not."""
        wide = self.qkv.double()
        if self.angles is not None:
            cos, sin = (x.double()[:, None] for x in self.angles)
            low, high = wide.chunk(2, dim=-1)
            wide = wide * cos + torch.cat([-high, low], dim=-1) * sin
        out = torch.empty(3, self.heads, self.qkv.shape[2], dtype=torch.float64)
        for n, position in enumerate(POSITIONS.tolist()):
            for head in range(self.heads):
                g = head // self.share
                key = keys[n, g, : position + 1].double()
                value = self.values[n, g, : position + 1].double()
                value[position] = self.qkv[n, self.heads + self.groups + g].double()
                out[n, head] = (SCALE * key @ wide[n, head]).softmax(-1) @ value
        return out

    def turned_keys(self) -> Tensor:
        wide = self.qkv[:, self.heads : self.heads + self.groups].double()
        if self.angles is None:
            return wide
        cos, sin = (x.double()[:, None] for x in self.angles)
        low, high = wide.chunk(2, dim=-1)
        return wide * cos + torch.cat([-high, low], dim=-1) * sin


@pytest.mark.parametrize("angles", [True, False])
@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_attention_and_what_is_stored(
    shape: tuple[int, int, int], dtype: torch.dtype, angles: bool
) -> None:
    step = Step(*shape, dtype, angles)
    out, keys, values = step.run()
    assert_near(out, step.plain(keys), scale=3)
    rows = torch.arange(3)
    assert_near(keys[rows, :, POSITIONS], step.turned_keys())
    new = step.qkv[:, step.heads + step.groups :]
    assert same_bits(values[rows, :, POSITIONS], new.contiguous())
    keys[rows, :, POSITIONS] = step.keys[rows, :, POSITIONS]
    values[rows, :, POSITIONS] = step.values[rows, :, POSITIONS]
    assert same_bits(keys, step.keys) and same_bits(values, step.values)


@pytest.mark.parametrize("dtype", FORMATS)
def test_bits_depend_neither_on_threads_nor_on_other_rows(dtype: torch.dtype) -> None:
    step = Step(80, 2, 3, dtype)
    assert_threads_do_not_matter(step.run)
    out, keys, _ = step.run()
    for n in range(3):
        alone, own, _ = step.run(slice(n, n + 1))
        assert same_bits(alone, out[n : n + 1]) and same_bits(own[0], keys[n])


def test_heads_that_the_loops_would_cut_short_are_refused() -> None:
    with pytest.raises(AssertionError, match="left out"):
        Step(6, 1, 2, torch.float32).run()


def test_large_scores_neither_overflow_nor_blur() -> None:
    step = Step(16, 1, 1, torch.float32, angles=False)
    step.qkv *= 300
    step.keys *= 300
    out, keys, _ = step.run()
    # Scores of 1e5 are exact to .01 in float32: choose among what is further apart.
    wanted = step.plain(keys)
    assert float((out - wanted).norm() / wanted.norm()) < 0.02


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("bad", [float("nan"), -float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_row_and_in_no_other(
    bad: float, dtype: torch.dtype
) -> None:
    for where in ("query", "key", "value", "stored key", "stored value"):
        if "key" in where and bad == float("inf"):
            continue  # a score of -inf is a token that nobody looks at
        step = Step(16, 2, 3, dtype)
        place = {"query": 1, "key": 6, "value": 8}
        if where in place:
            step.qkv[1, place[where], 5] = bad
        else:
            (step.keys if "key" in where else step.values)[1, 0, 11, 5] = bad
        out, _, _ = step.run()
        hit = out[1, 1] if where == "query" else out[1, :3]
        assert not hit[..., 5].isfinite().any(), where
        assert bool(out[[0, 2]].isfinite().all()) and bool(out[1, 3:].isfinite().all())
    # What lies behind a row's position belongs to nobody.
    step = Step(16, 2, 3, dtype)
    step.keys[2, :, 8:] = step.values[2, :, 8:] = bad
    assert bool(step.run()[0].isfinite().all())
