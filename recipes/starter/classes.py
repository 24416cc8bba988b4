"""Train the class head: from a text to the ImageNet classes it speaks of.

The classifier gives a photograph a distribution p over 1,000 classes. The class head gives a text
a distribution q over the same classes, learned from class names, kinds and descriptions, and from
captions (whose target is the classifier's p for their photograph). Both are compared by the
Bhattacharyya coefficient, sum of sqrt(p q): the cosine of the vectors sqrt(p) and sqrt(q), which
lie on the unit sphere. A fixed orthonormal basis shortens both to K numbers; it is chosen so that
the kinds and the captions' targets lose least.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recipes.starter import backbones, towers, zeroshot

CAPTION_WEIGHT = 0.5
KIND_SAMPLING = 8.0
STEPS = 600
TEMPLATES = ["{}", "a {}", "a photo of a {}", "a picture of {}"]
BATCH = 256
NOISE = 0.3


@dataclass(frozen=True)
class ClassTexts:
    """Texts about classes [T]: the class distribution of each, how often each is drawn, and
    whether it is a name (or kind) rather than a description."""

    texts: list[str]
    target_TC: Tensor
    weight_T: Tensor
    is_name_T: Tensor


def class_texts() -> ClassTexts:
    """Names and kinds in several templates, and descriptions as they are."""
    names, kinds, descriptions = zeroshot.class_texts()
    meanings: dict[str, dict[int, float]] = {}
    for number in range(backbones.CLASSES):
        named = [(text, 3.0) for text in [*names[number], descriptions[number]]]
        for text, weight in [*named, *((text, 1.0) for text in kinds[number])]:
            entry = meanings.setdefault(text, {})
            entry[number] = entry.get(number, 0.0) + weight
    wide = {text for group in kinds for text in group}
    told = set(descriptions)
    texts_, targets, weights, is_name = [], [], [], []
    for text, entry in meanings.items():
        target_C = torch.zeros(backbones.CLASSES)
        target_C[list(entry)] = torch.tensor(list(entry.values()))
        for template in ["{}"] if text in told else TEMPLATES:
            texts_.append(template.format(text))
            targets.append(target_C / target_C.sum())
            weights.append(KIND_SAMPLING if text in wide else 1.0)
            is_name.append(float(text not in told))
    return ClassTexts(texts_, torch.stack(targets), torch.tensor(weights), torch.tensor(is_name))


def basis(target_TC: Tensor, chances_NC: Tensor, size: int) -> Tensor:
    """Orthonormal columns [C, size] that keep most of sqrt(target) and sqrt(chances)."""
    a_TC, b_NC = target_TC.sqrt(), chances_NC.sqrt()
    moment_CC = a_TC.T @ a_TC / len(a_TC) + b_NC.T @ b_NC / len(b_NC)
    vectors = torch.linalg.eigh(moment_CC)[1]
    return vectors[:, -size:].flip(1).contiguous()


def fit(
    about: ClassTexts,
    text_TE: Tensor,
    caption_ME: Tensor,
    chances_NC: Tensor,
    basis_CK: Tensor,
    seed: int = 0,
) -> towers.ClassHead:
    """Train logits and gate from text embeddings: class texts [T, E] and captions [M, E]."""
    torch.manual_seed(seed)
    head = towers.Head(towers.WIDTH, 1024, backbones.CLASSES, 0.3)
    head.standardise(torch.cat([text_TE, caption_ME[: len(text_TE)]]))
    gate = nn.Linear(towers.WIDTH, 1)
    optimise = torch.optim.AdamW(
        [*head.parameters(), *gate.parameters()], lr=1e-3, weight_decay=0.1
    )
    spread_E = 1 / head.scale
    for step in range(STEPS):
        for group in optimise.param_groups:
            group["lr"] = 1e-3 * (1 + math.cos(math.pi * step / STEPS)) / 2
        rows = torch.multinomial(about.weight_T, BATCH, replacement=True)
        captions = torch.randint(len(caption_ME), (BATCH,))
        input_BE = torch.cat([text_TE[rows], caption_ME[captions]])
        input_BE = input_BE + NOISE * spread_E * torch.randn_like(input_BE)
        wanted_BC = torch.cat([about.target_TC[rows], chances_NC[captions // 5]])
        losses_B = -(wanted_BC * F.log_softmax(head(input_BE), 1)).sum(1)
        loss = losses_B[:BATCH].mean() + CAPTION_WEIGHT * losses_B[BATCH:].mean()
        named_B1 = gate((input_BE - head.mean) * head.scale)
        wanted_B1 = torch.cat([about.is_name_T[rows], torch.zeros(BATCH)])[:, None]
        loss = loss + F.binary_cross_entropy_with_logits(named_B1, wanted_B1)
        optimise.zero_grad()
        loss.backward()
        optimise.step()
        if step % 100 == 0:
            print(f"class head {step}/{STEPS}: loss {loss.item():.3f}", file=sys.stderr)
    return towers.ClassHead(head, gate, basis_CK).eval()


def chances(classifier: nn.Linear, features_NF: Tensor) -> Tensor:
    """The classifier's probabilities [N, C]."""
    with torch.no_grad():
        return classifier(features_NF).softmax(1)
