"""Supervised fine-tuning on a model's completions: as on conversations, without the cut ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.store import Sampled, write_completions, write_conversations, write_texts
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError, TrainingError
from burnish.metrics import read_metrics
from burnish.pipeline.artifact import Ref
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Context
from burnish.stages.demonstrations import read_documents
from burnish.stages.load import LoadModel, ReasoningProblems
from burnish.stages.sample import Draws, Sample
from burnish.stages.sft import SFT
from burnish.types import Conversation, Finish, Problem
from tests.tiny import tiny_llama, tiny_tokenizer

WORDS = ("sea", "cat", "dog", "sum", "mat")
PROMPTS = [Conversation.of(f"Write about the {word}.") for word in WORDS]
TEXTS = [f"The {word} is wide." for word in WORDS]
CHATS, DRAWN = Ref("a", "chats"), Ref("a", "drawn")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def drawn(prompt: Conversation, text: str, finish: Finish = Finish.STOP) -> Sampled:
    return Sampled(
        problem=Problem(prompt=prompt, task="everyday"),
        index=0,
        text=text,
        prompt_ids=(1, 2),
        tokens=(3, 4),
        logprob=-1.0,
        finish=finish,
    )


def context(tmp_path: Path, **inputs: Path) -> Context:
    named = {f"a.{name}": path for name, path in inputs.items()}
    return Context.for_test(tmp_path, outputs=SFT.outputs, inputs=named)


def sft(*data: Ref) -> SFT:
    return SFT(
        model=Ref("a", "model"),
        data=data,
        passes=Passes(batch_rows=2, max_steps=3),
        optim=Optim(lr=1e-3),
        precision="float32",
    )


def test_completions_teach_what_the_same_conversations_teach(model: Path, tmp_path: Path) -> None:
    pairs = list(zip(PROMPTS, TEXTS, strict=True))
    write_conversations(tmp_path / "chats.jsonl", [p.then(t) for p, t in pairs])
    write_completions(tmp_path / "drawn.jsonl", [drawn(p, t) for p, t in pairs])
    trained = []
    for ref, name in ((CHATS, "chats"), (DRAWN, "drawn")):
        ctx = context(tmp_path / name, model=model, **{name: tmp_path / f"{name}.jsonl"})
        sft(ref).run(ctx)
        trained.append((ctx.output("model") / "model.safetensors").read_bytes())
    assert trained[0] == trained[1] != (model / "model.safetensors").read_bytes()


def test_completions_that_were_cut_are_not_taught_as_finished(model: Path, tmp_path: Path) -> None:
    items = [drawn(p, t) for p, t in zip(PROMPTS, TEXTS, strict=True)]
    items[1] = drawn(PROMPTS[1], "The cat is", Finish.LENGTH)
    items[3] = drawn(PROMPTS[3], " \n")
    write_completions(tmp_path / "drawn.jsonl", items)
    write_conversations(tmp_path / "chats.jsonl", [PROMPTS[1].then("The cat is")])
    ctx = context(
        tmp_path, model=model, drawn=tmp_path / "drawn.jsonl", chats=tmp_path / "chats.jsonl"
    )
    text = TextModel.open(model, "float32")
    found = read_documents(ctx, text, (DRAWN, CHATS), train_on="assistant", max_tokens=99)
    fit = [PROMPTS[i].then(TEXTS[i]) for i in (0, 2, 4)]
    assert found[0] == [text.encode(c) for c in fit]
    assert found[1] == [text.encode(PROMPTS[1].then("The cat is"))]  # a person's: kept
    assert ctx.tallies.counts == {
        "completions that were cut left out": {"n": 1, "of": 5},
        "empty completions left out": {"n": 1, "of": 5},
        "conversations over 99 tokens dropped": {"n": 0, "of": 4},
    }


def test_nothing_but_cut_completions_is_nothing_to_learn(model: Path, tmp_path: Path) -> None:
    items = [drawn(p, "The", Finish.LENGTH) for p in PROMPTS]
    write_completions(tmp_path / "drawn.jsonl", items)
    ctx = context(tmp_path, model=model, drawn=tmp_path / "drawn.jsonl")
    with pytest.raises(TrainingError, match="of 5 conversations none is finished"):
        sft(DRAWN).run(ctx)


def test_recipes_feed_completions_to_sft_and_not_problems() -> None:
    def recipe(source: str) -> Recipe:
        made = Recipe(name="r")
        base = made.add("base", LoadModel(name="smollm2"))
        sums = made.add("sums", ReasoningProblems(task="chain_sum", num_train=8, num_heldout=2))
        draws: Any = made.add(
            "draws",
            Sample(
                model=base.model,
                problems=sums.train,
                num_problems=4,
                num_samples=1,
                draws=Draws(max_new_tokens=4),
            ),
        )
        ref = {"completions": draws.completions, "problems": sums.train}[source]
        passes = Passes(batch_rows=2)
        made.add("sft", SFT(model=base.model, data=(ref,), passes=passes, optim=Optim(lr=1e-5)))
        return made

    recipe("completions").validate()
    with pytest.raises(ConfigError, match="conversations or completions or texts"):
        recipe("problems").validate()


def test_a_plain_text_is_read_whole_in_even_pieces_without_a_template(
    model: Path, tmp_path: Path
) -> None:
    long = "The cat sat on the mat <|im_end|>, and the dog ran. " * 5
    write_texts(tmp_path / "texts.jsonl", [long, "Hello there!"])
    write_conversations(tmp_path / "chats.jsonl", [PROMPTS[0].then(TEXTS[0])])
    ctx = context(
        tmp_path, model=model, texts=tmp_path / "texts.jsonl", chats=tmp_path / "chats.jsonl"
    )
    text = TextModel.open(model, "float32")
    refs = (Ref("a", "texts"), CHATS)
    found, chats = read_documents(ctx, text, refs, train_on="assistant", max_tokens=50)
    (*pieces, short) = found
    ids = [i for piece in pieces for i in piece.ids]
    stop = text.tokenizer.eos_token_id
    assert text.tokenizer.decode(ids[:-1]) == long and ids[-1] == stop
    assert ids.count(stop) == 1  # what the text says is text
    sizes = [len(piece.ids) for piece in pieces]
    assert len(sizes) == -(-len(ids) // 50) and max(sizes) - min(sizes) <= 1
    assert short.ids == (*text.tokenizer.encode("Hello there!"), stop)
    for row in found:
        assert row.mask == (False, *(True,) * (len(row.ids) - 1))
    assert chats == [text.encode(PROMPTS[0].then(TEXTS[0]))]
    assert ctx.tallies.values["rows of at most 50 tokens from 2 texts"] == len(found)
    assert ctx.tallies.counts["conversations over 50 tokens dropped"] == {"n": 0, "of": 1}


def test_plain_texts_are_learnt_and_mixed_by_weight(model: Path, tmp_path: Path) -> None:
    write_texts(tmp_path / "texts.jsonl", [f"The {word} is wide and blue." for word in WORDS])
    write_conversations(tmp_path / "chats.jsonl", [PROMPTS[0].then(TEXTS[0])])
    files = {"texts": tmp_path / "texts.jsonl", "chats": tmp_path / "chats.jsonl"}
    stage = SFT(
        model=Ref("a", "model"),
        data=(CHATS, Ref("a", "texts")),
        weights=(1.0, 9.0),
        passes=Passes(batch_rows=10, epochs=40, max_steps=12),
        optim=Optim(lr=3e-3),
        precision="float32",
    )
    ctx = context(tmp_path, model=model, **files)
    stage.run(ctx)
    nll = [row["sft/nll"] for row in read_metrics(ctx.dir / "metrics.jsonl")]
    assert nll[-1] < 0.7 * nll[0]
    shown = [json.loads(x)["text"] for x in (ctx.dir / "samples.jsonl").read_text().splitlines()]
    assert sum("<|im_start|>" in x for x in shown) == 1 and len(shown) == 10
