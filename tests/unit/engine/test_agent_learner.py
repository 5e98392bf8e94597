"""A learner under trajectories with gaps: what it scores, trains on, and leaves alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss, PolicyOutputs, RolloutBatch
from burnish.algos.dapo import DAPO
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from burnish.engine.agent_collector import AgentCollector
from burnish.engine.episodes import Limits
from burnish.engine.improve import Plan, improve
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Rollout, Sampling
from burnish.engine.scorers import VerifierScorer
from burnish.engine.text_collector import TextCollector
from burnish.engine.text_inputs import TextInputs
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import Trainer
from burnish.envs.protocol import Env
from burnish.envs.single_turn import SingleTurn
from burnish.models.load import open_causal_lm
from burnish.types import Conversation, Problem
from tests.tiny import tiny_llama, tiny_tokenizer
from tests.unit.engine.test_episodes import Echo

TEMPERATURE = 0.9
WORDS = ("sea", "cat", "dog")
PROBLEMS = [
    Problem(prompt=Conversation.of(f"Write about the {w}."), task="everyday") for w in WORDS
]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def sampling(text: TextModel, num: int = 8) -> Sampling:
    # A random model hardly ever ends a turn: more tokens do it here.
    stops = text.stop_ids | set(range(20, 50))
    return Sampling(max_new_tokens=num, temperature=TEMPERATURE, stop_ids=frozenset(stops))


def collector_of(text: TextModel, env: Env, **given: object) -> AgentCollector:
    settings = {"problems": PROBLEMS, "problems_per_step": 3, "group_size": 4, "seed": 5} | given
    return AgentCollector(
        env=env,
        chat=text,
        sampler=LocalSampler(text.model),
        sampling=sampling(text),
        limits=Limits(max_turns=3),
        context=500,
        **settings,  # type: ignore[arg-type]
    )


def learner_of(text: TextModel, *, micro_tokens: int = 400, head: nn.Linear | None = None):
    trainer = Trainer(text.model, Optim(lr=1e-2), num_steps=9, head=head)
    reference = open_causal_lm(text.path, "float32")
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.mul_(1.2)
    return LocalLearner(
        trainer, temperature=TEMPERATURE, micro_tokens=micro_tokens, reference=reference
    )


@pytest.fixture
def text(directory: Path) -> TextModel:
    return TextModel.open(directory, "float32")


def played(text: TextModel) -> tuple[AgentCollector, Rollout]:
    collector = collector_of(text, Echo(turns=3))
    rollout = collector.collect(0)
    lengths = {len(e.trajectory.turns) for e in collector.episodes}
    assert lengths >= {2, 3}, "the fixture should have gaps, and rows of several lengths"
    return collector, rollout


def test_the_learner_scores_what_was_sampled_as_it_was_sampled(text: TextModel) -> None:
    _, rollout = played(text)
    for micro_tokens in (200, 4000):
        learner = learner_of(text, micro_tokens=micro_tokens)
        batch = learner.annotate(rollout, frozenset({"old_logprobs", "ref_logprobs"})).batch
        assert batch.old_logprobs is not None
        gap = (batch.old_logprobs - batch.sampler_logprobs)[batch.mask].abs().max()
        assert float(gap) < 1e-4


def test_each_sampled_token_is_scored_after_all_that_stands_before_it(text: TextModel) -> None:
    """Against a plain forward pass of one row at a time, environment's tokens included."""
    collector, rollout = played(text)
    learner = learner_of(text)
    batch = learner.annotate(rollout, frozenset({"old_logprobs"})).batch
    for row, episode in enumerate(collector.episodes):
        trajectory = episode.trajectory
        whole = torch.tensor([trajectory.prompt + trajectory.tokens])
        with torch.no_grad():
            logits = plain_model(text)(input_ids=whole).logits[0].float() / TEMPERATURE
        logprobs = logits.log_softmax(-1)
        start = len(trajectory.prompt)
        for t, (token, flag) in enumerate(zip(trajectory.tokens, trajectory.sampled, strict=True)):
            assert bool(batch.mask[row, t]) == flag
            if flag:
                expected = float(logprobs[start + t - 1, token])
                assert float(batch.old_logprobs[row, t]) == pytest.approx(expected, abs=1e-4)  # type: ignore[index]


def plain_model(text: TextModel) -> nn.Module:
    return tiny_llama(text.tokenizer)


class Watched:
    """An algorithm's loss, with the gradient that each cell gets kept."""

    def __init__(self) -> None:
        self.seen: list[tuple[RolloutBatch, Tensor]] = []

    def loss(self, part: RolloutBatch, new: PolicyOutputs) -> Loss:
        new.logprobs.retain_grad()
        self.seen.append((part, new.logprobs))
        weights = torch.where(part.mask, 1.0, 0.0)
        return Loss((weights * torch.nan_to_num(new.logprobs)).sum(), {})


def test_masked_tokens_never_reach_the_model_head_or_its_gradient(text: TextModel) -> None:
    """What the environment said changes what follows, but is itself no target: swapping the loss's
    view of it for another id changes no gradient, exactly."""
    _, rollout = played(text)
    inputs, batch = rollout.inputs, rollout.batch
    assert isinstance(inputs, TextInputs)

    def gradient(loss_batch: RolloutBatch) -> dict[str, Tensor]:
        learner = learner_of(TextModel.open(text.path, "float32"))
        model = learner.trainer.model
        watched = Watched()
        for part in learner._slices(inputs, loss_batch, watched.loss):
            part.total.backward()
        for part, logprobs in watched.seen:
            assert logprobs.grad is not None
            assert bool((logprobs.grad[~part.mask] == 0).all())
        return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    plain = gradient(batch)
    wild = replace(
        batch, sampler_logprobs=torch.where(batch.mask, batch.sampler_logprobs, float("nan"))
    )
    again = gradient(wild)
    assert plain and all(torch.equal(plain[n], again[n]) for n in plain)
    # The summed log-probability of sampled tokens alone, by autograd on a plain model.
    model = plain_model(text)
    model.model.embed_tokens.padding_idx = None  # type: ignore[union-attr]  # it ends turns here
    total = torch.zeros(())
    rows = zip(inputs.prompts, inputs.completions, inputs.sampled or (), strict=True)
    for prompt, tokens, flags in rows:
        logits = model(input_ids=torch.tensor([prompt + tokens])).logits[0] / TEMPERATURE
        targets = torch.tensor(tokens)
        predicted = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        taken = predicted.gather(1, targets[:, None])[:, 0]
        total = total + taken[torch.tensor(flags)].sum()
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(plain[name], parameter.grad, atol=2e-3, rtol=1e-3)


ALGORITHMS = [
    GRPO(kl_coef=0.02),
    GRPO(kl_coef=0.02, kl="reward_k1"),
    RLOO(kl_coef=0.02),
    REINFORCE(),
    ReinforcePP(kl_coef=0.02),
    DrGRPO(budget=36),
    DAPO(),
    GSPO(),
    PPO(kl_coef=0.02, entropy_coef=0.01),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: type(a).__name__)
def test_gaps_may_hold_anything(text: TextModel, algorithm) -> None:
    """NaN in every masked cell changes no advantage, weight, loss or gradient."""
    _, rollout = played(text)
    learner = learner_of(text, head=zero_head(text))
    needs = algorithm.needs() | {"old_logprobs"}
    batch = learner.annotate(rollout, needs).batch
    filled = replace(
        batch,
        **{
            name: torch.where(batch.mask, value, float("nan"))
            for name in ("sampler_logprobs", "old_logprobs", "ref_logprobs", "values")
            if (value := vars_of(batch)[name]) is not None
        },
    )
    plain, wild = (algorithm.weights(algorithm.advantages(b)) for b in (batch, filled))
    assert torch.equal(plain.advantages, wild.advantages)
    assert torch.equal(plain.weights, wild.weights)
    assert (plain.weights[~plain.mask] == 0).all() or isinstance(algorithm, PPO)
    outputs = [
        PolicyOutputs(
            logprobs=torch.where(b.mask, batch.old_logprobs + 0.1, hole).requires_grad_(),
            entropy=torch.where(b.mask, 1.0, hole),
            values=torch.where(b.mask, 0.5, hole),
        )
        for b, hole in ((plain, 0.0), (wild, float("nan")))
    ]
    losses = [algorithm.loss(b, new) for b, new in zip((plain, wild), outputs, strict=True)]
    assert losses[0].total.isfinite() and torch.equal(losses[0].total, losses[1].total)
    gradients = [
        torch.autograd.grad(loss.total, new.logprobs)[0]
        for loss, new in zip(losses, outputs, strict=True)
    ]
    assert torch.equal(*gradients) and (gradients[0][~plain.mask] == 0).all()


def vars_of(batch: RolloutBatch) -> dict[str, Tensor | None]:
    names = ("sampler_logprobs", "old_logprobs", "ref_logprobs", "values")
    return {name: getattr(batch, name) for name in names}


def zero_head(text: TextModel) -> nn.Linear:
    return nn.Linear(int(text.model.config.hidden_size), 1)  # type: ignore[union-attr,arg-type]


def test_a_gap_is_not_there_for_sequence_ratios_and_advantages(text: TextModel) -> None:
    """Closing the gaps (the same decisions, side by side) gives the same numbers."""
    _, rollout = played(text)
    learner = learner_of(text, head=zero_head(text))
    full = learner.annotate(rollout, frozenset({"old_logprobs", "ref_logprobs", "values"})).batch
    places = [row.nonzero()[:, 0] for row in full.mask]
    width = max(len(p) for p in places)

    def closed(values: Tensor) -> Tensor:
        out = values.new_zeros(len(places), width)
        for row, place in enumerate(places):
            out[row, : len(place)] = values[row, place]
        return out

    names = (
        "mask", "rewards", "terminated", "truncated", "sampler_logprobs", "old_logprobs",
        "ref_logprobs", "values", "next_values",
    )  # fmt: skip
    tight = replace(full, **{name: closed(getattr(full, name)) for name in names})
    for algorithm in ALGORITHMS:
        one, two = (algorithm.weights(algorithm.advantages(b)) for b in (full, tight))
        torch.testing.assert_close(closed(one.advantages), two.advantages)
        torch.testing.assert_close(closed(one.weights), two.weights)
        outputs = [
            PolicyOutputs(
                logprobs=b.old_logprobs + 0.05,
                entropy=torch.ones_like(b.old_logprobs),
                values=torch.zeros_like(b.old_logprobs),
            )
            for b in (one, two)
        ]
        a, b = (algorithm.loss(x, new) for x, new in zip((one, two), outputs, strict=True))
        torch.testing.assert_close(a.total, b.total)


@pytest.mark.parametrize("minibatches", [1, 2])
def test_before_the_first_update_every_ratio_is_one(text: TextModel, minibatches: int) -> None:
    gaps: list[float] = []
    improve(
        collector_of(text, Echo(turns=3)),
        learner_of(text, head=zero_head(text)),
        PPO(kl_coef=0.05),
        Plan(steps=2, minibatches=minibatches),
        seed=1,
        observe=lambda step, rollout, taken, following: gaps.append(taken[0]["rl/ratio_gap"]),
    )
    assert len(gaps) == 2 and max(gaps) < 1e-4


def test_the_audit_counts_sampled_tokens_only(text: TextModel) -> None:
    _, rollout = played(text)
    learner = learner_of(text)
    inputs = rollout.inputs
    assert isinstance(inputs, TextInputs)
    whole = learner.exact_kl(inputs)
    by_row = [learner.exact_kl(inputs.rows(torch.tensor([i]))) for i in range(len(whole))]
    torch.testing.assert_close(whole, torch.cat(by_row))
    everything = learner.exact_kl(replace(inputs, sampled=None))
    gaps = torch.tensor([not all(flags) for flags in inputs.sampled or ()])
    assert bool((everything[gaps] > whole[gaps] + 1e-3).all()) and bool(gaps.any())
    torch.testing.assert_close(everything[~gaps], whole[~gaps])


def test_one_turn_is_to_the_bit_what_rl_without_an_environment_does(directory: Path) -> None:
    def text_collector(text: TextModel) -> TextCollector:
        return TextCollector(
            sampler=LocalSampler(text.model),
            problems=PROBLEMS,
            prompt_ids=[text.prompt(p.prompt) for p in PROBLEMS],
            decode=text.decode,
            scorer=VerifierScorer(),
            gold=VerifierScorer(),
            sampling=sampling(text),
            problems_per_step=3,
            group_size=4,
            seed=5,
        )

    ended: list[dict[str, Tensor]] = []
    for make in (text_collector, lambda text: collector_of(text, SingleTurn())):
        text = TextModel.open(directory, "float32")
        learner = learner_of(text)
        improve(
            make(text),
            learner,
            GRPO(kl_coef=0.02),
            Plan(steps=2),
            seed=1,
            observe=lambda *_: None,
        )
        ended.append({n: p.detach().clone() for n, p in text.model.named_parameters()})
    start = dict(TextModel.open(directory, "float32").model.named_parameters())
    assert all(torch.equal(ended[0][n], ended[1][n]) for n in start)
    assert any(not torch.equal(ended[0][n], start[n]) for n in start)


def test_what_is_drawn_does_not_depend_on_who_plays_beside(text: TextModel) -> None:
    def tokens(**given: object) -> dict[str, Sequence[int]]:
        collector = collector_of(text, Echo(turns=3), group_size=1, **given)
        collector.collect(0)
        return {e.trajectory.problem.id: e.trajectory.tokens for e in collector.episodes}

    every = tokens(problems_per_step=3)
    alone = tokens(problems_per_step=1)
    assert len(every) == 3 and len(alone) == 1
    assert all(every[problem] == found for problem, found in alone.items())
