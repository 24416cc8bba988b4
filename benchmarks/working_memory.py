"""The memory of a model's widest step as it is worked out, against what one takes.

    python -m benchmarks.working_memory

The models are those of `benchmarks.memory_estimates`, with random weights; each reads pictures, or
a prompt and its pictures, on the CPU in a process of its own. Measured is the peak of the process's
resident memory over what it held before (Linux: VmHWM after a reset), in a second run, when
libraries are loaded. docs/choosing.md shows the table.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.memory_estimates import VISION, configurations
from benchmarks.tables import conditions, markdown
from polymodal.catalog.choices import filled
from polymodal.catalog.estimate import Load, estimate

Run = Callable[[], Any]
CASES = {
    "CLIP, 16 pictures": ("CLIP", 16),
    "SigLIP, 16 pictures": ("SigLIP", 16),
    "Qwen2, 2,048 tokens": ("Qwen2", 2048),
    "LLaVA, 1,024 tokens with a picture": ("LLaVA", 1024),
    "Idefics3, 1,024 tokens with a picture in 17 tiles": ("Idefics3", 1024),
    "Qwen2.5-VL, 1,400 tokens with a picture of 1,008 px": ("Qwen2.5-VL", 1400),
}
PICTURE = 15_000
"""The token that stands for pictures; any below the vocabulary's size."""
SIDE, QWEN_GRID = VISION["image_size"], 36
TILES = 17


def inputs_of(name: str, count: int, dtype: Any) -> tuple[dict[str, Any], Load]:
    """What a model reads, and the same as the estimate's load."""
    import torch

    kind = str(dtype).removeprefix("torch.")
    if name in {"CLIP", "SigLIP"}:
        load = Load(dtype=kind, batch=count, picture_px=SIDE)
        return {"pixel_values": torch.ones((count, 3, SIDE, SIDE), dtype=dtype)}, load
    ids = torch.full((1, count), 5)
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    side, tokens = SIDE, 0
    if name == "LLaVA":
        tokens = (SIDE // VISION["patch_size"]) ** 2
        given["pixel_values"] = torch.ones((1, 3, SIDE, SIDE), dtype=dtype)
    elif name == "Idefics3":
        tokens = TILES * (SIDE // VISION["patch_size"] // 2) ** 2
        given["pixel_values"] = torch.ones((1, TILES, 3, SIDE, SIDE), dtype=dtype)
    elif name == "Qwen2.5-VL":
        side, tokens = QWEN_GRID * 28, QWEN_GRID**2
        given["pixel_values"] = torch.ones((4 * tokens, 3 * 2 * 14 * 14), dtype=dtype)
        given["image_grid_thw"] = torch.tensor([[1, 2 * QWEN_GRID, 2 * QWEN_GRID]])
    ids[:, 1 : 1 + tokens] = PICTURE
    if name == "Qwen2.5-VL":
        given["mm_token_type_ids"] = (ids == PICTURE).int()
    return given, Load(dtype=kind, context_tokens=count + 1, picture_px=side)


def measured(name: str, count: int) -> dict[str, float]:
    """Bytes worked out and measured, in this process."""
    import torch
    import transformers as hf

    torch.set_num_threads(1)
    ctypes.CDLL(None).mallopt(-3, 65_536)  # blocks go back to the system as soon as they are free
    hf.utils.logging.set_verbosity_error()
    config, model_class, _, kind = configurations()[name]
    if name == "Qwen2.5-VL":  # its default is for heads of 128
        rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [8, 12, 12]}
        config.text_config.rope_parameters = rope
    config.image_token_id = PICTURE
    model = getattr(hf, model_class)(config).to(getattr(torch, kind)).eval()
    given, load = inputs_of(name, count, getattr(torch, kind))
    if name in {"CLIP", "SigLIP"}:
        run: Run = lambda: model.get_image_features(**given)  # noqa: E731
    else:
        run = lambda: model.generate(**given, max_new_tokens=1, do_sample=False)  # noqa: E731
    with torch.inference_mode():
        run()
        taken = peak_of(run)
    found = estimate(filled(json.loads(config.to_json_string(use_diff=False))), load, name=name)
    worked_out = found.activation_bytes + found.kv_cache_bytes
    return {"worked_out": worked_out, "measured": taken}


def peak_of(run: Run) -> int:
    """Bytes by which the process's peak rises over what it holds."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return _status("VmHWM") - before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def main() -> None:
    """Measure every case in a process of its own; print the table."""
    if len(sys.argv) > 1:
        warnings.simplefilter("ignore")
        print(json.dumps(measured(*CASES[sys.argv[1]])))
        return
    rows = []
    for name in CASES:
        command = [sys.executable, "-m", "benchmarks.working_memory", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        apart = 100 * (found["worked_out"] / found["measured"] - 1)
        sizes = [f"{found[key] / 1e6:.0f} MB" for key in ("worked_out", "measured")]
        rows.append([name, *sizes, f"{apart:+.0f} %"])
    print(markdown(["step", "worked out", "measured", "apart"], rows))
    print(f"\n{conditions('torch', 'transformers')}")


if __name__ == "__main__":
    main()
