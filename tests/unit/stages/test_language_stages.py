"""What the language-model stages write down: counts, controls, rows of measurements."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from burnish.algos.apo_down import APODown
from burnish.algos.apo_zero import APOZero
from burnish.algos.cispo import CISPO
from burnish.algos.dapo import DAPO
from burnish.algos.dpo import DPO
from burnish.algos.dpo_norm import DPONorm
from burnish.algos.dr_grpo import DrGRPO
from burnish.algos.grpo import GRPO
from burnish.algos.gspo import GSPO
from burnish.algos.hinge import Hinge
from burnish.algos.ipo import IPO
from burnish.algos.kto import KTO
from burnish.algos.nca_pair import NCAPair
from burnish.algos.orpo import ORPO
from burnish.algos.ppo import PPO
from burnish.algos.reinforce import REINFORCE
from burnish.algos.reinforce_pp import ReinforcePP
from burnish.algos.rloo import RLOO
from burnish.algos.robust import Robust
from burnish.algos.simpo import SIMPO
from burnish.algos.sppo_hard import SPPOHard
from burnish.data.store import (
    Sampled,
    read_completions,
    read_conversations,
    read_rows,
    write_comparisons,
    write_completions,
    write_conversations,
    write_problems,
)
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.errors import BurnishError, ConfigError, DataError, Interrupted, TrainingError
from burnish.metrics import read_metrics
from burnish.models.padding import SHORT
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.annotate import Annotate, RubricAnnotator
from burnish.stages.evaluate import Evaluate
from burnish.stages.prefer import Prefer
from burnish.stages.preferences import read_groups
from burnish.stages.reject import Reject
from burnish.stages.reward import TrainReward
from burnish.stages.rl import RL
from burnish.stages.sample import Draws, Sample
from burnish.stages.sft import SFT
from burnish.stages.study import InferenceScaling
from burnish.types import Comparison, Conversation, Finish, Problem
from tests.tiny import tiny_llama, tiny_tokenizer

WORDS = ("sea", "cat", "dog", "sum", "mat", "answer", "loop", "comment", "day", "blue")
PROMPTS = [Conversation.of(f"Write about the {word}.") for word in WORDS]
MODEL, PROBLEMS, DATA = Ref("a", "model"), Ref("a", "problems"), Ref("a", "data")
ONCE = Passes(batch_rows=4, max_steps=2)
OPTIM = Optim(lr=1e-3)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model, everyday problems, and a reward model trained on planted comparisons."""
    folder = tmp_path_factory.mktemp("shared")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    problems = [Problem(prompt=p, task="everyday") for p in PROMPTS]
    write_problems(folder / "problems.jsonl", problems)
    write_comparisons(
        folder / "comparisons.jsonl",
        [
            Comparison(prompt=p, a=a, b=b, winner="a", annotator="test")
            for p in PROMPTS
            for a, b in (("The sea is wide.", "dog"), ("Hello there.", "cat cat"))
        ],
    )
    stage = TrainReward(
        model=MODEL,
        comparisons=DATA,
        problems=PROBLEMS,
        passes=ONCE,
        optim=OPTIM,
        heldout=0.4,
        precision="float32",
    )
    inputs = {
        "a.model": folder / "model",
        "a.data": folder / "comparisons.jsonl",
        "a.problems": folder / "problems.jsonl",
    }
    ctx = Context.for_test(folder / "run", outputs=stage.outputs, inputs=inputs)
    stage.run(ctx)
    return {
        "model": folder / "model",
        "problems": folder / "problems.jsonl",
        "comparisons": folder / "comparisons.jsonl",
        "reward": ctx.output("reward_model"),
        "quality": ctx.output("quality"),
    }


def run(stage: Any, tmp_path: Path, **inputs: Path) -> Context:
    named = {f"a.{name}": path for name, path in inputs.items()}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=named)
    stage.run(ctx)
    return ctx


def samples(ctx: Context) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ctx.dir / "samples.jsonl").read_text().splitlines()]


def sampled(problem: Problem, index: int, text: str) -> Sampled:
    return Sampled(
        problem=problem,
        index=index,
        text=text,
        prompt_ids=(1, 2),
        tokens=(3, 4),
        logprob=-1.0,
        finish=Finish.STOP,
    )


def test_sft_counts_what_is_too_long_and_shows_its_first_batch_with_the_mask(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    long = Conversation.of("Write about the day.", "day " * 400)
    chats = [p.then(f"The {w} is wide.") for p, w in zip(PROMPTS, WORDS, strict=True)] + [long]
    write_conversations(tmp_path / "chats.jsonl", chats)
    inputs = {"model": shared["model"], "data": tmp_path / "chats.jsonl"}
    stage = SFT(
        model=MODEL,
        data=(DATA,),
        passes=ONCE,
        optim=OPTIM,
        max_tokens=120,
        precision="float32",
    )
    ctx = run(stage, tmp_path, **inputs)
    assert ctx.tallies.counts == {"conversations over 120 tokens dropped": {"n": 1, "of": 11}}
    shown = samples(ctx)
    assert len(shown) == 4 and {row["kind"] for row in shown} == {"first_batch"}
    for row in shown:
        before, _, rest = row["text"].partition("⟦")
        trained, _, after = rest.partition("⟧")
        assert before.endswith("<|im_start|>assistant\n") and "Write about the" in before
        assert trained.startswith("The ") and trained.endswith(" is wide.<|im_end|>")
        assert "⟦" not in after
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    assert [row["step"] for row in rows] == [0, 1]
    assert ctx.tallies.spent["trained_tokens"] == sum(row["train/tokens"] for row in rows)
    short = SFT(
        model=MODEL, data=(DATA,), passes=ONCE, optim=OPTIM, max_tokens=5, precision="float32"
    )
    with pytest.raises(TrainingError, match="max_tokens=5"):
        run(short, tmp_path / "short", **inputs)


def test_an_annotator_errs_as_its_temperature_says() -> None:
    problem = Problem(prompt=PROMPTS[0], task="answer", answer="7")
    right, wrong = "Answer: 7", "Answer: 8"  # gold 1 and 0
    for temperature in (0.5, 1.0, 3.0):
        annotator = RubricAnnotator(temperature=temperature)
        n = 4000
        wins = sum(annotator.compare(problem, right, wrong, key) == "a" for key in range(n))
        expected = 1 / (1 + math.exp(-1 / temperature))
        assert abs(wins / n - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
        swapped = sum(annotator.compare(problem, wrong, right, key) == "b" for key in range(n))
        assert abs(swapped / n - expected) < 4 * math.sqrt(expected * (1 - expected) / n)
    sharp = RubricAnnotator(temperature=1e-9)
    assert {sharp.compare(problem, right, wrong, key) for key in range(50)} == {"a"}
    assert {sharp.compare(problem, wrong, right, key) for key in range(50)} == {"b"}


def test_annotation_passes_over_equal_texts_and_shows_both_orders(tmp_path: Path) -> None:
    problems = [Problem(prompt=p, task="answer", answer="7") for p in PROMPTS]
    texts = ("Answer: 7", "Answer: 7 ", "Answer: 8", "Answer: 9")  # the first two are equal
    items = [sampled(p, i, text) for p in problems for i, text in enumerate(texts)]
    write_completions(tmp_path / "c.jsonl", items)
    stage = Annotate(
        completions=DATA, pairs_per_problem=4, annotator=RubricAnnotator(temperature=1e-6)
    )
    ctx = run(stage, tmp_path, data=tmp_path / "c.jsonl")
    rows = read_rows(ctx.output("comparisons"))
    assert ctx.tallies.counts["pairs of equal completions passed over"] == {"n": 10, "of": 60}
    assert len(rows) == 40
    assert all(row["a"].strip() != row["b"].strip() for row in rows)
    decided = [r for r in rows if "7" in r["a"] + r["b"]]
    assert all(("7" in r[r["winner"]]) for r in decided)
    first = [("7" in r["a"]) for r in decided]
    assert 0.2 < sum(first) / len(first) < 0.8
    assert ctx.tallies.values["share of comparisons against the gold order"] == 0.0
    again = run(stage, tmp_path / "again", data=tmp_path / "c.jsonl")
    assert read_rows(again.output("comparisons")) == rows


def test_rejection_keeps_the_best_beside_a_random_control(tmp_path: Path) -> None:
    problems = [Problem(prompt=Conversation.of(f"q{i}"), task="t", answer="7") for i in range(200)]
    items = [sampled(p, i, f"Answer: {7 if i == 2 else i}") for p in problems for i in range(4)]
    write_completions(tmp_path / "c.jsonl", items)
    ctx = run(Reject(completions=DATA), tmp_path, data=tmp_path / "c.jsonl")
    best, control = (read_conversations(ctx.output(name)) for name in ("best", "control"))
    assert [c.last_user for c in best] == [c.last_user for c in control]
    assert [c.last_user for c in best] == [p.prompt.last_user for p in problems]
    assert {c.messages[-1].content for c in best} == {"Answer: 7"}
    right = sum(c.messages[-1].content == "Answer: 7" for c in control)
    assert abs(right / 200 - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 200)
    assert ctx.tallies.values["mean score of the kept completions"] == 1.0
    assert ctx.tallies.values["mean score of all completions"] == pytest.approx(0.25)


def test_a_reward_model_is_measured_on_prompts_it_never_saw(shared: dict[str, Path]) -> None:
    rows = read_rows(shared["quality"])
    held = {row["prompt"] for row in rows}
    assert 0 < len(held) < 10 and len(rows) == 2 * len(held)
    assert any(row["gold_gap"] > 0 for row in rows)
    for row in rows:
        assert row["length_gap"] == len(row["chosen"]) - len(row["rejected"])
        assert row["shorter"] == 0.0  # the longer one was always chosen
        assert row["bag_of_words"] == 1.0  # the chosen words are always the same
        assert row["gold_gap"] >= 0
        assert math.isfinite(row["chosen_score"]) and row["chosen_score"] != row["rejected_score"]
    scale = json.loads((shared["reward"] / "reward.json").read_text())["scale"]
    assert math.isfinite(scale["mean"]) and scale["std"] > 0


def test_evaluation_writes_a_row_for_each_model_and_problem(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = Evaluate(
        models={"one": MODEL, "two": MODEL},
        problems=(PROBLEMS,),
        draws=Draws(max_new_tokens=6),
        num_problems=5,
        reward_model=Ref("a", "reward"),
        reference=MODEL,
        precision="float32",
    )
    ctx = run(
        stage,
        tmp_path,
        model=shared["model"],
        problems=shared["problems"],
        reward=shared["reward"],
    )
    rows = read_rows(ctx.output("scores"))
    assert [row["model"] for row in rows] == ["one"] * 5 + ["two"] * 5
    one, two = rows[:5], rows[5:]
    assert [r["completion"] for r in one] == [r["completion"] for r in two]  # same draws
    assert all(r["kl"] == 0.0 for r in rows)
    assert all(0 <= r["score"] <= 1 and math.isfinite(r["proxy"]) for r in rows)
    cut = sum(r["finish"] == "length" for r in rows)
    assert ctx.tallies.counts == {"completions cut at 6 tokens": {"n": cut, "of": 10}}


def test_inference_scaling_counts_correct_samples_and_answers(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = InferenceScaling(
        models={"one": MODEL},
        problems=PROBLEMS,
        draws=Draws(max_new_tokens=5),
        num_problems=3,
        num_samples=4,
        judges={"rm": Ref("a", "reward")},
        precision="float32",
    )
    inputs = {key: shared[key] for key in ("model", "problems", "reward")}
    ctx = run(stage, tmp_path, **inputs)
    rows = json.loads(ctx.output("curves").read_text())
    assert [row["n"] for row in rows] == [4, 4, 4]
    assert all(len(set(row["judged"]["rm"])) > 1 and len(row["right"]) == 4 for row in rows)
    assert all(sum(row["right"]) == row["correct"] for row in rows)
    assert ctx.tallies.spent["scored_tokens"] > 0
    assert all(0 <= row["correct"] <= 4 and sum(row["answers"].values()) == 4 for row in rows)


def rl(**changed: Any) -> RL:
    given: dict[str, Any] = {
        "model": MODEL,
        "problems": PROBLEMS,
        "algorithm": GRPO(),
        "optim": OPTIM,
        "steps": 1,
        "problems_per_step": 2,
        "group_size": 3,
        "draws": Draws(max_new_tokens=6),
        "precision": "float32",
    }
    return RL(**(given | changed))


def test_a_problem_drawn_twice_in_a_step_is_sampled_anew(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    write_problems(tmp_path / "one.jsonl", [Problem(prompt=PROMPTS[0], task="everyday")])
    stage = rl(algorithm=PPO(), group_size=1)
    ctx = run(stage, tmp_path, model=shared["model"], problems=tmp_path / "one.jsonl")
    first, second = samples(ctx)
    assert first["prompt"] == second["prompt"] and first["completion"] != second["completion"]


def test_a_rollout_of_a_single_decision_is_trained_on_without_a_warning(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = rl(
        algorithm=PPO(kl_coef=0.1),
        problems_per_step=1,
        group_size=1,
        draws=Draws(max_new_tokens=1),
        steps=2,
    )
    ctx = run(stage, tmp_path, model=shared["model"], problems=shared["problems"])
    assert len(list(read_metrics(ctx.dir / "metrics.jsonl"))) == 2


def test_what_a_kill_left_of_a_snapshot_is_not_kept(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = rl(steps=2, num_snapshots=1)
    inputs = {"a.model": shared["model"], "a.problems": shared["problems"]}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=inputs)
    folder = ctx.checkpoints / "snapshots" / "step-00001"
    folder.mkdir(parents=True)
    (folder / ".tmp66GjhO").write_text("half of the weights")
    stage.run(ctx)
    kept = {file.name for file in (ctx.output("snapshots") / "step-00001").iterdir()}
    assert "model.safetensors" in kept and ".tmp66GjhO" not in kept


def test_rollouts_that_carry_no_signal_change_nothing(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    problems = [Problem(prompt=p, task="answer", answer="7") for p in PROMPTS]
    write_problems(tmp_path / "p.jsonl", problems)  # a random model scores 0 throughout
    ctx = run(rl(steps=2), tmp_path, model=shared["model"], problems=tmp_path / "p.jsonl")
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    assert [row["rl/zero_groups"] for row in rows] == [1.0, 1.0]
    assert [row["train/grad_norm"] for row in rows] == [0.0, 0.0]
    before = (shared["model"] / "model.safetensors").read_bytes()
    assert (ctx.output("model") / "model.safetensors").read_bytes() == before


def test_prefer_starts_at_the_reference(shared: dict[str, Path], tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        stage = Prefer(
            model=MODEL,
            comparisons=DATA,
            passes=Passes(batch_rows=4, max_steps=2),
            optim=OPTIM,
            micro_tokens=10_000,
            precision=precision,  # type: ignore[arg-type]
        )
        inputs = {"model": shared["model"], "data": shared["comparisons"]}
        ctx = run(stage, tmp_path / precision, **inputs)
        first, second = read_metrics(ctx.dir / "metrics.jsonl")
        assert first["train/loss"] == pytest.approx(math.log(2), abs=1e-6)
        assert first["dpo/chosen_reward"] == first["dpo/rejected_reward"] == 0.0
        assert second["dpo/margin"] > 0


def test_kto_takes_z_from_the_pairs_where_a_step_has_no_other_prompt(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    passes = Passes(batch_rows=1, max_steps=2)
    stage = Prefer(
        model=MODEL,
        comparisons=DATA,
        algorithm=KTO(),
        passes=passes,
        optim=OPTIM,
        precision="float32",
    )
    ctx = run(stage, tmp_path, model=shared["model"], data=shared["comparisons"])
    first, second = read_metrics(ctx.dir / "metrics.jsonl")
    assert first["train/loss"] == pytest.approx(0.5, abs=1e-5)
    assert math.isfinite(second["train/loss"])


@pytest.mark.parametrize(
    ("algorithm", "loss"),
    # KTO with z = 0: (3 / 2 + 1 / 2) / 2; unequal weights, so that z shows.
    [(DPO(), math.log(2)), (KTO(beta=1.0, desirable=3.0), 1.0)],
)
def test_the_first_rewards_are_exactly_0_in_bfloat16_for_pairs_of_any_length(
    tmp_path: Path, algorithm: DPO | KTO, loss: float
) -> None:
    # Wide enough for the order in which bfloat16 kernels sum to depend on the number of rows.
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer, hidden=512, layers=1).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [
        Comparison(
            prompt=p, a="Sea. " * (1 + n % 2 * 70), b="A dog! " * n, winner="a", annotator="t"
        )
        for n, p in enumerate(PROMPTS, 1)
    ]
    write_comparisons(tmp_path / "pairs.jsonl", rows)
    stage = Prefer(
        model=MODEL,
        comparisons=DATA,
        algorithm=algorithm,
        passes=Passes(batch_rows=3),
        optim=OPTIM,
    )
    ctx = run(stage, tmp_path, model=tmp_path / "model", data=tmp_path / "pairs.jsonl")
    text = TextModel.open(tmp_path / "model", "bfloat16")
    groups = read_groups(ctx, text, tmp_path / "pairs.jsonl", 1024)
    sizes = [groups[i].tree.num_tokens for i in stage.passes.rows(0, len(groups), ctx.seed)]
    assert min(sizes) < SHORT < max(sizes)
    first, second, *_ = read_metrics(ctx.dir / "metrics.jsonl")
    assert first["dpo/chosen_reward"] == first["dpo/rejected_reward"] == 0.0
    assert first["train/loss"] == pytest.approx(loss, rel=1e-6)
    assert second["dpo/chosen_reward"] != 0.0


@pytest.mark.parametrize(
    "algorithm",
    [
        DPO(label_smoothing=0.1),
        DPONorm(),
        IPO(),
        Hinge(),
        Robust(),
        APOZero(),
        APODown(),
        SPPOHard(beta=0.5),
        NCAPair(),
        SIMPO(),
        ORPO(),
        KTO(),
    ],
    ids=lambda a: type(a).__name__,
)
def test_every_direct_alignment_prefers_what_was_chosen(
    algorithm: Any, shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = Prefer(
        model=MODEL,
        comparisons=DATA,
        algorithm=algorithm,
        passes=Passes(batch_rows=4, epochs=4, max_steps=6),
        optim=OPTIM,
        micro_tokens=60,
        precision="float32",
    )
    inputs = {"model": shared["model"], "data": shared["comparisons"]}
    ctx = run(stage, tmp_path, **inputs)
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    assert rows[-1]["dpo/margin"] > rows[0]["dpo/margin"]
    assert bool(ctx.tallies.spent["scored_tokens"]) == algorithm.needs_reference


def test_a_likelihood_term_raises_the_chosen_answers(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    last = {}
    for nll_coef in (0.0, 1.0):
        stage = Prefer(
            model=MODEL,
            comparisons=DATA,
            nll_coef=nll_coef,
            passes=Passes(batch_rows=4, epochs=4, max_steps=6),
            optim=OPTIM,
            precision="float32",
        )
        inputs = {"model": shared["model"], "data": shared["comparisons"]}
        ctx = run(stage, tmp_path / str(nll_coef), **inputs)
        last[nll_coef] = list(read_metrics(ctx.dir / "metrics.jsonl"))[-1]["dpo/chosen_nll"]
    assert last[1.0] < last[0.0]


def test_tokens_that_end_a_turn_can_be_left_out_of_the_pairs_loss(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    text = TextModel.open(shared["model"], "float32")
    ctx = Context.for_test(tmp_path, outputs={})
    whole = read_groups(ctx, text, shared["comparisons"], 1024)
    bare = read_groups(ctx, text, shared["comparisons"], 1024, mask_format_tokens=True)
    for one, other in zip(whole, bare, strict=True):
        assert one.tree.branches == other.tree.branches
        for branch, before, after in zip(
            one.tree.branches, one.tree.trained, other.tree.trained, strict=True
        ):
            assert all(before)
            assert [not flag for flag in after] == [t in text.stop_ids for t in branch]
            assert not all(after)


def test_reference_logprobs_are_kept_for_the_same_weights_and_tokens_only(
    shared: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = TextModel.open(shared["model"], "float32")
    ctx = Context.for_test(tmp_path, outputs={})
    groups = read_groups(ctx, text, shared["comparisons"], 1024)
    stage = Prefer(model=MODEL, comparisons=DATA, passes=ONCE, optim=OPTIM, precision="float32")
    trees = {(0, 0): groups[0].tree, (1, 1): groups[1].tree}
    first = stage._reference(ctx, text, trees, [list(trees)])
    with monkeypatch.context() as patch:
        patch.setattr(Prefer, "_scored", lambda *_: pytest.fail("computed again"))
        again = stage._reference(ctx, text, trees, [list(trees)])
        assert all(bool((again[k] == first[k]).all()) for k in trees)
        with pytest.raises(pytest.fail.Exception):
            stage._reference(ctx, text, {(0, 0): groups[1].tree}, [[(0, 0)]])


@pytest.mark.parametrize(
    "algorithm",
    [
        RLOO(kl_coef=0.05),
        REINFORCE(),
        ReinforcePP(kl_coef=0.01),
        DrGRPO(budget=8),
        DAPO(),
        GSPO(),
        CISPO(entropy_coef=0.01),
        GRPO(kl_coef=0.05, kl="loss_weighted_k3"),
        PPO(kl_coef=0.05, kl_target=1.0, kl_horizon=10),
    ],
    ids=lambda a: type(a).__name__,
)
def test_every_policy_gradient_trains_and_writes_finite_metrics(
    algorithm: Any, shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = rl(algorithm=algorithm, steps=2, importance_cap=2.0)
    ctx = run(stage, tmp_path, model=shared["model"], problems=shared["problems"])
    rows = list(read_metrics(ctx.dir / "metrics.jsonl"))
    assert len(rows) == 2
    for row in rows:
        if "rl/clip_fraction" in row:  # unless no group of a tiny model's carried a signal
            assert row["rl/clip_fraction"] == 0  # one update a rollout: the ratio is one
            assert row["rl/ratio_gap"] < 1e-3
        assert all(value is not None for value in row.values())
    if algorithm.kl_coef:
        assert abs(rows[0]["rl/kl"]) < 1e-4  # the policy starts as the reference
        assert rows[0]["rl/kl_coef"] == algorithm.kl_coef
    if isinstance(algorithm, PPO):
        assert rows[1]["rl/kl_coef"] < rows[0]["rl/kl_coef"]


def test_groups_without_signal_are_replaced_within_the_budget(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    problems = [Problem(prompt=p, task="answer", answer="7") for p in PROMPTS]
    write_problems(tmp_path / "p.jsonl", problems)  # a random model scores 0 throughout
    ctx = run(
        rl(steps=1, dynamic_sampling=2),
        tmp_path,
        model=shared["model"],
        problems=tmp_path / "p.jsonl",
    )
    (row,) = read_metrics(ctx.dir / "metrics.jsonl")
    assert row["rl/discarded_groups"] == 2 * rl().problems_per_step
    assert row["rl/zero_groups"] == 1.0
    single = rl(steps=1)
    drawn = rl(steps=1, dynamic_sampling=2)
    more = run(drawn, tmp_path / "m", model=shared["model"], problems=shared["problems"])
    plain = run(single, tmp_path / "s", model=shared["model"], problems=shared["problems"])
    (found,) = read_metrics(more.dir / "metrics.jsonl")
    (without,) = read_metrics(plain.dir / "metrics.jsonl")
    assert found["rl/zero_groups"] <= without["rl/zero_groups"]
    assert found["rl/sampled_tokens"] >= without["rl/sampled_tokens"]


@pytest.mark.parametrize("algorithm", [REINFORCE(), RLOO()])
def test_algorithms_for_fresh_completions_refuse_to_use_them_twice(algorithm: Any) -> None:
    with pytest.raises(ConfigError, match="epochs and minibatches must be 1"):
        rl(algorithm=algorithm, epochs=2)


def test_sampling_writes_what_was_drawn_and_counts_what_was_cut(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    stage = Sample(
        model=MODEL,
        problems=PROBLEMS,
        num_problems=3,
        num_samples=2,
        draws=Draws(max_new_tokens=7),
        precision="float32",
    )
    ctx = run(stage, tmp_path, model=shared["model"], problems=shared["problems"])
    items = read_completions(ctx.output("completions"))
    assert [(i.problem.prompt, i.index) for i in items] == [
        (p, i) for p in PROMPTS[:3] for i in (0, 1)
    ]
    cut = sum(i.finish is Finish.LENGTH for i in items)
    assert ctx.tallies.counts == {"completions cut at 7 tokens": {"n": cut, "of": 6}}
    assert ctx.tallies.spent["sampled_tokens"] == sum(len(i.tokens) for i in items)


def test_sampling_stops_when_it_is_asked_to(shared: dict[str, Path], tmp_path: Path) -> None:
    stage = Sample(
        model=MODEL,
        problems=PROBLEMS,
        num_problems=3,
        num_samples=2,
        draws=Draws(max_new_tokens=7),
        precision="float32",
    )
    asked = iter([False, False, True])
    ctx = Context.for_test(
        tmp_path,
        outputs=stage.outputs,
        inputs={"a.model": shared["model"], "a.problems": shared["problems"]},
        stopping=lambda: next(asked),
    )
    with pytest.raises(Interrupted):
        stage.run(ctx)
    assert next(asked, "spent") == "spent"
    assert not list(tmp_path.rglob("completions.jsonl"))


def test_no_problems_and_unknown_constraints_end_in_one_line(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    write_problems(tmp_path / "none.jsonl", [])
    sample = Sample(
        model=MODEL,
        problems=PROBLEMS,
        num_problems=3,
        num_samples=2,
        draws=Draws(max_new_tokens=7),
        precision="float32",
    )
    for stage in (rl(), sample):
        with pytest.raises(BurnishError, match="no problems"):
            run(stage, tmp_path, model=shared["model"], problems=tmp_path / "none.jsonl")
    for meta in ("nope", "[]", '{"constraints": [{"kind": "nope"}]}', '{"constraints": [7]}'):
        problem = Problem(prompt=PROMPTS[0], task="everyday", meta=meta)
        write_problems(tmp_path / "bad.jsonl", [problem])
        with pytest.raises(DataError, match="`meta` must be JSON of constraints"):
            run(rl(), tmp_path, model=shared["model"], problems=tmp_path / "bad.jsonl")


def test_nothing_is_trained_beyond_the_models_context(
    shared: dict[str, Path], tmp_path: Path
) -> None:
    write_conversations(
        tmp_path / "chats.jsonl", [Conversation.of("a", "day " * n) for n in (5, 600)]
    )
    stage = SFT(
        model=MODEL, data=(DATA,), passes=ONCE, optim=OPTIM, max_tokens=9999, precision="float32"
    )
    ctx = run(stage, tmp_path, model=shared["model"], data=tmp_path / "chats.jsonl")
    assert ctx.tallies.counts == {"conversations over 512 tokens dropped": {"n": 1, "of": 2}}


@pytest.mark.parametrize("knob", ["max_rows", "micro_tokens", "steps", "num_snapshots"])
def test_knobs_of_rl_that_cannot_work_are_refused(knob: str) -> None:
    with pytest.raises(ConfigError, match=knob):
        rl(**{knob: -1})


@pytest.mark.parametrize("knob", ["num_problems", "num_samples", "max_rows"])
def test_knobs_of_sampling_that_cannot_work_are_refused(knob: str) -> None:
    given = {"num_problems": 1, "num_samples": 1, "max_rows": 1} | {knob: 0}
    with pytest.raises(ConfigError, match=knob):
        Sample(model=MODEL, problems=PROBLEMS, draws=Draws(max_new_tokens=1), **given)
