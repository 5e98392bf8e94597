"""New instructions from seeds: what is shown, what passes, and what is counted."""

import json
from pathlib import Path
from typing import Any

import pytest

from burnish.data.store import read_problems
from burnish.errors import ConfigError, DataError
from burnish.pipeline.stage import Context
from burnish.stages.self_instruct import SelfInstruct, list_prompt, listed, read_seeds
from burnish.verifiers.chat import Answer
from burnish.verifiers.endpoint import Endpoint
from tests.fake_server import Reply, said, serving

TOPICS = ["rivers", "bread", "clocks", "forests", "trains", "music", "stars", "shoes"]
SHARED = Path(__file__).parents[4] / "shared/data/self-instruct/seed_tasks.jsonl"


def seeds(tmp_path: Path) -> Path:
    rows = [
        {"instruction": f"Explain how {topic} came about.", "is_classification": False}
        for topic in TOPICS
    ]
    rows += [
        {"instruction": f"Is this remark on {topic} kind or rude?", "is_classification": True}
        for topic in TOPICS
    ]
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def instruct(tmp_path: Path, url: str, **settings: Any) -> Context:
    given: dict[str, Any] = {"num_instructions": 3, "prompts_per_round": 1, "max_rounds": 2}
    stage = SelfInstruct(
        by=Endpoint(base_url=url, model="m", max_attempts=1, concurrency=1),
        **({"seeds": str(seeds(tmp_path))} | given | settings),
    )
    ctx = Context.for_test(tmp_path, outputs=stage.outputs)
    stage.run(ctx)
    return ctx


def kind_of(text: str) -> bool:
    return text.endswith("Classification:")


FIRST = """\
Task 9: Write a short poem about the first snow of winter.
Task 10: Explain how bread came about.
Task 11: Sing.
12. Describe the picture of a harbour at dawn.
Task 13: Sort these five animals into wild
 ones and tame ones.
Task 14: "Quoted" from the start, five words
Task 15: {long}
""".replace("{long}", "word " * 151)


def test_what_is_new_passes_and_the_rest_is_counted(tmp_path: Path) -> None:
    def answer(body: dict[str, Any], _number: int) -> Reply:
        text = body["messages"][0]["content"]
        if kind_of(text):
            return said("Yes." if "Sort these" in text[-120:] else "maybe")
        return said(FIRST)

    with serving(answer) as server:
        ctx = instruct(tmp_path, server.url)
    problems = read_problems(ctx.output("problems"))
    assert [p.prompt.last_user for p in problems] == [
        "Write a short poem about the first snow of winter.",
        "Sort these five animals into wild ones and tame ones.",
    ]
    kinds = [json.loads(p.meta)["is_classification"] for p in problems]
    assert kinds == [None, True] and {p.task for p in problems} == {"self_instruct"}
    counts = {k: v["n"] for k, v in ctx.tallies.counts.items()}
    left = "candidates left out: "
    assert counts[f"{left}too short"] == 2 and counts[f"{left}banned word"] == 2
    assert counts[f"{left}too long"] == 2 and counts[f"{left}no words at its start"] == 2
    assert counts[f"{left}too alike"] == 1 + 3  # the seed's twice; the two of the first round
    assert counts["instructions asked for and not found"] == 1
    assert counts["instructions of which it is not known if they classify"] == 1


def test_six_of_peoples_and_two_of_its_own_are_shown(tmp_path: Path) -> None:
    new = iter(["spoons", "mirrors", "ladders", "candles", "bridges"])

    def answer(body: dict[str, Any], _number: int) -> Reply:
        if kind_of(body["messages"][0]["content"]):
            return said("no")
        return said(f"Task 9: Invent a quiet game played with {next(new)} by three children.")

    with serving(answer) as server:
        ctx = instruct(tmp_path, server.url, max_rounds=4, num_instructions=4, max_similarity=0.95)
    prompts = [b["messages"][0]["content"] for b in server.bodies[:4]]
    own = [sum("Invent a quiet game" in line for line in p.splitlines()) for p in prompts]
    assert own == [0, 1, 2, 2]
    assert all("Task 8: " in p and "begins with `Task 9:`" in p for p in prompts)
    assert len(read_problems(ctx.output("problems"))) == 4
    kinds = [b["messages"][0]["content"] for b in server.bodies[4:]]
    assert all(k.count("Classification: yes") == 4 for k in kinds)
    assert all(k.count("Classification: no") == 4 for k in kinds)
    assert all(b["temperature"] == 0 for b in server.bodies[4:])


def test_the_pool_includes_what_was_written_before(tmp_path: Path) -> None:
    line = "Task 9: Plan a walk through an old harbour town."
    with serving(lambda b, n: said(f"{line}\nTask 10: {line[8:-1]} now.")) as server:
        ctx = instruct(tmp_path, server.url)
    assert len(read_problems(ctx.output("problems"))) == 1


def test_asking_stops_when_there_are_enough(tmp_path: Path) -> None:
    with serving(lambda b, n: said(FIRST)) as server:
        ctx = instruct(tmp_path, server.url, num_instructions=1, max_rounds=9)
    assert len(read_problems(ctx.output("problems"))) == 1
    assert len(server.bodies) == 2


def test_an_item_cut_off_by_the_limit_is_left_out() -> None:
    text = "Task 9: One two three.\nTask 10: Four fi"
    assert listed(Answer(text=text, completion_tokens=16), 16) == (["One two three."], 1)
    assert listed(Answer(text=text, completion_tokens=15), 16)[1] == 0
    assert listed(Answer(text="Task 9: 5. Choose one."), 16) == (["Choose one."], 0)
    assert listed(Answer(text="Here are some ideas."), 16) == ([], 0)


def test_nothing_new_is_an_error(tmp_path: Path) -> None:
    with serving(lambda b, n: said("No.")) as server, pytest.raises(DataError, match="none of 0"):
        instruct(tmp_path, server.url)


def test_seeds_are_read_strictly(tmp_path: Path) -> None:
    file = tmp_path / "s.jsonl"
    for row, words in [
        ({"instruction": 3}, "`instruction` must be text"),
        ({"instruction": " "}, "is empty"),
        ({"instruction": "x", "is_classification": "yes"}, "true or false"),
    ]:
        file.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=words):
            read_seeds(file)
    file.write_text(json.dumps({"instruction": "Say it."}) + "\n")
    assert read_seeds(file)[0].is_classification is None
    with pytest.raises(DataError, match="shown_human=6"):
        instruct(tmp_path, "http://127.0.0.1:9", seeds=str(file))
    with pytest.raises(ConfigError, match="max_similarity"):
        instruct(tmp_path, "http://127.0.0.1:9", max_similarity=0)


def test_the_tasks_of_the_paper_are_read() -> None:
    if not SHARED.exists():
        pytest.skip(f"{SHARED} is absent")
    found = read_seeds(SHARED)
    assert len(found) == 175
    assert sum(s.is_classification is True for s in found) == 26
    assert "Task 2: " + found[1].instruction in list_prompt([s.instruction for s in found[:3]])
