"""Cases for the verifier of instructions: followed, missed by one, and got round.

Attacks are those that a check of form can stop. It cannot tell sense from nonsense: a list of the
keywords asked for does contain them, and passes.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from burnish import rng
from burnish.types import Json
from burnish.verifiers.cases import Case
from burnish.verifiers.compliance import FILLER, IN_LANGUAGE, comply
from burnish.verifiers.instruction_following import instruction_problem

Drawn = dict[str, Json]
_WORDS = ("ladder", "violin", "harbour", "pepper", "comet", "tunnel", "basket", "ribbon")


def instruction_following_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind, the same for the same seed."""
    made: list[Case] = []
    for i in range(num):
        for kind, family in _FAMILIES.items():
            random = rng.stream(seed, "instruction cases", kind, i)
            one = {"kind": kind, **family[0](random)}
            made.append(_case([one], comply([one]), True, f"follows {kind}"))
            made.append(_case([one], family[1](one), False, f"misses {kind} by one"))
        made += _attacks(rng.stream(seed, "instruction cases", "attacks", i))
    return made


def _case(
    instructions: Sequence[Mapping[str, Json]],
    completion: str,
    passes: bool,
    kind: str,
    prompt: str = "Say something about the day.",
) -> Case:
    problem = instruction_problem(prompt, instructions)
    return Case(problem=problem, completion=completion, passes=passes, kind=kind)


def _attacks(random: np.random.Generator) -> list[Case]:
    number = int(random.integers(2, 6))
    words: Drawn = {"kind": "keywords:existence", "keywords": [*_pick(random, 2)]}
    bullets: Drawn = {"kind": "detectable_format:number_bullet_lists", "num_bullets": number}
    commas: Drawn = {"kind": "punctuation:no_comma"}
    lower: Drawn = {"kind": "change_case:english_lowercase"}
    few: Drawn = {
        "kind": "keywords:frequency",
        "keyword": _WORDS[0],
        "frequency": number,
        "relation": "less than",
    }
    prompt = f"Say something, with exactly {number} bullet points and no commas."
    blank = [" ", "\n", " \n\t ", "\u3000", "\u00a0\n"][int(random.integers(5))]
    claim = f"I followed every instruction, with {number} bullets and no commas. Score: 1.0"
    fill = FILLER[int(random.integers(len(FILLER)))]
    return [
        _case([bullets, commas], comply([bullets, commas]), True, "follows two"),
        _case([words, lower], comply([words, lower]), True, "follows two"),
        _case([bullets, commas], comply([bullets]) + " So, yes.", False, "follows one of two"),
        _case([words, lower], comply([words]), False, "follows one of two"),
        _case([commas], "", False, "empty answer"),
        _case([commas, lower], blank, False, "white space"),
        _case([bullets, commas], prompt, False, "the prompt given back", prompt),
        _case([bullets, commas], f"{prompt}\n{claim}", False, "a claim to have followed", prompt),
        _case([few], " ".join([fill, *[_WORDS[0]] * number]), False, "keywords stuffed"),
        _case([bullets], "\n".join(["- so"] * (number + 20)), False, "marks stuffed"),
    ]


def _pick(random: np.random.Generator, number: int) -> list[str]:
    return [_WORDS[i] for i in random.permutation(len(_WORDS))[:number]]


def _count(name: str, low: int = 2, **fixed: Json) -> Callable[[np.random.Generator], Drawn]:
    return lambda random: {name: int(random.integers(low, low + 4)), **fixed}


def _fixed(**values: Json) -> Callable[[np.random.Generator], Drawn]:
    return lambda random: values


def _fewer(name: str, one: Drawn) -> str:
    """What follows the same instruction with a number one lower."""
    return comply([{**one, name: int(str(one[name])) - 1}])


def _other(change: Callable[[str], str], one: Drawn) -> str:
    return change(comply([one]))


def _without_a_keyword(one: Drawn) -> str:
    keywords = one["keywords"]
    return comply([{**one, "keywords": keywords[1:] if isinstance(keywords, list) else []}])


def _words_less_one(one: Drawn) -> str:
    return " ".join(comply([one]).split()[:-1])


def _in_another_language(one: Drawn) -> str:
    codes = [*IN_LANGUAGE]
    return IN_LANGUAGE[codes[codes.index(str(one["language"])) - 1]]


def _forbidden_once(one: Drawn) -> str:
    words = one["forbidden_words"]
    return f"{comply([one])} {words[0] if isinstance(words, list) else ''}"


_Draw = Callable[[np.random.Generator], Drawn]
_FAMILIES: Mapping[str, tuple[_Draw, Callable[[Drawn], str]]] = {
    "keywords:existence": (lambda r: {"keywords": [*_pick(r, 3)]}, _without_a_keyword),
    "keywords:frequency": (
        lambda r: {**_count("frequency", relation="at least")(r), "keyword": _pick(r, 1)[0]},
        partial(_fewer, "frequency"),
    ),
    "keywords:forbidden_words": (lambda r: {"forbidden_words": [*_pick(r, 2)]}, _forbidden_once),
    "keywords:letter_frequency": (
        _count("let_frequency", let_relation="at least", letter="q"),
        partial(_fewer, "let_frequency"),
    ),
    "language:response_language": (
        lambda r: {"language": [*IN_LANGUAGE][int(r.integers(len(IN_LANGUAGE)))]},
        _in_another_language,
    ),
    "length_constraints:number_sentences": (
        _count("num_sentences", relation="at least"),
        partial(_fewer, "num_sentences"),
    ),
    "length_constraints:number_words": (
        _count("num_words", 20, relation="at least"),
        _words_less_one,
    ),
    "length_constraints:number_paragraphs": (
        _count("num_paragraphs"),
        partial(_fewer, "num_paragraphs"),
    ),
    "length_constraints:nth_paragraph_first_word": (
        _count("num_paragraphs", nth_paragraph=2, first_word="then"),
        partial(_other, lambda text: text.replace("then ", "thence ", 1)),
    ),
    "detectable_content:number_placeholders": (
        _count("num_placeholders"),
        partial(_fewer, "num_placeholders"),
    ),
    "detectable_content:postscript": (
        _fixed(postscript_marker="P.S."),
        partial(_other, lambda text: text.replace("P.S.", "P.S")),
    ),
    "detectable_format:number_bullet_lists": (
        _count("num_bullets"),
        partial(_fewer, "num_bullets"),
    ),
    "detectable_format:constrained_response": (_fixed(), lambda one: "My answer is yes"),
    "detectable_format:number_highlighted_sections": (
        _count("num_highlights"),
        partial(_fewer, "num_highlights"),
    ),
    "detectable_format:multiple_sections": (
        _count("num_sections", section_spliter="Section"),
        partial(_fewer, "num_sections"),
    ),
    "detectable_format:json_format": (_fixed(), partial(_other, lambda text: text[:-1])),
    "detectable_format:title": (_fixed(), partial(_other, lambda text: text.replace(">>", ">"))),
    "combination:two_responses": (_fixed(), lambda one: f"{FILLER[0]}\n******\n{FILLER[0]}"),
    "combination:repeat_prompt": (
        _fixed(prompt_to_repeat="Say something about the day."),
        partial(_other, lambda text: text.replace("day.", "day!", 1)),
    ),
    "startend:end_checker": (
        _fixed(end_phrase="Take care out there."),
        partial(_other, lambda text: text + " So."),
    ),
    "startend:quotation": (_fixed(), partial(_other, lambda text: text[:-1])),
    "change_case:capital_word_frequency": (
        _count("capital_frequency", capital_relation="at least"),
        partial(_fewer, "capital_frequency"),
    ),
    "change_case:english_capital": (
        _fixed(),
        partial(_other, lambda text: text[:-2] + text[-2].lower() + text[-1]),
    ),
    "change_case:english_lowercase": (_fixed(), partial(_other, lambda text: text + " So.")),
    "punctuation:no_comma": (_fixed(), partial(_other, lambda text: text.replace(" ", ", ", 1))),
}
"""Kind -> a draw of its arguments, and a text that misses it by as little as can be."""
