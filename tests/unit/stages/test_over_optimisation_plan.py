"""What the study of over-optimisation is expected to take, against sums done by hand."""

import pytest

from burnish.pipeline.artifact import Ref
from burnish.pipeline.forecast import Text, Texts
from burnish.stages.over_optimisation import USUAL_SNAPSHOTS, OverOptimisation, Pursuit
from burnish.stages.sample import Draws

START, PROXY, PROBLEMS = Ref("sft", "model"), Ref("few", "reward_model"), Ref("p", "heldout")
TEXT = Text(words=frozenset(), prompt_tokens=50, completion_tokens=20)
KNOWN = {
    PROBLEMS: Texts(num_rows=10, sample=(TEXT,)),
    START: Texts(num_rows=3, sample=(TEXT,)),
}


def study(**pursuits: Pursuit) -> OverOptimisation:
    return OverOptimisation(
        start=START, proxies={"few": PROXY, "many": Ref("many", "reward_model")},
        problems=PROBLEMS, draws=Draws(max_new_tokens=64), pursuits=pursuits,
        num_problems=10, num_samples=4, max_rows=8, micro_tokens=512,
    )  # fmt: skip


def test_tokens_of_the_pool_and_of_snapshots() -> None:
    each = 0.8 * 20 + 0.2 * 64  # at temperature 1 a fifth find no end
    pool, once = 10 * 4 * each, 10 * each
    work, _ = study().forecast(KNOWN)
    assert work.sampled_tokens == pytest.approx(pool)
    assert work.scored_tokens == pytest.approx(10 * 50 + 2 * (10 * 50 + pool))
    work, _ = study(rl=Pursuit(proxy="few", final=Ref("rl", "model"))).forecast(KNOWN)
    more = USUAL_SNAPSHOTS * (10 * 50 + 3 * (10 * 50 + once))
    assert work.sampled_tokens == pytest.approx(pool + USUAL_SNAPSHOTS * once)
    assert work.scored_tokens == pytest.approx(10 * 50 + 2 * (10 * 50 + pool) + more)
    assert work.opened == 1 + 2 + USUAL_SNAPSHOTS


def test_a_snapshot_is_open_beside_the_start_and_its_proxy() -> None:
    (drawing,) = study().held(KNOWN)
    assert (drawing.models, drawing.rows) == ((START,), 8)
    moments = study(rl=Pursuit(proxy="few", final=Ref("rl", "model"))).held(KNOWN)
    assert [m.models for m in moments] == [(START,), *2 * [(START, START, PROXY)]]
    writing, scoring = moments[1:]
    assert writing.sampled == START and writing.row_tokens == 50 + 64
    assert scoring.sampled is None and scoring.micro_tokens == 512
