"""A model that trains otherwise than it scores is refused; rounding is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.algos.grpo import GRPO
from burnish.engine import local_learner
from burnish.engine.agreement import Agreement
from burnish.errors import TrainingError
from burnish.models.policy import score_trees
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.engine.test_micro_batches import SCORES, Fixed

BF16 = torch.bfloat16


def judged(moved: Tensor, dtype: torch.dtype = BF16, *, truncated: bool = False) -> Agreement:
    agreement = Agreement(dtype, truncated=truncated)
    for part in moved.split(400):
        agreement.note(part - 1, torch.full_like(part, -1))
    return agreement


def test_one_token_that_rounding_takes_far_away_does_not_end_a_run() -> None:
    moved = 0.05 * torch.randn(3000, generator=torch.Generator().manual_seed(0))
    moved[1234] = 0.61  # seen in a run: a ratio of 1.84
    agreement = judged(moved)
    agreement.check()
    assert agreement.largest == pytest.approx(0.84, abs=0.01)


def test_what_moves_most_tokens_does() -> None:
    with pytest.raises(TrainingError, match=r"of 3000 tokens are 0\.3 nats"):
        judged(torch.full((3000,), -0.3)).check()
    with pytest.raises(TrainingError, match="nan nats"):
        judged(torch.full((3,), float("nan"))).check()
    with pytest.raises(TrainingError, match=r"0\.05 nats"):
        judged(torch.full((3,), 0.05), torch.float32).check()
    judged(torch.full((3,), 0.05), torch.float32, truncated=True).check()


def test_a_step_begins_anew_and_one_without_tokens_is_none() -> None:
    agreement = judged(torch.full((3,), 9.0))
    agreement.begin()
    agreement.note(torch.zeros(0), torch.zeros(0))
    agreement.check()
    assert agreement.largest == 0


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_learner_asks_before_its_first_update_only(
    noise: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlike_in_training(*args: Any, **kwargs: Any) -> Any:
        logprobs, *rest = score_trees(*args, **kwargs)
        return logprobs + noise * torch.is_grad_enabled(), *rest

    monkeypatch.setattr(local_learner, "score_trees", unlike_in_training)
    tiny_llama(tiny_tokenizer()).save_pretrained(tmp_path)
    fixed, algorithm = Fixed(tmp_path, 512, head=False), GRPO()
    needs = algorithm.needs() | {"old_logprobs"}
    rollout = fixed.learner.annotate(fixed.rollout(SCORES), needs)
    batch = algorithm.weights(algorithm.advantages(rollout.batch))
    before = {name: w.clone() for name, w in fixed.model.named_parameters()}
    if noise:
        with pytest.raises(TrainingError, match=r"0\.1 nats"):
            fixed.learner.step(rollout.inputs, batch, algorithm.loss)
        for name, weight in fixed.model.named_parameters():
            assert torch.equal(weight, before[name]), "refused, and still updated"
        return
    found = fixed.learner.step(rollout.inputs, batch, algorithm.loss)
    assert 0 <= found["rl/ratio_gap"] < 1e-3
    assert batch.old_logprobs is not None
    far = replace(batch, old_logprobs=batch.old_logprobs - 1)
    fixed.learner.step(rollout.inputs, far, algorithm.loss)
