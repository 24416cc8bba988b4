"""`open_clip:ARCH/PRETRAINED` to an embedder: open_clip's tables, and where the weights lie."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.catalog import hub
from polymodal.catalog.checkpoints import REVISION_DIGITS, commit_of
from polymodal.errors import ModelUnavailable, UsageError
from polymodal.media.files import hash_file
from polymodal.models.hub_loading import Source
from polymodal.models.protocols import Device
from polymodal.models.tensorfiles import WeightFiles, is_pickle

if TYPE_CHECKING:
    from polymodal.models.openclip import OpenClipEmbedder

__all__ = ["WEIGHTS", "OpenClipFacts", "facts_of", "names", "open_openclip", "weight_file"]

WEIGHTS = "open_clip_model.safetensors"
VERSION = "1"
SIDE_PX, TEXT_TOKENS = 224, 77
"""Where an architecture says nothing."""
SETTINGS = {
    "mean": "image_mean",
    "std": "image_std",
    "interpolation": "image_interpolation",
    "resize_mode": "image_resize_mode",
    "quick_gelu": "force_quick_gelu",
}
"""What the table says of weights, and how the library takes it."""


def open_openclip(name: str, variant: str, device: Device) -> OpenClipEmbedder:
    """The model `variant`, ARCH/PRETRAINED, where PRETRAINED is a tag or a safetensors file.

    Raises:
        UsageError: the variant is not written so.
        ModelUnavailable: there is no such architecture or tag, or its weights cannot be found.
    """
    from polymodal.models.openclip import OpenClipEmbedder, OpenClipSpec
    from polymodal.results import Space

    architecture, pretrained = _parts(name, variant)
    config = _architecture(name, architecture)
    file, settings = _weights(name, architecture, pretrained)
    weights = WeightFiles((file,))
    weights.check()
    side_px = _side_px(config)
    revision = commit_of(file.parent) or hash_file(file)
    space = Space(
        model=f"open_clip:{architecture}/{file.name if settings is None else pretrained}",
        revision=revision[:REVISION_DIGITS],
        dimension=int(config["embed_dim"]),
        preprocessing=f"open_clip {side_px} px {VERSION}",
        prompt=VERSION,
    )
    tokens = _text_tokens(config)
    source = Source(name, file.parent, weights)
    spec = OpenClipSpec(source, architecture, space, side_px, tokens, settings or {})
    return OpenClipEmbedder(spec, device=device)


def weight_file(name: str, variant: str) -> Path:
    """The file with the weights of `variant`, downloaded if need be, as is its tokenizer.

    Raises:
        UsageError, ModelUnavailable: see `open_openclip`.
    """
    from polymodal.models.openclip import open_tokenizer

    architecture, pretrained = _parts(name, variant)
    _architecture(name, architecture)
    file = _weights(name, architecture, pretrained)[0]
    open_tokenizer(name, architecture)
    return file


def names() -> list[str]:
    """Every name whose weights are on the hub, from the library's table."""
    import open_clip

    table = open_clip.pretrained
    return [
        f"open_clip:{architecture}/{tag}"
        for architecture, tag in open_clip.list_pretrained()
        if table.get_pretrained_cfg(architecture, tag).get("hf_hub")
    ]


@dataclass(frozen=True)
class OpenClipFacts:
    """What is known of a name without a network.

    Attributes:
        repository: of the hub, that has the weights; "" for a file of the user's.
        file: the weights on this machine; None where they are not.
    """

    repository: str
    file: Path | None
    dimension: int
    image_size_px: int
    text_tokens: int


def facts_of(name: str, variant: str) -> OpenClipFacts:
    """What open_clip's table and the hub's cache say of `variant`; nothing is downloaded.

    Raises:
        UsageError, ModelUnavailable: see `open_openclip`.
    """
    architecture, pretrained = _parts(name, variant)
    config = _architecture(name, architecture)
    found = _own_file(pretrained)
    repository = "" if found else _repository(name, architecture, pretrained)[0]
    return OpenClipFacts(
        repository=repository,
        file=found or hub.cached_file(repository, WEIGHTS),
        dimension=int(config["embed_dim"]),
        image_size_px=_side_px(config),
        text_tokens=_text_tokens(config),
    )


def _parts(name: str, variant: str) -> tuple[str, str]:
    architecture, _, pretrained = variant.partition("/")
    if not architecture or not pretrained:
        raise UsageError(
            f"{name}: write open_clip:ARCH/PRETRAINED, such as"
            " open_clip:ViT-B-32/laion2b_s34b_b79k, or a safetensors file after the slash."
        )
    return architecture, pretrained


def _architecture(name: str, architecture: str) -> dict[str, Any]:
    import open_clip

    config: dict[str, Any] | None = open_clip.get_model_config(architecture)
    if config is None:
        known = {each.lower(): each for each in open_clip.list_models()}
        near = difflib.get_close_matches(architecture.lower(), known, n=3)
        hint = f" Did you mean {' or '.join(known[each] for each in near)}?" if near else ""
        raise ModelUnavailable(f"{name}: open_clip has no architecture {architecture!r}.{hint}")
    return config


def _side_px(config: Mapping[str, Any]) -> int:
    size = (config.get("vision_cfg") or {}).get("image_size") or SIDE_PX
    return int(max(size) if isinstance(size, list | tuple) else size)


def _text_tokens(config: Mapping[str, Any]) -> int:
    return int((config.get("text_cfg") or {}).get("context_length") or TEXT_TOKENS)


def _weights(name: str, architecture: str, pretrained: str) -> tuple[Path, dict[str, Any] | None]:
    """The file, and what the table says of it; None for a file of the user's."""
    if (own := _own_file(pretrained)) is not None:
        return own, None
    repository, settings = _repository(name, architecture, pretrained)
    return hub.fetch_file(name, repository, WEIGHTS), settings


def _own_file(pretrained: str) -> Path | None:
    path = Path(pretrained).expanduser()
    if not path.is_file():
        return None
    if is_pickle(path.name):
        raise ModelUnavailable(
            f"{path} is a pickle, which can run code when it is opened, so it is refused. Save"
            " the weights as safetensors: safetensors.torch.save_file(model.state_dict(), ...)"
        )
    return path


def _repository(name: str, architecture: str, pretrained: str) -> tuple[str, dict[str, Any]]:
    """Which of the hub's has the weights of a tag, and what the table says of them."""
    import open_clip

    table = open_clip.pretrained.get_pretrained_cfg(architecture, pretrained)
    if not table:
        tags = open_clip.list_pretrained_tags_by_model(architecture)
        near = difflib.get_close_matches(pretrained, tags, n=3) or tags[:5]
        hint = f" Known weights: {', '.join(near)}." if near else ""
        raise ModelUnavailable(
            f"{name}: {pretrained!r} is neither a file nor weights that open_clip knows for"
            f" {architecture}.{hint}"
        )
    repository = str(table.get("hf_hub") or "").rpartition("/")[0]
    if not repository:
        raise ModelUnavailable(
            f"{name}: these weights are offered as a pickle at an address only, which is refused."
        )
    return repository, {ours: table[each] for each, ours in SETTINGS.items() if each in table}
