"""The Python tool: what of a program's end the model is told, with the sandbox played by a fake."""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from burnish.envs.python_tool import run_python
from burnish.envs.tool_use import ToolUse
from burnish.types import Conversation, Problem


@dataclass
class Ran:
    stdout: bytes = b""
    stderr: bytes = b""
    ok: bool = True
    timed_out: bool = False
    out_of_memory: bool = False
    output_capped: bool = False


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {"ran": Ran()}

    def run(program: str, *, limits: Any) -> Ran:
        seen["program"], seen["limits"] = program, limits
        found = seen["ran"]
        assert isinstance(found, Ran)
        return found

    module = ModuleType("burnish.sandbox.box")
    module.run = run  # type: ignore[attr-defined]
    module.Limits = lambda **given: given  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "burnish.sandbox", ModuleType("burnish.sandbox"))
    monkeypatch.setitem(sys.modules, "burnish.sandbox.box", module)
    return seen


@pytest.mark.parametrize(
    ("ran", "told"),
    [
        (Ran(stdout=b"29842\n"), "29842"),
        (Ran(), "nothing was printed"),
        (Ran(stdout=b"\xff"), "\N{REPLACEMENT CHARACTER}"),
        (Ran(ok=False, stderr=b"Trace\nNameError: x\n"), "error: NameError: x"),
        (Ran(ok=False), "error: the program failed"),
        (Ran(ok=False, timed_out=True), "error: stopped after 5 seconds"),
        (Ran(ok=False, out_of_memory=True), "error: more than 256 MiB of memory"),
        (Ran(ok=False, output_capped=True), "error: printed more than 16384 bytes"),
    ],
)
def test_the_model_is_told_how_its_program_ended(box: dict[str, Any], ran: Ran, told: str) -> None:
    box["ran"] = ran
    env = ToolUse(tools=("python",))
    problem = Problem(prompt=Conversation.of("?"), task="exact", answer="1")
    state = env.start(problem, 0).state
    reply = env.reply(state, "<tool>python: a = 347\nprint(a * 86)</tool>")
    assert reply.messages[0].content == told and not reply.done
    assert box["program"] == "a = 347\nprint(a * 86)"
    assert set(box["limits"]) == {"wall_s", "memory_mb", "output_bytes"}


def test_what_a_program_prints_may_be_read_as_it_is(box: dict[str, Any]) -> None:
    box["ran"] = Ran(stdout=b"  two\nlines ")
    assert run_python("x") == "two\nlines"
