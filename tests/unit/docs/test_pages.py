"""Pages that speak of code say what the code does now."""

import re
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import torch

from burnish.algos.batch import PolicyOutputs, RolloutBatch
from burnish.algos.pairs import PairLogprobs
from burnish.algos.rpo import RPO
from burnish.pipeline.recipe import dump, load
from burnish.stages import STAGES
from burnish.stages.annotate import Annotate, JudgeAnnotator
from burnish.stages.calibrate_judge import CalibrateJudge
from burnish.stages.prefer import Prefer
from burnish.stages.revise import read_principles
from burnish.stages.rl import RL
from burnish.types import Conversation, Problem
from burnish.verifiers.combine import leaves
from burnish.verifiers.user_function import UserFunction, sample_of
from tools import algorithms_page
from tools.stage_table import PAGE, page

DOCS = PAGE.parent


def blocks(name: str, language: str) -> list[str]:
    """The blocks of code in that language."""
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def block(name: str, language: str) -> str:
    """The first of them."""
    return blocks(name, language)[0]


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


def test_the_rounds_on_the_page_fit_into_its_recipe(tmp_path: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (DOCS / "pipeline.md").read_text(), re.DOTALL)
    stages, sources = blocks[0].split("\nsources:")
    file = tmp_path / "mine.yaml"
    file.write_text(f"{stages}\n{blocks[1]}\nsources:{sources}")
    names = list(load(file, STAGES).stages)
    assert names[-9::4] == ["improve_1_draw", "improve_2_keep", "improve_3_tune"]


def test_the_judged_recipe_on_the_page_is_valid_and_asks_the_judge_it_calibrates(
    tmp_path: Path,
) -> None:
    file = tmp_path / "judged.yaml"
    file.write_text(blocks("judges.md", "yaml")[0])
    stages = load(file, STAGES).stages
    calibrate, annotate = stages["calibrate"], stages["comparisons"]
    assert isinstance(calibrate, CalibrateJudge) and isinstance(annotate, Annotate)
    assert isinstance(annotate.annotator, JudgeAnnotator)
    assert (calibrate.by, calibrate.judge) == (annotate.annotator.by, annotate.annotator.judge)


def test_the_principles_on_the_page_are_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(blocks("judges.md", "yaml")[1])
    assert [p.name for p in read_principles(file)] == ["brevity"]


def test_the_readmes_python_builds_a_recipe() -> None:
    found = re.search(r"```python\n(.*?)```", (DOCS.parent / "README.md").read_text(), re.DOTALL)
    assert found is not None
    scope: dict[str, object] = {}
    exec(found[1], scope)
    assert list(scope["recipe"].stages) == ["base", "everyday", "sft"]  # type: ignore[attr-defined]


def test_the_recipe_with_a_reward_of_ones_own_loads_and_its_function_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, nested, safety, by_task = blocks("rewards.md", "yaml")
    (tmp_path / "my_rewards.py").write_text(block("rewards.md", "python"))
    (tmp_path / "mine.yaml").write_text(whole)
    monkeypatch.chdir(tmp_path)
    recipe = load(tmp_path / "mine.yaml", STAGES)
    assert recipe.keys() and list(recipe.stages) == ["base", "sums", "rl"]
    stage = recipe.stages["rl"]
    assert isinstance(stage, RL)
    user = dict(leaves(stage.reward))["own"]
    assert isinstance(user, UserFunction)
    problem = Problem(prompt=Conversation.of("What is 2 + 3?"), task="sum", answer="5")
    with user.pool() as pool:
        (answer,) = pool.submit([sample_of(problem, "Because, because so: 5")]).result()
    assert answer.score == 1.1
    body = whole[: whole.index("    reward:")] + indent(nested, "    ")
    (tmp_path / "nested.yaml").write_text(body)
    names = dict(leaves(load(tmp_path / "nested.yaml", STAGES).stages["rl"].reward))  # type: ignore[attr-defined]
    assert list(names) == ["right", "form.tags", "form.english"]
    two = re.sub(r"\{model_reward: .*\}", "problem_verifier", safety)
    body = whole[: whole.index("    reward:")] + indent(two, "    ")
    (tmp_path / "safety.yaml").write_text(body)
    joined = load(tmp_path / "safety.yaml", STAGES).stages["rl"]
    assert isinstance(joined, RL) and joined.whiten_scores
    assert [name for name, _ in leaves(joined.reward)] == ["safety", "helpful"]
    one = re.sub(r"\{model_reward: .*\}", "repetition", by_task)
    body = whole[: whole.index("    reward:")] + indent(one, "    ")
    (tmp_path / "by_task.yaml").write_text(body)
    routed = load(tmp_path / "by_task.yaml", STAGES).stages["rl"]
    assert isinstance(routed, RL)
    assert [name for name, _ in leaves(routed.reward)] == ["worked_sum", "otherwise"]


def test_links_between_pages_lead_somewhere() -> None:
    for path in sorted(DOCS.glob("*.md")):
        for target in re.findall(r"\]\(([^):#]+)\)", path.read_text()):
            assert (DOCS / target).is_file(), f"{path.name}: {target}"


@pytest.mark.parametrize("kind", algorithms_page.choices(RL), ids=lambda kind: kind.__name__)
def test_every_policy_gradient_works_in_the_lines_on_the_page(kind: type) -> None:
    code = blocks("algorithms.md", "python")[0]
    assert "DAPO(clip_high=0.28)" in code
    logprobs = torch.full((4, 3), -2.0).requires_grad_()
    scope: dict[str, Any] = {
        "kind": kind,
        "mask": torch.ones(4, 3, dtype=torch.bool),
        "scores": torch.tensor([1.0, 0.0, 0.5, 0.25]),
        "group": torch.tensor([0, 0, 1, 1]),
        "logprobs": logprobs,
        "DAPO": lambda clip_high: kind(),
        "RolloutBatch": RolloutBatch,
        "PolicyOutputs": PolicyOutputs,
    }
    if "values" in kind().needs():
        values = torch.zeros(4, 3)
        scope |= {"v": values, "valued": {"values": values, "next_values": values}}
        scope["replace"] = replace
        code = code.replace("algorithm =", "batch = replace(batch, **valued)\nalgorithm =")
        code = code.replace("logprobs=logprobs)).total", "logprobs=logprobs, values=v)).total")
    exec(code, scope)
    scope["loss"].backward()
    assert logprobs.grad is not None
    gradient = logprobs.grad.sum(1)
    # what scored above its group's mean is made likelier: its loss falls as its logprob rises
    assert gradient[0] < 0 < gradient[1] and gradient[2] < gradient[3]


@pytest.mark.parametrize("kind", algorithms_page.choices(Prefer), ids=lambda kind: kind.__name__)
def test_every_direct_alignment_works_in_the_lines_on_the_page(kind: type) -> None:
    code = blocks("algorithms.md", "python")[1]
    assert "DPO(beta=0.1)" in code
    chosen, rejected = (torch.full((2,), -3.0).requires_grad_() for _ in range(2))
    scope: dict[str, Any] = {
        "DPO": lambda beta: kind(),
        "PairLogprobs": PairLogprobs,
        "chosen": chosen,
        "rejected": rejected,
        "lengths": torch.tensor([4, 4]),
        "ref_chosen": torch.full((2,), -3.0),
        "ref_rejected": torch.full((2,), -3.0),
        "margins": torch.tensor([1.0, 2.0]),
    }
    if kind is RPO:
        code = code.replace(
            "ref_rejected=ref_rejected,", "ref_rejected=ref_rejected, margin=margins,"
        )
    exec(code, scope)
    scope["loss"].backward()
    assert chosen.grad is not None and rejected.grad is not None
    assert bool((chosen.grad < rejected.grad).all())  # the gap widens
