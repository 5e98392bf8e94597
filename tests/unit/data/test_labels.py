"""Ratings and labelled steps: the forms that are read, and what is refused or dropped."""

import json

import pytest

from burnish.data.load import load_ratings, load_steps
from burnish.data.store import read_ratings, read_steps, write_ratings, write_steps
from burnish.errors import DataError
from burnish.types import Conversation, Rating, WorkedAnswer


def written(tmp_path, *rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ASKED = Conversation.of("q")


def test_ratings_are_read_from_values_or_from_helpsteers_columns(tmp_path):
    path = written(
        tmp_path,
        {"prompt": "q", "completion": "a", "values": {"helpfulness": 3, "verbosity": 1.5}},
        {"prompt": "q", "response": "a", "helpfulness": 3, "verbosity": 1.5},
        {"prompt": "q", "response": " ", "helpfulness": 3},
    )
    items, counts = load_ratings(path)
    rating = Rating(prompt=ASKED, completion="a", values={"helpfulness": 3.0, "verbosity": 1.5})
    assert items == [rating, rating]
    assert counts == {"rows": 3, "used": 2, "empty": 1}
    write_ratings(tmp_path / "out.jsonl", items)
    assert read_ratings(tmp_path / "out.jsonl") == items


def test_steps_are_read_with_labels_of_every_form(tmp_path):
    path = written(
        tmp_path,
        {"prompt": "q", "steps": ["a", "b", "c"], "labels": [True, 0.25, None]},
        {"prompt": "q", "completions": ["a"], "labels": [0]},
        {"prompt": "q", "steps": ["a"], "labels": [None]},
    )
    items, counts = load_steps(path)
    assert items == [
        WorkedAnswer(prompt=ASKED, steps=("a", "b", "c"), labels=(1.0, 0.25, None)),
        WorkedAnswer(prompt=ASKED, steps=("a",), labels=(0.0,)),
    ]
    assert counts == {"rows": 3, "used": 2, "unlabelled": 1}
    write_steps(tmp_path / "out.jsonl", items)
    assert read_steps(tmp_path / "out.jsonl") == items


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "completion": "a"}, "`values` is missing"),
        ({"prompt": "q", "completion": "a", "values": {"x": "3"}}, "`x` must be a number"),
        ({"prompt": "q", "completion": "a", "values": {"x": True}}, "`x` must be a number"),
        ({"completion": "a", "values": {"x": 3}}, "`prompt`"),
    ],
)
def test_wrong_ratings_are_refused_with_their_line(tmp_path, row, message):
    good = {"prompt": "q", "completion": "a", "values": {"x": 1}}
    with pytest.raises(DataError, match=f"rows.jsonl:2.*{message}"):
        load_ratings(written(tmp_path, good, row))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "q", "steps": ["a", "b"], "labels": [1]}, "2 steps and 1 labels"),
        ({"prompt": "q", "steps": [], "labels": []}, "0 steps and 0 labels"),
        ({"prompt": "q", "steps": "a", "labels": [1]}, "must be lists"),
        ({"prompt": "q", "steps": ["a"], "labels": [2]}, r"labels\[0\].*from 0 to 1, not 2"),
        ({"prompt": "q", "steps": ["a"], "labels": ["yes"]}, r"labels\[0\].*number"),
        ({"prompt": "q", "steps": [None], "labels": [1]}, r"steps\[0\].*null"),
    ],
)
def test_wrong_steps_are_refused_with_their_line(tmp_path, row, message):
    good = {"prompt": "q", "steps": ["a"], "labels": [1]}
    with pytest.raises(DataError, match=f"rows.jsonl:2.*{message}"):
        load_steps(written(tmp_path, good, row))
