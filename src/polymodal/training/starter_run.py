"""Fine-tuning the starter embedder: its towers run once over the pictures, then a head is fitted.

Notable: `keep` pictures are ordinary photographs whose vectors shall stay where they are; without
them the head may bend all of space towards the new data, and searches for anything else suffer.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.errors import MediaError, UsageError
from polymodal.models.starter import IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE, StarterEmbedder
from polymodal.nn.losses import InfoNCE
from polymodal.training.calibrating import calibrated
from polymodal.training.contrastive import contrastive_step
from polymodal.training.contrastive_task import check_batch, recalls
from polymodal.training.estimate import Estimate, estimate
from polymodal.training.loading import Batch, Loader, Sample
from polymodal.training.pairs import Pair, Pairs
from polymodal.training.ranks import ranks
from polymodal.training.rates import parameter_groups
from polymodal.training.recipes import StarterRecipe, starter_finetune
from polymodal.training.runfolder import begun, saving, write_card
from polymodal.training.starter_head import StarterHead, append_head
from polymodal.training.trainer import Trainer, steps_of

__all__ = ["StarterRun"]

CARD_FILE = "embedder/card.toml"
READ = 32
UNUSED = ("loss", "precision", "recompute", "compile", "sharding", "workers", "smallest_crop")
"""Values of other contrastive training that have no meaning for a head."""
HELD_OUT = 7
"""Every so-manyth item measures and calibrates where no validation data is given."""


@dataclass(frozen=True)
class _Seen:
    """What the towers make of pairs: embedding and features (N, X), texts (M, D), whose texts."""

    inputs_NX: Tensor
    text_MD: Tensor
    first_N: list[int]
    pairs: Pairs

    def texts_of(self, row: int) -> Tensor:
        """The texts of a picture."""
        start = self.first_N[row]
        return self.text_MD[start : start + len(self.pairs.items[row].captions)]


@dataclass(frozen=True)
class _Samples:
    """Fits `Loader`: a picture's row, one of its texts, its group."""

    seen: _Seen
    seed: int

    def __len__(self) -> int:
        return len(self.seen.pairs)

    def sample(self, epoch: int, index: int) -> Sample:
        texts_TD = self.seen.texts_of(index)
        random = np.random.default_rng((self.seed, epoch, index))
        which = int(random.integers(len(texts_TD)))
        item = self.seen.pairs.items[index]
        return Sample(item.name, (self.seen.inputs_NX[index], texts_TD[which], item.group))


def _collate(values: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    inputs, texts, groups = zip(*values, strict=True)
    return torch.stack(inputs), torch.stack(texts), torch.tensor(groups)


@dataclass
class _Task:
    """Fits `Task`."""

    model: nn.ModuleDict
    loader: Loader
    device: torch.device
    recipe: StarterRecipe
    kept_NX: Tensor
    held_out: _Seen
    templates: tuple[str, ...]
    embed: Callable[[Sequence[str]], Tensor]

    def step(self, batch: Batch, scale: float) -> Tensor:
        """See `Task.step`; the distance that kept pictures moved is added to the loss."""
        inputs_BX, text_BD, group_B = batch.inputs
        head = self.model["encoder"]
        loss = contrastive_step(
            head, self.model["loss"], inputs_BX, text_BD,
            group_B=group_B, chunks=self.recipe.chunks, scale=scale,
        )  # fmt: skip
        if len(self.kept_NX):
            rows = torch.randint(len(self.kept_NX), (self.recipe.batch,))
            before_BX = self.kept_NX[rows]
            after_BD = head.encode_image(before_BX)
            moved = (after_BD - before_BX[:, : after_BD.shape[1]]).square().sum(1).mean()
            (self.recipe.keep * moved * scale).backward()
            loss = loss + self.recipe.keep * moved.detach()
        return loss

    def after_step(self) -> None:
        """See `Task.after_step`."""

    def validate(self) -> dict[str, float]:
        """See `ContrastiveTask.validate`."""
        seen = self.held_out
        image_ND = self.model["encoder"].encode_image(seen.inputs_NX).numpy()
        if seen.pairs.classes:
            right = (image_ND @ self.classes().T).argmax(1)
            wanted = np.array([item.group for item in seen.pairs.items])
            return {"zero_shot": round(float(100 * (right == wanted).mean()), 2)}
        own = np.repeat(np.arange(len(image_ND)), [len(item.captions) for item in seen.pairs.items])
        return recalls(image_ND, seen.text_MD.numpy(), own)

    def classes(self) -> Any:
        """Unit vectors (K, D) of the classes' descriptions in the model's templates."""
        said = {item.group: item.captions for item in self.held_out.pairs.items}
        means = []
        for group, name in enumerate(self.held_out.pairs.classes):
            captions = said.get(group, (name,))
            prompts = [each.format(text) for text in captions for each in self.templates]
            means.append(nn.functional.normalize(self.embed(prompts).mean(0), dim=0))
        return torch.stack(means).numpy()


@dataclass
class StarterRun:
    """What is to be run. `read` gives the bytes of a model's file by its name, checked."""

    recipe: StarterRecipe
    embedder: StarterEmbedder
    read: Callable[[str], bytes]
    data: Pairs
    validation: Pairs | None
    keep: Sequence[Path]
    say: Callable[[str], None]

    def __post_init__(self) -> None:
        """Run the towers over everything.

        Raises:
            UsageError: recipe and data do not fit each other.
        """
        if ranks().world > 1:
            raise UsageError("the starter's head is fitted by one process: run without torchrun.")
        check_batch(self.recipe, self.recipe.chunks)
        for name in UNUSED:
            if getattr(self.recipe, name) != getattr(starter_finetune(), name):
                raise UsageError(
                    f"the starter's head is small and its towers run once before, so `{name}`"
                    " changes nothing here: leave it out."
                )
        train, held_out = self.data, self.validation
        if held_out is None:
            train, held_out = _split(self.data)
        self._train, self._held_out = self._seen(train), self._seen(held_out)
        self._kept_NX = self._train.inputs_NX[:0]
        if self.keep:
            kept = [Pair(path, str(path), (), 0) for path in self.keep]
            self._kept_NX = self._looked_at(kept, "pictures to keep")[0]
        dimension = self.embedder.space.dimension
        torch.manual_seed(self.recipe.seed)
        head = StarterHead(
            torch.cat([self._train.inputs_NX, self._kept_NX]), dimension, self.recipe.hidden,
            self.recipe.dropout,
        )  # fmt: skip
        loss = InfoNCE(scale=self.recipe.scale, label_smoothing=self.recipe.label_smoothing)
        self.model = nn.ModuleDict({"encoder": head, "loss": loss})
        samples = _Samples(self._train, self.recipe.seed)
        self.loader = Loader(samples, _collate, self.recipe.batch, self.recipe.seed)

    def estimate(self) -> Estimate:
        """See `ContrastiveRun.estimate`."""
        groups = parameter_groups(self.model, self.recipe.rates, self.recipe.decay)
        images, texts, _ = next(self.loader.from_step(0, 1)).inputs
        steps = steps_of(self.recipe, self.loader)
        return estimate(
            self.model["encoder"], (images, texts), groups, steps=steps, passes=1.0,
            ema=bool(self.recipe.ema),
        )  # fmt: skip

    def run(
        self,
        folder: Path,
        say: Callable[[str], None],
        *,
        resume: bool = False,
        accept_changes: bool = False,
    ) -> dict[str, float]:
        """See `ContrastiveRun.run`; the folder is a model in the starter's layout."""
        about = {
            "model": f"{self.embedder.space.model}@{self.embedder.space.revision}",
            "data": self.data.source,
            "data_fingerprint": self.data.fingerprint,
            "validation": self.validation.source if self.validation else None,
            "pictures_to_keep": len(self._kept_NX),
        }
        how = {"resume": resume, "accept_changes": accept_changes}
        run = begun(folder, say, self.recipe, about, **how)
        task = _Task(
            self.model,
            self.loader,
            torch.device("cpu"),
            self.recipe,
            self._kept_NX,
            self._held_out,
            self.embedder.calibration.templates,
            lambda texts: torch.from_numpy(self.embedder.embed_texts(texts)),
        )
        self.model.eval()
        with torch.no_grad():
            before = task.validate()
        scores = Trainer(task, self.recipe, run).run()
        self.model.eval()
        measured = {**_suffixed(before, "before"), **scores}
        with saving(folder):
            self._write(folder, task, measured)
            write_card(folder, run.record, measured)
        return scores

    def _write(self, folder: Path, task: _Task, scores: dict[str, float]) -> None:
        """The model's files, and last the manifest that makes them one."""
        place = folder / "embedder"
        place.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            tower = Path(scratch) / "image.onnx"
            tower.write_bytes(self.read(IMAGE_FILE))
            append_head(tower, task.model["encoder"], place / "image.onnx")
        for name in (TEXT_FILE, TOKENIZER_FILE):
            (folder / name).write_bytes(self.read(name))
        card = tomllib.loads(self.read(CARD_FILE).decode())
        with torch.no_grad():
            image_ND = task.model["encoder"].encode_image(self._held_out.inputs_NX).numpy()
        own = [item.group for item in self._held_out.pairs.items]
        first = torch.stack([self._held_out.texts_of(row)[0] for row in range(len(own))]).numpy()
        classes = task.classes() if self._held_out.pairs.classes else None
        card["model"] |= {"id": folder.resolve().name, "name": f"{folder.resolve().name}, a"
                          " fine-tuned starter embedder"}  # fmt: skip
        card["calibration"] |= calibrated(image_ND, first, np.array(own), classes)
        card["scores"] = scores
        card["notes"] = {"scores": f"measured by the recipe {self.recipe.name} on held-out data"}
        (folder / CARD_FILE).write_text(_toml(card), encoding="utf-8")
        _write_manifest(folder)

    def _seen(self, pairs: Pairs) -> _Seen:
        inputs_NX, kept, failures = self._looked_at(pairs.items, "pictures")
        items = tuple(pairs.items[number] for number in kept)
        for line in failures:
            self.say(f"skipped: {line}")
        lengths = [len(item.captions) for item in items]
        texts = [text for item in items for text in item.captions]
        different = list(dict.fromkeys(texts))
        vectors = torch.from_numpy(self.embedder.embed_texts(different))
        row = {text: number for number, text in enumerate(different)}
        text_MD = vectors[[row[text] for text in texts]]
        first = [0, *np.cumsum(lengths[:-1]).tolist()]
        return _Seen(inputs_NX, text_MD, first, Pairs(pairs.source, items, (), pairs.classes))

    def _looked_at(self, items: Sequence[Pair], what: str) -> tuple[Tensor, list[int], list[str]]:
        """Embedding and features (N, X) of the pictures that open; which; and the failures."""
        rows, kept, failures = [], [], []
        for start in range(0, len(items), READ):
            batch = []
            for number, item in enumerate(items[start : start + READ], start):
                try:
                    picture = item.open(self.embedder.image_size_px)
                except MediaError as error:
                    failures.append(f"{item.name}: {error.reason}")
                    continue
                kept.append(number)
                batch.append(self.embedder.preprocess(picture.image))
            vectors, features = self.embedder.embed_and_extract(batch)
            rows.append(np.concatenate([vectors, features], 1))
            if start and start % (READ * 10) == 0:
                self.say(f"{start} of {len(items)} {what} seen")
        width = self.embedder.space.dimension
        joined = np.concatenate(rows) if rows else np.zeros((0, width), np.float32)
        return torch.from_numpy(joined), kept, failures


def _split(pairs: Pairs) -> tuple[Pairs, Pairs]:
    """Six sevenths to train on, the others to measure on, the same each time."""
    chosen = [hashlib.sha256(item.name.encode()).digest()[0] % HELD_OUT for item in pairs.items]
    parts = [
        tuple(item for item, each in zip(pairs.items, chosen, strict=True) if (each == 0) == held)
        for held in (False, True)
    ]
    if not all(parts):
        raise UsageError(
            f"{pairs.source} has {len(pairs)} items, too few to hold some out: name others with"
            " --validation."
        )
    train, held_out = (Pairs(pairs.source, part, (), pairs.classes) for part in parts)
    return train, held_out


def _suffixed(scores: dict[str, float], end: str) -> dict[str, float]:
    return {f"{name}_{end}": value for name, value in scores.items()}


def _toml(card: dict[str, Any]) -> str:
    """Tables of plain values; JSON's are TOML's too."""
    lines = []
    for name, values in card.items():
        lines.append(f"[{name}]")
        lines += [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items()]
        lines.append("")
    return "\n".join(lines)


def _write_manifest(folder: Path) -> None:
    """manifest.json with the digest of each file, and one over all as the revision."""
    files = {}
    for name in (CARD_FILE, IMAGE_FILE, TEXT_FILE, TOKENIZER_FILE):
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        files[name] = {"sha256": digest, "bytes": len(content)}
    joined = "\n".join(f"{name}:{entry['sha256']}" for name, entry in sorted(files.items()))
    revision = hashlib.sha256(joined.encode()).hexdigest()[:12]
    beside = folder / "manifest.json.part"
    manifest = {"format": 1, "revision": revision, "files": files}
    beside.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.move(beside, folder / "manifest.json")
