"""Talking to a model: streaming, commands, memory, Ctrl-C and what is said when it goes wrong."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from burnish import cli
from burnish.cli import dialogue as dialogues
from burnish.cli.dialogue import Dialogue
from burnish.engine.text_model import TextModel
from burnish.stages.sample import Draws
from burnish.types import Conversation
from tests.unit.cli.tiny_model import write_model, write_run

Chat = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def chat(model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chat:
    """Runs `burnish chat` with what someone types."""

    def call(*args: str, typed: str = "", of: str | Path = model) -> tuple[int, str, str]:
        options = ["--max-new-tokens", "8"]
        monkeypatch.setattr(sys, "argv", ["burnish", "chat", str(of), *options, *args])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return call


def dialogue_with(
    model: Path, show: Callable[[str], None], said: list[str], system: str | None = None
) -> Dialogue:
    return Dialogue(
        text=TextModel.open(model, "float32"),
        draws=Draws(max_new_tokens=8, temperature=1.0),
        seed=0,
        show=show,
        remark=said.append,
        system=system,
    )


def test_one_prompt_gives_one_answer_on_standard_output(chat: Chat) -> None:
    code, out, err = chat("--prompt", "Hello there")
    assert code == 0 and out.endswith("\n") and out.strip()
    assert chat("--prompt", "-", typed="Hello there\n") == (code, out, err)
    assert chat("--prompt", "Hello there", "--seed", "1")[1] != out


def test_base_mode_and_chat_differ_and_base_needs_no_template(chat: Chat, model: Path) -> None:
    plain = chat("--prompt", "The sea is", "--base", "--temperature", "0")[1]
    assert plain != chat("--prompt", "The sea is", "--temperature", "0")[1]
    assert chat("--temperature", "0", typed="/base\nThe sea is\n")[1] == plain


def test_a_model_without_a_template_continues_plain_text(chat: Chat, tmp_path: Path) -> None:
    raw = write_model(tmp_path / "raw", template=None)
    code, out, err = chat("--prompt", "The sea is", of=raw)
    assert code == 0 and out and "raw has no chat template" in err


def test_commands_are_obeyed_and_an_unknown_one_is_named(chat: Chat) -> None:
    typed = "/help\n/nope\n/system Be brief.\n/system\n/reset\n\n/quit\nHello\n"
    code, out, err = chat(typed=typed)
    assert (code, out) == (0, "")
    assert "/reset" in err and "no command /nope" in err and "(system prompt: Be brief.)" in err
    assert "(no system prompt)" in err and "(forgotten)" in err


def test_an_answer_at_the_limit_says_so(chat: Chat) -> None:
    assert "(cut at 1 tokens: --max-new-tokens)" in chat("--max-new-tokens", "1", typed="Hi\n")[2]


def test_what_is_said_is_remembered_with_the_system_prompt(model: Path) -> None:
    pieces: list[str] = []
    dialogue = dialogue_with(model, pieces.append, [], "Be brief.")
    dialogue.say("Hello there")
    (asked, answer) = dialogue.turns
    assert asked.content == "Hello there" and answer.content == "".join(pieces)[:-1]
    assert len(pieces) > 4
    dialogue.reset()
    assert not dialogue.turns and dialogue.system == "Be brief."


def test_control_c_ends_the_answer_and_keeps_what_was_shown(model: Path) -> None:
    pieces: list[str] = []

    def show(piece: str) -> None:
        pieces.append(piece)
        if len(pieces) == 5:
            raise KeyboardInterrupt

    said: list[str] = []
    dialogue = dialogue_with(model, show, said)
    dialogue.say("Hello")
    assert dialogue.interrupted and said == ["(stopped)"]
    assert dialogue.turns[-1].content == "".join(pieces)[:-1]
    dialogue.say("Again")
    assert not dialogue.interrupted


def test_the_oldest_turns_are_dropped_when_the_context_is_full(model: Path) -> None:
    said: list[str] = []
    dialogue = dialogue_with(model, lambda piece: None, said)
    for word in ("first ", "second ", "third "):
        turn = Conversation.of(word * 40, "yes")
        dialogue.turns += turn.messages
    dialogue.say("What was the first word?")
    assert "oldest turns dropped: the context is 512 tokens" in said[0]
    assert dialogue.turns[0].role == "user" and "first" not in dialogue.turns[0].content
    assert dialogue.turns[-2].content == "What was the first word?"


def test_a_text_longer_than_the_context_is_refused_and_the_chat_goes_on(chat: Chat) -> None:
    code, out, err = chat(typed="word " * 600 + "\nHello\n")
    assert code == 0 and out and err.count("error:") == 1
    assert "the model's context 512; shorten it" in err


def test_control_characters_of_a_model_are_escaped(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialogues.TextStream, "push", lambda self, token: "\x1b[2J")
    out = chat("--prompt", "Hi")[1]
    assert "\x1b" not in out and "\\x1b[2J" in out


def test_a_run_gives_its_last_trained_model_or_the_one_asked_for(
    chat: Chat, model: Path, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", model)
    code, out, err = chat("--prompt", "Hi", of=run)
    assert code == 0 and out and "dpo of" in err and "--stage chooses: base, sft" in err
    assert chat("--prompt", "Hi", "--stage", "sft", of=run)[0] == 0
    assert chat("--prompt", "Hi", of=f"{run}:base")[0] == 0
    code, _, err = chat("--prompt", "Hi", "--stage", "late", of=run)
    assert code == 1 and "its models: base (load_model), sft (sft), dpo (prefer)" in err


def test_what_is_no_model_is_one_line(chat: Chat, tmp_path: Path, model: Path) -> None:
    for of, words in (
        (tmp_path, "neither a run (recipe.yaml) nor a model (config.json)"),
        ("smolm2", "did you mean `smollm2`"),
    ):
        code, out, err = chat("--prompt", "Hi", of=of)
        assert code == 1 and not out and words in err and err.count("\n") == 1
    assert "is no run" in chat("--prompt", "Hi", "--stage", "sft")[2]
