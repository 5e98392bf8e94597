"""The merge stage in a recipe: its methods, what is refused before a run, and its tokenizer."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from burnish.errors import BurnishError, ConfigError, Interrupted, ModelError
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.recipe import dump, load
from burnish.pipeline.stage import Context
from burnish.pipeline.wiring import inputs_of
from burnish.stages import STAGES
from burnish.stages.merge import Linear, Merge, TaskVectors
from tests.tiny import tiny_llama, tiny_tokenizer

A, B, C = Ref("a", "model"), Ref("b", "model"), Ref("c", "model")


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    tokenizer = tiny_tokenizer()
    for seed, name in enumerate("abc"):
        tiny_llama(tokenizer, seed).save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
    return {f"{name}.model": tmp_path / name for name in "abc"}


def run(stage: Merge, models: dict[str, Path], path: Path) -> Context:
    ctx = Context.for_test(path, outputs=stage.outputs, inputs=models)
    stage.run(ctx)
    return ctx


RECIPE = """\
name: merging
stages:
  a: {{stage: load_model, name: {a}}}
  b: {{stage: load_model, name: {b}}}
  c: {{stage: load_model, name: {c}}}
  soup: {{stage: merge, models: [a.model, b.model, c.model]}}
  sum:
    stage: merge
    models: [b.model, soup.model]
    method:
      task_vectors: {{base: a.model, scales: [0.5, 0.25]}}
"""


def test_a_recipe_merges_models_and_finds_the_base_among_its_inputs(
    models: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(RECIPE.format(**{n: models[f"{n}.model"] for n in "abc"}))
    recipe = load(file, STAGES)
    file.write_text(dump(recipe))
    assert load(file, STAGES) == recipe
    assert [(i.field, i.ref) for i in inputs_of(recipe.stages["sum"])] == [
        ("models.0", B),
        ("models.1", Ref("soup", "model")),
        ("method.base", A),
    ]
    found = execute(recipe, tmp_path / "run", cache=tmp_path)
    soup, total = (
        load_file(found.artifact(Ref(name, "model")) / "model.safetensors")
        for name in ("soup", "sum")
    )
    a, b, c = (load_file(models[f"{n}.model"] / "model.safetensors") for n in "abc")
    for name in a:
        mean = (a[name] + b[name] + c[name]) / 3
        torch.testing.assert_close(soup[name], mean, atol=1e-6, rtol=1e-6)
        expected = 0.25 * a[name] + 0.5 * b[name] + 0.25 * mean
        torch.testing.assert_close(total[name], expected, atol=1e-6, rtol=1e-6)


def test_weights_follow_the_order_of_the_models(models: dict[str, Path], tmp_path: Path) -> None:
    stage = Merge(models=(A, B, C), method=Linear(weights=(0.0, 0.0, 2.0)))
    out = run(stage, models, tmp_path / "run").output("model") / "model.safetensors"
    assert torch.equal(
        load_file(out)["model.norm.weight"],
        load_file(models["c.model"] / "model.safetensors")["model.norm.weight"],
    )


@pytest.mark.parametrize(
    ("models", "method", "words"),
    [
        ("  []", "linear", "an average needs at least two"),
        ("[a.model]", "linear", "an average needs at least two"),
        ("[a.model, b.model]", "{linear: {weights: [1, 2, 3]}}", "3 weights for 2 models"),
        ("[a.model, b.model]", "{linear: {weights: [1, -1]}}", "sum to 0"),
        ("[a.model, b.model]", "{linear: {weights: [0.1, 0.2, -0.3]}}", "sum to 0"),
        ("[a.model, b.model]", "{linear: {weights: [1, .inf]}}", "must be finite"),
        ("[a.model]", "{task_vectors: {base: b.model, scales: [1, 1]}}", "2 scales for 1 models"),
        ("[]", "{task_vectors: {base: b.model, scales: []}}", "there is none"),
        ("[a.model]", "{task_vectors: {scales: [1]}}", "base`: missing"),
    ],
)
def test_a_method_that_does_not_fit_is_refused_when_the_recipe_is_read(
    tmp_path: Path, models: str, method: str, words: str
) -> None:
    file = tmp_path / "r.yaml"
    start = (
        "name: x\nstages:\n  a: {stage: load_model, name: x}\n  b: {stage: load_model, name: x}\n"
    )
    file.write_text(start + f"  m:\n    stage: merge\n    models: {models}\n    method: {method}\n")
    with pytest.raises(ConfigError, match=words) as caught:
        load(file, STAGES)
    assert str(caught.value).startswith(f"{file}:")


def other_tokens(path: Path, part: str) -> None:
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    if part == "model":
        tokenizer["model"]["merges"].pop()
    elif part == "pre_tokenizer":
        tokenizer["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": True}
        tokenizer["pre_tokenizer"] |= {"trim_offsets": True, "use_regex": True}
    else:
        tokenizer["added_tokens"][0]["content"] = "<|other|>"
        tokenizer["model"]["vocab"]["<|other|>"] = tokenizer["model"]["vocab"].pop("<|endoftext|>")
    (path / "tokenizer.json").write_text(json.dumps(tokenizer))


@pytest.mark.parametrize("part", ["model", "pre_tokenizer", "added tokens"])
@pytest.mark.parametrize("where", ["b.model", "c.model"])
def test_models_that_read_text_otherwise_are_refused(
    models: dict[str, Path], tmp_path: Path, part: str, where: str
) -> None:
    other_tokens(models[where], part)
    stage = Merge(models=(A, B), method=TaskVectors(base=C, scales=(0.5, 0.5)))
    with pytest.raises(ModelError, match=rf"{models[where]}: its tokenizer .*{part}"):
        run(stage, models, tmp_path / "run")


def test_the_first_models_chat_template_is_kept_and_a_difference_noted(
    models: dict[str, Path], tmp_path: Path
) -> None:
    own = tiny_tokenizer("{{ messages[0]['content'] }}")
    own.save_pretrained(models["b.model"])
    alike = run(Merge(models=(A, C)), models, tmp_path / "alike")
    assert not alike.tallies.notes
    ctx = run(Merge(models=(B, A)), models, tmp_path / "run")
    assert ctx.tallies.notes == {
        text: text for text in ["the models' chat templates differ; this one has that of b.model"]
    }
    template = ctx.output("model") / "chat_template.jinja"
    assert template.read_text() == own.chat_template
    stage = Merge(models=(A,), method=TaskVectors(base=B, scales=(0.5,)))
    template = run(stage, models, tmp_path / "sum").output("model") / "chat_template.jinja"
    assert template.read_text() == tiny_tokenizer().chat_template  # not the base's


def test_a_merge_stops_when_it_is_asked_to(models: dict[str, Path], tmp_path: Path) -> None:
    stage = Merge(models=(A, B))
    ctx = Context.for_test(tmp_path, outputs=stage.outputs, inputs=models, stopping=lambda: True)
    with pytest.raises(Interrupted):
        stage.run(ctx)


def test_a_damaged_model_is_a_one_line_error(models: dict[str, Path], tmp_path: Path) -> None:
    (models["b.model"] / "tokenizer.json").write_text("{")
    with pytest.raises(BurnishError) as caught:
        run(Merge(models=(A, B)), models, tmp_path / "run")
    assert "\n" not in str(caught.value)
