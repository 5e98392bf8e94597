"""Classical RL, RLHF and RLVR in one table: what differs is read from the recipe and the run."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from markupsafe import Markup

from burnish.config import snake
from burnish.evals.stats import Interval, mean_interval
from burnish.stages.report_figures import axis, line
from burnish.stages.report_files import RunFiles, StageFiles
from burnish.stages.report_markup import Figure, Section, anchor, figures, source_note, table, tag
from burnish.stages.report_numbers import COUNT, LARGE, PERCENT, Format, Numbers, score_format
from burnish.stages.report_scores import Cell, Scores, Suite, finite

CLASSICAL, RLHF, RLVR = "classical RL", "RLHF", "RLVR"
LENGTH = Format(decimals=1)
FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One training by reinforcement, whatever it trains."""

    stage: str
    kind: str
    source: str
    """Of what the run measured in training."""
    environment: str
    sees: str
    acts: str
    reward: str
    horizon: int | None
    """Decisions that an episode may have."""
    length: float | None
    """Mean decisions of an episode, over the last tenth of the training."""
    gamma: float | None
    policy: str
    parameters: int
    algorithm: str
    decisions: float
    curve: tuple[tuple[float, float], ...]
    """(decisions so far, mean return or score), a mean over independent trainings."""
    before: Interval | None
    after: Interval | None
    """Held out: a policy that has not learnt, and the trained one."""
    binary: bool


def read_kinds(run: RunFiles, scores: Scores | None) -> list[Kind]:
    """Every finished training of a run, if it holds classical control and language models both."""
    done = [s for s in run.stages if s.status == "finished" and s.type in ("control", "rl")]
    if {s.type for s in done} != {"control", "rl"}:
        return []
    return [
        _control(run, s, scores) if s.type == "control" else _text(run, s, scores) for s in done
    ]


def _control(run: RunFiles, stage: StageFiles, scores: Scores | None) -> Kind:
    import gymnasium

    from burnish.envs.gym import env_sizes
    from burnish.stages.control import Control

    env = str(stage.config["env"])
    sees, acts = env_sizes(env)
    curves = run.object(_path(stage, "curves"))
    learned = [t for t in curves.get("training", []) if str(t["policy"]).startswith("seed-")]
    suite = _suite(scores, stage.name, env)
    seeds = [c for m, c in suite.cells.items() if m.startswith("seed-")] if suite else []
    return Kind(
        stage=stage.name,
        kind=CLASSICAL,
        source=stage.path("metrics.jsonl"),
        environment=env,
        sees=f"{sees} numbers",
        acts=f"{acts} actions",
        reward="the environment's, at each step",
        horizon=gymnasium.spec(env).max_episode_steps,
        length=_late(stage, num_trials=int(stage.config["seeds"])),
        gamma=finite(stage.config["algorithm"].get("gamma")),
        policy=f"MLP {list(stage.config['hidden'])}",
        parameters=_weights(run, [f"{_path(stage, 'policy')}/seed-0.safetensors"]),
        algorithm=snake(get_type_hints(Control)["algorithm"].__name__),
        decisions=_env_steps(stage),
        curve=_averaged(learned),
        before=suite.cells["random"].mean if suite and "random" in suite.cells else None,
        after=mean_interval([c.mean.estimate for c in seeds], binary=False) if seeds else None,
        binary=False,
    )


def _text(run: RunFiles, stage: StageFiles, scores: Scores | None) -> Kind:
    config = stage.config
    learnt = config.get("reward_model") or _mentions_model(config.get("reward"))
    ((algorithm, knobs),) = dict(config["algorithm"]).items()
    model = run.object(f"{_path(stage, 'model')}/config.json")
    task = _task(run, str(config["problems"]))
    trained, start = _cells(scores, stage, task)
    env = config.get("env")
    return Kind(
        stage=stage.name,
        kind=RLHF if learnt else RLVR,
        source=stage.path("metrics.jsonl"),
        environment=f"{next(iter(env))} on {task}" if env else f"{task}: one completion",
        sees="prompt and tokens so far",
        acts=f"{model.get('vocab_size', 0):,} tokens",
        reward=_reward(config, learnt),
        horizon=int(config["draws"]["max_new_tokens"]),
        length=_late(stage),
        gamma=finite(knobs.get("gamma")),
        policy=str(model.get("model_type", "language model")),
        parameters=_weights(run, _files(run, _path(stage, "model"))),
        algorithm=algorithm,
        decisions=float(stage.spent.get("sampled_tokens", 0)),
        curve=_scored(stage),
        before=start.mean if start else None,
        after=trained.mean if trained else None,
        binary=bool(trained and trained.binary),
    )


def num_weights(path: Path) -> int:
    """Numbers in a safetensors file, from its header alone; those of integers are no weights."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > path.stat().st_size:
            raise ValueError(f"a header of {size} bytes in a smaller file")
        header = json.loads(file.read(size))
    tensors = [t for name, t in header.items() if name != "__metadata__"]
    return sum(math.prod(t["shape"]) for t in tensors if t["dtype"] in FLOATS)


def _weights(run: RunFiles, paths: Sequence[str]) -> int:
    """Numbers in all of these files; one that cannot be read is noted as a problem."""
    total = 0
    for path in paths:
        try:
            total += num_weights(run.dir / path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            run.problems.append(f"{path}: its weights cannot be counted ({error})")
    return total


def _files(run: RunFiles, folder: str) -> list[str]:
    return sorted(str(p.relative_to(run.dir)) for p in (run.dir / folder).glob("*.safetensors"))


def _path(stage: StageFiles, output: str) -> str:
    return next((a.path for a in stage.artifacts if a.name == output), f"{stage.folder}/{output}")


def _suite(scores: Scores | None, stage: str, task: str) -> Suite | None:
    suites = scores.suites if scores is not None else ()
    return next((s for s in suites if s.stage == stage and s.task == task), None)


def _cells(scores: Scores | None, stage: StageFiles, task: str) -> tuple[Cell | None, Cell | None]:
    """The trained model on its own task, held out, and the model that it started from."""
    start = str(stage.config["model"]).partition(".")[0]
    for suite in scores.suites if scores is not None else ():
        made = {cell.made_by: cell for cell in suite.cells.values()}
        if suite.task == task and stage.name in made:
            return made[stage.name], made.get(start)
    return None, None


def _task(run: RunFiles, ref: str) -> str:
    """The task of the problems that a reference names."""
    maker = run.stage(ref.partition(".")[0])
    rows = run.rows(_path(maker, ref.partition(".")[2])) if maker else ()
    return str(rows[0].get("task", ref)) if rows else ref


def _reward(config: Mapping[str, Any], learnt: object) -> str:
    if learnt:
        return f"a model's score of the whole ({learnt})"
    return f"{next(iter(config['reward']))}, once, at the end"


def _mentions_model(reward: Any) -> str:
    """The name of a learnt judge anywhere in a reward; "" where there is none."""
    text = json.dumps(reward)
    return next((name for name in ("model_reward", "judge_reward") if name in text), "")


def _late(stage: StageFiles, *, num_trials: int = 1) -> float | None:
    """Mean length of an episode over the last tenth of each training; an ablation comes after."""
    trials: dict[float, list[float]] = {}
    for row in stage.metrics:
        length, trial = finite(row.get("rl/length")), finite(row.get("env/trial")) or 0.0
        if length is not None and trial < num_trials:
            trials.setdefault(trial, []).append(length)
    last = [v for values in trials.values() for v in values[-max(len(values) // 10, 1) :]]
    return sum(last) / len(last) if last else None


def _env_steps(stage: StageFiles) -> float:
    """Steps of all trainings together, without those of an ablation."""
    last: dict[float, float] = {}
    for row in stage.metrics:
        trial, steps = finite(row.get("env/trial")) or 0.0, finite(row.get("env/steps"))
        if steps is not None and trial < int(stage.config["seeds"]):
            last[trial] = max(last.get(trial, 0.0), steps)
    return sum(last.values())


def _averaged(trainings: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, float], ...]:
    """The mean curve of trainings that were measured at the same steps."""
    points: dict[float, list[float]] = {}
    for training in trainings:
        for x, y in zip(training["env_steps"], training["episode_return"], strict=True):
            points.setdefault(float(x), []).append(float(y))
    return tuple((x, sum(ys) / len(ys)) for x, ys in sorted(points.items()))


def _scored(stage: StageFiles) -> tuple[tuple[float, float], ...]:
    points, total = [], 0.0
    for row in stage.metrics:
        score, tokens = finite(row.get("rl/score")), finite(row.get("rl/sampled_tokens"))
        total += tokens or 0.0
        if score is not None:
            points.append((total, score))
    return tuple(points)


def kinds_section(found: Sequence[Kind], numbers: Numbers) -> Section | None:
    """The table of what differs, and each one's learning curve."""
    if not found:
        return None
    intro = tag(
        "p",
        "Three kinds of reinforcement learning by the same loop, batch and algorithms. Which kind "
        "follows from what is trained and from the reward: a learnt judge makes it RLHF, a checker "
        "RLVR. Held-out values of a control policy are means of its seeds with the interval over "
        "seeds, beside a random policy; those of a language model are over problems, beside its "
        "start.",
    )
    columns = [_column(kind, numbers) for kind in found]
    rows = ([name, *(column[name] for column in columns)] for name in columns[0])
    note = source_note(*(k.source for k in found))
    shown = figures([_figure(kind) for kind in found], css="small")
    body = intro + table(["", *(k.stage for k in found)], rows, note=note) + shown
    return Section(id="kinds", title="Three kinds of reinforcement learning", body=body)


def _column(kind: Kind, numbers: Numbers) -> dict[str, object]:
    at, source = f"kinds/{kind.stage}", kind.source

    def show(name: str, value: float | None, form: Any, how: str) -> Markup:
        return numbers.show(f"{at}/{name}", value, form, source, how)

    def held_out(name: str, interval: Interval | None) -> object:
        if interval is None:
            return "–"
        large = max(abs(i.estimate) for i in (kind.before, kind.after) if i is not None)
        form = PERCENT if kind.binary else score_format(large)
        return numbers.interval(f"{at}/{name}", interval, form, source, f"held out, {name}")

    gamma: object = "none: the whole counts"
    if kind.gamma is not None:
        gamma = show("gamma", kind.gamma, Format(decimals=2), "from the recipe")
    return {
        "kind": kind.kind,
        "environment": kind.environment,
        "sees": kind.sees,
        "chooses among": kind.acts,
        "reward": kind.reward,
        "horizon": show("horizon", kind.horizon, COUNT, "decisions that an episode may have"),
        "mean length": show("length", kind.length, LENGTH, "of an episode, late in training"),
        "γ": gamma,
        "policy": kind.policy,
        "parameters": show("parameters", kind.parameters, LARGE, "numbers in the weights"),
        "algorithm": kind.algorithm,
        "decisions in training": show("decisions", kind.decisions, LARGE, "decisions made"),
        "untrained, held out": held_out("untrained", kind.before),
        "trained, held out": held_out("trained", kind.after),
    }


def _figure(kind: Kind) -> Figure:
    x, y = [p[0] for p in kind.curve], [p[1] for p in kind.curve]
    colour = {CLASSICAL: "@0", RLHF: "@1", RLVR: "@2"}[kind.kind]
    hover = "%{x:,.0f}: %{y:.3g}"
    title = "return, last 100 episodes" if kind.kind == CLASSICAL else "mean score of a step"
    layout = {"xaxis": axis("decisions so far"), "yaxis": axis(title), "showlegend": False}
    return Figure(
        id=anchor("fig", "kinds", kind.stage),
        title=f"{kind.stage} ({kind.kind})",
        traces=[line(x, y, name=kind.stage, colour=colour, hover=hover, markers=False)],
        layout=layout,
        height=240,
    )
