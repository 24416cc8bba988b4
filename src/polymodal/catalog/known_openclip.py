"""What is known of `open_clip:ARCH/PRETRAINED` names, for the list of models.

Notable: the library, and torch with it, is imported only where a name is looked at closely, or all
of its names are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.catalog import hub
from polymodal.catalog.opening import OPEN_CLIP

__all__ = ["USUAL", "Described", "described", "every_name", "glance", "is_openclip", "pulled"]

USUAL = f"{OPEN_CLIP}:ViT-B-32/laion2b_s34b_b79k"
REPOSITORY = "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
"""Of the usual one; open_clip's table says so, and is not imported to list it."""


@dataclass(frozen=True)
class Described:
    """A name.

    Attributes:
        repository: of the hub, that has its weights; "" for a file of the user's.
        file: the weights on this machine; None where they are not.
        details: what its architecture and its weights say.
    """

    repository: str
    file: Path | None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def licence(self) -> str:
        """As the repository's page states it; "" where it has to be read there."""
        return str(hub.known_checkpoints().get(self.repository, {}).get("licence", ""))


def is_openclip(name: str) -> bool:
    """Whether it is such a name."""
    return name.partition(":")[0] == OPEN_CLIP


def glance() -> Described:
    """The usual one, without the library."""
    from polymodal.catalog.openclip_models import WEIGHTS

    return Described(REPOSITORY, hub.cached_file(REPOSITORY, WEIGHTS))


def described(name: str, *, counted: bool = False) -> Described:
    """Any name; nothing is downloaded.

    Args:
        counted: with the parameters of weights that are here.

    Raises:
        MissingDependency: the extra `openclip` is not installed.
        UsageError, ModelUnavailable: there is no such architecture or tag.
    """
    from polymodal.catalog.hub_models import require
    from polymodal.catalog.openclip_models import facts_of
    from polymodal.models.tensorfiles import WeightFiles

    require(name, "open_clip", "openclip")
    facts = facts_of(name, name.partition(":")[2])
    details: dict[str, Any] = {
        "repository": facts.repository,
        "dimension": facts.dimension,
        "image_size_px": facts.image_size_px,
        "text_tokens": facts.text_tokens,
    }
    if counted and facts.file is not None:
        details["parameters"] = WeightFiles((facts.file,)).parameters()
    return Described(facts.repository, facts.file, details)


def every_name() -> list[str]:
    """All that the library knows.

    Raises:
        MissingDependency: the extra `openclip` is not installed.
    """
    from polymodal.catalog.hub_models import require
    from polymodal.catalog.openclip_models import names

    require(OPEN_CLIP, "open_clip", "openclip")
    return names()


def pulled(name: str) -> Path:
    """The file with its weights, downloaded if need be, as is its tokenizer.

    Raises:
        MissingDependency: the extra `openclip` is not installed.
        UsageError, ModelUnavailable: there is no such architecture or tag, or no source has it.
    """
    from polymodal.catalog.hub_models import require
    from polymodal.catalog.openclip_models import weight_file

    require(name, "open_clip", "openclip")
    return weight_file(name, name.partition(":")[2])
