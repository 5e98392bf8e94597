import json
from pathlib import Path

import pytest

from burnish.data.everyday import demonstrations, format_demonstrations, instructions
from burnish.data.load import load_conversations, load_pairs, load_problems
from burnish.errors import DataError
from burnish.types import Conversation

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


def shared(name: str) -> Path:
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{name} is not beside the project")
    return path


def written(tmp_path, *rows) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def message(role, content):
    return {"role": role, "content": content}


def test_every_form_of_demonstration_gives_the_same_conversation(tmp_path):
    turn = [message("user", "q\n\ni"), message("assistant", "a")]
    path = written(
        tmp_path,
        {"messages": turn},
        {"prompt": "q\n\ni", "completion": "a"},
        {"prompt": turn[:1], "completion": turn[1:]},
        {"instruction": "q", "input": "i", "output": "a"},
        {"instruction": "q", "instances": [{"input": "i", "output": "a"}]},
        {"question": "q\n\ni", "answer": "a"},
    )
    items, counts = load_conversations(path)
    assert items == [Conversation.of("q\n\ni", "a")] * 6
    assert counts == {"rows": 6, "used": 6}


def test_empty_turns_are_dropped_and_counted(tmp_path):
    path = written(
        tmp_path,
        {"prompt": "q", "completion": "a"},
        {"prompt": "q", "completion": " \n"},
        {"prompt": "", "completion": "a"},
        {"instruction": "", "input": "i", "output": ""},
    )
    assert load_conversations(path)[1] == {"rows": 4, "used": 1, "empty": 3}


WRONG = {
    "content is null": ({"messages": [message("user", None)]}, r"messages\[0\]\.content"),
    "content is a list": ({"messages": [message("user", ["x"])]}, r"messages\[0\]\.content"),
    "no messages": ({"messages": []}, "`messages` must be a non-empty list"),
    "role bot": ({"messages": [message("bot", "x")]}, r"messages\[0\]\.role is 'bot'"),
    "two systems": (
        {"messages": [message("system", "x"), message("system", "y"), message("user", "z")]},
        r"messages\[1\]\.role is 'system', a second",
    ),
    "system later": (
        {"messages": [message("user", "x"), message("system", "y"), message("assistant", "z")]},
        r"messages\[1\]\.role is 'system', not the first",
    ),
    "last turn user": (
        {"messages": [message("user", "x")]},
        r"messages\[0\]\.role is 'user'; a demonstration must end",
    ),
    "reply to no call": (
        {"messages": [message("user", "x"), message("tool", "y"), message("assistant", "z")]},
        r"messages\[1\]\.role is 'tool', but no tool was called",
    ),
    "completion is null": ({"prompt": "x", "completion": None}, "`completion`"),
    "output is null": ({"instruction": "x", "output": None}, "`output` must be text, not null"),
    "unknown fields": ({"text": "x"}, "no conversation in the fields text"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_row_is_named_with_its_field_or_counted(tmp_path, kind):
    row, reason = WRONG[kind]
    path = written(tmp_path, {"prompt": "q", "completion": "a"}, row)
    with pytest.raises(DataError, match=reason) as raised:
        load_conversations(path)
    assert str(raised.value).startswith(f"{path}:2: ")
    assert load_conversations(path, skip_bad=True)[1] == {"rows": 2, "used": 1, "bad_rows": 1}


def test_a_file_of_which_nothing_is_left_is_refused(tmp_path):
    path = written(tmp_path, {"prompt": "q", "completion": ""})
    with pytest.raises(DataError, match=r"no row is left of 1 \(1 empty\)"):
        load_conversations(path)
    path.write_text("\n")
    with pytest.raises(DataError, match="the file is empty"):
        load_pairs(path)


def test_problems_carry_answer_task_and_meta(tmp_path):
    path = written(
        tmp_path,
        {"prompt": "one and one?", "answer": 2, "meta": {"terms": 2}},
        {"messages": [message("user", "hi")], "task": "format", "meta": '{"a": 1}'},
        {"question": "how many?", "answer": "4 * 270 = 1080\n#### 1,080"},
        {"prompt": "one and one?", "answer": 2, "meta": {"terms": 2}},
        {"prompt": " ", "answer": ""},
    )
    items, counts = load_problems(path, task="arithmetic")
    assert [(p.task, p.answer, p.meta) for p in items] == [
        ("arithmetic", "2", '{"terms": 2}'),
        ("format", "", '{"a": 1}'),
        ("gsm8k", "1080", "{}"),
    ]
    assert counts == {"rows": 5, "used": 3, "empty": 1, "duplicate": 1}
    asked = items[2].prompt.last_user
    assert asked.endswith("\nhow many?") and 'End with "Answer:" and the number.' in asked


def test_a_problem_without_task_or_that_is_answered_already_is_refused(tmp_path):
    with pytest.raises(DataError, match="`task` is missing"):
        load_problems(written(tmp_path, {"prompt": "x"}))
    turns = [message("user", "x"), message("assistant", "y")]
    with pytest.raises(DataError, match=r"messages\[1\]\.role is 'assistant'"):
        load_problems(written(tmp_path, {"messages": turns}), task="t")


def test_every_form_of_pair_gives_the_same_pair(tmp_path):
    prompt = [message("user", "q")]
    path = written(
        tmp_path,
        {"prompt": "q", "chosen": "good", "rejected": "bad0"},
        {"prompt": prompt, "chosen": "good", "rejected": "bad1"},
        {
            "prompt": "q",
            "chosen": [*prompt, message("assistant", "good")],
            "rejected": [*prompt, message("assistant", "bad2")],
        },
        {
            "prompt": prompt,
            "chosen": [message("assistant", "good")],
            "rejected": [message("assistant", "bad3")],
        },
        {
            "chosen": "\n\nHuman: q\n\nAssistant: good",
            "rejected": "\n\nHuman: q\n\nAssistant: bad4",
        },
        {"prompt": "\n\nHuman: q\n\nAssistant:", "chosen": "good", "rejected": "bad5"},
    )
    pairs, counts = load_pairs(path)
    assert counts == {"rows": 6, "used": 6}
    assert [(p.prompt, p.chosen, p.rejected) for p in pairs] == [
        (Conversation.of("q"), "good", f"bad{i}") for i in range(6)
    ]


def test_a_ranked_list_gives_all_its_pairs_and_none_for_ties(tmp_path):
    row = {"prompt": "q", "completions": ["c", "a", "b", "b2"], "ranks": [3, 1, 2, 2]}
    pairs, _ = load_pairs(written(tmp_path, row))
    assert {p.chosen + ">" + p.rejected for p in pairs} == {"a>c", "b>c", "b2>c", "a>b", "a>b2"}


def test_useless_pairs_are_dropped_and_counted_by_reason(tmp_path):
    def pair(chosen, rejected, prompt="q"):
        return {"prompt": prompt, "chosen": chosen, "rejected": rejected}

    path = written(
        tmp_path,
        pair("a", "b"),
        pair("a", "b"),
        pair("c", "c "),
        pair("d", "e"),
        pair("e", "d"),
        pair("d", "e", prompt="other"),
        pair("", "e"),
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: r\n\nAssistant: a"},
        {"chosen": "\n\nHuman: q\n\nHuman: a", "rejected": "\n\nHuman: q\n\nAssistant: a"},
    )
    pairs, counts = load_pairs(path)
    assert [p.chosen for p in pairs] == ["a", "d"]
    assert counts == {
        "rows": 9,
        "used": 2,
        "duplicate": 1,
        "identical": 1,
        "contradictory": 2,
        "empty": 1,
        "different_prompts": 1,
        "bad_turns": 1,
    }
    assert len(load_pairs(path, keep_contradictions=True)[0]) == 4


WRONG_PAIRS = {
    "missing side": ({"prompt": "q", "chosen": "a"}, "`rejected` is missing"),
    "missing prompt": ({"chosen": "a", "rejected": "b"}, "`prompt` is missing"),
    "no text": ({"prompt": "q", "chosen": 1, "rejected": "b"}, "`chosen` must be text"),
    "margin": (
        {"prompt": "q", "chosen": "a", "rejected": "b", "margin": "x"},
        "`margin` must be a number",
    ),
    "ranks": ({"prompt": "q", "completions": ["a", "b"], "ranks": [1]}, "one rank a completion"),
    "rank is text": (
        {"prompt": "q", "completions": ["a", "b"], "ranks": [1, "2"]},
        r"`ranks\[1\]` must be a number",
    ),
    "ends with user": (
        {"chosen": [message("user", "q")], "rejected": [message("user", "q")]},
        "`chosen` must end with the assistant",
    ),
}


@pytest.mark.parametrize("kind", WRONG_PAIRS)
def test_a_wrong_pair_is_named_with_its_field(tmp_path, kind):
    row, reason = WRONG_PAIRS[kind]
    with pytest.raises(DataError, match=reason):
        load_pairs(written(tmp_path, row))


def test_hh_transcripts_load_with_what_is_wrong_in_them_counted():
    pairs, counts = load_pairs(shared("hh-rlhf/harmless-base-part.jsonl.gz"))
    assert (
        counts["rows"]
        == 1580
        == counts["used"] + sum(n for key, n in counts.items() if key not in ("rows", "used"))
    )
    assert counts["used"] > 1500 and counts["bad_turns"] == 6
    assert all(p.prompt.messages[-1].role == "user" for p in pairs)


def test_gsm8k_answers_are_numbers():
    items, counts = load_problems(shared("gsm8k/test.jsonl"))
    assert counts["used"] == 1319 and {p.task for p in items} == {"gsm8k"}
    assert all(p.answer.lstrip("-").replace(".", "").isdigit() for p in items)


def test_self_instruct_and_ifeval_load():
    items, _ = load_conversations(shared("self-instruct/seed_tasks.jsonl"))
    assert len(items) >= 175 and all(c.messages[-1].role == "assistant" for c in items)
    problems, counts = load_problems(shared("ifeval/prompts.jsonl"))
    assert counts["used"] == 541 and problems[0].task == "instruction_following"
    assert json.loads(problems[0].meta)["instructions"][0] == {"kind": "punctuation:no_comma"}


def test_the_packaged_instructions_have_topics_and_no_prompt_of_the_demonstrations():
    problems = instructions()
    asked = {p.prompt.last_user for p in problems}
    assert len(asked) == len(problems) > 0
    assert all(set(json.loads(p.meta)) == {"topic", "constraints"} for p in problems)
    shown = demonstrations() + format_demonstrations()
    assert asked.isdisjoint(c.last_user for c in shown)
    assert all(c.messages[-1].content.strip() for c in shown)
    assert all(
        c.messages[-1].content.splitlines()[-1].startswith("Answer:")
        for c in format_demonstrations()
    )
