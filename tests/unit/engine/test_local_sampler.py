"""The sampler against plain transformers, against the learner's scores, and against itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from burnish.engine.local_sampler import LocalSampler
from burnish.engine.protocols import Request, Sampling
from burnish.errors import ConfigError
from burnish.models.load import open_causal_lm
from burnish.models.policy import Forest, Tree, score_trees
from burnish.models.support import Support
from burnish.types import Completion, Finish
from tests.tiny import tiny_llama, tiny_tokenizer

PROMPTS = [(5, 9, 14), (7,), tuple(range(20, 50)), (5, 9, 15), (300, 12)]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def model(directory: Path) -> nn.Module:
    return open_causal_lm(directory, "float32")


def requests(num: int = 3) -> list[Request]:
    return [Request(prompt=p, key=100 + i, num=num) for i, p in enumerate(PROMPTS)]


def sample(model: nn.Module, asked: list[Request], *, max_rows: int = 64, **how: object):
    sampling = Sampling(**({"max_new_tokens": 12} | how))  # type: ignore[arg-type]
    return LocalSampler(model, max_rows=max_rows).sample(asked, sampling)


def test_greedy_is_what_transformers_generates(model: nn.Module) -> None:
    plain = tiny_llama(tiny_tokenizer())
    groups = sample(model, requests(1), temperature=0.0, max_new_tokens=20)
    for prompt, [completion] in zip(PROMPTS, groups, strict=True):
        expected = plain.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None
        )
        assert completion.tokens == tuple(expected[0, len(prompt) :].tolist())


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 1.3])
@pytest.mark.parametrize(
    "cut",
    [{}, {"top_k": 5}, {"top_p": 0.8}, {"min_p": 0.3}, {"top_k": 50, "top_p": 0.9, "min_p": 0.1}],
    ids=str,
)
def test_logprobs_are_the_learners_scores(
    model: nn.Module, cut: dict[str, Any], temperature: float
) -> None:
    groups = sample(model, requests(), temperature=temperature, **cut)
    trees = [Tree.prompt(p, [c.tokens for c in g]) for p, g in zip(PROMPTS, groups, strict=True)]
    with torch.no_grad():
        forest = Forest.of(trees, torch.device("cpu"))
        scores, _, _ = score_trees(model, forest, temperature=temperature, support=Support(**cut))
    found = torch.tensor([x for group in groups for c in group for x in c.logprobs])
    torch.testing.assert_close(found, scores, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("top_k", "top_p"), [(5, 1.0), (0, 0.8), (10, 0.7)])
def test_truncated_logprobs_are_those_of_the_renormalised_support(
    model: nn.Module, top_k: int, top_p: float
) -> None:
    plain = tiny_llama(tiny_tokenizer())
    groups = sample(model, requests(), temperature=0.9, top_k=top_k, top_p=top_p)
    for prompt, group in zip(PROMPTS, groups, strict=True):
        for completion in group:
            with torch.no_grad():
                logits = plain(torch.tensor([prompt + completion.tokens])).logits[0] / 0.9
            for t, (token, logprob) in enumerate(
                zip(completion.tokens, completion.logprobs, strict=True)
            ):
                here = logits[len(prompt) - 1 + t]
                if top_k:
                    here = here.masked_fill(here < here.topk(top_k).values[-1], float("-inf"))
                ordered, order = here.softmax(-1).sort(descending=True)
                size = int((ordered.cumsum(0) < top_p).sum()) + 1 if top_p < 1 else len(here)
                assert token in order[:size].tolist()
                expected = here[token] - here[order[:size]].logsumexp(0)
                assert logprob == pytest.approx(float(expected), abs=1e-4)


def test_what_is_drawn_does_not_depend_on_what_is_drawn_beside_it(model: nn.Module) -> None:
    stops = frozenset(range(0, 384, 9))  # ragged ends
    whole = sample(model, requests(), stop_ids=stops, max_new_tokens=30)
    assert len({len(c.tokens) for g in whole for c in g}) > 4
    for max_rows in (1, 2, 5, 15):
        again = sample(model, requests(), stop_ids=stops, max_new_tokens=30, max_rows=max_rows)
        assert tokens_of(again) == tokens_of(whole)
    backwards = sample(model, requests()[::-1], stop_ids=stops, max_new_tokens=30, max_rows=4)
    assert tokens_of(backwards[::-1]) == tokens_of(whole)
    for request, group in zip(requests(), whole, strict=True):
        assert tokens_of(sample(model, [request], stop_ids=stops, max_new_tokens=30)) == [
            [c.tokens for c in group]
        ]
    fewer = sample(model, requests(1), stop_ids=stops, max_new_tokens=30)
    assert [g[0].tokens for g in fewer] == [g[0].tokens for g in whole]


def tokens_of(groups: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[c.tokens for c in group] for group in groups]


def test_completions_of_a_group_and_of_other_keys_differ(model: nn.Module) -> None:
    [group, other] = sample(
        model, [Request(prompt=(5, 9), key=1, num=8), Request(prompt=(5, 9), key=2, num=8)]
    )
    assert len({c.tokens for c in group + other}) == 16
    assert len({c.seed for c in group + other}) == 16


def test_a_stop_token_ends_a_completion_and_stays_in_it(model: nn.Module) -> None:
    free = sample(model, requests())
    stops = frozenset({free[0][0].tokens[4], free[2][1].tokens[0]})
    for before, after in zip(free, sample(model, requests(), stop_ids=stops), strict=True):
        for long, cut in zip(before, after, strict=True):
            ends = [i for i, t in enumerate(long.tokens) if t in stops]
            size = ends[0] + 1 if ends else len(long.tokens)
            assert cut.tokens == long.tokens[:size]
            assert cut.logprobs == pytest.approx(long.logprobs[:size], abs=1e-5)
            assert cut.finish is (Finish.STOP if ends else Finish.LENGTH)


def test_one_new_token_is_the_prompts_own_next_token(model: nn.Module) -> None:
    for max_rows in (64, 2):
        groups = sample(model, requests(), max_new_tokens=1, max_rows=max_rows)
        assert tokens_of(groups) == [
            [c.tokens[:1] for c in group] for group in sample(model, requests())
        ]
        assert all(c.finish is Finish.LENGTH for group in groups for c in group)


def test_no_requests_give_no_completions(model: nn.Module) -> None:
    assert sample(model, []) == []


def test_prompts_that_cannot_be_continued_are_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="no tokens"):
        sample(model, [Request(prompt=(), key=1)])
    with pytest.raises(ConfigError, match=r"505 tokens and 8 new ones exceed .* context of 512"):
        sample(model, [Request(prompt=(5,) * 505, key=1)], max_new_tokens=8)
    sample(model, [Request(prompt=(5,) * 504, key=1)], max_new_tokens=8)


def test_callbacks_see_every_token_in_order(model: nn.Module) -> None:
    seen: dict[tuple[int, int], list[int]] = {}
    done: list[tuple[int, int]] = []
    sampler = LocalSampler(model, max_rows=4)
    groups = sampler.sample(
        requests(),
        Sampling(max_new_tokens=6, stop_ids=frozenset(range(0, 384, 5))),
        on_done=lambda finished, tokens: done.append((finished, tokens)),
        on_token=lambda r, i, token: seen.setdefault((r, i), []).append(token),
    )
    assert {k: tuple(v) for k, v in seen.items()} == {
        (r, i): c.tokens for r, group in enumerate(groups) for i, c in enumerate(group)
    }
    total = sum(len(c.tokens) for group in groups for c in group)
    assert done[-1] == (15, total) and sampler.sampled_tokens == total


def test_each_completion_is_handed_over_as_it_finishes(model: nn.Module) -> None:
    over: dict[tuple[int, int], Completion] = {}
    finished: list[int] = []
    groups = LocalSampler(model, max_rows=4).sample(
        requests(),
        Sampling(max_new_tokens=6, stop_ids=frozenset(range(0, 384, 5))),
        on_token=lambda r, i, token: finished.append(len(over)),
        on_completion=lambda r, i, completion: over.update({(r, i): completion}),
    )
    assert over == {(r, i): c for r, group in enumerate(groups) for i, c in enumerate(group)}
    assert len(set(finished)) > 3  # while others were still being sampled


def test_completions_carry_the_version_of_the_weights(directory: Path) -> None:
    own, newer = open_causal_lm(directory, "float32"), tiny_llama(tiny_tokenizer(), seed=5)
    sampler = LocalSampler(own, version=3)
    before = sampler.sample(requests(1), Sampling(max_new_tokens=5))
    assert {c.policy_version for group in before for c in group} == {3}
    sampler.load(dict(newer.named_parameters()), 4)
    after = sampler.sample(requests(1), Sampling(max_new_tokens=5))
    assert sampler.version == 4 and {c.policy_version for group in after for c in group} == {4}
    newer.set_attn_implementation("burnish")
    expected = LocalSampler(newer).sample(requests(1), Sampling(max_new_tokens=5))
    assert tokens_of(after) == tokens_of(expected) != tokens_of(before)


def test_a_prompt_may_have_a_lower_limit_of_its_own(model: nn.Module) -> None:
    whole = sample(model, requests())
    limits = [1, 5, 12, 40, None]
    asked = [replace(r, max_new_tokens=n) for r, n in zip(requests(), limits, strict=True)]
    for group, full, limit in zip(sample(model, asked, max_rows=4), whole, limits, strict=True):
        for one, other in zip(group, full, strict=True):
            assert one.tokens == other.tokens[: min(limit or 12, 12)]
            assert one.finish is Finish.LENGTH
    with pytest.raises(ConfigError, match="at least one token"):
        sample(model, [replace(requests()[0], max_new_tokens=0)])
