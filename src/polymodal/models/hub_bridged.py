# ruff: noqa: N803, N806, PLR0917 - names end in their shape; a signature is transformers'
"""Models that are trained here and that transformers has no form of its own for.

Notable: they are its LLaVA with another part between tower and language model: pixel shuffle
(nanoVLM), a Q-Former (BLIP-2), or Flamingo's resampler, whose pictures are not in the sequence but
are looked at by gated layers in the language model. They are made known to transformers' Auto
classes, so that its own loading, generation and saving serve them too; what the part is made of
stands in config.json under `bridge`.

Legend of shapes: P pictures, N visual tokens, V width of the tower, Q tokens of a picture for the
language model, W its width, B items, S words.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.llava.modeling_llava import (
    LlavaModel,
    LlavaModelOutputWithPast,
    LlavaPreTrainedModel,
)

from polymodal.models.hub_families import BRIDGED, STAGE_ONE
from polymodal.nn.bridged import visual_tokens
from polymodal.nn.insertion import GatedLayers
from polymodal.nn.projectors import PixelShuffleProjector
from polymodal.nn.qformer import QFormer
from polymodal.nn.qformer_losses import QFormerLosses, QFormerPretraining
from polymodal.nn.resampler import PerceiverResampler

__all__ = [
    "Bridged",
    "BridgedConfig",
    "Gated",
    "GatedConfig",
    "QFormerProjector",
    "StageOne",
    "StageOneConfig",
    "gated_of",
    "pretraining_of",
    "projector_of",
    "register",
]


class BridgedConfig(LlavaConfig):
    """LLaVA's, and `bridge`: `kind` ("shuffle" or "qformer") with what its class is made with."""

    model_type = BRIDGED[0]
    bridge: dict[str, Any] | None = None
    bridge_parameters: int = 0


class GatedConfig(BridgedConfig):
    """LLaVA's, and `bridge`: the resampler's numbers and `every`, a gated layer in so many."""

    model_type = BRIDGED[1]


class StageOneConfig(PreTrainedConfig):
    """A tower's, and what a `QFormer` with words is made with.

    Attributes:
        begin: see `QFormerPretraining`.
        shared: width of the space where pictures and texts are compared.
        layer: of the tower's hidden states.
    """

    model_type = STAGE_ONE
    sub_configs_defaults: ClassVar[dict[str, Any]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model")
    }
    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    qformer: dict[str, Any] | None = None
    vocabulary: int = 0
    begin: int = 0
    shared: int = 256
    label_smoothing: float = 0.1
    layer: int = -2
    tie_word_embeddings: bool = True


class StageOne(PreTrainedModel):
    """A frozen tower, and a Q-Former that learns to read what it sees (BLIP-2's first stage)."""

    config_class = StageOneConfig
    base_model_prefix = "stage_one"
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        "pretraining.words.weight": "pretraining.qformer.embedding.weight"
    }

    def __init__(self, config: Any) -> None:
        """Of random weights."""
        super().__init__(config)
        into = int(config.vision_config.hidden_size)
        self.vision_model = AutoModel.from_config(config.vision_config)
        self.norm = nn.LayerNorm(into)
        self.pretraining = pretraining_of(config)
        self.post_init()

    def see(self, pixels: Tensor) -> Tensor:
        """The visual tokens (P, N, V) of pictures, without a gradient at the tower."""
        with torch.no_grad():
            token_PNV = visual_tokens(
                self.vision_model, pixels, layer=self.config.layer, drop_first=False
            )
        seen_PNV: Tensor = self.norm(token_PNV)
        return seen_PNV

    def train(self, mode: bool = True) -> StageOne:
        """As of any module; the tower drops nothing."""
        super().train(mode)
        self.vision_model.eval()
        return self

    def forward(
        self, pixels: Tensor, ids_BS: Tensor, mask_BS: Tensor, **others: Any
    ) -> QFormerLosses:
        """The losses of B pairs; see `QFormerPretraining`, which takes the `others`."""
        losses: QFormerLosses = self.pretraining(self.see(pixels), ids_BS, mask_BS, **others)
        return losses


def pretraining_of(config: Any) -> QFormerPretraining:
    """The Q-Former with its heads, of random weights."""
    into = int(config.vision_config.hidden_size)
    return QFormerPretraining(
        QFormer(into, vocabulary=config.vocabulary, **config.qformer),
        begin=config.begin,
        width=config.shared,
        label_smoothing=config.label_smoothing,
    )


class QFormerProjector(nn.Module):
    """Queries read a picture; what they say goes to the language model's width (BLIP-2)."""

    def __init__(self, vision_width: int, language_width: int, **numbers: Any) -> None:
        """Between parts of these widths; `numbers` are a `QFormer`'s."""
        super().__init__()
        self.norm = nn.LayerNorm(vision_width)
        self.qformer = QFormer(vision_width, vocabulary=0, **numbers)
        self.proj = nn.Linear(self.qformer.query.shape[1], language_width)

    def forward(self, token_PNV: Tensor) -> Tensor:
        """The pictures as (P, Q, W)."""
        token_PQW: Tensor = self.proj(self.qformer.look(self.norm(token_PNV)))
        return token_PQW


def projector_of(config: Any) -> nn.Module:
    """What stands between tower and language model, of random weights."""
    numbers = dict(config.bridge)
    kind, into = numbers.pop("kind"), int(config.vision_config.hidden_size)
    width = int(config.text_config.hidden_size)
    if kind == "shuffle":
        return PixelShuffleProjector(into, width, **numbers)
    if kind == "qformer":
        return QFormerProjector(into, width, **numbers)
    numbers.pop("every")
    return PerceiverResampler(into, **numbers)


def gated_of(config: Any, language_model: nn.Module) -> GatedLayers:
    """Gated layers of random weights in a language model."""
    names = ("heads", "head_width", "every")
    numbers = {name: config.bridge[name] for name in names}
    return GatedLayers(language_model, int(config.vision_config.hidden_size), **numbers)


class BridgedModel(LlavaModel):
    """Tower, projector and language model, without a head."""

    def __init__(self, config: Any) -> None:
        """Of random weights."""
        LlavaPreTrainedModel.__init__(self, config)
        self.vision_tower = AutoModel.from_config(config.vision_config)
        self.multi_modal_projector = projector_of(config)
        self.language_model = AutoModel.from_config(config.text_config)
        self.post_init()

    def get_image_features(self, pixel_values: Tensor, **options: Any) -> Any:
        """`pooler_output`: a (Q, W) for each picture of (P, 3, H, W)."""
        del options
        token_PNV = visual_tokens(
            self.vision_tower,
            pixel_values,
            layer=self.config.vision_feature_layer,
            drop_first=self.config.vision_feature_select_strategy == "default",
        )
        features = self.multi_modal_projector(token_PNV)
        return BaseModelOutputWithPooling(pooler_output=list(features))


class Bridged(LlavaForConditionalGeneration):
    """A `BridgedModel` that writes."""

    config_class = BridgedConfig

    def __init__(self, config: Any) -> None:
        """Of random weights."""
        LlavaPreTrainedModel.__init__(self, config)
        text = config.text_config
        self.model = self.body(config)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()

    def body(self, config: Any) -> Any:
        """What stands before the head."""
        return BridgedModel(config)


class GatedModel(BridgedModel):
    """A language model whose layers look at pictures through gates; pictures take no room in it."""

    def __init__(self, config: Any) -> None:
        """Of random weights, the gates closed."""
        super().__init__(config)
        self.gated = gated_of(config, self.language_model)

    def forward(
        self,
        input_ids: Any = None,
        pixel_values: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        inputs_embeds: Any = None,
        vision_feature_layer: Any = None,
        vision_feature_select_strategy: Any = None,
        image_sizes: Any = None,
        mm_encoder_outputs: Any = None,
        **options: Any,
    ) -> Any:
        """As of LLaVA's; a picture's placeholder is one token of `input_ids`."""
        del vision_feature_layer, vision_feature_select_strategy, image_sizes
        if past_key_values is not None and past_key_values.get_seq_length():
            self.gated.go_on()
        else:
            words = inputs_embeds[..., 0] if input_ids is None else input_ids
            found = (mm_encoder_outputs or {}).get("image")  # `generate` looks beforehand
            if pixel_values is not None:
                found = self.get_image_features(pixel_values)
            seen = None if found is None else torch.stack(list(found.pooler_output))
            self.gated.show(seen, words == self.config.image_token_id)
        outputs = self.language_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **options,
        )
        return LlavaModelOutputWithPast(**outputs)


class Gated(Bridged):
    """A `GatedModel` that writes."""

    config_class = GatedConfig

    def body(self, config: Any) -> Any:
        """What stands before the head."""
        return GatedModel(config)


def register() -> None:
    """Make the forms known to transformers' Auto classes."""
    for config in (BridgedConfig, GatedConfig, StageOneConfig):
        AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModelForImageTextToText.register(BridgedConfig, Bridged, exist_ok=True)
    AutoModelForImageTextToText.register(GatedConfig, Gated, exist_ok=True)
    AutoModel.register(StageOneConfig, StageOne, exist_ok=True)
