"""Low-rank adapters (LoRA, Hu et al. 2021) on a language model, by peft.

Notable: layers are named by their full paths. peft takes a name such as `q_proj` to mean every
layer that ends so, and a CLIP tower's layers are called like a language model's: it would train the
tower too, and say nothing. Merged, the adapters are gone into the weights and cost nothing.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from polymodal.errors import MissingDependency, UsageError
from polymodal.models.hub_loading import quietly, transformers

__all__ = ["adapt", "linear_paths", "merge_adapters", "save_adapters"]

LANGUAGE = "model.language_model."


def linear_paths(model: Any) -> list[str]:
    """Full paths of the language model's linear layers; its head is not among them."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D  # GPT-2's

    return [
        name
        for name, module in model.named_modules()
        if name.startswith(LANGUAGE) and isinstance(module, nn.Linear | Conv1D)
    ]


def adapt(model: Any, *, rank: int, alpha: int, dropout: float) -> Any:
    """Put adapters on a LLaVA's language model; gives peft's handle on the same modules.

    The adapted model says what it said before, until its adapters train.

    Raises:
        MissingDependency: peft is not installed.
        UsageError: there is no layer to adapt.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "LoRA needs peft, which is not installed. Run: pip install 'polymodal[train]'"
        ) from error
    paths = linear_paths(model)
    if not paths:
        raise UsageError("the language model has no linear layers to adapt.")
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout, bias="none", target_modules=paths
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks by transformers' former names
        adapted = peft.get_peft_model(model, config)
    touched = {name for name, _ in model.named_modules() if name.endswith(".lora_A")}
    assert {name.removesuffix(".lora_A") for name in touched} == set(paths)
    return adapted


def save_adapters(adapted: Any, folder: Path, base: str) -> None:
    """Write the adapters alone, in peft's format.

    Args:
        base: what they belong on.
    """
    adapted.peft_config["default"].base_model_name_or_path = base
    with quietly(transformers(base)):
        adapted.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)  # an empty form


def merge_adapters(adapted: Any) -> Any:
    """The model with its adapters added to its weights, as plain layers."""
    return adapted.merge_and_unload()
