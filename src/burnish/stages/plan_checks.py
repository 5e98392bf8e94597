"""What cannot work, found before anything runs: a line each, with the stage, the key and a fix."""

import math
from collections.abc import Iterator, Mapping

from burnish.engine.memory import GPU_BYTES
from burnish.models.shape import ModelShape
from burnish.pipeline.artifact import Ref
from burnish.pipeline.forecast import Known
from burnish.pipeline.recipe import Recipe
from burnish.pipeline.stage import Stage
from burnish.pipeline.wiring import inputs_of
from burnish.stages.plan import Forecast
from burnish.stages.plan_texts import Drawing
from burnish.stages.rl import RL

GIB = 1 << 30
GPUS: Mapping[str, int] = {
    "a100-40gb": 40_000_000_000,
    "a100": GPU_BYTES,
    "h100": GPU_BYTES,
    "h200": 141_000_000_000,
    "l4": 24_000_000_000,
    "l40s": 48_000_000_000,
    "rtx4090": 24_000_000_000,
    "rtx3090": 24_000_000_000,
}
"""Bytes of memory of a GPU, as its maker names it."""


def complaints(
    recipe: Recipe, forecast: Forecast, *, memory_bytes: float, where: str, disk_free: float
) -> list[str]:
    """Everything that is wrong; `where` names whose memory it is."""
    found: list[str] = []
    for name, stage in recipe.stages.items():
        found += [f"{name}: {line}" for line in _uneven(stage)]
        found += [
            f"{name}: {line}" for line in _over_context(stage, forecast.texts, forecast.shapes)
        ]
        peak = forecast.stages[name].peak_bytes
        if peak is not None and peak > memory_bytes:
            found.append(f"{name}: {_too_large(stage, peak, memory_bytes, where)}")
    if forecast.disk_bytes > disk_free:
        found.append(
            f"the run writes about {forecast.disk_bytes / GIB:.1f} GiB and {disk_free / GIB:.1f} "
            "GiB are free: free some space, or choose another --out"
        )
    return found


def _uneven(stage: Stage) -> Iterator[str]:
    if not isinstance(stage, RL):
        return
    rows = stage.problems_per_step * stage.group_size
    if rows % stage.minibatches:
        fits = [str(n) for n in range(1, min(rows, 64) + 1) if rows % n == 0]
        yield (
            f"`minibatches`: {stage.minibatches} do not divide the {rows} completions of a step "
            f"(problems_per_step * group_size); use one of {', '.join(fits)}"
        )


def _over_context(stage: Stage, known: Known, shapes: Mapping[Ref, ModelShape]) -> Iterator[str]:
    if not isinstance(stage, Drawing):
        return
    refs = [item.ref for item in inputs_of(stage)]
    contexts = [shapes[ref].context for ref in refs if ref in shapes]
    longest = max(
        (
            known[i.ref].longest
            for i in inputs_of(stage)
            if "problems" in i.kinds and i.ref in known
        ),
        default=0,
    )
    total = longest + stage.draws.max_new_tokens
    if contexts and total > min(contexts):
        room = max(min(contexts) - longest, 0)
        prompt = f"a prompt of {longest} and " if longest else ""
        yield (
            f"`draws.max_new_tokens`: {prompt}{stage.draws.max_new_tokens} new tokens exceed the "
            f"model's context of {min(contexts)}; use at most {room}"
        )


def _too_large(stage: Stage, peak: float, memory_bytes: float, where: str) -> str:
    key = next((k for k in ("micro_tokens", "max_rows") if k in stage.__dataclass_fields__), "")
    fix = "" if not key else "; lower it, or use a smaller model or a larger machine"
    return (
        f"`{key}`: " if key else ""
    ) + f"needs about {peak / GIB:.1f} GiB, and {where} has {memory_bytes / GIB:.1f} GiB{fix}"


def num_gpus(peak: float, each: float) -> int:
    """At least so many hold it, where weights, optimiser and work are divided evenly."""
    return math.ceil(peak / each)
