"""Two or more programs at the same work, one after the other, and the ratio of their times.

Each side runs in a process of its own, in turn, for several rounds: a machine that slows down or
speeds up meets all of them. Only steps after the warm-up count. The ratio is taken within each
round, and its median and range over the rounds are printed.
"""

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from burnish.cli.table import table
from burnish.cli.terminal import cache_dir
from burnish.models.get import locate
from burnish.pipeline.environment import peak_memory_bytes


@dataclass(frozen=True, kw_only=True)
class Timed:
    """What a side did: seconds of each step after the warm-up, and tokens it was useful to."""

    seconds: list[float]
    tokens: float
    """Of one step, in the mean: those of the data, without padding; or those sampled. For an
    environment, its steps."""
    peak_bytes: int = 0
    goal_s: float | None = None
    """Seconds until it had learnt what it was to learn; infinite: it never did."""


Side = Callable[[argparse.Namespace], Timed]


class StepClock:
    """When steps end, for whichever loop calls it."""

    def __init__(self) -> None:
        self._ends = [time.perf_counter()]

    def tick(self) -> None:
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._ends.append(time.perf_counter())

    def seconds(self, warm_up: int) -> list[float]:
        """Of each step after the first `warm_up`."""
        spans = [b - a for a, b in zip(self._ends, self._ends[1:], strict=False)]
        return spans[warm_up:]


def turns(description: str) -> argparse.ArgumentParser:
    """Arguments of every comparison."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the first round; then the next")
    parser.add_argument("--only", action="append", help="a side to run (repeatable); all")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser


def arguments(description: str) -> argparse.ArgumentParser:
    """Those of every comparison of language models."""
    parser = turns(description)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=3, help="steps that count")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    return parser


def model_dir(given: argparse.Namespace) -> Path:
    """Where the model lies."""
    return locate(given.model, cache_dir())


def duel(
    module: str, sides: Mapping[str, Side], given: argparse.Namespace, unit: str = "tokens"
) -> list[dict[str, Timed]]:
    """Run every side in turn, or, in a side's own process, that one. The first side is ours.

    Returns what each round found.
    """
    if given.side:
        found = sides[given.side](given)
        timed = asdict(found) | {"peak_bytes": _peak()}
        given.result.write_text(json.dumps(timed), encoding="utf-8")
        return []
    names = [name for name in sides if not given.only or name in given.only]
    rounds: list[dict[str, Timed]] = []
    for number in range(given.rounds):
        own = argparse.Namespace(**vars(given) | {"seed": given.seed + number})
        rounds.append({name: _alone(module, name, own) for name in names})
        print(f"round {number + 1} of {given.rounds}: {_line(rounds[-1])}", flush=True)
    print(f"\n{_machine(vars(given).get('device', 'cpu'))}")
    print("\n".join(table(_rows(names, rounds, unit))))
    if any(timed.goal_s is not None for timed in rounds[0].values()):
        print("\n" + "\n".join(table(_goals(names, rounds))))
    return rounds


def _alone(module: str, side: str, given: argparse.Namespace) -> Timed:
    """A side in a process of its own, with the arguments of this one."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        asked = [f"--{k.replace('_', '-')}={v}" for k, v in vars(given).items() if _passed_on(k, v)]
        command = [sys.executable, "-m", module, *asked, "--side", side]
        done = subprocess.run(
            [*command, "--result", str(result)],
            env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise SystemExit(f"{side} failed:\n{done.stderr[-4000:]}")
        return Timed(**json.loads(result.read_text(encoding="utf-8")))


def _passed_on(name: str, value: object) -> bool:
    return value is not None and name not in ("side", "result", "only")


def _rows(
    names: Sequence[str], rounds: Sequence[Mapping[str, Timed]], unit: str
) -> list[list[str]]:
    out = [["side", "s/step", f"{unit}/s", "peak memory", "times ours", "range", "memory ours/its"]]
    ours = names[0]
    for name in names:
        steps = [statistics.median(r[name].seconds) for r in rounds]
        speed = [r[name].tokens / statistics.median(r[name].seconds) for r in rounds]
        # Per token, so that sides that sampled more or fewer of them compare.
        ratios = [_per_token(r[name]) / _per_token(r[ours]) for r in rounds]
        memory = statistics.median(r[name].peak_bytes for r in rounds)
        mine = statistics.median(r[ours].peak_bytes for r in rounds)
        out.append(
            [
                name,
                f"{statistics.median(steps):.3g}",
                f"{statistics.median(speed):.0f}",
                f"{memory / 2**30:.2f} GiB",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
                f"{mine / memory:.2f}",
            ]
        )
    return out


def _goals(names: Sequence[str], rounds: Sequence[Mapping[str, Timed]]) -> list[list[str]]:
    out = [["side", "s to goal", "range", "times ours", "range"]]
    ours = names[0]
    for name in names:
        spent = [r[name].goal_s or math.inf for r in rounds]
        ratios = [own / (r[ours].goal_s or math.inf) for own, r in zip(spent, rounds, strict=True)]
        out.append(
            [
                name,
                f"{statistics.median(spent):.2f}",
                f"{min(spent):.2f} to {max(spent):.2f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            ]
        )
    return out


def _per_token(timed: Timed) -> float:
    return statistics.median(timed.seconds) / timed.tokens


def _line(found: Mapping[str, Timed]) -> str:
    return ", ".join(f"{n} {statistics.median(t.seconds):.3g} s" for n, t in found.items())


def _peak() -> int:
    """Bytes: of the process, or of its tensors on a GPU."""
    on_gpu = torch.cuda.is_initialized()
    return torch.cuda.max_memory_allocated() if on_gpu else peak_memory_bytes()


def _machine(device: str) -> str:
    if device == "cuda":
        gpu = torch.cuda.get_device_name(0)
        return f"{gpu}, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((x.partition(":")[2].strip() for x in lines if "model name" in x), name)
    return f"{name}, {os.cpu_count()} cores, torch {torch.__version__}, {time.strftime('%Y-%m-%d')}"
