"""What models there are: those that ship, those known by name, and what of them is on this machine.

Notable: nothing is opened, downloaded or asked of a network; a checkpoint is looked at through its
files' names and headers. What a name means is decided where models are opened (`opening.py`); here
the same names are listed, and what is said of each is in `known_rows.py`.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

from polymodal.catalog import hub, known_rows, known_speech
from polymodal.catalog.checkpoints import is_checkpoint_name, kind_of, open_checkpoint
from polymodal.catalog.known_openclip import (
    USUAL,
    described,
    every_name,
    glance,
    is_openclip,
    pulled,
)
from polymodal.catalog.known_rows import KnownModel, folder_bytes
from polymodal.catalog.known_speech import WHISPER
from polymodal.catalog.names import full_name, is_api_name
from polymodal.catalog.opening import OPEN_CLIP
from polymodal.catalog.sources import PACKAGES, find_weights
from polymodal.catalog.speech import read_speech_models
from polymodal.errors import ModelUnavailable, UsageError, did_you_mean
from polymodal.models.trust import NOTHING, Trust

__all__ = ["KnownModel", "folder_bytes", "folder_of", "known_models", "pull", "remove", "show"]


def known_models(*, here: bool = False, family: str = "") -> list[KnownModel]:
    """Every model that is known by name, and every checkpoint in the hub's cache.

    Args:
        here: only those whose weights are on this machine.
        family: only those of this family; of open_clip then all that it knows.

    Raises:
        UsageError: no model is of that family.
        MissingDependency: it is open_clip's, and the extra is not installed.
    """
    rows = _of_family(family) if family else _all()
    return [row for row in rows if row.folder is not None or not here]


def _all() -> list[KnownModel]:
    rows = [known_rows.packaged(name) for name in PACKAGES]
    rows += [
        known_rows.speech(name) for name in (WHISPER, *(c.names[0] for c in read_speech_models()))
    ]
    names = dict.fromkeys((*hub.known_checkpoints(), *hub.cached_names()))
    rows += [known_rows.checkpoint(name) for name in names]
    rows.append(known_rows.openclip(USUAL, glance()))
    rows += [known_rows.api(name) for name in known_rows.api_names()]
    rows += [known_rows.plugin(name) for name in known_rows.plugin_names()]
    return rows


def _of_family(family: str) -> list[KnownModel]:
    wanted, every = _bare(family), _all()
    rows = [row for row in every if _bare(row.family) == wanted]
    if wanted == _bare(OPEN_CLIP):
        rows = [row for row in rows if not is_openclip(row.name)]
        rows += [known_rows.openclip(name, described(name)) for name in every_name()]
    if not rows:
        families = dict.fromkeys(row.family for row in every if row.family)
        raise UsageError(f"no model is of the family {family!r}; there are {', '.join(families)}.")
    return rows


def _bare(family: str) -> str:
    return "".join(each for each in family.lower() if each.isalnum())


def show(name: str) -> KnownModel:
    """What is known of one model.

    Raises:
        ModelUnavailable: no model is called that, with the nearest names that exist.
    """
    name = full_name(name)
    if name in PACKAGES:
        return known_rows.packaged(name)
    if known_rows.is_speech(name):
        return known_rows.speech(name)
    if (of_family := _of_prefix(name)) is not None:
        return of_family
    folder = Path(name).expanduser()
    if folder.is_dir() and not is_checkpoint_name(name):
        return known_rows.starter_folder(name)
    if folder.is_dir() or name in hub.known_checkpoints() or known_rows.cached(name) is not None:
        return known_rows.checkpoint(name)
    raise ModelUnavailable(f"no model is called {name!r} here.{_near(name)}{_hint(name)}")


def _of_prefix(name: str) -> KnownModel | None:
    """A name that begins with its family's, and a colon."""
    if is_api_name(name):
        return known_rows.api(name)
    if name.partition(":")[0] in known_rows.plugin_names():
        return known_rows.plugin(name)
    return known_rows.openclip(name, described(name, counted=True)) if is_openclip(name) else None


def folder_of(name: str) -> Path:
    """Where a model's weights lie on this machine.

    Raises:
        UsageError: it has no weights here ever: it is behind an API, or a plugin's.
        ModelUnavailable: they are not on this machine; the message is the command that gets them.
    """
    model = show(name)
    if model.folder is not None:
        return model.folder
    name = model.name
    _with_files(name)
    raise ModelUnavailable(f"{name} is not on this machine. Run: polymodal models pull {name}")


def pull(name: str, *, trust: Trust = NOTHING) -> Path:
    """Get a model's weights onto this machine, whole and checked, so that it works offline.

    Args:
        trust: which of its pickles and code to get as well; nothing of them is opened.

    Raises:
        UsageError: there is nothing to get: see `folder_of`.
        ModelUnavailable: no source has it, or POLYMODAL_OFFLINE forbids to ask.
    """
    name = full_name(name)
    _with_files(name)
    if name in PACKAGES:
        weights = find_weights(name)
        for file in weights.files:
            weights.read(file)
        return weights.root
    if known_rows.is_speech(name):
        return known_speech.pulled(name)
    if Path(name).expanduser().is_dir() and not is_checkpoint_name(name):
        return find_weights(name).root
    if is_openclip(name):
        return pulled(name).parent
    if not is_checkpoint_name(name):
        raise ModelUnavailable(f"no model is called {name!r}.{_near(name)}{_hint(name)}")
    kind_of(name)
    return open_checkpoint(name, trust=trust).folder


def remove(name: str) -> int:
    """Delete a model's weights from the hub's cache, or from polymodal's own.

    Returns:
        Bytes that were freed.

    Raises:
        UsageError: they are not polymodal's to delete: a folder of yours, an installed package.
        ModelUnavailable: they are not on this machine.
    """
    name = full_name(name)
    _with_files(name)
    if name in PACKAGES:
        package = PACKAGES[name][1]
        raise UsageError(f"{name} is the package {package}. Run: pip uninstall {package}")
    if known_rows.is_speech(name):
        return known_speech.removed(name)
    if is_openclip(name):
        repository = described(name).repository
        if not repository:
            raise UsageError(f"{name} is a file of yours; only what was downloaded is removed.")
        return hub.remove_cached(repository)
    folder = Path(name).expanduser()
    if folder.is_dir():
        raise UsageError(f"{folder} is a folder of yours; only what was downloaded is removed.")
    if not hub.is_hub_id(name):
        raise ModelUnavailable(f"no model is called {name!r}.{_near(name)}{_hint(name)}")
    return hub.remove_cached(name)


def _with_files(name: str) -> None:
    if is_api_name(name):
        raise UsageError(f"{name} runs behind an API; it has no weights to keep here.")
    if name.partition(":")[0] in known_rows.plugin_names():
        raise UsageError(f"{name} is a plugin's; where its weights are is the plugin's to say.")


def _near(name: str) -> str:
    import difflib

    known = [row.name for row in known_models()]
    by_lower = {each.lower(): each for each in known}
    short = {each.rpartition("/")[2].lower(): each for each in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    ends = difflib.get_close_matches(name.lower(), short, n=3, cutoff=0.6)
    found = dict.fromkeys([*(by_lower[each] for each in close), *(short[each] for each in ends)])
    return did_you_mean(list(found)[:3])


def _hint(name: str) -> str:
    if os.sep in name and find_spec("huggingface_hub") is None:
        return " Models of the hub need an extra. Run: pip install 'polymodal[hub]'"
    if hub.is_hub_id(name):
        return f" If it is on the hub, get it: polymodal models pull {name}"
    return ""
