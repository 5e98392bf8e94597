"""A student learns its teacher's distributions, at every seed; without a learning rate it does not.

The teacher is a random Llama of a few thousand weights that was taught to answer; the student is
another, which was not. Both are measured on prompts that no training saw.
"""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers.utils import logging

from burnish import rng
from burnish.algos.distill import Distillation
from burnish.algos.kl import exact_kl
from burnish.data.store import write_conversations, write_problems
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Request
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.models.policy import Forest, Tree, head_weight, predicting
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.distill import Distill
from burnish.stages.sample import Draws
from burnish.stages.sft import SFT
from burnish.types import Conversation, Problem
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [Conversation.of(f"What is {a} + {b}?") for a in range(1, 9) for b in range(1, 9)]
ANSWERS = ("The sea is wide.", "five", "Hello there, how are you?", "I am well.", "total + i")
DRAWS = Draws(max_new_tokens=8)
FRESH = 8
"""Prompts that are kept for the measurement."""


@dataclass(frozen=True)
class School:
    """A student and a teacher of one seed, and what they are asked."""

    seed: int
    student: Path
    teacher: Path
    folder: Path


def context(tmp_path: Path, stage: SFT | Distill, name: str, seed: int, **inputs: Path) -> Context:
    named = {f"a.{key}": path for key, path in inputs.items()}
    folder = tmp_path / name
    return Context.for_test(folder, outputs=stage.outputs, inputs=named, run_seed=seed, name=name)


def taught(tmp_path: Path, seed: int) -> Path:
    """A teacher who gives one of a few answers, at random."""
    stream = rng.stream(seed, "answers")
    chats = [p.then(ANSWERS[int(stream.integers(len(ANSWERS)))]) for p in PROMPTS * 4]
    write_conversations(tmp_path / "chats.jsonl", chats)
    stage = SFT(
        model=Ref("a", "model"),
        data=(Ref("a", "chats"),),
        passes=Passes(batch_rows=16, max_steps=60, epochs=10),
        optim=Optim(lr=1e-2, schedule="linear"),
        precision="float32",
    )
    start = fresh(tmp_path / "untaught", seed + 100)
    ctx = context(tmp_path, stage, "teach", seed, model=start, chats=tmp_path / "chats.jsonl")
    stage.run(ctx)
    return ctx.output("model")


def fresh(path: Path, seed: int) -> Path:
    tokenizer = tiny_tokenizer()
    logging.disable_progress_bar()
    tiny_llama(tokenizer, seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@torch.no_grad()
def distance(student: Path, teacher: Path, seed: int) -> float:
    """Mean KL(student || teacher) a token, on the student's own answers to fresh prompts."""
    own, other = TextModel.open(student, "float32"), TextModel.open(teacher, "float32")
    prompts = [own.prompt(p) for p in PROMPTS[:FRESH]]
    requests = [
        Request(prompt=p, key=rng.key(seed, "fresh", i), num=16) for i, p in enumerate(prompts)
    ]
    drawn = LocalSampler(own.model).sample(requests, DRAWS.sampling(own.stop_ids))
    trees = [
        Tree.prompt(p, [c.tokens for c in group]) for p, group in zip(prompts, drawn, strict=True)
    ]
    forest = Forest.of(trees, torch.device("cpu"))
    logits = [predicting(t.model, forest) @ head_weight(t.model).T for t in (own, other)]
    return float(exact_kl(*logits).mean())


@pytest.fixture(scope="module", params=(0, 1, 2))
def school(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> School:
    seed: int = request.param
    folder = tmp_path_factory.mktemp(f"school-{seed}")
    problems = [Problem(prompt=p, task="everyday") for p in PROMPTS[FRESH:]]
    write_problems(folder / "problems.jsonl", problems)
    return School(seed, fresh(folder / "student", seed), taught(folder, seed), folder)


def distilled(
    school: School, tmp_path: Path, algorithm: Distillation, *, lr: float, steps: int
) -> float:
    """How far the student is from its teacher afterwards."""
    stage = Distill(
        model=Ref("a", "model"),
        teacher=Ref("a", "teacher"),
        problems=Ref("a", "problems"),
        algorithm=algorithm,
        optim=Optim(lr=lr, schedule="linear"),
        steps=steps,
        problems_per_step=8,
        num_samples=4,
        draws=DRAWS,
        precision="float32",
    )
    inputs = {
        "model": school.student,
        "teacher": school.teacher,
        "problems": school.folder / "problems.jsonl",
    }
    ctx = context(tmp_path, stage, "distil", school.seed, **inputs)
    stage.run(ctx)
    return distance(ctx.output("model"), school.teacher, school.seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "algorithm",
    [Distillation(), Distillation(beta=0.5, on_policy=0.5)],
    ids=["reverse KL on its own completions", "Jensen-Shannon, half of them the teacher's"],
)
def test_a_student_comes_ten_times_nearer_to_its_teacher(
    algorithm: Distillation, school: School, tmp_path: Path
) -> None:
    start = distance(school.student, school.teacher, school.seed)
    assert start > 2
    assert distilled(school, tmp_path, algorithm, lr=5e-3, steps=150) < start / 10


@pytest.mark.slow
def test_without_a_learning_rate_it_stays_where_it_was(school: School, tmp_path: Path) -> None:
    start = distance(school.student, school.teacher, school.seed)
    found = distilled(school, tmp_path, Distillation(), lr=1e-12, steps=20)
    assert found == pytest.approx(start, rel=1e-3)
