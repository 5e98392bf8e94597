"""`burnish doctor`: what this machine has, what will be slow or is missing, and the fix."""

import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from burnish.cli.terminal import cache_dir, say

GIB = 1 << 30
Finding = tuple[str, str, str]
"""Verdict (ok, slow, missing), what was found, and the fix ("" for none needed)."""


def doctor() -> None:
    """Say what this machine has, and what is slow or missing."""
    findings = [*_software(), *_processor(), *_space(), *_sandbox()]
    for verdict, what, fix in findings:
        say(f"{verdict:<8}{what}" + (f"\n        fix: {fix}" if fix else ""))
    if any(verdict == "missing" for verdict, _, _ in findings):
        raise typer.Exit(1)


def _software() -> Iterator[Finding]:
    from burnish.pipeline.environment import PACKAGES, versions

    good = sys.version_info >= (3, 11)
    fix = "" if good else "use Python 3.11 or newer: make setup PYTHON=python3.11"
    yield "ok" if good else "missing", f"Python {platform.python_version()}", fix
    found = versions()
    gone = [name for name in PACKAGES if name not in found]
    yield "ok", ", ".join(f"{name} {version}" for name, version in found.items()), ""
    if gone:
        yield "missing", f"packages: {', '.join(gone)}", "make setup"


def _processor() -> Iterator[Finding]:
    from burnish.pipeline.environment import cpu_flags, cpu_name, usable_cores

    cores, flags = usable_cores(), cpu_flags()
    fast = sorted(flags & {"avx512_bf16", "amx_bf16", "avx512f", "avx2", "asimd", "bf16"})
    yield "ok", f"{cpu_name()}, {cores} cores", ""
    if flags & {"avx512_bf16", "amx_bf16", "bf16"}:
        yield "ok", f"bfloat16 in hardware ({', '.join(fast)})", ""
    else:
        known = ", ".join(fast) or "unknown"
        fix = "smaller --budget, or a machine with AVX512-BF16, AMX or a GPU"
        yield "slow", f"no bfloat16 in hardware (has: {known})", fix
    try:
        import torch
    except ImportError as error:
        yield "missing", f"torch cannot be imported ({error})", "make setup"
        return
    threads = torch.get_num_threads()
    idle = threads < cores
    fix = "unset OMP_NUM_THREADS, or set it to the number of cores" if idle else ""
    yield "slow" if idle else "ok", f"torch computes on {threads} of {cores} cores", fix
    if torch.cuda.is_available():
        yield "ok", f"GPU {torch.cuda.get_device_name(0)}: used with --device cuda", ""
    else:
        yield "ok", "no GPU that torch can use; recipes are made for the processor", ""


def _space() -> Iterator[Finding]:
    from burnish.errors import ModelError
    from burnish.models.get import KNOWN, locate
    from burnish.pipeline.environment import memory_bytes

    memory = memory_bytes() / GIB
    fix = "" if memory >= 6 else "close other programs, or sample fewer completions at a time"
    yield "ok" if memory >= 6 else "slow", f"{memory:.1f} GiB of memory", fix
    for what, path in (("here", Path.cwd()), ("in the cache", cache_dir())):
        free = shutil.disk_usage(_existing(path)).free / GIB
        fix = "" if free >= 8 else "free some space, or choose another --out or BURNISH_CACHE"
        yield "ok" if free >= 8 else "slow", f"{free:.0f} GiB of disk free {what} ({path})", fix
    for name in KNOWN:
        try:
            yield "ok", f"model {name} in {locate(name, cache_dir())}", ""
        except ModelError:
            yield "missing", f"model {name} is not in {cache_dir()}", f"burnish get {name}"


def _sandbox() -> Iterator[Finding]:
    from burnish.errors import SandboxError
    from burnish.sandbox import box

    try:
        box.available()
    except SandboxError as error:
        what, _, fix = str(error).partition("; ")
        yield "missing", what, fix
    else:
        yield "ok", "untrusted code runs in boxes (needed for code and tools only)", ""


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path
