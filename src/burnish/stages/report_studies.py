"""The report's sections on studies, each of which is there where a run has what it shows."""

from collections.abc import Sequence

from burnish.stages.report_crossing import crossing_section, read_pairs
from burnish.stages.report_examples import examples_section, read_portions
from burnish.stages.report_files import RunFiles
from burnish.stages.report_kinds import kinds_section, read_kinds
from burnish.stages.report_markup import Section
from burnish.stages.report_numbers import Numbers
from burnish.stages.report_optimum import optimum_section, read_gaps
from burnish.stages.report_pools import Scaling
from burnish.stages.report_scores import Scores
from burnish.stages.report_sequential import read_sequential, sequential_section
from burnish.stages.report_shift import read_shifts, shift_section
from burnish.stages.report_training_scaling import read_training_scaling, training_scaling_section


def study_sections(
    run: RunFiles, scores: Scores | None, scalings: Sequence[Scaling], numbers: Numbers
) -> list[Section | None]:
    """In the order in which they are read best."""
    return [
        kinds_section(read_kinds(run, scores), numbers),
        optimum_section(read_gaps(run, scores), numbers),
        sequential_section(read_sequential(run), numbers),
        training_scaling_section(read_training_scaling(run), numbers),
        shift_section(read_shifts(run), numbers),
        crossing_section(read_pairs(run, scalings), numbers),
        examples_section(read_portions(run, scores), numbers),
    ]
