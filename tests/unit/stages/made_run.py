"""A run directory made from whole cloth, with the files and the flaws that a real one has."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from burnish.pipeline.artifact import KINDS, hash_path

# name -> (type, reads, outputs)
Stages = Mapping[str, tuple[str, tuple[str, ...], Mapping[str, str]]]
STAGES: Stages = {
    "sums": ("load_problems", (), {"train": "problems", "heldout": "problems"}),
    "everyday": ("load_problems", (), {"train": "problems", "heldout": "problems"}),
    "demos": ("load_conversations", (), {"conversations": "conversations"}),
    "base": ("load_model", (), {"model": "model"}),
    "sft": ("sft", ("base.model", "demos.conversations"), {"model": "model"}),
    "draws": ("sample", ("sft.model", "everyday.train"), {"completions": "completions"}),
    "compare": ("annotate", ("draws.completions",), {"comparisons": "comparisons"}),
    "reward": (
        "train_reward",
        ("sft.model", "compare.comparisons"),
        {"reward_model": "reward_model", "quality": "scores"},
    ),
    "rs": ("sft", ("sft.model", "draws.completions", "reward.reward_model"), {"model": "model"}),
    "rs_control": ("sft", ("sft.model", "draws.completions"), {"model": "model"}),
    "dpo": ("prefer", ("sft.model", "compare.comparisons"), {"model": "model"}),
    "ppo": ("rl", ("sft.model", "everyday.train", "reward.reward_model"), {"model": "model"}),
    "grpo": ("rl", ("sft.model", "sums.train"), {"model": "model"}),
    "scores": (
        "evaluate",
        (
            "base.model", "sft.model", "rs.model", "rs_control.model", "dpo.model", "ppo.model",
            "grpo.model", "sums.heldout", "everyday.heldout",
        ),
        {"scores": "scores"},
    ),
    "landscape": (
        "evaluate",
        (
            "sft.model", "rs.model", "rs_control.model", "dpo.model", "ppo.model",
            "everyday.heldout", "reward.reward_model",
        ),
        {"scores": "scores"},
    ),
    "overopt": (
        "over_optimisation",
        ("sft.model", "ppo.model", "reward.reward_model", "everyday.heldout"),
        {"curves": "curves"},
    ),
    "scaling": (
        "inference_scaling",
        ("sft.model", "grpo.model", "sums.heldout"),
        {"curves": "curves"},
    ),
}  # fmt: skip
MODELS = ("base", "sft", "rs", "rs_control", "dpo", "ppo", "grpo")
PLACED = ("sft", "rs", "rs_control", "dpo", "ppo")
SKILL = {
    "base": 0.05, "sft": 0.24, "rs": 0.25, "rs_control": 0.24, "dpo": 0.21, "ppo": 0.23,
    "grpo": 0.46,
}  # fmt: skip
GOLD = {
    "base": 0.22, "sft": 0.48, "rs": 0.54, "rs_control": 0.49, "dpo": 0.60, "ppo": 0.57,
    "grpo": 0.485,
}  # fmt: skip
PROXY = {"sft": 0.1, "rs": 0.5, "rs_control": 0.13, "dpo": 1.0, "ppo": 1.9}
KL = {"sft": 0.0, "rs": 1.4, "rs_control": 1.2, "dpo": 4.1, "ppo": 7.9}
HOSTILE = "</pre><script>alert('x')</script><img src=x onerror=alert(1)> & \u2028 ⟦ \u202e ok"


def make_run(root: Path, *, until: str = "scaling", num_problems: int = 120) -> Path:
    """Write a finished run, or one that stopped in the stage after `until`."""
    rng = np.random.default_rng(5)
    root.mkdir(parents=True, exist_ok=True)
    recipe = {
        "name": "quickstart",
        "description": "A base model learns to follow instructions, to please, and to add.",
        "seed": 7,
        "stages": {
            n: {"stage": t, "inputs": list(r), **_knobs(n, t)} for n, (t, r, _) in STAGES.items()
        },
        "sources": {
            "sft.lr": "paper [peak rate]: 2502.02737, table 4",
            "sft.schedule": "not_reported: 2502.02737; ours",
            "grpo.group_size": "ours: fits 16 GB",
            "grpo.algorithm.clip_low": "paper [ratio]: 1707.06347",
        },
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    _write(root / "env.json", {"sessions": [_session(0.0), _session(3600.0)]})
    done = list(STAGES).index(until)
    for number, name in enumerate(list(STAGES)[: done + 2]):
        _stage(root, number + 1, name, rng, num_problems, finished=number <= done)
    return root


def _session(after_s: float) -> dict[str, Any]:
    return {
        "started": 1790000000.0 + after_s,
        "python": "3.12.3",
        "platform": "Linux-6.8.0-x86_64-with-glibc2.39",
        "versions": {"burnish": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"},
        "commit": "8f1c0de" + "0" * 33,
        "cpu": "Example CPU @ 2.60GHz",
        "cores": 2,
        "memory_bytes": 16 * 2**30,
    }


def _knobs(name: str, kind: str) -> dict[str, Any]:
    placed = name == "landscape"
    models = {m: f"{m}.model" for m in (PLACED if placed else MODELS)}
    return {
        "evaluate": {"models": models, "draws": {"temperature": float(placed)}},
        "sft": {"lr": 2e-5, "epochs": 2, "schedule": {"cosine": {"warmup": 0.03}}},
        "rl": {"lr": 1e-5, "group_size": 8, "algorithm": {"grpo": {"clip_low": 0.2}}},
        "prefer": {"lr": 5e-6, "algorithm": {"dpo": {"beta": 0.1}}},
    }.get(kind, {})


def _stage(
    root: Path, number: int, name: str, rng: np.random.Generator, num: int, *, finished: bool
) -> None:
    kind, reads, outputs = STAGES[name]
    path = root / "stages" / f"{number:02}-{name}"
    key = hashlib.sha256(name.encode()).hexdigest()
    config = {"inputs": list(reads), **_knobs(name, kind)}
    _write(path / "config.json", {"name": name, "type": kind, "key": key, "config": config})
    _rows(path / "metrics.jsonl", _metrics(name, kind, rng))
    _rows(path / "samples.jsonl", _samples(kind, rng))
    if not finished:
        return
    _write(path / "tallies.json", _tallies(name, kind))
    artifacts = {}
    for output, artifact_kind in outputs.items():
        inside = f"artifacts/{output}{KINDS[artifact_kind]}"
        _artifact(path / inside, name, artifact_kind, rng, num)
        digest = hash_path(path / inside)
        artifacts[output] = {
            "kind": artifact_kind, "path": inside, "sha256": digest, "num_bytes": 1,
        }  # fmt: skip
    seconds = {"sft": 640.2, "ppo": 1830.0, "grpo": 2210.5, "base": 3.1}.get(name, 41.7)
    stage = {"name": name, "type": kind, "key": key, "seconds": seconds, "artifacts": artifacts}
    _write(path / "stage.json", {**stage, "inputs": dict.fromkeys(reads, "0" * 64)})


def _metrics(name: str, kind: str, rng: np.random.Generator) -> list[dict[str, float]]:
    steps = {"sft": 240, "train_reward": 60, "prefer": 90, "rl": 120}.get(kind, 0)
    rows = []
    for step in range(steps):
        at, noise = step / steps, rng.normal(0, 1)
        row = {
            "train/grad_norm": 1.2 + 0.2 * abs(noise),
            "train/lr": 2e-5 * (1 - at),
            "train/tokens": 4096.0,
            "train/seconds": 2.4 + 0.1 * noise,
        }
        if kind == "sft":
            row |= {
                "sft/nll": 1.1 + 1.6 * math.exp(-4 * at) + 0.07 * noise,
                "sft/token_accuracy": 0.74 - 0.3 * math.exp(-4 * at) + 0.01 * noise,
            }
        elif kind == "train_reward":
            row |= {"reward/accuracy": 0.5 + 0.25 * at + 0.05 * noise, "reward/margin": at}
        elif kind == "prefer":
            row |= {"dpo/accuracy": 0.5 + 0.3 * at + 0.04 * noise, "dpo/margin": 0.8 * at}
        elif kind == "rl":
            row |= {
                "rl/score": 0.2 + 0.3 * at + 0.04 * noise,
                "rl/kl": 3 * at,
                "rl/entropy": 1.2 - 0.6 * at,
                "rl/length": 22 - 6 * at + noise,
                "rl/zero_groups": 0.3 + 0.1 * at,
                "rl/sampler_gap": 0.002 + 0.0004 * abs(noise),
                "rl/sampled_tokens": 2048.0,
                "rl/reward/shape.line": 0.9 * at,
                "rl/failed": 0.0,
            }
        rows.append({"step": step} | row)
    return rows


def _samples(kind: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    if kind in ("sft", "prefer"):
        text = (
            "<|im_start|>user\nName three fruits & a <b>colour</b>.<|im_end|>\n"
            "<|im_start|>assistant\n⟦Apples, pears and plums; and red.<|im_end|>⟧\n"
        )
        return [{"kind": "first_batch", "text": text}, {"kind": "first_batch", "text": HOSTILE}]
    if kind == "rl":
        return [
            {
                "step": 10 * i,
                "prompt": f"What is {i} + {i + 3}?",
                "completion": f"{i} + {i + 3} = {2 * i + 3}.\nThe answer is {2 * i + 3}.",
                "score": float(rng.random() < 0.5),
            }
            for i in range(12)
        ]
    if kind == "annotate":
        return [{"prompt": "Greet me.", "a": "Hello!", "b": HOSTILE, "winner": "a"}]
    return []


def _tallies(name: str, kind: str) -> dict[str, Any]:
    spent = {
        "sft": {"trained_tokens": 1_204_311.0},
        "sample": {"sampled_tokens": 388_120.0},
        "rl": {"sampled_tokens": 1_920_000.0, "trained_tokens": 1_884_200.0},
        "evaluate": {"sampled_tokens": 210_113.0, "scored_tokens": 400_120.0},
    }.get(kind, {})
    counts = {
        "demos": {"empty completion": {"n": 3, "of": 2400}},
        "sft": {"truncated to 512 tokens": {"n": 41, "of": 2397}},
        "compare": {"pairs of equal completions passed over": {"n": 212, "of": 4800}},
    }.get(name, {})
    notes = {"x": "weights were dequantised from Q4_1"} if name == "base" else {}
    values = {"share of comparisons against the gold order": 0.182} if name == "compare" else {}
    return {"counts": counts, "spent": spent, "values": values, "notes": notes}


def _artifact(path: Path, name: str, kind: str, rng: np.random.Generator, num: int) -> None:
    if not KINDS[kind]:
        path.mkdir(parents=True)
        (path / "model.safetensors").write_bytes(name.encode())
    elif kind == "scores":
        _rows(path, _quality(rng, num) if name == "reward" else _scores(rng, num, name))
    elif kind == "curves":
        few = min(num, 60)
        _write(path, {"rows": _overopt(rng, few) if name == "overopt" else _scaling(rng, few)})
    else:
        _rows(path, [{"made": name}])


def _scores(rng: np.random.Generator, num: int, name: str) -> list[dict[str, Any]]:
    rows = []
    ease = rng.normal(0, 1.2, num)
    taste = rng.normal(0, 0.1, num)
    placed = name == "landscape"
    for model in PLACED if placed else MODELS:
        for i in range(0 if placed else num):
            a, b = 3 + i % 7, 2 + i % 5
            chance = 1 / (1 + math.exp(-(math.log(SKILL[model] / (1 - SKILL[model])) + ease[i])))
            right = bool(rng.random() < chance)
            answer = a + b if right else a + b + 1
            text = f"{a} + {b} = {answer}." if model != "base" else f"{a} + {b} = ? " * 8
            rows.append(
                _row(model, "chain_sum", i, f"What is {a} + {b}?", text, float(right), right, rng)
            )
        for i in range(num):
            score = float(np.clip(GOLD[model] + taste[i] + rng.normal(0, 0.06), 0, 1))
            text = HOSTILE if i == 0 else "Write to your landlord, say what is broken, and when."
            row = _row(model, "everyday", i, "How do I get a tap mended?", text, score, None, rng)
            if placed:
                row["proxy"] = PROXY[model] + 4 * taste[i] + float(rng.normal(0, 0.5))
                row["kl"] = max(0.0, KL[model] + float(rng.normal(0, 1.0))) if KL[model] else 0.0
            rows.append(row)
    rows[7] |= {} if placed else {"score": None, "passed": None}
    return rows


def _row(
    model: str, task: str, i: int, prompt: str, text: str, score: float, passed: bool | None,
    rng: np.random.Generator,
) -> dict[str, Any]:  # fmt: skip
    cut = model == "base" and bool(rng.random() < 0.7)
    problem = hashlib.sha256(f"{task}{i}".encode()).hexdigest()[:16]
    return {
        "model": model,
        "task": task,
        "problem": problem,
        "prompt": prompt,
        "completion": text,
        "score": score,
        "passed": passed,
        "tokens": int(rng.integers(12, 64)),
        "finish": "length" if cut else "stop",
    }


def _quality(rng: np.random.Generator, num: int) -> list[dict[str, Any]]:
    rows = []
    for i in range(3 * num):
        length, good = int(rng.normal(0, 60)), rng.normal(0.9, 1.4)
        rows.append(
            {
                "prompt": f"prompt {i // 3}",
                "chosen": "…",
                "rejected": "…",
                "chosen_score": float(good),
                "rejected_score": 0.0 if i else float(good),
                "shorter": float(length < 0) if length else 0.5,
                "bag_of_words": float(rng.random() < 0.6),
                "gold_gap": float(abs(good) / 4),
                "length_gap": length,
            }
        )
    return rows


def _overopt(rng: np.random.Generator, num: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    taste = rng.normal(0, 0.12, num)
    for series, xs in (("best_of_n", [1, 2, 4, 8, 16, 32, 64]), ("ppo", range(0, 105, 15))):
        for x in xs:
            kl = math.log(x) - (x - 1) / x if series == "best_of_n" else (x / 30) ** 2
            d = math.sqrt(kl)
            for i in range(num):
                gold = 0.48 + taste[i] + 0.13 * d - 0.04 * d * d * (1 + (series == "ppo"))
                rows.append(
                    {
                        "series": series,
                        "x": x,
                        "kl": kl,
                        "proxy": 0.1 + 3 * taste[i] + 0.8 * d + float(rng.normal(0, 0.2)),
                        "gold": gold + float(rng.normal(0, 0.03)),
                        "prompt": f"p{i}",
                    }
                )
    return rows


def _scaling(rng: np.random.Generator, num: int) -> list[dict[str, Any]]:
    rows = []
    for model, a in (("sft", 0.5), ("grpo", 1.1)):
        for i in range(num):
            p = float(rng.beta(a, 1.3))
            correct = int(rng.binomial(64, p))
            wrong = 64 - correct
            answers = {"7": correct, "8": wrong // 2, "9": wrong // 4, "12": wrong // 8}
            rows.append(
                {
                    "problem": f"q{i}",
                    "n": 64,
                    "correct": correct,
                    "answers": {k: v for k, v in answers.items() if v},
                    "gold_answer": "7",
                    "tokens": 64 * 21,
                    "model": model,
                    "right": [1] * correct + [0] * wrong,
                    "judged": {
                        "outcome": [
                            float(rng.normal(right, 1)) for right in [1] * correct + [0] * wrong
                        ]
                    },
                }
            )
    return rows


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def _rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text("".join(lines), encoding="utf-8")
