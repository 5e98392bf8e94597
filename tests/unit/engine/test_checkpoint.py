"""Checkpoints: a damaged one is named, and a disk that refuses leaves the last good one."""

import errno
import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from burnish.engine import checkpoint
from burnish.engine.checkpoint import load_latest, save_checkpoint
from burnish.errors import CheckpointError, RunError
from burnish.models.load import save_causal_lm
from burnish.pipeline.executor import _disk_errors
from tests.tiny import tiny_llama, tiny_tokenizer

TENSORS = {"w": torch.arange(6.0).view(2, 3), "n": torch.tensor(3), "b": torch.ones(2).bfloat16()}


@contextmanager
def files_up_to(num_bytes: int) -> Iterator[None]:
    """A real refusal by the kernel: no file may grow further (EFBIG)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_loaded_is_what_was_saved(tmp_path: Path) -> None:
    assert load_latest(tmp_path) is None
    state = {"samples": [{"step": 1, "score": None, "text": "é\n"}], "tokens": 12}
    save_checkpoint(tmp_path, 7, TENSORS, state)
    found = load_latest(tmp_path)
    assert found is not None and found.step == 7 and found.state == state
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_only_the_newest_is_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / "step-00000001.tmp").mkdir()
    (tmp_path / "step-00000001.tmp" / "tensors.safetensors").write_bytes(b"half")
    assert load_latest(tmp_path) is None
    for step in (1, 2, 100):
        save_checkpoint(tmp_path, step, TENSORS, {})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000100"]
    assert load_latest(tmp_path).step == 100  # type: ignore[union-attr]


def test_where_two_are_complete_the_newer_is_taken(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 9, TENSORS, {})
    (tmp_path / "step-00000009").rename(tmp_path / "kept")
    save_checkpoint(tmp_path, 10, TENSORS, {})
    (tmp_path / "kept").rename(tmp_path / "step-00000009")  # killed before it was removed
    assert load_latest(tmp_path).step == 10  # type: ignore[union-attr]


def damaged(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_latest(folder)
    text = str(caught.value)
    assert "step-00000003" in text and "delete it" in text
    return text


def test_every_byte_of_the_tensors_is_under_the_checksum(tmp_path: Path) -> None:
    file = save_checkpoint(tmp_path, 3, TENSORS, {}) / "tensors.safetensors"
    raw = file.read_bytes()
    for place in (0, 9, len(raw) // 2, len(raw) - 1):
        file.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        assert "checksum" in damaged(tmp_path)
    file.write_bytes(raw[:-5])
    assert "checksum" in damaged(tmp_path)
    file.unlink()
    damaged(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"step": 3}', '{"step": "x", "state": {}}'])
def test_a_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    state = save_checkpoint(tmp_path, 3, TENSORS, {}) / "state.json"
    body = json.loads(state.read_text())
    state.write_text(text)
    damaged(tmp_path)
    for key in body:
        state.write_text(json.dumps({k: v for k, v in body.items() if k != key}))
        damaged(tmp_path)
    state.unlink()
    damaged(tmp_path)


def test_a_full_disk_keeps_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, 3, TENSORS, {"good": 1})

    def wrapped(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for name, refuse in (("save_file", wrapped), ("_flush", full), ("_sha256", full)):
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, name, refuse)
            with pytest.raises(CheckpointError, match="the disk is full; the last good one is"):
                save_checkpoint(tmp_path, 4, TENSORS, {})
        assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]
        assert load_latest(tmp_path).state == {"good": 1}  # type: ignore[union-attr]


def test_the_kernels_own_refusal_keeps_the_last_good_one(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, 3, TENSORS, {})
    with files_up_to(10_000), pytest.raises(CheckpointError, match=r"\(os error 27\)"):
        save_checkpoint(tmp_path, 4, {"w": torch.zeros(10_000)}, {})
    with files_up_to(10_000), pytest.raises(CheckpointError, match="File too large"):
        save_checkpoint(tmp_path, 4, TENSORS, {"text": "x" * 20_000})
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000003"]
    save_checkpoint(tmp_path, 4, TENSORS, {})
    assert load_latest(tmp_path).step == 4  # type: ignore[union-attr]


def test_saving_a_model_on_a_disk_that_refuses_ends_in_one_line(tmp_path: Path) -> None:
    model = tiny_llama(tiny_tokenizer())
    refused = pytest.raises(RunError, match="larger than is allowed")
    with files_up_to(20_000), refused as caught, _disk_errors(tmp_path):
        save_causal_lm(model, tmp_path / "m", tokenizer_from=tmp_path)
    assert str(tmp_path / "m") in str(caught.value) and "\n" not in str(caught.value)


def test_what_safetensors_refuses_for_another_reason_is_not_the_disks(tmp_path: Path) -> None:
    from burnish.models.load import os_errors

    with pytest.raises(SafetensorError, match="header"), os_errors(tmp_path):
        raise SafetensorError("invalid header")
    with pytest.raises(OSError) as caught, os_errors(tmp_path):
        raise SafetensorError("I/O error: No space left on device (os error 28)")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path)
    assert os.strerror(errno.ENOSPC) in str(caught.value)
