"""Texts that follow given instructions, made without a model: plain, and right by construction.

They show that instructions can be followed together, and are the right answers among the cases that
the verifier is tried on. What is asked for is met exactly: at least three bullets are three.
"""

import json
from collections.abc import Mapping, Sequence

from burnish.types import Json

FILLER = (
    "The road led down to the water and the light was low.",
    "There was nothing left to do but wait for the wind to turn.",
    "They had walked for hours and the sun was about to set.",
    "She told them that the house was old and that the roof was thin.",
    "He had seen the other side of the hill and liked it more.",
)
"""Without commas, capitals within, rare letters, or words that constraints are drawn from."""
IN_LANGUAGE: Mapping[str, str] = {
    "en": "The weather is fine today and we are all going to walk along the river together.",
    "de": "Heute scheint die Sonne und wir gehen zusammen mit den Kindern durch den Wald.",
    "fr": "Il fait beau aujourd'hui et nous allons nous promener ensemble dans la forêt.",
    "es": "Hoy hace buen tiempo y vamos a pasear juntos por el bosque con los niños.",
    "it": "Oggi il tempo è bello e andiamo tutti insieme a passeggiare nel bosco.",
    "pt": "Hoje o tempo está bom e nós vamos passear juntos pela floresta com as crianças.",
}
_PLAIN = " ".join(FILLER).lower().replace(".", "").split()
_MANY = 3


def comply(instructions: Sequence[Mapping[str, Json]]) -> str:
    """A text that follows all of them, given that they go together; `{"kind", ...arguments}`."""
    asked = {str(one["kind"]).partition(":")[2]: one for one in instructions}
    if "response_language" in asked:
        return IN_LANGUAGE[str(asked["response_language"]["language"])]
    if "constrained_response" in asked:
        text = "My answer is yes."
    else:
        text = _laid_out(_sentences(asked), asked)
    if "repeat_prompt" in asked:
        text = f"{asked['repeat_prompt']['prompt_to_repeat']}\n{text}"
    if "postscript" in asked:
        text = f"{text}\n{asked['postscript']['postscript_marker']} more"
    if "end_checker" in asked:
        text = f"{text} {asked['end_checker']['end_phrase']}"
    if "quotation" in asked:
        text = f'"{text}"'
    if "english_capital" in asked:
        text = text.upper()
    return text.lower() if "english_lowercase" in asked else text


def _number(one: Mapping[str, Json], name: str) -> int:
    return int(str(one[name]))


def _least(asked: Mapping[str, Mapping[str, Json]], kind: str, number: str, relation: str) -> int:
    """The number of an `at least`, 0 where there is none."""
    one = asked.get(kind)
    return _number(one, number) if one and one[relation] == "at least" else 0


def _marks(asked: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """What must stand somewhere, whatever the layout."""
    marks: list[str] = []
    if "existence" in asked:
        keywords = asked["existence"]["keywords"]
        marks += [str(word) for word in keywords] if isinstance(keywords, list) else []
    if "frequency" in asked:
        word = str(asked["frequency"]["keyword"])
        marks += [word] * _least(asked, "frequency", "frequency", "relation")
    if "letter_frequency" in asked:
        number = _least(asked, "letter_frequency", "let_frequency", "let_relation")
        marks += [str(asked["letter_frequency"]["letter"]) * number] if number else []
    least = _least(asked, "capital_word_frequency", "capital_frequency", "capital_relation")
    marks += ["SO"] * least
    if "number_placeholders" in asked:
        number = _number(asked["number_placeholders"], "num_placeholders")
        marks += ["[name]"] * number
    if "number_highlighted_sections" in asked:
        marks += ["*so*"] * _number(asked["number_highlighted_sections"], "num_highlights")
    return [*marks, "<<a day>>"] if "title" in asked else marks


def _sentences(asked: Mapping[str, Mapping[str, Json]]) -> list[str]:
    """As many as asked for, three where nothing is, few words where words are limited."""
    marks = _marks(asked)
    limited = {"number_words", "number_sentences"} & asked.keys()
    number = _least(asked, "number_sentences", "num_sentences", "relation") or 1
    if not limited:
        number = _MANY
    out = [FILLER[i % len(FILLER)] for i in range(number)]
    words = _least(asked, "number_words", "num_words", "relation")
    missing = words - sum(len(s.split()) for s in out)
    padding = [_PLAIN[i % len(_PLAIN)] for i in range(missing)]
    if words and missing < 0:
        out = [" ".join(out[0].split()[:words])]
    first = out[0].rstrip(".")
    ended = "" if limited and number == 1 else "."
    out[0] = " ".join([first, *padding, *marks]) + ended
    return out


def _laid_out(sentences: list[str], asked: Mapping[str, Mapping[str, Json]]) -> str:
    if "number_bullet_lists" in asked:
        parts = _parts(sentences, _number(asked["number_bullet_lists"], "num_bullets"))
        return "\n".join(f"- {part}" for part in parts)
    if "multiple_sections" in asked:
        one = asked["multiple_sections"]
        parts = _parts(sentences, _number(one, "num_sections"))
        return "\n".join(f"{one['section_spliter']} {i}\n{p}" for i, p in enumerate(parts, 1))
    if "number_paragraphs" in asked:
        number = _number(asked["number_paragraphs"], "num_paragraphs")
        return "\n***\n".join(_parts(sentences, number))
    if "nth_paragraph_first_word" in asked:
        one = asked["nth_paragraph_first_word"]
        parts = _parts(sentences, _number(one, "num_paragraphs"))
        nth = _number(one, "nth_paragraph") - 1
        parts[nth] = f"{one['first_word']} {parts[nth]}"
        return "\n\n".join(parts)
    if "two_responses" in asked:
        return "\n******\n".join(_parts(sentences, 2))
    if "json_format" in asked:
        return json.dumps({"answer": " ".join(sentences)})
    return " ".join(sentences)


def _parts(sentences: Sequence[str], number: int) -> list[str]:
    """So many parts, different from one another; what is left over joins the last."""
    filled = [*sentences, *(f"This is part {i}." for i in range(len(sentences), number))]
    last = " ".join(filled[max(number, 1) - 1 :])
    return [*filled[: max(number, 1) - 1], last]
