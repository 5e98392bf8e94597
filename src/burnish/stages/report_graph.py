"""The pipeline as a picture: stages in layers, edges for what each reads, inline SVG, no script.

Layers follow the longest path; edges that span several layers go through empty slots, and a few
sweeps of the barycentre rule untangle them (Sugiyama et al. 1981).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from markupsafe import Markup

from burnish.stages.report_files import RunFiles, StageFiles
from burnish.stages.report_markup import anchor, join
from burnish.stages.report_numbers import SECONDS, Numbers

WIDTH, HEIGHT = 180, 46
GAP_X, GAP_Y, SLOT = 22, 44, 16
LEAST_WIDTH = 640
"""Pixels below which the picture scrolls rather than shrinks."""

_SWEEPS = 8
_NAME_CHARS, _TYPE_CHARS = 21, 18


def graph(run: RunFiles, numbers: Numbers) -> Markup:
    """The run's stages with their times."""
    stages = {s.name: s for s in run.stages}
    layers, chains = _layers({n: [r for r in s.reads if r in stages] for n, s in stages.items()})
    _untangle(layers, chains)
    place, width = _place(layers, stages)
    height = len(layers) * (HEIGHT + GAP_Y) - GAP_Y + 2
    longest = max((s.seconds or 0.0 for s in run.stages), default=0.0)
    edges = join(_edge([place[n] for n in chain], stages, chain) for chain in chains)
    nodes = join(_node(stages[n], place[n], longest, numbers) for n in place if n in stages)
    return Markup(
        '<div class="graph" tabindex="0" role="region" aria-label="pipeline"><svg '
        'viewBox="0 0 {width:.0f} {height}" style="width:{width:.0f}px;min-width:{least:.0f}px" '
        'role="img" aria-label="the stages of the pipeline">{edges}{nodes}</svg></div>'
    ).format(width=width, height=height, least=min(width, LEAST_WIDTH), edges=edges, nodes=nodes)


def _layers(reads: Mapping[str, Sequence[str]]) -> tuple[list[list[str]], list[list[str]]]:
    """Names by layer, empty slots included, and each edge as the chain of slots it goes through."""
    depth = dict.fromkeys(reads, 0)
    for _ in reads:  # longest path; stops changing after as many rounds as there are layers
        for name, below in reads.items():
            depth[name] = min(len(reads), max([depth[r] + 1 for r in below], default=0))
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=0) + 1)]
    for name in reads:
        layers[depth[name]].append(name)
    chains = []
    for name, below in reads.items():
        for source in below:
            chain = [source]
            for level in range(depth[source] + 1, depth[name]):
                chain.append(f"{source}>{level}")  # edges out of one stage share their slots
                if chain[-1] not in layers[level]:
                    layers[level].append(chain[-1])
            chains.append([*chain, name])
    return layers, chains


def _untangle(layers: list[list[str]], chains: Sequence[Sequence[str]]) -> None:
    """Reorder each layer, in place, by the mean position of its neighbours, down and up."""
    links = {(a, b) for chain in chains for a, b in pairwise(chain)}
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for a, b in sorted(links):
        above.setdefault(b, []).append(a)
        below.setdefault(a, []).append(b)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        order = range(1, len(layers)) if down else range(len(layers) - 2, -1, -1)
        for level in order:
            fixed = layers[level - 1 if down else level + 1]
            at = {name: i / max(1, len(fixed) - 1) for i, name in enumerate(fixed)}
            near = above if down else below
            own = {name: i / max(1, len(layers[level]) - 1) for i, name in enumerate(layers[level])}
            layers[level].sort(key=lambda n: _mean([at[m] for m in near.get(n, [])], own[n]))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _place(
    layers: Sequence[Sequence[str]], stages: Mapping[str, StageFiles]
) -> tuple[dict[str, tuple[float, float]], float]:
    """Name -> centre of its top edge; and the picture's width."""

    def size(name: str) -> int:
        return WIDTH if name in stages else SLOT

    widths = [sum(map(size, names)) + GAP_X * (len(names) - 1) for names in layers]
    width = max(widths, default=WIDTH) + 2
    place = {}
    for level, names in enumerate(layers):
        x = (width - widths[level]) / 2
        for name in names:
            place[name] = (x + size(name) / 2, level * (HEIGHT + GAP_Y) + 1.0)
            x += size(name) + GAP_X
    return place, width


def _edge(
    points: Sequence[tuple[float, float]], stages: Mapping[str, StageFiles], chain: Sequence[str]
) -> Markup:
    """A smooth line from the bottom of the first stage to the top of the last."""
    path = f"M{points[0][0]:.0f} {points[0][1] + HEIGHT:.0f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        start, end = y0 + HEIGHT, y1
        middle = (start + end) / 2
        path += f" C{x0:.0f} {middle:.0f} {x1:.0f} {middle:.0f} {x1:.0f} {end:.0f}"
        if (x1, y1) != points[-1]:
            path += f" V{y1 + HEIGHT:.0f}"
    return Markup('<path class="edge" data-from="{}" data-to="{}" d="{}"/>').format(
        chain[0], chain[-1], path
    )


def _node(stage: StageFiles, at: tuple[float, float], longest: float, numbers: Numbers) -> Markup:
    took, attributes = stage.status, Markup("")
    if stage.seconds is not None:
        took = SECONDS.text(stage.seconds)
        attributes = numbers.attributes(
            f"seconds/{stage.name}",
            stage.seconds,
            SECONDS,
            stage.path("stage.json"),
            "wall time",
        )
    share = (stage.seconds or 0.0) / longest if longest else 0.0
    return Markup(
        '<a href="#{anchor}"><g class="node {css}" data-name="{full}" '
        'transform="translate({x:.0f} {y:.0f})"><title>{full} ({type}), {took}</title>'
        '<rect width="{width}" height="{height}" rx="8"/>'
        '<rect class="bar" x="10" y="{bar_y}" width="{bar:.1f}" height="3" rx="1.5"/>'
        '<text class="name" x="10" y="18">{name}</text>'
        '<text class="type" x="10" y="33">{short}</text>'
        '<text class="time" x="{right}" y="33" text-anchor="end"{attributes}>{took}</text></g></a>'
    ).format(
        anchor=anchor("stage", stage.name),
        css=stage.status.replace(" ", "-"),
        full=stage.name,
        x=at[0] - WIDTH / 2,
        y=at[1],
        type=stage.type,
        short=_short(stage.type, _TYPE_CHARS),
        took=took,
        width=WIDTH,
        height=HEIGHT,
        bar_y=HEIGHT - 7,
        bar=share * (WIDTH - 20),
        name=_short(stage.name, _NAME_CHARS),
        right=WIDTH - 10,
        attributes=attributes,
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
