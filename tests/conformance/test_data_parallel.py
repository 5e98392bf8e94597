"""Two processes that add up their gradients take the very step that one process takes.

Burnish trains in one process; this says that nothing in its losses stands in the way of more.
Weights are of a whole optimiser step and are fixed before it is split, so ranks only ever add:
an all-reduced sum, no mean, no counts to exchange, whatever each rank's share of rows and tokens.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conformance.ranks import STEPS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of each step: loss and gradients whole, summed over ranks, and of ranks that weigh alone."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, "-m", "tests.conformance.ranks", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "found.pt")


@pytest.mark.parametrize("name", STEPS)
def test_the_sum_over_ranks_is_the_whole_step(found, name):
    whole, summed, _ = found[name]
    assert whole.dtype == torch.float64 and whole[1:].abs().max() > 1e-3
    torch.testing.assert_close(summed, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_ranks_that_weigh_their_own_rows_and_average_take_another_step(found, name):
    # What data parallelism does by default: a rank of few rows, or of few tokens, then counts for
    # as much as one of many. These ranks have a third and two thirds of the rows.
    whole, _, averaged = found[name]
    assert (averaged - whole)[1:].norm() > 0.01 * whole[1:].norm()
