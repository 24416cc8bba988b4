"""A contrastive run from its recipe, model and data to a folder that every verb loads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from polymodal.errors import UsageError
from polymodal.models.hub_loading import Source
from polymodal.nn.losses import InfoNCE, SigLIP
from polymodal.training.contrastive_task import (
    ContrastiveTask,
    check_batch,
    spread,
)
from polymodal.training.estimate import Estimate, estimate
from polymodal.training.loading import Loader, PairSamples, held_out
from polymodal.training.pairs import Pairs
from polymodal.training.ranks import ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.recipes import ClipRecipe, ContrastiveRecipe
from polymodal.training.runfolder import begun, saving, write_card
from polymodal.training.towers import (
    Tower,
    clip_from_nothing,
    load_towers,
    recompute_activations,
)
from polymodal.training.trainer import WHOLE, Trainer, steps_of

__all__ = ["ContrastiveRun", "loss_of"]


def loss_of(recipe: ContrastiveRecipe, scale: float) -> nn.Module:
    """The recipe's loss at the start."""
    scale = recipe.scale or scale
    if recipe.loss == "sigmoid":
        return SigLIP(recipe.batch, scale=scale)
    return InfoNCE(scale=scale, label_smoothing=recipe.label_smoothing)


@dataclass
class ContrastiveRun:
    """What is to be run, checked and in memory.

    Attributes:
        source: the checkpoint to start from; None starts from random weights (`ClipRecipe`).
    """

    recipe: ContrastiveRecipe
    source: Source | None
    data: Pairs
    validation: Pairs | None
    device: torch.device

    def __post_init__(self) -> None:
        """Load the model and lay out the data.

        Raises:
            UsageError: recipe, model and data do not fit each other.
        """
        check_batch(self.recipe, self.recipe.chunks)
        self.tower = self._tower()
        if self.recipe.recompute:
            recompute_activations(self.tower.encoder.model)
        samples = PairSamples(self.data, self.tower.preparation, self.recipe.seed)
        self.loader = Loader(
            samples,
            self.tower.collate,
            self.recipe.batch,
            self.recipe.seed,
            self.recipe.workers,
            pin=self.device.type == "cuda",
        )

    def _tower(self) -> Tower:
        recipe = self.recipe
        if isinstance(recipe, ClipRecipe):
            if self.source is not None:
                raise UsageError(
                    f"{recipe.name} starts from random weights, so it takes no -m. To go on from a"
                    " checkpoint: --recipe clip_finetune."
                )
            return clip_from_nothing(
                [text for item in self.data.items for text in item.captions],
                seed=recipe.seed,
                image_size=recipe.image_size,
                patch=recipe.patch,
                vision=recipe.vision,
                text=recipe.text,
                width=recipe.width,
                text_tokens=recipe.text_tokens,
                vocabulary=recipe.vocabulary,
                smallest=recipe.smallest_crop,
            )
        if self.source is None:
            raise UsageError(f"{recipe.name} starts from a checkpoint: name it with -m.")
        if recipe.loss == "sigmoid" and recipe.label_smoothing:
            raise UsageError("label_smoothing is for loss=infonce: leave one of the two out.")
        tower = load_towers(self.source, smallest=recipe.smallest_crop)
        if tower.sigmoid != (recipe.loss == "sigmoid"):
            trained = "sigmoid" if tower.sigmoid else "infonce"
            raise UsageError(
                f"{self.source.name} was trained with the loss {trained!r} and its saved form has"
                f" only that one's numbers: add --set loss={trained}, or choose a checkpoint of"
                f" {'CLIP' if tower.sigmoid else 'SigLIP'}."
            )
        return tower

    def estimate(self) -> Estimate:
        """Parameters, memory and time, from one chunk that is really run."""
        model = self._model(self.tower.encoder)
        groups = parameter_groups(model, self.recipe.rates, self.recipe.decay)
        steps = steps_of(self.recipe, self.loader)
        batch = next(self.loader.from_step(0, 1)).to(self.device)
        images, texts, _ = batch.inputs
        share = len(images)
        rows = -(-share // self.recipe.chunks)
        part = (images[:rows], {name: value[:rows] for name, value in texts.items()})
        passes = (4 / 3 if self.recipe.chunks > 1 else 1) * share / rows
        return estimate(
            model["encoder"].to(self.device),
            part,
            groups,
            steps=steps,
            passes=passes,
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
        model = self._model(self.tower.encoder).to(self.device)
        # What is frozen must be so before it is spread over ranks.
        parameter_groups(model, self.recipe.rates, self.recipe.decay)
        model["encoder"] = spread(model["encoder"], self.recipe, self.device)
        task = ContrastiveTask(
            model=model,
            loader=self.loader,
            device=self.device,
            recipe=self.recipe,
            chunks=self.recipe.chunks,
            validation=held_out(self.validation, self.tower.preparation, self.recipe.seed),
            tokens=self.tower.tokens,
        )
        scores = Trainer(task, self.recipe, run).run()
        weights = get_model_state_dict(model["encoder"], options=WHOLE)
        if ranks().first:
            with saving(folder):
                self.tower.save(folder, weights, model["loss"])
                write_card(folder, run.record, scores)
        return scores

    def _model(self, encoder: nn.Module) -> nn.ModuleDict:
        return nn.ModuleDict({"encoder": encoder, "loss": loss_of(self.recipe, self.tower.scale)})

    def _about(self) -> dict[str, Any]:
        return {
            "model": self.source.name if self.source else "random weights",
            "data": self.data.source,
            "data_fingerprint": self.data.fingerprint,
            "validation": self.validation.source if self.validation else None,
        }
