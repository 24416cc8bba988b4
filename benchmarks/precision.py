"""What a checkpoint takes in each precision, on one core of this machine: memory, speed, closeness.

Run: `python -m benchmarks.precision`. A language model of 100 million parameters is made from a
configuration with seeded random weights, and loaded in a process of its own for each precision,
through the pool, which measures what it takes. Random weights say nothing of what a precision costs
in answers (that is for your own data to say), but they take the same memory and time as trained
ones. docs/memory.md shows the table.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PRECISIONS = (("float32", None), ("bfloat16", None), ("bfloat16", "8bit"), ("bfloat16", "4bit"))
PROMPT, ANSWER, ROUNDS = 128, 32, 3
SHAPE: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 10,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "vocab_size": 8000,
    "tie_word_embeddings": False,
}


def make(folder: Path) -> None:
    """The checkpoint; its tokenizer is not needed."""
    import torch
    import transformers

    torch.manual_seed(0)
    transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**SHAPE)).save_pretrained(folder)


def measure(folder: Path, dtype: str, quantize: str | None) -> dict[str, float]:
    """Of one precision, in this process."""
    import torch

    from polymodal.models.hub_loading import Source, load_model, prepare
    from polymodal.models.precision import Precision
    from polymodal.models.resident import Resident
    from polymodal.models.tensorfiles import find_weight_files
    from polymodal.runtime.pool import Pool

    source = Source("benchmark", folder, find_weight_files(folder))
    precision, kind = Precision(dtype, quantize), "AutoModelForCausalLM"

    def libraries() -> None:
        prepare(source, kind)
        load_model(source, kind, "cpu", dtype, precision)  # what it imports is not the model's

    part: Resident[Any] = Resident(
        "weights", lambda: load_model(source, kind, "cpu", dtype, precision), prepare=libraries
    )
    pool = Pool()
    part.adopt(pool, "benchmark")
    ids = torch.arange(1, PROMPT + 1)[None]
    with part.use() as model, torch.inference_mode():
        (held,) = pool.models()
        logits = model(ids).logits.float()
        settings = {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER, "do_sample": False}
        reading, writing = [], []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            model(ids)
            reading.append(time.perf_counter() - started)
            started = time.perf_counter()
            model.generate(ids[:, :8], pad_token_id=0, **settings)
            writing.append(time.perf_counter() - started)
    torch.save(logits, folder / f"{dtype}-{quantize}.pt")
    whole = torch.load(folder / "float32-None.pt")
    cosine = torch.nn.functional.cosine_similarity(logits, whole, dim=-1).mean()
    return {
        "memory": held.host_bytes / 1e6,
        "reading": PROMPT / min(reading),
        "writing": ANSWER / min(writing),
        "cosine": float(cosine),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "DTYPE", "QUANTIZE"))
    one = parser.parse_args().one
    if one:
        folder, dtype, quantize = one
        print(json.dumps(measure(Path(folder), dtype, None if quantize == "-" else quantize)))
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder))
        print("| precision | memory | prompt | answer | cosine of logits |")
        print("| --- | --- | --- | --- | --- |")
        for dtype, quantize in PRECISIONS:
            words = [sys.executable, "-W", "ignore", "-m", "benchmarks.precision", "--one", folder]
            done = subprocess.run(
                [*words, dtype, quantize or "-"],
                capture_output=True,
                text=True,
                check=True,
                # One core: threads that wait for each other make times depend on what else runs.
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            found = json.loads(done.stdout.splitlines()[-1])
            name = f"`--dtype {dtype}`" if quantize is None else f"`--quantize {quantize}`, {dtype}"
            print(
                f"| {name} | {found['memory']:.0f} MB | {found['reading']:,.0f} tokens/s |"
                f" {found['writing']:.0f} tokens/s | {found['cosine']:.4f} |"
            )


if __name__ == "__main__":
    main()
