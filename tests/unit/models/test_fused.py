"""The gradient of embeddings, which names its rows, beside that of torch, as large as the table."""

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.optim import MasterAdamW, Optim
from burnish.models.fused import embedding

TOKENS = torch.tensor([7, 3, 7, 0, 9, 7, 3])


def made(dtype: torch.dtype, padding_idx: int | None = None) -> tuple[nn.Embedding, Tensor]:
    """A table, and the slope of a loss in each of the rows that are read."""
    generator = torch.Generator().manual_seed(0)
    table = nn.Embedding(12, 5, padding_idx=padding_idx)
    with torch.no_grad():
        table.weight.normal_(generator=generator)
    return table.to(dtype), torch.randn(len(TOKENS), 5, generator=generator).to(dtype)


@pytest.mark.parametrize("padding_idx", [None, 7])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_and_gradients_are_torchs(dtype: torch.dtype, padding_idx: int | None) -> None:
    table, slopes = made(dtype, padding_idx)
    rows = embedding(table, TOKENS)
    assert torch.equal(rows, table(TOKENS))
    (found,) = torch.autograd.grad(rows, table.weight, slopes)
    assert found.is_sparse == (dtype == torch.bfloat16)
    exact, _ = made(torch.float32, padding_idx)
    (wanted,) = torch.autograd.grad(exact(TOKENS), exact.weight, slopes.float())
    # Summed in float32 and rounded once, however often a token is read.
    assert torch.equal(found.to_dense(), wanted.to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_table_that_is_the_head_too_gets_both_gradients(dtype: torch.dtype) -> None:
    table, slopes = made(dtype)
    below = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).to(dtype)
    loss = (embedding(table, TOKENS) * slopes).sum() + nn.functional.linear(
        below, table.weight
    ).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    own, _ = made(torch.float32)
    plain = (own(TOKENS) * slopes.float()).sum() + (below.float() @ own.weight.T).sum()
    plain.backward()
    assert table.weight.grad is not None and own.weight.grad is not None
    assert not table.weight.grad.is_sparse
    rough = {torch.float32: 1e-6, torch.bfloat16: 2.0**-7}[dtype]
    torch.testing.assert_close(table.weight.grad.float(), own.weight.grad, atol=rough, rtol=rough)


def test_slices_of_sparse_gradients_add_up_in_the_optimiser() -> None:
    table, slopes = made(torch.bfloat16)
    before = table.weight.detach().clone()
    optim = MasterAdamW([("table", table.weight)], Optim(lr=0.5, max_grad_norm=1e9))
    for part in (slice(0, 3), slice(3, 7)):
        (embedding(table, TOKENS[part]) * slopes[part]).sum().backward()
    wanted = torch.zeros(12, 5).index_add_(0, TOKENS, slopes.float()).norm()
    assert optim.step(0.5) == pytest.approx(float(wanted), rel=1e-2)
    moved = (table.weight != before).any(dim=1)
    assert moved.nonzero()[:, 0].tolist() == [0, 3, 7, 9]
