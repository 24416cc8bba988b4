"""A judge that asks how likely the words are as a caption of each picture.

Notable: a caption's likelihood says more of its words than of the picture: common words are likely
anywhere. Among pictures held against the same words that part is the same, so what counts is how
much likelier the words are here than on the average of the others. That moves the cosine. Of a
single picture there is nothing to compare with, and the cosine stands alone; so this orders the
hits of a search, and is no tier of a cascade.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from polymodal.errors import MediaError, PolymodalError, UsageError
from polymodal.media.pictures import ImageInput, Limits, open_picture
from polymodal.models.describing import Captioner, Sight, TextScorer
from polymodal.models.protocols import Pixels
from polymodal.results import Provenance
from polymodal.runtime.batches import pipelined
from polymodal.runtime.judging import Case, Judged
from polymodal.runtime.texts import TextVectors
from polymodal.tasks.calibration import calibration_of, fits
from polymodal.tasks.match import lacks

__all__ = ["LIKELIHOOD_WEIGHT", "LikelihoodJudge"]

LIKELIHOOD_WEIGHT = 0.03
"""Cosine that a nat is worth: chosen by benchmarks/rerank.py on half of Flickr8k dev."""


@dataclass
class LikelihoodJudge:
    """Fits `Judge`; looks at all cases before it gives the first.

    Attributes:
        texts: the vectors of the captioner's own embedder, whose space its `Sight`s lie in.
        weight: see `LIKELIHOOD_WEIGHT`.
    """

    captioner: Captioner
    texts: TextVectors
    limits: Limits
    weight: float = LIKELIHOOD_WEIGHT

    @property
    def provenance(self) -> Provenance:
        """See `Judge.provenance`."""
        return self.captioner.provenance

    def judge(self, cases: Sequence[Case]) -> Iterator[tuple[Case, Judged | PolymodalError]]:
        """See `Judge.judge`."""
        outcomes: dict[int, Judged | PolymodalError] = {}
        alike: dict[str, list[int]] = {}
        for place, case in enumerate(cases):
            if (lack := lacks((case.image, case.text))) is not None:
                outcomes[place] = UsageError(lack)
            else:
                alike.setdefault(case.text, []).append(place)
        for text, places in alike.items():
            seen = pipelined([cases[place].image for place in places], self._open, self._look)
            sights: dict[int, Sight] = {}
            for place, (_, sight) in zip(places, seen, strict=True):
                if isinstance(sight, Sight):
                    sights[place] = sight
                else:
                    assert isinstance(sight, MediaError), sight
                    outcomes[place] = sight
            scores = self.scores(text, list(sights.values()))
            outcomes |= {place: Judged(score) for place, score in zip(sights, scores, strict=True)}
        yield from ((case, outcomes[place]) for place, case in enumerate(cases))

    def scores(self, text: str, sights: Sequence[Sight]) -> list[float]:
        """Probability of `match` for each picture, by the cosine that the likelihood moves."""
        if not sights:
            return []
        (vector,) = self.texts.embed([text])
        cosines = np.array([sight.embedding @ vector for sight in sights], np.float64)
        try:
            assert isinstance(self.captioner, TextScorer)
            likely = np.array(self.captioner.score_text(sights, text))
        except UsageError:  # none of the words is known: the cosine alone orders
            likely = np.zeros(len(sights))
        moved = cosines + self.weight * (likely - likely.mean())
        calibration = calibration_of(self.texts.embedder)
        return [float(each) for each in fits(calibration, moved, "match")]

    def _open(self, source: ImageInput) -> Pixels:
        picture = open_picture(source, target_px=self.captioner.image_size_px, limits=self.limits)
        return self.captioner.preprocess(picture.image)

    def _look(self, batch: Sequence[Pixels]) -> Sequence[Sight]:
        return self.captioner.look(batch)
