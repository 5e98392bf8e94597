"""What tests of stages have in common: a tiny model, a reward model of it, and a stage's run."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from burnish.data.store import Sampled
from burnish.engine.reward_model import RewardConfig, Scale, save_config
from burnish.engine.text_model import TextModel
from burnish.pipeline.stage import Context
from burnish.types import Finish, Problem
from tests.tiny import tiny_llama, tiny_tokenizer


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """A tiny model with its tokenizer."""
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_reward(folder: Path, model: Path, *, scale: Scale | None = None, seed: int = 3) -> Path:
    """A reward model with a random head over `model`."""
    head = nn.Linear(32, 1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(torch.randn(1, 32, generator=generator))
        head.bias.fill_(0.25)
    TextModel.open(model, "float32").save(folder, head=head)
    save_config(folder, RewardConfig(scale=Scale(mean=0.5, std=2.0) if scale is None else scale))
    return folder


def run(stage: Any, folder: Path, **inputs: Path) -> Context:
    """Run a stage whose references are all to the outputs of `a`."""
    named = {f"a.{name}": path for name, path in inputs.items()}
    ctx = Context.for_test(folder, outputs=stage.outputs, inputs=named)
    stage.run(ctx)
    return ctx


def answered(problem: Problem, index: int, text: str, model: Path) -> Sampled:
    """A completion with the ids that the model's tokenizer gives it."""
    text_model = TextModel.open(model, "float32")
    stem, ids = text_model.answer(problem.prompt, text or "x")
    return Sampled(
        problem=problem,
        index=index,
        text=text,
        prompt_ids=stem,
        tokens=ids if text else ids[-1:],
        logprob=-1.0,
        finish=Finish.STOP,
    )
