"""A run of bridged training from its recipe, model and data to a folder that every verb loads.

Notable: the folder holds the whole model with adapters merged; the adapters alone lie beside it in
`adapter/`, in peft's format, to be put on the same base elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from polymodal.errors import UsageError
from polymodal.training.adapters import adapt, merge_adapters, save_adapters
from polymodal.training.contrastive_task import autocast, spread
from polymodal.training.conversations import Dialogues
from polymodal.training.estimate import Estimate, estimate
from polymodal.training.llava_data import Collator, DialogueSamples, grouped_order, rows_of
from polymodal.training.llava_model import Llava
from polymodal.training.llava_recipes import LlavaRecipe
from polymodal.training.llava_task import AnswerLoss, LlavaTask
from polymodal.training.loading import Loader
from polymodal.training.ranks import ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.runfolder import begun, saving, write_card
from polymodal.training.towers import recompute_activations
from polymodal.training.trainer import WHOLE, Trainer, steps_of

__all__ = ["ADAPTER", "LlavaRun"]

ADAPTER = "adapter"


@dataclass
class LlavaRun:
    """What is to be run, checked and in memory."""

    recipe: LlavaRecipe
    llava: Llava
    data: Dialogues
    validation: Dialogues | None
    device: torch.device

    def __post_init__(self) -> None:
        """Lay out data and model.

        Raises:
            UsageError: recipe, model and data do not fit each other.
        """
        recipe = self.recipe
        if recipe.form == "chat" and self.data.captions:
            raise UsageError(
                f"{self.data.source} has pictures with captions, and {recipe.name} trains on"
                " conversations (LLaVA's JSON). Captions are for `polymodal train align`, or add"
                " --set form=plain."
            )
        if recipe.chunks < 1:
            raise UsageError("chunks is 1 or more: the parts that a batch is cut into.")
        if recipe.grids:
            self.llava = self.llava.tiled(recipe.grids, recipe.seed)
        model = self.llava.model
        if recipe.recompute:
            recompute_activations(model)
        torch.manual_seed(recipe.seed)
        self.adapted = (
            adapt(model, rank=recipe.rank, alpha=recipe.alpha, dropout=recipe.dropout)
            if recipe.rank
            else None
        )
        self.model: nn.Module = AnswerLoss(model, self.llava.eyes)
        self.groups = parameter_groups(self.model, recipe.rates, recipe.decay)
        for parameter in self.model.parameters():
            # What is frozen may stay as it was stored where the arithmetic is no finer anyway.
            if parameter.requires_grad or recipe.precision == "float32":
                parameter.data = parameter.data.float()
        order = grouped_order(self.data, recipe.batch, recipe.seed) if recipe.grouped else None
        self.loader = Loader(
            self._samples(self.data),
            Collator(int(self.llava.processor.tokenizer.pad_token_id)),
            recipe.batch,
            recipe.seed,
            recipe.workers,
            order=order,
            pin=self.device.type == "cuda",
        )

    def _samples(self, data: Dialogues) -> DialogueSamples:
        return DialogueSamples(data, self.llava, self.recipe.form == "plain", self.recipe.tokens)

    def estimate(self) -> Estimate:
        """Parameters, memory and time, from one chunk that is really run."""
        batch = next(self.loader.from_step(0, 1)).to(self.device)
        share = len(batch.names)
        rows = -(-share // self.recipe.chunks)
        with autocast(self.recipe, self.device):
            return estimate(
                self.model.to(self.device).train(),
                rows_of(batch.inputs, slice(0, rows)),
                self.groups,
                steps=steps_of(self.recipe, self.loader),
                passes=share / rows,
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
        model = spread(self.model.to(self.device), self.recipe, self.device)
        validation = None if self.validation is None else self._samples(self.validation)
        task = LlavaTask(
            model, self.loader, self.device, self.recipe, self.recipe.chunks, validation
        )
        scores = Trainer(task, self.recipe, run).run()
        state = None
        if self.adapted is None or (self.recipe.sharding == "shards" and ranks().world > 1):
            state = get_model_state_dict(model, options=WHOLE)
        if ranks().first:
            with saving(folder):
                self._save(folder, state)
                write_card(folder, run.record, scores)
        return scores

    def _save(self, folder: Path, state: dict[str, Any] | None) -> None:
        """Write the model.

        Args:
            state: its weights, whole, where they are spread over ranks.
        """
        if self.adapted is not None:
            if state is not None:
                _put(state, self.model)
            save_adapters(self.adapted, folder / ADAPTER, self.llava.name)
            self.llava.model, state = merge_adapters(self.adapted), None
        if state is not None:
            state = {name.removeprefix("llava."): value for name, value in state.items()}
        self.llava.save(folder, state)

    def _about(self) -> dict[str, Any]:
        return {
            "model": self.llava.name,
            "licences": self.llava.licences,
            "data": self.data.source,
            "data_fingerprint": self.data.fingerprint,
            "validation": self.validation.source if self.validation else None,
        }


def _put(state: dict[str, Any], model: nn.Module) -> None:
    """Whole weights in the places of shards, where merging looks for them; it trains no more."""
    for name, value in state.items():
        owner, _, leaf = name.rpartition(".")
        module = model.get_submodule(owner)
        if leaf in dict(module.named_parameters(recurse=False)):
            setattr(module, leaf, nn.Parameter(value, requires_grad=False))
