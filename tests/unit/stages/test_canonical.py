"""Recipes of the literature: every number has its source, and the laptop form is the same graph."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.recipes import load_recipe, packaged
from burnish.config import read_yaml
from burnish.data.store import read_rows
from burnish.engine.text_model import TextModel
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import full_keys, type_name
from burnish.pipeline.source import Source
from burnish.stages.load import LoadModel
from burnish.text.template import read_template, sha256_of
from burnish.text.tokenizer import load_tokenizer
from tests.tiny import CHATML
from tests.unit.cli.tiny_model import write_model

LAPTOP = sorted(name for name in packaged() if name.endswith("-laptop"))
FULL = [name.removesuffix("-laptop") for name in LAPTOP]
WHOLE = ("shape", "options", "constraints", "weights")
"""Fields whose numbers have one source together."""
COUNTED = ("conversations", "prompts", "pairs", "problems", "rows", "texts", "rated answers")
NUMBER = re.compile(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?")


def numbers(value: Any, key: str) -> Iterator[str]:
    """Dotted keys of the numbers that a recipe's file states."""
    if isinstance(value, dict):
        for name, below in value.items():
            yield from [f"{key}.{name}"] if name in WHOLE else numbers(below, f"{key}.{name}")
    elif isinstance(value, list):
        for i, below in enumerate(value):
            yield from numbers(below, f"{key}.{i}")
    elif not isinstance(value, bool) and NUMBER.fullmatch(str(value)):
        yield key


def stated(name: str) -> list[str]:
    found = []
    for stage, body in read_yaml(packaged()[name])[0]["stages"].items():  # type: ignore[union-attr]
        inside = body.get("stages", {}) if "rounds" in body else {stage: body}
        found += [f"{stage}.rounds"] * ("rounds" in body)
        for inner, fields in inside.items():
            found += list(numbers(fields, f"{stage}.{inner}" if "rounds" in body else inner))
    return found


@pytest.mark.parametrize("name", [*FULL, *LAPTOP])
def test_every_number_has_a_source_with_its_unit_and_status(name: str) -> None:
    given = read_yaml(packaged()[name])[0]["sources"]
    assert isinstance(given, dict)
    sources = {key: Source.from_text(str(text)) for key, text in given.items()}
    assert [text for key, text in given.items() if not Source.from_text(str(text)).source] == []
    known = full_keys(load_recipe(name))
    blocks = {key.partition(".")[0] for key in given if key.endswith(".rounds")}

    def plain(key: str) -> str:
        block, _, below = key.partition(".")
        return f"{block}_1_{below}" if block in blocks and below != "rounds" else key

    by_key = {known.get(plain(key), key): source for key, source in sources.items()}
    found = [known.get(plain(key), key) for key in stated(name)]
    assert [key for key in found if key not in by_key] == []
    assert [key for key in found if not by_key[key].unit] == []
    batches = [key for key in found if key.endswith(("batch_rows", "problems_per_step"))]
    assert batches
    assert [key for key in batches if not by_key[key].unit.startswith(COUNTED)] == []


@pytest.mark.parametrize("name", FULL)
def test_what_a_paper_does_not_say_is_marked_and_not_passed_for_its_own(name: str) -> None:
    sources = load_recipe(name).sources.values()
    statuses = {source.status for source in sources}
    assert statuses & {"not_reported", "unverified"} and statuses & {"paper", "code", "unverified"}
    loose = [
        s for s in sources if s.status == "not_reported" and not (s.note or "path" in s.source)
    ]
    assert [s for s in loose if "released" not in s.source] == []


@pytest.mark.parametrize("name", FULL)
def test_the_laptop_form_has_every_stage_of_the_full_one(name: str) -> None:
    full, laptop = load_recipe(name), load_recipe(f"{name}-laptop")

    def bare(stages: dict[str, Any]) -> dict[str, str]:
        return {re.sub(r"_\d_", "_N_", key): type_name(stage) for key, stage in stages.items()}

    ours, theirs = bare(full.stages), bare(laptop.stages)
    assert theirs.keys() >= ours.keys()
    made = ("load_data", "mix_problems")  # data are others, the rest is the same
    assert {k for k, kind in ours.items() if kind not in made and theirs[k] != kind} == set()
    assert "evaluate" in laptop.stages


@pytest.mark.parametrize("name", [*FULL, *LAPTOP])
def test_one_template_is_locked_for_the_whole_run(name: str) -> None:
    loaded = [s for s in load_recipe(name).stages.values() if isinstance(s, LoadModel)]
    assert {bool(stage.template_sha256) for stage in loaded} == {True}
    assert len({stage.template_sha256 for stage in loaded}) == 1
    for stage in loaded:
        if stage.template:
            assert sha256_of(read_template(stage.template)) == stage.template_sha256
        assert name in LAPTOP or stage.shape is not None


FEW: dict[str, dict[str, object]] = {
    "everyday_problems": {"num_train": 12, "num_heldout": 4},
    "worked_sums": {"num_train": 8, "num_heldout": 4, "num_demonstrations": 8},
    "constrained_prompts": {"num_train": 8, "num_heldout": 4},
    "reasoning_problems": {"num_train": 8, "num_heldout": 4},
    "sample": {
        "num_problems": 8,
        "num_samples": 4,
        "draws.max_new_tokens": 12,
        "draws.temperature": 1.0,
    },
    "sft": {"passes.max_steps": 1},
    "prefer": {"passes.max_steps": 1},
    "train_reward": {"passes.max_steps": 1, "heldout": 0.5},
    "train_attributes": {"passes.max_steps": 1, "heldout": 0.5},
    "rl": {
        "steps": 2,
        "problems_per_step": 2,
        "group_size": 2,
        "minibatches": 1,
        "draws.max_new_tokens": 6,
    },
    "evaluate": {"num_problems": 3, "draws.max_new_tokens": 4},
}
"""Values that make a stage of each type take a moment."""


def speak(self: TextModel, ids: Sequence[int]) -> str:
    """Words in the place of a random model's bytes, which no rubric tells apart."""
    words = ["name", "good", "book", "rain,", "write", "three", "lines.", "Why?", "tea", "bread"]
    text = " ".join(words[i % len(words)] for i in ids for _ in range(1 + i % 3))
    forms = (text.lower(), text.upper(), text.replace(",", ""), f"{text}.")
    return forms[ids[0] % 4] if ids else ""


@pytest.mark.parametrize("name", LAPTOP)
def test_every_laptop_recipe_runs_to_its_evaluation(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TextModel, "decode", speak)
    model = write_model(tmp_path / "model")
    stages = load_recipe(name).stages
    sets = [
        f"{stage}.{key}={value}"
        for stage, config in stages.items()
        for key, value in FEW.get(type_name(config), {}).items()
    ]
    loads = [stage for stage, config in stages.items() if isinstance(config, LoadModel)]
    sets += [f"{stage}.name={model}" for stage in loads]
    sets += [f"{stage}.template_sha256={sha256_of(CHATML)}" for stage in loads]
    if name == "r1-laptop":
        sets.append("keep.keep.score=0")  # a random model is never right
    if name == "llama2-chat-laptop":  # whose answers to a prompt mostly break the same rules
        sets += ["rules.num_train=24", "drawn_rules.num_problems=24"]
    run = execute(load_recipe(name, sets), tmp_path / "run", cache=tmp_path)
    scores = read_rows(run.artifact(Ref("evaluate", "scores")))
    models = vars(load_recipe(name).stages["evaluate"])["models"]
    assert list(dict.fromkeys(row["model"] for row in scores)) == list(models)
    for ref in models.values():
        assert load_tokenizer(run.artifact(ref)).chat_template == CHATML
