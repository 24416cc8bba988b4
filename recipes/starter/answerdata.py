"""What the shipped files say to every question derived from captions: once, and kept.

    python -m recipes.starter.answerdata --data DIR --model DIR --cache FILE

Notable: for each question the decoder's log-probability of every alternative and the embedder's
cosine of every statement; everything that ranks answers or judges them is fitted on these numbers.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from polymodal.catalog.captioners import open_captioner
from polymodal.catalog.opening import open_embedder
from polymodal.models.captioner import StarterCaptioner
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.questions import parse
from polymodal.tasks.statements import alternatives, is_there, others, statement
from recipes.starter import data, questions

BATCH = 8


@dataclass(frozen=True)
class Row:
    """One question to one photograph.

    Attributes:
        answer: what the captions say.
        said: what the decoder answers by itself.
        candidates: the alternatives, and what else the decoder would say.
        logprobs: of the candidates, by the decoder; -inf where it cannot say one.
        cosines: of the candidates' statements with the photograph.
        there: cosine of the thing that is asked about.
        others: of other things.
    """

    photograph: int
    kind: str
    question: str
    answer: str
    said: str
    candidates: tuple[str, ...]
    logprobs: tuple[float, ...]
    cosines: tuple[float, ...]
    there: float
    others: tuple[float, ...]


def gather(root: Path, model: Path | str, split: str, most: int | None = None) -> Iterator[Row]:
    """Rows of all questions of a split, photograph by photograph."""
    photographs = data.flickr(root, split)
    asked: dict[int, list[questions.Asked]] = {}
    for item in questions.derive(photographs.captions):
        asked.setdefault(item.photograph, []).append(item)
    embedder = open_embedder(str(model), device="cpu")
    captioner = open_captioner(str(model), embedder=embedder)
    assert isinstance(captioner, StarterCaptioner)
    texts = TextVectors(embedder, capacity=100_000)
    numbers = sorted(asked)[:most]
    began = time.monotonic()
    for part in data.batches(len(numbers), BATCH):
        batch = numbers[part]
        opened = [Image.open(photographs.paths[n]).convert("RGB") for n in batch]
        sights = captioner.look([captioner.preprocess(image) for image in opened])
        for number, sight in zip(batch, sights, strict=True):
            rows = asked[number]
            parsed = [parse(item.question) for item in rows]
            wordings = [question.wording for question in parsed]
            same = [sight] * len(rows)
            said = captioner.answer(same, wordings, candidates=3)
            pools = [
                tuple(dict.fromkeys([*alternatives(q), *(s.text for s in each if s.text)]))
                if q.kind != "yesno"
                else alternatives(q)
                for q, each in zip(parsed, said, strict=True)
            ]
            scores = captioner.score_answers(same, wordings, pools)
            for item, q, each, pool, logprobs in zip(
                rows, parsed, said, pools, scores, strict=True
            ):
                vectors = texts.embed([statement(q, answer) for answer in pool])
                thing = is_there(q)
                beside = texts.embed([statement(thing, "yes"), *others(thing)])
                cosines = [round(float(c), 5) for c in beside @ sight.embedding]
                yield Row(
                    number,
                    item.kind,
                    item.question,
                    item.answer,
                    each[0].text,
                    pool,
                    tuple(round(p, 4) for p in logprobs),
                    tuple(round(float(c), 5) for c in vectors @ sight.embedding),
                    cosines[0],
                    tuple(cosines[1:]),
                )
        done = min(part.stop, len(numbers))
        if part.start % (BATCH * 25) == 0:
            took_s = time.monotonic() - began
            print(f"{done}/{len(numbers)} photographs, {took_s:.0f} s", file=sys.stderr)


def kept(
    root: Path, model: Path | str, split: str, cache: Path, most: int | None = None
) -> list[Row]:
    """The rows, from `cache` where it has them."""
    if not cache.exists():
        rows = [asdict(row) for row in gather(root, model, split, most)]
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(rows), encoding="utf-8")
    read = json.loads(cache.read_text(encoding="utf-8"))
    return [
        Row(**{name: tuple(v) if isinstance(v, list) else v for name, v in row.items()})
        for row in read
    ]


def main() -> None:
    """Fill the cache and say how often the decoder alone is right."""
    parser = argparse.ArgumentParser(description="Ask the shipped model every derived question.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--most", type=int, help="photographs")
    options = parser.parse_args()
    rows = kept(options.data, options.model, options.split, options.cache, options.most)
    for kind in questions.KINDS:
        part = [row for row in rows if row.kind == kind]
        right = np.mean([row.said == row.answer for row in part])
        covered = np.mean([row.answer in row.candidates for row in part])
        print(f"{kind:8} {len(part):5} right {right:.3f} among the candidates {covered:.3f}")


if __name__ == "__main__":
    main()
