"""A reward model where a verifier is wanted."""

from pathlib import Path

import pytest

from burnish.engine.readings import Ending
from burnish.engine.reward_model import Scale, open_reward_model
from burnish.engine.reward_verifier import RewardModelVerifier
from burnish.engine.scorers import RewardModelScorer
from burnish.engine.text_model import TextModel
from burnish.types import Conversation, Problem, Verdict
from burnish.verifiers.verify import Verifier
from tests.unit.engine.test_reward_model import saved

PROBLEM = Problem(prompt=Conversation.of("What is the answer?"), task="none")


def verdict_of(path: Path, text: str) -> Verdict:
    model = open_reward_model(path, precision="float32", micro_tokens=64)
    verifier: Verifier = RewardModelVerifier(model, TextModel.open(path, "float32"))
    return verifier(PROBLEM, text)


def test_the_verdict_is_the_normalised_score_that_rl_would_see(tmp_path: Path) -> None:
    saved(tmp_path / "plain", Ending())
    saved(tmp_path / "scaled", Ending(), scale=Scale(mean=2.0, std=4.0))
    raw = verdict_of(tmp_path / "plain", "The sea.").score
    assert raw is not None
    found = verdict_of(tmp_path / "scaled", "The sea.")
    assert found.score == pytest.approx((raw - 2) / 4, rel=1e-5)
    assert found.judge == "reward_model" and found.passed is None
    text = TextModel.open(tmp_path / "scaled", "float32")
    stem, ids = text.answer(PROBLEM.prompt, "The sea.")
    model = open_reward_model(tmp_path / "scaled", precision="float32", micro_tokens=64)
    assert RewardModelScorer(model).score([PROBLEM], ["The sea."], [stem], [ids]) == [found]


def test_an_empty_completion_has_no_score(tmp_path: Path) -> None:
    saved(tmp_path / "m", Ending())
    assert verdict_of(tmp_path / "m", " ").score is None
