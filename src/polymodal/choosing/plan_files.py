"""What a plan starts: vLLM's command lines, and a compose file of them.

Sources, in github.com/vllm-project/vllm: the flags and their types in vllm/engine/arg_utils.py at
99d7eb5; `--limit-mm-per-prompt` as JSON, and 999 of every kind that it does not name, in
vllm/config/multimodal.py at 55e847c; the names of `--quantization` in
vllm/model_executor/layers/quantization/__init__.py at 05d9095; a share of the device's memory in
vllm/config/cache.py at c1d8642; the model as an argument, since the image became `vllm serve` and
`--model` a warning there, in pull requests 17944 and 32292.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from polymodal.choosing.planning import Plan, PlannedModel
from polymodal.errors import UsageError

__all__ = ["compose", "vllm_arguments", "vllm_command", "write_files"]

IMAGE = "vllm/vllm-openai:latest"
PORT = 8000
QUANTIZATION = {"8bit": "fp8", "4bit": "bitsandbytes"}
"""vLLM quantises weights to 8 bits as float8, to 4 bits by bitsandbytes as it loads them."""
HEADROOM = 0.05
MOST_OF_DEVICE = 0.95


def vllm_arguments(model: PlannedModel, port: int) -> list[str]:
    """What `vllm serve` is given for one replica."""
    share = model.memory_bytes / model.device_bytes + HEADROOM
    found = [
        *_named(model.name),
        "--port",
        str(port),
        "--dtype",
        model.precision.split()[0],
        "--max-model-len",
        str(model.context_tokens),
        "--max-num-seqs",
        str(model.sequences),
        "--gpu-memory-utilization",
        f"{min(MOST_OF_DEVICE, math.ceil(100 * share) / 100):.2f}",
        "--limit-mm-per-prompt",
        # What is not named may come 999 times: room for videos would be taken at the start.
        json.dumps({"image": model.pictures, "video": 0}),
    ]
    if model.quantize is not None:
        found += ["--quantization", QUANTIZATION[model.quantize]]
    return found


def _named(name: str) -> list[str]:
    """A model as vLLM is told it: a folder by its whole path, a revision apart from the id."""
    if (folder := _folder(name)) is not None:
        return [str(folder), "--served-model-name", folder.name]
    repository, _, revision = name.partition("@")
    return [repository, *(["--revision", revision] if revision else [])]


def _folder(name: str) -> Path | None:
    """The folder that a name is; None for one of the hub."""
    folder = Path(name).expanduser()
    return folder.resolve() if folder.is_dir() else None


def _volumes(name: str) -> list[str]:
    """What a container needs to see: the hub's cache, or the model's own folder."""
    if (folder := _folder(name)) is None:
        return ["~/.cache/huggingface:/root/.cache/huggingface"]
    if folder.parent.name == "snapshots":  # of the hub's cache: links into the folder beside it
        folder = folder.parent.parent
    name = str(folder).replace("$", "$$")  # a single one would be taken for a variable
    return [f"{name}:{name}:ro"]


def vllm_command(model: PlannedModel, port: int = PORT) -> str:
    """The command line of one replica."""
    return f"vllm serve {shlex.join(vllm_arguments(model, port))}"


def compose(plan: Plan) -> str:
    """A compose file with a service for each replica that vLLM serves, each on its GPU."""
    lines = ["services:"]
    for name, model, gpu, port in _services(plan):
        arguments = vllm_arguments(model, port)
        lines += [
            f"  {name}:",
            f"    image: {IMAGE}",
            # Images differ in what they start; with this one the model is an argument in all.
            '    entrypoint: ["vllm", "serve"]',
            f"    command: {json.dumps(arguments)}",
            f'    ports: ["{port}:{port}"]',
            f"    volumes: {json.dumps(_volumes(model.name))}",
            "    ipc: host",
            "    restart: unless-stopped",
            "    deploy:",
            "      resources:",
            "        reservations:",
            "          devices:",
            "            - driver: nvidia",
            f'              device_ids: ["{gpu}"]',
            "              capabilities: [gpu]",
        ]
    return "\n".join(lines) + "\n"


def write_files(plan: Plan, folder: Path) -> list[Path]:
    """vllm.sh and compose.yaml.

    Raises:
        UsageError: nothing is served by vLLM, or the folder cannot be written.
    """
    services = _services(plan)
    if not services:
        raise UsageError("no model of this plan is served by vLLM, so there is nothing to write.")
    commands = [
        f"CUDA_VISIBLE_DEVICES={gpu} {vllm_command(model, port)} &"
        for _, model, gpu, port in services
    ]
    contents = {
        "vllm.sh": "\n".join(["#!/bin/sh", *commands, "wait", ""]),
        "compose.yaml": compose(plan),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}.") from error
    return [folder / name for name in contents]


def _services(plan: Plan) -> list[tuple[str, PlannedModel, int, int]]:
    """Service name, model, number of the GPU, port: one for each replica."""
    gpus = _numbers([each.name for each in plan.devices if each.kind == "cuda"])
    found: list[tuple[str, PlannedModel, int, int]] = []
    begun: dict[str, int] = {}  # replicas of that name: two models may be called alike
    for model in plan.models:
        if not model.served_by_vllm:
            continue
        last = (str(_folder(model.name) or "") or model.name).rpartition("/")[2].lower()
        short = re.sub(r"[^a-z0-9]+", "-", last).strip("-") or "model"
        for device in model.devices:
            number = begun[short] = begun.get(short, -1) + 1
            found.append((f"{short}-{number}", model, gpus[device], PORT + len(found)))
    return found


def _numbers(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names)}
