"""The exact KL to the reference as an audit: right, the mean of k1, and no part of training."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.algos.grpo import GRPO
from burnish.algos.kl import kl
from burnish.data.store import write_problems
from burnish.engine.local_learner import LocalLearner, evenly
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Request, Rollout, Sampling
from burnish.engine.shaping import Shaping
from burnish.engine.text_collector import Episode, text_batch
from burnish.engine.text_inputs import TextInputs
from burnish.engine.trainer import Trainer
from burnish.errors import ConfigError
from burnish.metrics import read_metrics
from burnish.models.load import open_causal_lm
from burnish.models.lora import LoRA, add_lora
from burnish.models.support import WHOLE, Support
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.rl import RL
from burnish.stages.sample import Draws
from burnish.types import Conversation, Problem, Verdict
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = ((5, 9, 14), (7,), tuple(range(20, 32)))
TEMPERATURE = 0.9


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def shifted(model: nn.Module) -> nn.Module:
    """The same weights, stretched, so that it says something else."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2)
    return model


def learner(directory: Path, **given: Any) -> LocalLearner:
    """A policy and a frozen reference some way from it."""
    trainer = Trainer(open_causal_lm(directory, "float32"), Optim(lr=1e-3), num_steps=1)
    reference = shifted(open_causal_lm(directory, "float32"))
    return LocalLearner(
        trainer, **{"temperature": TEMPERATURE, "micro_tokens": 500, "reference": reference} | given
    )


def naive(policy: nn.Module, ref: nn.Module, prompt: Any, completion: Any) -> float:
    """The sum over a completion's prefixes, from logits of two plain forwards."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        own, other = (
            (m(ids).logits[0, len(prompt) - 1 : -1].double() / TEMPERATURE).log_softmax(-1)
            for m in (policy, ref)
        )
    return float((own.exp() * (own - other)).sum())


INPUTS = TextInputs(
    (PROMPTS[0], PROMPTS[1], PROMPTS[0], PROMPTS[2], PROMPTS[1]),
    ((3, 8, 100), (4,), (9, 9, 9, 9, 9), (200, 201), (30, 31, 32, 33)),
    width=5,
)


@pytest.mark.parametrize("micro_tokens", [500, 20, 1])
def test_it_is_that_of_each_completion_by_itself(directory: Path, micro_tokens: int) -> None:
    found = learner(directory, micro_tokens=micro_tokens).exact_kl(INPUTS)
    policy, ref = tiny_llama(tiny_tokenizer()), shifted(tiny_llama(tiny_tokenizer()))
    expected = [
        naive(policy, ref, prompt, completion)
        for prompt, completion in zip(INPUTS.prompts, INPUTS.completions, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 1e-3 and not found.requires_grad


def test_an_adapter_switched_off_is_the_reference(directory: Path) -> None:
    policy = add_lora(open_causal_lm(directory, "float32"), LoRA(rank=2), seed=0)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    trainer = Trainer(policy, Optim(lr=1e-3), num_steps=1)
    own = LocalLearner(
        trainer,
        temperature=TEMPERATURE,
        micro_tokens=500,
        reference=policy,
        reference_mode=policy.disable_adapter,  # type: ignore[arg-type]
    )
    found = own.exact_kl(INPUTS)
    plain = tiny_llama(tiny_tokenizer())
    merged = policy.merge_and_unload()  # type: ignore[operator]
    merged.set_attn_implementation("eager")
    expected = [
        naive(merged, plain, prompt, completion)
        for prompt, completion in zip(INPUTS.prompts, INPUTS.completions, strict=True)
    ]
    assert found.tolist() == pytest.approx(expected, rel=1e-3)
    assert min(expected) > 1e-3


def rollout(
    model: nn.Module, num: int, scored: Any = lambda i: True, support: Support = WHOLE
) -> Rollout:
    """`num` completions of each prompt by the model itself."""
    groups = LocalSampler(model, max_rows=512).sample(
        [Request(prompt=p, key=i, num=num) for i, p in enumerate(PROMPTS)],
        Sampling(
            max_new_tokens=5,
            temperature=TEMPERATURE,
            stop_ids=frozenset(range(0, 384, 6)),
            **asdict(support),
        ),
    )
    rows = [(p, c) for p, group in zip(PROMPTS, groups, strict=True) for c in group]
    episodes = [
        Episode(
            problem=Problem(prompt=Conversation.of("?"), task="test"),
            prompt=prompt,
            completion=completion,
            text="",
            verdict=Verdict(score=0.0),
            gold=Verdict(score=None),
            score=0.0 if scored(i) else None,
        )
        for i, (prompt, completion) in enumerate(rows)
    ]
    tokens = tuple(c.tokens for _, c in rows)
    inputs = TextInputs(tuple(p for p, _ in rows), tokens, max(map(len, tokens)))
    return Rollout(inputs=inputs, batch=text_batch(episodes, num))


@pytest.mark.parametrize("support", [WHOLE, Support(top_k=60, top_p=0.9, min_p=0.05)], ids=str)
def test_k1_averages_to_it_over_completions_of_the_policy_and_spreads_wider(
    directory: Path, support: Support
) -> None:
    own = learner(directory, micro_tokens=4000, support=support)
    made = own.annotate(
        rollout(own.trainer.model, 400, support=support),
        frozenset({"old_logprobs", "ref_logprobs"}),
    )
    batch, inputs = made.batch, made.inputs
    assert isinstance(inputs, TextInputs)
    assert batch.old_logprobs is not None and batch.ref_logprobs is not None
    k1 = kl("k1", policy=batch.old_logprobs, ref=batch.ref_logprobs)
    k1 = torch.where(batch.mask, k1, 0.0).sum(1).double()
    exact = own.exact_kl(inputs).double()
    assert len({len(c) for c in inputs.completions}) == 5  # of every length
    gap = k1 - exact
    error = gap.std() / len(gap) ** 0.5
    assert abs(gap.mean()) < 4 * error
    assert exact.mean() > 8 * error  # that would be seen
    assert exact.std() < (0.5 if support.whole else 1.0) * k1.std()  # kept mass spreads by length


def test_without_training_it_is_minus_the_log_of_what_is_kept(directory: Path) -> None:
    support = Support(top_k=7)
    same = open_causal_lm(directory, "float32")
    found = learner(directory, reference=same, support=support).exact_kl(INPUTS)
    plain = tiny_llama(tiny_tokenizer())
    expected = []
    for prompt, completion in zip(INPUTS.prompts, INPUTS.completions, strict=True):
        with torch.no_grad():
            logits = plain(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        kept = (logits / TEMPERATURE).softmax(-1).topk(7).values.sum(-1)
        expected.append(float(-kept.log().sum()))
    assert found.tolist() == pytest.approx(expected, rel=1e-4)


def test_truncated_draws_are_scored_as_they_were_drawn(directory: Path, tmp_path: Path) -> None:
    draws = Draws(max_new_tokens=8, top_k=20, top_p=0.9, min_p=0.01)
    ctx = trained(rl(draws=draws, epochs=2), tmp_path, directory)
    first = next(iter(read_metrics(ctx.dir / "metrics.jsonl")))
    assert 0 <= first["rl/sampler_gap"] < 1e-4
    assert first["rl/entropy"] <= math.log(20)


def test_rows_are_taken_evenly_and_never_more_than_there_are() -> None:
    rows = torch.tensor([2, 3, 5, 7, 11, 13, 17])
    assert evenly(rows, 3).tolist() == [2, 5, 11]
    assert evenly(rows, 1).tolist() == [2]
    assert evenly(rows, 99).tolist() == rows.tolist()
    assert evenly(rows, 0).tolist() == [] == evenly(rows[:0], 4).tolist()


def test_the_audit_is_of_trained_rows_only(directory: Path) -> None:
    own = learner(directory, kl_audit_rows=4)
    made = own.annotate(rollout(own.trainer.model, 4, scored=lambda i: i % 2 == 1), frozenset())
    assert isinstance(made.inputs, TextInputs)
    usable = torch.tensor([1, 3, 5, 7, 9, 11])
    picked = made.inputs.rows(usable[[0, 1, 3, 4]])
    assert made.metrics["rl/exact_kl"] == pytest.approx(float(own.exact_kl(picked).mean()))
    nothing = own.annotate(rollout(own.trainer.model, 2, scored=lambda i: False), frozenset())
    assert "rl/exact_kl" not in nothing.metrics


def rl(**changed: Any) -> RL:
    given: dict[str, Any] = {
        "model": Ref("a", "model"),
        "problems": Ref("a", "problems"),
        "algorithm": GRPO(),
        "optim": Optim(lr=3e-3),
        "steps": 3,
        "problems_per_step": 2,
        "group_size": 4,
        "draws": Draws(max_new_tokens=8),
        "shaping": Shaping(overlong_buffer=7),
        "precision": "float32",
    }
    return RL(**(given | changed))


def trained(stage: RL, tmp_path: Path, directory: Path) -> Context:
    prompts = [Conversation.of(f"Write about the {w}.") for w in ("sea", "cat", "dog")]
    limits = ", ".join(f'{{"kind": "max_words", "n": {n}}}' for n in range(1, 7))
    meta = f'{{"constraints": [{limits}]}}'
    write_problems(
        tmp_path / "p.jsonl", [Problem(prompt=p, task="everyday", meta=meta) for p in prompts]
    )
    inputs = {"a.model": directory, "a.problems": tmp_path / "p.jsonl"}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=inputs)
    stage.run(ctx)
    return ctx


TIMES = {"train/seconds", "rl/sample_seconds"}


@pytest.mark.parametrize(
    "knobs",
    [{}, {"algorithm": GRPO(kl_coef=0.1)}, {"lora": LoRA(rank=2)}, {"epochs": 2, "minibatches": 2}],
    ids=["no penalty", "a penalty", "adapters", "several updates"],
)
def test_a_run_with_the_audit_ends_with_the_weights_of_one_without(
    knobs: dict[str, Any], directory: Path, tmp_path: Path
) -> None:
    found, spent = [], []
    exact: list[float] = []
    for audited in (0, 3):
        folder = tmp_path / str(audited)
        folder.mkdir()
        ctx = trained(rl(kl_audit_rows=audited, **knobs), folder, directory)
        rows = [
            {k: v for k, v in row.items() if k not in TIMES}
            for row in read_metrics(ctx.dir / "metrics.jsonl")
        ]
        exact = [row.pop("rl/exact_kl") for row in rows if "rl/exact_kl" in row]
        assert len(exact) == (3 if audited else 0)
        assert any(row["train/grad_norm"] > 0 for row in rows)
        found.append(((ctx.output("model") / "model.safetensors").read_bytes(), rows))
        spent.append(ctx.tallies.spent["scored_tokens"])
    assert found[0] == found[1]
    assert exact[0] == pytest.approx(0, abs=1e-5) and exact[-1] > 1e-4
    assert spent[0] < spent[1]


def test_a_number_of_rows_below_zero_is_refused_and_rows_cost() -> None:
    with pytest.raises(ConfigError, match="kl_audit_rows"):
        rl(kl_audit_rows=-1)
    none, some, every = (rl(kl_audit_rows=n).work().scored_tokens for n in (0, 4, 8))
    assert none < some < every == rl(kl_audit_rows=80).work().scored_tokens
