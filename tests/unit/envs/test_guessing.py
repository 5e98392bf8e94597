"""The guessing game: its rules, its credit, and that halving is the best there is."""

import math

import pytest

from burnish.envs.guessing import Game, GuessingGame, halving_guess
from burnish.errors import ConfigError, DataError
from burnish.stages.guessing_problems import halved
from burnish.types import Conversation, Problem


def play(env: GuessingGame, secret: int, *guesses: str):
    state, replies = env.start(env.problem(secret), 0).state, []
    for guess in guesses:
        replies.append(env.reply(state, guess))
        state = replies[-1].state
    return replies


def test_a_game_by_hand() -> None:
    first, second, third = play(GuessingGame(), 20, "Guess: 16", "guess: 24.", "20")
    assert [r.messages[0].content for r in (first, second)] == ["higher", "lower"]
    assert third.done and third.verdict.passed and third.verdict.score == 1.0
    assert second.state == Game(secret=20, low=17, high=23, guesses=2)
    assert not first.done and first.verdict.score == 0.0


def test_credit_is_what_a_guess_found_out_and_adds_up() -> None:
    env = GuessingGame(low=1, high=32, information_coef=0.5)
    replies = play(env, 20, "Guess: 16", "Guess: 28", "Guess: 5", "Guess: 20")
    # 32 numbers, then 16 (17 to 32), 11 (17 to 27), 11 still, 1.
    shares = [math.log2(32 / 16), math.log2(16 / 11), 0.0, math.log2(11)]
    assert [r.reward for r in replies] == pytest.approx([0.5 * s / 5 for s in shares])
    assert sum(r.reward for r in replies) == pytest.approx(0.5)


def test_what_is_no_guess_costs_one_and_the_game_ends() -> None:
    env = GuessingGame(max_guesses=2)
    for text in ("I think 5 or 6", "Guess: -3", "Guess: 1.5", "", "Guess: 9999999999", "Guess: ٣"):
        first, second = play(env, 5, text, text)
        assert first.counts == {"env/malformed": 1} and not first.done
        assert second.done and not second.messages and second.verdict.score == 0.0


@pytest.mark.parametrize(("high", "fewest"), [(31, 5), (32, 6), (7, 3), (8, 4), (2, 2)])
def test_halving_needs_at_most_as_many_guesses_as_there_are_bits(high: int, fewest: int) -> None:
    env = GuessingGame(high=high, max_guesses=20)
    needed = [
        sum(m.role == "assistant" for m in halved(env, s).messages) for s in range(1, high + 1)
    ]
    assert env.fewest_guesses == fewest == max(needed)
    # No order of questions with two ways on does better in the worst case: 2^k - 1 numbers in k.
    assert high > 2 ** (fewest - 1) - 1
    assert halving_guess(1, 31) == 16


def test_problems_of_another_game_are_refused() -> None:
    env = GuessingGame()
    for problem in (
        GuessingGame(high=50).problem(40),
        Problem(prompt=Conversation.of("a"), task="guessing", answer="5"),
        Problem(prompt=env.problem(5).prompt, task="exact", answer="5"),
        Problem(prompt=env.problem(5).prompt, task="guessing", answer="x"),
    ):
        with pytest.raises(DataError, match="is not a game of 1 to 31"):
            env.start(problem, 0)
    with pytest.raises(ConfigError):
        GuessingGame(low=5, high=5)
