"""What happened, in sentences made from the numbers, those that did not improve said as plainly."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from burnish.stages.path_records import seeded
from burnish.stages.report_files import RunFiles
from burnish.stages.report_markup import EMPTY, Finding, join, tag
from burnish.stages.report_models import CUT, control_html, direction, gain_html, mean_html
from burnish.stages.report_numbers import COUNT, LARGE, PERCENT, SECONDS, Numbers
from burnish.stages.report_reward import BASELINES, RewardQuality, accuracy_html, baseline_html
from burnish.stages.report_scores import Cell, Scores, Suite, finite

CUT_WARNING = 0.1
"""Share of completions cut at the length limit from which the summary warns."""

CONTROLS = {
    "up": "beats its matched control",
    "down": "loses to its matched control",
    "flat": "is not shown to differ from its matched control",
}

VERDICTS = {
    "up": "is better than {} on",
    "down": "is worse than {} on",
    "flat": "did not improve over {} on",
}


def summary(
    run: RunFiles,
    scores: Scores | None,
    rewards: Sequence[RewardQuality],
    findings: Sequence[Finding],
    numbers: Numbers,
) -> Markup:
    """The box at the top of the page."""
    items = [_progress(run, numbers)]
    if scores is not None:
        items += list(_models(scores, numbers))
        items += list(_cut(scores, numbers))
    items += [_reward(quality, numbers) for quality in rewards]
    items += [_item(finding.css, finding.text) for finding in findings]
    suites = scores.suites if scores is not None else ()
    claims = sum(
        (c.gain is not None) + (c.over_control is not None)
        for suite in suites
        for c in suite.cells.values()
    )
    return Markup('<section class="summary"><h2>What happened</h2><ul>{}</ul>{}</section>').format(
        join(items), _caveat(claims, numbers)
    )


def _item(css: str, text: Markup) -> Markup:
    return Markup('<li class="{}">{}</li>\n').format(css, text)


def _progress(run: RunFiles, numbers: Numbers) -> Markup:
    done = [s for s in run.stages if s.status == "finished"]
    missing = [s for s in run.stages if s.status != "finished"]
    parts = [
        Markup("{} of {} stages finished in {}").format(
            numbers.show("stages/finished", len(done), COUNT, "stages", "stages with a stage.json"),
            numbers.show("stages/all", len(run.stages), COUNT, "recipe.yaml", "stages"),
            total_seconds(run, numbers),
        )
    ]
    for key, verb in (("sampled_tokens", "sampled"), ("trained_tokens", "trained on")):
        total = total_spent(run, key)
        if total:
            shown = numbers.show(f"total/{key}", total, LARGE, "stages/*/tallies.json", "sum")
            parts.append(Markup("{} tokens were {}").format(shown, verb))
    text = Markup("; ").join(parts) + "."
    if missing:
        names = ", ".join(f"{s.name} ({s.status})" for s in missing)
        text += Markup(" <b>This run is not complete.</b> Missing: {}.").format(names)
    return _item("down" if missing else "info", text)


def total_seconds(run: RunFiles, numbers: Numbers) -> Markup:
    """Wall time over all stages."""
    total = sum(s.seconds for s in run.stages if s.seconds is not None)
    return numbers.show("total/seconds", total, SECONDS, "stages/*/stage.json", "sum")


def total_spent(run: RunFiles, key: str) -> float:
    """Tokens of one kind over all stages."""
    amounts = [finite(s.spent.get(key)) for s in run.stages]
    return sum(a for a in amounts if a is not None)


def _models(scores: Scores, numbers: Numbers) -> Iterator[Markup]:
    repeated = {m for members in seeded(scores.models).values() for m in members}
    for model in scores.models:
        if model in repeated:  # one seed is no finding: all of them together are
            continue
        found = [(s, c) for s in scores.suites if (c := s.cells.get(model)) and c.gain]
        clauses, seen = [], []
        for way, words in VERDICTS.items():
            there = [(s, c) for s, c in found if c.gain and direction(c.gain) == way]
            if there:
                seen.append(way)
                claims = [_claim(s, c, numbers, full=way != "flat") for s, c in there]
                verb = words.format(there[0][1].against)
                clauses.append(Markup("<em>{}</em> {}").format(verb, Markup("; ").join(claims)))
        clauses += _controls([(s, c) for s, c in found if c.over_control], numbers)
        if clauses:
            text = Markup("; it ").join(clauses)
            yield _item(_css(seen), Markup("<b>{}</b> {}.").format(model, text))


def _css(seen: Sequence[str]) -> str:
    """One sign for all that was seen of a model."""
    if "up" in seen and "down" in seen:
        return "mixed"
    return seen[0] if seen else "flat"


def _claim(suite: Suite, cell: Cell, numbers: Numbers, *, full: bool) -> Markup:
    gain = gain_html(cell, numbers)
    if not full:
        return Markup("{} (difference {})").format(suite.label, gain)
    mean = mean_html(cell, numbers)
    return Markup("{}: {}, a paired difference of {}").format(suite.label, mean, gain)


def _controls(found: Sequence[tuple[Suite, Cell]], numbers: Numbers) -> Iterator[Markup]:
    for way, words in CONTROLS.items():
        claims = [
            Markup("{} ({})").format(suite.label, control_html(cell, numbers))
            for suite, cell in found
            if cell.over_control and direction(cell.over_control) == way
        ]
        if claims:
            yield Markup("<em>{}</em> on {}").format(words, Markup(", ").join(claims))


def _cut(scores: Scores, numbers: Numbers) -> Iterator[Markup]:
    found = [(s, c) for s in scores.suites for c in s.cells.values() if c.truncated >= CUT_WARNING]
    if found:
        shares = [
            numbers.show(f"truncated/{c.key}", c.truncated, PERCENT, c.source, CUT)
            for _, c in found
        ]
        shown = Markup(", ").join(
            Markup("{} on {} {}").format(c.model, s.label, share)
            for (s, c), share in zip(found, shares, strict=True)
        )
        text = Markup("<b>Many completions were cut at the length limit:</b> {}.").format(shown)
        yield _item("warn", text)


def _reward(quality: RewardQuality, numbers: Numbers) -> Markup:
    text = Markup("The reward model <b>{}</b> ranks {} of held-out pairs as annotated").format(
        quality.stage, accuracy_html(quality, numbers)
    )
    beaten = True
    for key, (_, gain) in quality.baselines.items():
        beaten &= gain.low > 0
        verb = "better than" if gain.low > 0 else "not shown to be better than"
        _, shown = baseline_html(quality, key, numbers)
        text += Markup("; <em>{}</em> “{}” ({})").format(verb, BASELINES[key], shown)
    return _item("up" if beaten and quality.baselines else "flat", text + ".")


def _caveat(claims: int, numbers: Numbers) -> Markup:
    many = EMPTY
    if claims > 1:
        shown = numbers.show("claims", claims, COUNT, "stages/*/artifacts", "paired differences")
        many = Markup(" They are not corrected for there being {} comparisons.").format(shown)
    return tag(
        "p",
        Markup(
            "Brackets hold 95 % intervals over problems. They do not cover how another training "
            "seed would have turned out, except where several seeds are named.{} Hover a number "
            "for where it comes from."
        ).format(many),
        "caveat",
    )
