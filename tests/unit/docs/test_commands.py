"""Every command that the documentation tells a reader to run can be run."""

import importlib
from argparse import ArgumentParser
from collections.abc import Iterator
from inspect import getsource
from pathlib import Path
from typing import Any

import pytest
import typer

from burnish.errors import BurnishError
from burnish.evals.cases_table import CASES
from tests.unit.docs import smoke
from tests.unit.docs import world as worlds
from tests.unit.docs.commands import Command, collected, found

UsageError: Any = typer.BadParameter.__mro__[1]  # whichever click typer has
ALL = collected()
ONCE = {c.words: c for c in ALL} | {c.words: c for c in reversed(ALL)}
"""Each with the first place where it stands, in the order of the pages."""
RUN = [c for c in ONCE.values() if not smoke.entry(smoke.ELSEWHERE | smoke.NOT_RUN, c.words)]
NAMES = "{0.page}:{0.line}".format
MAY_FAIL = ("burnish doctor",)
"""Those that may end with 1 on a sound program: this machine lacks something."""


class Read(Exception):
    """Options were read, which was all that was wanted."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[worlds.World]:
    yield from worlds.world(tmp_path_factory.mktemp("world"))


def read(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options, and the recipes that it names. Raises: BurnishError, UsageError, SystemExit."""
    if command.words[0] == "burnish":
        smoke.loads(smoke.told(command.words))
        return

    def parse(parser: ArgumentParser) -> None:
        parser.parse_args(list(command.words[1:]))
        raise Read

    plain = ArgumentParser.parse_args
    with monkeypatch.context() as patch, pytest.raises(Read):
        patch.setattr(
            ArgumentParser,
            "parse_args",
            lambda parser, args=None: plain(parser, args) if args is not None else parse(parser),
        )
        importlib.import_module(command.words[0]).main()


@pytest.mark.parametrize("command", ONCE.values(), ids=NAMES)
def test_its_options_exist_and_its_recipe_loads_with_what_is_set(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        read(command, monkeypatch)
    except (BurnishError, UsageError) as error:
        pytest.fail(f"{command}\n{error}")
    except SystemExit:
        pytest.fail(f"{command}\n{capsys.readouterr().err}")


@pytest.mark.parametrize("command", RUN, ids=NAMES)
def test_it_runs_at_the_smallest_size(command: Command, world: worlds.World) -> None:
    code, printed = world.run(command.words)
    allowed = (0, 1) if smoke.entry(dict.fromkeys(MAY_FAIL), command.words) else (0,)
    assert code in allowed and "Traceback" not in printed, f"{command}\n{printed}"


@pytest.mark.parametrize("entry", smoke.ELSEWHERE)
def test_what_is_run_elsewhere_is_run_there(entry: str) -> None:
    file, _, name = smoke.ELSEWHERE[entry].partition("::")
    module = importlib.import_module(f"tests.unit.{file.removesuffix('.py').replace('/', '.')}")
    recipe = entry.split()[-1].rpartition(":")[2]
    values = [v for mark in getattr(vars(module)[name], "pytestmark", ()) for v in mark.args[1]]
    if recipe == "all":  # code is tried by a test of its own
        assert set(values) == CASES.keys() - {"code"}
    else:
        assert recipe in values or f'"{recipe}"' in getsource(module), f"{name} runs no {recipe}"


def test_the_tables_name_only_what_stands_on_a_page() -> None:
    for table in (smoke.ELSEWHERE, smoke.NOT_RUN, smoke.TINY):
        used = {smoke.entry(table, command.words) for command in ALL}
        assert set(table) - used == set(), "no page has this"
    words = {word for command in ALL for word in [*command.words, " ".join(command.words[1:3])]}
    assert {key.split()[-1] for key in smoke.PLACES} - words == set(), "no page has this"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("burnish run hello --set sft.optim.lrr=1", "lrr"),
        ("burnish run helo", "did you mean `hello`"),
        ("burnish rum hello", "did you mean `run`"),
        ("burnish run hello --sets a=1", "--sets"),
        ("burnish study tool", "tool"),
        ("burnish sweep hello --over sft.optim.rl=1,2", "rl"),
        ("burnish sweep hello --over sft.optim.lr=1,2 --metric evalute.sft", "evalute"),
        ("burnish recipe diff tulu3 tulu4", "tulu4"),
    ],
)
def test_what_has_gone_stale_is_noticed(words: str, says: str) -> None:
    with pytest.raises((BurnishError, UsageError), match=says):
        smoke.loads(words.split())


def test_a_command_that_fails_is_noticed(world: worlds.World) -> None:
    code, printed = world.run(["burnish", "eval", "runs/none", "--task", "sums"])
    assert code == 1 and printed.startswith("error: runs/none")
    code, printed = world.run(["burnish", "run", "sft", "--set", "data.path=none.jsonl"])
    assert code == 1 and "none.jsonl" in printed
    assert world.run(["bench.sft", "--row", "x"])[0] == 2


PAGE = """\
Say `burnish eval`, or `burnish run
star`, not `made burnish run x`.

    burnish show hello     # what `it` isn't
    other

```sh
python -m bench.gpu
burnish doctor
```
In `python -m bench.scaling` and `bench.sft --rows "2 a"`.
"""


def test_commands_are_found_where_they_stand() -> None:
    assert [(c.line, c.text) for c in found(PAGE, "p.md")] == [
        (1, "burnish run star"),
        (4, "burnish show hello"),
        (8, "python -m bench.gpu"),
        (9, "burnish doctor"),
        (11, "python -m bench.scaling"),
        (11, "python -m bench.sft --rows '2 a'"),
    ]
    assert len({Path(c.page).parent for c in ALL}) >= 3 and len(ALL) > 90
