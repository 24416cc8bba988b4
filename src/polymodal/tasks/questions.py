"""What a question asks for: its kind, its subject, and the wording that models were trained on.

Notable: rules over words, so that what is not understood is known not to be. A question is put
into few plain forms ("Do you see any dogs in this photo?" is "is there a dog"); what does not fit
any of them is `other`, and only a general model may answer it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from polymodal.errors import UsageError
from polymodal.models.wording import split_words

__all__ = ["LONGEST_QUESTION", "Kind", "Question", "parse", "plural", "singular"]

Kind = Literal["object", "count", "color", "place", "yesno", "scene", "text", "other"]
LONGEST_QUESTION = 1000
"""Characters."""

_SPELLINGS = {"colour": "color", "colours": "color", "colors": "color", "grey": "gray"}
_ASKING = {"what", "where", "who", "how", "that", "it", "there"}
"""Words after which "'s" is "is", not a possessive."""
_SPOKEN = re.compile(
    r"^(?:(?:please|hello|hi|ok|okay|so|and) )*"
    r"(?:(?:can|could|would) you (?:please )?(?:tell me|say) |tell me )?(?:please )?"
)
_IN_PICTURE = re.compile(
    r" (?:(?:that )?(?:you |we )?(?:can )?(?:see |shown |visible |depicted )?"
    r"(?:in|on) (?:the|this|that) (?:picture|image|photo|photograph|scene|shot)"
    r"|(?:shown|visible|depicted) here|please)$"
)
_PRONOUN = re.compile(r"^((?:what|where) (?:is|are)) (she|he|they)\b")
_MEANT = {"she": "the woman", "he": "the man", "they": "the people"}
"""Whom a pronoun means in a question that nothing came before."""
_ARTICLE = r"(?:the |a |an |this |that |these |those |his |her |their |its )?"
_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "people": "person", "puppies": "puppy",
    "babies": "baby", "ladies": "lady", "mice": "mouse", "feet": "foot", "geese": "goose",
    "persons": "person", "buses": "bus", "leaves": "leaf", "knives": "knife",
}  # fmt: skip
_PLURALS = {name: many for many, name in _IRREGULAR.items() if many != "persons"}
_ALWAYS_PLURAL = {"shorts", "pants", "jeans", "glasses", "sunglasses", "trousers", "clothes"}
_ES = ("ches", "shes", "sses", "xes", "zes")


@dataclass(frozen=True)
class Question:
    """A question, understood.

    Attributes:
        text: as it was asked.
        wording: lower-case words in the form that models are trained on; of the kinds `scene`,
            `text` and `other` just the words.
        subject: what it is about, singular ("dog"); "" where there is none.
        verb: of an object question what is done ("wearing", "playing with", "doing").
    """

    text: str
    kind: Kind
    wording: str
    subject: str = ""
    verb: str = ""


def parse(text: str) -> Question:
    """Understand a question.

    Raises:
        UsageError: when it has no words, or more than `LONGEST_QUESTION` characters.
    """
    if len(text) > LONGEST_QUESTION:
        raise UsageError(
            f"the question has {len(text)} characters; ask in at most {LONGEST_QUESTION}."
        )
    words = [_SPELLINGS.get(word, word) for word in split_words(text)]
    if not words:
        raise UsageError("the question is empty; ask in at least one word.")
    for before, (place, word) in zip(["", *words], enumerate(words), strict=False):
        if word == "'s" and before in _ASKING:
            words[place] = "is"
    asked = _SPOKEN.sub("", " ".join(words))
    if _about_text(asked):
        return Question(text, "text", asked)
    if any(pattern.search(asked) for pattern in _SCENE):
        return Question(text, "scene", asked)
    asked = _IN_PICTURE.sub("", asked)
    asked = _PRONOUN.sub(lambda found: f"{found[1]} {_MEANT[found[2]]}", asked)
    for pattern, make in _FORMS:
        if (found := pattern.match(asked)) and (question := make(text, found)) is not None:
            return question
    return Question(text, "other", asked)


_WRITTEN = [
    re.compile(pattern)
    for pattern in (
        r"\b(?:say|says|said|written|write|writing|spell|spelled|printed|text|texts)\b",
        r"\bwhat (?:word|words|letter|letters|line|lines|number|numbers|digits|time|date|year)\b",
        r"\bwhat (?:is|are|was|were) (?:the |this |that |its |their )?(?:\w+ )*?(?:number"
        r"|total|subtotal|sum|amount|price|prices|cost|tax|gst|vat|date|time|invoice|receipt|address|phone|telephone|company"
        r"|store|shop|merchant|vendor|name|title|headline|label|brand|email|e-mail|website|url"
        r"|balance|change|cash|discount|rounding|due|plate|code|id|slogan|heading)\b",
        r"\b(?:how much|which company|which store|which shop|when (?:was|is|did))\b",
        r"^(?:read|transcribe)\b",
        r"\bdoes .* (?:read|cost)$",
        r"\b(?:total|subtotal|invoice|receipt|price)\b",
    )
]
_SCENE = [
    re.compile(pattern)
    for pattern in (
        r"^what (?:is|are) (?:shown |happening |going on |there |visible |depicted )?"
        r"(?:in|on) (?:the|this|that) (?:picture|image|photo|photograph|scene|shot)$",
        r"^what is (?:this|it|that|happening|going on|shown|happening here|going on here)$",
        r"^what is (?:this|that|it) (?:a )?(?:picture|image|photo|photograph) (?:of|about)$",
        r"^what (?:does|do) (?:it|this|the|that)(?: \w+)? (?:show|depict|contain)$",
        r"^what (?:do|can) you see(?: here| (?:in|on) (?:the|this) \w+)?$",
        r"^describe\b",
    )
]


def _about_text(asked: str) -> bool:
    return any(pattern.search(asked) for pattern in _WRITTEN)


def _color(text: str, found: re.Match[str]) -> Question | None:
    head = _head(found["subject"])
    if not head:
        return None
    are = "are" if head != singular(head) or head in _ALWAYS_PLURAL else "is"
    return Question(text, "color", f"what color {are} the {head}", singular(head))


def _count(text: str, found: re.Match[str]) -> Question | None:
    head = _head(found["subject"])
    if singular(head) in _ANYTHING:
        return None
    return (
        head and Question(text, "count", f"how many {plural(head)} are there", singular(head))
    ) or None


def _place(text: str, found: re.Match[str]) -> Question | None:
    head = _head(found["subject"])
    return (
        head and Question(text, "place", f"where is the {singular(head)}", singular(head))
    ) or None


def _there(text: str, found: re.Match[str]) -> Question | None:
    head = _head(found["subject"])
    if not head or found["subject"] != head:
        return None  # "a red ball" and "a dog on the sofa" ask for more than a ball and a dog
    one = singular(head)
    article = "" if one in MASS else "an " if one[0] in "aeiou" else "a "
    return Question(text, "yesno", f"is there {article}{one}", one)


def _doing(text: str, found: re.Match[str]) -> Question | None:
    head = _head(found["subject"])
    if not head:
        return None
    verb = " ".join(found["verb"].split())
    be = "is the"
    return Question(text, "object", f"what {be} {singular(head)} {verb}", singular(head), verb)


MASS = frozenset({"snow", "water", "grass", "sand", "ice", "food", "mud", "dirt", "fire", "smoke"})
_LINK = r"(?: (?:with|in|on|at|over|up|off|from|to))?"
_FORMS: list[tuple[re.Pattern[str], Callable[[str, re.Match[str]], Question | None]]] = [
    (
        re.compile(rf"(?:what|which) color (?:is|are|was|were|of) {_ARTICLE}(?P<subject>.+)$"),
        _color,
    ),
    (re.compile(rf"what (?:is|are) the color of {_ARTICLE}(?P<subject>.+)$"), _color),
    (re.compile(rf"(?:what|which) color (?:\w+ )?{_ARTICLE}(?P<subject>\w+)$"), _color),
    (
        re.compile(r"how many (?P<subject>.+?)(?: (?:are|is|were|was|can|do|did|have)\b.*)?$"),
        _count,
    ),
    (re.compile(r"what is the number of (?P<subject>.+)$"), _count),
    (re.compile(rf"where (?:is|are) {_ARTICLE}(?P<subject>.+)$"), _place),
    (re.compile(r"(?:is|are) there (?:a |an |any |some )?(?P<subject>.+)$"), _there),
    (re.compile(r"(?:do|can) you see (?:a |an |any |some |the )?(?P<subject>.+)$"), _there),
    (
        re.compile(
            r"does (?:the|this) (?:picture|image|photo|photograph) (?:show|contain|have)"
            r" (?:a |an |any |some |the )?(?P<subject>.+)$"
        ),
        _there,
    ),
    (
        re.compile(rf"what (?:is|are) {_ARTICLE}(?P<subject>[\w-]+) (?P<verb>[\w-]+ing{_LINK})$"),
        _doing,
    ),
]
_CUTS = {
    "in", "on", "at", "with", "of", "near", "by", "under", "over", "behind", "next", "and", "who",
    "that", "which", "wearing", "holding", "standing", "sitting", "is", "are", "from", "to",
    "running", "playing", "riding", "walking", "doing",
}  # fmt: skip
_ANYTHING = {"item", "thing", "object", "product", "article", "piece"}
"""Words for whatever there is: nothing that can be looked for."""
_NOTHING = {"there", "here", "this", "that", "it", "they", "he", "she", "you", "we", "i", "them"}


def _head(phrase: str) -> str:
    """The noun of a phrase: the last word before what qualifies it; "" where there is none."""
    kept: list[str] = []
    for word in phrase.split():
        if word in _CUTS and kept:
            break
        kept.append(word)
    return "" if not kept or kept[-1] in _NOTHING else kept[-1]


def singular(noun: str) -> str:
    """A noun without its plural; words that have none stay."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun in _ALWAYS_PLURAL or noun.endswith(("ss", "us", "is")) or not noun.endswith("s"):
        return noun
    return noun[:-2] if noun.endswith(_ES) else noun[:-1]


def plural(noun: str) -> str:
    """A noun's plural; of a plural itself."""
    if noun in _PLURALS:
        return _PLURALS[noun]
    if noun in _ALWAYS_PLURAL or noun in _IRREGULAR or singular(noun) != noun:
        return noun
    return noun + ("es" if noun.endswith(("ch", "sh", "ss", "x", "z")) else "s")
