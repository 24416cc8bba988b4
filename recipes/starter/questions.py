"""Questions about photographs, derived from their captions.

    python -m recipes.starter.questions --data DIR        # prints counts and examples

Notable: the idea is COCO-QA's (Ren, Kiros, Zemel, 2015): a caption that says "a brown dog" answers
"what color is the dog?". Five kinds: `object`, `count`, `color`, `place`, `yesno`. A question is
asked only where the five captions do not contradict each other. Answers are thinned until none is
more than the `TOP_SHARE` of its kind, and yes and no are equally frequent for every noun, so that
the question alone gives little away. Splits follow the photographs.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recipes.starter import data
from recipes.starter.captionwords import words
from recipes.starter.questionwords import (
    ANIMALS,
    ASKED,
    COLORS,
    COUNTED,
    COUNTS,
    DOING,
    LINKS,
    NOUNS,
    ONE,
    PEOPLE,
    PLACES,
    SAME,
    SINGULAR,
    SKIPPED,
    VERBS,
)

KINDS = ("object", "count", "color", "place", "yesno")
TOP_SHARE = {"object": 0.15, "count": 0.35, "color": 0.2, "place": 0.2}
YESNO_EACH = 2  # questions of each answer a photograph


@dataclass(frozen=True)
class Asked:
    """A question about one photograph, and its answer: one word."""

    photograph: int
    kind: str
    question: str
    answer: str


def singular(word: str) -> str:
    """A known noun without its plural."""
    return SINGULAR.get(word, word)


def colors(captions: list[list[str]]) -> Iterator[tuple[str, str]]:
    """Things whose colour the captions say, each with one colour."""
    found: dict[str, set[str]] = defaultdict(set)
    for caption in captions:
        for i, word in enumerate(caption[:-1]):
            noun = caption[i + 1]
            mixed = i > 0 and (caption[i - 1] in COLORS or caption[i - 1] == "and")
            if word in COLORS and singular(noun) in NOUNS and noun not in {"soccer", "tennis"}:
                found[noun] |= {COLORS[word], *(["mixed"] if mixed else [])}
    for noun, said in found.items():
        if len(said) == 1:
            are = "are" if noun in SINGULAR or noun in {"shorts", "pants", "jeans"} else "is"
            yield f"what color {are} the {noun}", next(iter(said))


def counts(captions: list[list[str]]) -> Iterator[tuple[str, str]]:
    """How many of a kind of person or animal the captions agree there are."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for caption in captions:
        for i, word in enumerate(caption):
            if word in COUNTS:
                following = caption[i + 1 : i + 4]
                plural = next((w for w in following if singular(w) in COUNTED), None)
                if plural in SINGULAR:
                    found[plural][COUNTS[word]] += 1
            elif word in COUNTED and set(caption[max(0, i - 3) : i]) & ONE:
                found[COUNTED[word]]["one"] += 1
            elif word in SINGULAR and singular(word) in COUNTED:
                found[word]["some"] += 1
    for plural, said in found.items():
        said.pop("some", None) if len(said) == 2 and "one" not in said else None
        if len(said) == 1 and "some" not in said and sum(said.values()) >= 2:
            yield f"how many {plural} are there", next(iter(said))


def objects(captions: list[list[str]]) -> Iterator[tuple[str, str]]:
    """What somebody holds, rides, wears; what somebody does."""
    for caption in captions:
        subject = next((w for w in caption if w in PEOPLE or w in ANIMALS), None)
        if subject is None:
            continue
        start = caption.index(subject)
        for i in range(start + 1, min(len(caption) - 1, start + 8)):
            verb = caption[i]
            if verb in DOING and caption[i - 1] in {subject, "is"}:
                yield f"what is the {subject} doing", verb
            if verb not in VERBS:
                continue
            link = caption[i + 1] if caption[i + 1] in LINKS else ""
            rest = [w for w in caption[i + 1 + bool(link) : i + 6] if w not in SKIPPED]
            if rest and singular(rest[0]) in NOUNS:
                tail = f" {link}" if link else ""
                yield f"what is the {subject} {verb}{tail}", singular(rest[0])
            break


def places(captions: list[list[str]]) -> Iterator[tuple[str, str]]:
    """Where the subject is, where two captions say the same."""
    found: Counter[str] = Counter()
    subjects: Counter[str] = Counter()
    for caption in captions:
        subjects.update({w for w in caption[:6] if w in PEOPLE or w in ANIMALS})
        found.update(
            {w for i, w in enumerate(caption) if w in PLACES
             and set(caption[max(0, i - 4) : i]) & {"in", "on", "at", "through", "near", "by"}}
        )  # fmt: skip
    if not found or not subjects:
        return
    (place, count), *others = found.most_common()
    if count >= 2 and (not others or others[0][1] < count):
        yield f"where is the {subjects.most_common(1)[0][0]}", place


def mentioned(noun: str, captions: list[list[str]]) -> int:
    """In how many captions a noun, its plural or a word like it occurs."""
    return sum(
        bool({singular(w) for w in caption} & ({noun} | SAME.get(noun, set())))
        or bool(set(caption) & SAME.get(noun, set()))
        for caption in captions
    )


def yes_no(captions: list[list[str]], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Whether something is there: yes where two captions name it, no where none names its like."""
    there = [n for n in ASKED if sum(n in map(singular, c) for c in captions) >= 2]
    absent = [n for n in ASKED if not mentioned(n, captions)]
    for names, answer in ((there, "yes"), (absent, "no")):
        for noun in rng.permutation(names)[: YESNO_EACH if answer == "yes" else 4]:
            mass = noun in {"snow", "water", "grass"}
            article = "" if mass else "an " if noun[0] in "aeiou" else "a "
            yield f"is there {article}{noun}", answer


def derive(captions: Sequence[Sequence[str]], seed: int = 0) -> list[Asked]:
    """Questions of all photographs of a split, balanced."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Asked]] = {kind: [] for kind in KINDS}
    for number, row in enumerate(captions):
        tokens = [words(caption) for caption in row]
        for kind, pairs in (
            ("object", objects(tokens)),
            ("count", counts(tokens)),
            ("color", colors(tokens)),
            ("place", places(tokens)),
            ("yesno", yes_no(tokens, rng)),
        ):
            answers: dict[str, set[str]] = defaultdict(set)
            for question, answer in pairs:
                answers[question].add(answer)
            found[kind] += [
                Asked(number, kind, question, next(iter(said)))
                for question, said in answers.items()
                if len(said) == 1
            ]
    kept = [thinned(found[kind], share, rng) for kind, share in TOP_SHARE.items()]
    kept.append(halved(found["yesno"], rng))
    return sorted(
        (item for part in kept for item in part), key=lambda a: (a.photograph, a.kind, a.question)
    )


def thinned(asked: list[Asked], share: float, rng: np.random.Generator) -> list[Asked]:
    """Without so many of the frequent answers that one is more than `share` of what is left."""
    counted = Counter(item.answer for item in asked)
    cap = max(counted.values(), default=0)
    while cap > 1 and cap > share * sum(min(cap, n) for n in counted.values()):
        cap -= 1
    taken: Counter[str] = Counter()
    kept = []
    for i in rng.permutation(len(asked)):
        item = asked[i]
        if taken[item.answer] < cap:
            taken[item.answer] += 1
            kept.append(item)
    return kept


def halved(asked: list[Asked], rng: np.random.Generator) -> list[Asked]:
    """As many yes as no for every question."""
    rows: dict[str, dict[str, list[Asked]]] = defaultdict(lambda: {"yes": [], "no": []})
    for item in asked:
        rows[item.question][item.answer].append(item)
    kept = []
    for both in rows.values():
        least = min(map(len, both.values()))
        for part in both.values():
            kept += [part[i] for i in rng.permutation(len(part))[:least]]
    return kept


def main() -> None:
    """Print counts by kind, the commonest answers and examples."""
    parser = argparse.ArgumentParser(description="Derive questions from captions.")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    for split in ("train", "dev"):
        asked = derive(data.flickr(options.data, split).captions)
        for kind in KINDS:
            part = [item for item in asked if item.kind == kind]
            top = Counter(item.answer for item in part).most_common(8)
            print(split, kind, len(part), top)
            for item in part[:: max(1, len(part) // 6)][:6]:
                print("   ", item.question, "->", item.answer)


if __name__ == "__main__":
    main()
