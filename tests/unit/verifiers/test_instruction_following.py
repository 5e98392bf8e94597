"""Each of the 25 kinds against hand-written completions, published oddities, and bad problems."""

import json
import time
from pathlib import Path

import pytest

from burnish.errors import DataError
from burnish.types import Conversation, Json, Problem
from burnish.verifiers.instruction_following import (
    instruction_problem,
    instructions_of,
    loose_verdict,
    problem_from_reference,
    variants,
    verify_instruction_following,
)
from burnish.verifiers.instructions.kinds import KINDS, check_of
from burnish.verifiers.verify import verify_problem

IFEVAL = Path(__file__).parents[4] / "shared" / "data" / "ifeval" / "prompts.jsonl"
TALE = "Once there was a small green frog who lived by the river and sang in the evening."

# Kind, arguments, completions that follow, completions that do not.
CASES: list[tuple[str, dict[str, Json], list[str], list[str]]] = [
    (
        "keywords:existence",
        {"keywords": ["peace", "War"]},
        ["war and PEACE", "Peaceful warriors"],  # inside other words too, in either case
        ["peace only", "p e a c e war"],
    ),
    (
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "at least"},
        ["Sea, sea.", "seaside overseas"],
        ["One sea."],
    ),
    (
        "keywords:frequency",
        {"keyword": "sea", "frequency": 2, "relation": "less than"},
        ["One sea.", "None."],
        ["Sea, sea."],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["cat", "big dog"]},
        ["category", "big, dog", "dog"],  # whole words only
        ["A Cat.", "the cat's", "one BIG DOG"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "E", "let_frequency": 2, "let_relation": "less than"},
        ["Ten", "no"],
        ["Eve"],  # both cases count
    ),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_frequency": 2, "let_relation": "at least"},
        ["#a #b"],  # any character will do
        ["#a"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        ["Ich gehe heute mit meinem Hund in den Wald, weil die Sonne scheint.", "12 345"],
        [TALE],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "at least"},
        ["One. Two! Three?", "He met Mr. Smith. Good."],  # untrained: `Mr.` ends a sentence
        ["One. Two!", "One; two; three."],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": "less than"},
        ["One. Two!", "No full stop"],
        ["One. Two! Three?"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 4, "relation": "at least"},
        ["a b c d", "well-known, isn't", "a_b c d 5"],  # hyphens and apostrophes divide
        ["a b c", "a_b_c_d", "- - - -"],
    ),
    (
        "length_constraints:number_words",
        {"num_words": 4, "relation": "less than"},
        ["a b c"],
        ["a b c d"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["one\n***\ntwo", "one***two", "***\none\n***\ntwo\n***"],  # empty ends are not counted
        ["one\n\ntwo", "one\n***\n\n***\ntwo", "one", "one***two***three"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        ["One.\n\nthen two", "One.\n\n'THEN, two", 'One.\n\n"Then" two', "One.\n\n  Then's"],
        [
            "Then.\n\nOne",
            "One.\n\nThenceforth",
            "One.\nThen",
            "One.\n\nThen\n\nthree",
            "\n\nOne.\n\nThen",  # the blank piece is not counted, but takes the first place
        ],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[a] [b] [c]", "[] []", "[[a] [b]"],
        ["[a]", "[a\n] [b\n]", "[a [b"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\n\nP.S. More", "text p. s. inside"],  # anywhere, in either case
        ["PS More", "P.S More", "P.P.S More"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["P.P.S more", "P. P. S. more"],
        ["P.S. more", "PPS"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "Note:"},
        ["So.\nNOTE: more"],
        ["Note more"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        [
            "* a\n* b",
            "- a\n  * b",
            "Intro\n\n-a\n\n-b\nEnd",
            "* a\n**bold** is none\n* b",
            "*\n* taken in by the star above\n* b",
        ],
        ["* a", "* a\n* b\n- c", "1. a\n2. b", "a * b * c", "**\n**"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well. My answer is maybe. So."],
        ["My answer is yes", "my answer is no.", "Yes."],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* and *b*", "**a** and **b**", "*a* **b**"],
        ["*a*", "** ** and * *", "*a\nb* *c\nd*", "****"],
    ),
    (
        "detectable_format:multiple_sections",
        {"num_sections": 2, "section_spliter": "SECTION"},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION1 SECTION2", "SECTION 7 SECTION 7 SECTION 7"],
        ["SECTION 1\na", "Section 1 Section 2", "SECTION one SECTION two"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, null]}', '```json\n{"a": 1}\n```', "```\n[]```", "12", '"text"'],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1} done', "[" * 100_000],
    ),
    (
        "detectable_format:title",
        {},
        ["<<A title>>\nText", "x <<a>> y", "<<<a>>>"],
        ["<<>>", "<< >>", "<a>", "<<a\n>>", ">>a<<", "<<>>>"],
    ),
    (
        "combination:two_responses",
        {},
        ["one\n******\ntwo", "******one******two******"],
        ["one", "one******one", "one******two******three", "one************two", "one***two"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Say hello. "},
        ["Say hello. Hello!", "\nSAY HELLO.\nHello!"],
        ["Hello!", "Sure: Say hello. Hello!", "Say hello: hello"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Is that all?"},
        ["So. Is that all?", 'So. "is that all?" ', "IS THAT ALL?"],
        ["Is that all? Yes.", "Is that all"],
    ),
    (
        "startend:quotation",
        {},
        ['"So."', ' "So" said the "cat" \n', '""'],
        ['"', '"So.', "“So.”", "'So.'", '"So".'],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["I saw NASA", "A WELL-KNOWN FACT", "THE, END.", "U.S. B2B"],
        ["WELL-KNOWN", "Nasa And Iss", "1 2 3", "NASAs"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "less than"},
        ["I know", "nothing"],
        ["I AM"],
    ),
    (
        "change_case:english_capital",
        {},
        [TALE.upper(), TALE.upper() + " 12"],
        [TALE, TALE.upper() + " x", "12", "ICH GEHE HEUTE MIT DEM HUND IN DEN WALD."],
    ),
    (
        "change_case:english_lowercase",
        {},
        [TALE.lower()],
        [TALE, "12", "ich gehe heute mit dem hund in den wald."],
    ),
    ("punctuation:no_comma", {}, ["One; two, ".replace(",", ""), "1.000"], ["One, two", "1,000"]),
]


def _problem(*instructions: dict[str, Json], score: str = "mean") -> Problem:
    return instruction_problem("Do it.", instructions, score=score)


def test_every_kind_has_its_cases() -> None:
    assert {kind for kind, *_ in CASES} == set(KINDS)
    assert len(KINDS) == 25


@pytest.mark.parametrize(
    ("kind", "args", "follow", "fail"), CASES, ids=[f"{i}:{c[0]}" for i, c in enumerate(CASES)]
)
def test_an_instruction_is_followed_and_missed(
    kind: str, args: dict[str, Json], follow: list[str], fail: list[str]
) -> None:
    problem = _problem({"kind": kind, **args})
    assert [t for t in follow if not verify_instruction_following(problem, t).passed] == []
    assert [t for t in fail if verify_instruction_following(problem, t).passed] == []


@pytest.mark.parametrize("text", ["", " ", "\n\n\t", "\u200a"])
@pytest.mark.parametrize(("kind", "args"), [(c[0], c[1]) for c in CASES])
def test_blank_text_follows_nothing(kind: str, args: dict[str, Json], text: str) -> None:
    problem = _problem({"kind": kind, **args})
    assert verify_instruction_following(problem, text).score == 0.0
    assert loose_verdict(problem, text).score == 0.0


def test_the_verdict_has_a_part_for_each_instruction_and_passes_when_all_are_followed() -> None:
    instructions: list[dict[str, Json]] = [
        {"kind": "punctuation:no_comma"},
        {"kind": "keywords:existence", "keywords": ["sea"]},
        {"kind": "keywords:existence", "keywords": ["sky"]},
    ]
    verdict = verify_problem(_problem(*instructions), "The sea, the ship.")
    assert verdict.parts == {
        "0:punctuation:no_comma": 0.0,
        "1:keywords:existence": 1.0,
        "2:keywords:existence": 0.0,
    }
    assert verdict.score == pytest.approx(1 / 3)
    assert verdict.passed is False
    assert verdict.why == "not followed: punctuation:no_comma, keywords:existence"
    full = verify_problem(_problem(*instructions), "The sea and the sky.")
    assert (full.score, full.passed, full.why) == (1.0, True, "")
    strict = _problem(*instructions, score="all")
    assert verify_problem(strict, "The sea, the ship.").score == 0.0
    assert verify_problem(strict, "The sea and the sky.").score == 1.0


def test_loose_forgives_a_first_line_a_last_line_and_asterisks() -> None:
    problem = _problem({"kind": "startend:quotation"})
    for text in (
        'Sure, here it is:\n"So."',
        '"So."\nHope this helps!',
        'Sure:\n"So."\nBye.',
        '**"So."**',
        'Sure:\n*"So."*\nBye.',
    ):
        assert not verify_instruction_following(problem, text).passed
        assert loose_verdict(problem, text).passed
    assert not loose_verdict(problem, 'Sure:\nso:\n"So."').passed


def test_loose_lets_different_instructions_be_followed_by_different_variants() -> None:
    problem = _problem({"kind": "startend:quotation"}, {"kind": "punctuation:no_comma"})
    text = '"One, two\nthree"'  # without its first line there is no comma, but no quotation either
    assert loose_verdict(problem, text).passed
    assert verify_instruction_following(problem, text).passed is False
    assert loose_verdict(problem, '"One, two\nthree, four"').parts == {
        "0:startend:quotation": 1.0,
        "1:punctuation:no_comma": 0.0,
    }


def test_there_are_eight_variants() -> None:
    assert variants("a*\nb\nc*") == ("a*\nb\nc*", "b\nc*", "a*\nb", "b", "a\nb\nc", "b\nc", "a\nb")
    assert len(variants("a*\nb*\nc*")) == 8


def test_language_is_told_the_same_way_every_time() -> None:
    check = check_of("language:response_language", {"language": "it"})
    assert len({check("ma si, no") for _ in range(20)}) == 1


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        ({"kind": "punctuation:no_coma"}, "did you mean `punctuation:no_comma`"),
        ({"kind": "length_constraints:number_words", "num_words": 3}, "`relation` is missing"),
        (
            {"kind": "length_constraints:number_words", "num_words": 3, "relation": "at most"},
            "`relation` must be `less than` or `at least`, not 'at most'",
        ),
        (
            {"kind": "length_constraints:number_words", "num_words": 2.5, "relation": "at least"},
            "`num_words` must be a whole number",
        ),
        ({"kind": "keywords:existence", "keywords": []}, "`keywords` must be a list"),
        ({"kind": "keywords:existence", "keywords": ["a", 1]}, "`keywords` must be a list"),
        ({"kind": "keywords:existence", "keywords": ["("]}, "a regular expression"),
        ({"kind": "keywords:existence", "keyword": "a"}, "unknown argument `keyword`"),
        ({"kind": "punctuation:no_comma", "n": 1}, "it takes none"),
        ({"kind": "language:response_language", "language": "german"}, "a language's code"),
        (
            {
                "kind": "keywords:letter_frequency",
                "letter": "ab",
                "let_frequency": 1,
                "let_relation": "at least",
            },
            "`letter` must be one character",
        ),
        (
            {
                "kind": "length_constraints:nth_paragraph_first_word",
                "num_paragraphs": 2,
                "nth_paragraph": 3,
                "first_word": "so",
            },
            "`nth_paragraph` must be at most num_paragraphs=2",
        ),
        ({}, "instructions[0] must be an object with a `kind`"),
    ],
)
def test_a_wrong_instruction_is_named(instruction: dict[str, Json], message: str) -> None:
    with pytest.raises(DataError) as caught:
        _problem(instruction)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "meta", ["", "[]", "{}", '{"instructions": []}', '{"instructions": [{"kind": "x"}]}']
)
def test_a_problem_without_instructions_is_an_error_that_names_it(meta: str) -> None:
    problem = Problem(
        prompt=Conversation.of("Sing a song."), task="instruction_following", meta=meta
    )
    with pytest.raises(DataError, match=r"Sing a song\."):
        verify_problem(problem, "La la")


def test_a_reference_in_the_published_form_becomes_a_problem() -> None:
    problem = problem_from_reference(
        {
            "prompt": "Sing.",
            "instruction_id_list": ["punctuation:no_comma", "keywords:existence"],
            "kwargs": [{"num_words": None}, {"keywords": ["la"], "relation": None}],
        }
    )
    assert problem.prompt.last_user == "Sing."
    assert json.loads(problem.meta) == {
        "instructions": [
            {"kind": "punctuation:no_comma"},
            {"kind": "keywords:existence", "keywords": ["la"]},
        ]
    }
    assert instructions_of(problem) == ("punctuation:no_comma", "keywords:existence")
    assert verify_problem(problem, "La la").passed


@pytest.mark.parametrize(
    "reference",
    [
        {},
        {"instruction_id_list": "x", "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": []},
        {"instruction_id_list": [1], "kwargs": [{}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": ["x"]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{"kind": "x"}]},
        {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}], "prompt": 3},
    ],
)
def test_a_malformed_reference_is_an_error(reference: dict[str, Json]) -> None:
    with pytest.raises(DataError):
        problem_from_reference(reference)


def test_hostile_text_is_judged_in_about_linear_time() -> None:
    size = 10_000
    hostile = ["[" * size, "<" * size, "\n" * size + "x", "* " * size, "p." * size, ". " * size]
    for kind, args, _, _ in CASES:
        check = check_of(kind, args)
        for text in hostile:
            start = time.perf_counter()
            check(text)
            assert time.perf_counter() - start < 2, (kind, text[:4])


@pytest.mark.skipif(not IFEVAL.exists(), reason="shared/data/ifeval is not there")
def test_every_published_prompt_can_be_verified() -> None:
    rows = [json.loads(line) for line in IFEVAL.read_text(encoding="utf-8").splitlines()]
    kinds: set[str] = set()
    for row in rows:
        problem = problem_from_reference(row)
        assert instructions_of(problem) == tuple(row["instruction_id_list"])
        kinds |= set(instructions_of(problem))
        verdict = verify_problem(problem, "Hello there.")
        assert verdict.score is not None
        loose = loose_verdict(problem, "Hello there.")
        assert all(loose.parts[name] >= part for name, part in verdict.parts.items())
    assert len(rows) == 541
    assert kinds == set(KINDS)
