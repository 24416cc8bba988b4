"""A Q-Former on a frozen vision tower, started from a BERT: what BLIP-2's first stage trains.

Notable: self-attention and both feed-forwards are BERT's own at the start, and only what looks at
pictures is new (Li et al. 2023, section 3.1). A token is added that tells the Q-Former to write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.errors import UsageError
from polymodal.models.hub_bridged import StageOne, StageOneConfig
from polymodal.models.hub_loading import Source, load_model, load_processor, quietly, transformers
from polymodal.training.bridge_recipes import QFormerRecipe
from polymodal.training.llava_model import licences_of
from polymodal.training.llava_parts import config_of
from polymodal.training.llava_towers import tower_of
from polymodal.training.pictures import Preparation

__all__ = ["QFormerParts", "qformer_state", "start_qformer"]

BEGIN = "[DEC]"
"""The token that stands first in a text that is to be written."""
HEAD = "cls.predictions."
LAYER = {
    "attention.self.query": "attention.part.query",
    "attention.self.key": "attention.part.key",
    "attention.self.value": "attention.part.value",
    "attention.output.dense": "attention.part.out",
    "attention.output.LayerNorm": "attention.norm",
    "intermediate.dense": "word_feed_forward.part.0",
    "output.dense": "word_feed_forward.part.2",
    "output.LayerNorm": "word_feed_forward.norm",
}
"""BERT's names in a layer, and a Q-Former's."""
OUTSIDE = {
    "embeddings.word_embeddings.weight": "qformer.embedding.weight",
    "embeddings.position_embeddings.weight": "qformer.position.weight",
    "embeddings.LayerNorm.weight": "qformer.norm.weight",
    "embeddings.LayerNorm.bias": "qformer.norm.bias",
    f"{HEAD}transform.dense.weight": "write.0.weight",
    f"{HEAD}transform.dense.bias": "write.0.bias",
    f"{HEAD}transform.LayerNorm.weight": "write.2.weight",
    f"{HEAD}transform.LayerNorm.bias": "write.2.bias",
}


@dataclass
class QFormerParts:
    """The model with what prepares its input.

    Attributes:
        words: tokens of a text at most.
        licences: what the parts' own cards say.
    """

    name: str
    model: Any
    images: Any
    tokenizer: Any
    preparation: Preparation
    words: int
    licences: dict[str, str]

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask (B, S) of texts."""
        found = self.tokenizer(
            list(texts), padding=True, truncation=True, max_length=self.words, return_tensors="pt"
        )
        return found["input_ids"], found["attention_mask"]

    def collate(self, values: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Samples of pairs as pixels (B, 3, S, S), ids and mask."""
        pixels, texts, _ = zip(*values, strict=True)
        return torch.from_numpy(np.stack(pixels)), *self.tokens(texts)

    def save(self, folder: Path) -> None:
        """Write a folder for `polymodal train align --recipe blip2_stage2 --vision`."""
        with quietly(transformers(self.name)):
            self.model.save_pretrained(folder)
            self.images.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)


def start_qformer(recipe: QFormerRecipe, vision: Source, text: Source) -> QFormerParts:
    """A Q-Former that reads as BERT does, and does not see yet.

    Args:
        vision: a transformers vision tower, or a model that has one.
        text: a BERT.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: the tower gives no patches; the text model is no BERT.
    """
    library = transformers(vision.name)
    bert = config_of(text)
    if bert.get("model_type") != "bert":
        raise UsageError(
            f"{text.name} is of the family {bert.get('model_type')!r}; a Q-Former starts from a"
            " BERT, such as google-bert/bert-base-uncased."
        )
    tower = tower_of(vision)
    tokenizer = load_processor(text, "AutoTokenizer")
    tokenizer.add_special_tokens({"bos_token": BEGIN})
    writes = any(HEAD in name for name in text.weights.shapes())
    auto_class = "AutoModelForMaskedLM" if writes else "AutoModel"
    state = load_model(text, auto_class, "cpu", "float32").state_dict()
    config = StageOneConfig(
        vision_config=tower.module.config,
        qformer={
            "width": bert["hidden_size"],
            "depth": bert["num_hidden_layers"],
            "heads": bert["num_attention_heads"],
            "positions": bert["max_position_embeddings"],
            "queries": recipe.queries,
            "every": recipe.every,
        },
        vocabulary=len(tokenizer),
        begin=tokenizer.bos_token_id,
        shared=recipe.shared,
        label_smoothing=recipe.label_smoothing,
        layer=tower.layer,
    )
    torch.manual_seed(recipe.seed)
    with quietly(library):
        model = StageOne(config)
    model.vision_model.load_state_dict(tower.module.state_dict())
    known = qformer_state(state, len(tokenizer))
    model.pretraining.load_state_dict(known, strict=False)
    assert known.keys() <= model.pretraining.state_dict().keys()
    return QFormerParts(
        f"{vision.name} and {text.name}",
        model,
        tower.images,
        tokenizer,
        Preparation.of_processor(tower.images, recipe.smallest_crop),
        recipe.words,
        licences_of(vision_tower=vision, text_model=text),
    )


def qformer_state(bert: Mapping[str, Tensor], vocabulary: int) -> dict[str, Tensor]:
    """BERT's weights by the names of a `QFormerPretraining`; both feed-forwards are BERT's.

    Args:
        vocabulary: rows of the word embedding; those that BERT lacks are the mean of its own.
    """
    found: dict[str, Tensor] = {}
    for full, value in bert.items():
        name = full.removeprefix("bert.")
        if name in OUTSIDE:
            found[OUTSIDE[name]] = value
            continue
        if not name.startswith("encoder.layer."):
            continue
        number, _, rest = name.removeprefix("encoder.layer.").partition(".")
        part, _, kind = rest.rpartition(".")
        own = f"qformer.layers.{number}.{LAYER[part]}.{kind}"
        found[own] = value
        if "word_feed_forward" in own:
            found[own.replace("word_feed", "query_feed")] = value
    words = found["qformer.embedding.weight"]
    more = words.mean(0, keepdim=True).expand(max(0, vocabulary - len(words)), -1)
    found["qformer.embedding.weight"] = torch.cat([words, more])[:vocabulary]
    found["words.weight"] = found["qformer.embedding.weight"]
    if f"{HEAD}bias" in bert:
        bias = bert[f"{HEAD}bias"]
        room = bias.new_full((max(0, vocabulary - len(bias)),), float(bias.mean()))
        found["words.bias"] = torch.cat([bias, room])[:vocabulary]
    return found
