"""Pages that speak of code say what the code does now."""

import re
from pathlib import Path

from burnish.pipeline.recipe import dump, load
from burnish.stages import STAGES
from tools import algorithms_page
from tools.stage_table import PAGE, page

DOCS = PAGE.parent


def block(name: str, language: str) -> str:
    """The first block of code in that language."""
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_of_stages_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tools/stage_table.py"


def test_the_page_of_algorithms_is_current() -> None:
    found = algorithms_page.PAGE.read_text(encoding="utf-8")
    assert found == algorithms_page.page(), "run: python -m tools.algorithms_page"


def test_the_recipe_on_the_page_is_valid_and_python_builds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(block("pipeline.md", "yaml"))
    in_yaml = load(file, STAGES)
    code = block("pipeline.md", "python")
    building = code[: code.index("print(")]
    scope: dict[str, object] = {}
    exec(building, scope)
    assert scope["recipe"].stages == in_yaml.stages  # type: ignore[attr-defined]
    assert dump(in_yaml).startswith("name: mine")


def test_the_readmes_python_builds_a_recipe() -> None:
    found = re.search(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
    assert found is not None
    scope: dict[str, object] = {}
    exec(found[1], scope)
    assert list(scope["recipe"].stages) == ["base", "everyday", "sft"]  # type: ignore[attr-defined]


def test_links_between_pages_lead_somewhere() -> None:
    for path in (DOCS / n for n in ("pipeline.md", "stages.md", "data.md", "algorithms.md")):
        for target in re.findall(r"\]\(([^):#]+)\)", path.read_text()):
            assert (DOCS / target).is_file(), f"{path.name}: {target}"
