"""The learner on this machine: scores a language model's own completions, and improves it.

Algorithms see `[B, T]` scalars; the model sees ragged tokens. Micro-batches are filled by a budget
of tokens. Rows are split after their weights are fixed, so slices only sum.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from burnish.algos.advantages import next_decision_values
from burnish.algos.batch import Loss, Need, PolicyOutputs, RolloutBatch
from burnish.algos.kl import exact_kl
from burnish.engine.agreement import Agreement
from burnish.engine.critic import Critic
from burnish.engine.protocols import LossFunction, Metrics, Rollout
from burnish.engine.text_inputs import TextInputs
from burnish.engine.trainer import Trainer
from burnish.models.divergence import divergences
from burnish.models.policy import (
    Forest,
    Tree,
    head_weight,
    micro_batches,
    predicting,
    score_trees,
    share_prompts,
)
from burnish.models.support import WHOLE, Support
from burnish.pipeline.peak import hand_back_freed_memory

_REFERENCE = "reference."
"""Of a checkpoint's tensors: those of a reference that is no longer the start."""


class LocalLearner:
    """A language model under training, with an optional value head and reference."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        temperature: float,
        micro_tokens: int,
        reference: nn.Module | None = None,
        reference_mode: Callable[[], AbstractContextManager[None]] = nullcontext,
        kl_audit_rows: int = 0,
        support: Support = WHOLE,
        critic: Critic | None = None,
        beside: Callable[[int], Iterator[Loss]] | None = None,
    ) -> None:
        """`reference` is a frozen copy, or the model itself with `reference_mode` a context in
        which its adapter is off. Of `kl_audit_rows` rows a rollout `annotate` measures the exact
        KL to it.

        `support` is what completions were drawn from. The policy's log-probabilities are those of
        its own distribution renormalised over its own kept set; the reference's are those of its
        whole distribution, which covers every kept set: so KL(policy || reference) is finite. It
        begins at -log(what the policy keeps) a token, not at 0.

        Values are those of `critic`, or else of the trainer's head on the policy. `beside` gives
        further slices of each optimiser step, from its number.
        """
        self.trainer = trainer
        self._temperature, self._micro_tokens = temperature, micro_tokens
        self._support = support
        dtype = next(trainer.model.parameters()).dtype
        self._agreement = Agreement(dtype, truncated=not support.whole)
        self._reference, self._reference_mode = reference, reference_mode
        self._kl_audit_rows = kl_audit_rows
        self._critic, self._beside = critic, beside
        self._renewed = False
        self.trained_tokens = 0
        self.scored_tokens = 0
        self._unchanged = False
        """No update since the rollout was scored: every ratio must be one."""

    def annotate(self, rollout: Rollout, needs: frozenset[Need]) -> Rollout:
        """Fill old_logprobs, ref_logprobs and values, as needed, and audit. No gradients."""
        inputs = rollout.inputs
        assert isinstance(inputs, TextInputs)
        self._unchanged = True
        # Sampling and slices of many sizes leave gaps that the next ones do not fit into: kept for
        # all of a run they come to more than what is in use.
        hand_back_freed_memory()
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            if needs & {"old_logprobs", "values"}:
                outputs = self._all(inputs, self.trainer.model, self._support, "values" in needs)
                if "old_logprobs" in needs:
                    found["old_logprobs"] = outputs.logprobs
                if outputs.values is not None:
                    found["values"] = outputs.values
                    found["next_values"] = next_decision_values(outputs.values, rollout.batch.mask)
            if "ref_logprobs" in needs:
                assert self._reference is not None, "no reference model was opened"
                with self._reference_mode():
                    outputs = self._all(inputs, self._reference, WHOLE, False)
                found["ref_logprobs"] = outputs.logprobs
        rollout = replace(rollout, batch=replace(rollout.batch, **found))
        audited = evenly(rollout.batch.mask.any(dim=1).nonzero()[:, 0], self._kl_audit_rows)
        if not len(audited):
            return rollout
        exact = {"rl/exact_kl": float(self.exact_kl(inputs.rows(audited)).mean())}
        return replace(rollout, metrics={**rollout.metrics, **exact})

    @torch.no_grad()
    def exact_kl(self, inputs: TextInputs) -> Float[Tensor, " B"]:
        """sum_t KL(policy || reference) after each prefix of a row's completion, over all that the
        policy may draw, at the sampling temperature.

        Given the prefix, the expectation of k1 at a token is this KL: so over completions of the
        policy both sums have the same mean, and this one varies less (Rao-Blackwell).
        """
        assert self._reference is not None, "no reference model was opened"
        temperature, out = self._temperature, torch.zeros(len(inputs.prompts))
        policy = self.trainer.model

        def measure(own: Tensor, ref: Tensor) -> Tensor:
            self._support.truncate_(own, temperature)
            return exact_kl(own / temperature, ref / temperature)

        for part, rows, trees in self._portions(inputs):
            forest = Forest.of(trees, next(policy.parameters()).device)
            hidden = predicting(policy, forest)
            with self._reference_mode():
                ref_hidden = predicting(self._reference, forest)
            found, _ = divergences(
                hidden,
                head_weight(policy),
                ref_hidden,
                head_weight(self._reference),
                measure,
            )
            sums = torch.split(found.cpu(), [sum(part.flags(i)) for i in range(len(rows))])
            out[rows] = torch.stack([row.sum() for row in sums])
            self.scored_tokens += 2 * sum(tree.num_tokens for tree in trees)
        return out

    def step(self, inputs: object, batch: RolloutBatch, loss: LossFunction) -> Metrics:
        """One optimiser step over the weighted batch, in slices of at most `micro_tokens`."""
        assert isinstance(inputs, TextInputs)
        started = time.perf_counter()
        self._agreement.begin()
        others = iter(()) if self._beside is None else self._beside(self.trainer.optim.num_steps)
        log = self.trainer.step(chain(self._slices(inputs, batch, loss), others))
        critic = {} if self._critic is None else {"value_grad_norm": self._critic.step()}
        self.trained_tokens += int(log.sums.get("beside_tokens", 0.0))
        self._unchanged = False
        seconds = {"seconds": time.perf_counter() - started}
        gap = {} if batch.old_logprobs is None else {"rl/ratio_gap": self._agreement.largest}
        return log.metrics() | dict(log.sums) | seconds | gap | critic

    def snapshot(self) -> Mapping[str, Tensor]:
        """The live weights."""
        return self.trainer.weights()

    @torch.no_grad()
    def renew_reference(self, share: float) -> None:
        """The reference goes `share` of the way to the policy; 1: it becomes the policy."""
        assert self._reference is not None and self._reference is not self.trainer.model
        live = dict(self.trainer.model.named_parameters())
        for name, weight in self._reference.named_parameters():
            weight.copy_(weight.float().lerp(live[name].float(), share))
        self._renewed = True

    def tensors(self) -> dict[str, Tensor]:
        """All weights that change, and their optimisers' state."""
        out = self.trainer.tensors()
        if self._critic is not None:
            out |= self._critic.tensors()
        if self._renewed and self._reference is not None:
            own = self._reference.named_parameters()
            out |= {_REFERENCE + name: weight.detach() for name, weight in own}
        return out

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` saved."""
        self.trainer.load(tensors)
        if self._critic is not None:
            self._critic.load(tensors)
        self._renewed = any(name.startswith(_REFERENCE) for name in tensors)
        if self._renewed and self._reference is not None:
            for name, weight in self._reference.named_parameters():
                weight.copy_(tensors[_REFERENCE + name])

    def _slices(
        self, inputs: TextInputs, batch: RolloutBatch, loss: LossFunction
    ) -> Iterator[Loss]:
        for part_inputs, rows, trees in self._portions(inputs):
            part = batch.rows(rows)
            outputs = self._forward(
                trees,
                part_inputs,
                self.trainer.model,
                self._support,
                batch.values is not None,
                entropy=True,
            )
            assert outputs.entropy is not None
            if part.old_logprobs is not None:
                now = outputs.logprobs.detach()[part.mask]
                self._agreement.note(now, part.old_logprobs[part.mask])
            result = loss(self._aligned(part, outputs), outputs)
            entropy = torch.where(part.mask, outputs.entropy.detach(), 0.0).sum()
            self.trained_tokens += sum(tree.num_tokens for tree in trees)
            yield Loss(result.total, {**result.sums, "entropy": entropy})
        if self._unchanged:
            self._agreement.check()

    def _aligned(self, part: RolloutBatch, outputs: PolicyOutputs) -> RolloutBatch:
        """Before the first update the policy is the old one: what it says now is what it said then,
        and every ratio is exactly 1, however other slices rounded while scoring."""
        if part.old_logprobs is None or not self._unchanged:
            return part
        return replace(part, old_logprobs=outputs.logprobs.detach())

    def _all(
        self, inputs: TextInputs, model: nn.Module, support: Support, values: bool
    ) -> PolicyOutputs:
        """Outputs for every row, computed slice by slice."""
        size = (len(inputs.prompts), inputs.width)
        logprobs, value = torch.zeros(size), torch.zeros(size)
        for part, rows, trees in self._portions(inputs):
            outputs = self._forward(trees, part, model, support, values)
            logprobs[rows] = outputs.logprobs
            if outputs.values is not None:
                value[rows] = outputs.values
            self.scored_tokens += sum(tree.num_tokens for tree in trees)
        return PolicyOutputs(logprobs=logprobs, values=value if values else None)

    def _portions(self, inputs: TextInputs) -> Iterator[tuple[TextInputs, Tensor, list[Tree]]]:
        """Slices of at most `micro_tokens`; their rows are in the order of their trees."""
        shared = share_prompts(
            inputs.prompts, inputs.completions, self._micro_tokens, inputs.sampled
        )
        for index in micro_batches([t.num_tokens for t, _ in shared], self._micro_tokens):
            rows = torch.tensor([row for i in index for row in shared[i][1]])
            yield inputs.rows(rows), rows, [shared[i][0] for i in index]

    def _forward(
        self,
        trees: Sequence[Tree],
        inputs: TextInputs,
        model: nn.Module,
        support: Support,
        values: bool,
        *,
        entropy: bool = False,
    ) -> PolicyOutputs:
        device = next(model.parameters()).device
        forest = Forest.of(trees, device)
        logprobs, entropies, hidden = score_trees(
            model, forest, temperature=self._temperature, support=support, entropy=entropy
        )
        places = _places(inputs, device)
        size = (len(inputs.prompts), inputs.width)
        value = None
        if values:
            value = _spread(self._values(forest, hidden), places, size)
        return PolicyOutputs(
            logprobs=_spread(logprobs, places, size),
            entropy=_spread(entropies, places, size) if entropy else None,
            values=value,
        )

    def _values(self, forest: Forest, hidden: Tensor) -> Tensor:
        """Of the states before the scored tokens, whose hidden states in the policy are given."""
        if self._critic is not None:
            return self._critic.values(forest)
        assert self.trainer.head is not None, "the algorithm needs a value head"
        return self.trainer.head(hidden.float())[:, 0]  # type: ignore[no-any-return]


def evenly(rows: Int[Tensor, " N"], count: int) -> Int[Tensor, " M"]:
    """At most `count` of the rows, evenly spaced from the first on."""
    count = min(count, len(rows))
    return rows[torch.arange(count) * len(rows) // max(count, 1)]


def _places(inputs: TextInputs, device: torch.device) -> Tensor:
    flat = [
        row * inputs.width + t
        for row in range(len(inputs.completions))
        for t, scored in enumerate(inputs.flags(row))
        if scored
    ]
    return torch.tensor(flat, dtype=torch.long, device=device)


def _spread(flat: Tensor, places: Tensor, size: tuple[int, int]) -> Tensor:
    out = flat.new_zeros(size[0] * size[1])
    return out.index_copy(0, places, flat).view(size).cpu()
