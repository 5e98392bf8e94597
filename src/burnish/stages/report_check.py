"""Checks a report against the files it was made from: every number, figure and checksum.

All is computed again from the raw files and compared with what stands in the HTML, so an edited
page, an edited file and a missing file each show.
"""

import json
from html.parser import HTMLParser
from pathlib import Path

from burnish.errors import RunError
from burnish.pipeline.artifact import hash_path
from burnish.stages.report import HTML, NUMBERS, build_report
from burnish.stages.report_files import RunFiles
from burnish.stages.report_numbers import Numbers, exact


class _Shown(HTMLParser):
    """Every number of a page (id, exact value, text) and every block of data."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.numbers: list[tuple[str, str, str]] = []
        self.blocks: dict[str, str] = {}
        self.generator = ""
        self._number: tuple[str, str, str] | None = None  # tag, id, value
        self._block: str | None = None
        self._text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "meta" and given.get("name") == "generator":
            self.generator = given.get("content", "")
        if "data-id" in given:
            self._number, self._text = (tag, given["data-id"], given.get("data-value", "")), []
        elif tag == "script" and given.get("type") == "application/json":
            self._block, self._text = given.get("id", ""), []

    def handle_data(self, data: str) -> None:
        if self._number is not None or self._block is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if self._number is not None and tag == self._number[0]:
            self.numbers.append((*self._number[1:], "".join(self._text)))
            self._number = None
        elif self._block is not None and tag == "script":
            self.blocks[self._block] = "".join(self._text)
            self._block = None


def check_report(run_dir: Path) -> list[str]:
    """What is wrong with a run's report, one line each; empty where all is as the files say.

    Raises:
        RunError: the directory holds no run.
    """
    try:
        html = (run_dir / HTML).read_bytes().decode("utf-8")  # carriage returns stay
        said = json.loads((run_dir / NUMBERS).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        return [f"{error.filename}: missing; write the report first"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        return [f"{run_dir}: the report cannot be read ({error}); write it again"]
    try:
        report = build_report(run_dir)
    except RunError as error:
        return [f"the report cannot be made again: {error}"]
    wrong = wrong_files(report.run)
    wrong += differing_numbers(said, report.numbers, NUMBERS)
    wrong += differing_page(html, report.html, report.numbers, HTML)
    return wrong


def wrong_files(run: RunFiles) -> list[str]:
    """Artifacts that are missing or not what their stage wrote."""
    wrong = []
    for stage in run.stages:
        for artifact in stage.artifacts:
            try:
                found = hash_path(run.dir / artifact.path)
            except RunError as error:
                wrong.append(str(error))
                continue
            if found != artifact.sha256:
                wrong.append(
                    f"{artifact.path}: SHA-256 is {found[:16]}, but stage {stage.name} wrote "
                    f"{artifact.sha256[:16]}"
                )
    return wrong


def differing_numbers(said: object, numbers: Numbers, name: str) -> list[str]:
    """Differences between a file of numbers, called `name`, and what the files give."""
    if not isinstance(said, dict):
        return [f"{name}: must hold an object"]
    wanted = numbers.to_json()
    wrong = [f"{name}: {key} is missing" for key in wanted if key not in said]
    for key, entry in said.items():
        value = entry.get("value") if isinstance(entry, dict) else None
        if key not in wanted:
            wrong.append(f"{name}: {key} = {value} can no longer be computed")
        elif value != wanted[key]["value"]:
            wrong.append(f"{name}: {key} is {value}, files give {wanted[key]['value']}")
    return wrong


def differing_page(html: str, again: str, numbers: Numbers, name: str) -> list[str]:
    """Differences between a page, called `name`, and the page that the files give."""
    found, wanted = _Shown(), _Shown()
    found.feed(html)
    wanted.feed(again)
    wrong = []
    texts = {(key, text) for key, _, text in wanted.numbers}
    entries = numbers.entries
    for key, value, text in found.numbers:
        if key not in entries:
            wrong.append(f"{name}: {key} = {text} can no longer be computed")
        elif value != exact(entries[key].value) or (key, text) not in texts:
            want = f"{entries[key].text} ({exact(entries[key].value)})"
            wrong.append(f"{name}: {key} reads {text} ({value}), files give {want}")
    there = {key for key, _, _ in found.numbers}
    wrong += [f"{name}: {key} is not on the page" for key in entries if key not in there]
    for block in sorted(wanted.blocks.keys() | found.blocks.keys()):
        if found.blocks.get(block) != wanted.blocks.get(block):
            wrong.append(f"{name}: the data of {block} is not what files give")
    if not wrong and found.generator == wanted.generator and _main(html) != _main(again):
        wrong.append(f"{name}: text on the page is not what files give")
    return wrong


def _main(html: str) -> str:
    return html.partition("<main")[2].partition("</main>")[0]
