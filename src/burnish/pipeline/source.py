"""Where a number of a recipe comes from: its source, its unit, and how sure it is.

A batch of 64 prompts is not one of 64 pairs, and a rate that a paper never states is somebody's
choice: both are said beside the number, in the recipe, in `burnish show` and in the report.
"""

import re
from dataclasses import dataclass
from typing import Literal, Self, get_args

from burnish.config import require

Status = Literal["paper", "code", "not_reported", "ours", "unverified"]
STATUSES: dict[str, Status] = {name: name for name in get_args(Status)}
"""By what is written."""
_TEXT = re.compile(rf"({'|'.join(STATUSES)})(?: \[([^\[\]]+)\])?(?:$|: (.*))", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """As text `status [unit]: source; note`, of which only the status must be there.

    Text that begins with no status is `unverified`: nobody has said more.
    """

    status: Status
    """paper: stated there; code: in what its authors released; not_reported: the value is
    ours, because they do not say; ours: chosen otherwise than theirs, or without a model;
    unverified: said to be theirs, and not looked up."""
    source: str = ""
    """Which paper and where in it, or for `ours` why."""
    unit: str = ""
    """What is counted: prompts, pairs, tokens, episodes."""
    note: str = ""

    def __post_init__(self) -> None:
        require("; " not in self.source, "source has a `; `: write what follows it as the note")
        require(not set("[]") & set(self.unit), "unit must be without brackets")
        require(bool(self.source) or not self.note, "note is for a source: name that first")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises: ConfigError, where the parts say something impossible."""
        found = _TEXT.fullmatch(text)
        status, unit, rest = found.groups() if found else ("unverified", None, text)
        source, _, note = (rest or "").partition("; ")
        return cls(status=STATUSES[status], source=source, unit=unit or "", note=note)

    @property
    def where(self) -> str:
        """The source and its note, for people."""
        return "; ".join(filter(None, (self.source, self.note)))

    def to_text(self) -> str:
        unit = f" [{self.unit}]" if self.unit else ""
        where = f": {self.source}" if self.source else ""
        return f"{self.status}{unit}{where}" + (f"; {self.note}" if self.note else "")


SET = Source(status="ours", source="set on the command line")
"""Of a value that `--set` gave."""
