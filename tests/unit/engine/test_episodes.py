"""Episodes of several turns, played by a scripted sampler: which ids, which masks, which limits."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from burnish.engine.agent_collector import AgentCollector, episode_batch
from burnish.engine.episodes import Limits, Start, Trajectory, play
from burnish.engine.protocols import Sampling
from burnish.engine.scripted import ScriptedSampler
from burnish.engine.shaping import Shaping
from burnish.engine.text_inputs import TextInputs
from burnish.envs.protocol import Env, Opening, Reply
from burnish.envs.single_turn import SingleTurn
from burnish.envs.tool_use import ToolUse
from burnish.errors import ConfigError
from burnish.text.chat import decode, encode_prompt
from burnish.text.tokenizer import stop_ids
from burnish.text.turns import encode_between
from burnish.types import Conversation, Message, Problem, Verdict
from tests.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
STOPS = stop_ids(TOKENIZER)
(END,) = STOPS
SAMPLING = Sampling(max_new_tokens=60, stop_ids=STOPS)


class Chat:
    """A tokenizer without a model."""

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        return encode_prompt(conversation, TOKENIZER)

    def between(self, conversation: Conversation, replies: Sequence[Message]) -> tuple[int, ...]:
        return encode_between(conversation, replies, TOKENIZER)

    def decode(self, ids: Sequence[int]) -> str:
        return decode(ids, TOKENIZER)


@dataclass(frozen=True)
class Echo:
    """Replies with what it heard, `turns` times; each turn brings a tenth, the last one 1."""

    turns: int = 3

    def start(self, problem: Problem, key: int) -> Opening:
        return Opening(conversation=problem.prompt, state=0)

    def reply(self, state: object, completion: str) -> Reply:
        assert isinstance(state, int)
        done = state + 1 == self.turns
        return Reply(
            state=state + 1,
            verdict=Verdict(score=float(done), passed=done),
            done=done,
            messages=() if done else (Message(role="user", content=f"You said {completion}."),),
            reward=0.1,
            counts={"env/tool_calls": 1},
        )


def ids(text: str) -> tuple[int, ...]:
    return tuple(TOKENIZER.encode(text, add_special_tokens=False))


def letters(text: str) -> tuple[int, ...]:
    """The text in single bytes: ids that the tokenizer itself would never give."""
    return tuple(i for char in text for i in ids(char))


def say(*texts: str, form=ids) -> ScriptedSampler:
    """One text a turn, by how many turns are in the prompt already."""
    starts = TOKENIZER.convert_tokens_to_ids("<|im_start|>")

    def script(prompt: tuple[int, ...], index: int) -> tuple[int, ...]:
        turn = (prompt.count(starts) - 3) // 2
        return (*form(texts[turn]), END)

    return ScriptedSampler(script)


PROBLEM = Problem(prompt=Conversation.of("What is the answer?"), task="exact", answer="5")


def episode(sampler: ScriptedSampler, env: Env, **limits: int) -> Trajectory:
    start = Start(problem=PROBLEM, key=1, env_key=2)
    ((found,),) = play(
        [start],
        env=env,
        chat=Chat(),
        sampler=sampler,
        sampling=SAMPLING,
        limits=Limits(**limits),
        context=500,
    )
    return found


def test_a_trajectory_is_the_opening_the_sampled_ids_and_the_templates_text_between() -> None:
    found = episode(say("the cat", "the dog", "the sea"), Echo())
    first = (*ids("the cat"), END)
    between = ids("\n") + tuple(
        TOKENIZER.encode("<|im_start|>user\nYou said the cat.<|im_end|>\n<|im_start|>assistant\n")
    )
    assert found.tokens[: len(first) + len(between)] == first + between
    assert found.sampled[: len(first) + len(between)] == (True,) * len(first) + (False,) * len(
        between
    )
    assert [found.tokens[t] for t in found.turn_ends] == [END] * 3
    assert found.tokens[-1] == END and found.sampled[-1] and not found.cut
    # Where the tokenizer agrees, this is the whole conversation as the template writes it.
    assert decode(found.prompt + found.tokens, TOKENIZER).count("You said") == 2


def test_sampled_ids_are_kept_where_the_tokenizer_would_cut_the_text_otherwise() -> None:
    text = "the answer is"
    assert letters(text) != ids(text) and decode(letters(text), TOKENIZER) == text
    sampler = say(text, text, text, form=letters)
    found = episode(sampler, Echo())
    kept = [i for i, flag in zip(found.tokens, found.sampled, strict=True) if flag]
    assert kept == [*letters(text), END] * 3
    # The second turn was sampled after exactly what is trained on.
    prompts = [requests[0].prompt for requests in sampler.requests]
    whole = found.prompt + found.tokens
    assert prompts[1:] == [whole[: len(p)] for p in prompts[1:]]
    assert [len(p) - 1 for p in prompts[1:]] == [
        len(found.prompt) + t + len(turn.between)
        for t, turn in zip(found.turn_ends[:2], found.turns[:2], strict=True)
    ]
    assert kept != [*ids(text), END] * 3


def test_rewards_follow_the_turns_and_the_score_is_their_sum() -> None:
    collector = collector_of(say("the cat", "the dog", "the sea"), Echo())
    rollout = collector.collect(0)
    batch, inputs = rollout.batch, rollout.inputs
    assert isinstance(inputs, TextInputs) and inputs.sampled is not None
    row = collector.episodes[0].trajectory
    expected = torch.zeros(batch.mask.shape[1])
    for t in row.turn_ends:
        expected[t] = 0.1
    expected[row.turn_ends[-1]] += 1.0
    assert torch.allclose(batch.rewards[0], expected)
    assert torch.allclose(batch.scores, torch.full((2,), 1.3))
    assert batch.terminated[0].nonzero()[:, 0].tolist() == [row.turn_ends[-1]]
    assert batch.mask[0].tolist() == [*row.sampled]
    assert 0 < int((~batch.mask[0]).sum()) < batch.mask.shape[1]
    assert rollout.metrics["env/turns"] == 3 and rollout.metrics["env/tool_calls"] == 6
    assert rollout.metrics["rl/length"] == row.num_sampled == int(batch.mask[0].sum())
    assert rollout.metrics["env/turn_rewards"] == pytest.approx(0.3)


def collector_of(sampler: ScriptedSampler, env: Env, **given: object) -> AgentCollector:
    settings = {
        "limits": Limits(),
        "context": 500,
        "problems": [PROBLEM],
        "problems_per_step": 1,
        "group_size": 2,
        "seed": 3,
    } | given
    return AgentCollector(env=env, chat=Chat(), sampler=sampler, sampling=SAMPLING, **settings)  # type: ignore[arg-type]


def test_running_episodes_take_a_turn_together_each_under_its_own_stream() -> None:
    def script(prompt: tuple[int, ...], index: int) -> tuple[int, ...]:
        return (*ids("the cat"), END)

    sampler = ScriptedSampler(script)
    collector_of(sampler, Echo(), group_size=3).collect(0)
    # One request for the group's first turn, then one an episode, all in one call a turn.
    assert [[r.num for r in call] for call in sampler.requests] == [[3], [1, 1, 1], [1, 1, 1]]
    keys = [r.key for call in sampler.requests for r in call]
    assert len(set(keys)) == len(keys)
    alone = ScriptedSampler(script)
    collector_of(alone, Echo(), group_size=1).collect(0)
    assert [c[0].key for c in alone.requests] == [c[0].key for c in sampler.requests]


def test_limits_end_an_episode_and_say_so() -> None:
    sampler = say("the cat", "the dog", "the sea")
    two = episode(sampler, Echo(), max_turns=2)
    assert (two.cut, len(two.turns), two.verdict.score) == ("turns", 2, 0.0)
    first = len(two.prompt) + len(two.turns[0].completion.tokens)
    # Room for the reply but for no token after it; nothing is kept that no turn follows.
    full = episode(sampler, Echo(), max_context=first + len(two.turns[0].between))
    assert (full.cut, len(full.turns), full.tokens[-1]) == ("context", 1, END)
    room = episode(sampler, Echo(), max_context=first + len(two.turns[0].between) + 1)
    assert (room.cut, len(room.turns)) == ("context", 2)
    assert len(room.prompt) + len(room.tokens) == first + len(two.turns[0].between) + 1


def test_a_turn_without_an_end_ends_the_episode() -> None:
    endless = ScriptedSampler(lambda prompt, index: ids("the ") * 100)
    found = episode(endless, Echo())
    assert (found.cut, len(found.turns), len(found.tokens)) == ("tokens", 1, 60)
    short = episode(endless, Echo(), max_context=len(found.prompt) + 5)
    assert (short.cut, len(short.tokens)) == ("context", 5)
    with pytest.raises(ConfigError, match="leaves no room for a turn"):
        episode(endless, Echo(), max_context=len(found.prompt))


def test_cut_episodes_are_counted_and_shaped_as_completions_are() -> None:
    endless = ScriptedSampler(lambda prompt, index: ids("the ") * 100)
    shaped = collector_of(endless, Echo(), shaping=Shaping(missing_eos_penalty=0.5))
    rollout = shaped.collect(0)
    assert rollout.metrics["rl/truncated"] == 1.0 and rollout.metrics["env/cut_tokens"] == 2.0
    assert rollout.batch.scores.tolist() == pytest.approx([0.1 - 0.5] * 2)
    masked = collector_of(endless, Echo(), shaping=Shaping(mask_truncated=True)).collect(0)
    assert not masked.batch.mask.any() and masked.metrics["rl/unscored"] == 2.0
    long = collector_of(
        say("the cat", "the " * 50, "a"), Echo(), shaping=Shaping(overlong_buffer=20)
    )
    # Of turns of 3, 51 and 2 tokens the longest is 11 of 20 into the buffer.
    turns = [len(t.completion.tokens) for t in long_turns(long)]
    assert turns[1] == max(turns) > 40
    assert long.episodes[0].score == pytest.approx(1.3 + (40 - turns[1]) / 20)


def long_turns(collector: AgentCollector):
    collector.collect(0)
    return collector.episodes[0].trajectory.turns


def test_an_episode_that_could_not_be_scored_has_no_decisions() -> None:
    @dataclass(frozen=True)
    class Unscored(Echo):
        def reply(self, state: object, completion: str) -> Reply:
            return Reply(state=state, verdict=Verdict(score=None), done=True, reward=0.5)

    rollout = collector_of(say("the cat"), Unscored()).collect(0)
    assert not rollout.batch.mask.any() and rollout.batch.rewards.abs().sum() == 0
    assert rollout.metrics["rl/unscored"] == 2.0


def test_rows_of_different_lengths_keep_their_own_gaps() -> None:
    def script(prompt: tuple[int, ...], index: int) -> tuple[int, ...]:
        return (*ids("the cat" if index else "the"), END)

    collector = collector_of(ScriptedSampler(script), Echo(turns=2))
    collector.collect(0)
    batch = episode_batch(collector.episodes, 2)
    for row, played in zip(batch.mask, collector.episodes, strict=True):
        flags = played.trajectory.sampled
        assert row.tolist() == [*flags] + [False] * (batch.mask.shape[1] - len(flags))


def test_tools_are_called_and_their_results_read() -> None:
    call = "<tool>calculator: 2 + 3</tool>"
    found = episode(say(call, "Answer: 5"), ToolUse())
    assert [m.role for m in found.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert found.messages[3].content == "5" and found.verdict.passed
    between = TOKENIZER.decode(found.turns[0].between)
    assert between == "\n<|im_start|>tool\n5<|im_end|>\n<|im_start|>assistant\n"
    assert found.transcript == f"[assistant] {call}\n[tool] 5\n[assistant] Answer: 5"


def test_one_turn_is_one_completion() -> None:
    found = episode(say("Answer: 5"), SingleTurn())
    assert found.tokens == (*ids("Answer: 5"), END) and all(found.sampled)
    assert found.verdict.passed and len(found.turns) == 1
