"""Score the shipped ONNX files on the development data: `python -m recipes.starter.evaluate`.

No torch here: this measures what users run. The numbers it prints are the card's `[scores]`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from polymodal.models.protocols import CloseLook
from polymodal.models.starter_close import StarterCloseUp
from polymodal.tasks.linear import fit_linear
from recipes.starter import data, metrics
from recipes.starter.manifest import WEIGHTS

Floats = metrics.Floats
PROBE_IMAGES = 50


@dataclass
class Embedder:
    """The two towers of a weights folder, and what its card says."""

    image_session: Any
    text_session: Any
    tokenizer: Tokenizer
    card: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, threads: int = 2) -> Embedder:
        """Load the files in `folder`."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        sessions = [
            ort.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("image.onnx", "text.onnx")
        ]
        card = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_truncation(card["space"]["max_tokens"])
        return cls(sessions[0], sessions[1], tokenizer, card)

    def pixels(self, paths: list[Path]) -> data.Pixels:
        """Photographs as the image tower wants them [B, S, S, 3]."""
        size = self.card["space"]["image_size"]
        return np.stack([data.load_square(path, size) for path in paths])

    def images(self, paths: list[Path], batch: int = 16) -> Floats:
        """Embeddings [N, D]."""
        parts = [
            self.image_session.run(["embedding"], {"pixels": self.pixels(paths[rows])})[0]
            for rows in data.batches(len(paths), batch)
        ]
        return np.concatenate(parts)

    def seen_by_probes(self, paths: list[Path], *, mirrored: bool = False) -> Floats:
        """Features of close looks [N, F], by the product's code."""
        look = CloseLook(self.card["close_look"]["image_size"], self.card["close_look"]["cells"])
        outputs = ["features", "grid"]
        eye = StarterCloseUp(
            look,
            np.asarray,
            lambda batch: self.image_session.run(outputs, {"pixels": np.stack(batch)}),
        )
        rows = [
            eye.extract_features([data.load_square(path, look.image_size_px, mirrored)])
            for path in paths
        ]
        return np.concatenate(rows)

    def texts(self, texts: list[str], batch: int = 64) -> Floats:
        """Embeddings [N, D]; texts of similar length run together."""
        encodings = self.tokenizer.encode_batch(texts)
        order = sorted(range(len(texts)), key=lambda i: len(encodings[i].ids))
        out = np.zeros((len(texts), self.card["space"]["dimension"]), np.float32)
        for rows in data.batches(len(order), batch):
            chosen = order[rows]
            length = max(len(encodings[i].ids) for i in chosen)
            ids = np.zeros((len(chosen), length), np.int64)
            mask = np.zeros_like(ids)
            for place, i in enumerate(chosen):
                ids[place, : len(encodings[i].ids)] = encodings[i].ids
                mask[place, : len(encodings[i].ids)] = 1
            out[chosen] = self.text_session.run(
                ["embedding"], {"input_ids": ids, "attention_mask": mask}
            )[0]
        return out

    def classes(self, names: list[str]) -> Floats:
        """Class embeddings [K, D]: the mean over the card's templates, normalised."""
        templates = self.card["prompts"]["templates"]
        prompts = [template.format(name) for name in names for template in templates]
        mean = self.texts(prompts).reshape(len(names), len(templates), -1).mean(1)
        out: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return out


@dataclass(frozen=True)
class Embedded:
    """Everything the scores and the calibration need, computed once."""

    image_ND: Floats
    text_MD: Floats
    clothing_ND: Floats
    clothing_labels: np.ndarray
    wordings: dict[str, Floats]
    other_ND: Floats
    other_labels: np.ndarray
    probe_accuracy: float


def embed(embedder: Embedder, root: Path) -> Embedded:
    """Embed Flickr8k dev, the clothing photographs and the wordings of the ten classes."""
    dev = data.flickr(root, "dev")
    validation, train = data.clothing(root, "validation"), data.clothing(root, "train")
    rows = np.concatenate(
        [np.flatnonzero(train.labels == c)[:PROBE_IMAGES] for c in range(len(train.classes))]
    )
    wordings = {
        name: embedder.classes([words[c] for c in validation.classes])
        for name, words in data.CLOTHING_WORDINGS.items()
    }
    return Embedded(
        embedder.images(dev.paths),
        embedder.texts(dev.flat),
        embedder.images(validation.paths),
        validation.labels,
        wordings,
        embedder.images([train.paths[i] for i in rows]),
        train.labels[rows],
        probed(embedder, train, validation, rows),
    )


def probed(
    embedder: Embedder, train: data.Labelled, validation: data.Labelled, rows: NDArray[np.int64]
) -> float:
    """Percent of validation that the probe of these rows gets right.

    It is what `polymodal probe` does, and with its code.
    """
    paths = [train.paths[i] for i in rows]
    seen_NF = embedder.seen_by_probes(paths) + embedder.seen_by_probes(paths, mirrored=True)
    probe = fit_linear(seen_NF[:, None] / 2, train.labels[rows], len(train.classes))
    found = probe.predict(embedder.seen_by_probes(validation.paths)).argmax(1)
    return float(100 * (found == validation.labels).mean())


def scores(found: Embedded, temperature: float) -> dict[str, float]:
    """The flat score table; every name says data and split."""
    out = {
        f"flickr8k_dev_{name}": round(value, 1)
        for name, value in metrics.retrieval(found.image_ND, found.text_MD).items()
    }
    for name, class_KD in found.wordings.items():
        right = (found.clothing_ND @ class_KD.T).argmax(1) == found.clothing_labels
        out[f"clothing_validation_zero_shot_{name}_words"] = round(float(100 * right.mean()), 1)
    out["clothing_validation_linear_probe_50_a_class"] = round(found.probe_accuracy, 1)
    cosine_NK = found.other_ND @ found.wordings["natural"].T
    chance_NK = metrics.softmax(cosine_NK / temperature)
    right = chance_NK.argmax(1) == found.other_labels
    error = metrics.calibration_error(chance_NK.max(1), right)
    out["clothing_train_zero_shot_natural_words"] = round(float(100 * right.mean()), 1)
    out["clothing_train_zero_shot_calibration_error"] = round(error, 3)
    return out


def speed(embedder: Embedder, root: Path) -> dict[str, float]:
    """Milliseconds an item on this machine, two threads; not part of the card's scores."""
    dev = data.flickr(root, "dev")
    pixels = embedder.pixels(dev.paths[:32])
    out = {}
    for batch in (1, 32):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            embedder.image_session.run(None, {"pixels": pixels[:batch]})
            times.append((time.perf_counter() - began) / batch)
        out[f"image_ms_batch_{batch}"] = round(1000 * min(times), 1)
    times = []
    for text in dev.flat[:20]:
        began = time.perf_counter()
        embedder.texts([text])
        times.append(time.perf_counter() - began)
    out["text_ms_batch_1"] = round(1000 * min(times), 1)
    return out


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Score the shipped embedder on dev data.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=WEIGHTS / "embedder")
    parser.add_argument("--speed", action="store_true", help="also time both towers")
    options = parser.parse_args()
    embedder = Embedder.open(options.weights)
    print("embedding the development data", file=sys.stderr)
    table = scores(
        embed(embedder, options.data), embedder.card["calibration"]["classify_temperature"]
    )
    if options.speed:
        table |= speed(embedder, options.data)
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
