"""A run of a Q-Former's first stage, from its recipe, parts and pairs to a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.errors import UsageError
from polymodal.models.hub_loading import Source
from polymodal.training.bridge_recipes import QFormerRecipe
from polymodal.training.contrastive_task import autocast, check_batch, recalls_of, spread
from polymodal.training.estimate import Estimate, estimate
from polymodal.training.loading import Batch, Loader, PairSamples, held_out
from polymodal.training.pairs import Pairs
from polymodal.training.qformer_model import QFormerParts, start_qformer
from polymodal.training.ranks import gathered, largest_over_ranks, mean_over_ranks, ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.runfolder import begun, saving, write_card
from polymodal.training.trainer import Trainer, steps_of

__all__ = ["QFormerRun", "QFormerTask"]

VALIDATED = 32
"""Items that are embedded at a time."""


@dataclass
class QFormerTask:
    """Fits `Task`. `model` is a `StageOne`, wrapped for its ranks.

    Attributes:
        validation: None measures nothing.
    """

    model: nn.Module
    loader: Loader
    device: torch.device
    recipe: QFormerRecipe
    parts: QFormerParts
    validation: PairSamples | None

    def step(self, batch: Batch, scale: float) -> Tensor:
        """See `Task.step`."""
        inputs, others = _among_ranks(batch, self.parts)
        with autocast(self.recipe, self.device):
            losses = self.model(*inputs, **others)
        total: Tensor = losses.total
        (total * scale).backward()
        return mean_over_ranks(total)

    def after_step(self) -> None:
        """See `Task.after_step`."""
        self.parts.model.pretraining.clamp_()

    def validate(self) -> dict[str, float]:
        """Recalls by the contrast alone, in per cent, over the pictures that open.

        Raises:
            TrainingError: none does.
        """
        if self.validation is None:
            return {}
        kept, seen = [], []
        found = self.validation.that_open()
        while part := list(islice(found, VALIDATED)):
            kept += [number for number, _ in part]
            seen.append(self._images([sample.value[0] for _, sample in part]))
        captions = [self.validation.pairs.items[number].captions for number in kept]
        own = np.repeat(np.arange(len(kept)), [len(each) for each in captions])
        text_MD = self._texts([text for each in captions for text in each])
        score_NM = torch.cat([(image_BQD @ text_MD.T).amax(1) for image_BQD in seen])
        return recalls_of(score_NM.T.cpu().numpy(), own)

    def _images(self, pixels: Sequence[Any]) -> Tensor:
        model = self.parts.model
        with autocast(self.recipe, self.device):
            seen = model.see(torch.from_numpy(np.stack(pixels)).to(self.device))
            vectors: Tensor = model.pretraining.image_vectors(seen).float()
        return vectors

    def _texts(self, texts: Sequence[str]) -> Tensor:
        found = []
        for part in _parts(texts):
            ids, mask = (each.to(self.device) for each in self.parts.tokens(part))
            with autocast(self.recipe, self.device):
                found.append(self.parts.model.pretraining.text_vectors(ids, mask).float())
        return torch.cat(found)


def _among_ranks(batch: Batch, parts: QFormerParts) -> tuple[tuple[Tensor, ...], dict[str, Any]]:
    """What `StageOne` takes of this rank's pairs: texts of one length on all, and how to gather."""
    pixels, ids_BS, mask_BS = batch.inputs
    room = largest_over_ranks(ids_BS.shape[1]) - ids_BS.shape[1]
    ids_BS = F.pad(ids_BS, (0, room), value=int(parts.tokenizer.pad_token_id))
    inputs = (pixels, ids_BS, F.pad(mask_BS, (0, room)))
    return inputs, {"gather": gathered, "offset": ranks().rank * len(ids_BS)}


def _parts(items: Sequence[Any]) -> list[Sequence[Any]]:
    return [items[at : at + VALIDATED] for at in range(0, len(items), VALIDATED)]


@dataclass
class QFormerRun:
    """What is to be run, checked and in memory."""

    recipe: QFormerRecipe
    vision: Source
    text: Source
    data: Pairs
    validation: Pairs | None
    device: torch.device

    def __post_init__(self) -> None:
        """Load the parts and lay out the data.

        Raises:
            UsageError: recipe, parts and data do not fit each other.
        """
        check_batch(self.recipe, 1)
        if self.recipe.sharding != "copies":
            raise UsageError("a Q-Former is small and trained in copies: leave `sharding` out.")
        if self.recipe.recompute:
            raise UsageError(
                "a Q-Former keeps its activations, and there is no recomputing them: leave"
                " `recompute` out, or set a smaller `batch` or more processes."
            )
        self.parts = start_qformer(self.recipe, self.vision, self.text)
        self.groups = parameter_groups(self.parts.model, self.recipe.rates, self.recipe.decay)
        samples = PairSamples(self.data, self.parts.preparation, self.recipe.seed)
        self.loader = Loader(
            samples,
            self.parts.collate,
            self.recipe.batch,
            self.recipe.seed,
            self.recipe.workers,
            pin=self.device.type == "cuda",
        )

    def estimate(self) -> Estimate:
        """Parameters, memory and time, from one batch that is really run."""
        batch = next(self.loader.from_step(0, 1)).to(self.device)
        inputs, others = _among_ranks(batch, self.parts)
        with autocast(self.recipe, self.device):
            return estimate(
                self.parts.model.to(self.device).train(),
                inputs,
                self.groups,
                others=others,
                steps=steps_of(self.recipe, self.loader),
                passes=1,
                ema=bool(self.recipe.ema),
            )

    def run(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        resume: bool = False,
        accept_changes: bool = False,
    ) -> dict[str, float]:
        """Train, and write the model into the folder; gives the last scores.

        Raises:
            UsageError: see `RunFolder.begin`.
            TrainingError: see `Trainer.run`.
        """
        how = {"resume": resume, "accept_changes": accept_changes}
        run = begun(folder, say, self.recipe, self._about(), **how)
        model = spread(self.parts.model.to(self.device), self.recipe, self.device)
        validation = held_out(self.validation, self.parts.preparation, self.recipe.seed)
        task = QFormerTask(model, self.loader, self.device, self.recipe, self.parts, validation)
        scores = Trainer(task, self.recipe, run).run()
        if ranks().first:
            with saving(folder):
                self.parts.save(folder)
                write_card(folder, run.record, scores)
        return scores

    def _about(self) -> dict[str, Any]:
        return {
            "model": self.parts.name,
            "licences": self.parts.licences,
            "data": self.data.source,
            "data_fingerprint": self.data.fingerprint,
            "validation": self.validation.source if self.validation else None,
        }
