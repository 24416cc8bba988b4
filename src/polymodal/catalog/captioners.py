"""A model's name to its captioner."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.catalog.sources import MANIFEST, PACKAGES, WeightFolder, find_weights
from polymodal.errors import DamagedWeights, ModelUnavailable
from polymodal.results import Provenance

if TYPE_CHECKING:
    from polymodal.models.describing import AnswerCalibration, Captioner
    from polymodal.models.protocols import Device, Embedder

__all__ = ["captioner_provenance", "check_captioner", "open_captioner"]

CARD_FILE = "captioner/card.toml"


def captioner_provenance(name: str | os.PathLike[str]) -> Provenance | None:
    """What the captioner called `name` is, from its manifest and card; no model code is imported.

    Returns:
        None where only opening it tells: it is no starter, or brings no captioner.

    Raises:
        DamagedWeights: when its manifest or card cannot be read.
    """
    text = os.fspath(name)
    if text not in PACKAGES and not (Path(text).expanduser() / MANIFEST).is_file():
        return None
    weights = find_weights(text)
    return _provenance(weights) if CARD_FILE in weights.files else None


def check_captioner(name: str | os.PathLike[str]) -> None:
    """Refuse an embedder that writes nothing, by its config.json, before its weights are fetched.

    Raises:
        ModelUnavailable: it is a checkpoint of a contrastive model, or cannot be found.
    """
    if name in PACKAGES:  # the usual case imports nothing
        return
    from polymodal.catalog.checkpoints import is_checkpoint_name, kind_of
    from polymodal.catalog.known_openclip import is_openclip
    from polymodal.catalog.names import full_name

    text = full_name(os.fspath(name))
    if is_openclip(text) or (is_checkpoint_name(text) and kind_of(text) == "embedder"):
        raise _no_captioner(text)


def open_captioner(
    name: str | os.PathLike[str] | None,
    *,
    device: Device = "auto",
    embedder: Embedder | None = None,
) -> Captioner:
    """The captioner called `name`; its weights are read on first use.

    Args:
        name: a packaged model (`starter`), or the path of a folder in the starter's layout; None
            for an embedder that came from nowhere.
        embedder: the embedder of that name where it is open already: its image tower is shared.

    Raises:
        ModelUnavailable: when no source has it, or what has it brings no captioner.
        DamagedWeights: when its manifest or card cannot be read.
    """
    from polymodal.catalog.opening import open_embedder
    from polymodal.models.captioner import CaptionerSpec, StarterCaptioner
    from polymodal.models.starter import StarterEmbedder

    opened = embedder
    if opened is None and name is not None:
        opened = open_embedder(os.fspath(name), device=device)
    starter = name is not None and isinstance(opened, StarterEmbedder)
    weights = find_weights(os.fspath(name)) if name is not None and starter else None
    if weights is None or CARD_FILE not in weights.files:
        what = "this model" if opened is None or name is None else os.fspath(name)
        raise _no_captioner(what)
    source = str(weights.root / CARD_FILE)
    search = _search(weights.read(CARD_FILE), source)
    spec = CaptionerSpec(
        provenance=_provenance(weights),
        beams=int(search["beams"]),
        alpha=float(search["alpha"]),
        longest_tokens=int(search["longest"]),
        rerank=float(search["rerank"]),
        answers=_answers(weights.read(CARD_FILE), source),
    )
    assert isinstance(opened, StarterEmbedder)
    return StarterCaptioner(spec, weights.read, opened)


def _no_captioner(what: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{what} has no captioner. Models with one: {', '.join(sorted(PACKAGES))}; or take a model"
        " that writes, such as -m smolvlm-500m-instruct or openai:MODEL."
    )


def _provenance(weights: WeightFolder) -> Provenance:
    found = _search(weights.read(CARD_FILE), str(weights.root / CARD_FILE))
    return Provenance(str(found["id"]), weights.revision)


def _search(content: bytes, source: str) -> dict[str, Any]:
    """The search settings of a card, and its model's id."""
    try:
        data = tomllib.loads(content.decode())
        search, name = data["search"], data["model"]["id"]
        found = {key: search[key] for key in ("beams", "alpha", "longest", "rerank")}
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise DamagedWeights(f"the model card {source} cannot be read: {error!r}") from error
    if not all(isinstance(value, int | float) and value >= 0 for value in found.values()):
        raise DamagedWeights(f"the model card {source}: [search] holds numbers, not {found}.")
    return {**found, "id": name}


def _answers(content: bytes, source: str) -> AnswerCalibration:
    """The card's [calibration] of answers; without kinds where there is none."""
    from polymodal.models.describing import AnswerCalibration, AnswerWeights

    section = tomllib.loads(content.decode()).get("calibration", {})
    try:
        kinds = {
            kind: AnswerWeights(**{name: float(value) for name, value in weights.items()})
            for kind, weights in section.items()
            if isinstance(weights, dict)
        }
        whole = {name: float(v) for name, v in section.items() if not isinstance(v, dict)}
        return AnswerCalibration(kinds, **whole)
    except (TypeError, ValueError, AttributeError) as error:
        reason = f"the model card {source}: [calibration] cannot be used: {error}"
        raise DamagedWeights(reason) from error
