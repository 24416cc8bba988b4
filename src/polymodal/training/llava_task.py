"""Training on answers, as the trainer's task: the loss is the mean over all answers' tokens.

Notable: the mean is over the tokens of the whole batch, of all ranks and chunks, so how a batch is
cut changes nothing (a mean of means would weigh short answers more). Only answers go through the
head, whose output over a vocabulary is otherwise the largest tensor of a step.

Legend of shapes: B conversations, T tokens, A tokens of answers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.errors import TrainingError
from polymodal.training.contrastive import slices_of, synchronised
from polymodal.training.contrastive_task import autocast
from polymodal.training.llava_data import IGNORED, DialogueSamples, rows_of
from polymodal.training.llava_pictures import Eyes
from polymodal.training.loading import Batch, Loader
from polymodal.training.ranks import mean_over_ranks, ranks, sum_over_ranks
from polymodal.training.settings import Recipe

__all__ = ["AnswerLoss", "LlavaTask"]

VALIDATED = 8
"""Conversations that are measured at a time."""


class AnswerLoss(nn.Module):
    """What answers cost, by conversation."""

    def __init__(self, llava: nn.Module, eyes: Eyes) -> None:
        """For transformers' LLaVA or LLaVA-NeXT, and how its pictures are prepared."""
        super().__init__()
        self.llava = llava
        self._blank = eyes.blank()

    def forward(
        self,
        ids_BT: Tensor,
        mask_BT: Tensor,
        labels_BT: Tensor,
        pixels: Tensor | None,
        sizes: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy (B,) in nats, and how many tokens were said right (B,).

        Args:
            pixels, sizes: see `Seen`.
        """
        inner = self.llava.model
        if pixels is not None:
            pixels = pixels.to(inner.vision_tower.dtype)
        unseen = self._unseen(ids_BT.device) if pixels is None else None
        hidden_BTD = inner(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            pixel_values=pixels,
            image_sizes=sizes,
            use_cache=False,
        ).last_hidden_state
        wanted_BT = labels_BT[:, 1:] != IGNORED
        target_A = labels_BT[:, 1:][wanted_BT]
        logits_AV = self.llava.lm_head(hidden_BTD[:, :-1][wanted_BT]).float()
        row_A = wanted_BT.nonzero()[:, 0]
        zero_B = logits_AV.new_zeros(len(ids_BT))
        loss_A = F.cross_entropy(logits_AV, target_A, reduction="none")
        loss_B = zero_B.index_add(0, row_A, loss_A)
        if unseen is not None:
            loss_B = loss_B + unseen
        right_A = (logits_AV.detach().argmax(1) == target_A).float()
        return loss_B, zero_B.index_add(0, row_A, right_A)

    def _unseen(self, device: torch.device) -> Tensor:
        """Zero, with a gradient of zero at all that sees, for conversations without pictures.

        The optimiser passes over what has no gradient, which then would move otherwise than where
        the batch is cut in another way. Ranks wait for each other's gradients and, of shards,
        weights: all use the same modules.
        """
        inner = self.llava.model
        if ranks().world > 1:
            pixels, sizes = self._blank
            blank = {"pixel_values": pixels.to(device, inner.vision_tower.dtype)}
            if sizes is not None:
                blank["image_sizes"] = sizes.to(device)
            seen = inner.get_image_features(**blank).pooler_output
            return torch.cat(list(seen)).float().sum() * 0.0
        zero = torch.zeros((), device=device)
        seeing = [
            p for name, p in inner.named_parameters() if not name.startswith("language_model.")
        ]
        return sum((p.sum() for p in seeing if p.requires_grad), zero) * 0.0

    def train(self, mode: bool = True) -> AnswerLoss:
        """As of any module; a tower that is frozen drops nothing."""
        super().train(mode)
        tower = self.llava.model.vision_tower
        if not any(p.requires_grad for p in tower.parameters()):
            tower.eval()
        return self


@dataclass
class LlavaTask:
    """Fits `Task`. `model` is an `AnswerLoss`, wrapped for its ranks.

    Attributes:
        chunks: parts of a rank's batch that are in memory one at a time.
        validation: None measures nothing.
    """

    model: nn.Module
    loader: Loader
    device: torch.device
    recipe: Recipe
    chunks: int
    validation: DialogueSamples | None

    def step(self, batch: Batch, scale: float) -> Tensor:
        """See `Task.step`.

        Raises:
            TrainingError: the batch has no answer; a conversation's loss is no number.
        """
        inputs = batch.inputs
        count = sum_over_ranks((inputs["labels"][:, 1:] != IGNORED).sum())
        if not int(count):
            raise TrainingError(
                f"no token of the batch is an answer's ({_named(batch.names)}): there is nothing to"
                " learn from it. Look at these conversations and the chat template."
            )
        total = torch.zeros((), device=self.device)
        slices = slices_of(len(batch.names), min(self.chunks, len(batch.names)))
        for number, rows in enumerate(slices):
            with synchronised(self.model, last=number == len(slices) - 1):
                with autocast(self.recipe, self.device):
                    loss_C, _ = self.model(*rows_of(inputs, rows))
                self._refuse(loss_C, batch.names[rows])
                # Ranks average their gradients, so each counts as many times as there are ranks.
                share = loss_C.sum() * (ranks().world / count)
                (share * scale).backward()
            total += share.detach()
        return mean_over_ranks(total)

    def _refuse(self, loss_C: Tensor, names: tuple[str, ...]) -> None:
        bad = (~torch.isfinite(loss_C.detach())).tolist()
        if any(bad):
            which = [name for name, each in zip(names, bad, strict=True) if each]
            raise TrainingError(
                f"the loss of {_named(which)} is no number. Look at these conversations, or lower"
                " the rates or clip_norm."
            )

    def after_step(self) -> None:
        """See `Task.after_step`."""

    def validate(self) -> dict[str, float]:
        """Of answers' tokens: how many of a hundred are said right, and their mean loss in nats."""
        if self.validation is None:
            return {}
        loss = right = count = 0.0
        for start in range(0, len(self.validation), VALIDATED):
            stop = min(start + VALIDATED, len(self.validation))
            found = [self.validation.sample(0, number) for number in range(start, stop)]
            values = [each.value for each in found if not each.failures]
            if not values:
                continue
            inputs = Batch(self.loader.collate(values), ()).to(self.device).inputs
            with autocast(self.recipe, self.device):
                loss_B, right_B = self.model(*rows_of(inputs, slice(0, len(values))))
            loss, right = loss + float(loss_B.sum()), right + float(right_B.sum())
            count += float((inputs["labels"][:, 1:] != IGNORED).sum())
        count = max(count, 1.0)
        return {
            "token_accuracy": round(100 * right / count, 2),
            "answer_loss": round(loss / count, 4),
        }


def _named(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
