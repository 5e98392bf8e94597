"""Scores of laid-out trees against plain transformers forwards of the same weights."""

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from burnish.engine.text_model import TextModel
from burnish.models import policy
from burnish.models.load import open_causal_lm
from burnish.models.policy import (
    Forest,
    Tree,
    micro_batches,
    read_tokens,
    score_trees,
    share_prompts,
)
from burnish.models.token_scores import token_scores
from tests.tiny import tiny_llama, tiny_tokenizer

CPU = torch.device("cpu")
Ids = tuple[int, ...]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def model(directory: Path) -> nn.Module:
    return open_causal_lm(directory, "float32")


@pytest.fixture
def plain() -> nn.Module:
    """The same weights with transformers' own attention."""
    return tiny_llama(tiny_tokenizer())


def ids(seed: int, length: int) -> Ids:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 380, (length,), generator=generator).tolist())


def naive(
    plain: nn.Module, prompt: Ids, completion: Ids, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies of a completion, by itself."""
    logits = plain(torch.tensor([prompt + completion])).logits[0].float() / temperature
    logprobs = logits[len(prompt) - 1 : -1].log_softmax(-1)
    entropy = -(logprobs.exp() * logprobs).sum(-1)
    return logprobs[torch.arange(len(completion)), list(completion)], entropy


FORESTS: dict[str, list[tuple[Ids, list[Ids]]]] = {
    "a document": [(ids(1, 5), [ids(2, 7)])],
    "packed": [(ids(s, 3 + s), [ids(10 + s, 1 + 2 * s)]) for s in range(4)],
    "same length": [(ids(s, 4), [ids(10 + s, 3)]) for s in range(3)],
    "a shared prompt": [(ids(1, 6), [ids(2, 4), ids(3, 9), ids(4, 1)])],
    "a prompt of one token": [(ids(1, 1), [ids(2, 1), ids(3, 5)])],
    "uneven": [
        (ids(1, 20), [ids(2, 1)]),
        (ids(3, 1), [ids(4, 30), ids(5, 2)]),
        (ids(6, 2), [ids(7, 1), ids(8, 1), ids(9, 1)]),
    ],
    "equal branches": [(ids(1, 4), [ids(2, 5), ids(2, 5)])],
}


def trees_of(rows: Sequence[tuple[Ids, list[Ids]]]) -> list[Tree]:
    return [Tree.prompt(prompt, branches) for prompt, branches in rows]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", FORESTS)
def test_scores_equal_those_of_each_completion_by_itself(
    model: nn.Module, plain: nn.Module, name: str, temperature: float
) -> None:
    rows = FORESTS[name]
    with torch.no_grad():
        expected = [naive(plain, p, b, temperature) for p, branches in rows for b in branches]
        forest = Forest.of(trees_of(rows), CPU)
        logprobs, entropies, _ = score_trees(model, forest, temperature=temperature, entropy=True)
    torch.testing.assert_close(logprobs, torch.cat([x for x, _ in expected]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(entropies, torch.cat([x for _, x in expected]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", FORESTS)
def test_gradients_equal_the_naive_ones_in_every_parameter(
    model: nn.Module, plain: nn.Module, name: str
) -> None:
    rows = FORESTS[name]
    forest = Forest.of(trees_of(rows), CPU)
    logprobs, entropies, _ = score_trees(model, forest, temperature=0.8, entropy=True)
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, len(logprobs), generator=generator)
    (weights[0] @ logprobs + weights[1] @ entropies).backward()
    expected = [naive(plain, p, b, 0.8) for p, branches in rows for b in branches]
    total = weights[0] @ torch.cat([x for x, _ in expected])
    (total + weights[1] @ torch.cat([x for _, x in expected])).backward()
    own = dict(model.named_parameters())
    for parameter_name, parameter in plain.named_parameters():
        found, wanted = own[parameter_name].grad, parameter.grad
        assert found is not None and wanted is not None
        assert (found - wanted).norm() <= 1e-5 * wanted.norm() + 1e-7, parameter_name


def test_the_trained_flags_pick_tokens_of_a_whole_document(
    model: nn.Module, plain: nn.Module
) -> None:
    document, flags = ids(1, 12), [i in (1, 2, 7, 11) for i in range(12)]
    found, _, hidden = score_trees(model, Forest.of([Tree.document(document, flags)], CPU))
    every, _ = naive(plain, document[:1], document[1:])
    torch.testing.assert_close(found, every[[0, 1, 6, 10]], atol=1e-5, rtol=1e-5)
    assert hidden.shape == (4, 32)


def test_a_group_split_over_trees_by_a_budget_scores_the_same(model: nn.Module) -> None:
    prompts = [ids(1, 6)] * 5 + [ids(2, 3)] * 2
    completions = [ids(10 + i, 2 + 3 * (i % 3)) for i in range(7)]
    with torch.no_grad():
        found = []
        for budget in (10_000, 20, 1):
            rows: dict[int, Tensor] = {}
            for tree, held in share_prompts(prompts, completions, budget):
                assert tree.num_tokens <= budget or len(held) == 1
                scores, _, _ = score_trees(model, Forest.of([tree], CPU))
                sizes = [len(completions[r]) for r in held]
                rows |= dict(zip(held, torch.split(scores, sizes), strict=True))
            assert sorted(rows) == list(range(7))
            found.append(torch.cat([rows[i] for i in range(7)]))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[2], found[0], atol=1e-5, rtol=1e-5)


def test_micro_batches_hold_every_item_once_within_the_budget() -> None:
    sizes = [5, 100, 1, 40, 40, 7, 33, 2]
    slices = micro_batches(sizes, 50)
    assert sorted(i for part in slices for i in part) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in part) <= 50 or len(part) == 1 for part in slices)
    assert micro_batches([], 50) == []


def test_slices_are_few_and_then_even() -> None:
    def totals(sizes: list[int], budget: int) -> list[int]:
        return [sum(sizes[i] for i in part) for part in micro_batches(sizes, budget)]

    assert totals([10] * 20, 70) == [70, 70, 60]
    assert totals([10] * 20, 120) == [100, 100]
    assert totals([30, 20, 10, 10], 50) == [30, 40]
    assert totals([90, 5, 5], 50) == [90, 10]


def test_the_head_in_chunks_changes_nothing(
    model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = Forest.of(trees_of(FORESTS["uneven"]), CPU)
    found = []
    for chunk in (512, 7, 1):
        monkeypatch.setattr("burnish.models.token_scores.CHUNK", chunk)
        model.zero_grad()
        logprobs, entropies, _ = score_trees(model, forest, entropy=True)
        (logprobs.sum() - 0.3 * entropies.sum()).backward()
        grads = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        found.append([logprobs.detach(), entropies.detach(), *grads])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_what_one_document_holds_never_reaches_another(model: nn.Module, changed: int) -> None:
    rows = [(ids(1, 4), [ids(2, 6), ids(3, 3)]), (ids(4, 9), [ids(5, 2)]), (ids(6, 1), [ids(7, 5)])]
    others = copy.deepcopy(rows)
    others[changed] = (others[changed][0], [ids(50, len(others[changed][1][0]))])
    others[changed][1].extend(rows[changed][1][1:])
    with torch.no_grad():
        before, _, _ = score_trees(model, Forest.of(trees_of(rows), CPU))
        after, _, _ = score_trees(model, Forest.of(trees_of(others), CPU))
    sizes = [len(b) for _, branches in rows for b in branches]
    owners = [i for i, (_, branches) in enumerate(rows) for _ in branches]
    first = owners.index(changed)
    parts = zip(torch.split(before, sizes), torch.split(after, sizes), strict=True)
    for branch, (a, b) in enumerate(parts):
        # The other branch of the changed document shares its prompt, and nothing else.
        assert torch.equal(a, b) == (branch != first)


def test_prompt_tokens_that_no_completion_follows_get_no_gradient(model: nn.Module) -> None:
    forest = Forest.of([Tree.prompt(ids(1, 4), [ids(2, 3)])], CPU)
    embedded = model.get_input_embeddings()(forest.tokens).detach().requires_grad_()
    out = model.get_decoder()(
        inputs_embeds=embedded, position_ids=forest.layout.position_ids, layout=forest.layout
    ).last_hidden_state[0]
    hidden = out.index_select(0, forest.sources)
    token_scores(hidden, policy.head_weight(model).detach(), forest.targets)[0].sum().backward()
    assert embedded.grad is not None
    assert bool(embedded.grad[0, :-1].abs().sum(-1).gt(0).all())
    assert not embedded.grad[0, -1].any()  # the last token predicts nothing


def test_a_head_reads_the_flagged_tokens_of_each_branch(model: nn.Module, plain: nn.Module) -> None:
    rows = FORESTS["uneven"]

    def ends(branch: tuple[int, ...]) -> list[bool]:
        return [t in (0, len(branch) - 1) for t in range(len(branch))]

    with torch.no_grad():
        trees = [tree.flagged(ends) for tree in trees_of(rows)]
        found = read_tokens(model, Forest.of(trees, CPU))
        expected = [
            plain.model(torch.tensor([p + b])).last_hidden_state[0, len(p) + t]
            for p, branches in rows
            for b in branches
            for t in sorted({0, len(b) - 1})
        ]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_token_scores_have_the_gradients_of_finite_differences(temperature: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([0, 6, 3, 3, 1])

    def scores(hidden: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        return token_scores(hidden, weight, targets, temperature=temperature)

    assert torch.autograd.gradcheck(scores, (hidden, weight))


def test_no_entropy_gradient_means_the_same_gradient_as_without_entropies(model: nn.Module) -> None:
    forest = Forest.of(trees_of(FORESTS["packed"]), CPU)
    found = []
    for wanted in (True, False):
        model.zero_grad()
        score_trees(model, forest, entropy=wanted)[0].sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_scoring_rounds_alike_with_and_without_a_gradient_in_bfloat16(directory: Path) -> None:
    # The ratio at a rollout's first update must be 1, and DPO's margin at its start 0.
    model = open_causal_lm(directory, "bfloat16")
    forest = Forest.of(trees_of(FORESTS["uneven"]), CPU)
    with torch.no_grad():
        before, _, _ = score_trees(model, forest)
    assert torch.equal(before, score_trees(model, forest)[0].detach())


def test_an_answer_is_scored_on_the_very_ids_that_would_be_sampled(directory: Path) -> None:
    from burnish.types import Conversation

    text = TextModel.open(directory, "float32")
    prompt = Conversation.of("What is the answer?")
    stem, answer = text.answer(prompt, "five")
    assert stem == text.prompt(prompt)
    assert text.decode(answer) == "five" and answer[-1] in text.stop_ids
