"""CLIP and SigLIP checkpoints of transformers as encoders that train, and back into a folder.

Notable: the scale and bias belong to the loss while training; the model's own are taken off, so
that no parameter is there twice, and written back when the model is saved. A saved folder is one
that every verb loads with `-m FOLDER`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polymodal.errors import UsageError
from polymodal.models.hub_loading import Source, load_model, load_processor, quietly, transformers
from polymodal.training.pictures import Preparation

__all__ = ["HubTowers", "Tower", "clip_from_nothing", "load_towers", "recompute_activations"]


class HubTowers(nn.Module):
    """`encoder(images, texts)` of a transformers model with `get_image_features`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, texts: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Unit vectors (B, D) of pixels (B, 3, S, S) and tokens."""
        return self.encode_image(images), self.encode_text(texts)

    def encode_image(self, pixels_B3SS: Tensor) -> Tensor:
        """Unit vectors (B, D)."""
        return _unit(self.model.get_image_features(pixel_values=pixels_B3SS))

    def encode_text(self, texts: dict[str, Tensor]) -> Tensor:
        """Unit vectors (B, D)."""
        return _unit(self.model.get_text_features(**texts))


def _unit(features: Any) -> Tensor:
    return F.normalize(getattr(features, "pooler_output", features), dim=-1)


@dataclass
class Tower:
    """A checkpoint taken apart for training.

    Attributes:
        scale: the factor on cosines that it was trained with.
        sigmoid: it was trained with a bias, on texts of one length.
    """

    encoder: HubTowers
    processor: Any
    preparation: Preparation
    text_tokens: int
    scale: float
    bias: float | None

    @property
    def sigmoid(self) -> bool:
        return self.bias is not None

    def tokens(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Texts as the text tower takes them: padded and cut to `text_tokens`."""
        inputs = self.processor.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.text_tokens,
            return_tensors="pt",
        )
        names = ("input_ids",) if self.sigmoid else ("input_ids", "attention_mask")
        return {name: inputs[name] for name in names}

    def collate(self, values: Sequence[Any]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Samples of pairs as pixels (B, 3, S, S), tokens, groups (B,)."""
        pixels, texts, groups = zip(*values, strict=True)
        return torch.from_numpy(np.stack(pixels)), self.tokens(texts), torch.tensor(groups)

    def save(self, folder: Path, weights: dict[str, Tensor], loss: nn.Module) -> None:
        """Write a folder that loads as the checkpoint did.

        Args:
            weights: of the encoder, whole.
            loss: whose scale and bias the model gets.
        """
        prefix = "model."
        state = {name.removeprefix(prefix): value for name, value in weights.items()}
        state["logit_scale"] = loss.logit_scale.detach().cpu().clone()
        if self.sigmoid:
            state["logit_bias"] = loss.logit_bias.detach().cpu().reshape(1).clone()
            state["logit_scale"] = state["logit_scale"].reshape(1)
        with quietly(transformers(str(folder))):
            self.encoder.model.save_pretrained(folder, state_dict=state)
            self.processor.save_pretrained(folder)


def recompute_activations(model: Any) -> None:
    """Keep no activations for the backward pass: each layer's forward runs again there."""
    # transformers renamed it within version 5.
    newer = getattr(model, "activation_checkpointing_enable", None)
    if newer is None:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    else:
        newer()
        # A gradient at frozen embeddings is not needed for it, and reaches into a frozen tower.
        model.disable_input_require_grads()


def load_towers(source: Source, *, smallest: float = 1.0) -> Tower:
    """A CLIP or SigLIP checkpoint, ready to train.

    Args:
        smallest: see `Preparation`.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: its pictures are cut into patches of their own proportions (NaFlex).
    """
    processor = load_processor(source)
    model = load_model(source, "AutoModel", "cpu", "float32")
    if not hasattr(processor.image_processor, "size"):
        raise UsageError(
            f"{source.name} takes pictures in their own proportions, which training here does not:"
            " use a checkpoint with one picture size, such as google/siglip2-base-patch16-224."
        )
    return _apart(model, processor, smallest)


def _apart(model: Any, processor: Any, smallest: float) -> Tower:
    scale = float(model.logit_scale.detach().exp())
    bias = (
        float(model.logit_bias.detach()) if getattr(model, "logit_bias", None) is not None else None
    )
    for name in ("logit_scale", "logit_bias"):
        if hasattr(model, name):
            delattr(model, name)
    tokens = int(model.config.text_config.max_position_embeddings)
    preparation = Preparation.of_processor(processor.image_processor, smallest)
    return Tower(HubTowers(model.requires_grad_(True)), processor, preparation, tokens, scale, bias)


def clip_from_nothing(
    captions: Sequence[str],
    *,
    seed: int,
    image_size: int,
    patch: int,
    vision: tuple[int, int, int],
    text: tuple[int, int, int],
    width: int,
    text_tokens: int,
    vocabulary: int,
    smallest: float,
) -> Tower:
    """A CLIP with random weights, and a byte-level BPE fitted to the captions.

    Args:
        vision, text: width, layers and heads of a tower.
        vocabulary: of tokens at the most; few captions give fewer.
    """
    import transformers as library

    tokenizer = _byte_pairs(captions, vocabulary, text_tokens)
    side = {"height": image_size, "width": image_size}
    images = library.CLIPImageProcessor(size={"shortest_edge": image_size}, crop_size=side)
    config = library.CLIPConfig(
        text_config={
            **_tower(*text),
            "vocab_size": len(tokenizer),
            "max_position_embeddings": text_tokens,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**_tower(*vision), "image_size": image_size, "patch_size": patch},
        projection_dim=width,
        logit_scale_init_value=float(np.log(1 / 0.07)),
    )
    torch.manual_seed(seed)
    model = library.CLIPModel(config)
    return _apart(model, library.CLIPProcessor(images, tokenizer), smallest)


def _tower(width: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


def _byte_pairs(captions: Sequence[str], vocabulary: int, text_tokens: int) -> Any:
    """CLIP's tokenizer with merges fitted to the captions."""
    import tokenizers
    import transformers as library

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    learner = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer = tokenizers.normalizers.Lowercase()
    learner.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Whitespace(),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=max(vocabulary - 514, 1),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(captions, trainer)
    merges = [tuple(pair) for pair in _merges(learner)]
    words = [*alphabet, *(f"{each}</w>" for each in alphabet), *("".join(pair) for pair in merges)]
    table = {word: number for number, word in enumerate(dict.fromkeys(words))}
    for special in ("<|startoftext|>", "<|endoftext|>"):
        table[special] = len(table)
    return library.CLIPTokenizer(table, merges, model_max_length=text_tokens)


def _merges(learner: Any) -> list[list[str]]:
    """The merges of a tokenizer, in order."""
    import json

    found = json.loads(learner.to_str())["model"]["merges"]
    return [each if isinstance(each, list) else each.split(" ") for each in found]
