"""A model without weights that finds pictures and describes them, for tests of both together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import polymodal as pm
from polymodal.models.describing import Said, Sight
from polymodal.models.protocols import Pixels

SAYS = {"red": "a fire engine", "green": "a mown lawn", "blue": "the open sea"}


class Describer(pm.MockEmbedder):
    """An embedder that is a captioner too, and says what the colour of a picture reminds it of."""

    provenance = pm.Provenance("describer", "1")

    def __init__(self) -> None:
        super().__init__()
        self.looked = 0
        self._colours = self.embed_texts(list(SAYS))

    def look(self, batch: Sequence[Pixels]) -> list[Sight]:
        self.looked += len(batch)
        grid = np.zeros((1, 1), np.float32)
        return [Sight(vector, grid) for vector in self.embed_images(batch)]

    def caption(self, sights: Sequence[Sight], **_: Any) -> list[list[Said]]:
        nearest = [int((self._colours @ sight.embedding).argmax()) for sight in sights]
        return [[Said(list(SAYS.values())[each], -1.0, -1.0, 0.5)] for each in nearest]

    def answer(self, sights: Sequence[Sight], questions: Sequence[str], **_: Any) -> Any:
        raise NotImplementedError

    def score_answers(self, sights: Sequence[Sight], questions: Sequence[str], answers: Any) -> Any:
        raise NotImplementedError
