"""Rows -> Ratings and WorkedAnswers: completions with labels of their own, no comparison.

- ratings: `prompt`, `completion` (or `response`) and `values`, an object of numbers; or the five
  columns of HelpSteer in place of `values`
- steps: `prompt`, `steps` (or `completions`) and `labels`, one a step: true, false, a number from
  0 to 1, or null where a step was not judged
"""

import math

from burnish.data.readers import Row
from burnish.data.schema import Drop, check_prompt_end, check_structure, prompt_of, text_of
from burnish.errors import DataError
from burnish.types import Conversation, Json, Rating, WorkedAnswer

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def to_rating(row: Row) -> Rating | Drop:
    """A rated completion.

    Raises:
        DataError: naming path:line and the field.
    """
    value, where = row.value, row.where
    prompt = _prompt(row)
    completion = text_of(value, "completion" if "completion" in value else "response", where)
    raw = value.get("values", {name: value[name] for name in HELPSTEER if name in value})
    if not isinstance(raw, dict) or not raw:
        raise DataError(
            f"{where}: `values` is missing; give an object of numbers, such as {{'helpfulness': 3}}"
        )
    rated = {name: _number(item, f"{where}: `{name}`") for name, item in raw.items()}
    if not prompt.last_user.strip() or not completion.strip():
        return Drop.EMPTY
    return Rating(prompt=prompt, completion=completion, values=rated)


def to_steps(row: Row) -> WorkedAnswer | Drop:
    """An answer in labelled steps; one without any label is of no use.

    Raises:
        DataError: naming path:line and the field.
    """
    value, where = row.value, row.where
    prompt = _prompt(row)
    key = "steps" if "steps" in value else "completions"
    steps, labels = value.get(key), value.get("labels")
    if not isinstance(steps, list) or not isinstance(labels, list):
        raise DataError(f"{where}: `{key}` and `labels` must be lists")
    if len(steps) != len(labels) or not steps:
        raise DataError(
            f"{where}: {len(steps)} steps and {len(labels)} labels; give one label a step"
        )
    texts = [text_of({key: step}, key, f"{where}: {key}[{i}]") for i, step in enumerate(steps)]
    judged = [_label(label, f"{where}: `labels[{i}]`") for i, label in enumerate(labels)]
    if not prompt.last_user.strip() or any(not text.strip() for text in texts):
        return Drop.EMPTY
    if all(label is None for label in judged):
        return Drop.UNLABELLED
    return WorkedAnswer(prompt=prompt, steps=tuple(texts), labels=tuple(judged))


def _prompt(row: Row) -> Conversation:
    prompt = prompt_of(row.value, row.where)
    check_structure(prompt, row.where)
    check_prompt_end(prompt, row.where)
    return prompt


def _number(raw: Json, where: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, (int, float)) or not math.isfinite(raw):
        raise DataError(f"{where} must be a number")
    return float(raw)


def _label(raw: Json, where: str) -> float | None:
    if raw is None or isinstance(raw, bool):
        return None if raw is None else float(raw)
    number = _number(raw, where)
    if not 0 <= number <= 1:
        raise DataError(f"{where} must be true, false, null or a number from 0 to 1, not {raw}")
    return number
