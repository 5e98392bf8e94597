"""Adapters: the reference is the model with them off, and merging keeps what they do."""

import copy
from pathlib import Path

import pytest
import torch

from burnish.engine.text_model import TextModel
from burnish.errors import ModelError
from burnish.models.load import open_causal_lm
from burnish.models.lora import LoRA
from burnish.models.policy import Forest, Tree, score_trees
from tests.tiny import tiny_llama, tiny_tokenizer

TREES = [Tree.prompt((5, 6, 7), [(9, 10, 11, 12), (20, 21)]), Tree.prompt((8,), [(30, 31, 32)])]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    tokenizer = tiny_tokenizer()
    tiny_llama(tokenizer).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    return tmp_path / "m"


@torch.no_grad()
def scores(model: torch.nn.Module) -> torch.Tensor:
    return score_trees(model, Forest.of(TREES, torch.device("cpu")))[0]


def adapted(directory: Path) -> TextModel:
    """With adapters that do something."""
    text = TextModel.open(directory, "float32", lora=LoRA(rank=4), seed=3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in text.model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return text


def test_only_adapters_learn_and_fresh_ones_change_nothing(directory: Path) -> None:
    text = TextModel.open(directory, "float32", lora=LoRA(rank=4), seed=3)
    learnt = {name for name, p in text.model.named_parameters() if p.requires_grad}
    assert learnt and all("lora_" in name for name in learnt)
    assert torch.equal(scores(text.model), scores(open_causal_lm(directory, "float32")))


def test_the_seed_decides_the_adapters_and_the_global_stream_is_left_alone(directory: Path) -> None:
    before = torch.random.get_rng_state()
    one, same, other = (
        dict(TextModel.open(directory, "float32", lora=LoRA(), seed=s).model.named_parameters())
        for s in (1, 1, 2)
    )
    name = next(n for n in one if "lora_A" in n)
    assert torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_adapter_switched_off_is_the_frozen_start(directory: Path) -> None:
    text, start = adapted(directory), scores(open_causal_lm(directory, "float32"))
    assert (scores(text.model) - start).abs().max() > 0.01
    with text.model.disable_adapter():  # type: ignore[operator]
        assert torch.equal(scores(text.model), start)


def test_a_merged_model_scores_as_the_adapters_did_and_is_a_plain_directory(
    directory: Path, tmp_path: Path
) -> None:
    text = adapted(directory)
    expected = scores(text.model)
    text.save(tmp_path / "out")
    torch.testing.assert_close(scores(text.model), expected, atol=1e-4, rtol=1e-4)
    merged = open_causal_lm(tmp_path / "out", "float32")
    torch.testing.assert_close(scores(merged), expected, atol=1e-4, rtol=1e-4)
    start = open_causal_lm(directory, "float32")
    assert [n for n, _ in merged.named_parameters()] == [n for n, _ in start.named_parameters()]
    assert not list((tmp_path / "out").glob("adapter*"))


def test_merging_a_copy_leaves_the_adapters_in_training(directory: Path, tmp_path: Path) -> None:
    from burnish.stages.rl_journal import save_snapshot

    text = adapted(directory)
    before = copy.deepcopy(dict(text.model.named_parameters()))
    save_snapshot(text, tmp_path / "step-00001")
    after = dict(text.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[n], after[n]) for n in before)
    torch.testing.assert_close(
        scores(open_causal_lm(tmp_path / "step-00001", "float32")),
        scores(text.model),
        atol=1e-4,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    ("targets", "why"),
    [
        (("lm_head",), "lm_head is the head"),
        (("q_proj", "qproj"), "no linear layer is named qproj; did you mean `q_proj`"),
        (("embed_tokens",), "no linear layer is named embed_tokens"),
        (("norm",), "no linear layer is named norm"),
    ],
)
def test_targets_that_would_not_be_trained_are_refused(
    directory: Path, targets: tuple[str, ...], why: str
) -> None:
    with pytest.raises(ModelError, match=why):
        TextModel.open(directory, "float32", lora=LoRA(targets=targets))
