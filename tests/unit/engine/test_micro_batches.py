"""A step in slices equals the step in one: for every training, whatever the order of rows."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.algos.batch import Loss, PolicyAlgorithm, PolicyOutputs, RolloutBatch
from burnish.algos.grpo import GRPO
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.sft import SFTLoss
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Request, Rollout, Sampling
from burnish.engine.text_collector import Episode, text_batch
from burnish.engine.text_inputs import TextInputs
from burnish.engine.trainer import Trainer
from burnish.models.load import open_causal_lm
from burnish.types import Conversation, Problem, Verdict
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [(5, 9, 14), (7,), tuple(range(20, 40))]
GROUP = 4
Grads = list[Tensor]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


class Fixed:
    """A learner, a rollout of its own making, and the gradient of one step on it."""

    def __init__(self, directory: Path, micro_tokens: int, *, head: bool = True) -> None:
        self.model = open_causal_lm(directory, "float32")
        value_head = nn.Linear(32, 1)
        with torch.no_grad():
            value_head.weight.copy_(torch.linspace(-0.1, 0.1, 32)[None])
            value_head.bias.fill_(0.2)
        trainer = Trainer(self.model, Optim(lr=1.0), num_steps=1, head=value_head if head else None)
        reference = open_causal_lm(directory, "float32")
        with torch.no_grad():
            for parameter in reference.parameters():
                parameter.mul_(1.1)
        self.learner = LocalLearner(
            trainer, temperature=0.9, micro_tokens=micro_tokens, reference=reference
        )
        self.trainer = trainer

    def rollout(self, scores: list[float | None]) -> Rollout:
        groups = LocalSampler(self.model).sample(
            [Request(prompt=p, key=i, num=GROUP) for i, p in enumerate(PROMPTS)],
            Sampling(max_new_tokens=14, temperature=0.9, stop_ids=frozenset(range(0, 384, 8))),
        )
        completions = [c for group in groups for c in group]
        prompts = tuple(p for p in PROMPTS for _ in range(GROUP))
        tokens = tuple(c.tokens for c in completions)
        assert {c.finish.value for c in completions} == {"stop", "length"}
        episodes = [
            Episode(
                problem=Problem(prompt=Conversation.of("?"), task="test"),
                prompt=prompt,
                completion=completion,
                text="",
                verdict=Verdict(score=score),
                gold=Verdict(score=None),
                score=score,
            )
            for prompt, completion, score in zip(prompts, completions, scores, strict=True)
        ]
        return Rollout(
            inputs=TextInputs(prompts, tokens, max(len(t) for t in tokens)),
            batch=text_batch(episodes, GROUP),
        )

    def prepared(self, algorithm: PolicyAlgorithm, scores: list[float | None]) -> Rollout:
        """Annotated, with old log-probabilities a little off, so that ratios are not 1."""
        rollout = self.learner.annotate(self.rollout(scores), algorithm.needs() | {"old_logprobs"})
        old = rollout.batch.old_logprobs
        assert old is not None
        rollout = replace(rollout, batch=replace(rollout.batch, old_logprobs=old - 0.05))
        return replace(rollout, batch=algorithm.advantages(rollout.batch))

    def gradient(self, inputs: TextInputs, batch: RolloutBatch, loss: Callable[..., Loss]) -> Grads:
        self.learner._unchanged = False  # these ratios are not one on purpose
        parts = self.learner._slices(inputs, batch, loss)
        return gradient(self.trainer, parts)


def gradient(trainer: Trainer, parts: Iterable[Loss]) -> Grads:
    for part in parts:
        part.total.backward()  # type: ignore[no-untyped-call]
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for _, p in trainer._named]
    for _, p in trainer._named:
        p.grad = None
    return grads


def assert_same(one: Grads, other: Grads) -> None:
    scale = max(float(g.abs().max()) for g in one)
    assert scale > 1e-4
    for a, b in zip(one, other, strict=True):
        assert float((a - b).abs().max()) <= 1e-5 * scale


SCORES: list[float | None] = [1.0, 0.0, 0.5, 0.2, 0.3, 0.9, 0.1, 0.4, 0.0, 0.0, 1.0, 0.7]
ALGORITHMS = {
    "ppo": PPO(kl_coef=0.1, entropy_coef=0.02),
    "grpo": GRPO(),
    "grpo with kl": GRPO(kl_coef=0.1),
    "reinforce": REINFORCE(),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_policy_gradients_do_not_depend_on_slices_or_order(directory: Path, name: str) -> None:
    algorithm = ALGORITHMS[name]
    found = []
    for micro_tokens, order in ((10_000, None), (40, None), (1, None), (40, 7)):
        fixed = Fixed(directory, micro_tokens, head="values" in algorithm.needs())
        rollout = fixed.prepared(algorithm, SCORES)
        batch, inputs = algorithm.weights(rollout.batch), rollout.inputs
        if order is not None:
            index = torch.randperm(12, generator=torch.Generator().manual_seed(order))
            batch, inputs = batch.rows(index), inputs.rows(index)
        found.append(fixed.gradient(inputs, batch, algorithm.loss))  # type: ignore[arg-type]
    for other in found[1:]:
        assert_same(found[0], other)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_unscored_rows_contribute_nothing(directory: Path, name: str) -> None:
    algorithm = ALGORITHMS[name]
    fixed = Fixed(directory, 60, head="values" in algorithm.needs())
    scores = [None if i in (0, 5, 8, 9, 10, 11) else s for i, s in enumerate(SCORES)]
    rollout = fixed.prepared(algorithm, scores)
    batch = algorithm.weights(rollout.batch)
    assert not batch.mask[[0, 5, 8, 9, 10, 11]].any()
    whole = fixed.gradient(rollout.inputs, batch, algorithm.loss)  # type: ignore[arg-type]
    kept = batch.mask.any(dim=1).nonzero()[:, 0]
    inputs = rollout.inputs.rows(kept)
    assert_same(whole, fixed.gradient(inputs, batch.rows(kept), algorithm.loss))  # type: ignore[arg-type]


def test_rows_that_are_skipped_have_no_gradient(directory: Path) -> None:
    algorithm = GRPO()
    fixed = Fixed(directory, 60, head=False)
    scores: list[float | None] = [0.1] * 4 + SCORES[4:]  # the first group agrees
    rollout = fixed.prepared(algorithm, scores)
    batch = algorithm.weights(rollout.batch)
    silent = algorithm.inert(batch)
    assert silent.tolist() == [True] * 4 + [False] * 8
    active = (~silent).nonzero()[:, 0]
    assert_same(
        fixed.gradient(rollout.inputs, batch, algorithm.loss),  # type: ignore[arg-type]
        fixed.gradient(rollout.inputs.rows(active), batch.rows(active), algorithm.loss),  # type: ignore[arg-type]
    )
    assert not GRPO(kl_coef=0.1).inert(batch).any()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_ratio_is_one_at_a_rollouts_first_update(directory: Path, precision: str) -> None:
    fixed = Fixed(directory, 60, head=False)
    if precision == "bfloat16":
        fixed.model.bfloat16()
    rollout = fixed.learner.annotate(fixed.rollout(SCORES), frozenset({"old_logprobs"}))
    old = rollout.batch.old_logprobs
    assert old is not None
    seen: list[Tensor] = []

    def loss(part: RolloutBatch, new: PolicyOutputs) -> Loss:
        assert part.old_logprobs is not None
        seen.append((new.logprobs - part.old_logprobs)[part.mask].detach())
        return Loss(new.logprobs.sum())

    # A minibatch lies otherwise in slices than all rows did when they were scored.
    rows = torch.tensor([11, 2, 5, 6, 0, 9, 3])
    off = replace(rollout.batch, old_logprobs=old + 1e-4).rows(rows)
    inputs = rollout.inputs.rows(rows)
    list(fixed.learner._slices(inputs, off, loss))  # type: ignore[arg-type]
    assert len(seen) > 1 and torch.equal(torch.cat(seen), torch.zeros(int(off.mask.sum())))
    seen.clear()
    fixed.learner._unchanged = False  # as after an update: the old ones are those of scoring
    list(fixed.learner._slices(inputs, off, loss))  # type: ignore[arg-type]
    assert bool((torch.cat(seen) != 0).any())
    if precision == "float32":
        gap = (old - rollout.batch.sampler_logprobs)[rollout.batch.mask].abs().max()
        assert gap < 1e-4


def test_values_are_read_where_their_decision_is_taken(directory: Path) -> None:
    fixed = Fixed(directory, 60)
    rollout = fixed.learner.annotate(fixed.rollout(SCORES), frozenset({"values"}))
    plain, inputs, head = tiny_llama(tiny_tokenizer()), rollout.inputs, fixed.trainer.head
    assert isinstance(inputs, TextInputs) and head is not None
    assert rollout.batch.values is not None
    for row, (prompt, tokens) in enumerate(zip(inputs.prompts, inputs.completions, strict=True)):
        with torch.no_grad():
            hidden = plain.model(torch.tensor([prompt + tokens])).last_hidden_state[0]
            expected = head(hidden[len(prompt) - 1 : -1])[:, 0]
        found = rollout.batch.values[row]
        torch.testing.assert_close(found[: len(tokens)], expected, atol=1e-5, rtol=1e-5)
        assert not found[len(tokens) :].any()


def test_supervised_gradients_do_not_depend_on_slices_or_order(directory: Path) -> None:
    from burnish.algos.dpo import DPO
    from burnish.algos.kto import KTO
    from burnish.algos.outcome_reward import outcome_losses
    from burnish.algos.simpo import SIMPO
    from burnish.engine.likelihood import likelihood_losses
    from burnish.engine.supervised import Passes
    from burnish.models.policy import Tree
    from burnish.pipeline.artifact import Ref
    from burnish.stages.labelled import Answer, Labelled, label_slices
    from burnish.stages.prefer import Prefer
    from burnish.stages.preferences import Preferences
    from burnish.stages.reward import TrainReward, read_at_the_end
    from burnish.types import Conversation, PreferencePair

    ref = Ref("a", "b")
    common = {"model": ref, "passes": Passes(batch_rows=4), "optim": Optim(lr=1.0)}
    documents = [
        Tree.document(range(10, 14 + 3 * i), [j > 2 for j in range(4 + 3 * i)]) for i in range(5)
    ]
    pair = PreferencePair(prompt=Conversation.of("a"), chosen="b", rejected="c")
    groups = [  # three answers of a prompt, in two pairs; and two
        Preferences(
            (pair,) * (1 + i % 2),
            Tree.prompt(
                tuple(range(5, 9 + i)),
                [tuple(range(30, 34 + i)), (40 + i,), (50, 51)][: 2 + i % 2],
            ),
            (0, 2)[: 1 + i % 2],
            (1, 0)[: 1 + i % 2],
        )
        for i in range(5)
    ]
    reference = {(i, i): torch.linspace(-9, -1, len(g.tree.branches)) for i, g in enumerate(groups)}
    reference |= {(i, j): torch.tensor([-3.0]) for i in range(5) for j in range(5) if i != j}
    orders = ([0, 1, 2, 3, 4], [3, 0, 4, 2, 1])

    def run(micro_tokens: int, order: list[int]) -> list[Grads]:
        model = open_causal_lm(directory, "float32")
        head = nn.Linear(32, 1)
        nn.init.constant_(head.weight, 0.05)
        nn.init.zeros_(head.bias)
        trainer = Trainer(model, Optim(lr=1.0), num_steps=1, head=head)
        out = []
        for reduction in ("token_mean", "token_sum"):
            loss = SFTLoss(reduction=reduction)  # type: ignore[arg-type]
            rows = [documents[i] for i in order]
            out.append(gradient(trainer, likelihood_losses(model, rows, loss, micro_tokens)))
        reward = TrainReward(comparisons=ref, micro_tokens=micro_tokens, **common)  # type: ignore[arg-type]
        out.append(
            gradient(
                trainer, reward._losses(model, head, read_at_the_end([groups[i] for i in order]))
            )
        )
        nan = float("nan")
        labelled = [
            Labelled(
                tuple(
                    Answer(
                        prompt=pair.prompt,
                        text="",
                        stem=groups[i].tree.stem,
                        ids=ids,
                        flags=(True,) * len(ids),
                        labels=tuple((nan if t % 3 == 1 else t / 9,) for t in range(len(ids))),
                        weight=1 / len(ids),
                    )
                    for ids in groups[i].tree.branches
                )
            )
            for i in order
        ]
        found = label_slices(model, head, labelled, outcome_losses, micro_tokens)
        out.append(gradient(trainer, found))
        for algorithm in (DPO(beta=0.3), KTO(beta=0.3), SIMPO()):
            prefer = Prefer(
                comparisons=ref,
                micro_tokens=micro_tokens,
                algorithm=algorithm,
                nll_coef=0.2,
                **common,  # type: ignore[arg-type]
            )
            # KTO's point comes from each row and the one after it: the step's order is its own.
            rows = orders[0] if isinstance(algorithm, KTO) else order
            out.append(gradient(trainer, prefer._losses(model, groups, rows, reference)))
        return out

    whole = run(10_000, orders[0])
    for micro_tokens, order in ((30, orders[0]), (1, orders[1])):
        for one, other in zip(whole, run(micro_tokens, order), strict=True):
            assert_same(one, other)
