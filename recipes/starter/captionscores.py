"""What a captioner scores on dev: captions by BLEU and CIDEr-D, answers by kind.

Notable: the search is the one that runs in the package; only the decoder's step is torch's or
onnxruntime's, so the same lines score a checkpoint and the shipped files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from polymodal.models.decoding import Candidate, Search, beam_search
from recipes.starter import captionmetrics, captionwords, questions
from recipes.starter.captionnet import Captioner
from recipes.starter.captionwords import CAPTION, EOS, Vocabulary

BATCH = 32
BANNED = tuple(i for i in range(len(captionwords.SPECIAL)) if i != EOS)


def torch_step(network: Captioner, grids: Tensor) -> tuple[Callable[..., Any], Tensor]:
    """The decoder's step for a batch of grids, and its empty past."""
    with torch.inference_mode():
        sight = network.look(grids)
        past = network.empty_past(len(grids), 1)

    def step(ids: NDArray[np.int64], past: Tensor) -> tuple[NDArray[np.float32], Tensor]:
        with torch.inference_mode():
            logprobs, grown = network.step(torch.from_numpy(ids), sight, past)
        return logprobs.numpy(), grown

    return step, past


def torch_reorder(past: Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Beams of each photograph in a new order."""
    which = torch.from_numpy(rows)
    return torch.stack([past[:, :, b, which[b]] for b in range(len(rows))], 2)


def search_of(beams: int, alpha: float, longest: int = 20) -> Search:
    """Beam search that says words only."""
    return Search(beams=beams, longest=longest, alpha=alpha, end=EOS, banned=BANNED)


def captions(
    network: Captioner,
    grids: NDArray[np.float16],
    search: Search,
    prompt: Sequence[int] = (CAPTION,),
) -> list[list[Candidate]]:
    """Candidates for every grid."""
    network.eval()
    found: list[list[Candidate]] = []
    for start in range(0, len(grids), BATCH):
        part = torch.from_numpy(grids[start : start + BATCH].astype(np.float32))
        step, past = torch_step(network, part)
        prompts = np.tile(np.array(prompt, np.int64), (len(part), 1))
        found += beam_search(step, torch_reorder, prompts, past, search)
    return found


def caption_scores(
    said: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> dict[str, float]:
    """BLEU-1 to -4 and CIDEr-D of one caption a photograph."""
    bleu = captionmetrics.bleu(said, references)
    scores = {f"bleu{n + 1}": round(value, 2) for n, value in enumerate(bleu)}
    return scores | {"cider_d": round(captionmetrics.cider(said, references), 2)}


def score_captions(
    network: Captioner,
    vocabulary: Vocabulary,
    grids: NDArray[np.float16],
    references: Sequence[Sequence[Sequence[str]]],
    search: Search,
) -> dict[str, float]:
    """`caption_scores` of the best candidates."""
    found = captions(network, grids, search)
    said = [vocabulary.text(each[0].tokens).split() for each in found]
    return caption_scores(said, references)


def answers(
    network: Captioner,
    vocabulary: Vocabulary,
    grids: NDArray[np.float16],
    asked: Sequence[questions.Asked],
) -> list[str]:
    """The answer of greedy search to every question."""
    network.eval()
    prompts = [
        [captionwords.QUESTION, *vocabulary.ids(item.question.split()), captionwords.ANSWER]
        for item in asked
    ]
    out = [""] * len(asked)
    order = sorted(range(len(asked)), key=lambda row: len(prompts[row]))
    while order:
        length = len(prompts[order[0]])
        rows = [row for row in order[:BATCH] if len(prompts[row]) == length]
        order = order[len(rows) :]
        grid = grids[[asked[row].photograph for row in rows]].astype(np.float32)
        step, past = torch_step(network, torch.from_numpy(grid))
        ids = np.array([prompts[row] for row in rows])
        found = beam_search(step, torch_reorder, ids, past, search_of(1, 0.0, 3))
        for row, each in zip(rows, found, strict=True):
            out[row] = vocabulary.text(each[0].tokens)
    return out


def accuracy(said: Sequence[str], asked: Sequence[questions.Asked]) -> dict[str, float]:
    """Right answers in per cent, by kind and over all."""
    right = [a == item.answer for a, item in zip(said, asked, strict=True)]
    out = {}
    for kind in questions.KINDS:
        rows = [r for r, item in zip(right, asked, strict=True) if item.kind == kind]
        if rows:
            out[kind] = round(100 * float(np.mean(rows)), 1)
    return out | {"all": round(100 * float(np.mean(right)), 1)}


def most_frequent(
    train: Sequence[questions.Asked], asked: Sequence[questions.Asked]
) -> dict[str, float]:
    """Baseline: the commonest training answer of the kind."""
    common = {
        kind: Counter(a.answer for a in train if a.kind == kind).most_common(1)[0][0]
        for kind in questions.KINDS
    }
    return accuracy([common[item.kind] for item in asked], asked)


def question_only(
    train: Sequence[questions.Asked], asked: Sequence[questions.Asked]
) -> dict[str, float]:
    """Baseline: logistic regression on the words of the question, the picture withheld."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    models = {}
    for kind in questions.KINDS:
        rows = [a for a in train if a.kind == kind]
        pattern = r"\S+"
        counter = CountVectorizer(ngram_range=(1, 2), token_pattern=pattern)
        model = make_pipeline(counter, LogisticRegression(C=1.0, max_iter=300))
        models[kind] = model.fit([a.question for a in rows], [a.answer for a in rows])
    said = [str(models[item.kind].predict([item.question])[0]) for item in asked]
    return accuracy(said, asked)
