"""Small batches in double precision, and a language small enough to be summed over exactly."""

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.pairs import PairLogprobs


def doubles(rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def made_batch(lengths=(3, 1, 2, 4), *, seed=0, **given) -> RolloutBatch:
    """Rows of `lengths` decisions, one episode each, in groups of two; anything can be given."""
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths))

    def noise(scale: float) -> Tensor:
        return scale * torch.randn(size, generator=generator, dtype=torch.float64)

    mask = torch.arange(size[1]) < torch.tensor(lengths)[:, None]
    last = torch.arange(size[1]) == torch.tensor(lengths)[:, None] - 1
    scores = torch.randn(size[0], generator=generator, dtype=torch.float64)
    old = noise(0.5) - 2
    batch = RolloutBatch(
        mask=mask,
        rewards=torch.where(last, scores[:, None], 0.0),
        scores=scores,
        group=torch.arange(size[0]) // 2,
        terminated=last,
        truncated=torch.zeros(size, dtype=torch.bool),
        sampler_logprobs=old,
        old_logprobs=old,
        ref_logprobs=old + noise(0.3),
        values=noise(0.5),
        next_values=noise(0.5),
    )
    return replace(batch, **given)


def made_outputs(batch: RolloutBatch, *, seed=1, gap=0.3) -> PolicyOutputs:
    """What a policy `gap` away from the old one says; every field asks for its gradient."""
    generator = torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(batch.mask.shape, generator=generator, dtype=torch.float64)

    return PolicyOutputs(
        logprobs=(batch.old_logprobs + gap * noise()).requires_grad_(),
        entropy=noise().abs().requires_grad_(),
        values=(batch.values + gap * noise()).requires_grad_(),
    )


def spoilt(source, mask: Tensor, junk: float):
    """The same batch or outputs with `junk` in every masked cell of every tensor of decisions."""
    changed = {}
    for field in fields(source):
        value = getattr(source, field.name)
        if value is not None and value.shape == mask.shape and value.is_floating_point():
            changed[field.name] = torch.where(mask, value.detach(), junk)
            if value.requires_grad:
                changed[field.name].requires_grad_()
    return replace(source, **changed)


def loss_and_gradients(algorithm, batch: RolloutBatch, new: PolicyOutputs) -> list[Tensor]:
    """The loss, and its gradient in each of the outputs (zeros where it has none)."""
    total = algorithm.loss(batch, new).total
    wanted = [v for v in (new.logprobs, new.entropy, new.values) if v is not None]
    return [
        total.detach(),
        *torch.autograd.grad(total, wanted, allow_unused=True, materialize_grads=True),
    ]


def pair_losses(algorithm, *, len_chosen=None, len_rejected=None, **logprobs) -> Tensor:
    """A direct-alignment loss of summed log-probabilities; answers of one token unless said."""
    ones = torch.ones(logprobs["policy_chosen"].shape, dtype=torch.int64)
    lengths = {
        "len_chosen": ones if len_chosen is None else len_chosen,
        "len_rejected": ones if len_rejected is None else len_rejected,
    }
    return algorithm.losses(PairLogprobs(**logprobs, **lengths))


@dataclass(frozen=True)
class Language:
    """All sequences of at most `longest` of three tokens; token 0 ends one where `stops`.

    A policy is a table of logits, one row of three for each prefix that can be continued.
    """

    longest: int
    stops: bool

    @cached_property
    def sequences(self) -> list[tuple[int, ...]]:
        found = set()
        for tokens in product(range(3), repeat=self.longest):
            end = tokens.index(0) + 1 if self.stops and 0 in tokens else self.longest
            found.add(tokens[:end])
        return sorted(found)

    @cached_property
    def prefixes(self) -> list[tuple[int, ...]]:
        return sorted({s[:t] for s in self.sequences for t in range(len(s))})

    def policy(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (len(self.prefixes), 3)
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    @cached_property
    def mask(self) -> Tensor:
        lengths = torch.tensor([len(s) for s in self.sequences])
        return torch.arange(self.longest) < lengths[:, None]

    @cached_property
    def _states(self) -> Tensor:
        """[sequences, longest]: the number of the prefix that a token follows, -1 after the end."""
        table = [
            [self.prefixes.index(s[:t]) if t < len(s) else -1 for t in range(self.longest)]
            for s in self.sequences
        ]
        return torch.tensor(table)

    @cached_property
    def _tokens(self) -> Tensor:
        return torch.tensor([(*s, 0, 0, 0)[: self.longest] for s in self.sequences])

    def logprobs(self, policy: Tensor) -> Tensor:
        """[sequences, longest]; NaN where a sequence has ended."""
        chosen = policy.log_softmax(-1)[self._states, self._tokens]
        return torch.where(self.mask, chosen, torch.nan)

    def sequence_logprobs(self, policy: Tensor) -> Tensor:
        return self.logprobs(policy).nansum(1)

    def states(self, of_prefix: Tensor) -> Tensor:
        """[sequences, longest]: a number known of each prefix, NaN after the end."""
        return torch.where(self.mask, of_prefix[self._states], torch.nan)

    def expected_from(self, policy: Tensor, returns: Tensor) -> Tensor:
        """[prefixes]: the expected return of a sequence that begins with the prefix."""
        chances = self.sequence_logprobs(policy.detach()).exp()
        out = []
        for prefix in self.prefixes:
            inside = torch.tensor([s[: len(prefix)] == prefix for s in self.sequences])
            inside &= torch.tensor([len(s) > len(prefix) for s in self.sequences])
            out.append((chances * returns)[inside].sum() / chances[inside].sum())
        return torch.stack(out)

    def batch(self, policy: Tensor, scores: Tensor, **given) -> RolloutBatch:
        """One row for each sequence, weighted by its probability: the exact distribution."""
        last = self.mask & ~torch.nn.functional.pad(self.mask, (0, 1))[:, 1:]
        logprobs = self.logprobs(policy).detach()
        chances = self.sequence_logprobs(policy).detach().exp()
        batch = RolloutBatch(
            mask=self.mask,
            rewards=torch.where(last, scores[:, None], torch.where(self.mask, 0.0, torch.nan)),
            scores=scores,
            group=torch.zeros(len(scores), dtype=torch.int64),
            terminated=last,
            truncated=torch.zeros_like(last),
            sampler_logprobs=logprobs,
            old_logprobs=logprobs,
            weights=torch.where(self.mask, chances[:, None], torch.nan),
        )
        return replace(batch, **given)
