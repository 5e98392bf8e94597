"""The report of a run: one HTML file that opens anywhere, and the numbers that it states.

`write_report` reads only what the run left on disk, so it serves any recipe, finished or not, and
`report_check` can make the same page again and compare. What a section shows follows from what
artifacts hold, not from the names of stages.
"""

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from markupsafe import Markup

from burnish.pipeline.files import write_atomic, write_json
from burnish.stages.overopt_series import read_overoptimisation
from burnish.stages.report_costs import cost_section, dropped_section, files_section, header
from burnish.stages.report_files import RunFiles, read_run
from burnish.stages.report_graph import graph
from burnish.stages.report_labelled import labelled_section, read_label_quality
from burnish.stages.report_landscape import landscape_section
from burnish.stages.report_markup import Finding, Section, join, tag
from burnish.stages.report_models import accuracy_section
from burnish.stages.report_numbers import Numbers
from burnish.stages.report_overoptimisation import overoptimisation_section
from burnish.stages.report_page import page
from burnish.stages.report_paths import paths_section
from burnish.stages.report_pools import read_scaling
from burnish.stages.report_reward import read_reward_quality, reward_section
from burnish.stages.report_samples import samples_section
from burnish.stages.report_scaling import scaling_section
from burnish.stages.report_scores import read_scores
from burnish.stages.report_studies import study_sections
from burnish.stages.report_summary import summary
from burnish.stages.report_training import stage_block
from burnish.stages.report_watch import watch_section

HTML, NUMBERS = "report.html", "report.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """A page in memory, with the numbers on it and the run it is of."""

    html: str
    numbers: Numbers
    run: RunFiles
    findings: tuple[Finding, ...]
    """What its sections found, in their order."""


def write_report(run_dir: Path) -> Path:
    """Write report.html and report.json into a run's directory, and return the page's path.

    An unfinished run gets a report too; it says which stages are missing.

    Raises:
        RunError: the directory holds no run.
    """
    report = build_report(run_dir)
    write_json(run_dir / NUMBERS, report.numbers.to_json())
    write_atomic(run_dir / HTML, report.html)
    return run_dir / HTML


def build_report(run_dir: Path) -> Report:
    """Make the page from a run's files; the same files give the same page.

    Raises:
        RunError: the directory holds no run.
    """
    run, numbers = read_run(run_dir), Numbers()
    scores, rewards = read_scores(run), read_reward_quality(run)
    scalings = read_scaling(run)
    sections = [
        Section(id="pipeline", title="The pipeline", body=_pipeline(run, numbers)),
        accuracy_section(scores, numbers) if scores else None,
        landscape_section(run, scores, numbers) if scores else None,
        paths_section(run, scores, numbers),
        samples_section(scores) if scores else None,
        reward_section(rewards, numbers),
        labelled_section(read_label_quality(run), numbers),
        overoptimisation_section(read_overoptimisation(run), numbers),
        watch_section(run, numbers),
        scaling_section(scalings, numbers),
        *study_sections(run, scores, scalings, numbers),
        _stages(run, numbers),
        cost_section(run, numbers),
        dropped_section(run, numbers),
    ]
    shown = [s for s in sections if s is not None]
    findings = tuple(finding for section in shown for finding in section.findings)
    head = header(run, numbers) + summary(run, scores, rewards, findings, numbers)
    shown.append(files_section(run, numbers))
    generator = f"burnish {metadata.version('burnish')}"
    html = page(run.name, generator, head, shown, numbers)
    return Report(html=html, numbers=numbers, run=run, findings=findings)


def _pipeline(run: RunFiles, numbers: Numbers) -> Markup:
    intro = tag(
        "p",
        "Each box is a stage with the time it took; a line leads from a stage to one that reads "
        "what it made. Bars compare the times. A click leads to the stage.",
    )
    return intro + graph(run, numbers)


def _stages(run: RunFiles, numbers: Numbers) -> Section:
    body = join(stage_block(run, stage, numbers) for stage in run.stages)
    return Section(id="stages", title="Stage by stage", body=body)
