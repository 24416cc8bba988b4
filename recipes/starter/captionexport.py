"""The captioner as two ONNX files with int8 weights, and its card.

Notable: every matrix is stored once as int8 with one scale a row and unpacked to float32 when the
file is loaded; word vectors, used to read and to speak, are stored once too. The principal
directions of the grid are folded into the projector. What is written is compared with torch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn

from recipes.starter import captiongrids, card, export, pack
from recipes.starter.captionnet import Captioner

CLOSE = 1e-3
"""Greatest difference of log-probabilities to the torch network with the same int8 weights."""


class Look(nn.Module):
    """The grid as the image tower gives it to keys and values."""

    def __init__(self, network: Captioner, mean: Tensor, directions: Tensor) -> None:
        super().__init__()
        self.network = network
        first = network.project
        with torch.no_grad():
            folded = nn.Linear(captiongrids.WIDTH, first.out_features)
            folded.weight.copy_(first.weight @ directions.T)
            folded.bias.copy_(first.bias - folded.weight @ mean)
        network.project = folded

    def forward(self, grid_BNG: Tensor) -> Tensor:
        return self.network.look(grid_BNG)


class Step(nn.Module):
    """One step of the decoder."""

    def __init__(self, network: Captioner) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor, sight: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(tokens, sight, past)


def rounded(network: nn.Module) -> None:
    """Replace every matrix by what its int8 numbers stand for."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 2 and parameter.numel() >= pack.SMALLEST:
                values, scale = pack.int8(parameter.numpy(), 0)
                parameter.copy_(torch.from_numpy(values * scale))


def unpacked(name: str, weight: pack.Floats) -> pack.Parts:
    """Int8 rows and their scales, and nodes that give `weight` back under its own name."""
    values, scale = pack.int8(weight, 0)
    stored = [pack.constant(f"{name}.q", values), pack.constant(f"{name}.s", scale)]
    return stored, [
        helper.make_node("Cast", [f"{name}.q"], [f"{name}.f"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}.f", f"{name}.s"], [name]),
    ]


def store(source: Path, target: Path) -> None:
    """Write `source` with every matrix as int8, one scale a row."""
    model = onnx.load(str(source))
    graph = model.graph
    first: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        if tensor.data_type == onnx.TensorProto.FLOAT and np.prod(tensor.dims) >= pack.SMALLEST:
            weight = numpy_helper.to_array(tensor)
            assert weight.ndim == 2, tensor.name
            stored, nodes = unpacked(tensor.name, weight)
            graph.initializer.remove(tensor)
            graph.initializer.extend(stored)
            first += nodes
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*first, *kept])
    onnx.checker.check_model(model)
    onnx.save(model, str(target))


def trace(module: nn.Module, inputs: dict[str, Tensor], outputs: list[str], path: Path) -> None:
    """Write a module with batch, beams, tokens and past of any size."""
    names = {
        "grid": {0: "pictures"},
        "tokens": {0: "pictures", 1: "beams", 2: "tokens"},
        "sight": {2: "pictures"},
        "past": {2: "pictures", 3: "beams", 5: "read"},
        "logprobs": {0: "pictures", 1: "beams", 2: "tokens"},
        "grown": {2: "pictures", 3: "beams", 5: "read"},
    }
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        torch.onnx.export(
            module.eval(),
            tuple(inputs.values()),
            str(plain),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: names[name] for name in [*inputs, *outputs]},
            opset_version=export.OPSET,
            do_constant_folding=False,  # it would store transposed copies beside the matrices
            dynamo=False,
        )
        store(plain, path)


def write(network: Captioner, cache: Path, out: Path) -> None:
    """Write look.onnx and step.onnx.

    Raises ValueError when they differ from torch with the same int8 weights.
    """
    mean, directions = captiongrids.projection(cache)
    look = Look(network, torch.from_numpy(mean), torch.from_numpy(directions))
    rounded(look)
    step = Step(network)
    grid = torch.rand(2, captiongrids.PLACES, captiongrids.WIDTH)
    sight = look.eval()(grid).detach()
    tokens = torch.tensor([[[3, 20, 21]] * 3] * 2)
    past = torch.randn(*network.empty_past(2, 3).shape[:5], 4, sight.shape[-1])
    trace(look, {"grid": grid}, ["sight"], out / "look.onnx")
    inputs = {"tokens": tokens, "sight": sight, "past": past}
    trace(step, inputs, ["logprobs", "grown"], out / "step.onnx")
    check(look, step, out)


@torch.no_grad()
def check(look: Look, step: Step, out: Path) -> None:
    """Compare the files with torch, on other sizes than they were traced with."""
    torch.manual_seed(1)
    grid = torch.rand(3, captiongrids.PLACES, captiongrids.WIDTH) * 2
    sight = look(grid)
    got = export.session(out / "look.onnx", 1).run(["sight"], {"grid": grid.numpy()})[0]
    far = float(np.abs(got - sight.numpy()).max())
    tokens = torch.randint(0, step.network.shape.words, (3, 2, 5))
    runner = export.session(out / "step.onnx", 1)
    past = torch.zeros(*sight.shape[:2], 3, 2, sight.shape[3], 0, sight.shape[5])
    for _ in range(2):
        wanted, grown = step(tokens, sight, past)
        feed = {"tokens": tokens.numpy(), "sight": sight.numpy(), "past": past.numpy()}
        logprobs, _ = runner.run(["logprobs", "grown"], feed)
        far = max(far, float(np.abs(logprobs - wanted.numpy()).max()))
        tokens, past = tokens[:, :, :1], grown
    if far > CLOSE:
        raise ValueError(f"the captioner's files differ from torch by {far:.5f}")


MODEL: dict[str, object] = {
    "id": "starter",
    "name": "polymodal starter captioner",
    "version": card.VERSION,
    "licence": "Apache-2.0 for code and base weights; trained on Flickr8k captions (research and "
    "education): see LICENSE-NOTE.md",
    "description": "Short English captions, and one-word answers to simple questions. Reads the "
    "grid of the embedder's image tower (EfficientNet-Lite2 and -Lite1, frozen); a decoder of "
    "three layers, trained on captions and then on their CIDEr-D and BLEU-4.",
    "data": [
        "ImageNet-1k, through the weights of EfficientNet-Lite",
        "Flickr8k, 6,000 photographs with five captions each (train split)",
        "questions derived from those captions by recipes/starter/questions.py",
        "about 1.17 billion sentence pairs, through the word vectors it starts from",
    ],
    "limits": [
        "English only, about 2,900 words; it cannot name what it has no word for",
        "knows people and dogs outdoors; elsewhere it says what looks most like them",
        "answers are single words: things, colours, places, small numbers",
        "asked whether something is there, it answers hardly better than a coin: ask the embedder",
        "counts badly, reads no text, knows no names; genders and ages are guesses from looks",
        "not for identifying persons or for decisions about them",
    ],
}
NOTES = {
    "scores": "printed by python -m recipes.starter.captionreport --data DIR, from the shipped "
    "files on Flickr8k dev, which was used for choosing: they flatter a little",
    "bleu": "corpus BLEU, closest reference length; cider_d: document frequencies of dev, times "
    "100; both on words in lower case without punctuation, split as the Penn Treebank splits them",
    "answers": "share of right answers in per cent on questions derived from dev captions; "
    "frequent = the commonest answer of the kind, question_only = the picture withheld",
}


def write_card(folder: Path, search: dict[str, object], scores: dict[str, object]) -> None:
    """Write `folder`/card.toml."""
    parts = [
        card.section("model", MODEL),
        card.section("search", search),
        card.section("scores", scores),
        card.section("notes", dict(NOTES)),
    ]
    (folder / "card.toml").write_text("\n".join(parts), encoding="utf-8")
