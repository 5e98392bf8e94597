"""The report's tables about reward models: biases, clear and close pairs, labels held out."""

import json

import pytest

from burnish.stages.report_bias import bias_table, clarity_table
from burnish.stages.report_files import read_run
from burnish.stages.report_labelled import labelled_section, read_label_quality
from burnish.stages.report_numbers import Numbers
from burnish.stages.report_pools import read_scaling


def pairs(**columns):
    """One row a prompt from parallel columns."""
    (num,) = {len(column) for column in columns.values()}
    return [
        {"prompt": f"p{i}", **{key: column[i] for key, column in columns.items()}}
        for i in range(num)
    ]


def value(numbers, key):
    return numbers.entries[key].value


def test_biases_are_counted_over_the_pairs_that_differ():
    # the longer one is chosen in 2 of 4; the model is right on 3: it prefers the longer in 3 of 4
    rows = pairs(
        length_gap=[5, 9, -4, -1, 0],
        right=[1.0, 1.0, 0.0, 1.0, 1.0],
        shown_gap=[None] * 5,
        markup_gap=[0] * 5,
    )
    numbers = Numbers()
    shown = bias_table("rm", "rows.jsonl", rows, numbers)
    assert "the longer one" in shown and "shown first" not in shown and "markup" not in shown
    at = "reward/rm/bias/length_gap"
    assert value(numbers, f"{at}/labels") == 0.5
    assert value(numbers, f"{at}/model") == 0.75
    assert value(numbers, f"{at}/added") == pytest.approx(0.25)
    assert value(numbers, f"{at}/pairs") == 4


def test_a_bias_for_what_was_shown_first_is_the_labels_own():
    rows = pairs(shown_gap=[1, 1, 1, -1], right=[1.0, 0.0, 1.0, 1.0])
    numbers = Numbers()
    bias_table("rm", "rows.jsonl", rows, numbers)
    assert value(numbers, "reward/rm/bias/shown_gap/labels") == 0.75
    assert value(numbers, "reward/rm/bias/shown_gap/model") == 0.5


def test_nothing_to_compare_gives_no_table():
    rows = pairs(length_gap=[0, 0], right=[1.0, 0.0])
    assert not bias_table("rm", "rows.jsonl", rows, Numbers())
    assert not clarity_table("rm", "rows.jsonl", rows, Numbers())


def test_accuracy_is_shown_for_each_margin_where_there_are_few():
    rows = pairs(margin=[1.0, 1.0, 3.0, 3.0], right=[1.0, 0.0, 1.0, 1.0])
    numbers = Numbers()
    shown = clarity_table("rm", "rows.jsonl", rows, numbers)
    assert "margin, absolute" in shown
    assert value(numbers, "reward/rm/clarity/1") == 0.5
    assert value(numbers, "reward/rm/clarity/2") == 1.0


def test_margins_that_look_alike_have_an_accuracy_each():
    rows = pairs(margin=[0.1821, 0.1821, 0.1822, 0.1822], right=[1.0, 0.0, 1.0, 1.0])
    numbers = Numbers()
    clarity_table("rm", "rows.jsonl", rows, numbers)
    assert [value(numbers, f"reward/rm/clarity/{n}") for n in (1, 2)] == [0.5, 1.0]


def test_gold_gaps_stand_in_for_margins_in_three_parts_of_all_pairs():
    gaps = [0.05 * i * (-1) ** i for i in range(1, 13)]
    rows = pairs(margin=[None] * 12, gold_gap=gaps, right=[0.0] * 4 + [1.0] * 8)
    numbers = Numbers()
    clarity_table("rm", "rows.jsonl", rows, numbers)
    counts = [v.value for k, v in numbers.entries.items() if k.endswith("/pairs")]
    assert counts == [4, 4, 4]
    accuracies = [
        v.value for k, v in numbers.entries.items() if k.count("/") == 3 and "clarity" in k
    ]
    assert accuracies == [0.0, 1.0, 1.0]


def made_run(path, rows, kind="scores"):
    """A run with one stage that wrote rows of a kind."""
    stage = path / "stages" / "01-judge"
    (stage / "artifacts").mkdir(parents=True)
    source = "artifacts/made.jsonl"
    (stage / source).write_text("".join(json.dumps(row) + "\n" for row in rows))
    artifact = {"kind": kind, "path": source, "sha256": "0" * 64, "num_bytes": 1}
    files = {
        stage / "config.json": {"name": "judge", "type": "train_outcome", "key": "k", "config": {}},
        stage / "stage.json": {
            "name": "judge", "type": "train_outcome", "key": "k", "seconds": 1.0,
            "artifacts": {"made": artifact}, "inputs": {},
        },
        path / "run.json": {"recipe": "made", "seed": 0},
    }  # fmt: skip
    for file, content in files.items():
        file.write_text(json.dumps(content))
    (path / "recipe.yaml").write_text("name: made\nstages: {}\n")
    return read_run(path)


def label(prompt, name, true, predicted, *, probability):
    return {
        "prompt": prompt,
        "label": name,
        "true": true,
        "predicted": predicted,
        "probability": probability,
    }


def test_probabilities_and_attributes_are_set_beside_what_needs_no_model(tmp_path):
    chances = [(1, 0.9), (1, 0.6), (1, 0.4), (0, 0.1)]
    ratings = [(1.0, 1.5), (3.0, 2.5), (1.0, 1.0), (3.0, 3.0)]
    rows = [label(f"p{i}", "right", t, p, probability=True) for i, (t, p) in enumerate(chances)]
    rows += [label(f"p{i}", "wit", t, p, probability=False) for i, (t, p) in enumerate(ratings)]
    found = read_label_quality(made_run(tmp_path, rows))
    assert [(q.label, q.probability, len(q.rows)) for q in found] == [
        ("right", True, 4),
        ("wit", False, 4),
    ]
    numbers = Numbers()
    section = labelled_section(found, numbers)
    assert section is not None and "judge: right" in section.body and "judge: wit" in section.body
    assert value(numbers, "labelled/judge/right/accuracy") == 0.75
    assert value(numbers, "labelled/judge/right/gain") == 0.0  # always `right` does as well
    assert value(numbers, "labelled/judge/right/auc") == 1.0
    assert value(numbers, "labelled/judge/wit/error") == 0.25
    assert value(numbers, "labelled/judge/wit/gain") == 0.75  # guessing 2 errs by 1
    assert labelled_section([], numbers) is None


def test_the_best_of_k_is_what_a_judge_scores_highest(tmp_path):
    pool = {"problem": "p", "n": 4, "correct": 2, "right": [1, 0, 0, 1]}
    judged = {"good": [4.0, 1.0, 2.0, 3.0], "bad": [1.0, 4.0, 3.0, 2.0], "short": [1.0]}
    (found,) = read_scaling(made_run(tmp_path, [{**pool, "judged": judged}], kind="curves"))
    assert found.judges == ("good", "bad")  # one without a score for each sample is left out
    best = {b.k: {j: b.best[j].estimate for j in found.judges} for b in found.budgets}
    assert best[1] == pytest.approx({"good": 0.5, "bad": 0.5})
    # of the six pairs, only {1, 2} has no right one; the good judge finds it in the other five
    assert best[2] == pytest.approx({"good": 5 / 6, "bad": 1 / 6})
    assert best[4] == pytest.approx({"good": 1.0, "bad": 0.0})
