"""Judges that go by the likelihood of each verdict."""

import json
import math
from collections.abc import Callable, Sequence

import pytest

from burnish.errors import ConfigError
from burnish.types import Conversation
from burnish.verifiers.chat import Answer, OnAnswer, Question
from burnish.verifiers.endpoint import Endpoint
from burnish.verifiers.judge import Judged, Pairwise, Pointwise, Shown
from burnish.verifiers.judge_prompts import pair_prompt, point_prompt
from burnish.verifiers.likelihood_judge import (
    SCORES,
    VERDICTS,
    PairwiseLikelihood,
    PointwiseLikelihood,
    expectation,
)

ASKED = Conversation.of("Name a colour.")


class Telling:
    """Log-probabilities of the choices as a test says."""

    name = "telling"

    def __init__(self, tell: Callable[[str], Sequence[float]]) -> None:
        self._tell = tell
        self.asked: list[Question] = []

    def ask_all(
        self, questions: Sequence[Question], *, on_answer: OnAnswer | None = None
    ) -> list[Answer]:
        self.asked += questions
        return [Answer(text=json.dumps(self._tell(q.messages[0].content))) for q in questions]


def shown(a: str, b: str) -> Shown:
    return Shown(prompt=ASKED, a=a, b=b, key=1)


def first_is(text: str, what: str) -> bool:
    return f"[begin answer A]\n| {what}\n" in text


@pytest.mark.parametrize(("bias", "gain", "winner"), [(5, 1, "a"), (-5, 1, "a"), (5, -1, "b")])
def test_what_a_place_adds_cancels(bias: float, gain: float, winner: str) -> None:
    """log-odds of A: bias + gain where Blue is first, bias - gain else."""
    chat = Telling(lambda text: (bias + (gain if first_is(text, "Blue") else -gain), 0.0))
    (judged,) = PairwiseLikelihood().by(chat).compare_all([shown("Blue", "Xyz")])
    assert judged == Judged(a_first=winner, b_first=winner)  # type: ignore[arg-type]
    (other,) = PairwiseLikelihood().by(chat).compare_all([shown("Xyz", "Blue")])
    assert {judged.winner, other.winner} == {"a", "b"}
    assert chat.asked[0].choices == VERDICTS


def test_a_place_alone_is_a_tie() -> None:
    chat = Telling(lambda text: (3.0, 0.0))
    assert PairwiseLikelihood().by(chat).compare_all([shown("x", "y")])[0].winner == "tie"


def test_an_expectation_is_the_mean_under_the_normalised_likelihoods() -> None:
    p = [0.1, 0.2, 0.3, 0.1]
    expected = (0.1 * 1 + 0.2 * 2 + 0.3 * 3 + 0.1 * 4) / 0.7
    assert expectation([math.log(x) - 900 for x in p]) == pytest.approx(expected)
    assert expectation([0.0, -math.inf, -math.inf]) == 1.0
    assert expectation([0.0] * 10) == 5.5


def test_a_score_is_the_expectation_scaled_to_0_and_1() -> None:
    def tell(text: str) -> list[float]:
        best = 10 if "| Blue\n" in text else 1
        return [0.0 if k == best else -math.inf for k in range(1, 11)]

    chat = Telling(tell)
    judge = PointwiseLikelihood().by(chat)
    high, low = judge.verdicts([(ASKED, "Blue"), (ASKED, "x")], [1, 2])
    assert (high.score, low.score) == (1.0, 0.0) and high.parts == {"points": 10.0}
    assert chat.asked[0].choices == SCORES and len(SCORES) == 10
    assert judge.compare_all([shown("x", "Blue"), shown("x", "y")])[0].winner == "b"
    assert judge.compare_all([shown("x", "y")])[0].winner == "tie"


def test_the_request_asks_for_the_verdict_alone_and_keeps_the_blocks() -> None:
    brief, long = (pair_prompt("fit", ASKED, "one", "two", brief=b) for b in (True, False))
    blocks = long[: long.index("Compare the two")]
    assert brief.startswith(blocks) and brief[len(blocks) :].count("\n") == 1
    point = point_prompt("fit", ASKED, "one", brief=True)
    assert "[end answer]\n\nAnswer with one line: Score:" in point and "sentences" not in point


def test_each_way_of_asking_is_another_judge() -> None:
    chat = Telling(lambda text: (0.0, 0.0))
    kinds = [Pairwise, Pointwise, PairwiseLikelihood, PointwiseLikelihood]
    found = [kind().by(chat).identity.id for kind in kinds]
    found.append(PairwiseLikelihood(rubric="brevity").by(chat).identity.id)
    assert len(set(found)) == len(found)


def test_a_server_is_refused_before_it_is_asked() -> None:
    endpoint = Endpoint(base_url="http://127.0.0.1:9/v1", model="x").open(lambda name: None)
    with pytest.raises(ConfigError, match="tells no likelihoods"):
        PairwiseLikelihood().by(endpoint).compare_all([shown("x", "y")])
