"""Format, length, repetition and language: hand-worked completions, and their generated cases."""

import math
import time
from typing import Any

import pytest

from burnish.errors import ConfigError
from burnish.types import Conversation, Problem, Verdict
from burnish.verifiers.cases_rewards import REWARD_CASES
from burnish.verifiers.format import Format
from burnish.verifiers.language import Language, detect
from burnish.verifiers.length import CosineLength, Length
from burnish.verifiers.repetition import Repetition

SUM = Problem(prompt=Conversation.of("What is 2 + 3?"), task="exact", answer="5")
ASKED = Problem(prompt=Conversation.of("Please explain how a bicycle stays upright."), task="x")

THINKING = Format(tags=("think", "answer"))


@pytest.mark.parametrize(
    "text",
    [
        "<think>2 and 3</think><answer>5</answer>",
        "\n<think>\na\n\nb\n</think>\n\n<answer> 5 </answer>\n",
        "<think>1 < 2, <b>so</b></think><answer>5</answer>",
    ],
)
def test_sections_in_order_pass(text: str) -> None:
    assert THINKING(SUM, text) == Verdict(score=1.0, passed=True, judge="format")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "<think> occurs 0 times"),
        ("<think>a</think> 5", "<answer> occurs 0 times"),
        ("<think>a</think><answer>5", "</answer> occurs 0 times"),
        ("<think>a</think><answer>5</answer><answer>6</answer>", "<answer> occurs 2 times"),
        ("<think><think>a</think></think><answer>5</answer>", "<think> occurs 2 times"),
        ("<think>a <answer>4</answer></think><answer>5</answer>", "<answer> occurs 2 times"),
        ("<think> </think><answer>5</answer>", "<think> is empty"),
        ("<think>a</think><answer>\n</answer>", "<answer> is empty"),
        ("<answer>5</answer><think>a</think>", "text before <think>"),
        ("Sure! <think>a</think><answer>5</answer>", "text before <think>"),
        ("<think>a</think> so <answer>5</answer>", "text before <answer>"),
        ("<think>a</think><answer>5</answer> Done.", "text after the last section"),
        ("</think>a<think><answer>5</answer>", "text before <think>"),
        ("<think>a<answer></think>5</answer>", "text before <answer>"),
        ("<Think>a</Think><answer>5</answer>", "<think> occurs 0 times"),
    ],
)
def test_other_structures_do_not(text: str, why: str) -> None:
    verdict = THINKING(SUM, text)
    assert (verdict.score, verdict.passed) == (0.0, False)
    assert why in verdict.why


def test_the_last_line_holds_the_mark_once() -> None:
    line = Format(last_line="Answer:")
    assert line(SUM, "2 + 3 is\n  Answer: 5\n\n").passed
    for text, why in (
        ("2 + 3 = 5", "0 lines"),
        ("Answer: 4\nAnswer: 5", "2 lines"),
        ("Answer: 5\nbye", "is not the last"),
        ("Answer: ", "nothing follows"),
        ("so the Answer: 5", "0 lines"),
    ):
        verdict = line(SUM, text)
        assert not verdict.passed and why in verdict.why


def test_a_pattern_must_match_the_whole_and_may_not_take_for_ever() -> None:
    digits = Format(pattern="[0-9]+(.[0-9]+)*")
    assert [digits(SUM, text).score for text in ("12\n3", "12 ", "a12", "")] == [1.0, 0, 0, 0]
    started = time.perf_counter()
    verdict = Format(pattern="(x|xx)+[yz]")(SUM, "x" * 60)
    assert verdict.score is None and "had not decided" in verdict.why
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize(
    ("size", "score"), [(0, 0), (5, 0), (6, 0.2), (9, 0.8), (10, 1), (20, 1), (22, 0.6), (25, 0)]
)
def test_length_falls_from_the_band_to_zero(size: int, score: float) -> None:
    verdict = Length(low=10, high=20, slack=5)(SUM, "word " * size)
    assert verdict.score == pytest.approx(score)
    assert verdict.passed == (score >= 0.5)
    in_characters = Length(low=10, high=20, slack=5, unit="characters")(SUM, "x" * size)
    assert in_characters.score == pytest.approx(score)


def test_blanks_inside_do_not_make_a_text_long() -> None:
    band = Length(low=10, high=2000, unit="characters")
    assert band(SUM, "a" + " \n" * 500 + "b").score == 0.0
    assert band(SUM, "a b c d e f").score == 1.0


def test_without_slack_the_band_is_sharp_and_empty_is_never_in_it() -> None:
    assert [Length(low=1, high=2)(SUM, t).score for t in ("", "a", "a b", "a b c")] == [0, 1, 1, 0]
    assert Length(low=1, high=2, slack=9)(SUM, " \n").score == 0.0


def test_the_cosine_runs_from_start_to_end_for_right_and_wrong() -> None:
    reward = CosineLength(max_length=8, wrong_start=0.0, wrong_end=0.2, exceeded=0.05)
    right = [reward(SUM, "w " * n + "Answer: 5") for n in (0, 2, 5, 6)]
    # lengths 2, 4, 7, 8 of 8: 0.5 + 0.5 (1 + cos(pi n / 8)) / 2
    assert [v.score for v in right] == pytest.approx(
        [
            0.5 + 0.25 * (1 + math.cos(math.pi / 4)),
            0.75,
            0.5 + 0.25 * (1 + math.cos(7 * math.pi / 8)),
            0.05,
        ]
    )
    wrong = [reward(SUM, "w " * n + "Answer: 6") for n in (0, 2, 6)]
    assert [v.score for v in wrong] == pytest.approx(
        [0.2 - 0.1 * (1 + math.cos(math.pi / 4)), 0.1, 0.05]
    )
    assert [v.parts["right"] for v in (right[0], wrong[0])] == [1.0, 0.0]


def test_the_cosine_needs_to_know_right_from_wrong() -> None:
    for problem in (
        Problem(prompt=Conversation.of("x"), task="everyday"),
        Problem(prompt=Conversation.of("x"), task="exact"),
    ):
        assert CosineLength(max_length=8)(problem, "Answer: 1").score is None


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("a b c d", 1.0),
        ("a b", 1.0),
        ("a b c a b c", 1.0),  # ab bc ca | abc bca cab: three trigrams of four differ
        ("", 0.0),
        ("ha ha ha ha ha ha", 0.25),
        ("Ha, ha, HA, ha", 0.4),
    ],
)
def test_repetition_is_the_share_of_different_trigrams(text: str, score: float) -> None:
    # "a b c a b c": abc bca cab abc, 3 of 4; "Ha, ha, HA, ha" is h , h , h , h: hch chc of 5
    expected = 0.75 if text == "a b c a b c" else score
    assert Repetition(n=3)(SUM, text).score == pytest.approx(expected)


@pytest.mark.parametrize("text", ["a" * 3000, "ab" * 3000, "!" * 300, "哈" * 300, "😀" * 300])
def test_repetition_within_a_word_is_seen(text: str) -> None:
    verdict = Repetition()(SUM, text)
    assert verdict.score is not None and verdict.score < 0.05 and not verdict.passed


def test_prose_repeats_little() -> None:
    prose = (
        "A bicycle stays upright because the rider steers into each fall. The wheels then move "
        "below the centre of mass, and the frame comes up again before the fall can grow."
    )
    assert Repetition()(ASKED, prose).score == 1.0
    looped = Repetition()(ASKED, " ".join([prose] * 3)).score
    assert looped is not None and looped < 0.5


def test_a_language_is_told_by_its_letters() -> None:
    english = Language(target="en")
    for text, score in (
        ("A bicycle stays upright because of steering, says the book.", 1.0),
        ("Ein Fahrrad bleibt aufrecht, weil der Fahrer ständig lenkt.", 0.0),
        ("自行车保持直立是因为骑手不断地转向。", 0.0),
        ("是的 ok", 0.5),  # two letters of four
        ("42 + 1 = 43", 1.0),
        ("Answer: seven", 1.0),
        ("", 0.0),
    ):
        verdict = english(ASKED, text)
        assert verdict.score == pytest.approx(score), text
        assert verdict.passed == (score >= 0.5)


def test_a_mixture_scores_in_between() -> None:
    right = "A bicycle stays upright because of steering."  # 37 letters
    wrong = "Kleine Stürze werden so ausgeglichen durch das Lenken."  # 46 letters
    verdict = Language(target="en")(ASKED, f"{right} {wrong}")
    assert verdict.score == pytest.approx(37 / 83)
    assert verdict.why == "37 of 83 letters are en"


def test_the_target_is_the_prompts_own_language_where_none_is_set() -> None:
    english, chinese = (
        "The wheel turns into the fall of the rider.",
        "车轮转向骑手倒下的方向，所以不倒。",
    )
    japanese = Problem(prompt=Conversation.of("自転車はなぜ倒れないのですか。"), task="x")
    assert Language()(ASKED, english).score == 1.0
    assert Language()(ASKED, chinese).score == 0.0
    assert Language()(japanese, "ハンドルを切るからです。").score == 1.0
    assert Language()(japanese, english).score == 0.0
    assert Language()(SUM, english).score is None  # "What is": too short to tell


def test_detection_gives_the_same_each_time() -> None:
    text = "Det er en lang tekst om en by og en bil."  # Danish or Norwegian
    assert len({detect(text + " " * i) for i in range(20)}) == 1


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (Format, {}),
        (Format, {"tags": ("a",), "pattern": "b"}),
        (Format, {"tags": ("a", "a")}),
        (Format, {"tags": ("<a>",)}),
        (Format, {"pattern": "("}),
        (Length, {"low": 0, "high": 3}),
        (Length, {"low": 4, "high": 3}),
        (Length, {"low": 1, "high": 3, "slack": -1}),
        (Length, {"low": 1, "high": 3, "pass_at": 0.0}),
        (CosineLength, {"max_length": 0}),
        (CosineLength, {"max_length": 5, "right_end": 2.0}),
        (Repetition, {"n": 0}),
        (Repetition, {"pass_at": 1.5}),
        (Language, {"target": "english"}),
    ],
)
def test_wrong_knobs_are_refused(make: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        make(**wrong)


@pytest.mark.parametrize("name", sorted(REWARD_CASES))
def test_generated_cases_pass_or_do_not_as_they_say(name: str) -> None:
    verifier, cases = REWARD_CASES[name]
    made = cases(20, 0)
    assert made == cases(20, 0) and made != cases(20, 1)
    kinds = {case.kind: sum(c.kind == case.kind for c in made) for case in made}
    assert min(kinds.values()) >= 20
    assert {case.passes for case in made} == {True, False}
    wrong = []
    for case in made:
        verdict = verifier(case.problem, case.completion)
        assert verdict.score is not None and 0 <= verdict.score <= 1
        assert verdict.passed == (verdict.score >= 0.5)
        if verdict.passed != case.passes:
            wrong.append((case.kind, case.completion[:80], verdict))
    assert wrong == []
