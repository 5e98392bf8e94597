"""Writes requirements.lock and requirements-dev.lock from what is installed (`make lock`).

The first holds what Burnish needs to run, the second what its checks and tests need besides. A
local version such as `+cpu` is left out, so that the same line serves every machine.
"""

import re
import tomllib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
HEAD = "# Written by `make lock`; edit pyproject.toml instead.\n"


def closure(requirements: Iterable[str]) -> dict[str, str]:
    """Canonical name -> installed version of the requirements and all that they need here."""
    found: dict[str, str] = {}
    waiting = [(Requirement(text), "") for text in requirements]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        extras = ["", *requirement.extras]
        if name in found and not requirement.extras:
            continue
        package = metadata.distribution(name)
        found[name] = package.version.partition("+")[0]
        waiting += [(Requirement(r), e) for r in package.requires or () for e in extras]
    return found


def write(path: Path, pins: dict[str, str], before: str = "") -> None:
    """One exact pin a line, sorted."""
    lines = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
    path.write_text(HEAD + before + lines, encoding="utf-8")


def main() -> None:
    """Lock what pyproject.toml asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime = closure(project["dependencies"])
    dev = closure(project["optional-dependencies"]["dev"])
    write(ROOT / "requirements.lock", runtime)
    only_dev = {name: version for name, version in dev.items() if name not in runtime}
    write(ROOT / "requirements-dev.lock", only_dev, "-r requirements.lock\n")


if __name__ == "__main__":
    main()
