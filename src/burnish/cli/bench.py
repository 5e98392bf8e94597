"""`burnish bench`: how fast this machine samples and trains, beside what it could do at most."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.terminal import remark, say

if TYPE_CHECKING:  # importing it takes longer than `burnish --help` may
    from burnish.bench.measure import Findings
    from burnish.bench.spread import Spread

GIB = 1 << 30


def bench(
    model: Annotated[
        str,
        typer.Option(metavar="RUN_OR_MODEL", help="A run, a model directory, or a known name."),
    ] = "smollm2",
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Time a model on this machine, beside the limits of the machine itself."""
    from burnish.cli.models import find_model

    found = find_model(model)  # before torch is there: a wrong name is told at once

    from burnish.bench.measure import measure

    findings = measure(found.path, remark)
    if as_json:
        say(json.dumps({"model": found.name} | findings.to_json(), indent=2))
        return
    for line in [*_machine(findings), "", *_work(found.name, findings), "", *_group(findings)]:
        say(line)
    work = findings.work
    say(
        f"\npeak memory: {work.sampling_peak_bytes / GIB:.2f} GiB after sampling, "
        f"{work.training_peak_bytes / GIB:.2f} GiB after training"
    )


def _machine(findings: "Findings") -> Iterator[str]:
    from burnish.cli.table import table

    here, limits = findings.machine, findings.limits
    gpu = f"{here.gpu} (not used here)" if here.gpu else "no GPU"
    yield f"{here.cpu}, {here.cores} cores, {here.threads} threads"
    yield f"{here.memory_bytes / GIB:.1f} GiB of memory, torch {here.torch}, {gpu}"
    yield ""
    own = f"{findings.own_products_share:.0%} of the best bfloat16 rate"
    yield from table(
        [
            ["limit", "median", "range", ""],
            ["products in bfloat16", *_giga(limits.bfloat16.flops_per_s, "GFLOP/s"),
             f"best at {limits.bfloat16.sizes}"],
            ["products in float32", *_giga(limits.float32.flops_per_s, "GFLOP/s"),
             f"best at {limits.float32.sizes}"],
            ["the model's own products", *_giga(limits.own_products_flops_per_s, "GFLOP/s"), own],
            ["reading memory", *_giga(limits.read_bytes_per_s, "GB/s"), ""],
        ]
    )  # fmt: skip


def _work(name: str, findings: "Findings") -> Iterator[str]:
    from burnish.cli.table import table

    work = findings.work
    sft, prefill = work.supervised, work.prefill
    yield f"{name}: {work.parameters / 1e6:.1f} M parameters, in bfloat16"
    rows = [
        ["work", "tokens/s", "range", "share of its limit"],
        [f"SFT, {sft.documents} documents of {sft.document_tokens} tokens a step",
         *_plain(sft.tokens_per_s), f"{findings.supervised_share:.0%} of products "
         f"({sft.flops_per_token / 1e9:.2f} GFLOP/token)"],
        [f"prefill, {prefill.prompts} prompts of {prefill.prompt_tokens} tokens",
         *_plain(prefill.tokens_per_s), f"{findings.prefill_share:.0%} of products "
         f"({prefill.flops_per_token / 1e9:.2f} GFLOP/token)"],
    ]  # fmt: skip
    for done, limits in zip(work.decoding, findings.decoding_limits(), strict=True):
        share = limits.share(done.tokens_per_s.median)
        rows.append(
            [f"decoding, {done.rows} row{'s' * (done.rows > 1)}", *_plain(done.tokens_per_s),
             f"{share:.0%} of {limits.nearer} (products {limits.compute_tokens_per_s:.0f}/s, "
             f"memory {limits.memory_tokens_per_s:.0f}/s)"]
        )  # fmt: skip
    yield from table(rows)
    yield (
        "products: operations at the best bfloat16 rate; memory: weights, keys and values read "
        "once a step"
    )
    yield (
        f"SFT's optimiser: {_seconds(sft.optimiser_s)} of a step of "
        f"{sft.gradients_s.median + sft.optimiser_s.median:.2f} s"
    )


def _group(findings: "Findings") -> Iterator[str]:
    from burnish.cli.table import table

    step = findings.work.group_step
    total = step.total_s.median
    shares = {
        "scoring": f"{findings.scoring_share:.0%} of products",
        "update": f"{findings.update_share:.0%} of products",
    }
    yield (
        f"GRPO, {step.prompts} prompts x {step.completions} completions x {step.new_tokens} tokens "
        f"a step, importance weights on"
    )
    rows = [["part", "seconds", "range", "of the step", ""]]
    parts = {"sampling": step.sampling_s, "scoring": step.scoring_s, "update": step.update_s,
             "optimiser": step.optimiser_s, "whole step": step.total_s}  # fmt: skip
    for name, spread in parts.items():
        share = f"{spread.median / total:.0%}"
        rows.append(
            [name, f"{spread.median:.2f}", f"{spread.low:.2f} to {spread.high:.2f}", share,
             shares.get(name, "")]
        )  # fmt: skip
    yield from table(rows)


def _giga(spread: "Spread", unit: str) -> list[str]:
    median, low, high = (value / 1e9 for value in (spread.median, spread.low, spread.high))
    return [f"{median:.4g} {unit}", f"{low:.4g} to {high:.4g}"]


def _plain(spread: "Spread") -> list[str]:
    return [f"{spread.median:.4g}", f"{spread.low:.4g} to {spread.high:.4g}"]


def _seconds(spread: "Spread") -> str:
    return f"{spread.median:.2f} s ({spread.low:.2f} to {spread.high:.2f})"
