"""`burnish.conformance`: numbers, differentiability, junk under the mask, and names nobody has."""

import ast
import importlib
import inspect
import math

import pytest
import torch

from burnish import conformance
from burnish.algos.batch import Loss
from burnish.algos.grpo import GRPO
from burnish.errors import ConfigError, DataError
from tests.tiny import tiny_tokenizer

NAN = math.nan


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def loss_of(algo, logprobs, mask=((True, True), (True, False)), **knobs):
    given = {
        "old_logprobs": doubles([[-1.2, -2.0], [-1.0, NAN]]),
        "advantages": doubles([[0.5, 0.5], [-1.0, 1e6]]),
        "response_mask": torch.tensor(mask),
    }
    return conformance.policy_loss(algo, logprobs=logprobs, **{**given, **knobs})


@pytest.mark.parametrize(
    ("algo", "loss", "gradient"),
    [
        # ratios e^.2, 1 and 1; A .5, .5, -1; the first ratio is clipped at 1.2: gains .6, .5, -1
        ("ppo", -(0.6 + 0.5 - 1) / 3, [[0, -0.5 / 3], [1 / 3, 0]]),
        ("grpo", -((0.6 + 0.5) / 2 - 1) / 2, [[0, -0.125], [0.5, 0]]),
        # -1/2 (.5 * (-1 - 2) - 1 * -1)
        ("reinforce", 0.25, [[-0.25, -0.25], [0.5, 0]]),
    ],
)
@pytest.mark.parametrize("junk", [NAN, 1e6, math.inf])
def test_policy_losses_by_hand_with_junk_under_the_mask(algo, loss, gradient, junk):
    logprobs = doubles([[-1.0, -2.0], [-1.0, junk]]).requires_grad_()
    found = loss_of(algo, logprobs)
    assert found.dtype == torch.float64
    assert float(found.detach()) == pytest.approx(loss, abs=1e-12)
    slope = torch.autograd.grad(found, logprobs)[0]
    torch.testing.assert_close(slope, doubles(gradient), rtol=1e-12, atol=1e-15)


def test_one_advantage_a_row_is_spread_over_its_decisions():
    logprobs = doubles([[-1.0, -2.0], [-1.0, NAN]])
    rows = loss_of("grpo", logprobs, advantages=doubles([0.5, -1.0]))
    assert float(rows) == float(loss_of("grpo", logprobs))


def test_rows_without_decisions_do_not_count():
    logprobs = doubles([[-1.0, -2.0], [NAN, NAN]])
    for algo in ("ppo", "grpo", "reinforce"):
        found = loss_of(algo, logprobs, mask=((True, True), (False, False)))
        alone = conformance.policy_loss(
            algo,
            logprobs=logprobs[:1],
            old_logprobs=doubles([[-1.2, -2.0]]),
            advantages=doubles([0.5]),
            response_mask=torch.tensor([[True, True]]),
        )
        assert float(found) == float(alone)


def test_the_kl_of_grpos_loss_reads_the_reference():
    logprobs = doubles([[-1.0, -2.0], [-1.0, NAN]])
    ref = doubles([[-0.8, -2.0], [-1.0, NAN]])
    more = loss_of("grpo", logprobs, ref_logprobs=ref, kl_coef=0.04) - loss_of("grpo", logprobs)
    assert float(more) == pytest.approx(0.04 * 0.021403 / 4, abs=1e-8)
    with pytest.raises(ConfigError, match="ref_logprobs"):
        loss_of("grpo", logprobs, kl_coef=0.04)


def test_the_surface_is_the_code_that_trains(monkeypatch):
    monkeypatch.setattr(GRPO, "loss", lambda self, part, new: Loss(doubles(42.0)))
    assert float(loss_of("grpo", doubles([[-1.0, -2.0], [-1.0, NAN]]))) == 42


def test_advantages_by_hand_with_unscorable_rewards_and_any_group_names():
    found = conformance.advantages(
        "grpo", rewards=[1, None, 0, 3.0, 0, 1, 3.0, NAN], group_ids=[9, 9, 9, -4, 9, 9, -4, -4]
    )
    a = 0.865875
    torch.testing.assert_close(found, doubles([a, 0, -a, 0, -a, a, 0, 0]), atol=5e-7, rtol=0)
    found = conformance.advantages(
        "reinforce", rewards=doubles([3, NAN, 1]), group_ids=torch.tensor([0, 1, 2])
    )
    assert found.tolist() == [1, 0, -1]
    plain = conformance.advantages(
        "reinforce", rewards=torch.tensor([3, 1]), group_ids=[0, 0], baseline=False
    )
    assert plain.tolist() == [3, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rewards": [1.0, 2.0], "group_ids": [0]}, "one length"),
        ({"rewards": [1.0, 2.0, 3.0], "group_ids": [0, 0, 1]}, "at least 2"),
        ({"rewards": [1.0, "2"], "group_ids": [0, 0]}, r"rewards\[1\].*'2'"),
        ({"rewards": [1.0, 2j], "group_ids": [0, 0]}, r"rewards\[1\]"),
    ],
)
def test_rewards_that_cannot_be_compared_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        conformance.advantages("grpo", **given)


def test_gae_tells_an_end_from_a_cut_by_hand():
    # two copies, time first; .9, .8:  d = 1 + .9 * 20 - 10 = 9;  2 + .9 * 40 - 20 = 18 or 2 - 20
    column = doubles([[1, 1], [2, 2]])
    advantages, returns = conformance.gae(
        rewards=column,
        values=doubles([[10, 10], [20, 20]]),
        next_values=doubles([[20, 20], [40, NAN]]),
        terminated=torch.tensor([[False, False], [False, True]]),
        truncated=torch.tensor([[False, False], [True, False]]),
        gamma=0.9,
        gae_lambda=0.8,
    )
    expected = doubles([[9 + 0.72 * 18, 9 - 0.72 * 18], [18, -18]])
    torch.testing.assert_close(advantages, expected)
    torch.testing.assert_close(returns, expected + doubles([[10, 10], [20, 20]]))


def pair(**changed):
    given = {
        "policy_chosen": doubles([-9.0]),
        "policy_rejected": doubles([-20.5]),
        "ref_chosen": doubles([-10.0]),
        "ref_rejected": doubles([-20.0]),
        "len_chosen": torch.tensor([6]),
        "len_rejected": torch.tensor([10]),
        "beta": 0.1,
    }
    return {**given, **changed}


def test_preference_losses_of_the_published_pair():
    assert float(conformance.preference_loss("dpo", **pair())) == pytest.approx(0.620957, abs=5e-7)
    # .9 * log(1 + e^-.15) + .1 * log(1 + e^.15)
    for smoothed in (
        conformance.preference_loss("cdpo", **pair()),
        conformance.preference_loss("cdpo", **pair(), label_smoothing=0.1),
        conformance.preference_loss("dpo", **pair(), label_smoothing=0.1),
    ):
        assert float(smoothed) == pytest.approx(0.635957, abs=5e-7)
    with pytest.raises(ConfigError, match="beta"):
        conformance.preference_loss("dpo", **pair(beta=0.0))
    with pytest.raises(ConfigError, match="label_smoothing"):
        conformance.preference_loss("cdpo", **pair(), label_smoothing=0.5)


def test_the_reward_aware_loss_reads_a_margin_and_the_others_refuse_it():
    # a = .15, b = 2 * .5 = 1: s(1) = .731059, s(.15) = .537430
    found = conformance.preference_loss("rpo", **pair(), margin=doubles([2.0]), eta=0.5)
    expected = 0.731059 * math.log(0.731059 / 0.537430) + 0.268941 * math.log(0.268941 / 0.46257)
    assert float(found) == pytest.approx(expected, abs=5e-6)
    for kind, margin in (("rpo", None), ("dpo", doubles([2.0]))):
        with pytest.raises(ConfigError, match="margin is what rpo reads"):
            conformance.preference_loss(kind, **pair(), margin=margin)


def test_reward_losses_are_means_over_pairs():
    loss = conformance.bradley_terry_loss(doubles([2, 1]), doubles([1, 2]), center_coef=0.01)
    assert float(loss) == pytest.approx((0.313262 + 1.313262) / 2 + 0.09, abs=5e-7)
    margin = doubles([1.0, -1.0])
    wider = conformance.bradley_terry_loss(doubles([2, 1]), doubles([1, 2]), margin=margin)
    assert float(wider) == pytest.approx(math.log(2))


def test_estimators_of_evaluations():
    assert conformance.pass_at_k(10, 3, 5) == pytest.approx(0.916667, abs=5e-7)
    assert conformance.pass_at_k(200, 7, 100) == pytest.approx(0.992991, abs=5e-7)
    assert conformance.pass_at_k(10000, 3, 100) == pytest.approx(0.029704, abs=5e-7)
    for n, exact in {4: 0.6288, 16: 1.7331, 64: 2.2935}.items():
        assert conformance.best_of_n_kl(n, [0.1] * 10) == pytest.approx(exact, abs=5e-5)
        assert conformance.best_of_n_kl(n) > exact


def test_exact_answers_are_verified():
    assert conformance.verify("exact", "So 3 + 4.\nAnswer: 7.0", 7).passed
    assert conformance.verify("exact", "Answer: Paris.", "paris").score == 1
    assert not conformance.verify("exact", "7", "7").passed
    with pytest.raises(ConfigError, match="NoneType"):
        conformance.verify("exact", "Answer: None", None)


@pytest.mark.parametrize(
    ("task", "right", "wrong", "reference"),
    [
        ("gsm8k", "So it is.\n#### 18", "#### 180", "9 * 2 = <<9*2=18>>18\n#### 18"),
        ("gsm8k", "Answer: $18", "Answer: 17\nAnswer: 18", 18),
        ("math", "\\boxed{\\sqrt{8}}", "\\boxed{\\sqrt{2}}", "2\\sqrt{2}"),
        ("math", "\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", 0.5),
        ("choice", "Answer: (B)", "Answer: A, B, C, D", "B"),
    ],
)
def test_answers_are_verified_by_task(task, right, wrong, reference):
    assert conformance.verify(task, right, reference).passed
    assert conformance.verify(task, wrong, reference).passed is False


@pytest.mark.parametrize("task", ["exact", "gsm8k", "math", "choice"])
def test_nothing_is_never_a_match(task):
    for completion in ("", "Answer:", "\\boxed{}"):
        for reference in ("", "7" if task != "choice" else "B"):
            assert not conformance.verify(task, completion, reference).passed


@pytest.mark.parametrize(
    ("task", "reference"),
    [("gsm8k", "eighteen"), ("choice", "Paris"), ("choice", 7), ("math", ["1"]), ("exact", True)],
)
def test_a_reference_that_a_task_cannot_use_is_refused(task, reference):
    with pytest.raises(ConfigError, match="reference"):
        conformance.verify(task, "Answer: 7", reference)


def test_verify_reads_instructions_and_tests() -> None:
    rules = {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    assert conformance.verify("instruction_following", "No comma here.", rules).passed
    assert conformance.verify("instruction_following", "One, two.", rules).passed is False
    with pytest.raises(ConfigError, match="instruction_id_list"):
        conformance.verify("instruction_following", "", "no_comma")
    tests = "assert double(4) == 8"
    doubles = "def double(x):\n    return 2 * x"
    assert conformance.verify("code", f"```python\n{doubles}\n```", tests).passed
    assert conformance.verify("code", doubles.replace("2", "3"), {"tests": tests}).passed is False
    with pytest.raises(ConfigError, match="reference must be tests"):
        conformance.verify("code", doubles, 7)


def test_environments_are_made_by_name():
    env = conformance.make_env("CartPole-v1")
    assert env.reset(seed=0)[0].shape == (4,)
    env.close()
    with pytest.raises(ConfigError, match="CartPole-v1"):
        conformance.make_env("CartPole-v7")


def test_conversations_are_encoded_with_their_labels():
    tokenizer = tiny_tokenizer()
    conversation = [
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": "I am well"},
        {"role": "user", "content": "the sea?"},
        {"role": "assistant", "content": "wide"},
    ]
    ids, mask = conformance.encode(conversation, tokenizer=tokenizer)
    expected = tokenizer.apply_chat_template(conversation, return_dict=False)
    assert ids == expected
    trained = tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert trained == "I am well<|im_end|>wide<|im_end|>"
    _, last = conformance.encode(conversation, tokenizer=tokenizer, train_on="last")
    kept = [i for i, m in zip(ids, last, strict=True) if m]
    assert tokenizer.decode(kept) == "wide<|im_end|>"
    with pytest.raises(DataError, match="content"):
        conformance.encode([{"role": "user", "content": None}], tokenizer=tokenizer)
    with pytest.raises(DataError, match="second system"):
        conformance.encode(
            [{"role": "system", "content": "a"}] * 2 + conversation, tokenizer=tokenizer
        )


UNKNOWN = {
    "no policy loss `grop`; did you mean `grpo`\\? valid: cispo, dapo, dr_grpo, grpo": lambda: (
        loss_of("grop", doubles([[0.0, 0.0]] * 2))
    ),
    "no knob of policy loss grpo `clip_hi`; did you mean `clip_high`\\? valid: clip_high, clip_low,"
    " kl, kl_coef": lambda: loss_of("grpo", doubles([[0.0, 0.0]] * 2), clip_hi=0.3),
    # advantages are made elsewhere: here this knob would change nothing
    "no knob of policy loss grpo `std_eps`": lambda: loss_of(
        "grpo", doubles([[0.0, 0.0]] * 2), std_eps=1.0
    ),
    "no knob of policy loss reinforce `clip`": lambda: loss_of(
        "reinforce", doubles([[0.0, 0.0]] * 2), clip=0.2
    ),
    "no advantage `x`; .*dr_grpo, grpo, reinforce": lambda: conformance.advantages(
        "x", rewards=[1], group_ids=[0]
    ),
    "no KL estimator `k4`.* valid: k1, k2, k3": lambda: conformance.kl(
        "k4", policy=doubles([0.0]), ref=doubles([0.0])
    ),
    "no preference loss `dpi`; did you mean `dpo`\\? valid: apo_down, .*": (
        lambda: conformance.preference_loss("dpi", **pair())
    ),
    "no knob of preference loss dpo `smoothing`": lambda: conformance.preference_loss(
        "dpo", **pair(), smoothing=0.1
    ),
    "no task `exacd`; did you mean `exact`\\?": lambda: conformance.verify("exacd", "", ""),
    "no train_on `user`; valid: all, assistant, last": lambda: conformance.encode(
        [], tokenizer=tiny_tokenizer(), train_on="user"
    ),
}


@pytest.mark.parametrize("message", UNKNOWN, ids=range(len(UNKNOWN)))
def test_what_nobody_knows_is_refused_with_what_is_known(message):
    with pytest.raises(ConfigError, match=message):
        UNKNOWN[message]()


def test_everything_that_is_public_is_listed_and_nothing_else():
    tree = ast.parse(inspect.getsource(importlib.import_module("burnish.conformance")))
    defined = {
        n.name for n in tree.body if isinstance(n, ast.FunctionDef) and not n.name.startswith("_")
    }
    assert defined <= set(conformance.__all__)
    assert all(callable(vars(conformance)[name]) for name in conformance.__all__)
