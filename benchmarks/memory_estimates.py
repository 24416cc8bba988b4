"""Memory as it is worked out from a configuration, against what loading takes.

Checkpoints of medium size are made from their families' classes with weights of zeros, and loaded
by the adapters' own loader in this process, one after the other:
`python -m benchmarks.memory_estimates`. docs/choosing.md shows the table.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

TEXT: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 1536,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 16_000,
    "max_position_embeddings": 2048,
}
TOWER: dict[str, Any] = {
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
}
VISION: dict[str, Any] = {**TOWER, "image_size": 224, "patch_size": 16}


def configurations() -> dict[str, tuple[Any, str, str, str]]:
    """Name to configuration, model class, the class that loads it, and the type of its numbers."""
    import transformers as hf

    words = {**TOWER, "vocab_size": 30_000, "max_position_embeddings": 64}
    return {
        "CLIP": (
            hf.CLIPConfig(text_config=words, vision_config=VISION),
            "CLIPModel",
            "AutoModel",
            "float32",
        ),
        "SigLIP": (
            hf.SiglipConfig(text_config={**words, "projection_size": 512}, vision_config=VISION),
            "SiglipModel",
            "AutoModel",
            "float32",
        ),
        "Qwen2": (
            hf.Qwen2Config(**{**TEXT, "num_hidden_layers": 12}),
            "Qwen2ForCausalLM",
            "AutoModelForCausalLM",
            "float32",
        ),
        "LLaVA": (
            hf.LlavaConfig(
                vision_config=hf.CLIPVisionConfig(**VISION), text_config=hf.LlamaConfig(**TEXT)
            ),
            "LlavaForConditionalGeneration",
            "AutoModelForImageTextToText",
            "float32",
        ),
        "Idefics3": (
            hf.Idefics3Config(vision_config=VISION, text_config=hf.LlamaConfig(**TEXT)),
            "Idefics3ForConditionalGeneration",
            "AutoModelForImageTextToText",
            "float32",
        ),
        **more_configurations(),
    }


def more_configurations() -> dict[str, tuple[Any, str, str, str]]:
    """The same of families whose parts are called otherwise."""
    import transformers as hf

    patches = {"depth": 6, "hidden_size": 512, "intermediate_size": 1536, "num_heads": 8}
    return {
        "Qwen2.5-VL": (
            hf.Qwen2_5_VLConfig(
                text_config={**TEXT, "num_hidden_layers": 12},
                vision_config={**patches, "out_hidden_size": 512},
            ),
            "Qwen2_5_VLForConditionalGeneration",
            "AutoModelForImageTextToText",
            "bfloat16",
        ),
        "BLIP-2": (
            hf.Blip2Config(
                vision_config=VISION,
                qformer_config={**TOWER, "vocab_size": 100, "encoder_hidden_size": 512},
                text_config=hf.OPTConfig(
                    hidden_size=512,
                    ffn_dim=2048,
                    num_hidden_layers=6,
                    num_attention_heads=8,
                    vocab_size=16_000,
                    word_embed_proj_dim=512,
                ).to_dict(),
            ),
            "Blip2ForConditionalGeneration",
            "AutoModelForImageTextToText",
            "float32",
        ),
    }


def rows() -> list[dict[str, Any]]:
    """Worked out and measured, a row a configuration."""
    import torch
    import transformers as hf

    from polymodal.catalog.choices import filled
    from polymodal.catalog.estimate import Load, estimate
    from polymodal.models.hub_loading import Source, load_model, prepare
    from polymodal.models.tensorfiles import find_weight_files
    from polymodal.runtime.memory import give_back, host_used

    torch.set_num_threads(1)
    # Large blocks straight from the system and straight back, so that none is left over from the
    # checkpoint before (mallopt's M_MMAP_THRESHOLD; glibc raises it by itself otherwise).
    ctypes.CDLL(None).mallopt(-3, 65_536)
    hf.utils.logging.set_verbosity_error()
    hf.utils.logging.disable_progress_bar()
    found = []
    with tempfile.TemporaryDirectory() as root:
        for name, (config, model_class, auto_class, dtype) in configurations().items():
            folder = Path(root) / model_class
            with torch.device("meta"):
                model = getattr(hf, model_class)(config)
            model.to_empty(device="cpu").save_pretrained(folder)
            del model
            source = Source(name, folder, find_weight_files(folder))
            prepare(source, auto_class)
            give_back()
            before = host_used()
            loaded = load_model(source, auto_class, "cpu", dtype)
            measured = host_used() - before
            del loaded
            whole = filled(json.loads((folder / "config.json").read_text(encoding="utf-8")))
            worked_out = estimate(whole, Load(dtype=dtype), name=name)
            found.append(
                {
                    "name": name,
                    "dtype": dtype,
                    "parameters": worked_out.parameters,
                    "estimate_bytes": worked_out.weight_bytes,
                    "measured_bytes": measured,
                }
            )
    return found


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    warnings.simplefilter("ignore")
    found = rows()
    if as_json:
        print(json.dumps(found))
        return
    print("| family | parameters | worked out | measured | apart |")
    print("| --- | --- | --- | --- | --- |")
    for each in found:
        worked_out, measured = each["estimate_bytes"], each["measured_bytes"]
        print(
            f"| {each['name']} ({each['dtype']}) | {each['parameters'] / 1e6:.0f} M |"
            f" {worked_out / 1e6:.0f} MB | {measured / 1e6:.0f} MB |"
            f" {100 * (worked_out / measured - 1):+.1f} % |"
        )


if __name__ == "__main__":
    main()
