"""Paths from one start: gold, distance and cost with several seeds, and what each really took."""

from collections.abc import Sequence

from markupsafe import Markup

from burnish.stages.path_records import KINDS, TrainingPath, parameters, read_paths
from burnish.stages.report_figures import axis, labelled_dot, whiskers
from burnish.stages.report_files import RunFiles
from burnish.stages.report_markup import (
    Figure,
    Finding,
    Section,
    anchor,
    figures,
    join,
    source_note,
    table,
    tag,
)
from burnish.stages.report_models import direction
from burnish.stages.report_numbers import COUNT, GAIN, LARGE, NATS, SCORE, SIGNIFICANT, Numbers
from burnish.stages.report_scores import Scores

MECHANISMS = {
    "sft": "likelihood of the completions that were kept",
    "prefer": "pairs told apart by log ratios to the start",
    "rl": "gradient of the expected reward of its own completions",
}
"""By the type of the stage that made the model."""
VERBS = {"up": "is better than", "down": "is worse than", "flat": "is not shown to differ from"}


def paths_section(run: RunFiles, scores: Scores | None, numbers: Numbers) -> Section | None:
    """Every path that was trained with several seeds."""
    paths = read_paths(run, scores)
    if not paths:
        return None
    intro = tag(
        "p",
        "Each path starts from the same model, and is charged for everything between that model "
        "and its own: labels, reward model, scoring, training. A forward pass of one token counts "
        "as one; to sample or to score a token takes one, to train on it three: 2 and 6 FLOPs a "
        "parameter. Reading a prompt before sampling, and attention over the context, are left "
        "out. Intervals are 95 %, of Student's t for seeds crossed with problems: they cover "
        "another seed of the path's own stages and other problems. They do not cover other labels "
        "or another reward model: those are shared.",
    )
    groups: dict[str, list[TrainingPath]] = {}
    for path in paths:
        groups.setdefault(path.suite.label, []).append(path)
    body = join(_suite(run, label, found, numbers) for label, found in groups.items())
    return Section(
        id="paths",
        title="Paths from one start",
        body=intro + body,
        findings=tuple(
            finding for found in groups.values() for finding in _findings(found, numbers)
        ),
    )


def _findings(paths: Sequence[TrainingPath], numbers: Numbers) -> list[Finding]:
    costs = [path.mean("forwards") for path in paths]
    if min(costs) <= 0:
        return []
    spread = numbers.show(
        f"{_at(paths)}/ratio",
        max(costs) / min(costs),
        SIGNIFICANT,
        paths[0].source,
        "forward passes of the dearest path over those of the cheapest",
    )
    text = Markup(
        "Of {} paths from <b>{}</b> the dearest took {} times the compute of the cheapest."
    )
    count = numbers.show(f"{_at(paths)}/count", len(paths), COUNT, paths[0].source, "paths")
    return [
        Finding(text=text.format(count, paths[0].suite.start, spread)),
        *(_finding(path, numbers) for path in paths),
    ]


def _at(paths: Sequence[TrainingPath]) -> str:
    return f"paths/{paths[0].suite.stage}/{paths[0].suite.task}"


def _finding(path: TrainingPath, numbers: Numbers) -> Finding:
    way = direction(path.gain)
    text = Markup("<b>{}</b> <em>{}</em> {} in gold: a difference of {}").format(
        path.name, VERBS[way], path.suite.start, gain_html(path, numbers)
    )
    if path.kl is not None:
        text += Markup(", {} nats from it").format(_kl(path, numbers))
    text += Markup(", for {} forward passes ({} seeds).").format(
        _mean(path, "forwards", numbers),
        numbers.show(f"{path.key}/seeds", len(path.taken), COUNT, path.source, "seeds"),
    )
    return Finding(text=text, css=way)


def gain_html(path: TrainingPath, numbers: Numbers) -> Markup:
    """Gold less the start's."""
    how = "mean over seeds and problems of gold less the start's on the same problem"
    return numbers.interval(f"{path.key}/gain", path.gain, GAIN, path.source, how)


def _kl(path: TrainingPath, numbers: Numbers) -> object:
    if path.kl is None:
        return "–"
    how = "mean over seeds and problems of the summed log ratio to the reference"
    return numbers.interval(f"{path.key}/kl", path.kl, NATS, path.source, how)


def _mean(path: TrainingPath, kind: str, numbers: Numbers) -> Markup:
    source = path.taken[0].last.path("tallies.json")
    how = f"{kind.replace('_', ' ')} of all stages from the start on, mean over seeds"
    return numbers.show(f"{path.key}/{kind}", path.mean(kind), LARGE, source, how)


def _suite(run: RunFiles, label: str, paths: Sequence[TrainingPath], numbers: Numbers) -> Markup:
    shown = figures(_figures(label, paths), source_note(paths[0].source), "small")
    return tag("h3", label) + shown + _scores(run, paths, numbers) + _records(paths, numbers)


def _figures(label: str, paths: Sequence[TrainingPath]) -> list[Figure]:
    found = [
        Figure(
            id=anchor("fig", "paths", paths[0].suite.stage, label),
            title=f"Gold less that of {paths[0].suite.start}",
            traces=[
                whiskers(
                    [p.name for p in paths],
                    [p.gain for p in paths],
                    scale=1.0,
                    colours=[f"@{i % 8}" for i in range(len(paths))],
                )
            ],
            layout={"xaxis": axis("difference in gold"), "yaxis": {"autorange": "reversed"}},
            height=300,
        )
    ]
    placed = [(i, p, p.kl) for i, p in enumerate(paths) if p.kl is not None]
    if placed:
        middle = sum(kl.estimate for _, _, kl in placed) / len(placed)
        traces = [
            labelled_dot((kl.estimate, p.gain), p.name, f"@{i % 8}", on_left=kl.estimate > middle)
            for i, p, kl in placed
        ]
        layout = {
            "xaxis": axis("KL to the start (nats)", rangemode="tozero"),
            "yaxis": axis("difference in gold"),
        }
        found.append(
            Figure(
                id=anchor("fig", "paths-kl", paths[0].suite.stage, label),
                title="The same over distance",
                traces=traces,
                layout=layout,
                height=300,
            )
        )
    return found


def _scores(run: RunFiles, paths: Sequence[TrainingPath], numbers: Numbers) -> Markup:
    size = parameters(run, paths[0].suite.cells[paths[0].suite.start].made_by)

    def row(path: TrainingPath) -> list[object]:
        source = path.source
        how = "mean over seeds and problems"
        proxy: object = "–"
        if path.proxy_gain is not None:
            at = f"{path.key}/proxy_gain"
            proxy = numbers.interval(at, path.proxy_gain, GAIN, source, f"{how}, less the start's")
        flops: object = "–"
        if size is not None:
            flops = numbers.show(
                f"{path.key}/flops",
                2 * size * path.mean("forwards"),
                SIGNIFICANT,
                source,
                f"2 FLOPs for each of {size} parameters and forward pass",
            )
        return [
            path.name,
            numbers.interval(f"{path.key}/gold", path.gold, SCORE, source, how),
            gain_html(path, numbers),
            proxy,
            _kl(path, numbers),
            *(_mean(path, kind, numbers) for kind in (*KINDS, "forwards")),
            flops,
        ]

    head = ["path", "gold", "gold, less the start's", "proxy, less the start's", "KL (nats)"]
    head += ["sampled (tokens)", "scored (tokens)", "trained (tokens)", "forward passes", "FLOPs"]
    note = source_note(paths[0].source, "stages/*/tallies.json")
    return table(head, (row(p) for p in paths), note=note, css="stacked")


def _records(paths: Sequence[TrainingPath], numbers: Numbers) -> Markup:
    """What each path took, counted from its own records."""

    def row(path: TrainingPath) -> list[object]:
        first, at = path.taken[0], f"{path.key}/took"
        tallies, config = first.last.path("tallies.json"), first.last.path("config.json")
        drawn = max(t.sampled_in_training for t in path.taken)
        return [
            path.name,
            MECHANISMS.get(first.last.type, first.last.type),
            "yes" if first.reads_reward_model else "no",
            Markup("{}: {} tokens drawn while training").format(
                "yes" if drawn else "no",
                numbers.show(f"{at}/drawn", drawn, LARGE, tallies, "sampled by the last stage"),
            ),
            numbers.show(
                f"{at}/models",
                first.models_held,
                COUNT,
                "stages/*/tallies.json",
                "most models that a stage of the path had open at one time",
            ),
            numbers.show(
                f"{at}/stages", len(first.stages), COUNT, "stages", "stages from the start on"
            ),
            numbers.show(
                f"{at}/settings", first.settings, COUNT, config, "values of its algorithm or loss"
            ),
            numbers.show(
                f"{at}/updates",
                sum(t.updates for t in path.taken) / len(path.taken),
                SIGNIFICANT,
                first.last.path("metrics.jsonl"),
                "steps of the last stage, mean over seeds",
            ),
        ]

    intro = tag(
        "p",
        "What each path needs, counted from what its stages tallied and read: whether one of them "
        "is a reward model, tokens that the training itself drew, models opened and not let go of.",
    )
    head = ["path", "mechanism", "a reward model", "on-policy", "models in memory", "stages"]
    head += ["settings", "steps"]
    return tag("h3", "What each path took") + intro + table(head, (row(p) for p in paths))
