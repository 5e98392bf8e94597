"""A causal language model as a policy: log-probabilities, entropies and values of chosen tokens."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from burnish.models import layers
from burnish.models.attention import Decoding, Layout, Ragged
from burnish.models.fused import joined_linear
from burnish.models.packed import Packed
from burnish.models.support import WHOLE, Support
from burnish.models.token_scores import token_scores


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


def num_layers(model: nn.Module) -> int:
    """Layers that keep keys and values."""
    return int(model.config.num_hidden_layers)  # type: ignore[union-attr,arg-type]


def hidden_states(
    model: nn.Module,
    tokens: Int[Tensor, "rows columns"],
    layout: Layout,
    packed: Packed | None = None,
) -> Float[Tensor, "rows columns D"]:
    """The last hidden states under a layout; `packed` weights serve where no gradient is wanted."""
    below = decoder(model)
    if packed is not None and packed.layers is not None and isinstance(layout, Decoding):
        return layers.decoded_hidden(below, tokens, layout, packed.layers)
    if layers.runs_here(below):
        linear = joined_linear if packed is None else packed.linear
        return layers.last_hidden(below, tokens, layout, linear)
    out = below(input_ids=tokens, position_ids=layout.position_ids, use_cache=False, layout=layout)
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


def predicting(model: nn.Module, forest: Forest) -> Float[Tensor, "N D"]:
    """The hidden states that predict the scored tokens, in order."""
    return hidden_states(model, forest.tokens, forest.layout)[0].index_select(0, forest.sources)


def score_trees(
    model: nn.Module,
    forest: Forest,
    *,
    temperature: float = 1.0,
    support: Support = WHOLE,
    entropy: bool = False,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"], Float[Tensor, "N D"]]:
    """Log-probabilities, entropies (zeros unless asked for) and predicting hidden states of the
    scored tokens, in order."""
    hidden = predicting(model, forest)
    logprobs, entropies = token_scores(
        hidden,
        head_weight(model),
        forest.targets,
        temperature=temperature,
        support=support,
        entropy=entropy,
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

    Neighbours in size share a slice, so that little padding arises inside attention. There are as
    few slices as the budget allows, and then as even ones: the largest decides the peak of memory.
    """
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    fewest = len(_filled(order, sizes, budget))
    least = bisect_left(range(budget), True, key=lambda b: len(_filled(order, sizes, b)) <= fewest)
    return _filled(order, sizes, least)


def _filled(order: Sequence[int], sizes: Sequence[int], budget: int) -> list[list[int]]:
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
    prompts: Sequence[tuple[int, ...]],
    completions: Sequence[tuple[int, ...]],
    budget: int,
    flags: Sequence[tuple[bool, ...]] | None = None,
) -> list[tuple[Tree, list[int]]]:
    """Rows of the same prompt as one tree of at most `budget` tokens, with the rows it holds.

    `flags` are those of each row's tokens that are scored; None: all of them.
    """
    groups: dict[tuple[int, ...], list[list[int]]] = {}
    for row, prompt in enumerate(prompts):
        chunks = groups.setdefault(prompt, [[]])
        size = len(prompt) + sum(len(completions[r]) for r in chunks[-1])
        if chunks[-1] and size + len(completions[row]) > budget:
            chunks.append([])
        chunks[-1].append(row)
    shared = [
        (Tree.prompt(prompt, [completions[r] for r in rows]), rows)
        for prompt, chunks in groups.items()
        for rows in chunks
    ]
    if flags is None:
        return shared
    return [(replace(tree, trained=tuple(flags[r] for r in rows)), rows) for tree, rows in shared]
