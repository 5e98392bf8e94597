"""Captured decoding against plain decoding, with graphs that are replayed by the processor."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from burnish.engine import decode_graphs, local_sampler
from burnish.engine.decode_graphs import Work, has_equal_steps, reach_bucket, rows_bucket
from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.models.load import open_causal_lm
from burnish.models.policy import decoder
from burnish.types import Completion
from tests.pretend_gpu import DEVICE, pretend_gpu
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [(5, 9, 14), (7,), tuple(range(20, 150)), (5, 9, 15), (300, 12), (5, 9, 14)]
RAGGED = Sampling(max_new_tokens=40, stop_ids=frozenset(range(0, 384, 9)))
SETTINGS = [
    RAGGED,
    Sampling(max_new_tokens=9, temperature=0.0),
    Sampling(max_new_tokens=9, temperature=0.7, top_k=20, top_p=0.9, min_p=0.01),
]


class Recording(TorchDispatchMode):
    """A graph: the operations of one run, done again on the very tensors that it ran on."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []

    def __torch_dispatch__(
        self, func: Any, types: object, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        assert func is not torch.ops.aten._local_scalar_dense.default, "a number read by the host"
        self._calls.append((func, args, kwargs or {}, _tensors(out)))
        return out

    def replay(self) -> None:
        for func, args, kwargs, outs in self._calls:
            again = _tensors(func(*args, **kwargs))
            theirs = {t.untyped_storage().data_ptr() for t in _tensors((args, kwargs))}
            for old, new in zip(outs, again, strict=True):
                if old.untyped_storage().data_ptr() not in theirs:
                    old.copy_(new)


def _tensors(tree: Any) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


@dataclass
class Captured:
    """What was captured, and how often it was replayed."""

    graphs: int = 0
    replays: int = 0

    def by_recording(self, work: Work) -> Work:
        self.graphs += 1
        work()  # as warm-up
        with Recording() as recording:
            work()

        def replay() -> None:
            self.replays += 1
            recording.replay()

        return replay


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def model(directory: Path) -> nn.Module:
    """In float64, for which there are no compiled loops: all of a step is torch's, as on a GPU."""
    return open_causal_lm(directory, "float32").double()


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    """Samplers made with it capture their steps, on any device."""
    found = Captured()
    monkeypatch.setattr(local_sampler, "can_capture", lambda model: True)
    monkeypatch.setattr(local_sampler, "cuda_capture", lambda: found.by_recording)
    return found


def requests(num: int = 3) -> list[Request]:
    return [Request(prompt=p, key=100 + i, num=num) for i, p in enumerate(PROMPTS)]


def same(one: list[list[Completion]], other: list[list[Completion]]) -> bool:
    for a, b in zip(chain(*one), chain(*other), strict=True):
        if (a.tokens, a.finish) != (b.tokens, b.finish):
            return False
        if a.logprobs != pytest.approx(b.logprobs, abs=1e-6):
            return False
    return True


def plainly(model: nn.Module, asked: list[Request], sampling: Sampling) -> list[list[Completion]]:
    """What is drawn without any graph."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local_sampler, "can_capture", lambda model: False)
        return LocalSampler(model).sample(asked, sampling)


@pytest.mark.parametrize("sampling", SETTINGS)
def test_replayed_steps_draw_what_plain_ones_do(
    model: nn.Module, captured: Captured, sampling: Sampling
) -> None:
    plain = plainly(model, requests(), sampling)
    for max_rows in (1, 3, 5, 64):  # with few of them, rows come and go
        captured.graphs = captured.replays = 0
        sampler = LocalSampler(model, max_rows=max_rows)
        assert same(sampler.sample(requests(), sampling), plain), max_rows
        assert 0 < captured.graphs < captured.replays


def test_graphs_and_store_outlive_a_call_and_follow_the_weights(
    model: nn.Module, captured: Captured
) -> None:
    sampler = LocalSampler(model, max_rows=4)
    first = sampler.sample(requests(1), RAGGED)
    made = captured.graphs
    assert same(sampler.sample(requests(1), RAGGED), first) and captured.graphs == made
    newer = tiny_llama(tiny_tokenizer(), seed=5).double()
    sampler.load(dict(newer.named_parameters()), 1)
    after = sampler.sample(requests(1), RAGGED)
    assert not same(after, first) and same(after, plainly(model, requests(1), RAGGED))


def test_a_longer_call_gets_a_larger_store_and_other_graphs(
    model: nn.Module, captured: Captured
) -> None:
    sampler, longer = LocalSampler(model), Sampling(max_new_tokens=200)
    short = sampler.sample(requests(1)[:2], RAGGED)
    made = captured.graphs
    # From 130 tokens to 330: the reach passes 256, and the capacity of 384 is no power of two.
    grown = sampler.sample(requests(1), longer)
    assert same(grown, plainly(model, requests(1), longer)) and captured.graphs > made
    assert same(sampler.sample(requests(1)[:2], RAGGED), short)


def test_steps_are_captured_by_rows_and_reach(
    model: nn.Module, captured: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[int, int]] = []
    work = decode_graphs.DecodeGraphs._work

    def spy(self: Any, rows: int, reach: int, sampling: Sampling) -> None:
        made.append((rows, reach))
        work(self, rows, reach, sampling)

    monkeypatch.setattr(decode_graphs.DecodeGraphs, "_work", spy)
    prompt = tuple(range(3, 103))
    limits = [20, 40, 60, 80, 100, 120]
    LocalSampler(model, max_rows=6).sample(
        [Request(prompt=prompt, key=i, max_new_tokens=n) for i, n in enumerate(limits)],
        Sampling(max_new_tokens=120),
    )
    # 6 rows until 20 tokens, 5 until 40, and so on; the reach passes 128 after 29 tokens.
    assert list(dict.fromkeys(made)) == [
        (6, 128), (6, 256), (4, 256), (2, 256), (1, 256),
    ]  # fmt: skip
    assert captured.graphs == 5


def test_buckets_by_hand() -> None:
    assert [rows_bucket(n, 48) for n in (1, 2, 3, 5, 16, 17, 33, 48)] == [
        1, 2, 4, 8, 16, 32, 48, 48,
    ]  # fmt: skip
    assert [reach_bucket(n, 900) for n in (1, 128, 129, 256, 257, 513, 900)] == [
        128, 128, 256, 256, 512, 900, 900,
    ]  # fmt: skip
    assert reach_bucket(5, 100) == 100


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_on_a_gpu_a_step_waits_once(directory: Path, precision: Any) -> None:
    with pretend_gpu() as waits:
        sampler = LocalSampler(open_causal_lm(directory, precision, DEVICE), max_rows=4)
        sampler.sample(requests(1)[:3], Sampling(max_new_tokens=1))
        waits.clear()
        sampler.sample(requests(1)[:3], Sampling(max_new_tokens=1))
        prefill = sum(waits.values())
        waits.clear()
        groups = sampler.sample(requests(1)[:3], Sampling(max_new_tokens=11))
        assert sum(waits.values()) == prefill + 10
    if precision == "float32":
        on_cpu = LocalSampler(open_causal_lm(directory, "float32"), max_rows=4)
        assert same(groups, on_cpu.sample(requests(1)[:3], Sampling(max_new_tokens=11)))


def test_models_whose_steps_differ_are_decoded_plainly(directory: Path) -> None:
    model = open_causal_lm(directory, "float32")
    assert not decode_graphs.can_capture(model)  # it is not on a GPU
    below: Any = decoder(model)
    assert has_equal_steps(below)
    below.rotary_emb.rope_type = "dynamic"
    assert not has_equal_steps(below)
    below.rotary_emb.rope_type = "llama3"
    below.config.sliding_window = 64
    assert not has_equal_steps(below)
    below.config.sliding_window = None
    assert has_equal_steps(below) and not has_equal_steps(nn.Linear(1, 1))
