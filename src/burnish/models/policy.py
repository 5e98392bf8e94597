"""A causal language model as a policy: log-probabilities, entropies and values of chosen tokens.

The head is applied to trained positions only, in chunks, forwards and backwards, so that
`[tokens, vocabulary]` never exists as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from burnish.models.attention import Layout, Ragged

CHUNK = 512
"""Positions whose logits exist at one time: 512 * 49,152 * 4 bytes are 100 MB."""


def decoder(model: nn.Module) -> nn.Module:
    """The stack below the language-model head."""
    return model.get_decoder()  # type: ignore[operator,no-any-return]


def head_weight(model: nn.Module) -> Float[Tensor, "V D"]:
    """The weight of the language-model head (tied or not).

    A bias, or a model that rescales its logits, is refused when the model is opened.
    """
    return model.get_output_embeddings().weight  # type: ignore[operator,no-any-return]


def context_length(model: nn.Module) -> int:
    """The most tokens that a document may have."""
    return int(model.config.max_position_embeddings)  # type: ignore[union-attr,arg-type]


def hidden_states(
    model: nn.Module, tokens: Int[Tensor, "rows columns"], layout: Layout
) -> Float[Tensor, "rows columns D"]:
    """The last hidden states under a layout."""
    out = decoder(model)(
        input_ids=tokens, position_ids=layout.position_ids, use_cache=False, layout=layout
    )
    return out.last_hidden_state  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Tree:
    """Token ids that one forward pass shares: a stem, and the branches that continue it.

    A prompt and its completions, a prompt and its chosen and rejected answer, or a whole document
    (no stem, one branch). `trained` flags a branch's tokens that are scored.
    """

    stem: tuple[int, ...]
    branches: tuple[tuple[int, ...], ...]
    trained: tuple[tuple[bool, ...], ...]

    @classmethod
    def document(cls, ids: Sequence[int], mask: Sequence[bool]) -> "Tree":
        """A single document; its first token has nothing to be predicted from."""
        assert not mask[0], "a document's first token cannot be predicted"
        return cls((), (tuple(ids),), (tuple(mask),))

    @classmethod
    def prompt(cls, prompt: Sequence[int], completions: Sequence[Sequence[int]]) -> "Tree":
        """A prompt and completions of which every token is scored."""
        branches = tuple(tuple(c) for c in completions)
        return cls(tuple(prompt), branches, tuple((True,) * len(b) for b in branches))

    def flagged(self, flags: Callable[[tuple[int, ...]], Sequence[bool]]) -> "Tree":
        """The same with other tokens scored: `flags` of each branch."""
        return replace(self, trained=tuple(tuple(flags(branch)) for branch in self.branches))

    @property
    def num_tokens(self) -> int:
        return len(self.stem) + sum(len(b) for b in self.branches)


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees laid out for one forward pass, and where their scored tokens are predicted.

    `sources[i]` is the flat index of the token *before* scored token i (for a branch's first token
    the stem's last): the shift by one happens here and nowhere else. Scored tokens are in the
    order of trees, branches, tokens; `places` holds their own flat indices, for heads that read
    a token rather than predict it.
    """

    tokens: Int[Tensor, "1 total"]
    layout: Ragged
    sources: Int[Tensor, " N"]
    targets: Int[Tensor, " N"]
    places: Int[Tensor, " N"]

    @classmethod
    def of(cls, trees: Sequence[Tree], device: torch.device) -> "Forest":
        """Lay out trees end to end."""
        flat: list[int] = []
        sources: list[int] = []
        targets: list[int] = []
        places: list[int] = []
        for tree in trees:
            flat += tree.stem
            fork = len(flat) - 1
            for branch, trained in zip(tree.branches, tree.trained, strict=True):
                start = len(flat)
                for t, (token, flag) in enumerate(zip(branch, trained, strict=True)):
                    if flag:
                        sources.append(start + t - 1 if t else fork)
                        targets.append(token)
                        places.append(start + t)
                flat += branch
        layout = Ragged.of([(len(t.stem), [len(b) for b in t.branches]) for t in trees], device)

        def on_device(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.long, device=device)

        return cls(
            on_device(flat)[None], layout, on_device(sources), on_device(targets), on_device(places)
        )


class _TokenScores(torch.autograd.Function):
    """log softmax(h W^T / temperature) at the targets, and entropies; logits are recomputed."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(targets), dtype=wide(hidden.dtype), device=hidden.device)
        entropy, normalisers = torch.zeros_like(logprobs), torch.empty_like(logprobs)
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            logits = head_logits(hidden[part], weight, temperature)
            normaliser = logits.logsumexp(-1)
            normalisers[part] = normaliser
            logprobs[part] = logits.gather(-1, targets[part, None])[:, 0] - normaliser
            if with_entropy:
                probability = (logits - normaliser[:, None]).exp_()
                entropy[part] = normaliser - probability.mul_(logits).sum(-1)
        ctx.save_for_backward(hidden, weight, targets, normalisers, entropy)
        ctx.temperature = temperature
        return logprobs, entropy

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normalisers, entropy = ctx.saved_tensors
        grad_logprobs, grad_entropy = (grad / ctx.temperature for grad in grads)
        wants_entropy = bool(grad_entropy.any())
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            delta = head_logits(hidden[part], weight, ctx.temperature).sub_(normalisers[part, None])
            # d logp_y / d logits = onehot - p;   d H / d logits = -p (log p + H)
            if wants_entropy:
                logprob = delta.clone()
                delta = delta.exp_()
                logprob.add_(entropy[part, None]).mul_(-grad_entropy[part, None])
                delta.mul_(logprob.sub_(grad_logprobs[part, None]))
            else:
                delta = delta.exp_().mul_(-grad_logprobs[part, None])
            delta.scatter_add_(1, targets[part, None], grad_logprobs[part, None])
            delta = delta.to(hidden.dtype)
            grad_hidden[part] = delta @ weight
            if grad_weight is not None:
                grad_weight.addmm_(delta.T, hidden[part])
        return grad_hidden, grad_weight, None, None, None


def wide(dtype: torch.dtype) -> torch.dtype:
    """float32 for anything narrower."""
    return dtype if dtype == torch.float64 else torch.float32


def head_logits(
    hidden: Float[Tensor, "N D"], weight: Float[Tensor, "V D"], temperature: float = 1.0
) -> Float[Tensor, "N V"]:
    """h W^T / temperature as a fresh tensor, in float32 or wider; the caller keeps N small."""
    raw = nn.functional.linear(hidden, weight)
    logits = raw.to(wide(raw.dtype))
    return logits if temperature == 1.0 else logits.div_(temperature)


def token_scores(
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " N"],
    *,
    temperature: float = 1.0,
    entropy: bool = True,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of each target and entropy of each distribution, in float32 nats.

    The entropies cost another pass over the logits; they are zeros without `entropy`.
    """
    logprobs, entropies = _TokenScores.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, temperature, entropy
    )
    return logprobs, entropies


def predicting(model: nn.Module, forest: Forest) -> Float[Tensor, "N D"]:
    """The hidden states that predict the scored tokens, in order."""
    return hidden_states(model, forest.tokens, forest.layout)[0].index_select(0, forest.sources)


def score_trees(
    model: nn.Module, forest: Forest, *, temperature: float = 1.0, entropy: bool = False
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N D"]]:
    """Log-probabilities, entropies (zeros unless asked for) and predicting hidden states of the
    scored tokens, in order."""
    hidden = predicting(model, forest)
    logprobs, entropies = token_scores(
        hidden, head_weight(model), forest.targets, temperature=temperature, entropy=entropy
    )
    return logprobs, entropies, hidden


def summed_logprobs(
    model: nn.Module, trees: Sequence[Tree], *, temperature: float = 1.0
) -> Float[Tensor, " branches"]:
    """Summed log-probability of each branch, in the order of trees and branches."""
    forest = Forest.of(trees, head_weight(model).device)
    logprobs, _, _ = score_trees(model, forest, temperature=temperature)
    lengths = torch.tensor([sum(flags) for t in trees for flags in t.trained])
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(logprobs.device)
    return logprobs.new_zeros(len(lengths)).index_add(0, owner, logprobs).cpu()


def read_tokens(model: nn.Module, forest: Forest) -> Float[Tensor, "N D"]:
    """The hidden states of the scored tokens themselves: what a reward head reads."""
    hidden = hidden_states(model, forest.tokens, forest.layout)[0]
    return hidden.index_select(0, forest.places)


def micro_batches(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in slices of at most `budget` tokens (a larger item is alone), largest first.

    Neighbours in size share a slice, so that little padding arises inside attention.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    slices: list[list[int]] = []
    room = 0
    for item in order:
        if not slices or sizes[item] > room:
            slices.append([])
            room = budget
        slices[-1].append(item)
        room -= sizes[item]
    return slices


def share_prompts(
    prompts: Sequence[tuple[int, ...]], completions: Sequence[tuple[int, ...]], budget: int
) -> list[tuple[Tree, list[int]]]:
    """Rows of the same prompt as one tree of at most `budget` tokens, with the rows it holds."""
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    for row, prompt in enumerate(prompts):
        chunks = groups.setdefault(prompt, [[]])
        size = len(prompt) + sum(len(completions[r]) for r in chunks[-1])
        if chunks[-1] and size + len(completions[row]) > budget:
            chunks.append([])
        chunks[-1].append(row)
    return [
        (Tree.prompt(prompt, [completions[r] for r in rows]), rows)
        for prompt, chunks in groups.items()
        for rows in chunks
    ]
