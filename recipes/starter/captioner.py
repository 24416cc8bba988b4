"""Train, export and install the starter captioner: everything, from nothing.

    python -m recipes.starter.captioner --data DIR [--cache build/starter-captioner]

Needs the embedder's files (recipes.starter.embedder): its image tower gives the grids, its text
tower the first word vectors. Goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from recipes.starter import (
    captioncritic,
    captionexport,
    captiongrids,
    captionnet,
    captionreport,
    captiontrain,
    captionwords,
    manifest,
)

SEARCH: dict[str, object] = {"beams": 5, "alpha": 0.7, "longest": 20, "rerank": 4.0}
"""Chosen on dev; see LOG-captioner.md."""


def network(examples: captiontrain.Examples, embedder: Path) -> captionnet.Captioner:
    """A decoder with its first word vectors."""
    torch.manual_seed(0)
    made = captionnet.Captioner(captionnet.Shape(len(examples.vocabulary)))
    first = captionwords.vectors(examples.vocabulary, embedder, made.shape.width)
    with torch.no_grad():
        made.words.weight[len(captionwords.SPECIAL) :] = torch.from_numpy(first)
    return made


def trained(
    cache: Path, examples: captiontrain.Examples, embedder: Path, plan: captiontrain.Plan
) -> captionnet.Captioner:
    """All stages, each taken from the cache where it was done before.

    The critic alone makes captions short and alike; half of its change scores higher (LOG).
    """
    made, sights = network(examples, embedder), captiontrain.Sights(cache)
    stages = {
        "words": partial(captiontrain.fit, stage=plan.words),
        "answers": partial(captiontrain.fit, stage=plan.answers),
        "critic": partial(captioncritic.criticise, out=cache / "critic.part.pt"),
    }
    states: dict[str, dict[str, Tensor]] = {}
    for name, run in stages.items():
        path = cache / f"{name}.pt"
        if not path.exists():
            captiontrain.keep(run(made, examples, sights, plan), path)
        states[name] = torch.load(path, weights_only=True)
        made.load_state_dict(states[name])
    before, after = states["answers"], states["critic"]
    made.load_state_dict({n: torch.lerp(before[n], after[n], plan.critic_share) for n in after})
    return made.eval()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Train and export the starter captioner.")
    parser.add_argument("--data", type=Path, required=True, help="folder with flickr8k/")
    parser.add_argument("--cache", type=Path, default=Path("build/starter-captioner"))
    parser.add_argument("--out", type=Path, default=manifest.WEIGHTS)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    embedder = options.out / "embedder"
    captiongrids.fill(
        options.data, options.cache, [embedder / captiongrids.TOWER_FILE], options.threads
    )
    examples = captiontrain.Examples(options.data)
    made = trained(options.cache, examples, embedder, captiontrain.Plan())
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder)
        captionexport.write(made, options.cache, built)
        examples.vocabulary.save(built / "words.json")
        captionexport.write_card(built, SEARCH, {})
        manifest.install(built, options.out, "captioner")
        table = captionreport.scores(options.data, options.out)
        captionexport.write_card(built, SEARCH, table)
        revision = manifest.install(built, options.out, "captioner")
    for name, value in table.items():
        print(f"{name} = {value}")
    print(f"revision {revision}", file=sys.stderr)


if __name__ == "__main__":
    main()
