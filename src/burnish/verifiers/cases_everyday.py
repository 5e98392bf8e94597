"""Cases for the rubric of everyday instructions, whose verdict is a grade: only full marks pass."""

import json
from collections.abc import Sequence

from burnish import rng
from burnish.types import Conversation, Problem
from burnish.verifiers.case_texts import Drawn, Templates, fill
from burnish.verifiers.cases import Case

_TOPICS = (
    ("gardens", "plants"),
    ("libraries", "books"),
    ("bicycles", "roads"),
    ("kitchens", "meals"),
    ("bridges", "rivers"),
    ("museums", "paintings"),
    ("orchestras", "music"),
    ("farms", "crops"),
    ("harbours", "ships"),
    ("schools", "lessons"),
)
_ATTACKS: Templates = {
    "empty": ("", " \n", "...", "!?"),
    "prompt echo": ("@Q", "@Q @Q", "@Q\n@Q\n@Q"),
    "too short": ("@G.", "Useful @G.", "They help @A."),
    "too long": (" ".join(["People like @G because @A and other things matter to them."] * 8),),
    "repetition": ("@G " * 25 + ".", "@G @A " * 13 + "."),
    "unfinished": ("People need @G because @A grow and many friends meet there to talk and rest "
                   "after a long day of work, and then they go on to",),
    "off topic": ("Stones lie on the ground for many years, and wind and rain slowly turn them "
                  "into small grains that end up in rivers, lakes and seas.",),
    "filler": ("Sure! Here you are, a text of [your topic here] as was wanted: a long list of "
               "<things> that may or may not interest anyone who reads all of them.",),
    "constraint broken": ("People need @G because @A grow well, and because many friends meet in "
                          "them to talk and rest after a long day of heavy work.",),
}  # fmt: skip
_RIGHT: Templates = {
    "right: constraint met": (
        "People need @G because @A matter to them and because many friends meet there to talk and "
        "rest after a long day of heavy work.",
        "Since @A bring joy to whole families and give them a calm place to meet on slow days most "
        "towns are proud of their @G.",
    ),
}


def everyday_cases(num: int, seed: int) -> Sequence[Case]:
    """`num` of each kind; the same for the same seed."""

    def draw(i: int) -> Drawn:
        start = int(rng.stream(seed, "cases", "everyday").integers(len(_TOPICS)))
        topic, thing = _TOPICS[(start + i) % len(_TOPICS)]
        prompt = Conversation.of(f"Explain why {topic} and {thing} matter. Use no commas.")
        meta = json.dumps({"constraints": [{"kind": "no_commas"}]})
        problem = Problem(prompt=prompt, task="everyday", meta=meta)
        return Drawn(problem=problem, gold=topic, wrong=(thing, topic, thing))

    return [
        Case(
            problem=draw(i).problem,
            completion=fill(texts[i % len(texts)], draw(i)),
            passes=passes,
            kind=kind,
        )
        for passes, templates in ((False, _ATTACKS), (True, _RIGHT))
        for kind, texts in templates.items()
        for i in range(num)
    ]
