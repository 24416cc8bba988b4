"""One run of the study: a strategy, a data set, a grid and a seed; and the clock by itself.

Legend of shapes: B questions, C vocabulary.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from recipes.fusion_study.strategies import Answering, Shapes, build, parameters

PARAMETERS = 1_300_000
RATE = 1e-3
DECAY = 0.05
BATCH = 256
WARM_UP = 0.1  # of the steps
PASSES = {"easy-vqa": 24, "flickr8k": 12}
SIDE = {"easy-vqa": 7, "flickr8k": 8}


@dataclass(frozen=True)
class Job:
    """A run to do."""

    data: str
    strategy: str
    side: int
    seed: int
    passes: int


@dataclass(frozen=True)
class Questions:
    """Questions of one part of a data set, on the device."""

    picture: Tensor
    words: Tensor
    answer: Tensor

    def __len__(self) -> int:
        return len(self.answer)


@dataclass(frozen=True)
class Data:
    """A data set on the device; `image` holds all pictures as bytes."""

    image: Tensor
    train: Questions
    test: Questions
    shapes: Shapes


def load(file: Path, name: str, device: str) -> Data:
    """Read a data set from the file that `prepare` wrote."""
    with np.load(file) as arrays:

        def tensor(key: str, kind: torch.dtype) -> Tensor:
            return torch.from_numpy(arrays[f"{name}.{key}"]).to(device, kind)

        def questions(part: str) -> Questions:
            keys = ("picture", "words", "answer")
            return Questions(*(tensor(f"{part}.{key}", torch.long) for key in keys))

        image = torch.from_numpy(arrays[f"{name}.image"]).to(device)
        train, test = questions("train"), questions("test")
        vocabulary = len(arrays[f"{name}.vocabulary"])
    return Data(image, train, test, Shapes(image.shape[3], vocabulary, train.words.shape[1]))


def halved(device: str) -> contextlib.AbstractContextManager[Any]:
    """bfloat16 where a GPU multiplies it faster."""
    if device.startswith("cuda"):
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


def logits(model: nn.Module, data: Data, part: Questions, rows: Tensor | slice) -> Tensor:
    """Of some questions of a part."""
    out_BC: Tensor = model(data.image[part.picture[rows]], part.words[rows])
    return out_BC


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """Matrices decay; vectors, scales and gates do not."""
    wide = [w for w in model.parameters() if w.ndim > 1]
    thin = [w for w in model.parameters() if w.ndim < 2]
    return [{"params": wide, "weight_decay": DECAY}, {"params": thin, "weight_decay": 0.0}]


def made(job: Job, data: Data, device: str) -> Answering:
    """The model of a run, the same on every device."""
    torch.manual_seed(job.seed)
    return build(job.strategy, data.shapes, job.side, PARAMETERS).to(device)


def train(job: Job, data: Data, device: str) -> dict[str, Any]:
    """Train and measure: the row of the results."""
    model = made(job, data, device)
    order = torch.Generator(device).manual_seed(job.seed)
    batch = min(BATCH, len(data.train))
    each = len(data.train) // batch
    steps = job.passes * each

    def rate(step: int) -> float:
        warm = max(1, int(WARM_UP * steps))
        return min((step + 1) / warm, 0.5 * (1 + math.cos(math.pi * step / steps)))

    optimiser = torch.optim.AdamW(groups(model), lr=RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    began = time.perf_counter()
    for step in range(steps):
        if step % each == 0:
            shuffled = torch.randperm(len(data.train), generator=order, device=device)
        rows = shuffled[step % each * batch :][:batch]
        with halved(device):
            loss = F.cross_entropy(logits(model, data, data.train, rows), data.train.answer[rows])
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    final = float(loss.detach())  # waits for the device
    return {
        "kind": "run",
        **asdict(job),
        "device": torch.device(device).type,
        "accuracy": accuracy(model, data, device),
        "loss": final,
        "train_s": time.perf_counter() - began,
        "steps": steps,
        "batch": batch,
    }


@torch.no_grad()
def accuracy(model: nn.Module, data: Data, device: str) -> float:
    """Share of the test questions answered right."""
    model.eval()
    right = 0
    for start in range(0, len(data.test), 2048):
        rows = slice(start, start + 2048)
        with halved(device):
            said_B = logits(model, data, data.test, rows).argmax(1)
        right += int((said_B == data.test.answer[rows]).sum())
    model.train()
    return right / len(data.test)


def clock(job: Job, data: Data, device: str, repeats: int) -> dict[str, Any]:
    """Parameters, operations and times of a strategy, nothing else running."""
    model = made(job, data, device)
    optimiser = torch.optim.AdamW(groups(model), lr=RATE, fused=True)
    batch = min(BATCH, len(data.train))
    rows = torch.arange(batch, device=device)

    def step() -> None:
        with halved(device):
            loss = F.cross_entropy(logits(model, data, data.train, rows), data.train.answer[rows])
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def answer(count: int) -> None:
        with halved(device):
            logits(model, data, data.test, slice(0, count))

    step_s = median_s(step, device, repeats)
    model.eval()
    one_s = median_s(lambda: answer(1), device, repeats)
    many = min(BATCH, len(data.test))
    many_s = median_s(lambda: answer(many), device, repeats)
    # The fused attention kernels are not counted on every device; the plain one is.
    model.requires_grad_(False)
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH):
        answer(1)
    return {
        "kind": "clock",
        "data": job.data,
        "strategy": job.strategy,
        "side": job.side,
        "parameters": parameters(model),
        "visual_tokens": model.visual,
        "flops": counter.get_total_flops(),
        "step_ms": 1e3 * step_s,
        "latency_ms": 1e3 * one_s,
        "questions_per_s": many / many_s,
        "batch": batch,
    }


def median_s(work: Callable[[], None], device: str, repeats: int) -> float:
    """The median of single runs, each waited for."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    times = []
    for _ in range(repeats + 3):
        wait()
        began = time.perf_counter()
        work()
        wait()
        times.append(time.perf_counter() - began)
    return statistics.median(times[3:])
