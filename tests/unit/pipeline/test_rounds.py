"""Blocks of rounds: what they are written out to, that rounds keep their keys, and each refusal."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.errors import ConfigError
from burnish.pipeline.artifact import ModelRef, ProblemsRef, Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import Recipe, dump, load
from burnish.pipeline.stage import Context
from tests.unit.pipeline import tiny
from tests.unit.pipeline.tiny import Fancy, Judge, Source, Train


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Gathers problems of this round and of earlier ones; `note` and `words` are plain text."""

    outputs: ClassVar[Mapping[str, str]] = {"problems": "problems", "model": "reward_model"}
    model: ModelRef
    earlier: tuple[ProblemsRef, ...] = ()
    note: str = ""
    words: tuple[str, ...] = ()
    setting: Fancy = Fancy()

    def run(self, ctx: Context) -> None:
        rows = "".join(ctx.input(ref).read_text() for ref in self.earlier)
        ctx.output("problems").write_text(rows + f"{ctx.name}\n")
        ctx.output("model").mkdir()
        (ctx.output("model") / "weights").write_text(self.note)


REGISTRY = {**tiny.REGISTRY, "pool": f"{__name__}:Pool"}

YAML = """\
name: rounds
seed: 7
stages:
  base: {stage: source}
  more:
    rounds: 3
    start: {model: base.model, judge: other.judge}
    carry: {model: tune.model, judge: draw.model}
    stages:
      draw:
        stage: pool
        model: carried.model
        earlier: past.draw.problems
        note: tune.model
      tune:
        stage: train
        model: carried.model
        problems: [draw.problems, past.draw.problems, base.problems]
        algorithm:
          fancy: {judge: carried.judge}
  other:
    rounds: 1
    start: {judge: first.model}
    carry: {judge: make.model}
    stages:
      make: {stage: pool, model: base.model, setting: {judge: carried.judge}, words: [past.make.x]}
  first: {stage: pool, model: base.model}
  last:
    stage: judge
    models: {first: more_1_tune.model, last: more.model}
sources:
  more.tune.steps: "ours: in each round"
  more_2_tune.steps: "ours: in the second"
"""


def write(tmp_path: Path, text: str = YAML) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return path


def by_hand(rounds: int = 3) -> Recipe:
    stages: dict[str, Any] = {"base": Source()}
    model, judge = Ref("base", "model"), Ref("other_1_make", "model")
    past: list[Ref] = []
    for n in range(1, rounds + 1):
        drawn = Ref(f"more_{n}_draw", "problems")
        stages[f"more_{n}_draw"] = Pool(model=model, earlier=tuple(past), note="tune.model")
        stages[f"more_{n}_tune"] = Train(
            model=model,
            problems=(drawn, *past, Ref("base", "problems")),
            algorithm=Fancy(judge=judge),
        )
        model, judge = Ref(f"more_{n}_tune", "model"), Ref(f"more_{n}_draw", "model")
        past.append(drawn)
    stages["other_1_make"] = Pool(
        model=Ref("base", "model"),
        setting=Fancy(judge=Ref("first", "model")),
        words=("past.make.x",),
    )
    stages["first"] = Pool(model=Ref("base", "model"))
    stages["last"] = Judge(models={"first": Ref("more_1_tune", "model"), "last": model})
    sources = {f"more_{n}_tune.steps": "ours: in each round" for n in range(1, rounds + 1)}
    sources["more_2_tune.steps"] = "ours: in the second"
    return Recipe(name="rounds", seed=7, stages=stages, sources=sources)


def test_a_block_is_written_out_to_the_stages_of_all_its_rounds(tmp_path: Path) -> None:
    loaded = load(write(tmp_path), REGISTRY)
    assert loaded == by_hand()
    assert list(loaded.stages) == list(by_hand().stages)
    assert load(write(tmp_path, dump(loaded)), REGISTRY) == loaded


def test_one_more_round_leaves_the_keys_of_all_stages_before_it(tmp_path: Path) -> None:
    three = load(write(tmp_path), REGISTRY).keys()
    four = load(write(tmp_path), REGISTRY, ["more.rounds=4"]).keys()
    assert [name for name in three if three[name] != four[name]] == ["last"]
    assert four.keys() - three.keys() == {"more_4_draw", "more_4_tune"}
    assert four == by_hand(4).keys()


def test_a_run_with_one_more_round_redoes_none_that_is_done(tmp_path: Path) -> None:
    two = load(write(tmp_path), REGISTRY, ["more.rounds=2"])
    run = execute(two, tmp_path / "run", cache=tmp_path)
    done = {r.name: (r.dir / "stage.json").stat().st_mtime_ns for r in run.stages()}
    run = execute(load(write(tmp_path), REGISTRY), tmp_path / "run", cache=tmp_path)
    after = {r.name: (r.dir / "stage.json").stat().st_mtime_ns for r in run.stages()}
    assert {name for name in after if after[name] != done.get(name)} == {
        "more_3_draw",
        "more_3_tune",
        "last",
    }
    drawn = run.artifact(Ref("more_3_draw", "problems")).read_text().split()
    assert drawn == ["more_1_draw", "more_1_draw", "more_2_draw", "more_3_draw"]
    weights = (run.artifact(Ref("more_3_tune", "model")) / "weights").read_text()
    assert weights.startswith("base|") and weights.count("|") == 3


def test_set_reaches_every_round_or_one(tmp_path: Path) -> None:
    recipe = load(
        write(tmp_path),
        REGISTRY,
        ["stages.more.tune.steps=9", "more_2_tune.steps=5", "more.tune.algorithm.beta=2"],
    )
    tuned = [recipe.stages[f"more_{n}_tune"] for n in (1, 2, 3)]
    assert [(t.steps, t.algorithm.beta) for t in tuned if isinstance(t, Train)] == [
        (9, 2.0),
        (5, 2.0),
        (9, 2.0),
    ]
    assert recipe.sources["more_3_tune.steps"] == "set on the command line"


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("more.rounds=0", "rounds must be from 1 to 99 (got 0)"),
        ("more.rounds=many", "valid integer"),
        ("more.rounds=[", "not valid YAML"),
        ("more.tune.stepz=1", "did you mean `steps`"),
        ("more.tun.steps=1", "no stage `more`"),
    ],
)
def test_a_wrong_set_of_a_block_is_refused(tmp_path: Path, assignment: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path), REGISTRY, [assignment])
    assert str(caught.value).startswith("--set more") and words in str(caught.value)


@pytest.mark.parametrize(
    ("find", "put", "line", "words"),
    [
        ("rounds: 3", "round: 3", 6, ("`stages.more.round`", "did you mean `rounds`")),
        ("rounds: 3", "rounds: 0", 6, ("`stages.more.rounds`", "from 1 to 99 (got 0)")),
        ("rounds: 3", "rounds: 100", 6, ("from 1 to 99",)),
        ("rounds: 3", "rounds: some", 6, ("valid integer",)),
        ("    rounds: 3\n", "", 5, ("`stages.more.rounds`: missing",)),
        (", judge: other.judge}", "}", 8, ("carry has `judge` and start has not",)),
        (", judge: draw.model}", "}", 7, ("start has `judge` and carry has not",)),
        ("{model: tune.model, ", "{model: tun.model, ", 8, ("no stage of the block", "`tune`?")),
        ("{model: tune.model, ", "{model: base.model, ", 8, ("`base`, which is no stage",)),
        ("{model: tune.model, ", "{model: tune.modle, ", 12, ("more_1_tune", "`modle`")),
        ("{model: base.model, ", "{model: draw.model, ", 12, ("no stage `draw`",)),
        ("{model: base.model, ", "{model: more.model, ", 7, ("start.model`: there is no",)),
        ("{model: base.model, ", "{model: base, ", 7, ("write it as stage.output",)),
        ("model: carried.model", "model: carried.modle", 12, ("did you mean `carried.model`",)),
        ("model: carried.model", "model: more.model", 12, ("there is no `more.model` here",)),
        ("model: carried.model", "model: past.tune.model", 12, ("is a list, and one output",)),
        ("model: carried.model", "model: drw.model", 12, ("no stage `drw`",)),
        ("{judge: carried.judge}", "{judge: past.draw.model}", 20, ("is a list, and one",)),
        ("past.draw.problems\n", "past.drew.problems\n", 13, ("`drew` is no stage", "`draw`?")),
        ("past.draw.problems\n", "past.draw\n", 13, ("write it as past.stage.output",)),
        ("past.draw.problems\n", "draw.problems\n", 13, ("earlier`", "valid")),
        ("past.draw.problems,", "past.draw.model,", 18, ("tune.problems.1", "wants problems")),
        (
            "      tune:",
            "      base: {stage: source}\n      tune:",
            15,
            ("a stage `base` outside as well",),
        ),
        (
            "      tune:",
            "      past: {stage: source}\n      tune:",
            15,
            ("`past` has a meaning of its own",),
        ),
        ("  first:", "  carried:", 27, ("`carried` has a meaning of its own",)),
        ("  first:", "  more_1_draw:", 27, ("makes another stage `more_1_draw`",)),
        ("  other:", f"  {'o' * 34}:", 26, ("1 to 40",)),
        ("make: {stage: pool", "make: {rounds: 2", 26, ("blocks inside blocks",)),
        ("make: {stage: pool", "make: {stage: pol", 26, ("did you mean `pool`",)),
        ("last: more.model", "last: more.mode", 30, ("did you mean `more.model`",)),
        ("last: more.model", "last: carried.model", 30, ("there is no `carried.model` here",)),
        ("model: base.model}\n  last", "model: past.draw.model}\n  last", 27, ("is a list",)),
        ('steps: "ours: in each', 'stepz: "ours: in each', 32, ("no such key", "tune.steps")),
        ("more_2_tune.steps", "more_4_tune.steps", 33, ("no such key",)),
    ],
)
def test_a_mistake_in_a_block_is_named_with_its_line_and_the_fix(
    tmp_path: Path, find: str, put: str, line: int, words: tuple[str, ...]
) -> None:
    assert find in YAML
    path = write(tmp_path, YAML.replace(find, put, 1))
    with pytest.raises(ConfigError) as caught:
        load(path, REGISTRY)
    message = str(caught.value)
    assert message.startswith(f"{path}:{line}: "), message
    assert all(word in message for word in words), message


def test_past_outside_of_a_block_is_refused(tmp_path: Path) -> None:
    text = YAML.replace("first: {stage: pool,", "first: {stage: pool, earlier: past.draw.problems,")
    with pytest.raises(ConfigError, match=r":27: .*no past outside of a block"):
        load(write(tmp_path, text), REGISTRY)


def test_without_blocks_the_names_have_no_meaning_of_their_own(tmp_path: Path) -> None:
    text = "name: x\nstages:\n  carried: {stage: source}\n  past: {stage: source}\n"
    text += "  t: {stage: train, model: carried.model, problems: [past.problems]}\n"
    stage = load(write(tmp_path, text), REGISTRY).stages["t"]
    assert dataclasses.asdict(stage)["model"] == {"stage": "carried", "output": "model"}
