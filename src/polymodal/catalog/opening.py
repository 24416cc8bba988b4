"""A model's name to an embedder that is ready to load: packaged, a folder, of the hub."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.catalog.cards import Card, parse_card
from polymodal.catalog.checkpoints import is_checkpoint_name
from polymodal.catalog.hub import short_names
from polymodal.catalog.names import API_FAMILIES, full_name, is_generator_name, no_vectors
from polymodal.catalog.sources import PACKAGES, WeightFolder, find_weights
from polymodal.errors import DamagedWeights, ModelUnavailable, UsageError, did_you_mean
from polymodal.models.precision import AS_IT_IS, Precision, check_device
from polymodal.models.protocols import Device, Embedder, ModelRequest
from polymodal.models.trust import NOTHING, Trust
from polymodal.profiling import profiled

if TYPE_CHECKING:
    from polymodal.models.starter import StarterCalibration

__all__ = ["known_models", "open_embedder", "read_card"]

ENTRY_POINTS = "polymodal.models"
CARD_FILE = "embedder/card.toml"
OPEN_CLIP = "open_clip"


@profiled("load")
def open_embedder(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = AS_IT_IS,
    trust: Trust = NOTHING,
) -> Embedder:
    """The embedder called `name`; its weights are read on first use.

    Args:
        name: a packaged model (`starter`), the path of a folder in the starter's layout or in
            transformers', a hub's id (`org/name`, `org/name@revision`) or a card's short name for
            it, `open_clip:ARCH/PRETRAINED`, or `family` / `family:variant` of an installed plugin.
        precision: in which numbers a checkpoint's weights are held; others have but one.
        trust: whether a checkpoint's pickles and code may be used.

    Raises:
        ModelUnavailable: when no source has it, with the nearest names that exist.
        DamagedWeights: when its manifest or card cannot be read.
        UsageError: when `device` is not known, a plugin returns something else, or the name is that
            of a generator.
    """
    check_device(device)
    name = full_name(name)
    if is_generator_name(name):
        raise no_vectors(name)
    if not is_checkpoint_name(name):
        precision.refuse_for(name)
    is_folder = Path(name).expanduser().is_dir()
    if name in PACKAGES or (is_folder and not is_checkpoint_name(name)):
        return _starter(find_weights(name), device)
    if is_folder:
        from polymodal.catalog.hub_models import open_hub_embedder

        return open_hub_embedder(name, device=device, precision=precision, trust=trust)
    return _by_name(name, device, precision, trust=trust)


def _by_name(name: str, device: Device, precision: Precision, *, trust: Trust) -> Embedder:
    """What is neither packaged nor a folder."""
    family, _, variant = name.partition(":")
    if family == OPEN_CLIP:
        from polymodal.catalog.hub_models import open_openclip

        return open_openclip(name, variant, device=device)
    plugins = _plugins()
    if family in plugins:
        return _from_plugin(plugins[family], ModelRequest(name, family, variant, device))
    if is_checkpoint_name(name):
        from polymodal.catalog.hub_models import open_hub_embedder

        return open_hub_embedder(name, device=device, precision=precision, trust=trust)
    from polymodal.catalog.known_speech import WHISPER, card_of

    if name == WHISPER or card_of(name) is not None:
        raise ModelUnavailable(
            f"{name} writes down speech and has no vectors: it goes with transcribe -m"
        )
    raise ModelUnavailable(_unknown(name, [*PACKAGES, *plugins]))


def known_models() -> list[str]:
    """Names that `open_embedder` accepts beside folders: packaged models and plugin families."""
    return sorted({*PACKAGES, *_plugins()})


def read_card(name: str) -> Card:
    """The card of a packaged model or a model folder."""
    weights = find_weights(name)
    return parse_card(weights.read(CARD_FILE), str(weights.root / CARD_FILE))


def _starter(weights: WeightFolder, device: Device) -> Embedder:
    from polymodal.models.starter import StarterEmbedder, StarterSpec
    from polymodal.results import Space

    source = str(weights.root / CARD_FILE)
    card = parse_card(weights.read(CARD_FILE), source)
    space = Space(
        model=card.id,
        revision=weights.revision,
        dimension=card.dimension,
        preprocessing=f"{card.crop} {card.resize} {card.image_size_px} px",
        prompt=card.prompt,
    )
    spec = StarterSpec(
        space=space,
        image_size_px=card.image_size_px,
        crop=card.crop,
        resize=card.resize,
        max_tokens=card.max_tokens,
        calibration=_calibration(card, source, weights),
        close_look=card.close_look,
    )
    return StarterEmbedder(spec, weights.read, device=device)


def _calibration(card: Card, source: str, weights: WeightFolder) -> StarterCalibration:
    from polymodal.models.starter import StarterCalibration, everyday_things

    names = ("classify_temperature", "match_scale", "match_bias", "relevant_cosine")
    missing = [name for name in names if name not in card.calibration]
    if missing:
        raise DamagedWeights(f"the model card {source}: [calibration] has no {missing[0]!r}.")
    numbers = {name: card.calibration[name] for name in names}
    # A card may say nothing of these: a label is then judged as a description is.
    for name in ("unknown", "multi_label"):
        for part in ("scale", "bias"):
            fallback = card.calibration[f"match_{part}"]
            numbers[f"{name}_{part}"] = card.calibration.get(f"{name}_{part}", fallback)
    things = partial(everyday_things, weights.read, card.dimension)
    return StarterCalibration(
        templates=card.templates,
        kinds=card.kinds,
        everyday_nearest=card.everyday_nearest,
        read_everyday=things if card.everyday_nearest else None,
        **numbers,
    )


def _plugins() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _from_plugin(point: Any, request: ModelRequest) -> Embedder:
    build: Callable[[ModelRequest], object] = point.load()
    model = build(request)
    if not isinstance(model, Embedder):
        raise UsageError(
            f"the plugin {point.name!r} ({point.value}) returned {type(model).__name__}, which is"
            " not an Embedder: see polymodal.models.protocols."
        )
    return model


def _unknown(name: str, known: list[str]) -> str:
    from polymodal.catalog.generators import known_api_models

    looks_like_path = os.sep in name or name.startswith((".", "~"))
    names = [*known, *short_names()]
    close = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    close += [each for each in known_api_models() if each.partition(":")[2] == name.lower()]
    family, colon, model = name.partition(":")
    if colon:  # for the verbs that a generator answers
        near = difflib.get_close_matches(family.lower(), (*API_FAMILIES, OPEN_CLIP), n=1)
        close += [f"{each}:{model}" for each in near]
    tried = [f"the folder {name} (not there)", f"the models {', '.join(sorted(known))}"]
    hint = did_you_mean(close)
    if looks_like_path:
        hint = " Check the path."
    return f"no model is called {name!r}. Tried: {'; '.join(tried)}.{hint}"
