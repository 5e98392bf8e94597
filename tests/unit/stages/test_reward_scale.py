"""Where a reward model's scores are put, and what weighs how much in its steps."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.data.store import write_comparisons, write_conversations
from burnish.engine.optim import Optim
from burnish.engine.reward_model import open_reward_model
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import Ref
from burnish.stages.preferences import read_groups
from burnish.stages.reward import TrainReward, fresh_head, read_at_the_end
from burnish.types import Comparison, Conversation
from tests.unit.stages.made_stage import run, save_tiny

MODEL, DATA, DEMOS = Ref("a", "model"), Ref("a", "data"), Ref("a", "demos")
WORDS = ("sea", "cat", "dog", "sum", "mat", "day")
PROMPTS = [Conversation.of(f"Write about the {word}.") for word in WORDS]
ANSWERS = ("The sea is wide.", "Hello there.", "cat cat", "dog")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Prompts with 1 and with 6 pairs by turns, and demonstrations."""
    folder = tmp_path_factory.mktemp("made")
    pairs = [
        Comparison(prompt=p, a=a, b=b, winner="a", annotator="test")
        for n, p in enumerate(PROMPTS)
        for i, a in enumerate(ANSWERS)
        for b in ANSWERS[i + 1 :]
        if n % 2 or (a, b) == ANSWERS[:2]
    ]
    write_comparisons(folder / "pairs.jsonl", pairs)
    demos = [p.then(f"The {word} is blue.") for p, word in zip(PROMPTS, WORDS, strict=True)]
    write_conversations(folder / "demos.jsonl", demos)
    return {
        "model": save_tiny(folder / "model"),
        "data": folder / "pairs.jsonl",
        "demos": folder / "demos.jsonl",
    }


def train(**changed: Any) -> TrainReward:
    given: dict[str, Any] = {
        "model": MODEL,
        "comparisons": DATA,
        "passes": Passes(batch_rows=4, max_steps=2),
        "optim": Optim(lr=1e-3),
        "heldout": 0.4,
        "precision": "float32",
    }
    return TrainReward(**(given | changed))


@pytest.mark.parametrize("unit", [True, False])
def test_demonstrations_score_nought_on_average(
    made: dict[str, Path], tmp_path: Path, unit: bool
) -> None:
    ctx = run(train(reference=DEMOS, unit_deviation=unit), tmp_path, **made)
    out = ctx.output("reward_model")
    text = TextModel.open(made["model"], "float32")
    judge = open_reward_model(out, precision="float32", micro_tokens=512)
    demos = [text.answer(p, f"The {word} is blue.") for p, word in zip(PROMPTS, WORDS, strict=True)]
    scores = torch.tensor(judge.scores([stem for stem, _ in demos], [ids for _, ids in demos]))
    assert float(scores.mean()) == pytest.approx(0.0, abs=1e-5)
    assert (float(scores.std()) == pytest.approx(1.0, abs=1e-4)) == unit
    scale = json.loads((out / "reward.json").read_text())["scale"]
    assert (scale["std"] == 1.0) == (not unit)


def test_pairs_weigh_the_same_or_prompts_do(made: dict[str, Path], tmp_path: Path) -> None:
    ctx = run(train(), tmp_path, **made)
    text = TextModel.open(made["model"], "float32")
    groups = read_at_the_end(read_groups(ctx, text, made["data"], 1024))
    assert sorted(len(g.pairs) for g in groups) == [1, 1, 1, 6, 6, 6]
    head = fresh_head(text.model, 0)
    found = {}
    for mean_over in ("pairs", "prompts"):
        for micro_tokens in (4096, 90):
            stage = train(mean_over=mean_over, center_coef=0.0, micro_tokens=micro_tokens)
            parts = list(stage._losses(text.model, head, groups))
            assert (len(parts) > 1) == (micro_tokens == 90)
            found[mean_over, micro_tokens] = sum(float(p.total.detach()) for p in parts)
    alone = [
        sum(float(p.total.detach()) for p in train(center_coef=0.0)._losses(text.model, head, [g]))
        for g in groups
    ]
    by_prompt = sum(alone) / 6
    by_pair = sum(a * len(g.pairs) for a, g in zip(alone, groups, strict=True)) / 21
    assert math.isclose(by_prompt, by_pair, rel_tol=1e-3) is False
    for micro_tokens in (4096, 90):
        assert found["prompts", micro_tokens] == pytest.approx(by_prompt, rel=1e-5)
        assert found["pairs", micro_tokens] == pytest.approx(by_pair, rel=1e-5)
