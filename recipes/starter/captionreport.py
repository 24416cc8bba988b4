"""What the shipped captioner scores on dev, through the package as a user runs it.

    python -m recipes.starter.captionreport --data DIR [--weights FOLDER] [--search]

No torch here. `--search` tries other beams, length powers and re-ranking by the embedder, which is
how the card's settings were chosen.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.catalog.captioners import open_captioner
from polymodal.media.pictures import open_picture
from polymodal.models.captioner import StarterCaptioner
from polymodal.models.describing import Said, Sight
from polymodal.models.unopened import STYLES
from polymodal.tasks.caption import DOUBTED
from recipes.starter import data, manifest, questions
from recipes.starter.captionscores import accuracy, caption_scores, most_frequent, question_only
from recipes.starter.captionwords import words

BATCH = 32
STYLED = 200
"""Photographs for the length of a style."""


def opened(weights: Path) -> StarterCaptioner:
    """The captioner of a weights folder."""
    captioner = open_captioner(str(weights), device="cpu")
    assert isinstance(captioner, StarterCaptioner)
    return captioner


def looked(captioner: StarterCaptioner, paths: Sequence[Path]) -> list[Sight]:
    """Every photograph, once."""
    found: list[Sight] = []
    for rows in data.batches(len(paths), BATCH):
        pictures = [open_picture(path, target_px=captioner.image_size_px) for path in paths[rows]]
        found += captioner.look([captioner.preprocess(each.image) for each in pictures])
    return found


def references(dev: data.Captioned) -> list[list[list[str]]]:
    """Dev captions as words."""
    return [[words(text) for text in row] for row in dev.captions]


def best(found: Sequence[Sequence[Said]]) -> list[list[str]]:
    """The first candidates as words."""
    return [words(each[0].text) for each in found]


def scores(root: Path, weights: Path) -> dict[str, Any]:
    """The card's scores."""
    captioner, dev = opened(weights), data.flickr(root, "dev")
    sights, refs = looked(captioner, dev.paths), references(dev)
    table: dict[str, Any] = {}
    plain = captioner.caption(sights)
    for name, said in (("", plain), ("greedy_", captioner.caption(sights, beams=1))):
        for key, value in caption_scores(best(said), refs).items():
            table[f"flickr8k_dev_{name}{key}"] = value
    for style in STYLES:
        each = best(captioner.caption(sights[:STYLED], style=style))
        table[f"mean_words_{style}"] = round(float(np.mean([len(text) for text in each])), 1)
    table |= guided(captioner, sights[:STYLED], refs[:STYLED])
    table["doubted_dev"] = doubted(plain)
    clothing = looked(captioner, data.clothing(root, "validation").paths)
    table["doubted_clothing"] = doubted(captioner.caption(clothing))
    return table | answered(captioner, sights, root)


def doubted(found: Sequence[Sequence[Said]]) -> float:
    """Per cent of captions that are said to be doubtful."""
    fits = [each[0].fit for each in found]
    return round(100 * float(np.mean([fit is None or fit < DOUBTED for fit in fits])), 1)


def guided(
    captioner: StarterCaptioner, sights: Sequence[Sight], refs: Sequence[Sequence[Sequence[str]]]
) -> dict[str, float]:
    """How often a caption about a word of the photograph's own captions takes it up."""
    taken, plain = 0, 0
    unguided = best(captioner.caption(sights))
    for sight, each, text in zip(sights, refs, unguided, strict=True):
        nouns = [w for w in each[0] if questions.singular(w) in questions.NOUNS]
        if not nouns:
            continue
        said = words(captioner.caption([sight], about=nouns[-1])[0][0].text)
        taken += nouns[-1] in said
        plain += nouns[-1] in text
    count = sum(
        any(questions.singular(w) in questions.NOUNS for w in each[0]) for each in refs
    )  # fmt: skip
    return {
        "guided_word_taken_up": round(100 * taken / count, 1),
        "guided_word_said_anyway": round(100 * plain / count, 1),
    }


def answered(captioner: StarterCaptioner, sights: Sequence[Sight], root: Path) -> dict[str, float]:
    """Right answers to questions derived from dev captions, beside the two baselines."""
    train = questions.derive(data.flickr(root, "train").captions)
    asked = questions.derive(data.flickr(root, "dev").captions)
    found = captioner.answer(
        [sights[item.photograph] for item in asked], [item.question for item in asked]
    )
    said = [each[0].text for each in found]
    tables = {
        "answers": accuracy(said, asked),
        "answers_frequent": most_frequent(train, asked),
        "answers_question_only": question_only(train, asked),
    }
    return {f"{name}_{kind}": v for name, each in tables.items() for kind, v in each.items()}


def searched(root: Path, weights: Path) -> None:
    """Print scores of other search settings, and of re-ranking by the embedder."""
    captioner, dev = opened(weights), data.flickr(root, "dev")
    captioner = StarterCaptioner(
        replace(captioner._spec, rerank=0.0, alpha=0.7), captioner._read, captioner._embedder
    )
    sights, refs = looked(captioner, dev.paths), references(dev)
    wide = {beams: captioner.caption(sights, candidates=beams, beams=beams) for beams in (3, 5)}
    for beams, found in wide.items():
        for alpha in (0.0, 0.5, 0.7, 1.0):
            picked = [
                max(each, key=lambda said: said.logprob / (len(said.text.split()) + 1) ** alpha)
                for each in found
            ]
            table = caption_scores([words(said.text) for said in picked], refs)
            print(f"beams {beams} alpha {alpha}: {table}")
    embedder = captioner._embedder
    for beams in (3, 5):
        texts = sorted({said.text for each in wide[beams] for said in each if said.text})
        vectors = dict(zip(texts, embedder.embed_texts(texts), strict=True))
        for weight in (0.0, 1.0, 2.0, 4.0, 8.0):
            picked = [
                max(
                    (said for said in each if said.text),
                    key=lambda said, s=sight: (
                        said.score + weight * float(vectors[said.text] @ s.embedding)
                    ),
                )
                for each, sight in zip(wide[beams], sights, strict=True)
            ]
            table = caption_scores([words(said.text) for said in picked], refs)
            print(f"beams {beams}, embedder's cosine x {weight}: {table}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score the shipped captioner on dev.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=manifest.WEIGHTS)
    parser.add_argument("--search", action="store_true")
    options = parser.parse_args()
    if options.search:
        searched(options.data, options.weights)
        return
    for name, value in scores(options.data, options.weights).items():
        print(f"{name} = {value}")


if __name__ == "__main__":
    main()
