"""What may stand beside a policy's own loss: documents, values of their own, a reference that
moves, an average of the weights, whitened scores."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from burnish.algos.batch import Loss, RolloutBatch
from burnish.algos.grpo import GRPO
from burnish.algos.ppo import PPO
from burnish.algos.sft import SFTLoss
from burnish.data.store import write_conversations, write_problems, write_texts
from burnish.engine.improve import whitened
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import Optim
from burnish.engine.protocols import Rollout
from burnish.engine.readings import Outcome
from burnish.engine.reward_model import RewardConfig, open_reward_model, save_config
from burnish.engine.text_model import TextModel
from burnish.engine.trainer import StepLog
from burnish.envs.single_turn import SingleTurn
from burnish.errors import ConfigError
from burnish.metrics import read_metrics
from burnish.models.lora import LoRA
from burnish.models.policy import Forest, Tree
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.demonstrations import read_documents
from burnish.stages.rl import RL
from burnish.stages.rl_beside import Beside
from burnish.stages.rl_collector import open_collector
from burnish.stages.rl_learner import RenewReference, Value, open_learner
from burnish.stages.sample import Draws
from burnish.types import Conversation, Problem
from burnish.verifiers.combine import Part, WeightedSum
from burnish.verifiers.format import Format
from burnish.verifiers.length import Length
from tests.unit.stages.made_stage import answered, run, save_reward, save_tiny

MODEL, PROBLEMS = Ref("a", "model"), Ref("a", "problems")
REWARD, TEXTS, CHATS = Ref("a", "reward"), Ref("a", "texts"), Ref("a", "chats")
WORDS = ("sea", "cat", "dog", "sum", "mat")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    model = save_tiny(folder / "model")
    prompts = [Conversation.of(f"Write about the {word}.") for word in WORDS]
    write_problems(folder / "problems.jsonl", [Problem(prompt=p, task="none") for p in prompts])
    write_texts(folder / "texts.jsonl", [f"The {word} sat on the mat. " * 6 for word in WORDS])
    write_conversations(folder / "chats.jsonl", [p.then("The sea is wide.") for p in prompts])
    return {
        "model": model,
        "problems": folder / "problems.jsonl",
        "reward": save_reward(folder / "reward", model),
        "texts": folder / "texts.jsonl",
        "chats": folder / "chats.jsonl",
    }


def rl(**changed: Any) -> RL:
    given: dict[str, Any] = {
        "model": MODEL,
        "problems": PROBLEMS,
        "algorithm": GRPO(),
        "reward": Length(low=1, high=3, slack=4),
        "optim": Optim(lr=3e-3),
        "steps": 3,
        "problems_per_step": 3,
        "group_size": 4,
        "draws": Draws(max_new_tokens=8),
        "precision": "float32",
    }
    return RL(**(given | changed))


def beside(**changed: Any) -> Beside:
    return Beside(**({"data": (TEXTS,), "coef": 1.5, "batch_rows": 4, "max_tokens": 24} | changed))


def weights(ctx: Context) -> bytes:
    return (ctx.output("model") / "model.safetensors").read_bytes()


def rows(ctx: Context) -> list[dict[str, Any]]:
    return list(read_metrics(ctx.dir / "metrics.jsonl"))


class Opened:
    """A stage's learner and a rollout of it, ready for its first update."""

    def __init__(self, stage: RL, made: dict[str, Path], folder: Path) -> None:
        inputs = {f"a.{name}": path for name, path in made.items()}
        self.ctx = Context.for_test(folder, outputs=stage.outputs, inputs=inputs)
        self.text = TextModel.open(made["model"], "float32")
        self.learner = open_learner(stage, self.ctx, self.text)
        self.algorithm = stage.algorithm
        with ExitStack() as stack:
            sampler = LocalSampler(self.text.model)
            collector = open_collector(stage, self.ctx, self.text, sampler, [], stack)
            rollout = collector.collect(0)
        rollout = self.learner.annotate(rollout, self.algorithm.needs() | {"old_logprobs"})
        batch = self.algorithm.weights(self.algorithm.advantages(rollout.batch))
        self.rollout = Rollout(inputs=rollout.inputs, batch=batch)

    def parts(self) -> Iterable[Loss]:
        """The slices of the policy's own loss."""
        inputs: Any = self.rollout.inputs
        return self.learner._slices(inputs, self.rollout.batch, self.algorithm.loss)

    def gradient(self, parts: Iterable[Loss], *others: nn.Parameter) -> list[Tensor]:
        """In the policy's weights, and in `others`."""
        for part in parts:
            part.total.backward()  # type: ignore[no-untyped-call]
        live = [*(p for _, p in self.learner.trainer._named), *others]
        found = [torch.zeros_like(p) if p.grad is None else p.grad for p in live]
        for p in live:
            p.grad = None
        return found


def assert_close(one: list[Tensor], other: list[Tensor]) -> None:
    size = max(float(g.abs().max()) for g in one)
    assert size > 1e-4
    for a, b in zip(one, other, strict=True):
        assert float((a - b).abs().max()) <= 2e-5 * size


def test_a_step_has_the_sum_of_both_gradients_however_it_is_sliced(
    made: dict[str, Path], tmp_path: Path
) -> None:
    found = {}
    for micro_tokens in (2048, 40):
        stage = rl(beside=beside(), micro_tokens=micro_tokens)
        opened = Opened(stage, made, tmp_path / str(micro_tokens))
        slices = opened.learner._beside
        assert slices is not None
        own, others = opened.gradient(opened.parts()), opened.gradient(slices(0))
        whole: list[list[Tensor]] = []

        def noted(
            parts: Iterable[Loss], opened: Opened = opened, whole: list[list[Tensor]] = whole
        ) -> StepLog:
            whole.append(opened.gradient(parts))
            return StepLog(0.0, 0.0, 0.0, 0.0, {})

        opened.learner.trainer.step = noted  # type: ignore[method-assign]
        opened.learner.step(opened.rollout.inputs, opened.rollout.batch, opened.algorithm.loss)
        assert_close([a + b for a, b in zip(own, others, strict=True)], whole[0])
        assert max(float(g.abs().max()) for g in own) > 1e-4
        found[micro_tokens] = (len(list(slices(0))), whole[0])
    assert found[2048][0] == 1 < found[40][0]
    assert_close(found[2048][1], found[40][1])


@pytest.mark.parametrize("reduction", ["token_mean", "token_sum"])
def test_the_documents_loss_is_coef_times_their_likelihood_in_the_model_as_it_is(
    made: dict[str, Path], tmp_path: Path, reduction: Any
) -> None:
    inputs = {f"a.{name}": path for name, path in made.items()}
    ctx = Context.for_test(tmp_path, outputs=RL.outputs, inputs=inputs)
    text = TextModel.open(made["model"], "float32")
    (documents,) = read_documents(ctx, text, (TEXTS,), train_on="assistant", max_tokens=24)
    # as many rows as there are: the first step has each of them once
    chosen = beside(batch_rows=len(documents), loss=SFTLoss(reduction=reduction))
    slices = chosen.open(ctx, text, 60)
    model = AutoModelForCausalLM.from_pretrained(made["model"])
    total, count = torch.zeros(()), 0
    for row in documents:
        logits = model(torch.tensor([row.ids])).logits[0, :-1]
        own = logits.log_softmax(-1)[range(len(row.ids) - 1), list(row.ids[1:])]
        total, count = total - own.sum(), count + len(own)
    expected = 1.5 * total / (count if reduction == "token_mean" else len(documents))
    for _ in range(2):  # the step's number alone says which rows: there is no cursor
        parts = list(slices(0))
        found = sum(float(p.total.detach()) for p in parts)
        assert found == pytest.approx(float(expected.detach()), rel=1e-5)
        list(slices(5))
    assert sum(float(p.sums["beside_trained"]) for p in parts) == count
    expected.backward()  # type: ignore[no-untyped-call]
    for part in slices(0):
        part.total.backward()  # type: ignore[no-untyped-call]
    theirs = dict(model.named_parameters())
    pairs = [(p.grad, theirs[n].grad) for n, p in text.model.named_parameters() if n in theirs]
    assert_close([t for _, t in pairs if t is not None], [o for o, _ in pairs if o is not None])


def test_documents_beside_are_learnt_while_the_reward_is(
    made: dict[str, Path], tmp_path: Path
) -> None:
    stage = rl(beside=beside(batch_rows=6), steps=6, minibatches=2)
    ctx = run(stage, tmp_path / "with", **made)
    nll = [row["rl/beside_nll"] for row in rows(ctx)]
    assert nll[-1] < 0.8 * nll[0]
    plain = run(rl(steps=6, minibatches=2), tmp_path / "without", **made)
    assert "rl/beside_nll" not in rows(plain)[0]
    assert ctx.tallies.spent["trained_tokens"] > plain.tallies.spent["trained_tokens"] + 6 * 2 * 60
    chats = beside(data=(CHATS, TEXTS), train_on="last", max_tokens=64)
    assert rows(run(rl(beside=chats, steps=1), tmp_path / "chats", **made))[0]["rl/beside_nll"] > 0


def test_documents_are_learnt_where_no_completion_tells_anything(
    made: dict[str, Path], tmp_path: Path
) -> None:
    silent = rl(reward=Format(pattern=".*"), steps=1)
    ctx = run(silent, tmp_path / "without", **made)
    start = TextModel.open(made["model"], "float32")
    start.save(tmp_path / "start")
    unchanged = (tmp_path / "start" / "model.safetensors").read_bytes()
    assert rows(ctx)[0]["rl/zero_groups"] == 1.0 and weights(ctx) == unchanged
    ctx = run(replace(silent, beside=beside()), tmp_path / "with", **made)
    assert rows(ctx)[0]["train/grad_norm"] > 0 and weights(ctx) != unchanged


def test_a_value_function_starts_as_the_reward_model_it_is_made_of(
    made: dict[str, Path], tmp_path: Path
) -> None:
    value = Value(model=REWARD, optim=Optim(lr=1e-3))
    opened = Opened(rl(algorithm=PPO(), value=value), made, tmp_path)
    critic = opened.learner._critic
    assert critic is not None and opened.learner.trainer.head is None
    problem = Problem(prompt=Conversation.of("Write about the sea."), task="none")
    item = answered(problem, 0, "The sea is wide.", made["model"])
    judge = open_reward_model(made["reward"], precision="float32", micro_tokens=512)
    (score,) = judge.scores([item.prompt_ids], [item.tokens])
    # the value of the state after the whole answer, from which some token 9 would follow
    forest = Forest.of([Tree.prompt(item.prompt_ids, [(*item.tokens, 9)])], torch.device("cpu"))
    values = critic.values(forest).detach()
    assert len(values) == len(item.tokens) + 1
    assert float(values[-1]) == pytest.approx(score, abs=1e-5)


def test_the_policy_does_not_feel_a_value_function_of_its_own(
    made: dict[str, Path], tmp_path: Path
) -> None:
    found = []
    for coef in (0.1, 5.0):
        value = Value(model=REWARD, optim=Optim(lr=1e-3))
        stage = rl(algorithm=PPO(value_coef=coef, value_clip=0.0), value=value, micro_tokens=60)
        opened = Opened(stage, made, tmp_path / str(coef))
        critic = opened.learner._critic
        assert critic is not None
        policy = len(opened.learner.trainer._named)
        own = [p for p in critic._model.parameters() if p.requires_grad]
        for parameter in own:  # gradients are looked at here, not collected
            parameter.grad = None
        grads = opened.gradient(opened.parts(), *critic._head.parameters())
        found.append((grads[:policy], grads[policy:]))
    assert_close(found[0][0], found[1][0])
    assert_close([50 * g for g in found[0][1]], found[1][1])


def test_a_value_function_of_its_own_learns_at_its_own_rate(
    made: dict[str, Path], tmp_path: Path
) -> None:
    losses = {}
    for lr in (1e-7, 3e-3):
        value = Value(model=REWARD, optim=Optim(lr=lr))
        stage = rl(algorithm=PPO(value_clip=0.0), optim=Optim(lr=1e-7), value=value, steps=16)
        found = rows(run(stage, tmp_path / str(lr), **made))
        assert all(row["rl/value_grad_norm"] > 0 for row in found)
        losses[lr] = [row["rl/value_loss"] for row in found]
    assert losses[3e-3][-1] < 0.5 * losses[1e-7][-1]
    assert losses[3e-3][0] == pytest.approx(losses[1e-7][0], rel=1e-5)


def test_a_value_function_of_steps_or_outcomes_is_refused(
    made: dict[str, Path], tmp_path: Path
) -> None:
    save_reward(tmp_path / "outcome", made["model"])
    save_config(tmp_path / "outcome", RewardConfig(reading=Outcome()))
    value = Value(model=REWARD, optim=Optim(lr=1e-3))
    stage = rl(algorithm=PPO(), value=value)
    with pytest.raises(ConfigError, match=r"value.model=a.reward: a value function starts from"):
        run(stage, tmp_path, **(made | {"reward": tmp_path / "outcome"}))


def test_a_renewed_reference_is_the_policy_of_then(made: dict[str, Path], tmp_path: Path) -> None:
    kls = {}
    for name, renewal in (
        ("never", None),
        ("each", RenewReference(every=1)),
        ("second", RenewReference(every=2)),
        ("half", RenewReference(every=1, share=0.5)),
    ):
        algorithm = GRPO(kl_coef=0.01, kl="reward_k1")
        stage = rl(algorithm=algorithm, renew_reference=renewal, steps=4, optim=Optim(lr=1e-2))
        kls[name] = [abs(row["rl/kl"]) for row in rows(run(stage, tmp_path / name, **made))]
    assert all(kl < 1e-4 for kl in kls["each"])
    assert [kl < 1e-4 for kl in kls["second"]] == [True, False, True, False]
    assert [kl < 1e-4 for kl in kls["never"]] == [True, False, False, False]
    assert 1e-4 < kls["half"][1] < kls["never"][1]


def test_the_average_is_what_the_stage_gives_and_training_does_not_know_of_it(
    made: dict[str, Path], tmp_path: Path
) -> None:
    times = {"train/seconds", "rl/sample_seconds"}
    plain = run(rl(), tmp_path / "plain", **made)
    average = run(rl(ema=0.9), tmp_path / "average", **made)
    for a, b in zip(rows(plain), rows(average), strict=True):
        assert {k: v for k, v in a.items() if k not in times} == {
            k: v for k, v in b.items() if k not in times
        }
    start, last, mean = (
        torch.cat([p.detach().flatten() for p in TextModel.open(p, "float32").model.parameters()])
        for p in (made["model"], plain.output("model"), average.output("model"))
    )
    moved, lagging = (last - start).norm(), (mean - start).norm()
    assert 0.05 * moved < lagging < 0.5 * moved


def test_whitened_scores_have_mean_nought_and_deviation_one_over_those_there_are() -> None:
    nan = float("nan")
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    turns = torch.tensor([[0.25, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    batch = RolloutBatch.of_completions(
        mask=mask,
        scores=torch.tensor([1.0, 2.0, nan, 3.0]),
        group=torch.tensor([0, 0, 1, 1]),
        sampler_logprobs=torch.zeros(4, 2),
        turn_rewards=turns,
    )
    found = whitened(batch)
    torch.testing.assert_close(
        found.scores, torch.tensor([-1.0, 0.0, nan, 1.0]), equal_nan=True, atol=1e-6, rtol=0
    )
    # what follows the last decision moves with the score; a reward on the way does not
    expected = torch.tensor([[0.25, -1.25], [0.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(found.rewards, expected, atol=1e-6, rtol=0)
    same = RolloutBatch.of_completions(
        mask=mask,
        scores=torch.full((4,), 0.1),
        group=torch.tensor([0, 0, 1, 1]),
        sampler_logprobs=torch.zeros(4, 2),
    )
    assert whitened(same).scores.tolist() == [0.0] * 4


def test_whitening_scores_makes_their_scale_nothing(made: dict[str, Path], tmp_path: Path) -> None:
    results = []
    for scale in (1.0, 40.0):
        reward = Length(low=1, high=3, slack=4)
        big = WeightedSum(parts={"length": Part(reward=reward, weight=scale)})
        algorithm = PPO(kl_coef=0.1, whiten_advantages=False)
        # a small step: where a gradient is rounding alone, AdamW's first step is its sign
        stage = rl(
            algorithm=algorithm, reward=big, whiten_scores=True, steps=2, optim=Optim(lr=1e-6)
        )
        results.append(rows(run(stage, tmp_path / str(scale), **made)))
    for a, b in zip(*results, strict=True):
        assert b["rl/score"] == pytest.approx(40 * a["rl/score"])
        assert b["rl/return"] == pytest.approx(a["rl/return"], abs=1e-4)
        assert b["train/loss"] == pytest.approx(a["train/loss"], abs=1e-4)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"ema": 1.0}, "ema must be"),
        ({"value": Value(model=REWARD, optim=Optim(lr=1.0))}, "value is PPO's: GRPO"),
        ({"renew_reference": RenewReference(every=2)}, "nothing reads a reference"),
        (
            {
                "renew_reference": RenewReference(every=2),
                "algorithm": GRPO(kl_coef=0.1),
                "lora": LoRA(),
            },
            "renew_reference is for training without lora",
        ),
        ({"whiten_scores": True, "env": SingleTurn()}, "whiten_scores is for completions"),
    ],
)
def test_settings_with_nothing_to_act_on_are_refused(changed: dict[str, Any], words: str) -> None:
    plain = {} if "env" not in changed else {"reward": RL.reward}
    with pytest.raises(ConfigError, match=words):
        rl(**plain, **changed)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RenewReference(every=0), "every"),
        (lambda: RenewReference(every=1, share=0.0), "share must be"),
        (lambda: beside(coef=0.0), "coef must be above 0"),
        (lambda: beside(data=()), "data must name"),
        (lambda: beside(batch_rows=0), "batch_rows"),
    ],
)
def test_knobs_out_of_range_are_refused(make: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make()
