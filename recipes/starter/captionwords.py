"""Captions as words, and words as numbers.

Notable: tokens are whole words. The official evaluation lowers case, splits as the Penn Treebank
does and drops punctuation; `words` does the same for what occurs in captions, so nothing is learnt
that is not scored. Rare words are unknown words: a caption that needs one is cut out of no batch,
but the decoder never says `<unk>`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from polymodal.models.wording import split_words as words

__all__ = ["Vocabulary", "vectors", "vocabulary", "words"]

PAD, EOS, UNKNOWN, CAPTION, QUESTION, ANSWER, SHORT, DETAILED, ABOUT = range(9)
SPECIAL = (
    "<pad>",
    "<eos>",
    "<unk>",
    "<caption>",
    "<question>",
    "<answer>",
    "<short>",
    "<detailed>",
    "<about>",
)
START_STD = 0.05  # of word vectors
LEAST = 4  # a word that training captions hold less often is unknown


@dataclass(frozen=True)
class Vocabulary:
    """Words by number; the first numbers are `SPECIAL`."""

    words: tuple[str, ...]

    def __post_init__(self) -> None:
        numbers = {word: number for number, word in enumerate(self.words)}
        object.__setattr__(self, "_numbers", numbers)

    def __len__(self) -> int:
        return len(self.words)

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """Numbers of words; `UNKNOWN` where there is none."""
        numbers: dict[str, int] = self._numbers  # type: ignore[attr-defined]
        return [numbers.get(token, UNKNOWN) for token in tokens]

    def text(self, ids: Iterable[int]) -> str:
        """Words of numbers, up to the end mark."""
        found = []
        for number in ids:
            if number == EOS:
                break
            found.append(self.words[number])
        return " ".join(found)

    def save(self, path: Path) -> None:
        """Write the words and the numbers of the prompt marks as JSON."""
        marks = {name.strip("<>"): number for number, name in enumerate(SPECIAL)}
        content = {"format": 1, "marks": marks, "words": list(self.words)}
        path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")


def vocabulary(texts: Iterable[Sequence[str]], always: Iterable[str] = ()) -> Vocabulary:
    """Words that occur at least `LEAST` times, most frequent first, and those of `always`."""
    counts = Counter(word for text in texts for word in text)
    kept = [
        word
        for word, count in sorted(counts.items(), key=lambda x: (-x[1], x[0]))
        if count >= LEAST
    ]
    extra = sorted(set(always) - set(kept))
    return Vocabulary((*SPECIAL, *kept, *extra))


def vectors(vocabulary_: Vocabulary, embedder: Path, width: int) -> NDArray[np.float32]:
    """Where word vectors start: the embedder's text vectors, in their first `width` directions."""
    from recipes.starter.evaluate import Embedder

    texts = list(vocabulary_.words[len(SPECIAL) :])
    found = Embedder.open(embedder, 1).texts(texts)
    found = found - found.mean(0)
    _, _, directions = np.linalg.svd(found, full_matrices=False)
    reduced = found @ directions[:width].T
    out: NDArray[np.float32] = (reduced * (START_STD / reduced.std())).astype(np.float32)
    return out
