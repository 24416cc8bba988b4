"""One model of a vision tower and a language model, in the form of LLaVA 1.5 or LLaVA-NeXT.

Notable: a two-layer projector takes the tower's last but one layer to the width of the language
model (Liu et al. 2024, "Improved Baselines with Visual Instruction Tuning"). The parts are
transformers' own and the whole is its `LlavaForConditionalGeneration`, so a saved folder loads
everywhere. It is built from the parts as they were loaded, and checked: the whole must say of text
exactly what the language model says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from polymodal.errors import UsageError
from polymodal.models.hub_families import BRIDGED
from polymodal.models.hub_loading import Source, load_model, load_processor, quietly, transformers
from polymodal.training.chat import Chat
from polymodal.training.llava_parts import (
    LLAVA,
    Form,
    add_image_token,
    check_language,
    config_of,
    joined,
    pixels_of,
    room_of,
    stored_dtype,
    template_of,
)
from polymodal.training.llava_pictures import Eyes, eyes_of, tile_model
from polymodal.training.llava_towers import Tower, tower_of

__all__ = ["Llava", "assemble", "licences_of", "load_llava"]

FORMS = ("llava", "llava_next", *BRIDGED)


@dataclass
class Llava:
    """A model with what writes its input.

    Attributes:
        eyes: how it sees pictures.
        licences: what the parts' own cards say.
    """

    name: str
    model: Any
    processor: Any
    chat: Chat
    eyes: Eyes
    licences: dict[str, str]

    def tiled(self, grids: Sequence[tuple[int, int]], seed: int) -> Llava:
        """The same as a LLaVA-NeXT; see `tile_model`."""
        model, processor = tile_model(self.name, self.model, self.processor, grids, seed)
        return _whole(self.name, model, processor, self.licences)

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
        if save_tower := getattr(self.model.model.vision_tower, "save_tower", None):
            save_tower(folder)
        _say_precision(folder / "config.json", str(dtype).removeprefix("torch."))


def load_llava(source: Source) -> Llava:
    """A checkpoint in the form of LLaVA 1.5 or LLaVA-NeXT, such as a folder of `train align`.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: it is of another family; its tokenizer does not know the image token.
    """
    config = config_of(source)
    if config.get("model_type") not in FORMS:
        raise UsageError(
            f"{source.name} is of the family {config.get('model_type')!r}; what is trained here has"
            " the form of LLaVA 1.5 ('llava') or LLaVA-NeXT ('llava_next'): a folder of `polymodal"
            " train align`, or a checkpoint such as llava-hf/llava-1.5-7b-hf."
        )
    processor = load_processor(source)
    model = load_model(source, "AutoModelForImageTextToText", "cpu", stored_dtype(source))
    return _whole(source.name, model, processor, licences_of(model=source))


def assemble(vision: Source | Tower, language: Source, *, seed: int, form: Form = LLAVA) -> Llava:
    """A model of two parts, with a projector of random weights between them.

    Args:
        vision: a transformers vision tower, or a model that has one (CLIP, SigLIP, DINOv2, ViT); or
            one that is loaded, such as the starter's.
        language: a causal language model. A tokenizer without the image token gets it; one without
            a chat template gets Vicuna's form.

    Raises:
        DamagedWeights, ModelUnavailable, MissingDependency: see `load_model`.
        UsageError: the tower gives no patches; the language model's head is not a plain matrix.
    """
    library = transformers(vision.name)
    check_language(language)
    tower = tower_of(vision) if isinstance(vision, Source) else vision
    tokenizer = load_processor(language, "AutoTokenizer")
    model = load_model(language, "AutoModelForCausalLM", "cpu", stored_dtype(language))
    image_id = add_image_token(language.name, tokenizer, model)
    with quietly(library):
        layer = tower.layer if form.layer is None else form.layer
        parts = (language.name, tower.module, model, image_id)
        whole = joined(*parts, layer=layer, seed=seed, form=form)
        lone = tower.extra == 1 and not form.class_token  # a lone class token is left out
        whole.config.vision_feature_select_strategy = "default" if lone else "full"
        processor = library.LlavaProcessor(
            tower.images,
            tokenizer,
            chat_template=template_of(tokenizer),
            **room_of(tower.module, pixels_of(tower.name, tower.images), tower.extra, form),
        )
        tokenizer.chat_template = None  # the processor has it
    licences = licences_of(vision_tower=vision) if isinstance(vision, Source) else {}
    if tower.licence is not None:
        licences[f"vision tower {tower.name}"] = tower.licence
    licences |= licences_of(language_model=language)
    made = _whole(f"{tower.name} and {language.name}", whole, processor, licences)
    whole.config.image_seq_length = made.eyes.tokens
    ends = {made.chat.end_id(), tokenizer.eos_token_id}
    whole.generation_config = library.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
    )
    return made


def _say_precision(file: Path, dtype: str) -> None:
    """transformers writes the precision of the training, and loads weights in what is written."""
    config = json.loads(file.read_text(encoding="utf-8"))
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = dtype
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _whole(name: str, model: Any, processor: Any, licences: dict[str, str]) -> Llava:
    tokenizer = processor.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    kinds = (str(model.config.model_type), str(model.config.text_config.model_type))
    chat = Chat(name, processor, *kinds)
    if chat.image_id != model.config.image_token_id:
        raise UsageError(
            f"{name}: its config.json puts pictures at token {model.config.image_token_id}, and its"
            f" tokenizer's {chat.image_token!r} is {chat.image_id}: they do not belong together."
        )
    eyes = eyes_of(name, model.config, processor)
    return Llava(name, model.requires_grad_(True), processor, chat, eyes, licences)


def licences_of(**sources: Source) -> dict[str, str]:
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
