"""Limits and shares by hand, and which seconds count as what."""

import math
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from burnish.algos.batch import Loss
from burnish.bench import sampling, training
from burnish.bench.flops import Shape
from burnish.bench.machine import Products, layer_products, own_rate, product_rate
from burnish.bench.measure import DecodingLimits, Limits
from burnish.bench.sampling import Decoding, time_decoding, time_prefill
from burnish.bench.spread import Spread
from burnish.bench.training import OPTIM, TimedTrainer, time_group_step, time_supervised
from burnish.engine.local_learner import LocalLearner
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.optim import MasterAdamW
from burnish.models.load import open_causal_lm
from tests.unit.cli.tiny_model import write_model


class Clock:
    """Time that passes only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def slowed(self, function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """The function, taking so long."""

        def slow(*args: Any, **knobs: Any) -> Any:
            self.now += seconds
            return function(*args, **knobs)

        return slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> torch.nn.Module:
    return open_causal_lm(write_model(tmp_path_factory.mktemp("models") / "one"), "bfloat16")


def flat(value: float) -> Spread:
    return Spread.of([value])


def test_the_longest_time_is_the_lowest_rate() -> None:
    spread = Spread.of([4.0, 2.0, 1.0])
    assert (spread.median, spread.low, spread.high, spread.count) == (2.0, 1.0, 4.0, 3)
    assert spread.per(8) == Spread(median=4.0, low=2.0, high=8.0, count=3)


def test_a_decoding_step_takes_no_less_than_its_slower_half() -> None:
    limits = Limits(
        bfloat16=Products(flops_per_s=flat(1e12), sizes=""),
        float32=Products(flops_per_s=flat(1e11), sizes=""),
        own_products_flops_per_s=flat(5e11),
        read_bytes_per_s=flat(1e10),
    )
    done = Decoding(
        rows=4,
        prompt_tokens=1,
        new_tokens=1,
        tokens_per_s=flat(100.0),
        flops_per_step=4e9,  # 4 ms
        bytes_per_step=2e8,  # 20 ms
    )
    found = DecodingLimits.of(done, limits)
    assert found.compute_tokens_per_s == pytest.approx(1000)
    assert found.memory_tokens_per_s == pytest.approx(200)
    assert found.nearer == "memory" and found.share(100) == pytest.approx(0.5)


def test_what_follows_the_last_gradient_is_the_optimisers_time(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    monkeypatch.setattr(MasterAdamW, "step", clock.slowed(MasterAdamW.step, 3))
    trainer = TimedTrainer(model, OPTIM, num_steps=1)

    def slices() -> Iterator[Loss]:
        for _ in range(2):
            clock.now += 2
            yield Loss(next(model.parameters()).float().sum())

    trainer.step(slices())
    assert (trainer.gradients_s, trainer.optimiser_s) == (4, 3)


def test_a_group_step_is_split_into_its_parts(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(training, "time", clock)
    slow = ((LocalSampler, "sample", 5), (LocalLearner, "annotate", 7), (LocalLearner, "step", 11))
    for owner, name, seconds in (*slow, (MasterAdamW, "step", 3)):
        monkeypatch.setattr(owner, name, clock.slowed(owner.__dict__[name], seconds))
    found = time_group_step(model, prompts=2, completions=2, prompt_tokens=3, new_tokens=2)
    parts = (found.sampling_s, found.scoring_s, found.update_s, found.optimiser_s, found.total_s)
    assert [part.median for part in parts] == [5, 7, 11, 3, 26]


def test_only_steps_that_decode_are_timed(
    model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(sampling, "time", clock)

    class Sampler:
        """A second a step, and a hundred for the prompt with the first."""

        def __init__(self, *_: object, max_rows: int) -> None:
            self._rows = max_rows

        def sample(self, _: object, wanted: types.SimpleNamespace, on_done: object) -> None:
            clock.now += 100
            for done in range(2, wanted.max_new_tokens + 1):
                on_done(0, done * self._rows)  # type: ignore[operator]
                clock.now += 1

    monkeypatch.setattr(sampling, "LocalSampler", Sampler)
    found = time_decoding(model, rows=6, prompt_tokens=10, new_tokens=9)
    assert found.tokens_per_s == Spread(median=6.0, low=6.0, high=6.0, count=sampling.REPEATS)
    # 6 rows that see 10 + 4 tokens on average; keys and values of 2 layers, 2 heads of 8
    shape = Shape.of(model)
    assert found.flops_per_step == 2 * shape.matrices * 6 + 4 * 2 * 32 * 6 * 14
    assert found.bytes_per_step == 2 * (shape.matrices + 2 * 2 * 2 * 8 * 6 * 14)


def test_work_is_what_was_asked_for_and_every_rate_is_positive(model: torch.nn.Module) -> None:
    shape = Shape.of(model)
    prefill = time_prefill(model, prompts=2, prompt_tokens=16)
    assert prefill.flops_per_token * 16 == 2 * shape.body * 16 + 2 * shape.head + 4 * 2 * 32 * 136
    sft = time_supervised(model, documents=2, document_tokens=16)
    assert sft.flops_per_token * 16 == 3 * (
        2 * shape.body * 16 + 2 * shape.head * 15 + 4 * 2 * 32 * 136
    )
    step = time_group_step(model, prompts=2, completions=3, prompt_tokens=5, new_tokens=4)
    # a prompt of 5: 15 pairs; 3 completions: 3 * (4 * 5 + 10)
    once = 2 * shape.body * 17 + 2 * shape.head * 12 + 4 * 2 * 32 * (15 + 90)
    assert (step.scoring_flops, step.update_flops) == (2 * once, 6 * once)
    parts = (step.sampling_s, step.scoring_s, step.update_s, step.optimiser_s)
    assert all(0 < part.low <= part.median <= part.high < math.inf for part in parts)
    assert sum(part.low for part in parts) <= step.total_s.high


def test_products_name_the_size_that_was_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    found = product_rate(torch.float32, [(2, 2, 2), (64, 64, 64)])
    assert found.sizes == "64 x 64 x 64"  # two numbers a side are all overhead
    assert layer_products([(8, 4), (8, 4), (4, 8)])[0][1:] == (4, 8)
    assert own_rate([(8, 4), (8, 4)], (16, 4), torch.bfloat16).median > 0
