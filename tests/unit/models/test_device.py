"""Which device is meant, and what is said where it is not there."""

import pytest
import torch

from burnish.errors import ConfigError
from burnish.models.device import chosen


@pytest.mark.parametrize(("there", "auto"), [(False, "cpu"), (True, "cuda")])
def test_auto_is_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, there: bool, auto: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    assert chosen("cpu") == "cpu"
    assert chosen("auto") == auto


def test_a_gpu_that_is_not_there_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(ConfigError, match=r"device=cuda: .*built without CUDA.*choose cpu"):
        chosen("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(ConfigError, match=r"device=cuda: .*none is found.*choose cpu"):
        chosen("cuda")
    with pytest.raises(ConfigError, match="device=gpu: choose one of auto, cpu, cuda"):
        chosen("gpu")
