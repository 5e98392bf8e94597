"""A model of ours answers questions."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from burnish.engine.local_chat import LocalChat
from burnish.engine.text_model import TextModel
from burnish.errors import ConfigError
from burnish.types import Conversation, Message
from burnish.verifiers.chat import Question
from tests.unit.cli.tiny_model import write_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "one")


def question(text: str, seed: int = 1, temperature: float = 1.0, tokens: int = 6) -> Question:
    return Question.of(text, seed=seed, temperature=temperature, max_tokens=tokens)


def test_answers_follow_their_own_seed_and_not_their_neighbours(path: Path) -> None:
    chat = LocalChat(TextModel.open(path, "float32"))
    told: list[int] = []
    asked = [question("Hello"), question("Hello", seed=2), question("Hello", temperature=0.0)]
    answers = chat.ask_all(asked, on_answer=lambda i, answer: told.append(i))
    assert sorted(told) == [0, 1, 2]
    assert answers[0].text != answers[1].text
    assert [chat.ask_all([q])[0] for q in asked] == answers
    assert all(a.prompt_tokens and 1 <= (a.completion_tokens or 0) <= 6 for a in answers)


def test_each_question_has_its_own_limit(path: Path) -> None:
    chat = LocalChat(TextModel.open(path, "float32"))
    answers = chat.ask_all([question("a", tokens=2), question("a", tokens=9)])
    assert (answers[0].completion_tokens or 0) <= 2


def test_its_name_follows_the_weights_and_not_the_path(path: Path, tmp_path: Path) -> None:
    name = LocalChat(TextModel.open(path, "float32")).name
    assert LocalChat(TextModel.open(write_model(tmp_path / "x"), "float32")).name == name
    other = write_model(tmp_path / "y", seed=1)
    assert LocalChat(TextModel.open(other, "float32")).name != name
    assert LocalChat(TextModel.open(path, "bfloat16")).name != name


def test_a_question_that_does_not_fit_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="exceed the model's context"):
        LocalChat(TextModel.open(path, "float32")).ask_all([question("sea " * 600)])


def test_choices_have_the_log_probability_of_drawing_them_as_the_whole_answer(path: Path) -> None:
    text = TextModel.open(path, "float32")
    choices = ("Verdict: A", "Verdict: B", "Score: 10")
    asked = [
        Question(messages=(Message(role="user", content=content),), seed=0, temperature=0.0,
                 max_tokens=0, choices=choices)
        for content in ("Hello", "Hello there, how are you today?")
    ]  # fmt: skip
    found = [json.loads(a.text) for a in LocalChat(text).ask_all(asked)]
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    for question, values in zip(asked, found, strict=True):
        for choice, value in zip(choices, values, strict=True):
            stem, ids = text.answer(Conversation(messages=question.messages), choice)
            with torch.no_grad():
                logits = plain(torch.tensor([[*stem, *ids]])).logits[0].log_softmax(-1)
            steps = [logits[len(stem) - 1 + t, token] for t, token in enumerate(ids)]
            assert value == pytest.approx(float(sum(steps)), abs=1e-4)
            assert ids[-1] in text.stop_ids


def test_drawn_and_told_answers_come_in_the_order_of_the_questions(path: Path) -> None:
    chat = LocalChat(TextModel.open(path, "float32"))
    told = Question(
        messages=question("Hello").messages, seed=0, temperature=0.0, max_tokens=0, choices=("a",)
    )
    answers = chat.ask_all([told, question("Hello"), told])
    alone = json.loads(chat.ask_all([told])[0].text)
    for answer in (answers[0], answers[2]):
        # How many rows there are may decide how a product of float32 rounds.
        assert json.loads(answer.text) == pytest.approx(alone, abs=1e-4)
    assert answers[1] == chat.ask_all([question("Hello")])[0]
