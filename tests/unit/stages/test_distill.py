"""Distillation as a stage: who writes, what is compared, what is refused and written down."""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.algos.distill import Distillation
from burnish.data.store import Sampled, write_completions, write_conversations, write_problems
from burnish.engine.optim import Optim
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, ModelError, TrainingError
from burnish.metrics import read_metrics
from burnish.models.load import open_causal_lm
from burnish.models.policy import Tree
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.distill import Distill
from burnish.stages.sample import Draws
from burnish.types import Conversation, Finish, Problem
from tests.tiny import tiny_llama, tiny_tokenizer

WORDS = ("sea", "cat", "dog", "sum", "mat", "answer", "loop", "comment", "day", "blue")
PROMPTS = [Conversation.of(f"Write about the {word}.") for word in WORDS]
DATA = Ref("a", "data")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A student, a wider teacher, problems, and answers to learn from."""
    folder = tmp_path_factory.mktemp("shared")
    tokenizer = tiny_tokenizer()
    for name, seed, hidden in (("model", 0, 32), ("teacher", 1, 48)):
        tiny_llama(tokenizer, seed, hidden).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    write_problems(folder / "problems.jsonl", [Problem(prompt=p, task="everyday") for p in PROMPTS])
    chats = [p.then(f"The {w} is wide.") for p, w in zip(PROMPTS, WORDS, strict=True)]
    write_conversations(folder / "chats.jsonl", chats)
    return {
        "model": folder / "model",
        "teacher": folder / "teacher",
        "problems": folder / "problems.jsonl",
        "data": folder / "chats.jsonl",
    }


def distill(**changed: Any) -> Distill:
    given: dict[str, Any] = {
        "model": Ref("a", "model"),
        "teacher": Ref("a", "teacher"),
        "problems": Ref("a", "problems"),
        "optim": Optim(lr=3e-3),
        "steps": 2,
        "problems_per_step": 3,
        "num_samples": 2,
        "draws": Draws(max_new_tokens=6),
        "precision": "float32",
    }
    return Distill(**(given | changed))


def run(stage: Distill, tmp_path: Path, shared: dict[str, Path], **inputs: Path) -> Context:
    named = {f"a.{name}": path for name, path in (shared | inputs).items()}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=named)
    stage.run(ctx)
    return ctx


def rows_of(ctx: Context) -> list[dict[str, float]]:
    return list(read_metrics(ctx.dir / "metrics.jsonl"))


def samples(ctx: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ctx.dir / "samples.jsonl").read_text().splitlines()]


def weights(path: Path) -> bytes:
    return (path / "model.safetensors").read_bytes()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_student_that_is_its_teacher_is_at_no_distance(
    beta: float, shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = distill(algorithm=Distillation(beta=beta), steps=1)
    ctx = run(stage, tmp_path, shared, teacher=shared["model"])
    (row,) = rows_of(ctx)
    assert abs(row["distill/divergence"]) < 1e-6 and abs(row["distill/reverse_kl"]) < 1e-6
    assert row["train/grad_norm"] < 1e-4


def test_the_first_steps_numbers_are_those_of_plain_forwards(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = distill(
        algorithm=Distillation(beta=0.3, temperature=0.8), steps=1, micro_tokens=90, num_samples=3
    )
    ctx = run(stage, tmp_path, shared)
    (row,) = rows_of(ctx)
    tokenizer = tiny_tokenizer()
    student, teacher = tiny_llama(tokenizer, 0, 32), tiny_llama(tokenizer, 1, 48)
    text = TextModel.open(shared["model"], "float32")
    first = [r["text"] for r in samples(ctx) if r.get("kind") == "first_batch"]
    assert len(first) == 8 and row["train/trained_tokens"] <= 9 * 6
    texts, tokens = _sampled_again(stage, ctx, text)
    divergence, reverse, entropy = [], [], []
    for prompt, completion in texts:
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            s, t = (
                (m(ids).logits[0, len(prompt) - 1 : -1] / 0.8).log_softmax(-1)
                for m in (student, teacher)
            )
        m = (0.3 * t.exp() + 0.7 * s.exp()).log()
        divergence.append(0.3 * (t.exp() * (t - m)).sum(-1) + 0.7 * (s.exp() * (s - m)).sum(-1))
        reverse.append((s.exp() * (s - t)).sum(-1))
        entropy.append(-(s.exp() * s).sum(-1))
    assert row["train/trained_tokens"] == tokens == row["distill/sampled_tokens"]
    assert row["distill/length"] == pytest.approx(tokens / 9)
    expected = float(torch.cat(divergence).mean())
    assert row["distill/divergence"] == pytest.approx(expected, rel=1e-4)
    assert row["train/loss"] == pytest.approx(expected, rel=1e-4)
    assert row["distill/reverse_kl"] == pytest.approx(float(torch.cat(reverse).mean()), rel=1e-4)
    assert row["distill/entropy"] == pytest.approx(float(torch.cat(entropy).mean()), rel=1e-4)


def _sampled_again(
    stage: Distill, ctx: Context, text: TextModel
) -> tuple[list[tuple[tuple[int, ...], tuple[int, ...]]], int]:
    """The first step's prompts and completions: what is drawn follows from the seed alone."""
    source = stage._source(ctx, text, text)
    trees = source.texts(0).trees
    texts = [(tree.stem, branch) for tree in trees for branch in tree.branches]
    return texts, sum(len(branch) for _, branch in texts)


def gradient(
    shared: dict[str, Path], trees: Sequence[Tree], micro_tokens: int, beta: float
) -> list[Tensor]:
    student = open_causal_lm(shared["model"], "float32")
    teacher = open_causal_lm(shared["teacher"], "float32")
    stage = distill(algorithm=Distillation(beta=beta), micro_tokens=micro_tokens)
    for part in stage._losses(student, teacher, trees):
        part.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None for p in teacher.parameters())
    return [p.grad for p in student.parameters() if p.grad is not None]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_gradients_do_not_depend_on_slices_order_or_sharing_of_prompts(
    beta: float, shared: dict[str, Path]
) -> None:
    trees = [
        Tree.document(range(10, 30), [i > 2 for i in range(20)]),
        Tree.prompt((5, 6, 7), [(8, 9), (10,), (11, 12, 13, 14)]),
        Tree.prompt((40,), [(41, 42, 43)]),
        Tree.document(range(50, 57), [i in (2, 5) for i in range(7)]),
    ]
    alone = [
        Tree(tree.stem, (branch,), (flags,))
        for tree in trees
        for branch, flags in zip(tree.branches, tree.trained, strict=True)
    ]
    whole = gradient(shared, trees, 10_000, beta)
    scale = max(float(g.abs().max()) for g in whole)
    assert scale > 1e-3
    for others, budget in ((trees[::-1], 25), (alone, 1), (alone[2:] + alone[:2], 12)):
        for one, other in zip(whole, gradient(shared, others, budget, beta), strict=True):
            assert float((one - other).abs().max()) <= 2e-5 * scale


def test_the_share_decides_who_writes_and_data_stands_in_for_the_teacher(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    steps = 40
    common: dict[str, Any] = {"steps": steps, "problems_per_step": 1, "num_samples": 1}
    half = Distillation(on_policy=0.5)
    ctx = run(distill(algorithm=half, **common), tmp_path / "half", shared)
    share = sum(r["distill/on_policy"] for r in rows_of(ctx)) / steps
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / steps)
    written = {r["step"]: r["model"] for r in samples(ctx) if "model" in r}
    assert [written[s] == "student" for s in range(steps)] == [
        r["distill/on_policy"] == 1 for r in rows_of(ctx)
    ]
    assert set(written.values()) == {"student", "teacher"}
    given = run(distill(algorithm=half, data=(DATA,), **common), tmp_path / "data", shared)
    for before, after in zip(rows_of(ctx), rows_of(given), strict=True):
        assert before["distill/on_policy"] == after["distill/on_policy"]
        assert after["distill/on_policy"] == (after["distill/sampled_tokens"] > 0)
    assert {r["model"] for r in samples(given) if "model" in r} == {"student"}


def test_a_problem_is_answered_anew_whenever_it_is_asked(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    write_problems(tmp_path / "one.jsonl", [Problem(prompt=PROMPTS[0], task="everyday")])
    stage = distill(problems_per_step=2, num_samples=1, steps=3, optim=Optim(lr=1e-12))
    ctx = run(stage, tmp_path, shared, problems=tmp_path / "one.jsonl")
    written = [r["completion"] for r in samples(ctx) if "completion" in r]
    assert len(written) == len(set(written)) == 6


def test_every_problem_has_its_turn(shared: dict[str, Path], tmp_path: Path) -> None:
    stage = distill(problems_per_step=2, num_samples=1, steps=5)
    ctx = run(stage, tmp_path, shared)
    asked = [r["prompt"] for r in samples(ctx) if "prompt" in r]
    assert sorted(asked) == sorted(p.last_user for p in PROMPTS)


def test_who_writes_matters(shared: dict[str, Path], tmp_path: Path) -> None:
    first = {}
    for share in (0.0, 1.0):
        stage = distill(algorithm=Distillation(on_policy=share), steps=1)
        ctx = run(stage, tmp_path / str(share), shared)
        first[share] = [r["completion"] for r in samples(ctx) if "completion" in r]
    assert first[0.0] != first[1.0]


def test_given_data_is_trained_on_where_the_assistant_speaks(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = distill(
        algorithm=Distillation(beta=0.0, on_policy=0.0), data=(DATA,), steps=5, num_samples=1
    )
    ctx = run(stage, tmp_path, shared)
    shown = samples(ctx)
    assert len(shown) == 3 and {r["kind"] for r in shown} == {"first_batch"}
    for row in shown:
        trained = row["text"].partition("⟦")[2].partition("⟧")[0]
        assert trained.startswith("The ") and trained.endswith(" is wide.<|im_end|>")
    rows = rows_of(ctx)
    assert [r["distill/sampled_tokens"] for r in rows] == [0.0] * 5
    assert ctx.tallies.spent["sampled_tokens"] == 0
    assert ctx.tallies.counts["conversations over 512 tokens dropped"] == {"n": 0, "of": 10}
    assert rows[-1]["distill/divergence"] < rows[0]["distill/divergence"]


def test_a_teachers_completions_are_data_too(shared: dict[str, Path], tmp_path: Path) -> None:
    items = [
        Sampled(
            problem=Problem(prompt=p, task="everyday"),
            index=0,
            text="The sea.",
            prompt_ids=(1,),
            tokens=(2, 3),
            logprob=-1.0,
            finish=Finish.LENGTH if i < 4 else Finish.STOP,
        )
        for i, p in enumerate(PROMPTS)
    ]
    write_completions(tmp_path / "c.jsonl", items)
    stage = distill(algorithm=Distillation(on_policy=0.0), data=(DATA,))
    ctx = run(stage, tmp_path, shared, data=tmp_path / "c.jsonl")
    assert ctx.tallies.counts["completions that were cut left out"] == {"n": 4, "of": 10}


def test_the_teacher_stays_what_it_was_and_the_student_moves(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    before = weights(shared["teacher"]), weights(shared["model"])
    ctx = run(distill(), tmp_path, shared)
    assert (weights(shared["teacher"]), weights(shared["model"])) == before
    assert weights(ctx.output("model")) != before[1]
    rows = rows_of(ctx)
    spent = ctx.tallies.spent
    assert spent["trained_tokens"] == spent["scored_tokens"] == sum(r["train/tokens"] for r in rows)
    assert spent["sampled_tokens"] == sum(r["distill/sampled_tokens"] for r in rows)
    cut = round(sum(r["distill/truncated"] * 6 for r in rows))
    assert ctx.tallies.counts == {"completions cut at 6 tokens": {"n": cut, "of": 12}}


def test_adapters_alone_can_learn(shared: dict[str, Path], tmp_path: Path) -> None:
    from burnish.models.lora import LoRA

    ctx = run(distill(lora=LoRA(rank=4), steps=12), tmp_path, shared)
    rows = rows_of(ctx)
    assert rows[-1]["distill/divergence"] < 0.8 * rows[0]["distill/divergence"]
    student = open_causal_lm(ctx.output("model"), "float32")
    start = open_causal_lm(shared["model"], "float32")
    assert torch.equal(student.lm_head.weight, start.lm_head.weight)  # type: ignore[union-attr,arg-type]


def test_models_of_other_vocabularies_are_refused(shared: dict[str, Path], tmp_path: Path) -> None:
    smaller = tiny_tokenizer(vocab_size=320)
    tiny_llama(smaller).save_pretrained(tmp_path / "smaller")
    smaller.save_pretrained(tmp_path / "smaller")
    with pytest.raises(ModelError, match=r"model and .*smaller: their tokenizers differ in"):
        run(distill(), tmp_path / "one", shared, teacher=tmp_path / "smaller")
    renamed = tiny_tokenizer(specials=("<|im_start|>", "<|endoftext|>", "<|im_end|>"))
    tiny_llama(renamed).save_pretrained(tmp_path / "renamed")
    renamed.save_pretrained(tmp_path / "renamed")
    with pytest.raises(ModelError, match=r"'<\|endoftext\|>' has id 0 and 1"):
        run(distill(), tmp_path / "two", shared, teacher=tmp_path / "renamed")
    # The same tokens under a wider head: ids past the tokenizer's end mean nothing to the other.
    tokenizer = tiny_tokenizer()
    padded = tiny_llama(tokenizer)
    padded.resize_token_embeddings(448, mean_resizing=False)
    padded.save_pretrained(tmp_path / "padded")
    tokenizer.save_pretrained(tmp_path / "padded")
    with pytest.raises(ModelError, match="heads have 384 and 448 tokens"):
        run(distill(), tmp_path / "three", shared, teacher=tmp_path / "padded")


def test_another_chat_template_is_remarked_on(shared: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = str(tokenizer.chat_template).replace("tiny", "stern")
    tiny_llama(tokenizer, 1).save_pretrained(tmp_path / "other")
    tokenizer.save_pretrained(tmp_path / "other")
    ctx = run(distill(steps=1), tmp_path, shared, teacher=tmp_path / "other")
    (note,) = ctx.tallies.notes.values()
    assert "another chat template" in note
    assert not run(distill(steps=1), tmp_path / "same", shared).tallies.notes


def test_texts_beyond_a_models_context_and_no_problems_end_in_one_line(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"max_new_tokens=500 take \d+ tokens.* context is 512"):
        run(distill(draws=Draws(max_new_tokens=500)), tmp_path, shared)
    write_problems(tmp_path / "none.jsonl", [])
    with pytest.raises(TrainingError, match="no problems"):
        run(distill(), tmp_path, shared, problems=tmp_path / "none.jsonl")


@pytest.mark.parametrize("knob", ["steps", "problems_per_step", "num_samples", "max_rows"])
def test_knobs_that_cannot_work_are_refused(knob: str) -> None:
    with pytest.raises(ConfigError, match=knob):
        distill(**{knob: 0})


def test_data_that_would_never_be_read_is_refused() -> None:
    with pytest.raises(ConfigError, match="on_policy must be below 1"):
        distill(data=(DATA,))


def test_the_estimate_of_work_follows_the_steps_and_who_writes() -> None:
    stage = distill(steps=10)
    assert stage.scaled(0.5) == replace(stage, steps=5) and stage.scaled(0.01).steps == 1
    work = stage.work()
    assert work.sampled_tokens == 2 * stage.scaled(0.5).work().sampled_tokens > 0
    given = distill(steps=10, data=(DATA,), algorithm=Distillation(on_policy=0.25)).work()
    assert given.sampled_tokens == work.sampled_tokens / 4
    assert given.trained_tokens == work.trained_tokens
