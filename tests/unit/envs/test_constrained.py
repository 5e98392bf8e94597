"""Prompts with constraints: they go together, are said, are split, follow the seed alone."""

import json
from itertools import combinations

import pytest

from burnish.data.everyday import instructions
from burnish.data.schema import TASK_INSTRUCTIONS
from burnish.data.splits import prompt_key
from burnish.envs.constrained import Constraints, asking, constrained_problems
from burnish.envs.constraint_draws import ENDINGS, FIRST_WORDS, UNWANTED, WANTED, Difficulty
from burnish.envs.constraints import FAMILIES, SMALL_KINDS
from burnish.errors import ConfigError, DataError
from burnish.types import Conversation, Message, Problem
from burnish.verifiers.compliance import FILLER, comply
from burnish.verifiers.instruction_following import instructions_of
from burnish.verifiers.instructions.kinds import KINDS
from burnish.verifiers.verify import verify_problem

BASES = [Conversation.of(f"{verb} the {thing}.") for verb in ("Draw", "Name", "Sell", "Weigh")
         for thing in ("lion", "tower", "lamp", "boat", "desk")]  # fmt: skip
ALL = tuple(kind for kind in FAMILIES if kind != "detectable_format:constrained_response")


def _made(constraints: Constraints, num: int = 40, seed: int = 0) -> list[Problem]:
    train, heldout = constrained_problems(
        BASES, constraints, num_train=num, num_heldout=num // 4, seed=seed
    )
    assert (len(train), len(heldout)) == (num, num // 4)
    return [*train, *heldout]


def _base_of(problem: Problem) -> str:
    return problem.prompt.last_user.split(".")[0]


def test_every_kind_can_be_drawn() -> None:
    assert set(FAMILIES) == set(KINDS)
    assert len(SMALL_KINDS) == 18


@pytest.mark.parametrize("difficulty", ["easy", "medium", "hard"])
def test_constraints_drawn_together_can_be_met_together(difficulty: Difficulty) -> None:
    constraints = Constraints(kinds=ALL, fewest=1, most=3, difficulty=difficulty)
    for problem in _made(constraints, num=200):
        drawn = json.loads(problem.meta)["instructions"]
        verdict = verify_problem(problem, comply(drawn))
        assert verdict.passed, (drawn, verdict.why, comply(drawn))


def test_no_pair_of_constraints_lays_claim_to_the_same_thing() -> None:
    for problem in _made(Constraints(kinds=ALL, fewest=2, most=4), num=100):
        kinds = instructions_of(problem)
        assert len(set(kinds)) == len(kinds) >= 2
        for a, b in combinations(kinds, 2):
            assert not FAMILIES[a].uses & FAMILIES[b].uses


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("change_case:english_capital", "change_case:english_lowercase"),
        ("combination:two_responses", "startend:quotation"),
        ("punctuation:no_comma", "detectable_format:json_format"),
        ("startend:quotation", "startend:end_checker"),
        ("length_constraints:number_words", "length_constraints:number_sentences"),
        ("combination:repeat_prompt", "keywords:forbidden_words"),
    ],
)
def test_conflicting_kinds_are_never_drawn_together(a: str, b: str) -> None:
    with pytest.raises(ConfigError, match="0 different problems"):
        _made(Constraints(kinds=(a, b), fewest=2, most=2))


def test_a_prompt_says_each_constraint_with_its_arguments() -> None:
    for problem in _made(Constraints(fewest=2, most=3, difficulty="medium"), num=60):
        text = problem.prompt.last_user
        assert problem.task == TASK_INSTRUCTIONS and "{" not in text
        for drawn in json.loads(problem.meta)["instructions"]:
            for name, value in drawn.items():
                if name == "kind":
                    continue
                for one in value if isinstance(value, list) else [value]:
                    assert str(one) in text, (name, one, text)


def test_no_base_prompt_is_on_both_sides_though_bases_are_used_again() -> None:
    train, heldout = constrained_problems(
        BASES, Constraints(), num_train=60, num_heldout=20, seed=4
    )
    assert {_base_of(p) for p in train} & {_base_of(p) for p in heldout} == set()
    assert len({_base_of(p) for p in train}) == 15 and len({_base_of(p) for p in heldout}) == 5
    ids = [p.id for p in [*train, *heldout]]
    assert len(set(ids)) == 80


def test_problems_follow_the_seed_and_not_how_many_are_made() -> None:
    assert _made(Constraints(), seed=1) == _made(Constraints(), seed=1)
    assert _made(Constraints(), seed=1) != _made(Constraints(), seed=2)
    few, held = constrained_problems(BASES, Constraints(), num_train=4, num_heldout=5, seed=1)
    more, same = constrained_problems(BASES, Constraints(), num_train=15, num_heldout=5, seed=1)
    assert more[:4] == few and held == same
    turned, _ = constrained_problems(
        BASES[::-1], Constraints(), num_train=15, num_heldout=5, seed=1
    )
    assert turned == more


def test_difficulty_raises_what_is_asked_for() -> None:
    kinds = ("detectable_format:number_bullet_lists",)

    def mean(difficulty: Difficulty) -> float:
        problems = _made(Constraints(kinds=kinds, most=1, difficulty=difficulty))
        asked = [json.loads(p.meta)["instructions"][0]["num_bullets"] for p in problems]
        return sum(asked) / len(asked)

    assert mean("easy") + 1 < mean("medium") < mean("hard") - 2


def test_a_score_of_all_rewards_nothing_less() -> None:
    (problem, *_) = _made(
        Constraints(kinds=("punctuation:no_comma", "startend:quotation"), fewest=2, score="all")
    )
    assert verify_problem(problem, "No quotes").score == 0.0
    assert verify_problem(problem, '"Quotes"').score == 1.0


def test_yes_or_no_is_asked_only_of_questions_that_take_it() -> None:
    kinds = ("detectable_format:constrained_response", "punctuation:no_comma")
    bases = [*BASES, Conversation.of("Is it far?"), Conversation.of("Can cats swim?")]
    train, heldout = constrained_problems(
        bases, Constraints(kinds=kinds, most=1), num_train=30, num_heldout=6, seed=0
    )
    asked = [p for p in [*train, *heldout] if instructions_of(p)[0] == kinds[0]]
    assert asked and all(p.prompt.last_user.startswith(("Is it", "Can cats")) for p in asked)


def test_a_system_prompt_and_earlier_turns_stay() -> None:
    base = Conversation(
        messages=(
            Message(role="system", content="Be brief."),
            Message(role="user", content="Hello"),
            Message(role="assistant", content="Hello!"),
            Message(role="user", content="Name a bird. "),
        )
    )
    asked = asking(base, " In capitals.")
    assert asked.messages[:3] == base.messages[:3]
    assert asked.last_user == "Name a bird. In capitals."
    with pytest.raises(DataError, match="ends in a turn of the assistant"):
        asking(Conversation.of("Hello", "Hello!"), " So.")


def test_the_lists_of_words_have_nothing_in_common() -> None:
    unwanted = set(UNWANTED)
    assert not unwanted & set(WANTED)
    for phrase in [*ENDINGS, *FILLER, *FIRST_WORDS]:
        words = set(phrase.lower().replace(".", "").replace("?", "").split())
        assert not words & (unwanted | set(WANTED)), phrase
        assert not set("jqxz,") & set(phrase.lower()), phrase


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean `punctuation:no_comma`"):
        Constraints(kinds=("punctuation:no_coma",))
    with pytest.raises(ConfigError, match="fewest must be from 1 to most"):
        Constraints(fewest=3)
    with pytest.raises(ConfigError, match="most=2: there are 1 kinds"):
        Constraints(kinds=("punctuation:no_comma",))
    with pytest.raises(DataError, match="1 different base prompts"):
        constrained_problems(BASES[:1], Constraints(), num_train=1, num_heldout=1, seed=0)
    with pytest.raises(ConfigError, match="different problems were drawn from"):
        _made(Constraints(kinds=("punctuation:no_comma",), most=1), num=4000)


def test_everyday_prompts_are_enough_for_a_run() -> None:
    bases = [p.prompt for p in instructions() if not json.loads(p.meta)["constraints"]]
    train, heldout = constrained_problems(
        bases, Constraints(), num_train=600, num_heldout=200, seed=0
    )
    opened = {prompt_key(b): b.last_user for b in bases}
    assert len(opened) > 300
    assert len(train) == 600 and len(heldout) == 200
