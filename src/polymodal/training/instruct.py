"""LLaVA-style training: a vision tower and a language model joined by a projector.

Notable: stage 1 (`align`) trains the projector alone, stage 2 (`instruct`) the language model too,
whole or by LoRA. LoRA's targets are the full paths of the language model's linear maps, so a vision
tower whose layers have the same names is never adapted by accident. The loss is the mean over all
answer tokens of the batch, over all parts and ranks. What is saved is a folder of transformers'
LLaVA, with the adapters beside the merged weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_model_state_dict

from polymodal.errors import TrainingError, UsageError
from polymodal.models.hub_families import USER_ASSISTANT
from polymodal.models.hub_loading import Source, load_model, load_processor, quietly, transformers
from polymodal.training.contrastive_task import autocast, spread
from polymodal.training.conversations import (
    IGNORED,
    Conversations,
    DialogueSamples,
    Encoder,
    grouped_order,
)
from polymodal.training.loading import Batch, Loader
from polymodal.training.ranks import mean_over_ranks, ranks, sum_over_ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.recipes_llava import LlavaRecipe
from polymodal.training.runfolder import RunFolder, recorded, write_card
from polymodal.training.towers import recompute_activations
from polymodal.training.trainer import WHOLE, Trainer

__all__ = ["InstructRun", "answer_step", "joined", "loaded", "lora_targets"]

IMAGE = "<image>"


def joined(vision: Source, language: Source, seed: int) -> tuple[nn.Module, Any]:
    """A LLaVA of a CLIP or SigLIP checkpoint's image tower and a causal language model.

    The projector has random weights; the tokenizer gets the image token.

    Raises:
        DamagedWeights, ModelUnavailable: see `load_model`.
    """
    library = transformers(vision.name)
    tower = load_model(vision, "AutoModel", "cpu", torch.float32).vision_model
    model = load_model(language, "AutoModelForCausalLM", "cpu", torch.float32)
    tokenizer = load_processor(language, "AutoTokenizer")
    images = load_processor(vision).image_processor
    tokenizer.add_tokens([IMAGE], special_tokens=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    clip = tower.config.model_type.startswith("clip")
    strategy = "default" if clip else "full"  # CLIP's first token is no place of the picture
    config = library.LlavaConfig(
        vision_config=tower.config,
        text_config=model.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_select_strategy=strategy,
        vision_feature_layer=-2,
    )
    torch.manual_seed(seed)
    whole = library.LlavaForConditionalGeneration(config)
    inner = getattr(whole.model.vision_tower, "vision_model", whole.model.vision_tower)
    inner.load_state_dict(tower.state_dict())
    whole.model.language_model.load_state_dict(model.model.state_dict())
    whole.lm_head.load_state_dict(model.lm_head.state_dict())
    size = max(len(tokenizer), whole.get_input_embeddings().weight.shape[0])
    with quietly(library):
        whole.resize_token_embeddings(size)
    processor = library.LlavaProcessor(
        images,
        tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=1 if clip else 0,
        chat_template=tokenizer.chat_template or USER_ASSISTANT,
    )
    return whole, processor


def loaded(source: Source) -> tuple[nn.Module, Any]:
    """A LLaVA from its folder.

    Raises:
        UsageError: it is another kind of model.
        DamagedWeights, ModelUnavailable: see `load_model`.
    """
    model = load_model(source, "AutoModelForImageTextToText", "cpu", torch.float32)
    if model.config.model_type != "llava":
        raise UsageError(
            f"{source.name} is {model.config.model_type}, and `train instruct` trains llava: build"
            " one with `train align`, or take llava-hf/llava-1.5-7b-hf."
        )
    return model, load_processor(source)


def lora_targets(model: nn.Module) -> list[str]:
    """Full paths of the language model's linear maps, its output layer aside."""
    prefix = "model.language_model."
    return [
        name
        for name, module in model.named_modules()
        if name.startswith(prefix) and isinstance(module, nn.Linear)
    ]


def answer_step(
    model: nn.Module, inputs: Mapping[str, Tensor], *, chunks: int, cast: Any, scale: float
) -> Tensor:
    """Add the gradient of the mean loss over the batch's answer tokens; gives that loss.

    Raises:
        TrainingError: every token of the batch, on all ranks, is masked.
    """
    labels_BT = inputs["labels"]
    wanted = (labels_BT[:, 1:] != IGNORED).sum()
    count = sum_over_ranks(wanted.float())
    if count == 0:
        raise TrainingError(
            "no token of this batch's answers is learned: every label is masked. Look at the chat"
            " template and `most_tokens`."
        )
    total = torch.zeros((), device=labels_BT.device)
    rows, pictures = len(labels_BT), 0
    image_id = int(getattr(model, "module", model).config.image_token_id)
    for number in range(chunks):
        part = slice(rows * number // chunks, rows * (number + 1) // chunks)
        ids = inputs["input_ids"][part]
        seen = int(((ids == image_id).any(1)).sum())
        pixels = {}
        if seen:
            pixels = {"pixel_values": inputs["pixel_values"][pictures : pictures + seen]}
        pictures += seen
        mask = inputs["attention_mask"][part]
        with cast:
            logits_BTV = model(input_ids=ids, attention_mask=mask, **pixels).logits
        loss = F.cross_entropy(
            logits_BTV[:, :-1].flatten(0, 1).float(),
            labels_BT[part, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="sum",
        )
        # Ranks average their gradients, so each takes its share times their number.
        share = loss / count * ranks().world
        if not seen:
            share = share + _nothing(model)
        (share * scale).backward()
        total = total + share.detach()
    return mean_over_ranks(total)


def _nothing(model: nn.Module) -> Any:
    """Zero, with a gradient of zero for what only pictures train: ranks expect one of each."""
    language = ("language_model.", "lm_head.")
    return 0.0 * sum(
        parameter.sum()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and not any(part in name for part in language)
    )


@dataclass
class _Task:
    """Fits `Task`."""

    model: nn.Module
    loader: Loader
    device: torch.device
    recipe: LlavaRecipe

    def step(self, batch: Batch, scale: float) -> Tensor:
        """See `Task.step`."""
        cast = autocast(self.recipe, self.device)
        return answer_step(
            self.model, batch.inputs, chunks=self.recipe.chunks, cast=cast, scale=scale
        )

    def after_step(self) -> None:
        """See `Task.after_step`."""

    def validate(self) -> dict[str, float]:
        """Nothing is measured while training; the verbs' own measures do it after."""
        return {}


@dataclass
class InstructRun:
    """A run of either stage: model and processor in memory, recipe, data."""

    recipe: LlavaRecipe
    model: Any
    processor: Any
    name: str
    data: Conversations
    device: torch.device

    def __post_init__(self) -> None:
        """Lay out the data and put the adapters in.

        Raises:
            UsageError: tokenizer, recipe and data do not fit each other.
        """
        encode = Encoder(self.processor, self.name, self.recipe.most_tokens)
        items, batch, seed = self.data.items, self.recipe.batch, self.recipe.seed
        self.loader = Loader(
            DialogueSamples(self.data, encode),
            encode.collate,
            batch,
            seed,
            self.recipe.workers,
            order=lambda epoch: grouped_order(items, batch, seed, epoch),
        )
        share = batch // ranks().world
        if not 1 <= self.recipe.chunks <= share:
            raise UsageError(
                f"a process has {share} items of the batch, which cannot be split into"
                f" {self.recipe.chunks} chunks: set `chunks` to 1 to {share}."
            )
        self.model.requires_grad_(True)
        if self.recipe.recompute:
            recompute_activations(self.model)
        if self.recipe.lora_rank:
            import peft

            torch.manual_seed(seed)
            config = peft.LoraConfig(
                r=self.recipe.lora_rank,
                lora_alpha=self.recipe.lora_alpha,
                lora_dropout=self.recipe.lora_dropout,
                target_modules=lora_targets(self.model),
            )
            with warnings.catch_warnings():
                # peft 0.21 asks transformers by a name that is to go.
                warnings.simplefilter("ignore", FutureWarning)
                self.model = peft.get_peft_model(self.model, config)

    def run(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        resume: bool = False,
        accept_changes: bool = False,
    ) -> None:
        """Train, and write the model into the folder; see `ContrastiveRun.run`."""
        run = RunFolder(folder, say, writes=ranks().first)
        about = {
            "model": self.name,
            "data": self.data.source,
            "data_fingerprint": self.data.fingerprint,
        }
        run.begin(recorded(self.recipe, about), resume=resume, accept_changes=accept_changes)
        parameter_groups(self.model, self.recipe.rates, self.recipe.decay)
        model = spread(self.model.to(self.device), self.recipe, self.device)
        Trainer(_Task(model, self.loader, self.device, self.recipe), self.recipe, run).run()
        weights = get_model_state_dict(model, options=WHOLE)
        if ranks().first:
            self._save(folder, weights)
            write_card(folder, run.record, {})

    def _save(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """The whole model, adapters merged into it and beside it."""
        library = transformers(str(folder))
        with quietly(library):
            whole = self.model
            if self.recipe.lora_rank:
                whole.load_state_dict(weights)
                whole.save_pretrained(folder / "adapters")
                whole = whole.merge_and_unload()
                weights = whole.state_dict()
            whole.save_pretrained(folder, state_dict=weights)
            self.processor.save_pretrained(folder)
