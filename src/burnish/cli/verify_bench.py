"""`burnish verify-bench`: how often a verifier is wrong, on cases whose verdict is known."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from burnish.cli.terminal import complain, remark, say
from burnish.errors import ConfigError, RunError

if TYPE_CHECKING:  # importing it takes longer than `burnish --help` may
    from burnish.evals.stats import Interval
    from burnish.evals.verify_bench import KindScore, VerifierScore

ALL = "all"


def verify_bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A verifier, or all.")] = ALL,
    num: Annotated[int, typer.Option(help="Cases of each kind.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the cases.")] = 0,
    max_false_accepts: Annotated[
        float, typer.Option(help="Of any kind of case; above this share the command fails.")
    ] = 0.0,
    max_false_rejects: Annotated[float, typer.Option(help="The same for right answers.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="File for the same JSON.")] = None,
) -> None:
    """Try a verifier on generated attacks and right answers; fail where it errs too often."""
    from burnish.config import suggest
    from burnish.evals.cases_table import CASES
    from burnish.evals.verify_bench import bench_verifier

    if name != ALL and name not in CASES:
        raise ConfigError(f"no cases for a verifier {name}; {suggest(name, [ALL, *CASES])}")
    if num < 1:
        raise ConfigError("--num must be at least 1")
    for option, limit in (("accepts", max_false_accepts), ("rejects", max_false_rejects)):
        if not 0 <= limit <= 1:
            raise ConfigError(f"--max-false-{option} must be a share from 0 to 1")
    scores = []
    for each in sorted(CASES) if name == ALL else [name]:
        remark(f"{each} ...")
        scores.append(bench_verifier(each, *CASES[each], num=num, seed=seed))
    found = json.dumps([score.to_json() for score in scores], indent=2, ensure_ascii=False)
    if out is not None:
        try:
            out.write_text(found + "\n", encoding="utf-8")
        except OSError as error:
            raise RunError(f"{out}: cannot be written ({error.strerror})") from error
    if as_json:
        say(found)
    else:
        for line in _tables(scores):
            say(line)
    over = [line for s in scores for line in s.over(max_false_accepts, max_false_rejects)]
    for line in over:
        complain(line)
    if over:
        raise typer.Exit(1)


def _tables(scores: list["VerifierScore"]) -> Iterator[str]:
    from burnish.cli.table import table

    interval = "95 % (Wilson)"
    head = ["n", "false accepts", interval, "false rejects", interval, "unscored"]
    for score in scores:
        yield from table([[score.name, *head], *(_row(k) for k in score.kinds)])
        for kind in score.kinds:
            for what, example in (("accepted", kind.accepted), ("rejected", kind.rejected)):
                if example:
                    yield f"  {kind.kind}, {what} by mistake: {example}"
        yield ""
    rows = [[*_row(s.total, s.name), f"{s.verdicts_per_s:.0f}"] for s in scores]
    yield from table([["verifier", *head, "verdicts/s"], *rows])


def _row(kind: "KindScore", name: str = "") -> list[str]:
    return [
        name or kind.kind,
        str(kind.num),
        *_rate(kind.false_accepts, kind.false_accept_rate),
        *_rate(kind.false_rejects, kind.false_reject_rate),
        f"{kind.unscored / kind.num:.1%}" if kind.unscored else "0",
    ]


def _rate(errors: int, rate: "Interval") -> list[str]:
    if rate.n == 0:
        return ["", ""]
    return [f"{errors} of {rate.n}", f"{rate.low:.1%} to {rate.high:.1%}"]
