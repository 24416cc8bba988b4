"""Checkpoints of the Hugging Face hub: its cache on the disk first, then the network.

Notable: what is complete in the cache is used without asking the network. A hub that cannot be
reached is given up after seconds, also where a name server does not answer, which no timeout of a
client covers. What would be refused (pickles, code) is refused before it is downloaded.
"""

from __future__ import annotations

import difflib
import os
import re
import threading
import tomllib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from polymodal.errors import MissingDependency, ModelUnavailable, PolymodalError, did_you_mean
from polymodal.models.tensorfiles import find_weight_files, is_pickle
from polymodal.models.trust import NOTHING, Trust, code_files

__all__ = [
    "cached_file",
    "cached_folder",
    "cached_names",
    "fetch",
    "fetch_config",
    "fetch_file",
    "is_hub_id",
    "known_checkpoints",
    "offline",
    "remove_cached",
    "short_names",
]

Result = TypeVar("Result")

ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?")
REACH_S = 4.0
"""How long the hub may take to answer at all."""
CONFIG = "config.json"
KEPT = ("*.json", "*.jinja", "*.txt", "*.model")
OFF = {"", "0", "no", "false", "off"}


@cache
def known_checkpoints() -> Mapping[str, Mapping[str, Any]]:
    """Rows of `hub-models.toml` by id: family, verbs, licence and where it was read."""
    file = files("polymodal.catalog") / "hub-models.toml"
    return {each["id"]: each for each in tomllib.loads(file.read_text("utf-8"))["models"]}


@cache
def short_names() -> Mapping[str, str]:
    """Ids of the known checkpoints by what stands after their slash, in small letters."""
    return {each.rpartition("/")[2].lower(): each for each in known_checkpoints()}


def is_hub_id(name: str) -> bool:
    """Whether the name has the form of a hub's id, `org/name` or `org/name@revision`."""
    return ID.fullmatch(name) is not None


def offline() -> bool:
    """Whether POLYMODAL_OFFLINE (or the hub's own HF_HUB_OFFLINE) forbids the network."""
    names = ("POLYMODAL_OFFLINE", "HF_HUB_OFFLINE")
    return any(os.environ.get(name, "").strip().lower() not in OFF for name in names)


def fetch_config(name: str) -> Path:
    """The config.json of a checkpoint, from the cache or the hub.

    Raises:
        ModelUnavailable: it is in neither.
        MissingDependency: the extra `hub` is not installed.
    """
    library = _library(name)
    repo, revision = _parts(name)
    cached = library.try_to_load_from_cache(repo, CONFIG, revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    _require_network(name)
    # A download tries again for half a minute, long after it was given up here; this asks once.
    address = library.hf_hub_url(repo, CONFIG, revision=revision)
    _reached(name, lambda: library.get_hf_file_metadata(address, timeout=REACH_S))

    def download() -> str:
        path: str = library.hf_hub_download(repo, CONFIG, revision=revision, etag_timeout=REACH_S)
        return path

    return Path(_reached(name, download))


def fetch_file(name: str, repo: str, file: str) -> Path:
    """One file of a repository, from the cache or the hub, for the model called `name`.

    Raises:
        ModelUnavailable: it is in neither.
    """
    library = _library(name)
    cached = library.try_to_load_from_cache(repo, file)
    if isinstance(cached, str):
        return Path(cached)
    _require_network(name)
    address = library.hf_hub_url(repo, file)
    _reached(name, lambda: library.get_hf_file_metadata(address, timeout=REACH_S))
    try:
        return Path(library.hf_hub_download(repo, file))
    except Exception as error:  # the library's, its HTTP client's, the disk's
        raise _failure(name, error) from error


def cached_file(repo: str, file: str) -> Path | None:
    """One file of a repository, where the cache has it."""
    if find_spec("huggingface_hub") is None:
        return None
    cached = _library(repo).try_to_load_from_cache(repo, file)
    return Path(cached) if isinstance(cached, str) else None


def fetch(name: str, *, trust: Trust = NOTHING) -> Path:
    """The folder of a whole checkpoint, from the cache or the hub.

    Raises:
        ModelUnavailable: it is in neither, or has only pickled weights.
        MissingDependency: the extra `hub` is not installed.
    """
    library = _library(name)
    repo, revision = _parts(name)
    cached = _cached(library, repo, revision)
    if cached is not None and _is_whole(name, cached, trust):
        return cached
    _require_network(name, cached)
    api = library.HfApi()
    info = _reached(name, lambda: api.model_info(repo, revision=revision, timeout=REACH_S))
    wanted = _wanted(name, [each.rfilename for each in info.siblings or ()], trust)

    def download() -> str:
        path: str = library.snapshot_download(repo, revision=revision, allow_patterns=wanted)
        return path

    try:
        return Path(download())
    except Exception as error:  # the library's, its HTTP client's, the disk's
        raise _failure(name, error) from error


def _library(name: str) -> Any:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{name} is a model of the hub, which needs an extra. Run: pip install 'polymodal[hub]'"
        ) from error
    return huggingface_hub


def _parts(name: str) -> tuple[str, str | None]:
    repo, _, revision = name.partition("@")
    return repo, revision or None


def _cached(library: Any, repo: str, revision: str | None) -> Path | None:
    try:
        return Path(library.snapshot_download(repo, revision=revision, local_files_only=True))
    except Exception:  # whatever is wrong with it, it is not there to be used
        return None


def _is_whole(name: str, folder: Path, trust: Trust) -> bool:
    if not (folder / CONFIG).is_file():
        return False
    try:
        find_weight_files(folder, allow_pickle=trust.pickles)
        code = code_files(folder) if trust.runs_code_of(name) else ()
    except PolymodalError:
        return False
    return all((folder / file).is_file() for file in code)


def _wanted(name: str, files: Sequence[str], trust: Trust) -> list[str]:
    """Which of a repository's files to download: those beside its config.json."""
    top = [file for file in files if "/" not in file]
    kept = [*KEPT, "*.py"] if trust.runs_code_of(name) else KEPT
    if CONFIG not in top:
        raise ModelUnavailable(
            f"{name} is on the hub, but has no {CONFIG}, so it is no checkpoint of transformers."
        )
    if any(file.endswith(".safetensors") for file in top):
        shards = [file for file in top if file.startswith("model") and "safetensors" in file]
        return [*kept, *shards]
    pickles = [file for file in top if is_pickle(file)]
    if pickles and not trust.pickles:
        raise ModelUnavailable(
            f"{name} has its weights as pickles only ({', '.join(pickles[:3])}), which can run code"
            " when they are opened, so they were not downloaded. Use a checkpoint with"
            " safetensors, or, if you trust it, say --allow-pickle (in Python allow_pickle=True)."
        )
    return [*kept, *pickles]


def _require_network(name: str, cached: Path | None = None) -> None:
    if not offline():
        return
    there = "is there in part" if cached else "does not have it"
    raise ModelUnavailable(
        f"no source has {name!r}. Tried: the folder {name} (not there); the hub's cache"
        f" {_cache_folder()} ({there}); the hub (POLYMODAL_OFFLINE forbids it).{_near(name)} Run"
        " the command once with a network, or copy the model's folder here and say -m ./FOLDER."
    )


def _reached(name: str, ask: Callable[[], Result]) -> Result:
    """What `ask` returns, if the hub answers soon.

    Raises:
        ModelUnavailable: it does not, or says no.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(ask())
        except BaseException as error:  # told to the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="polymodal-hub", daemon=True)
    thread.start()
    thread.join(REACH_S + 0.5)
    if results:
        return results[0]
    raise _failure(name, errors[0] if errors else TimeoutError()) from (
        errors[0] if errors else None
    )


def _failure(name: str, error: BaseException) -> ModelUnavailable:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return ModelUnavailable(
            f"{name} is gated: accept its licence on the hub's page of the model, then run:"
            " hf auth login"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return ModelUnavailable(f"{name}: the hub has the model, but not that revision.")
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(
        error, errors.LocalEntryNotFoundError
    ):
        return ModelUnavailable(
            f"{name} is on the hub, but has no {CONFIG}, so it is no checkpoint of transformers."
        )
    said = f"no connection to it: {_short(error)}"
    if isinstance(error, errors.RepositoryNotFoundError):
        said = "it has no such model, or a private one: hf auth login"
    return ModelUnavailable(
        f"no source has {name!r}. Tried: the folder {name} (not there); the hub's cache"
        f" {_cache_folder()} (not whole there); the hub ({said}).{_near(name)} Run it again with a"
        " network, or copy the model's folder here and say -m ./FOLDER."
    )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 100 else f"{text[:99]}…"


def _near(name: str) -> str:
    """The nearest names that are known or in the cache; none where the name itself is known."""
    repo = _parts(name)[0]
    if repo in known_checkpoints():
        return ""
    known = {*known_checkpoints(), *cached_names()}
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(repo.lower(), by_lower, n=3, cutoff=0.75)
    return did_you_mean([by_lower[each] for each in close if by_lower[each] != repo])


def cached_names() -> list[str]:
    """Ids of the repositories that the hub's cache has something of."""
    if find_spec("huggingface_hub") is None:
        return []
    folder = _cache_folder()
    found = folder.glob("models--*--*") if folder.is_dir() else ()
    return sorted(path.name.removeprefix("models--").replace("--", "/", 1) for path in found)


def cached_folder(name: str) -> Path | None:
    """The folder of what the cache has of a repository, whole or not; None where it has nothing."""
    if find_spec("huggingface_hub") is None:
        return None
    repo, revision = _parts(name)
    return _cached(_library(name), repo, revision)


def remove_cached(name: str) -> int:
    """Take every revision of a repository out of the cache (or the one that is named).

    Returns:
        Bytes that were freed.

    Raises:
        ModelUnavailable: the cache has nothing of it.
    """
    library = _library(name)
    repo, revision = _parts(name)
    info = library.scan_cache_dir(_cache_folder()) if _cache_folder().is_dir() else None
    hashes = [
        each.commit_hash
        for found in (info.repos if info is not None else ())
        if found.repo_id == repo and found.repo_type == "model"
        for each in found.revisions
        if revision is None or each.commit_hash.startswith(revision) or revision in each.refs
    ]
    if info is None or not hashes:
        raise ModelUnavailable(f"the hub's cache {_cache_folder()} has nothing of {name!r}.")
    strategy = info.delete_revisions(*hashes)
    strategy.execute()
    return int(strategy.expected_freed_size)


def _cache_folder() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)
