"""Contrastive training of two towers, as the trainer's task; what is measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.errors import UsageError
from polymodal.training.contrastive import contrastive_step
from polymodal.training.loading import Batch, Loader, PairSamples
from polymodal.training.pairs import Pairs
from polymodal.training.ranks import ranks
from polymodal.training.settings import Recipe

__all__ = [
    "ContrastiveTask",
    "autocast",
    "check_batch",
    "recalls",
    "recalls_of",
    "spread",
]

VALIDATED = 32
"""Items that are embedded at a time."""


def check_batch(recipe: Recipe, chunks: int) -> None:
    """Refuse a batch that cannot teach.

    Raises:
        UsageError: a batch of one, or fewer items of a rank than chunks.
    """
    if recipe.batch < 2:
        raise UsageError(
            f"a batch of {recipe.batch} has nothing to contrast: the loss of an item is how it"
            " stands against the others of its batch. Set `batch` to two or more."
        )
    share = recipe.batch // ranks().world
    if chunks < 1 or chunks > share:
        raise UsageError(
            f"a process has {share} items of the batch, which cannot be split into {chunks} chunks:"
            f" set `chunks` to 1 to {share}."
        )


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """The context in which towers run at the recipe's precision."""
    if recipe.precision == "float32":
        return nullcontext()
    context: AbstractContextManager[Any] = torch.autocast(
        device.type, dtype=getattr(torch, recipe.precision)
    )
    return context


def spread(encoder: nn.Module, recipe: Recipe, device: torch.device) -> nn.Module:
    """The encoder over the ranks: copies (DDP) or shards (FSDP2); alone it stays as it is.

    `recipe.rates` must have been applied: what is frozen exchanges nothing.
    """
    if recipe.compile:
        encoder.compile()
    if ranks().world == 1:
        return encoder
    if recipe.sharding == "copies":
        from torch.nn.parallel import DistributedDataParallel

        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(encoder, device_ids=ids)
    from torch.distributed.fsdp import fully_shard

    for module in encoder.modules():
        if isinstance(module, nn.ModuleList):
            for layer in module:
                fully_shard(layer)
    fully_shard(encoder)
    return encoder


@dataclass
class ContrastiveTask:
    """Fits `Task`. `model` is `{"encoder": ..., "loss": ...}`.

    Attributes:
        validation: None measures nothing.
        tokens: texts to what the encoder takes.
    """

    model: nn.ModuleDict
    loader: Loader
    device: torch.device
    recipe: Recipe
    chunks: int
    validation: PairSamples | None
    tokens: Callable[[Sequence[str]], Any]

    def step(self, batch: Batch, scale: float) -> Tensor:
        """See `Task.step`."""
        images, texts, group_B = batch.inputs
        return contrastive_step(
            self.model["encoder"],
            self.model["loss"],
            images,
            texts,
            group_B=group_B,
            chunks=self.chunks,
            cast=autocast(self.recipe, self.device),
            scale=scale,
        )

    def after_step(self) -> None:
        """See `Task.after_step`."""
        self.model["loss"].clamp_()

    def validate(self) -> dict[str, float]:
        """Zero-shot accuracy over class folders, recalls over other pairs, in per cent.

        Raises:
            TrainingError: no picture opens.
        """
        if self.validation is None:
            return {}
        pairs = self.validation.pairs
        image_ND, kept = self._images(self.validation)
        if pairs.classes:
            names = _said_of_classes(pairs)
            text_KD = torch.stack([_mean(self._texts(each)) for each in names])
            right = (image_ND @ text_KD.T).argmax(1).cpu().numpy()
            wanted = np.array([pairs.items[number].group for number in kept])
            return {"zero_shot": round(float(100 * (right == wanted).mean()), 2)}
        captions = [list(pairs.items[number].captions) for number in kept]
        text_MD = self._texts([text for each in captions for text in each])
        own = np.repeat(np.arange(len(kept)), [len(each) for each in captions])
        return recalls(image_ND.cpu().numpy(), text_MD.cpu().numpy(), own)

    def _encode(self, images: Any, texts: Any) -> tuple[Tensor, Tensor]:
        with autocast(self.recipe, self.device):
            image_BD, text_BD = self.model["encoder"](images, texts)
        return image_BD.float(), text_BD.float()

    def _images(self, samples: PairSamples) -> tuple[Tensor, list[int]]:
        """Vectors of the pictures that open, and which these are."""
        kept = []
        parts = []
        blank = self._on_device(self.tokens(["a"]))
        found = samples.that_open()
        while part := list(islice(found, VALIDATED)):
            kept += [number for number, _ in part]
            pixels = torch.stack([torch.from_numpy(sample.value[0]) for _, sample in part])
            # Both towers run, as in training: shards are gathered by one forward of the whole.
            parts.append(self._encode(pixels.to(self.device), blank)[0])
        return torch.cat(parts), kept

    def _texts(self, texts: Sequence[str]) -> Tensor:
        assert self.validation is not None
        side = self.validation.preparation.size_px
        blank = torch.zeros(1, 3, side, side, device=self.device)
        starts = range(0, len(texts), VALIDATED)
        each = [self._on_device(self.tokens(texts[at : at + VALIDATED])) for at in starts]
        return torch.cat([self._encode(blank, tokens)[1] for tokens in each])

    def _on_device(self, tokens: Any) -> Any:
        return {name: value.to(self.device) for name, value in tokens.items()}


def _said_of_classes(pairs: Pairs) -> list[tuple[str, ...]]:
    found = {item.group: item.captions for item in pairs.items}
    return [found.get(number, (name,)) for number, name in enumerate(pairs.classes)]


def _mean(text_TD: Tensor) -> Tensor:
    return torch.nn.functional.normalize(text_TD.mean(0), dim=0)


def recalls(image_ND: Any, text_MD: Any, own_M: Any) -> dict[str, float]:
    """Recall@1 and @10 in per cent, both ways; ties count against the model.

    Args:
        own_M: the picture that each text belongs to.
    """
    return recalls_of(text_MD @ image_ND.T, own_M)


def recalls_of(score_MN: Any, own_M: Any) -> dict[str, float]:
    """As `recalls`, of each text's score with each picture."""
    true_M = score_MN[np.arange(len(own_M)), own_M]
    text_rank_M = (score_MN >= true_M[:, None]).sum(1) - 1
    best_N = np.full(score_MN.shape[1], -np.inf)
    np.maximum.at(best_N, own_M, true_M)
    image_rank_N = (score_MN >= best_N[None]).sum(0) - 1
    out = {}
    for name, rank in (("text_to_image", text_rank_M), ("image_to_text", image_rank_N)):
        for k in (1, 10):
            out[f"{name}_r{k}"] = round(float(100 * (rank < k).mean()), 2)
    return out
