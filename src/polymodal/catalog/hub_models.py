"""Checkpoints to the adapters that run them; nothing is loaded yet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.catalog.checkpoints import Checkpoint, open_checkpoint
from polymodal.errors import DamagedWeights, MissingDependency, ModelUnavailable
from polymodal.models.hub_families import CONTRASTIVE, FAMILIES, SIGMOID, Family
from polymodal.models.precision import AS_IT_IS, Precision, torch_device
from polymodal.models.protocols import Device
from polymodal.models.tensorfiles import read_json
from polymodal.models.trust import NOTHING, Trust

if TYPE_CHECKING:
    from polymodal.models.hub_contrastive import HubEmbedder
    from polymodal.models.hub_generator import HubGenerator
    from polymodal.models.hub_loading import Source
    from polymodal.models.hub_whisper import HubWhisper
    from polymodal.models.messages import Modality
    from polymodal.models.openclip import OpenClipEmbedder

__all__ = [
    "open_hub_embedder",
    "open_hub_generator",
    "open_hub_whisper",
    "open_openclip",
    "picture_px",
    "require",
]

VERSION = "1"
"""Of how these adapters prepare pictures and texts; it is part of a space."""
PROJECTIONS = ("visual_projection.weight", "text_model.head.weight")
"""The last layer of CLIP's and of SigLIP's towers."""
PICTURE_FILES = ("preprocessor_config.json", "processor_config.json")
USUAL_PX, MOST_PX = 1024, 4096
NAFLEX_PATCHES = 256
EDGES = 10_000
"""A "size" above this counts an area's pixels, not an edge's."""


def open_hub_embedder(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = AS_IT_IS,
    trust: Trust = NOTHING,
) -> HubEmbedder:
    """A CLIP, SigLIP or SigLIP 2 checkpoint.

    Raises:
        ModelUnavailable, DamagedWeights, MissingDependency: see `open_checkpoint`.
    """
    from polymodal.models.hub_contrastive import ContrastiveSpec, HubEmbedder
    from polymodal.results import Space

    require(name, "transformers", "hub")
    checkpoint = open_checkpoint(name, trust=trust)
    if checkpoint.model_type not in CONTRASTIVE and not checkpoint.code:
        raise ModelUnavailable(
            f"{name} is {checkpoint.model_type}, which writes down speech and has no vectors: it"
            " goes with transcribe -m"
        )
    side_px = picture_px(checkpoint)
    # float32 unless asked: vectors of one space must not differ by where they were made.
    dtype = precision.resolved("cpu", None)
    space = Space(
        model=checkpoint.model,
        revision=f"{_revision(checkpoint)}{precision.said(dtype)}",
        dimension=_dimension(checkpoint),
        preprocessing=f"{checkpoint.model_type} {side_px} px {_backend()} {VERSION}",
        prompt=VERSION,
    )
    source = _source(checkpoint)
    sigmoid = checkpoint.model_type in SIGMOID
    spec = ContrastiveSpec(source, space, side_px, sigmoid, dtype, precision)
    return HubEmbedder(spec, device=device)


def open_hub_generator(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = AS_IT_IS,
    trust: Trust = NOTHING,
) -> HubGenerator:
    """A checkpoint that writes: about pictures, or a language model alone.

    Raises:
        ModelUnavailable, DamagedWeights, MissingDependency: see `open_checkpoint`.
    """
    from polymodal.models.hub_constraints import CONSTRAINS
    from polymodal.models.hub_generator import GeneratorSpec, HubGenerator
    from polymodal.models.messages import GeneratorInfo

    require(name, "transformers", "hub")
    checkpoint = open_checkpoint(name, trust=trust)
    family = FAMILIES.get(checkpoint.model_type, Family())
    sees = checkpoint.sees
    side_px = picture_px(checkpoint) if sees else USUAL_PX
    dtype = precision.resolved(torch_device(device), _own_dtype(checkpoint))
    info = GeneratorInfo(
        model=checkpoint.model,
        revision=f"{_revision(checkpoint)}{precision.said(dtype)}",
        media=_media(family) if sees else frozenset({"text"}),
        max_media=family.max_media if sees else 0,
        image_size_px=side_px,
        constrains=CONSTRAINS,
        seeded=True,
        preprocessing=f"{checkpoint.model_type} {_backend()} {VERSION}",
        prompt=f"{family.form} {VERSION}",
        describes_bare=family.form in {"question", "prefix"},
        few_shot=family.form in {"chat", "dialogue", "question"},
    )
    source = _source(checkpoint)
    usual = "AutoModelForImageTextToText" if sees else "AutoModelForCausalLM"
    spec = GeneratorSpec(source, info, family, sees, checkpoint.auto_class(usual), dtype, precision)
    return HubGenerator(spec, device=device)


def _source(checkpoint: Checkpoint) -> Source:
    from polymodal.models.hub_loading import Source

    return Source(
        checkpoint.name, checkpoint.folder, checkpoint.weights, code=bool(checkpoint.code)
    )


def _revision(checkpoint: Checkpoint) -> str:
    """Of the weights, and that code which came with them made the answer."""
    return f"{checkpoint.revision}{' with its code' if checkpoint.code else ''}"


def _media(family: Family) -> frozenset[Modality]:
    return frozenset({"text", "image", "video"} if family.videos else {"text", "image"})


def open_hub_whisper(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = AS_IT_IS,
    trust: Trust = NOTHING,
) -> HubWhisper:
    """A Whisper checkpoint in transformers' layout.

    Raises:
        ModelUnavailable, DamagedWeights, MissingDependency: see `open_checkpoint`.
    """
    from polymodal.models.hub_whisper import HubWhisper
    from polymodal.results import Provenance

    require(name, "transformers", "hub")
    checkpoint = open_checkpoint(name, trust=trust)
    source = _source(checkpoint)
    dtype = precision.resolved(torch_device(device), _own_dtype(checkpoint))
    revision = f"{_revision(checkpoint)}+{VERSION}{precision.said(dtype)}"
    provenance = Provenance(checkpoint.model, revision)
    return HubWhisper(source, provenance, dtype, precision=precision, device=device)


def open_openclip(name: str, variant: str, *, device: Device = "auto") -> OpenClipEmbedder:
    """`open_clip:ARCH/PRETRAINED`: an architecture of open_clip, with weights by tag or file.

    Raises:
        MissingDependency: the extra `openclip` is not installed.
        UsageError, ModelUnavailable: see `polymodal.catalog.openclip_models.open_openclip`.
    """
    require(name, "open_clip", "openclip")
    from polymodal.catalog import openclip_models

    return openclip_models.open_openclip(name, variant, device)


def _own_dtype(checkpoint: Checkpoint) -> str:
    """In which the checkpoint says that it was saved."""
    config = checkpoint.config
    return str(config.get("dtype") or config.get("torch_dtype") or "float32")


def picture_px(checkpoint: Checkpoint) -> int:
    """The side, in pixels, beyond which a larger picture adds nothing; read from its files."""
    sizes = _picture_settings(checkpoint.folder)
    side = _side_px(sizes)
    if not side:
        vision = checkpoint.config.get("vision_config")
        side = int(vision.get("image_size", 0) or 0) if isinstance(vision, dict) else 0
    return min(side or USUAL_PX, MOST_PX)


def _side_px(settings: Mapping[str, Any]) -> int:
    if patches := settings.get("max_num_patches"):
        most = max(int(patches), NAFLEX_PATCHES)  # what the processor takes by itself
        return round(math.sqrt(most) * float(settings.get("patch_size") or 16))
    pinpoints = settings.get("image_grid_pinpoints")
    if pinpoints:
        return int(max(max(each) for each in pinpoints))
    if pixels := settings.get("max_pixels"):
        return 2 * round(math.sqrt(pixels))  # for pictures twice as wide as high and more
    size = settings.get("size")
    size = {"height": size} if isinstance(size, int) else size or {}
    numbers = [int(each) for each in size.values() if isinstance(each, int | float)]
    side = max(numbers, default=0)
    if side > EDGES:
        return 2 * round(math.sqrt(side))
    if settings.get("crop_to_patches"):
        return side * int(settings.get("max_patches") or 1)
    return side


def _picture_settings(folder: Path) -> Mapping[str, Any]:
    for name in PICTURE_FILES:
        if (folder / name).is_file():
            found = read_json(folder / name)
            inner = found.get("image_processor", found)
            return inner if isinstance(inner, dict) else {}
    return {}


def _dimension(checkpoint: Checkpoint) -> int:
    for name in PROJECTIONS:
        if (shape := checkpoint.weights.shape(name)) is not None:
            return shape[0]
    if checkpoint.weights.pickled:  # whose content nobody knows before it is loaded
        for config in (checkpoint.config, checkpoint.config.get("text_config") or {}):
            for key in ("projection_dim", "projection_size"):
                if isinstance(found := config.get(key), int):
                    return found
    raise DamagedWeights(
        f"{checkpoint.folder} says {checkpoint.model_type}, but its weights have none of"
        f" {', '.join(PROJECTIONS)}: config.json and weights do not belong together."
    )


def _backend() -> str:
    """What transformers resizes pictures with; the two differ in the last bits."""
    return "pil" if find_spec("torchvision") is None else "torchvision"


def require(name: str, module: str, extra: str) -> None:
    """Refuse a model whose library is not installed.

    Raises:
        MissingDependency: with the command that installs it.
    """
    if find_spec(module) is None or find_spec("torch") is None:
        raise MissingDependency(
            f"{name} needs packages that are not installed. Run: pip install 'polymodal[{extra}]'"
        )
