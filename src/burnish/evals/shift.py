"""Kinds of tokens by their rank under another model (URIAL, Lin et al. 2023, 2312.01552)."""

KINDS = ("unshifted", "marginal", "shifted")
MARGINAL = 3
"""The last rank that is not yet shifted."""


def kind_of(rank: int) -> str:
    """unshifted at rank 1, marginal at 2 and 3, shifted beyond."""
    return "unshifted" if rank == 1 else "marginal" if rank <= MARGINAL else "shifted"
