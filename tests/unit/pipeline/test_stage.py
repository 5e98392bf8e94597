"""Contexts and artifacts: what a stage may touch, and how what it leaves is told apart."""

import json
from pathlib import Path

import pytest

from burnish import rng
from burnish.errors import ConfigError, RunError
from burnish.pipeline.artifact import Ref, hash_path, size_of
from burnish.pipeline.stage import Context

OUTPUTS = {"model": "model", "problems": "problems"}


def test_tallies_hold_the_last_total_not_the_sum(tmp_path: Path) -> None:
    ctx = Context.for_test(tmp_path, outputs=OUTPUTS)
    for n in (3, 5):  # as when a resumed loop counts again
        ctx.count("too long", n, of=10)
        ctx.spend(sampled_tokens=100 * n)
        ctx.tally("pairs", n)
        ctx.note(f"step {n}", key="step")
    ctx.spend(scored_tokens=7)
    ctx.finish()
    assert json.loads((ctx.dir / "tallies.json").read_text()) == {
        "counts": {"too long": {"n": 5, "of": 10}},
        "spent": {"sampled_tokens": 500, "scored_tokens": 7},
        "values": {"pairs": 5},
        "notes": {"step": "step 5"},
    }


def test_outputs_are_named_by_kind_and_only_those_declared(tmp_path: Path) -> None:
    ctx = Context.for_test(tmp_path, outputs=OUTPUTS)
    assert ctx.output("problems") == ctx.dir / "artifacts/problems.jsonl"
    assert ctx.output("model") == ctx.dir / "artifacts/model"
    with pytest.raises(RunError, match="did you mean `problems`"):
        ctx.output("problem")


def test_inputs_are_those_given(tmp_path: Path) -> None:
    ctx = Context.for_test(tmp_path, outputs={}, inputs={"a.model": tmp_path})
    assert ctx.input(Ref("a", "model")) == tmp_path
    with pytest.raises(RunError, match=r"does not read a.modle; did you mean `a.model`"):
        ctx.input(Ref("a", "modle"))


def test_the_seed_follows_the_run_and_the_stage(tmp_path: Path) -> None:
    ctx = Context.for_test(tmp_path, outputs={}, run_seed=4, name="rl")
    assert ctx.seed == rng.key(4, "rl")
    assert ctx.seed != Context.for_test(tmp_path, outputs={}, run_seed=4, name="sft").seed


def test_samples_are_replaced_as_a_whole(tmp_path: Path) -> None:
    ctx = Context.for_test(tmp_path, outputs={})
    ctx.write_samples([{"text": "a\nb"}, {"text": "é"}])

    def failing() -> object:
        yield {"text": "new"}
        raise ValueError

    with pytest.raises(ValueError):
        ctx.write_samples(failing())  # type: ignore[arg-type]
    lines = (ctx.dir / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["a\nb", "é"]


@pytest.mark.parametrize("text", ["a", "a.", ".b", "a.b.c", ""])
def test_a_reference_is_a_stage_and_an_output(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write it as stage.output"):
        Ref.from_text(text)
    assert Ref.from_text("a.b").to_text() == "a.b"


def test_a_directorys_hash_follows_names_and_content_and_nothing_else(tmp_path: Path) -> None:
    def make(name: str, files: dict[str, str]) -> Path:
        for inside, text in files.items():
            path = tmp_path / name / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    one = make("one", {"a": "1", "sub/b": "2"})
    assert hash_path(one) == hash_path(make("two", {"sub/b": "2", "a": "1"}))
    others = [{"a": "1", "sub/c": "2"}, {"a": "1", "sub/b": "3"}, {"a": "1", "b": "2"}, {"a": "1"}]
    hashes = {hash_path(make(f"x{i}", files)) for i, files in enumerate(others)}
    assert len(hashes | {hash_path(one)}) == 5
    assert (size_of(one), size_of(one / "a"), size_of(one / "none")) == (2, 1, -1)
    with pytest.raises(RunError, match="no such file"):
        hash_path(one / "none")
    (one / "link").symlink_to(one / "a")
    with pytest.raises(RunError, match="symbolic link"):
        hash_path(one)
