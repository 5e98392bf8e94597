"""The report's sections on studies, from rows made by hand: every figure by hand too."""

import json
import math

import numpy as np
import pytest

from burnish.evals.shift import kind_of
from burnish.stages.report_crossing import crossing_section, read_pairs
from burnish.stages.report_examples import examples_section, read_portions
from burnish.stages.report_files import read_run
from burnish.stages.report_fits import Fitted, fits_table
from burnish.stages.report_kinds import num_weights
from burnish.stages.report_numbers import Numbers
from burnish.stages.report_optimum import optimum_section, read_gaps
from burnish.stages.report_pools import read_scaling
from burnish.stages.report_scores import read_scores
from burnish.stages.report_sequential import read_sequential, sequential_section
from burnish.stages.report_shift import read_shifts, shift_section
from burnish.stages.report_training_scaling import (
    read_training_scaling,
    training_scaling_section,
)


def made(root, stages):
    """A finished run. stages: name -> (type, config, artifact kind, rows, tallied values)."""
    recipe = {"name": "made", "stages": {n: {"stage": s[0], **s[1]} for n, s in stages.items()}}
    root.mkdir(parents=True, exist_ok=True)
    (root / "recipe.yaml").write_text(json.dumps(recipe))
    for number, (name, (kind, config, artifact, rows, values)) in enumerate(stages.items(), 1):
        home = root / "stages" / f"{number:02}-{name}"
        (home / "artifacts").mkdir(parents=True)
        suffix = ".json" if artifact == "curves" else ".jsonl"
        lines = [json.dumps(row) for row in rows]
        text = "[" + ",\n".join(lines) + "]" if artifact == "curves" else "\n".join(lines)
        (home / "artifacts" / f"out{suffix}").write_text(text)
        about = {"name": name, "type": kind, "key": "k", "config": config}
        (home / "config.json").write_text(json.dumps(about))
        out = {"kind": artifact, "path": f"artifacts/out{suffix}", "sha256": "", "num_bytes": 0}
        done = {"key": "k", "seconds": 1.0, "artifacts": {"out": out}}
        (home / "stage.json").write_text(json.dumps(done))
        (home / "tallies.json").write_text(json.dumps({"values": values}))
    return read_run(root)


def curves(root, kind, rows):
    return made(root, {"study": (kind, {}, "curves", rows, {})})


def value(numbers, key):
    return numbers.entries[key].value


def thought(way, at, tokens, right):
    return [
        {
            "model": "m",
            "problem": f"p{i // 2}",
            "sample": i % 2,
            "way": way,
            "at": at,
            "thinking": tokens - 4,
            "tokens": tokens,
            "right": r,
        }
        for i, r in enumerate(right)
    ]


def test_thinking_is_compared_with_its_own_length_on_the_same_problems(tmp_path):
    rows = [
        *thought("cut", 0, 4, [0, 0, 0, 0, 1, 0]),
        *thought("cut", 4, 8, [1, 0, 0, 0, 1, 0]),
        *thought("own", 0, 16, [1, 1, 0, 1, 1, 0]),
        *thought("wait", 1, 24, [1, 0, 0, 1, 1, 0]),
    ]
    (found,) = read_sequential(curves(tmp_path, "budget_forcing", rows))
    numbers = Numbers()
    assert sequential_section([found], numbers) is not None
    assert value(numbers, "sequential/study/m/own-0") == pytest.approx(4 / 6)
    assert value(numbers, "sequential/study/m/cut-0/change") == pytest.approx(1 / 6 - 4 / 6)
    assert value(numbers, "sequential/study/m/wait-1/change") == pytest.approx(-1 / 6)
    assert value(numbers, "sequential/study/m/cut-4/thinking") == 4
    # accuracies 1/6, 2/6, 4/6 at 4, 8 and 16 tokens: a quarter a doubling
    assert value(numbers, "sequential/study/m/fit/cut short/b") == pytest.approx(0.25)
    assert [fit.curve for fit in found.fits] == ["cut short"]  # own and one wait are two points


def snapshot(run, step, flops, right):
    return [
        {"run": run, "step": step, "problem": f"p{i}", "right": r, "flops": flops * 1e12,
         "sampled_tokens": 10 * step, "trained_tokens": 20 * step, "scored_tokens": 0}
        for i, r in enumerate(right)
    ]  # fmt: skip


def test_training_is_fitted_over_operations_and_compared_with_its_start(tmp_path):
    rows = [
        *snapshot("rl", 0, 0, [0, 0, 0, 0, 1]),
        *snapshot("rl", 1, 1, [0, 0, 0, 1, 1]),
        *snapshot("rl", 2, 2, [0, 0, 1, 1, 1]),
        *snapshot("rl", 4, 4, [0, 1, 1, 1, 1]),
    ]
    (found,) = read_training_scaling(curves(tmp_path, "training_scaling", rows))
    numbers = Numbers()
    assert training_scaling_section([found], numbers) is not None
    assert value(numbers, "training/study/rl/0/solved") == pytest.approx(0.2)
    assert value(numbers, "training/study/rl/4/gain") == pytest.approx(0.6)
    assert value(numbers, "training/study/rl/4/compute") == pytest.approx(4)
    assert value(numbers, "training/study/rl/2/sampled") == 20
    assert value(numbers, "training/study/rl/fit/line/b") == pytest.approx(0.2)
    assert 0.8 <= value(numbers, "training/study/rl/fit/sigmoid/A") <= 1.0


def test_tokens_are_counted_by_how_far_they_are_shifted(tmp_path):
    assert [kind_of(r) for r in (1, 2, 3, 4)] == ["unshifted", "marginal", "marginal", "shifted"]
    rows = [
        {"model": "m", "problem": f"p{i}", "ranks": [9, 1, 2, 1], "tokens": ["Hm", "a", "b", "c"]}
        for i in range(10)
    ]
    rows[0]["ranks"] = [1, 5, 1, 1]
    (found,) = read_shifts(curves(tmp_path, "token_shift", rows))
    numbers = Numbers()
    assert shift_section([found], numbers) is not None
    assert value(numbers, "shift/study/m/shifted") == pytest.approx(0.25)
    assert value(numbers, "shift/study/m/0/shifted") == pytest.approx(0.9)
    assert value(numbers, "shift/study/m/1/unshifted") == pytest.approx(0.9)
    # positions 3 and 4 together: a marginal and an unshifted one each, but in the first answer
    assert value(numbers, "shift/study/m/2/marginal") == pytest.approx(0.45)
    assert [m[:2] for m in found.most] == [("Hm", 9), ("a", 1)]
    assert value(numbers, "shift/study/m/most/0/of") == 10


def test_positions_that_few_answers_reach_are_left_out(tmp_path):
    rows = [
        {
            "model": "m",
            "problem": f"p{i}",
            "ranks": [1] * (1 + (i < 5)),
            "tokens": ["a"] * (1 + (i < 5)),
        }
        for i in range(10)
    ]
    (found,) = read_shifts(curves(tmp_path, "token_shift", rows))
    assert [s.first for s in found.stretches] == [0]


def pool(model, problem, correct, n=32):
    return {"model": model, "problem": problem, "n": n, "correct": correct, "tokens": 4 * n}


def test_a_start_that_catches_up_is_found_with_the_problems_that_only_one_solves(tmp_path):
    before, after = [2, 2, 2, 0, 1], [24, 20, 0, 0, 8]
    rows = [pool("sft", f"p{i}", c) for i, c in enumerate(before)]
    rows += [pool("rl", f"p{i}", c) for i, c in enumerate(after)]
    run = curves(tmp_path, "inference_scaling", rows)
    (found,) = read_pairs(run, read_scaling(run))
    assert (found.before, found.after) == ("sft", "rl")
    assert (found.both, found.only_before, found.only_after, found.neither) == (3, 1, 0, 1)
    numbers = Numbers()
    assert crossing_section([found], numbers) is not None
    lead = sum(after) / 160 - sum(before) / 160
    assert value(numbers, "crossing/study/rl/1/gain") == pytest.approx(lead)
    assert 4 < found.crossing.estimate < 32
    assert value(numbers, "crossing/study/rl/32/gain") == pytest.approx(-0.2)


def test_a_start_that_never_catches_up_is_said_to_need_more_tries(tmp_path):
    rows = [pool("sft", f"p{i}", 0) for i in range(4)]
    rows += [pool("rl", f"p{i}", 30) for i in range(4)]
    run = curves(tmp_path, "inference_scaling", rows)
    found = read_pairs(run, read_scaling(run))
    section = crossing_section(found, Numbers())
    assert math.isinf(found[0].crossing.estimate)
    assert section is not None and "more than" in section.body


def test_few_tries_and_other_problems_are_not_compared(tmp_path):
    few = [pool(m, "p", 1, n=8) for m in ("sft", "rl")]
    other = [pool("sft", "p", 1), pool("rl", "q", 1)]
    for name, rows in (("few", few), ("other", other)):
        run = curves(tmp_path / name, "inference_scaling", rows)
        assert read_pairs(run, read_scaling(run)) == []


def scored(model, scores):
    return [
        {"model": model, "task": "t", "problem": f"p{i}", "score": s, "passed": None}
        for i, s in enumerate(scores)
    ]


def test_models_tuned_on_portions_are_put_in_order_of_their_size(tmp_path):
    sizes = {"sft_4": 4, "sft_2": 2, "sft_8": 8}
    models = {"base": "base.model"} | {name: f"{name}.model" for name in sizes}
    rows = scored("base", [0.1, 0.3]) + scored("sft_4", [0.4, 0.6])
    rows += scored("sft_2", [0.3, 0.5]) + scored("sft_8", [0.5, 0.7])
    stages = {
        "base": ("load_model", {}, "model", [], {}),
        "parts": ("nested_subsets", {}, "conversations", [], {}),
        **{
            name: ("sft", {"data": [f"parts.first_{size}"]}, "model", [], {})
            for name, size in sizes.items()
        },
        "scores": ("evaluate", {"models": models}, "scores", rows, {}),
    }
    run = made(tmp_path, stages)
    (found,) = read_portions(run, read_scores(run))
    assert list(found.cells) == [0, 2, 4, 8]
    numbers = Numbers()
    assert examples_section([found], numbers) is not None
    assert value(numbers, "examples/scores/t/2") == pytest.approx(0.4)
    assert value(numbers, "examples/scores/t/2/gain") == pytest.approx(0.2)
    assert value(numbers, "examples/scores/t/8/gain") == pytest.approx(0.1)
    assert value(numbers, "examples/scores/t/fit/b") == pytest.approx(0.1)


def test_the_gap_to_the_optimum_is_paired_by_day_and_taken_over_seeds(tmp_path):
    rows = scored("optimum", [190, 180]) + scored("rule", [180, 179])
    rows += scored("seed-0", [188, 176]) + scored("seed-1", [186, 178])
    values = {"value iteration: expected return of these days": 184.5}
    run = made(tmp_path, {"best": ("thermostat_optimum", {}, "scores", rows, values)})
    (found,) = read_gaps(run, read_scores(run))
    numbers = Numbers()
    assert optimum_section([found], numbers) is not None
    assert value(numbers, "optimum/best/rule/gap") == pytest.approx(5.5)
    assert value(numbers, "optimum/best/seeds") == pytest.approx(3.0)
    assert found.seeds is not None and found.seeds.n == 2
    assert value(numbers, "optimum/best/expected") == 184.5


def test_weights_are_counted_from_the_header_alone(tmp_path):
    import torch
    from safetensors.torch import save_file

    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16)}
    save_file(tensors | {"ids": torch.zeros(7, dtype=torch.int64)}, tmp_path / "w.safetensors")
    assert num_weights(tmp_path / "w.safetensors") == 17
    (tmp_path / "cut.safetensors").write_bytes(b"\xff" * 12)
    with pytest.raises(ValueError, match="in a smaller file"):
        num_weights(tmp_path / "cut.safetensors")


def test_a_law_that_does_not_fit_says_why():
    def refuse(curve):
        from burnish.errors import DataError

        raise DataError("two points are none")

    fit = Fitted.of("c", "y = x", "key", "file", [np.array([0.1])], refuse)
    shown = fits_table([fit], Numbers())
    assert "no fit: two points are none" in shown
    assert fits_table([], Numbers()) == ""


def test_a_judge_that_gives_probabilities_weighs_a_vote(tmp_path):
    row = {
        "model": "m", "problem": "p", "n": 2, "correct": 1, "right": [1, 0], "tokens": 8,
        "answers": {"7": 1, "8": 1}, "said": ["7", "8"], "gold_answer": "7",
        "judged": {"sure": [0.9, 0.2], "score": [3.0, -1.0]},
    }  # fmt: skip
    (found,) = read_scaling(curves(tmp_path, "inference_scaling", [row]))
    assert set(found.budgets[0].weighted) == {"sure"}
    assert found.budgets[1].weighted["sure"].estimate == 1.0
    majority = found.budgets[1].majority
    assert majority is not None and majority.estimate == 0.5
