"""Parameters and memory of checkpoints, counted from configurations without any weights.

Run: `python -m benchmarks.checkpoint_sizes`. The defaults of these configuration classes are those
of the named checkpoints, as transformers documents them; the others are counted from the cards in
`catalog/choices-*.toml`. docs/models.md shows the table.
"""

from __future__ import annotations

from typing import Any

BYTES_CPU, BYTES_GPU = 4, 2
GEMMA_TOKENS = 256_000
"""SigLIP 2's vocabulary is Gemma's."""
DEFAULTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "openai/clip-vit-base-patch32": ("CLIPConfig", "CLIPModel", {}),
    "google/siglip-base-patch16-224": ("SiglipConfig", "SiglipModel", {}),
    "google/siglip2-base-patch16-naflex": (
        "Siglip2Config",
        "Siglip2Model",
        {"text_config": {"vocab_size": GEMMA_TOKENS}},
    ),
    "llava-hf/llava-1.5-7b-hf": ("LlavaConfig", "LlavaForConditionalGeneration", {}),
}


def parameters(config_class: str, model_class: str, settings: dict[str, Any]) -> int:
    """Of a model that is built on the meta device, so that nothing is stored."""
    import torch
    import transformers

    config: Any = getattr(transformers, config_class)(**settings)
    with torch.device("meta"):
        model = getattr(transformers, model_class)(config)
    return sum(each.numel() for each in model.parameters())


def counted() -> dict[str, int]:
    """Parameters by checkpoint: built where its class has the right defaults, else by its card."""
    from polymodal.catalog.choices import WRITING, choices_for
    from polymodal.catalog.shapes import shape_of

    built = {name: parameters(*how) for name, how in DEFAULTS.items()}
    cards = {each.name: each for task in WRITING for each in choices_for(task) if each.config}
    return built | {
        name: shape_of(card.config, name).parameters
        for name, card in cards.items()
        if name not in built
    }


def main() -> None:
    """Print the table."""
    print("| checkpoint | parameters | float32 | 2 bytes |")
    print("| --- | --- | --- | --- |")
    for name, count in counted().items():
        sizes = " | ".join(f"{count * each / 1e9:.1f} GB" for each in (BYTES_CPU, BYTES_GPU))
        print(f"| `{name}` | {count / 1e6:,.0f} M | {sizes} |")


if __name__ == "__main__":
    main()
