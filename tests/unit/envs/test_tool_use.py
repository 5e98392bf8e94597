"""Tool use: which turns are calls, what comes back, and what is never read."""

from pathlib import Path

import pytest

from burnish.envs.protocol import Reply
from burnish.envs.search_tool import read_index, search_folder
from burnish.envs.tool_use import RESULT_CHARACTERS, Call, ToolUse, read_call, write_call
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, Problem

PROBLEM = Problem(prompt=Conversation.of("What is 12 * 7?"), task="exact", answer="84")


def answer(text: str, env: ToolUse | None = None) -> Reply:
    env = env or ToolUse()
    return env.reply(env.start(PROBLEM, 0).state, text)


def test_a_call_is_answered_and_an_answer_is_judged() -> None:
    reply = answer(write_call("calculator", "12 * 7"))
    assert not reply.done and reply.messages[0].content == "84"
    assert reply.messages[0].role == "tool" and reply.counts == {"env/tool_calls": 1}
    assert reply.verdict.score == 0.0 and reply.verdict.passed is False
    right, wrong = answer("Answer: 84"), answer("Answer: 85")
    assert right.done and right.verdict.passed and wrong.done and not wrong.verdict.passed


def test_a_call_may_end_a_turn_that_thinks_first() -> None:
    assert read_call("I should ask.\n<tool>calculator: 1 + 1</tool>\n") == Call(
        tool="calculator", argument="1 + 1"
    )


@pytest.mark.parametrize(
    "text",
    [
        "<tool>calculator 12*7</tool>",
        "<tool>calculator:12*7</tool>",
        "<tool>calculator: </tool>",
        "<tool>calculator: 12*7",
        "calculator: 12*7</tool>",
        "<tool>calculator: 1</tool><tool>calculator: 2</tool>",
        "<tool>calculator: <tool>calculator: 2</tool></tool>",
        "<tool>calculator: 12*7</tool> Answer: 84",
        "<TOOL>calculator: 12*7</TOOL>",
        "<tool >calculator: 12*7</tool>",
        "Answer: 84 </tool>",
    ],
)
def test_whatever_has_a_part_of_a_call_and_is_none_is_counted_as_malformed(text: str) -> None:
    reply = answer(text, ToolUse(malformed_penalty=0.25))
    assert not reply.done and reply.counts == {"env/malformed": 1} and reply.reward == -0.25
    assert reply.messages[0].content.startswith("error: ")


def test_a_tools_own_errors_are_told_and_counted_apart() -> None:
    env = ToolUse(call_reward=0.1)
    for text, told in (
        ("<tool>calculator: 1/0</tool>", "error: division by zero"),
        ("<tool>python: 1</tool>", "error: no tool of that name; tools: calculator"),
        ("<tool>search: x</tool>", "error: no tool of that name; tools: calculator"),
    ):
        reply = answer(text, env)
        assert reply.messages[0].content == told and reply.counts == {"env/tool_errors": 1}
        assert reply.reward == 0
    assert answer("<tool>calculator: 1</tool>", env).reward == 0.1


def test_the_tools_are_explained_in_the_system_message() -> None:
    opening = ToolUse(role="user").start(PROBLEM, 0).conversation
    assert [m.role for m in opening.messages] == ["system", "user"]
    assert "calculator: ARITHMETIC" in opening.messages[0].content
    own = Problem(prompt=Conversation.of("a", system="Be brief."), task="exact", answer="1")
    (system, _) = ToolUse().start(own, 0).conversation.messages
    assert system.content.startswith("Be brief.\n\nTo use a tool")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tools": ()}, "at least one"),
        ({"tools": ("calculator", "calculator")}, "twice"),
        ({"tools": ("search",)}, "folder must name"),
        ({"folder": "x"}, "not in tools"),
        ({"malformed_penalty": -1.0}, "malformed_penalty"),
    ],
)
def test_settings_that_contradict_one_another_are_refused(given, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ToolUse(**given)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "below").mkdir(parents=True)
    (folder / "a.txt").write_text("The cat sat on the mat.\n\nThe dog ran after the cat.\n")
    (folder / "below" / "b.md").write_text("Whales are mammals of the sea.\n\n" + "sea " * 200)
    (folder / "c.py").write_text("secret = 'whales'")
    (tmp_path / "outside.txt").write_text("A zebra is outside.")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    return folder


def test_search_finds_the_passage_that_says_most_of_it(texts: Path) -> None:
    assert search_folder(str(texts), "dog cat").split("\n\n") == [
        "The dog ran after the cat.",
        "The cat sat on the mat.",
    ]
    assert search_folder(str(texts), "WHALES?") == "Whales are mammals of the sea."


def test_search_reads_nothing_outside_of_its_folder(texts: Path) -> None:
    for query in ("zebra", "../outside.txt zebra", "secret"):
        with pytest.raises(ValueError, match="nothing found"):
            search_folder(str(texts), query)
    with pytest.raises(ValueError, match="no words"):
        search_folder(str(texts), "../ ..")


def test_long_passages_are_cut_and_say_so(texts: Path) -> None:
    read_index.cache_clear()
    found = search_folder(str(texts), "sea")
    assert " ..." in found and len(found) < 600
    env = ToolUse(tools=("search",), folder=str(texts))
    reply = answer("<tool>search: sea</tool>", env)
    assert len(reply.messages[0].content) <= RESULT_CHARACTERS + 40


def test_a_folder_without_texts_is_an_error_of_the_users(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        search_folder(str(tmp_path / "absent"), "a")
    with pytest.raises(DataError, match="holds no passage"):
        search_folder(str(tmp_path), "a")
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"bad\.txt: cannot be read as UTF-8"):
        search_folder(str(tmp_path), "b")
