"""Direct-alignment losses against TRL 1.16.

TRL's own methods run on a bigram model in float64 and are compared, value and gradient in its
weights, with Burnish's functions on the log-probabilities that Burnish reads off the same model.
Where the two mean different things on purpose the test says which, and how one becomes the other.
"""

import warnings
from types import SimpleNamespace

import pytest
import torch
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_trainer import KTOTrainer

from burnish import conformance
from burnish.algos.kto import KTO
from burnish.engine.optim import Optim
from burnish.engine.supervised import Passes
from burnish.pipeline.artifact import Ref
from burnish.stages.prefer import Prefer
from burnish.stages.preferences import Preferences, crossed
from burnish.types import Conversation, PreferencePair
from tests.conformance.bigram import Bigram, Pairs, padded
from tests.conformance.trl_bare import assert_same, bare, value_and_gradients

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TRL calls these two experimental
    from trl.experimental.cpo.cpo_trainer import CPOTrainer
    from trl.experimental.orpo.orpo_trainer import ORPOTrainer

gaps = pytest.mark.parametrize("gap", [0.5, 0.1, 1e-3])
SEEDS = range(6)


def made(seed, gap):
    """A policy, a reference whose weights are about `gap` away, and pairs.

    Moving weights at random makes likely tokens less likely: it is done to the reference and to
    the policy by turns, so that log ratios are of both signs.
    """
    first = Bigram(seed)
    second = first.near(gap, seed + 100)
    return *((first, second) if seed % 2 else (second, first)), Pairs.random(seed)


def ours(kind, policy, reference, pairs, beta, **knobs):
    """Burnish: the mean over pairs."""
    chosen, rejected = pairs.sums(policy)
    with torch.no_grad():
        ref_chosen, ref_rejected = (None, None) if reference is None else pairs.sums(reference)
    len_chosen, len_rejected = pairs.lengths()
    losses = conformance.preference_loss(
        kind,
        policy_chosen=chosen,
        policy_rejected=rejected,
        ref_chosen=ref_chosen,
        ref_rejected=ref_rejected,
        len_chosen=len_chosen,
        len_rejected=len_rejected,
        beta=beta,
        **knobs,
    )
    return value_and_gradients(losses.mean(), policy.parameters())


def dpo(kind, policy, reference, pairs, beta, **attributes):
    """TRL: DPOTrainer."""
    trainer = bare(
        DPOTrainer,
        ref_model=reference,
        beta=beta,
        loss_types=[kind],
        loss_weights=[1.0],
        f_divergence_type="reverse_kl",
        ld_alpha=None,
        use_weighting=False,
        precompute_ref_logps=False,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
        **attributes,
    )
    batch = padded(pairs.prompts * 2, pairs.chosen + pairs.rejected)
    loss = trainer._compute_loss(policy, batch, False)
    return value_and_gradients(loss, policy.parameters())


SAME = {
    "sigmoid": ("dpo", {}),
    "sigmoid_norm": ("dpo_norm", {}),
    "ipo": ("ipo", {}),  # log ratios per token in both; the paper's, summed, are per_token=False
    "hinge": ("hinge", {}),
    "robust": ("robust", {"label_smoothing": 0.2}),
    "apo_zero": ("apo_zero", {}),
    "apo_down": ("apo_down", {}),
    "sppo_hard": ("sppo_hard", {}),
    "nca_pair": ("nca_pair", {}),
}


@gaps
@pytest.mark.parametrize("beta", [0.1, 1.5])
@pytest.mark.parametrize("kind", SAME)
def test_direct_alignment_losses_are_those_of_trl(kind, beta, gap):
    name, knobs = SAME[kind]
    for seed in SEEDS:
        batch = made(seed, gap)
        assert_same(ours(name, *batch, beta, **knobs), dpo(kind, *batch, beta, **knobs))


def test_another_normaliser_would_be_noticed():
    batch = made(0, 0.3)
    with pytest.raises(AssertionError, match="not close"):
        assert_same(ours("ipo", *batch, 0.1, per_token=0), dpo("ipo", *batch, 0.1))


@gaps
def test_conservative_dpo_is_trls_aot_one_pair_at_a_time(gap):
    # TRL's sigmoid ignores label_smoothing. Its aot has it, and sorts the pairs of a batch, which
    # does nothing to a single one.
    for seed in SEEDS:
        policy, reference, _ = made(seed, gap)
        pairs = Pairs.random(seed, num=1)
        found = ours("cdpo", policy, reference, pairs, 0.7, label_smoothing=0.2)
        assert_same(found, dpo("aot", policy, reference, pairs, 0.7, label_smoothing=0.2))
        plain = dpo("sigmoid", policy, reference, pairs, 0.7, label_smoothing=0.2)
        assert_same(ours("dpo", policy, reference, pairs, 0.7), plain)


def kto(policy, reference, rows, labels, mismatched, beta, kind="kto", weights=(1.0, 1.0)):
    """TRL: KTOTrainer. `mismatched` are the prompts and answers of its reference point."""
    trainer = bare(
        KTOTrainer,
        ref_model=reference,
        beta=beta,
        loss_type=kind,
        calculate_KL=kind == "kto",
        desirable_weight=weights[0],
        undesirable_weight=weights[1],
        precompute_ref_logps=False,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None),
    )
    batch = padded(*rows) | {"label": torch.tensor(labels)}
    batch |= {f"KL_{name}": tensor for name, tensor in padded(*mismatched).items()}
    loss = trainer._compute_loss(policy, batch, False)
    point = trainer._metrics["train"]["kl"][0]
    return point, value_and_gradients(loss, policy.parameters())


def unpaired(pairs):
    """TRL's KTO reads answers one by one, with a label each."""
    return (pairs.prompts * 2, pairs.chosen + pairs.rejected), [True] * 5 + [False] * 5


@gaps
def test_kto_is_that_of_trl_where_the_reference_point_is_of_the_answers_themselves(gap):
    points = []
    for seed in SEEDS:
        policy, reference, pairs = made(seed, gap)
        rows, labels = unpaired(pairs)
        knobs = {"desirable": 1.3, "undesirable": 0.6}
        point, expected = kto(policy, reference, rows, labels, rows, 0.5, weights=(1.3, 0.6))
        assert_same(ours("kto", policy, reference, pairs, 0.5, **knobs), expected)
        points.append(point)
    assert min(points) == 0 < max(points)  # the clamp is at work in some, not in all


@gaps
def test_kto_in_training_is_that_of_trl_with_each_prompt_before_the_next_ones_answer(gap):
    # Burnish estimates the reference point on the chosen answer of the step's next prompt, TRL on
    # the answer before, chosen or rejected, of the batch: here it is given Burnish's.
    for seed in SEEDS:
        policy, reference, pairs = made(seed, gap)
        words = PreferencePair(prompt=Conversation.of("a"), chosen="b", rejected="c")
        groups = [Preferences((words,), tree, (0,), (1,)) for tree in pairs.trees()]
        stage = Prefer(
            model=Ref("a", "b"),
            comparisons=Ref("a", "b"),
            passes=Passes(batch_rows=5),
            optim=Optim(lr=1.0),
            algorithm=KTO(beta=0.5),
            micro_tokens=20,
        )
        order = [3, 0, 4, 2, 1]
        after = order[1:] + order[:1]
        trees = {(i, i): group.tree for i, group in enumerate(groups)}
        trees |= {(i, j): crossed(groups[i], groups[j]) for i, j in zip(order, after, strict=True)}
        scored = stage._scored(reference, trees, [list(trees)])
        known = {(i, j): scored[f"{i}.{j}"] for i, j in trees}
        loss = sum(part.total for part in stage._losses(policy, groups, order, known))
        found = value_and_gradients(loss, policy.parameters())
        mismatched = [pairs.prompts[i] for i in order], [pairs.chosen[i] for i in after]
        _, expected = kto(policy, reference, *unpaired(pairs), mismatched, 0.5)
        assert_same(found, expected)


@gaps
def test_apo_zero_of_pairs_is_twice_that_of_answers(gap):
    # Burnish's loss of a pair is the sum over its answers; TRL's KTOTrainer averages over answers.
    for seed in SEEDS:
        policy, reference, pairs = made(seed, gap)
        rows, labels = unpaired(pairs)
        _, halves = kto(policy, reference, rows, labels, rows, 0.5, kind="apo_zero_unpaired")
        found = ours("apo_zero", policy, reference, pairs, 0.5)
        assert_same(found, [2 * half for half in halves])


def experimental(trainer, policy, pairs, beta, **attributes):
    """TRL: CPOTrainer and ORPOTrainer, which read the logits."""
    made = bare(
        trainer, beta=beta, is_encoder_decoder=False, padding_value=0, pad_token_id=0, **attributes
    )
    batch = {}
    for side, answers in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
        rows = padded(pairs.prompts, answers)
        labels = rows["input_ids"].masked_fill(rows["completion_mask"] == 0, -100)
        batch |= {f"{side}_{name}": rows[name] for name in ("input_ids", "attention_mask")}
        batch[f"{side}_labels"] = labels
    loss, _ = made.get_batch_loss_metrics(policy, batch)
    return value_and_gradients(loss, policy.parameters())


def cpo(policy, pairs, beta, **attributes):
    settings = {"alpha": 0.0, "cpo_alpha": 0.0, "label_smoothing": 0.0, "simpo_gamma": 0.0}
    return experimental(CPOTrainer, policy, pairs, beta, **{**settings, **attributes})


@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 0.5), (2.0, 0.0), (0.3, 1.6)])
def test_simpo_is_that_of_trl(beta, gamma):
    # gamma is outside beta in both: log sigmoid(beta gap - gamma). In TRL it is CPO without its
    # likelihood term (cpo_alpha, by default 1).
    for seed in SEEDS:
        policy, _, pairs = made(seed, 0.3)
        found = ours("simpo", policy, None, pairs, beta, gamma=gamma)
        assert_same(found, cpo(policy, pairs, beta, loss_type="simpo", simpo_gamma=gamma))


def test_a_flat_reference_makes_dpo_and_hinge_trls_cpo():
    flat = Bigram(0)
    torch.nn.init.zeros_(flat.output.weight)
    for seed in SEEDS:
        policy, _, pairs = made(seed, 0.3)
        # a flat reference still prefers the shorter answer: with answers of one length it does not
        pairs = Pairs(pairs.prompts, pairs.chosen, [a[::-1] for a in pairs.chosen])
        smooth = cpo(policy, pairs, 0.4, loss_type="sigmoid", label_smoothing=0.1)
        assert_same(ours("cdpo", policy, flat, pairs, 0.4, label_smoothing=0.1), smooth)
        assert_same(
            ours("hinge", policy, flat, pairs, 0.4), cpo(policy, pairs, 0.4, loss_type="hinge")
        )


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_orpo_is_that_of_trl_but_for_the_average_of_its_likelihood_term(beta):
    # TRL averages that term over all tokens of the batch, prompts included; Burnish, as the paper,
    # over each answer's own. Its odds are in float32.
    for seed in SEEDS:
        policy, _, pairs = made(seed, 0.3)
        found = ours("orpo", policy, None, pairs, beta)
        rows = padded(pairs.prompts, pairs.chosen)
        every = rows["input_ids"].masked_fill(rows["attention_mask"] == 0, -100)
        read = policy(rows["input_ids"], labels=every)
        over_the_batch = read.log_probs.sum() / read.label_mask.sum()
        over_each = (pairs.sums(policy)[0] / pairs.lengths()[0]).mean()
        moved = value_and_gradients(over_each - over_the_batch, policy.parameters())
        expected = experimental(ORPOTrainer, policy, pairs, beta)
        summed = [a + b for a, b in zip(found, moved, strict=True)]
        torch.testing.assert_close(summed, expected, rtol=1e-5, atol=1e-6)
