"""The parts of a LLaVA: a vision tower, a language model and its tokenizer, and what joins them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import nn

from polymodal.errors import UsageError
from polymodal.models.hub_families import USER_ASSISTANT
from polymodal.models.hub_loading import Source, load_model, quietly
from polymodal.models.precision import DTYPES
from polymodal.training.chat import PLACEHOLDER

__all__ = [
    "LLAVA",
    "Form",
    "add_image_token",
    "beyond_patches",
    "check_language",
    "config_of",
    "joined",
    "load_tower",
    "pixels_of",
    "room_of",
    "stored_dtype",
    "template_of",
]

PICTURES = (
    "{%- set ns = namespace(said=[]) -%}{%- for m in messages -%}{%- set text -%}"
    "{%- if m.content is string -%}{{ m.content }}{%- else -%}{%- for p in m.content -%}"
    "{%- if p.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ p.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endset -%}"
    "{%- set ns.said = ns.said + [{'role': m.role, 'content': text}] -%}{%- endfor -%}"
    "{%- set messages = ns.said -%}"
)
"""Before a language model's own template: pictures and texts become one text a message."""


def _two_layers(config: Any, inner: Any) -> None:
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    inner.multi_modal_projector = LlavaMultiModalProjector(config)


@dataclass(frozen=True)
class Form:
    """What a model is put together as.

    Attributes:
        config, model: where transformers has its classes: their names, or the classes.
        join: given the config and the model without a head, makes what stands between its parts, of
            random weights.
        values: of the config, beside the parts'.
        tokens: that a picture of so many patches takes in the language model; raises `UsageError`.
        layer: of the tower, whose features are taken; the tower's own by default.
        class_token: it is seen too, where the tower has one.
    """

    config: Any = "LlavaConfig"
    model: Any = "LlavaForConditionalGeneration"
    join: Callable[[Any, Any], None] = _two_layers
    values: Mapping[str, Any] = field(default_factory=dict)
    tokens: Callable[[int], int] | None = None
    layer: int | None = None
    class_token: bool = False

    def classes(self, library: Any) -> tuple[Any, Any]:
        """Of the config and the model."""
        both = (self.config, self.model)
        config, model = (getattr(library, c) if isinstance(c, str) else c for c in both)
        return config, model


LLAVA = Form()


def config_of(source: Source) -> dict[str, Any]:
    """What is in its config.json."""
    config: dict[str, Any] = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return config


def stored_dtype(source: Source) -> str:
    """The precision that its weights are stored in."""
    config = config_of(source)
    said = str(config.get("dtype") or config.get("torch_dtype"))
    return said if said in DTYPES and said != "auto" else "float32"


def check_language(source: Source) -> None:
    """Refuse what is not a causal language model and nothing else.

    Raises:
        UsageError: it is of another kind.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    config = config_of(source)
    if config.get("model_type") not in CAUSAL or "vision_config" in config:
        raise UsageError(
            f"{source.name} is of the family {config.get('model_type')!r}, which is no language"
            " model alone: name one such as Qwen/Qwen2.5-0.5B-Instruct. A model that sees already"
            " is for `polymodal train instruct`."
        )


def load_tower(library: Any, source: Source) -> Any:
    """The vision tower of a checkpoint, alone.

    Raises:
        UsageError: there is none that can be taken out of it.
    """
    whole = load_model(source, "AutoModel", "cpu", stored_dtype(source))
    config = getattr(whole.config, "vision_config", None)
    if config is None:
        return whole
    inner = getattr(whole, "vision_model", None)
    if inner is None:
        raise UsageError(f"{source.name} has no vision tower that could be taken out of it.")
    with quietly(library):
        tower = library.AutoModel.from_config(config, dtype=whole.dtype)
    state = inner.state_dict()
    if state.keys() != tower.state_dict().keys():
        state = {f"vision_model.{name}": value for name, value in state.items()}
    tower.load_state_dict(state)
    return tower.eval()


def pixels_of(name: str, images: Any) -> Any:
    """What pictures become, (1, 3, H, W).

    Raises:
        UsageError: they have several sizes, or tiles.
    """
    shapes = []
    for size in ((64, 48), (48, 96)):
        found = images(images=[Image.new("RGB", size)], return_tensors="pt")["pixel_values"]
        shapes.append(tuple(found.shape))
    if shapes[0] != shapes[1] or len(shapes[0]) != 4:
        raise UsageError(
            f"the image processor of {name} gives pictures of several sizes or tiles; training here"
            " takes towers of one picture size, such as CLIP ViT-L/14-336 or SigLIP."
        )
    return found


def beyond_patches(name: str, tower: Any, pixels: Any, layer: int) -> int:
    """How many features are not of a patch, such as the class token's.

    Raises:
        UsageError: the tower gives no features of patches.
    """
    patch = getattr(tower.config, "patch_size", None)
    try:
        with torch.no_grad():
            states = tower(pixels.to(tower.dtype), output_hidden_states=True).hidden_states
        features = states[layer]
    except (AttributeError, TypeError, IndexError, ValueError, RuntimeError) as error:
        features, reason = None, f": {error}"
    else:
        reason = f": features have the shape {tuple(features.shape)}"
    if features is None or features.ndim != 3 or not isinstance(patch, int):
        raise UsageError(
            f"{name} is no vision tower of patches (a transformer){reason}. Use CLIP, SigLIP,"
            " DINOv2 or ViT."
        )
    patches = int(pixels.shape[-2] // patch) * (pixels.shape[-1] // patch)
    return int(features.shape[1] - patches)


def room_of(tower: Any, pixels: Any, extra: int, form: Form) -> dict[str, Any]:
    """What LLaVA's processor is told, so that it leaves a picture as much room as it takes.

    Args:
        pixels: see `pixels_of`.
        extra: see `beyond_patches`.
    """
    patch, (height, width) = tower.config.patch_size, pixels.shape[-2:]
    if form.tokens is None:
        strategy = "default" if extra == 1 else "full"
    else:  # a patch larger than the picture: only what is added counts
        extra = form.tokens(int(height // patch) * int(width // patch))
        patch, strategy = int(max(height, width)) + 1, "full"
    return {
        "patch_size": patch,
        "vision_feature_select_strategy": strategy,
        "num_additional_image_tokens": extra,
    }


def add_image_token(name: str, tokenizer: Any, model: Any) -> int:
    """Id of the token that stands for a picture, added where there is none; it is never to be said.

    Raises:
        UsageError: the tokenizer has no end, or takes the token apart although it was added.
    """
    from tokenizers import AddedToken

    if tokenizer.eos_token is None:
        raise UsageError(f"the tokenizer of {name} has no end token, so no answer could end.")
    if PLACEHOLDER not in tokenizer.get_vocab():
        token = AddedToken(PLACEHOLDER, special=True, normalized=False)
        tokenizer.add_tokens([token], special_tokens=True)
    ids = tokenizer.encode(PLACEHOLDER, add_special_tokens=False)
    if ids != [tokenizer.convert_tokens_to_ids(PLACEHOLDER)]:
        raise UsageError(
            f"the tokenizer of {name} takes {PLACEHOLDER} apart into {ids} although it was added:"
            " convert it to a fast tokenizer (tokenizer.json)."
        )
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        with torch.no_grad():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
            for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
                layer.weight[rows:] = layer.weight[:rows].mean(0)
    return int(ids[0])


def joined(
    name: str, tower: Any, model: Any, image_id: int, *, layer: int, seed: int, form: Form = LLAVA
) -> Any:
    """The whole, of the very parts, with a projector of random weights by the seed.

    Args:
        layer: of the tower, whose features the projector sees.

    Raises:
        UsageError: the language model does not fit LLaVA's form.
    """
    import transformers as library

    head, base = model.get_output_embeddings(), model.base_model
    if head is None or getattr(head, "bias", None) is not None:
        raise UsageError(
            f"{name} is no causal language model with a plain matrix as its head, which LLaVA's"
            " form asks for."
        )
    probe = torch.arange(16) % head.weight.shape[0]
    probe = probe[probe != image_id][None]
    with torch.no_grad():
        expected = model(input_ids=probe).logits
    if model.config.tie_word_embeddings and not hasattr(base, "embed_tokens"):
        model.config.tie_word_embeddings = False  # LLaVA ties to `embed_tokens` or not at all
        weight = head.weight.detach().clone()
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        head.weight = nn.Parameter(weight)
    made, kind = form.classes(library)
    config = made(
        vision_config=tower.config,
        text_config=model.config,
        image_token_index=image_id,
        vision_feature_layer=layer,
        **form.values,
    )
    config.dtype = model.dtype
    with torch.device("meta"):
        whole = kind(config)
    inner = whole.model
    if type(inner.language_model) is not type(base):
        raise UsageError(f"{name} is a {type(model).__name__}, which is no causal language model.")
    inner.vision_tower, inner.language_model, whole.lm_head = tower, base, head
    torch.manual_seed(seed)
    form.join(config, inner)
    whole.eval()
    with torch.no_grad():
        said = whole(input_ids=probe).logits
    if not torch.allclose(said, expected, rtol=1e-3, atol=1e-3):
        raise UsageError(
            f"{name} does something after its head (scaling, a cap on logits) that LLaVA's form has"
            " no place for: choose another language model."
        )
    return whole


def template_of(tokenizer: Any) -> str:
    """The language model's own chat template, for pictures too; Vicuna's where it has none."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default")
    if own:
        return f"{PICTURES}{own}"
    return USER_ASSISTANT.replace("</s>", str(tokenizer.eos_token))
