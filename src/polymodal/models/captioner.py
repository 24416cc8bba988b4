"""The starter captioner: the embedder's image tower, a projector and a small decoder in ONNX.

Notable: the decoder reads one token more at a time and keeps the keys and values of those before
(`past`), so a caption costs as many small steps as it has words. Beams share their picture. Weight
files arrive as verified bytes and are read on first use.

Shapes: B pictures, S beams, T tokens, L layers, H heads, P tokens already read, V words.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from polymodal.errors import DamagedWeights, UsageError
from polymodal.models.decoding import Candidate, Search, beam_search
from polymodal.models.describing import AnswerCalibration, Said, Sight
from polymodal.models.protocols import Pixels
from polymodal.models.resident import Resident
from polymodal.models.starter import cores, onnx, open_session, run_each
from polymodal.models.wording import split_words
from polymodal.profiling import profiled
from polymodal.results import Provenance

if TYPE_CHECKING:
    from PIL import Image

    from polymodal.models.resident import Resident
    from polymodal.models.unopened import Style
from polymodal.models.starter import StarterEmbedder

__all__ = ["CaptionerSpec", "StarterCaptioner"]

LOOK_FILE = "captioner/look.onnx"
STEP_FILE = "captioner/step.onnx"
WORDS_FILE = "captioner/words.json"

CPU = ["CPUExecutionProvider"]
BATCH = 16
LONGEST_PROMPT, LONGEST_ABOUT, LONGEST_ANSWER, LONGEST_TEXT = 24, 8, 4, 28
"""Words; prompt and text together must fit the decoder's 32 positions."""
COSINE_DIGITS = 3
WANTED_NATS = 4.0
"""What a word of `about` is worth to a guided caption, once."""
STYLE_MARKS = {"plain": "caption", "short": "short", "detailed": "detailed"}
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class CaptionerSpec:
    """What the card says.

    Attributes:
        beams: width of the search that scored best on development data.
        alpha: power of the length that candidates are ranked by.
        rerank: weight of the embedder's cosine of picture and caption beside that; greedy search
            has nothing to rank.
        longest_tokens: most words of a caption.
        answers: how far answers can be trusted; without kinds where the card does not say.
    """

    provenance: Provenance
    beams: int
    alpha: float
    longest_tokens: int
    rerank: float = 0.0
    answers: AnswerCalibration = field(default_factory=AnswerCalibration)


@dataclass(frozen=True)
class Words:
    """The decoder's words and prompt marks."""

    words: tuple[str, ...]
    numbers: dict[str, int]
    marks: dict[str, int]

    @classmethod
    def parse(cls, content: bytes) -> Words:
        """From the JSON file beside the weights.

        Raises:
            DamagedWeights: when it is something else.
        """
        try:
            data = json.loads(content)
            words = tuple(str(word) for word in data["words"])
            marks = {str(name): int(number) for name, number in data["marks"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedWeights(f"{WORDS_FILE} is not a list of words: {error}") from error
        return cls(words, {word: number for number, word in enumerate(words)}, marks)

    def ids(self, text: str) -> list[int]:
        """Token numbers of a text; unknown words are the mark `unk`."""
        return [self.numbers.get(word, self.marks["unk"]) for word in split_words(text)]

    def text(self, tokens: Iterable[int]) -> str:
        """Words of token numbers."""
        return " ".join(self.words[token] for token in tokens)


class StarterCaptioner:
    """Fits `Captioner`. Safe to use from several threads."""

    def __init__(
        self, spec: CaptionerSpec, read: Callable[[str], bytes], embedder: StarterEmbedder
    ) -> None:
        """`read(name)` gives the verified bytes of a weight file; it is called on first use."""
        self._spec = spec
        self._read = read
        self._embedder = embedder
        self._lock = threading.Lock()
        self._decoder = Resident("captioner", self._load, prepare=onnx)
        self._words: Words | None = None

    @property
    def residents(self) -> Sequence[Resident[Any]]:
        """See `Unloadable.residents`; the image tower is the embedder's."""
        return (self._decoder,)

    @property
    def provenance(self) -> Provenance:
        """See `Captioner.provenance`."""
        return self._spec.provenance

    @property
    def answer_calibration(self) -> AnswerCalibration:
        """See `AnswerCalibrated.answer_calibration`."""
        return self._spec.answers

    @property
    def image_size_px(self) -> int:
        """See `Embedder.image_size_px`."""
        return self._embedder.image_size_px

    @property
    def words(self) -> Words:
        """What the decoder can say."""
        with self._lock:
            if self._words is None:
                self._words = Words.parse(self._read(WORDS_FILE))
            return self._words

    def preprocess(self, image: Image.Image) -> Pixels:
        """See `Embedder.preprocess`."""
        return self._embedder.preprocess(image)

    def look(self, batch: Sequence[Pixels]) -> list[Sight]:
        """See `Captioner.look`."""
        embeddings, grids = self._embedder.embed_and_grid(batch)
        return [Sight(vector, grid) for vector, grid in zip(embeddings, grids, strict=True)]

    @profiled("generate")
    def caption(
        self,
        sights: Sequence[Sight],
        *,
        style: Style = "plain",
        about: str = "",
        candidates: int = 1,
        beams: int | None = None,
    ) -> list[list[Said]]:
        """See `Captioner.caption`."""
        if style not in STYLE_MARKS:
            raise UsageError(f"style {style!r} is not known; use {', '.join(STYLE_MARKS)}.")
        if candidates < 1 or (beams is not None and beams < 1):
            raise UsageError("candidates and beams must be 1 or more.")
        prompt = self._caption_prompt(style, about)  # `about` as a prompt, and as wanted words
        width = max(candidates, self._spec.beams if beams is None else beams)
        search = self._search(width, self._spec.alpha, self._spec.longest_tokens)
        if about.strip():
            search = replace(search, wanted=tuple(prompt[1:-1]), bonus=WANTED_NATS)
        found = self._decode(sights, [prompt] * len(sights), search)
        if self._spec.rerank and width > 1:
            found = self._reranked(sights, found)
        return [each[:candidates] for each in found]

    @profiled("generate")
    def answer(
        self, sights: Sequence[Sight], questions: Sequence[str], *, candidates: int = 1
    ) -> list[list[Said]]:
        """See `Captioner.answer`."""
        prompts = [self._question_prompt(question) for question in questions]
        found = self._decode(sights, prompts, self._search(max(candidates, 3), 0.0, 3))
        return [each[:candidates] for each in found]

    @profiled("generate")
    def score_answers(
        self, sights: Sequence[Sight], questions: Sequence[str], answers: Sequence[Sequence[str]]
    ) -> list[list[float]]:
        """See `Captioner.score_answers`."""
        unknown = self.words.marks["unk"]
        out = []
        for sight, question, each in zip(sights, questions, answers, strict=True):
            ids = [self.words.ids(text) for text in each]
            usable = [i for i in ids if i and unknown not in i and len(i) <= LONGEST_ANSWER]
            prompt = self._question_prompt(question)
            scores = iter(self._score(sight, prompt, usable) if usable else ())
            out.append([next(scores) if i in usable else -math.inf for i in ids])
        return out

    @profiled("generate")
    def score_text(self, sights: Sequence[Sight], text: str) -> list[float]:
        """See `TextScorer.score_text`; a text is read up to its 28th word."""
        marks = self.words.marks
        tokens = self.words.ids(text)[:LONGEST_TEXT]
        if all(token == marks["unk"] for token in tokens):
            raise UsageError(f"{self.provenance.model} knows none of the words in {text[:60]!r}.")
        ids = np.array([marks["caption"], *tokens, marks["eos"]], np.int64)
        known = np.flatnonzero(ids[1:] != marks["unk"])

        def score(batch: Sequence[Sight]) -> list[float]:
            seen = self._see(batch)
            whole = np.broadcast_to(ids[:-1], (len(batch), 1, len(ids) - 1)).copy()
            logprobs, _ = self._step(seen, whole, _empty_past(seen, 1))
            return [float(row) for row in logprobs[:, 0, known, ids[1:][known]].sum(-1)]

        batches = [sights[start : start + BATCH] for start in range(0, len(sights), BATCH)]
        return [each for scores in run_each(score, batches) for each in scores]

    def knows(self, word: str) -> bool:
        """Whether the decoder can say a word."""
        return word in self.words.numbers

    def _caption_prompt(self, style: Style, about: str) -> list[int]:
        marks = self.words.marks
        if not about.strip():
            return [marks[STYLE_MARKS[style]]]
        if style != "plain":
            raise UsageError("a guided caption (about) has no style; leave one of them out.")
        known = [token for token in self.words.ids(about) if token != marks["unk"]]
        if not known:
            raise UsageError(
                f"{self.provenance.model} knows none of the words in {about!r}; use simple words"
                " for what may be in the picture."
            )
        return [marks["about"], *known[:LONGEST_ABOUT], marks["caption"]]

    def _question_prompt(self, question: str) -> list[int]:
        tokens = self.words.ids(question)
        if not tokens:
            raise UsageError("the question has no words.")
        if len(tokens) > LONGEST_PROMPT:
            raise UsageError(
                f"the question has {len(tokens)} words; {self.provenance.model} reads at most"
                f" {LONGEST_PROMPT}."
            )
        return [self.words.marks["question"], *tokens, self.words.marks["answer"]]

    def _search(self, beams: int, alpha: float, longest: int) -> Search:
        marks = self.words.marks
        banned = tuple(number for name, number in marks.items() if name != "eos")
        return Search(beams, longest, alpha, marks["eos"], banned)

    def _decode(
        self, sights: Sequence[Sight], prompts: Sequence[list[int]], search: Search
    ) -> list[list[Said]]:
        """Candidates of each picture; prompts of one length share a batch: no padding.

        A core decodes a batch: the steps are too small to be shared by several.
        """
        size = max(1, min(BATCH, -(-len(sights) // cores())))
        groups: list[list[int]] = []
        for row in sorted(range(len(sights)), key=lambda row: len(prompts[row])):
            last = groups[-1] if groups else []
            if last and len(last) < size and len(prompts[last[0]]) == len(prompts[row]):
                last.append(row)
            else:
                groups.append([row])

        def decode(rows: list[int]) -> list[list[Candidate]]:
            seen = self._see([sights[row] for row in rows])
            ids = np.array([prompts[row] for row in rows], np.int64)
            step = partial(self._step, seen)
            return beam_search(step, _reorder, ids, _empty_past(seen, 1), search)

        out: list[list[Said]] = [[] for _ in sights]
        for rows, found in zip(groups, run_each(decode, groups), strict=True):
            for row, candidates in zip(rows, found, strict=True):
                out[row] = [self._said(each, search.alpha) for each in candidates]
        return out

    def _reranked(
        self, sights: Sequence[Sight], found: Sequence[Sequence[Said]]
    ) -> list[list[Said]]:
        """Candidates in the order that the decoder and the embedder agree on.

        Cosines are rounded: vectors may differ in their last bits with what else is in a batch,
        and captions must not.
        """
        texts = list(dict.fromkeys(said.text for each in found for said in each if said.text))
        vectors = dict(zip(texts, self._embedder.embed_texts(texts), strict=True))
        matched = self._embedder.calibration
        out = []
        for sight, each in zip(sights, found, strict=True):
            weighed = []
            for said in each:
                cosine = float(vectors[said.text] @ sight.embedding) if said.text else -1.0
                cosine = round(cosine, COSINE_DIGITS)
                score = said.score + self._spec.rerank * cosine
                fit = 1 / (1 + math.exp(-matched.match_scale * cosine - matched.match_bias))
                weighed.append(replace(said, score=score, fit=fit))
            out.append(sorted(weighed, key=lambda said: (-said.score, said.text)))
        return out

    def _said(self, found: Candidate, alpha: float) -> Said:
        mean = found.logprob / (len(found.tokens) + 1)
        text = self.words.text(found.tokens)
        return Said(text, found.logprob, found.score(alpha), math.exp(mean))

    def _score(self, sight: Sight, prompt: list[int], texts: list[list[int]]) -> list[float]:
        """Log-probability of texts after a prompt, end included, in one pass over each."""
        end = self.words.marks["eos"]
        whole = [[*prompt, *tokens, end] for tokens in texts]
        # Padding comes after what is scored, and a token sees only what is before it.
        ids = np.full((1, len(whole), max(map(len, whole))), end, np.int64)
        for row, tokens in enumerate(whole):
            ids[0, row, : len(tokens)] = tokens
        seen = self._see([sight])
        logprobs, _ = self._step(seen, ids[:, :, :-1], _empty_past(seen, len(whole)))
        out = []
        for row, tokens in enumerate(whole):
            places = np.arange(len(prompt), len(tokens))
            out.append(float(logprobs[0, row, places - 1, ids[0, row, places]].sum()))
        return out

    def _see(self, sights: Sequence[Sight]) -> Floats:
        """Keys and values of pictures for every layer: [L, 2, B, H, M, D / H]."""
        with self._decoder.use() as (look, _):
            # One at a time: sums over 2,560 features are split by the number of rows, and a
            # picture must look the same alone and in a batch, to the last bit.
            each = [look.run(["sight"], {"grid": sight.grid[None]})[0] for sight in sights]
        return np.concatenate(each, axis=2)

    def _step(self, seen: Floats, tokens: NDArray[np.int64], past: Floats) -> tuple[Floats, Floats]:
        feed = {"tokens": tokens, "sight": seen, "past": past}
        with self._decoder.use() as (_, decode):
            logprobs, grown = decode.run(["logprobs", "grown"], feed)
        return logprobs, grown

    def _load(self) -> tuple[Any, Any]:
        look, step = (open_session(self._read(name), CPU, 1) for name in (LOOK_FILE, STEP_FILE))
        return look, step


def _empty_past(seen: Floats, beams: int) -> Floats:
    """[L, 2, B, S, H, P = 0, D / H]."""
    layers, two, pictures, heads, _, width = seen.shape
    return np.zeros((layers, two, pictures, beams, heads, 0, width), np.float32)


def _reorder(past: Floats, rows: NDArray[np.int64]) -> Floats:
    """The past with beam `rows[b, s]` in place of beam s."""
    pictures = np.arange(rows.shape[0])[:, None]
    return past[:, :, pictures, rows]
