"""One model of a vision tower and a language model, in the form of LLaVA 1.5.

Notable: a two-layer projector takes the tower's last but one layer to the width of the language
model (Liu et al. 2024, "Improved Baselines with Visual Instruction Tuning"). The parts are
transformers' own and the whole is its `LlavaForConditionalGeneration`, so a saved folder loads
everywhere. It is built from the parts as they were loaded, and checked: the whole must say of text
exactly what the language model says.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from polymodal.errors import UsageError
from polymodal.models.hub_families import USER_ASSISTANT
from polymodal.models.hub_loading import Source, load_model, load_processor, quietly, transformers
from polymodal.training.chat import PLACEHOLDER, Chat

__all__ = ["Llava", "assemble", "load_llava"]

FEATURE_LAYER = -2
"""Of the tower: LLaVA 1.5's `mm_vision_select_layer`."""
PICTURES = (
    "{%- set ns = namespace(said=[]) -%}{%- for m in messages -%}{%- set text -%}"
    "{%- if m.content is string -%}{{ m.content }}{%- else -%}{%- for p in m.content -%}"
    "{%- if p.type == 'image' -%}{{ '<image>\\n' }}{%- else -%}{{ p.text }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{%- endset -%}"
    "{%- set ns.said = ns.said + [{'role': m.role, 'content': text}] -%}{%- endfor -%}"
    "{%- set messages = ns.said -%}"
)
"""Before a language model's own template: pictures and texts become one text a message."""


@dataclass
class Llava:
    """A model with what writes its input.

    Attributes:
        tokens: that a picture takes.
        side_px: of the pictures that the tower sees.
        licences: what the parts' own cards say.
    """

    name: str
    model: Any
    processor: Any
    chat: Chat
    tokens: int
    side_px: int
    licences: dict[str, str]

    def save(self, folder: Path, state: dict[str, Any] | None = None) -> None:
        """Write a folder that every verb loads.

        Args:
            state: the weights, where the model's own are spread over ranks.
        """
        dtype = self.model.config.dtype or torch.float32
        found = self.model.state_dict() if state is None else state
        cast = {
            name: value.to(dtype) if value.is_floating_point() else value
            for name, value in found.items()
        }
        if self.model.config.tie_word_embeddings:
            cast.pop("lm_head.weight", None)
        with quietly(transformers(self.name)):
            self.model.save_pretrained(folder, state_dict=cast)
            self.processor.save_pretrained(folder)


def load_llava(source: Source) -> Llava:
    """A checkpoint in the form of LLaVA 1.5, such as a folder of `train align`.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: it is of another family; its tokenizer does not know the image token.
    """
    config = _config(source)
    if config.get("model_type") != "llava":
        raise UsageError(
            f"{source.name} is of the family {config.get('model_type')!r}; what is trained here has"
            " the form of LLaVA 1.5 ('llava'): a folder of `polymodal train align`, or a checkpoint"
            " such as llava-hf/llava-1.5-7b-hf."
        )
    processor = load_processor(source)
    model = load_model(source, "AutoModelForImageTextToText", "cpu", "auto")
    return _whole(source.name, model, processor, _licences(model=source))


def assemble(vision: Source, language: Source, *, seed: int) -> Llava:
    """A model of two checkpoints, with a projector of random weights between them.

    Args:
        vision: a transformers vision tower, or a model that has one (CLIP, SigLIP, DINOv2, ViT).
        language: a causal language model. A tokenizer without the image token gets it; one without
            a chat template gets Vicuna's form.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: the tower gives no patches; the language model's head is not a plain matrix.
    """
    library = transformers(vision.name)
    _check_language(language)
    tower = _tower(library, vision)
    images = load_processor(vision, "AutoImageProcessor")
    pixels = _pixels(vision.name, images)
    extra = _beyond_patches(vision.name, tower, pixels)
    tokenizer = load_processor(language, "AutoTokenizer")
    model = load_model(language, "AutoModelForCausalLM", "cpu", "auto")
    image_id = _add_image_token(language.name, tokenizer, model)
    with quietly(library):
        whole = _joined(language.name, tower, model, image_id, seed)
        strategy = "default" if extra == 1 else "full"  # a lone class token is left out
        whole.config.vision_feature_select_strategy = strategy
        processor = library.LlavaProcessor(
            images,
            tokenizer,
            patch_size=tower.config.patch_size,
            vision_feature_select_strategy=strategy,
            num_additional_image_tokens=extra,
            chat_template=_template(tokenizer),
        )
        tokenizer.chat_template = None  # the processor has it
    made = _whole(
        f"{vision.name} and {language.name}",
        whole,
        processor,
        _licences(vision_tower=vision, language_model=language),
    )
    whole.config.image_seq_length = made.tokens
    ends = {made.chat.end_id(), tokenizer.eos_token_id}
    whole.generation_config = library.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    return made


def _whole(name: str, model: Any, processor: Any, licences: dict[str, str]) -> Llava:
    tokenizer = processor.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    chat = Chat(name, processor, "llava", str(model.config.text_config.model_type))
    if chat.image_id != model.config.image_token_id:
        raise UsageError(
            f"{name}: its config.json puts pictures at token {model.config.image_token_id}, and its"
            f" tokenizer's {chat.image_token!r} is {chat.image_id}: they do not belong together."
        )
    side = int(_pixels(name, processor.image_processor).shape[-1])
    blank = Image.new("RGB", (side, side))
    inputs = processor(text=chat.image_token, images=[blank], return_tensors="pt")
    tokens = int((inputs["input_ids"] == chat.image_id).sum())
    return Llava(name, model.requires_grad_(True), processor, chat, tokens, side, licences)


def _config(source: Source) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    return config


def _check_language(source: Source) -> None:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL

    config = _config(source)
    if config.get("model_type") not in CAUSAL or "vision_config" in config:
        raise UsageError(
            f"{source.name} is of the family {config.get('model_type')!r}, which is no language"
            " model alone: name one such as Qwen/Qwen2.5-0.5B-Instruct. A model that sees already"
            " is for `polymodal train instruct`."
        )


def _tower(library: Any, source: Source) -> Any:
    """The vision tower of a checkpoint, alone."""
    whole = load_model(source, "AutoModel", "cpu", "auto")
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


def _pixels(name: str, images: Any) -> Any:
    """What pictures become, (1, 3, H, W): one size for all of them."""
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


def _beyond_patches(name: str, tower: Any, pixels: Any) -> int:
    """Features that are not of a patch, such as the class token's."""
    patch = getattr(tower.config, "patch_size", None)
    try:
        with torch.no_grad():
            states = tower(pixels.to(tower.dtype), output_hidden_states=True).hidden_states
        features = states[FEATURE_LAYER]
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


def _add_image_token(name: str, tokenizer: Any, model: Any) -> int:
    """The token that stands for a picture; it is never read as itself nor to be said."""
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


def _joined(name: str, tower: Any, model: Any, image_id: int, seed: int) -> Any:
    import transformers as library
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    head, base = model.get_output_embeddings(), model.base_model
    if head is None or getattr(head, "bias", None) is not None:
        raise UsageError(
            f"{name} is no causal language model with a plain matrix as its head, which LLaVA's"
            " form asks for."
        )
    probe = torch.arange(16)[None] % head.weight.shape[0]
    with torch.no_grad():
        expected = model(input_ids=probe).logits
    if model.config.tie_word_embeddings and not hasattr(base, "embed_tokens"):
        model.config.tie_word_embeddings = False  # LLaVA ties to `embed_tokens` or not at all
        weight = head.weight.detach().clone()
        head = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        head.weight = nn.Parameter(weight)
    config = library.LlavaConfig(
        vision_config=tower.config,
        text_config=model.config,
        image_token_index=image_id,
        vision_feature_layer=FEATURE_LAYER,
    )
    config.dtype = model.dtype
    with torch.device("meta"):
        whole = library.LlavaForConditionalGeneration(config)
    inner = whole.model
    if type(inner.language_model) is not type(base):
        raise UsageError(f"{name} is a {type(model).__name__}, which is no causal language model.")
    torch.manual_seed(seed)
    inner.multi_modal_projector = LlavaMultiModalProjector(config)
    inner.vision_tower, inner.language_model, whole.lm_head = tower, base, head
    whole.eval()
    with torch.no_grad():
        said = whole(input_ids=probe).logits
    if not torch.allclose(said, expected, rtol=1e-3, atol=1e-3):
        raise UsageError(
            f"{name} does something after its head (scaling, a cap on logits) that LLaVA's form has"
            " no place for: choose another language model."
        )
    return whole


def _template(tokenizer: Any) -> str:
    """The language model's own chat template, for pictures too; Vicuna's where it has none."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        own = own.get("default")
    if own:
        return f"{PICTURES}{own}"
    return USER_ASSISTANT.replace("</s>", str(tokenizer.eos_token))


def _licences(**sources: Source) -> dict[str, str]:
    """What each part's README.md states in its head, or a run's own record."""
    found: dict[str, str] = {}
    for part, source in sources.items():
        record = source.folder / "run.json"
        if record.is_file():
            on = json.loads(record.read_text(encoding="utf-8")).get("on", {})
            found |= on.get("licences") or {}
            continue
        card = source.folder / "README.md"
        lines = card.read_text(encoding="utf-8").splitlines()[:100] if card.is_file() else []
        said = next((line for line in lines if line.startswith("license:")), "")
        said = said.partition(":")[2].strip() or "not stated in its folder"
        found[f"{part.replace('_', ' ')} {source.name}"] = said
    return found
