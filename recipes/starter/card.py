"""The card beside the weights: what they are, how to use them, what they score."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from recipes.starter import cache, classes, evaluate, everyday, metrics, towers, train

VERSION = "0.1.0"

MODEL: dict[str, object] = {
    "id": "starter",
    "name": "polymodal starter embedder",
    "version": VERSION,
    "licence": "Apache-2.0 for code and base weights; trained on Flickr8k captions (research and "
    "education): see LICENSE-NOTE.md",
    "description": "Photographs and English text in one space. Image side: EfficientNet-Lite2 and "
    "-Lite1, frozen, in static int8; heads see a summary of every stage. Text side: "
    "all-MiniLM-L6-v2, upper half tuned. Four contrastive heads, and a class part from the "
    "ImageNet classifier.",
    "data": [
        "ImageNet-1k, through the weights of EfficientNet-Lite",
        "about 1.17 billion sentence pairs, through the weights of all-MiniLM-L6-v2",
        "Flickr8k, 6,000 photographs with five captions each (train split)",
        "ImageNet class names and descriptions, and a hand-written table of their kinds",
    ],
    "limits": [
        "English only",
        "captions describe people and dogs outdoors more than anything else",
        "trained on 6,000 photographs: expect mistakes that larger models do not make",
        "does not read text in images, does not count, knows no names of persons",
        "not for identifying persons or for decisions about them",
    ],
}

PEOPLE = ["man", "woman", "young man", "young woman", "boy", "girl", "kid", "group of people"]
KINDS = dict.fromkeys(("person", "people", "human"), PEOPLE)
"""Class names that neither ImageNet's classes nor the captions know, by what captions say instead;
chosen on Flickr8k's training photographs (LOG.md)."""

CLOSE_LOOK: dict[str, object] = {"image_size": 320, "cells": 5}
"""How probes look at photographs; LOG.md has what else was tried."""

NOTES = {
    "scores": "printed by python -m recipes.starter.evaluate --data DIR, from the shipped files",
    "scores_splits": "dev and validation were used for choosing; their numbers flatter a little",
    "classify_temperature": "lowest NLL of softmax(cosine / temperature), clothing validation, "
    "natural words",
    "match": "sigmoid(scale * cosine + bias), logistic fit on Flickr8k dev: true pairs against as "
    "many shuffled pairs",
    "relevant_cosine": "where the match probability is 0.9: nine of ten pairs above it are true "
    "when true and shuffled pairs are equally many",
    "unknown": "probability that the best of the given classes fits at all, from its cosine less "
    "the mean cosine of the everyday things nearest to the photograph: clothing validation by "
    "three wordings, and people and dogs of Flickr8k dev, with the true class given and left out "
    "(recipes.starter.everyday)",
    "kinds": "class names that are closest to a photograph by the closest of these; chosen on "
    "Flickr8k train",
    "multi_label": "probability that one label applies, from its cosine: clothing validation, own "
    "class against the nine others",
}


def calibrate(found: evaluate.Embedded, unknown: tuple[float, float]) -> dict[str, float]:
    """Fit the scalars of `[calibration]` on dev embeddings.

    Args:
        unknown: scale and bias of "none of these", from `everyday.fit`.
    """
    names_KD = found.wordings["natural"]
    cosine_NK = found.clothing_ND @ names_KD.T
    labels_N = found.clothing_labels
    own_M = np.arange(len(found.text_MD)) // train.CAPTIONS
    shuffled_M = own_M + 1 + np.arange(len(own_M)) * 7 % (len(found.image_ND) - 1)
    shuffled_M %= len(found.image_ND)
    true_M = (found.text_MD * found.image_ND[own_M]).sum(1)
    false_M = (found.text_MD * found.image_ND[shuffled_M]).sum(1)
    scale, bias = metrics.fit_logistic(
        np.concatenate([true_M, false_M]), np.arange(2 * len(true_M)) < len(true_M)
    )
    own_NK = np.arange(cosine_NK.shape[1])[None] == labels_N[:, None]
    many = metrics.fit_logistic(cosine_NK.ravel(), own_NK.ravel())
    return {
        "classify_temperature": metrics.fit_temperature(cosine_NK, labels_N),
        "match_scale": scale,
        "match_bias": bias,
        "relevant_cosine": (float(np.log(9)) - bias) / scale,
        "unknown_scale": unknown[0],
        "unknown_bias": unknown[1],
        "multi_label_scale": many[0],
        "multi_label_bias": many[1],
    }


def section(name: str, values: dict[str, object]) -> str:
    """One TOML table; JSON's numbers, strings and lists are TOML's too."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def write(
    folder: Path, plan: train.Plan, calibration: dict[str, float] | None, scores: dict[str, float]
) -> None:
    """Write `folder`/card.toml; before calibration only what loading needs is filled in."""
    space: dict[str, object] = {
        "dimension": plan.contrastive_dimension + plan.class_dimension,
        "image_size": cache.SIZE,
        "resize": "bicubic",
        "crop": "center",
        "features": plan.features,
        "max_tokens": towers.MAX_TOKENS,
    }
    fitted = {key: float(f"{value:.5g}") for key, value in (calibration or {}).items()}
    parts = [
        section("model", MODEL),
        section("space", space),
        section("close_look", CLOSE_LOOK),
        section("prompts", {"templates": classes.TEMPLATES}),
        section("kinds", dict(KINDS)),
        section("everyday", {"nearest": everyday.NEAREST}),
        section("calibration", dict(fitted)),
        section("scores", dict(scores)),
        section("notes", dict(NOTES)),
    ]
    (folder / "card.toml").write_text("\n".join(parts), encoding="utf-8")
