"""Sources: their text says status, unit, source and note, and reading it back gives the same."""

import pytest

from burnish.errors import ConfigError
from burnish.pipeline.source import STATUSES, Source


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("ours", Source(status="ours")),
        ("ours: sized for minutes", Source(status="ours", source="sized for minutes")),
        ("paper [pairs]", Source(status="paper", unit="pairs")),
        (
            "not_reported [nats]: 2203.02155; ours is 1e-6",
            Source(status="not_reported", unit="nats", source="2203.02155", note="ours is 1e-6"),
        ),
        ("from my notebook", Source(status="unverified", source="from my notebook")),
        ("papers: many", Source(status="unverified", source="papers: many")),
        ("", Source(status="unverified")),
    ],
)
def test_text_is_read_into_its_parts(text: str, source: Source) -> None:
    assert Source.from_text(text) == source
    assert Source.from_text(source.to_text()) == source


@pytest.mark.parametrize("status", STATUSES)
def test_every_combination_of_parts_survives_being_written(status: str) -> None:
    for unit in ("", "prompts a step"):
        for source, note in (("", ""), ("2411.15124: table 9", ""), ("code", "see: [1]; and 2")):
            made = Source(status=status, unit=unit, source=source, note=note)  # type: ignore[arg-type]
            assert Source.from_text(made.to_text()) == made


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"source": "a; b"}, "write what follows it as the note"),
        ({"unit": "[pairs]"}, "without brackets"),
        ({"note": "alone"}, "name that first"),
    ],
)
def test_parts_that_could_not_be_read_back_are_refused(parts: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Source(status="ours", **parts)  # type: ignore[arg-type]
