import pytest

from burnish.data import store
from burnish.errors import DataError
from burnish.types import (
    Comparison,
    Conversation,
    Finish,
    Message,
    PreferencePair,
    Problem,
    Tool,
    ToolCall,
)

PROMPT = Conversation.of("naïve 👩‍🚀\u2028\x00?", system="Be kind")
CALLED = Conversation(
    messages=(
        Message(role="user", content="weather?"),
        Message(
            role="assistant",
            content="",
            tool_calls=(ToolCall(name="look", arguments='{"at": "sea"}', id="1"),),
        ),
        Message(role="tool", content="blue", tool_call_id="1", name="look"),
        Message(role="assistant", content="Blue."),
    ),
    tools=(Tool(name="look", description="looks", parameters='{"type": "object"}'),),
)
PROBLEM = Problem(prompt=PROMPT, task="arithmetic", answer="5", meta='{"terms": 2}')

KINDS = {
    "conversations": [PROMPT, CALLED],
    "problems": [PROBLEM],
    "completions": [
        store.Sampled(
            problem=PROBLEM,
            index=1,
            text="5",
            prompt_ids=(1, 2),
            tokens=(7, 2),
            logprob=-0.1,
            finish=Finish.STOP,
        )
    ],
    "comparisons": [
        Comparison(
            prompt=CALLED, a="x", b="y", winner="tie", annotator="me", seconds=1.5, shown_order="ba"
        )
    ],
    "pairs": [
        PreferencePair(prompt=PROMPT, chosen="x", rejected="y", source="me", margin=0.5),
        PreferencePair(prompt=CALLED, chosen="x", rejected="y"),
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_reading_is_the_inverse_of_writing(tmp_path, kind):
    write, read = {
        "conversations": (store.write_conversations, store.read_conversations),
        "problems": (store.write_problems, store.read_problems),
        "completions": (store.write_completions, store.read_completions),
        "comparisons": (store.write_comparisons, store.read_comparisons),
        "pairs": (store.write_pairs, store.read_pairs),
    }[kind]
    path = tmp_path / "rows.jsonl"
    assert write(path, KINDS[kind]) == len(KINDS[kind])
    assert read(path) == KINDS[kind]
    before = path.read_bytes()
    with pytest.raises(DataError, match=rf"{path}:{len(KINDS[kind]) + 1}"):
        path.write_bytes(before + b'{"other": 1}\n')
        read(path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    store.write_rows(path, [{"a": 1}])
    with pytest.raises(TypeError):
        store.write_rows(path, [{"a": 2}, {"a": object()}])
    assert store.read_rows(path) == [{"a": 1}]
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]
