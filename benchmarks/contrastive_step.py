"""The contrastive training step: speed and memory on a CPU, the share of the ceiling on a GPU.

    python -m benchmarks.contrastive_step [--rounds 7]
    python -m benchmarks.contrastive_step --device cuda [--batch 1024] [--chunks 1]

CPU: samples a second against open_clip's own `train_one_epoch`, same towers, batch and optimiser,
rounds alternating; then the memory that a step adds, each in a process of its own, at one and at
eight times the batch. GPU: ViT-B/32 in bfloat16 on synthetic data against the best matrix product
that the card was just measured to do; a profile is printed where that is under 45 %.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.tables import conditions, markdown, median
from polymodal.nn.losses import InfoNCE
from polymodal.training.contrastive import contrastive_step

SIDE, PATCH, WIDTH, LAYERS, TOKENS, BATCH = 64, 8, 192, 4, 32, 32
"""Of the small towers on the CPU: a ViT on 64 patches, a text tower alike."""
WANTED = 0.45


class Towers(nn.Module):
    """open_clip's model as `encoder(images, texts)`."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        return (
            self.model.encode_image(images, normalize=True),
            self.model.encode_text(texts, normalize=True),
        )


def small_model() -> nn.Module:
    """open_clip's own ViT and text transformer, small, from one seed."""
    import open_clip

    torch.manual_seed(0)
    vision = open_clip.CLIPVisionCfg(
        layers=LAYERS, width=WIDTH, head_width=64, patch_size=PATCH, image_size=SIDE
    )
    text = open_clip.CLIPTextCfg(
        context_length=TOKENS, vocab_size=1000, width=WIDTH, heads=3, layers=LAYERS
    )
    model: nn.Module = open_clip.CLIP(128, vision, text, output_dict=True)
    return model


def pairs(batch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random pixels and tokens."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    return images, torch.randint(1, 999, (batch, TOKENS), generator=generator)


def optimiser(*modules: nn.Module) -> torch.optim.AdamW:
    """AdamW over what trains."""
    return torch.optim.AdamW([p for module in modules for p in module.parameters()], lr=1e-4)


def our_steps(batch: int, chunks: int) -> Callable[[int], None]:
    """A function that takes `count` of our steps."""
    model = small_model()
    model.logit_scale.requires_grad_(False)
    encoder, loss = Towers(model), InfoNCE()
    adam, group = optimiser(encoder, loss), torch.arange(batch)
    images, texts = pairs(batch)

    def run(count: int) -> None:
        for _ in range(count):
            adam.zero_grad()
            contrastive_step(encoder, loss, images, texts, group_B=group, chunks=chunks)
            adam.step()
            loss.clamp_()

    return run


def open_clip_steps(batch: int) -> Callable[[int], None]:
    """A function that takes `count` steps of open_clip's own training loop."""
    from open_clip.loss import ClipLoss
    from open_clip_train.train import train_one_epoch

    model, loss = small_model(), ClipLoss()
    adam, data = optimiser(model), pairs(batch)
    arguments = SimpleNamespace(
        device="cpu", precision="fp32", accum_freq=1, skip_scheduler=True, distill=False,
        horovod=False, grad_clip_norm=None, rank=0, local_rank=0, world_size=1, log_local=False,
        log_every_n_steps=10**9, batch_size=batch, wandb=False,
    )  # fmt: skip

    class Batches(list[Any]):
        num_batches, num_samples = 10**6, batch * 10**6

    def run(count: int) -> None:
        batches = Batches([data] * count)
        info = SimpleNamespace(dataloader=batches, set_epoch=lambda epoch: None)
        train_one_epoch(model, {"train": info}, loss, 0, adam, None, None, None, arguments)

    return run


def speed(rounds: int, threads: int) -> None:
    """Print samples a second of both, rounds alternating."""
    torch.set_num_threads(threads)
    runs = {
        "open_clip, train_one_epoch": open_clip_steps(BATCH),
        "polymodal, one part": our_steps(BATCH, 1),
        "polymodal, gradient caching in 4 parts": our_steps(BATCH, 4),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run(3)
            if number:  # the first warms up
                times[name].append((time.perf_counter() - began) / 3)
    rates = {name: BATCH / median(each) for name, each in times.items()}
    peer = rates["open_clip, train_one_epoch"]
    rows = [(name, f"{rate:.1f}", f"{rate / peer:.2f}") for name, rate in rates.items()]
    print(markdown(["training step", "samples/s", "of open_clip's"], rows))


def high_water_bytes() -> int:
    """The most this process has held since `forget_high_water`."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def step_bytes(batch: int, chunks: int) -> int:
    """What a step adds to a process that has model, optimiser and data in memory."""
    torch.set_num_threads(1)
    our_steps(2, 1)(2)  # libraries and their buffers
    run = our_steps(batch, chunks)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = high_water_bytes()
    run(1)
    return high_water_bytes() - before


def memory() -> None:
    """Print what a step adds at one and at eight times the batch; a process each."""
    cases = {
        f"batch {BATCH}, plain": (BATCH, 1),
        f"batch {8 * BATCH}, plain": (8 * BATCH, 1),
        f"batch {8 * BATCH}, gradient caching in 8 parts": (8 * BATCH, 8),
    }
    found = {}
    for name, (batch, chunks) in cases.items():
        command = [sys.executable, "-m", "benchmarks.contrastive_step"]
        ran = subprocess.run(
            [*command, "--memory-of", str(batch), str(chunks)],
            check=True, capture_output=True, text=True,
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        )  # fmt: skip
        found[name] = int(ran.stdout)
    first = next(iter(found.values()))
    rows = [(name, f"{each / 1e6:.0f}", f"{each / first:.2f}") for name, each in found.items()]
    print(markdown(["step", "memory it adds, MB", "of the first"], rows))


class Block(nn.Module):
    """A pre-norm transformer block as in CLIP, with fused attention."""

    def __init__(self, width: int, causal: bool) -> None:
        super().__init__()
        self.causal, self.heads = causal, width // 64
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BTW: Tensor) -> Tensor:
        batch, tokens, width = x_BTW.shape
        qkv = self.qkv(self.norm1(x_BTW)).view(batch, tokens, 3, self.heads, 64)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        x_BTW = x_BTW + self.out(mixed.transpose(1, 2).reshape(batch, tokens, width))
        inner = self.up(self.norm2(x_BTW))
        return x_BTW + self.down(inner * torch.sigmoid(1.702 * inner))


class ClipB32(nn.Module):
    """CLIP ViT-B/32 (Radford et al. 2021): 151 M parameters, 224 px, 77 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Linear(3 * 32 * 32, 768, bias=False)
        self.first = nn.Parameter(torch.randn(768) * 0.02)
        self.places = nn.Parameter(torch.randn(50, 768) * 0.02)
        self.before, self.after = nn.LayerNorm(768), nn.LayerNorm(768)
        self.vision = nn.Sequential(*(Block(768, causal=False) for _ in range(12)))
        self.words = nn.Embedding(49_408, 512)
        self.text_places = nn.Parameter(torch.randn(77, 512) * 0.01)
        self.text = nn.Sequential(*(Block(512, causal=True) for _ in range(12)))
        self.text_after = nn.LayerNorm(512)
        self.image_out = nn.Linear(768, 512, bias=False)
        self.text_out = nn.Linear(512, 512, bias=False)

    def forward(self, images: Tensor, texts: Tensor) -> tuple[Tensor, Tensor]:
        grid = images.unflatten(2, (7, 32)).unflatten(4, (7, 32))  # B 3 7 32 7 32
        patch_BPN = grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        x = self.patches(patch_BPN)
        # The residual stream stays in the pictures' precision, as in open_clip.
        x = torch.cat([self.first.to(x.dtype).expand(len(x), 1, -1), x], 1)
        x = x + self.places.to(x.dtype)
        image = self.image_out(self.after(self.vision(self.before(x))[:, 0]))
        y = self.text((self.words(texts) + self.text_places).to(images.dtype))
        text = self.text_out(self.text_after(y)[torch.arange(len(y)), texts.argmax(1)])
        return F.normalize(image.float(), dim=1), F.normalize(text.float(), dim=1)


def pair_flops() -> float:
    """Of one pair, forward and backward; a recomputed forward pass is not counted as work."""

    def tower(tokens: int, width: int) -> float:
        return 12 * (24 * tokens * width**2 + 4 * tokens**2 * width)

    forward = tower(50, 768) + tower(77, 512) + 2 * 49 * 3072 * 768 + 2 * 512 * (768 + 512)
    return 3 * forward


def timed_s(work: Callable[[], object], rounds: int) -> float:
    """Median seconds on the card."""
    times = []
    for _ in range(rounds):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(stop) / 1000)
    return median(times)


def matmul_flops_s(rows: int, inner: int, columns: int) -> float:
    """What a bfloat16 matrix product of this shape reaches."""
    a = torch.randn(rows, inner, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(inner, columns, device="cuda", dtype=torch.bfloat16)
    for _ in range(10):
        a @ b
    return 2.0 * rows * inner * columns / timed_s(lambda: a @ b, 30)


def on_gpu(batch: int, chunks: int, rounds: int) -> None:
    """Print samples a second and the share of the ceiling; a profile where it is low."""
    torch.backends.cuda.matmul.allow_tf32 = True
    ceiling = max(matmul_flops_s(n, n, n) for n in (4096, 8192))
    rows = batch // chunks * 50
    shapes = {f"{rows} x 768 x 3072": matmul_flops_s(rows, 768, 3072)}
    shapes[f"{batch // chunks * 77} x 512 x 2048"] = matmul_flops_s(batch // chunks * 77, 512, 2048)
    encoder, loss = ClipB32().cuda(), InfoNCE().cuda()
    encoder.compile()
    adam = torch.optim.AdamW(
        [*encoder.parameters(), *loss.parameters()], lr=1e-4, betas=(0.9, 0.98), fused=True
    )
    images = torch.randn(batch, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
    texts = torch.randint(0, 49_000, (batch, 77), device="cuda")
    group = torch.arange(batch, device="cuda")
    cast = torch.autocast("cuda", dtype=torch.bfloat16)

    def step() -> None:
        adam.zero_grad()
        contrastive_step(encoder, loss, images, texts, group_B=group, chunks=chunks, cast=cast)
        adam.step()
        loss.clamp_()

    began = time.perf_counter()
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    warm_s = time.perf_counter() - began
    torch.cuda.reset_peak_memory_stats()
    seconds = timed_s(step, rounds)
    done = pair_flops() * batch / seconds
    table = [
        ("samples/s", f"{batch / seconds:,.0f}"),
        ("step", f"{1000 * seconds:.1f} ms"),
        ("work", f"{done / 1e12:.0f} TFLOP/s"),
        ("measured matmul ceiling (8192 or 4096 cubed)", f"{ceiling / 1e12:.0f} TFLOP/s"),
        ("share of the ceiling", f"{done / ceiling:.1%}"),
        *((f"matmul of {name}", f"{each / 1e12:.0f} TFLOP/s") for name, each in shapes.items()),
        ("peak memory", f"{torch.cuda.max_memory_allocated() / 1e9:.1f} GB"),
        ("compiling and five steps", f"{warm_s:.0f} s"),
    ]
    print(f"CLIP ViT-B/32, bfloat16, batch {batch} in {chunks} part(s), synthetic data,")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print(markdown(["what", "measured"], table))
    if done / ceiling < WANTED:
        print(f"\nUnder {WANTED:.0%}: where the time of a step goes\n")
        activities = [torch.profiler.ProfilerActivity.CUDA, torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=activities) as profile:
            step()
            torch.cuda.synchronize()
        print(profile.key_averages().table(sort_by="self_device_time_total", row_limit=20))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=1024, help="on the GPU")
    parser.add_argument("--chunks", type=int, default=1, help="on the GPU")
    parser.add_argument("--memory-of", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(step_bytes(*options.memory_of))
    elif options.device == "cuda":
        on_gpu(options.batch, options.chunks, max(options.rounds, 20))
    else:
        speed(options.rounds, options.threads)
        print()
        memory()
        print(f"\n{conditions('torch', 'open-clip-torch')}")


if __name__ == "__main__":
    main()
