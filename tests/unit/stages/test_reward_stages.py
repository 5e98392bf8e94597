"""Reward models of every kind: what their stages read, train, write, and leave out."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from burnish.data.store import (
    Sampled,
    read_conversations,
    read_ratings,
    read_rows,
    read_steps,
    write_comparisons,
    write_completions,
    write_pairs,
    write_ratings,
    write_steps,
)
from burnish.engine.optim import Optim
from burnish.engine.reward_model import Worst, open_reward_model
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, DataError, ModelError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.stage import Context
from burnish.stages.attributes import TrainAttributes
from burnish.stages.ensemble import Ensemble
from burnish.stages.label_steps import LabelSteps
from burnish.stages.labelled import Answer, Labelled
from burnish.stages.outcome import TrainOutcome
from burnish.stages.process import TrainProcess
from burnish.stages.rate import Rate
from burnish.stages.reject import Reject
from burnish.stages.reward import TrainReward
from burnish.stages.sample import Draws
from burnish.types import (
    Comparison,
    Conversation,
    Finish,
    PreferencePair,
    Problem,
    Rating,
    WorkedAnswer,
)
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [Conversation.of(f"What is {a} + {b}?") for a in range(6) for b in range(5)]
MODEL, DATA, OTHER = Ref("a", "model"), Ref("a", "data"), Ref("a", "other")
COMMON: dict[str, Any] = {
    "model": MODEL,
    "passes": Passes(batch_rows=8, epochs=6),
    "optim": Optim(lr=3e-3),
    "precision": "float32",
    "heldout": 0.3,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "model"
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def run(stage, tmp_path, *, name="test", **inputs) -> Context:
    named = {f"a.{key}": path for key, path in inputs.items()}
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=named, name=name)
    stage.run(ctx)
    return ctx


def sampled(prompt, text, *, index=0, answer="7", task="sum", finish=Finish.STOP, path=None):
    problem = Problem(prompt=prompt, task=task, answer=answer)
    stem, ids = ((), ()) if path is None else TextModel.open(path, "float32").answer(prompt, text)
    return Sampled(
        problem=problem,
        index=index,
        text=text,
        prompt_ids=stem,
        tokens=ids,
        logprob=0.0,
        finish=finish,
    )


def verified(path):
    """Two completions a problem, one right; the words tell which."""
    rows = []
    for prompt in PROMPTS:
        rows += [sampled(prompt, "The sum. Answer: 7"), sampled(prompt, "dog. Answer: 4", index=1)]
    write_completions(path, rows)
    return path


@pytest.mark.parametrize("every_token", [True, False])
def test_an_outcome_model_tells_right_from_wrong_on_prompts_it_never_saw(
    model, tmp_path, every_token
):
    stage = TrainOutcome(**COMMON, completions=DATA, every_token=every_token)
    ctx = run(stage, tmp_path, model=model, data=verified(tmp_path / "data.jsonl"))
    rows = read_rows(ctx.output("quality"))
    assert {row["label"] for row in rows} == {"right"} and len(rows) % 2 == 0
    right = [row["predicted"] for row in rows if row["true"] == 1]
    wrong = [row["predicted"] for row in rows if row["true"] == 0]
    assert min(right) > 0.8 and max(wrong) < 0.2
    reward = open_reward_model(ctx.output("reward_model"), precision="float32", micro_tokens=512)
    text = TextModel.open(model, "float32")
    ids = [text.answer(PROMPTS[0], t) for t in ("The sum. Answer: 7", "dog. Answer: 4")]
    scores = reward.scores([p for p, _ in ids], [c for _, c in ids])
    assert scores[0] > 0.8 and scores[1] < 0.2


def test_completions_that_nobody_can_judge_are_counted_and_left_out(model, tmp_path):
    rows = [sampled(p, t) for p in PROMPTS for t in ("Answer: 7", "Answer: 4")]
    rows += [sampled(PROMPTS[0], "Answer: 7", answer=""), sampled(PROMPTS[0], " ")]
    write_completions(tmp_path / "data.jsonl", rows)
    stage = TrainOutcome(**COMMON, completions=DATA)
    ctx = run(stage, tmp_path, model=model, data=tmp_path / "data.jsonl")
    assert ctx.tallies.counts["completions without a verdict"] == {"n": 2, "of": 62}


def test_a_labels_weight_is_its_answers_share_whatever_the_length():
    def answer(flags, labels, weight):
        ids = tuple(range(len(flags)))
        return Answer(
            prompt=PROMPTS[0],
            text="",
            stem=(1,),
            ids=ids,
            flags=flags,
            labels=labels,
            weight=weight,
        )

    nan = float("nan")
    group = Labelled(
        (
            answer((True,) * 4, ((1.0,),) * 4, 0.25),
            answer((False, True), ((0.0,),), 1.0),
            answer((True, True), ((nan,), (1.0,)), 1.0),
        )
    )
    assert group.weights[:, 0].tolist() == [0.25] * 4 + [1.0, 0.0, 1.0]
    assert torch.isnan(group.labels).sum() == 1
    assert group.tree.trained[1] == (False, True)


def worked(path):
    """Solutions of two steps: a step is right where it says `sum` and wrong where it says `dog`."""
    rows = []
    for prompt in PROMPTS:
        rows += [
            WorkedAnswer(prompt=prompt, steps=("the sum is", "sum 7"), labels=(1.0, 1.0)),
            WorkedAnswer(prompt=prompt, steps=("the dog is", "sum 7"), labels=(0.0, None)),
            WorkedAnswer(prompt=prompt, steps=("the sum is", "dog 7"), labels=(1.0, 0.0)),
        ]
    write_steps(path, rows)
    return path


def test_a_process_model_finds_the_wrong_step(model, tmp_path):
    stage = TrainProcess(**COMMON, steps=DATA)
    ctx = run(stage, tmp_path, model=model, data=worked(tmp_path / "data.jsonl"))
    rows = read_rows(ctx.output("quality"))
    assert all((row["predicted"] > 0.5) == (row["true"] == 1) for row in rows)
    reward = open_reward_model(ctx.output("reward_model"), precision="float32", micro_tokens=512)
    text = TextModel.open(model, "float32")
    answers = ["the sum is\nsum 7", "the sum is\ndog 7", "the dog is\nsum 7", "the sum is"]
    ids = [text.answer(PROMPTS[1], a) for a in answers]
    scores = reward.scores([p for p, _ in ids], [c for _, c in ids])
    assert scores[0] > 0.5 > scores[1] and scores[3] > 0.5  # the weakest step counts
    assert scores[2] < 0.5


def test_steps_that_are_not_found_again_are_counted_and_left_out(model, tmp_path):
    path = worked(tmp_path / "data.jsonl")
    write_steps(
        path, [*read_steps(path), WorkedAnswer(prompt=PROMPTS[0], steps=("a\nb",), labels=(1.0,))]
    )
    ctx = run(TrainProcess(**COMMON, steps=DATA), tmp_path, model=model, data=path)
    counted = ctx.tallies.counts["answers whose steps are not found again in their text"]
    assert counted == {"n": 1, "of": 91}


def rated(path):
    """`sum` is helpful, `long` answers are verbose, and some ratings are missing."""
    rows = []
    for i, prompt in enumerate(PROMPTS):
        for text, helpful, verbose in (
            ("sum", 4.0, 10.0),
            ("sum sum sum sum sum", 4.0, 30.0),
            ("dog", 1.0, 10.0),
            ("dog dog dog dog dog", 1.0, 30.0),
        ):
            values = {"helpfulness": helpful, "verbosity": verbose}
            if i % 5 == 0:
                del values["verbosity"]
            rows.append(Rating(prompt=prompt, completion=text, values=values))
    write_ratings(path, rows)
    return path


def test_an_attribute_model_predicts_each_attribute_on_its_own_scale(model, tmp_path):
    weights = {"helpfulness": 1.0, "verbosity": -0.05}
    stage = TrainAttributes(
        **COMMON | {"passes": Passes(batch_rows=8, epochs=12)}, ratings=DATA, weights=weights
    )
    ctx = run(stage, tmp_path, model=model, data=rated(tmp_path / "data.jsonl"))
    rows = read_rows(ctx.output("quality"))
    for label, near in (("helpfulness", 0.75), ("verbosity", 5.0)):
        part = [row for row in rows if row["label"] == label]
        assert part and all(abs(row["predicted"] - row["true"]) < near for row in part)
    reward = open_reward_model(ctx.output("reward_model"), precision="float32", micro_tokens=512)
    text = TextModel.open(model, "float32")
    ids = [text.answer(PROMPTS[1], t) for t in ("sum", "sum sum sum sum sum", "dog")]
    short, long, bad = reward.scores([p for p, _ in ids], [c for _, c in ids])
    assert short > long > bad  # 3.5, 2.5, .5 before normalisation


def test_an_attribute_without_variety_or_with_an_unknown_name_is_refused(model, tmp_path):
    stage = TrainAttributes(**COMMON, ratings=DATA, weights={"helpfulnes": 1.0})
    with pytest.raises(DataError, match=r"weights\.helpfulnes: 0 training ratings, all alike"):
        run(stage, tmp_path, model=model, data=rated(tmp_path / "data.jsonl"))
    with pytest.raises(ConfigError, match="weights must name an attribute that counts"):
        TrainAttributes(**COMMON, ratings=DATA, weights={"helpfulness": 0.0})


def test_verdicts_in_parts_become_ratings(tmp_path):
    rows = [sampled(PROMPTS[0], "Hello there.", task="everyday"), sampled(PROMPTS[0], "Answer: 7")]
    write_completions(tmp_path / "data.jsonl", rows)
    ctx = run(Rate(completions=DATA), tmp_path, data=tmp_path / "data.jsonl")
    (rating,) = read_ratings(ctx.output("ratings"))
    assert rating.completion == "Hello there." and rating.values["complete"] == 1.0
    counted = ctx.tallies.counts["completions without a verdict in parts"]
    assert counted == {"n": 1, "of": 2}


def margins(path, margin):
    rows = [
        PreferencePair(prompt=p, chosen="sum", rejected="dog", margin=margin(i))
        for i, p in enumerate(PROMPTS)
    ]
    write_pairs(path, rows)
    return path


def gap_after(model, tmp_path, coef, margin):
    stage = TrainReward(**COMMON, comparisons=DATA, margin_coef=coef, center_coef=0.0)
    path = margins(tmp_path / f"pairs-{coef}.jsonl", margin)
    ctx = run(stage, tmp_path, name=f"m{coef}".replace(".", ""), model=model, data=path)
    rows = read_rows(ctx.output("quality"))
    assert {row["margin"] for row in rows} <= {margin(i) for i in range(len(PROMPTS))}
    gaps = [row["chosen_score"] - row["rejected_score"] for row in rows]
    return ctx, sum(gaps) / len(gaps)


def test_margins_ask_for_wider_gaps_and_are_ignored_where_their_weight_is_zero(model, tmp_path):
    _, plain = gap_after(model, tmp_path, 0.0, lambda i: 3.0)
    ctx, wide = gap_after(model, tmp_path, 1.0, lambda i: 3.0)
    assert wide > plain + 1
    assert ctx.tallies.counts["pairs without a margin, taken as 0"]["n"] == 0
    ctx, _ = gap_after(model, tmp_path, 0.5, lambda i: None if i == 0 else 1.0)
    assert ctx.tallies.counts["pairs without a margin, taken as 0"]["n"] == 1
    with pytest.raises(DataError, match=r"margin_coef=2\.0, but no pair has a `margin`"):
        gap_after(model, tmp_path, 2.0, lambda i: None)


def test_scores_are_normalised_on_the_reference_completions(model, tmp_path):
    rows = [sampled(p, t) for p in PROMPTS[:5] for t in ("sum", "dog", "the cat")]
    write_completions(tmp_path / "reference.jsonl", rows)
    stage = TrainReward(**COMMON, comparisons=DATA, reference=OTHER)
    path = margins(tmp_path / "pairs.jsonl", lambda i: None)
    ctx = run(stage, tmp_path, model=model, data=path, other=tmp_path / "reference.jsonl")
    reward = open_reward_model(ctx.output("reward_model"), precision="float32", micro_tokens=512)
    text = TextModel.open(model, "float32")
    ids = [text.answer(row.problem.prompt, row.text) for row in rows]
    scores = torch.tensor(reward.scores([p for p, _ in ids], [c for _, c in ids]))
    assert float(scores.mean()) == pytest.approx(0, abs=1e-4)
    assert float(scores.std()) == pytest.approx(1, abs=1e-4)


def test_quality_says_which_answer_the_annotator_saw_first_and_has_more_markup(model, tmp_path):
    rows = [
        Comparison(
            prompt=p,
            a="- sum\n- **sum**",
            b="dog",
            winner="a" if i % 2 else "b",
            annotator="test",
            shown_order="ab" if i % 3 else "ba",
        )
        for i, p in enumerate(PROMPTS)
    ]
    write_comparisons(tmp_path / "data.jsonl", rows)
    stage = TrainReward(**COMMON, comparisons=DATA)
    ctx = run(stage, tmp_path, model=model, data=tmp_path / "data.jsonl")
    by_prompt = {row.prompt.last_user: (i, row) for i, row in enumerate(rows)}
    found = read_rows(ctx.output("quality"))
    for row in found:
        i, _ = by_prompt[row["prompt"]]
        a_won, a_first = bool(i % 2), bool(i % 3)
        assert row["shown_gap"] == (1 if a_won == a_first else -1)
        assert row["markup_gap"] == (3 if a_won else -3)
    assert len({row["shown_gap"] for row in found}) == 2


def test_an_ensemble_stands_in_for_a_reward_model(model, tmp_path):
    members = []
    for name in ("first", "second"):
        stage = TrainReward(**COMMON, comparisons=DATA)
        path = margins(tmp_path / f"{name}.jsonl", lambda i: None)
        members.append(run(stage, tmp_path / name, name=name, model=model, data=path))
    stage = Ensemble(members=(Ref("a", "one"), Ref("a", "two")), combine=Worst())
    paths = [ctx.output("reward_model") for ctx in members]
    ctx = run(stage, tmp_path, name="both", one=paths[0], two=paths[1])
    out = ctx.output("reward_model")
    rows = [sampled(p, t, path=model) for p in PROMPTS[:3] for t in ("dog", "sum")]
    each = [
        open_reward_model(path, precision="float32", micro_tokens=512).scores(
            [r.prompt_ids for r in rows], [r.tokens for r in rows]
        )
        for path in [*paths, out]
    ]
    assert each[2] == pytest.approx([min(a, b) for a, b in zip(each[0], each[1], strict=True)])
    assert each[0] != pytest.approx(each[1], abs=1e-3)  # their heads began apart
    write_completions(tmp_path / "rows.jsonl", rows)
    keep = Reject(completions=DATA, reward_model=OTHER, precision="float32")
    kept = run(keep, tmp_path, name="keep", data=tmp_path / "rows.jsonl", other=out)
    best = read_conversations(kept.output("best"))
    assert [c.messages[-1].content for c in best] == ["sum"] * 3
    nested = Ensemble(members=(Ref("a", "one"), Ref("a", "two")))
    with pytest.raises(ModelError, match=r"a\.two: is an ensemble itself"):
        run(nested, tmp_path, name="nested", one=paths[0], two=out)


def test_steps_are_labelled_by_where_continuations_lead(model, tmp_path):
    texts = ["the sum\nis\nAnswer: 7", "the sum\nAnswer: 4", "Answer: 7"]
    rows = [sampled(PROMPTS[i], t, index=i, path=model) for i, t in enumerate(texts)]
    rows.append(replace(rows[0], index=3, finish=Finish.LENGTH))
    write_completions(tmp_path / "data.jsonl", rows)
    stage = LabelSteps(
        model=MODEL,
        completions=DATA,
        num_continuations=5,
        draws=Draws(max_new_tokens=12),
        precision="float32",
    )
    ctx = run(stage, tmp_path, model=model, data=tmp_path / "data.jsonl")
    found = read_steps(ctx.output("steps"))
    assert [item.steps for item in found] == [
        ("the sum", "is", "Answer: 7"),
        ("the sum", "Answer: 4"),
        ("Answer: 7",),
    ]
    assert [item.labels[-1] for item in found] == [1.0, 0.0, 1.0]  # the verdict itself
    # A random model does not get there from the steps before.
    assert all(label == 0 for item in found for label in item.labels[:-1])
    assert ctx.tallies.counts["completions that were cut or have no verdict"] == {"n": 1}
    # Five continuations from each of three steps, each within what is left of twelve tokens.
    assert 0 < ctx.tallies.spent["sampled_tokens"] <= 5 * 3 * 11


@pytest.mark.parametrize(("estimate", "expected"), [("soft", 0.25), ("hard", 1.0)])
def test_soft_labels_are_shares_and_hard_ones_whether_any_was_right(estimate, expected):
    stage = LabelSteps(
        model=MODEL,
        completions=DATA,
        num_continuations=4,
        draws=Draws(max_new_tokens=12),
        estimate=estimate,
    )
    assert stage._label([0.0, 1.0, 0.0, 0.0]) == expected
    assert stage._label([0.0] * 4) == 0.0


def test_a_share_to_hold_out_is_between_none_and_all():
    with pytest.raises(ConfigError, match="heldout"):
        TrainOutcome(**COMMON | {"heldout": 1.0}, completions=DATA)
