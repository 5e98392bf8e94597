"""What a recipe's data holds, and how long its first model's answers are, seen before it runs.

Stages that make or read data are carried out in a temporary directory, with the run's own seed:
they give the very problems and demonstrations that the run will have. A few of the problems are
answered by the model as it comes.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from transformers import PreTrainedTokenizerFast

from burnish.data.store import read_conversations, read_preferences, read_problems
from burnish.engine.text_model import TextModel
from burnish.errors import BurnishError
from burnish.models.policy import context_length
from burnish.pipeline.artifact import Ref
from burnish.pipeline.executor import execute
from burnish.pipeline.forecast import SAMPLE, Text, Texts
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.wiring import inputs_of
from burnish.stages.constraints import ConstrainedPrompts
from burnish.stages.foreign_problems import ForeignProblems
from burnish.stages.guessing_problems import GuessingProblems
from burnish.stages.load import EverydayProblems, LoadModel, ReasoningProblems, WorkedSums
from burnish.stages.load_data import LoadData
from burnish.stages.sample import USUAL_SHARE, Draws, draw_samples
from burnish.stages.tool_sums import ToolSums
from burnish.text.chat import encode, encode_prompt
from burnish.types import Comparison, Conversation, Finish, PreferencePair, Problem

PILOT, PILOT_TOKENS = 16, 256
"""Problems of each set that the model as it comes answers, and the most tokens that it may take."""
CHEAP = (
    ConstrainedPrompts,
    EverydayProblems,
    ForeignProblems,
    GuessingProblems,
    LoadData,
    ReasoningProblems,
    ToolSums,
    WorkedSums,
)
"""Stages that make or read data in seconds, without a model."""


@dataclass(kw_only=True)
class Seen:
    """What was found out; `problems` are complaints, one line each."""

    texts: dict[Ref, Texts] = field(default_factory=dict)
    asked: dict[Ref, list[Problem]] = field(default_factory=dict)
    """Some problems of each set."""
    problems: list[str] = field(default_factory=list)


@runtime_checkable
class Drawing(Protocol):
    """A stage that draws completions."""

    @property
    def draws(self) -> Draws: ...


def see_data(recipe: Recipe, cache: Path, tokenizer: PreTrainedTokenizerFast | None) -> Seen:
    """Carry out what needs no model, and count its tokens; without a tokenizer only the former."""
    seen = Seen()
    bare = [name for name in recipe.order() if _makes_data(recipe, name)]
    with tempfile.TemporaryDirectory(prefix="burnish-plan-") as folder:
        failed: set[str] = set()
        for name in bare:
            needed = recipe.upstream(name) | {name}
            if needed & failed:
                failed.add(name)
                continue
            part = Recipe(
                name=recipe.name,
                seed=recipe.seed,
                stages={n: s for n, s in recipe.stages.items() if n in needed},
            )
            try:
                run = execute(part, Path(folder), cache=cache)
            except BurnishError as error:
                failed.add(name)
                seen.problems.append(f"{name}: {error}")
                continue
            for output, kind in recipe.stages[name].outputs.items():
                ref = Ref(name, output)
                if tokenizer is not None:
                    _read(ref, kind, run.artifact(ref), tokenizer, seen)
    return seen


def _makes_data(recipe: Recipe, name: str) -> bool:
    """Only stages known to be cheap: others may ask a judge somewhere, who is paid for it."""
    chain = [recipe.stages[n] for n in {name, *recipe.upstream(name)}]
    return all(isinstance(stage, CHEAP) for stage in chain)


def _read(ref: Ref, kind: str, path: Path, tokenizer: PreTrainedTokenizerFast, seen: Seen) -> None:
    if kind == "problems":
        problems = read_problems(path)
        some = _evenly(problems)
        sample = [_text(p.prompt, tokenizer) for p in some]
        seen.asked[ref], rows, per_row = some, float(len(problems)), 1.0
    elif kind == "conversations":
        talks = read_conversations(path)
        sample, rows, per_row = [_taught(c, tokenizer) for c in _evenly(talks)], len(talks), 1.0
    elif kind in ("comparisons", "pairs"):
        found = read_preferences(path)
        rows = float(len({item.prompt.id for item in found}))
        per_row = 2.0 * len(found) / max(rows, 1)
        sample = [_text(i.prompt, tokenizer, a) for i in _evenly(found) for a in _answers(i)]
    else:
        return
    if sample:
        seen.texts[ref] = Texts(num_rows=rows, sample=tuple(sample), per_row=per_row)


def _answers(item: Comparison | PreferencePair) -> tuple[str, str]:
    return (item.a, item.b) if isinstance(item, Comparison) else (item.chosen, item.rejected)


def _text(prompt: Conversation, tokenizer: PreTrainedTokenizerFast, answer: str = "") -> Text:
    completion = len(tokenizer(answer, add_special_tokens=False)["input_ids"]) + 1 if answer else 0
    return Text(
        words=frozenset(prompt.last_user.lower().split()),
        prompt_tokens=len(encode_prompt(prompt, tokenizer)),
        completion_tokens=completion,
    )


def _taught(talk: Conversation, tokenizer: PreTrainedTokenizerFast) -> Text:
    encoded = encode(talk, tokenizer, "assistant")
    trained = sum(encoded.mask)
    return Text(
        words=frozenset(talk.last_user.lower().split()),
        prompt_tokens=len(encoded.ids) - trained,
        completion_tokens=trained,
    )


def _evenly(items: Sequence[Any]) -> list[Any]:
    return list(items[:: max(len(items) // SAMPLE, 1)][:SAMPLE])


def see_model(
    recipe: Recipe, model: Path, device: str, asked: Mapping[Ref, Sequence[Problem]]
) -> Iterator[tuple[Ref, Texts]]:
    """What each model as it comes writes, where the recipe samples from it."""
    text: TextModel | None = None
    for name, stage in recipe.stages.items():
        if not isinstance(stage, LoadModel):
            continue
        ref = Ref(name, "model")
        found: list[Text] = []
        for reader in recipe.stages.values():
            inputs = [item.ref for item in inputs_of(reader)]
            if not isinstance(reader, Drawing) or ref not in inputs:
                continue
            for problems in (asked[i] for i in inputs if i in asked):
                text = text or TextModel.open(model, "bfloat16", device)
                found += _written(text, problems[:PILOT], reader.draws, recipe.seed)
        if found:
            yield ref, Texts(num_rows=len(found), sample=tuple(found))


def _written(
    text: TextModel, problems: Sequence[Problem], draws: Draws, seed: int
) -> Iterator[Text]:
    longest = max((len(text.prompt(p.prompt)) for p in problems), default=0)
    limit = min(draws.max_new_tokens, PILOT_TOKENS, context_length(text.model) - longest)
    if limit < 1 or not problems:  # that it exceeds the context is complained about elsewhere
        return
    shorter = replace(draws, max_new_tokens=limit)
    rows, _ = draw_samples(
        text, problems, shorter, num=1, max_rows=PILOT, seed=seed, on_done=lambda *_: None
    )
    unfinished = max(limit, USUAL_SHARE * draws.max_new_tokens)
    for row in rows:
        yield Text(
            words=frozenset(row.problem.prompt.last_user.lower().split()),
            prompt_tokens=len(row.prompt_ids),
            completion_tokens=len(row.tokens)
            if limit == draws.max_new_tokens or row.finish is Finish.STOP
            else unfinished,
        )
