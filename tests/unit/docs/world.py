"""A small world in which commands of the documentation are carried out, each at the smallest size.

A command is run as it stands, but that its placeholders name files of this world, that its recipe's
stages are small ones (`small`), and that its model is random and tiny.
"""

import gzip
import importlib
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from burnish import cli
from burnish.cli.recipes import load_recipe
from burnish.engine.text_model import TextModel
from burnish.models.get import DONE, KNOWN
from burnish.pipeline.recipe import type_name
from burnish.stages import rate
from burnish.stages.load import LoadModel
from burnish.text.template import sha256_of
from burnish.types import Problem, Verdict
from burnish.verifiers.verify import verify_problem
from tests.fake_server import serving
from tests.tiny import CHATML
from tests.unit.cli.tiny_model import write_model
from tests.unit.docs.smoke import OWN, RUNS, SMALL, TINY, entry, parsed, told
from tests.unit.stages.test_canonical import speak
from tests.unit.stages.test_judging import honest


def small(recipe: str) -> list[str]:
    """`--set` for each value that makes a recipe small."""
    stages = load_recipe(recipe).stages
    sets = [
        f"{stage}.{key}={value}"
        for stage, config in stages.items()
        for key, value in SMALL.get(type_name(config), {}).items()
    ]
    for stage, config in stages.items():
        if isinstance(config, LoadModel) and config.template_sha256:
            sets.append(f"{stage}.template_sha256={sha256_of(CHATML)}")
    return [word for text in [*sets, *OWN.get(recipe, [])] for word in ("--set", text)]


@dataclass(frozen=True, kw_only=True)
class World:
    """A directory with a model, data and runs, in which commands are carried out."""

    root: Path
    patch: pytest.MonkeyPatch
    url: str
    done: dict[str, tuple[int, str]] = field(default_factory=dict)
    """What was run -> how it ended: at this size some commands are the same."""

    def run(self, words: Sequence[str]) -> tuple[int, str]:
        """Exit status, and what was printed, of a command at the smallest size."""
        if words[0] != "burnish":
            return self._bench(words)
        for word in told(words):
            if word in RUNS and not (self.root / word).exists():
                code, out = self._burnish(["burnish", *RUNS[word]])
                assert code == 0, f"{word}: {out}"
        return self._burnish(words)

    def _burnish(self, words: Sequence[str]) -> tuple[int, str]:
        own = ["burnish", *self._smallest(words)]
        meant = str(parsed(own))
        if meant not in self.done:
            self.done[meant] = self._call(cli.main, own)
        return self.done[meant]

    def _bench(self, words: Sequence[str]) -> tuple[int, str]:
        module = importlib.import_module(words[0])
        own = [*words, *TINY.get(words[0], [])]
        if "duel" in vars(module):  # the sides of other programs take minutes to start
            own += ["--side", "burnish", "--result", "result.json"]
        return self._call(module.main, own)

    def _smallest(self, words: Sequence[str]) -> list[str]:
        own = [self.url if w == "https://host/v1" else w for w in told(words)[1:]]
        name, given = parsed(["burnish", *own])
        recipe = given.get("recipe") or (name if name == "quickstart" else "")
        sets = small(recipe) if recipe and recipe not in RUNS else []
        tiny = TINY.get(entry(TINY, words) or "", [])
        return [own[0], *sets, *own[1:], *tiny]

    def _call(self, main: Any, words: list[str]) -> tuple[int, str]:
        out = io.StringIO()
        with self.patch.context() as patch:
            if main is cli.main:
                patch.setattr(TextModel, "decode", speak)
            patch.setattr(rate, "verify_problem", _rated)
            patch.setattr(sys, "argv", words)
            patch.setattr(sys, "stdin", io.StringIO("Hello there\n"))
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", out)
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
                return code, out.getvalue()
        return 0, out.getvalue()


def _rated(problem: Problem, completion: str) -> Verdict:
    """Of a random model's bytes and some words of the question, so that a rubric tells answers
    apart. (`speak` will not do for stages that need the text's own ids.)"""
    words = problem.prompt.last_user.split()[: len(completion) % 6]
    return verify_problem(problem, " ".join([completion, *words]))


def world(root: Path) -> Iterator[World]:
    """For as long as it is needed: files, the cache, and a judge's server."""
    _write_data(root)
    write_model(root / "my" / "model", context=2048)
    source = KNOWN["smollm2"]
    home = root / "cache/models" / f"smollm2-{source.version}-{source.member_sha256[:8]}"
    (write_model(home, context=2048) / DONE).write_text("{}")
    with pytest.MonkeyPatch.context() as patch, serving(honest) as server:
        patch.chdir(root)
        patch.setenv("BURNISH_CACHE", str(root / "cache"))
        patch.setenv("MY_KEY", "secret")
        yield World(root=root, patch=patch, url=server.url)


def _write_data(root: Path) -> None:
    pairs = [{"prompt": f"Why {i}?", "chosen": "good", "rejected": "bad"} for i in range(24)]
    talks = [{"prompt": f"Why {i}?", "completion": f"Because {i}."} for i in range(12)]
    sums = [{"prompt": f"{i} + 1? End with Answer:", "answer": str(i + 1)} for i in range(6)]
    asked = [
        {
            "prompt": f"Say {i} without commas.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        }
        for i in range(6)
    ]
    start = "\n\nHuman: Why {}?\n\nAssistant: "
    hh = [
        {"chosen": start.format(i) + "good", "rejected": start.format(i) + "bad"} for i in range(24)
    ]
    for name, rows in (
        ("talks", talks),
        ("pairs", pairs),
        ("labels", pairs),
        ("problems", sums),
        ("prompts", asked),
    ):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with gzip.open(root / "hh.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in hh)
