"""Reward models at work: how heads are read, how ensembles combine, what is refused."""

import dataclasses

import pytest
import torch
from torch import nn

from burnish.engine.readings import Attributes, Ending, Outcome, Steps
from burnish.engine.reward_model import (
    Average,
    EnsembleConfig,
    MeanMinusVariance,
    RewardConfig,
    Scale,
    Worst,
    open_reward_model,
    save_config,
)
from burnish.errors import ModelError
from burnish.models.load import save_causal_lm
from burnish.text.chat import turn_end
from tests.tiny import tiny_llama, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
END = turn_end(TOKENIZER)
PROMPT = tuple(TOKENIZER.encode("What is the answer?"))
ANSWERS = [tuple(TOKENIZER.encode(t)) for t in ("1 + 2 = 3\nSo 3.", "The sea.\n", "Hello")]


def saved(path, reading, *, scale=None, seed=0, num_outputs=1):
    """A reward model's directory; returns its model and head."""
    model = tiny_llama(TOKENIZER, seed)
    source = path.parent / "tokenizer"
    TOKENIZER.save_pretrained(source)
    generator = torch.Generator().manual_seed(seed)
    head = nn.Linear(32, num_outputs)
    with torch.no_grad():
        head.weight.copy_(torch.randn(num_outputs, 32, generator=generator))
        head.bias.copy_(torch.randn(num_outputs, generator=generator))
    save_causal_lm(model, path, tokenizer_from=source, head=head)
    save_config(path, RewardConfig(reading=reading, scale=scale or Scale()))
    return model, head


@torch.no_grad()
def outputs_of(model, head, answer):
    """The head at each token of an answer, its end token added, by itself."""
    ids = torch.tensor([[*PROMPT, *answer, END]])
    return head(model.model(ids).last_hidden_state[0, len(PROMPT) :])


def scored(path):
    model = open_reward_model(path, precision="float32", micro_tokens=64)
    return model.scores([PROMPT] * len(ANSWERS), ANSWERS)


def test_pairwise_models_are_read_at_the_end_and_normalised(tmp_path):
    model, head = saved(tmp_path / "m", Ending(), scale=Scale(mean=2.0, std=4.0))
    expected = [(float(outputs_of(model, head, a)[-1, 0]) - 2) / 4 for a in ANSWERS]
    assert scored(tmp_path / "m") == pytest.approx(expected, abs=1e-5)


def test_outcome_models_give_the_probability_at_the_end(tmp_path):
    model, head = saved(tmp_path / "m", Outcome())
    expected = [float(torch.sigmoid(outputs_of(model, head, a)[-1, 0])) for a in ANSWERS]
    assert scored(tmp_path / "m") == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("aggregate", "made"), [("min", torch.amin), ("product", torch.prod), ("last", None)]
)
def test_process_models_are_read_where_steps_end(tmp_path, aggregate, made):
    model, head = saved(tmp_path / "m", Steps(aggregate=aggregate))
    newline = next(i for i, t in enumerate(ANSWERS[0]) if "\n" in TOKENIZER.decode([t]))
    places = [[newline, len(ANSWERS[0])], [len(ANSWERS[1]) - 1], [len(ANSWERS[2])]]
    expected = []
    for answer, at in zip(ANSWERS, places, strict=True):
        steps = torch.sigmoid(outputs_of(model, head, answer)[at, 0])
        expected.append(float(steps[-1] if made is None else made(steps)))
    assert scored(tmp_path / "m") == pytest.approx(expected, abs=1e-5)


def test_attribute_models_give_the_weighted_sum(tmp_path):
    reading = Attributes(weights={"helpful": 1.0, "long": -0.5})
    model, head = saved(tmp_path / "m", reading, num_outputs=2)
    weights = torch.tensor([1.0, -0.5])
    expected = [float(outputs_of(model, head, a)[-1] @ weights) for a in ANSWERS]
    assert scored(tmp_path / "m") == pytest.approx(expected, abs=1e-5)


def test_an_end_token_is_not_added_twice(tmp_path):
    saved(tmp_path / "m", Ending())
    model = open_reward_model(tmp_path / "m", precision="float32", micro_tokens=64)
    one, two = model.scores([PROMPT] * 2, [ANSWERS[0], (*ANSWERS[0], END)])
    assert one == pytest.approx(two, abs=1e-5)


@pytest.mark.parametrize(
    ("combine", "expected"),
    [
        (Average(), [1.0, 2.0]),
        (Worst(), [0.0, 2.0]),
        (MeanMinusVariance(coef=0.5), [1.0 - 0.5 * (1 + 1 + 0) / 3, 2.0]),
    ],
)
def test_ensembles_combine_by_hand(combine, expected):
    scores = torch.tensor([[0.0, 2.0], [2.0, 2.0], [1.0, 2.0]])
    assert combine.combined(scores).tolist() == pytest.approx(expected)


def test_an_ensemble_scores_as_its_members_do_together(tmp_path):
    for seed in (0, 1):
        saved(tmp_path / "e" / f"member-{seed}", Ending(), seed=seed, scale=Scale(std=2.0))
    names = ("member-0", "member-1")
    save_config(tmp_path / "e", EnsembleConfig(members=names, combine=Worst()))
    each = [scored(tmp_path / "e" / name) for name in names]
    assert each[0] != pytest.approx(each[1], abs=1e-2)
    assert scored(tmp_path / "e") == pytest.approx([min(pair) for pair in zip(*each, strict=True)])
    ensemble = open_reward_model(tmp_path / "e", precision="float32", micro_tokens=64)
    ensemble.scores([PROMPT], [ANSWERS[0]])
    assert ensemble.scored_tokens == 2 * (len(PROMPT) + len(ANSWERS[0]) + 1)


def test_a_model_without_its_config_or_with_a_damaged_one_is_refused(tmp_path):
    saved(tmp_path / "m", Ending())
    (tmp_path / "m" / "reward.json").write_text('{"reading": "endings"}')
    with pytest.raises(ModelError, match=r"reward\.json: damaged.*ending"):
        scored(tmp_path / "m")
    (tmp_path / "m" / "reward.json").unlink()
    with pytest.raises(ModelError, match=r"no reward\.json there"):
        scored(tmp_path / "m")


def test_a_policy_with_another_vocabulary_is_refused(tmp_path):
    saved(tmp_path / "m", Ending())
    tiny_tokenizer(vocab_size=320).save_pretrained(tmp_path / "policy")
    with pytest.raises(ModelError, match="tokenizers differ in 64 tokens"):
        open_reward_model(
            tmp_path / "m", precision="float32", micro_tokens=64, policy=tmp_path / "policy"
        )
    same = tmp_path / "tokenizer"
    open_reward_model(tmp_path / "m", precision="float32", micro_tokens=64, policy=same)


def test_readings_are_written_and_read_again(tmp_path):
    for reading in (Steps(separator="\n\n", aggregate="last"), Attributes(weights={"a": 0.5})):
        saved(tmp_path / "m", reading, num_outputs=1)
        model = open_reward_model(tmp_path / "m", precision="float32", micro_tokens=64)
        assert dataclasses.asdict(model.config.reading) == dataclasses.asdict(reading)
