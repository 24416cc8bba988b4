"""Loading parts of a checkpoint with transformers: nothing from the network, no code, no guesses.

Notable: transformers fills weights that a file lacks with random numbers and only logs it; here
that is an error, since such a model answers, and answers nonsense.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import DamagedWeights, MissingDependency, ModelUnavailable
from polymodal.models.protocols import Device
from polymodal.models.tensorfiles import WeightFiles

__all__ = ["Source", "device_name", "load_model", "load_processor", "quietly", "transformers"]

SHOWN = 300
_QUIET = threading.Lock()


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies, and what it is called in messages."""

    name: str
    folder: Path
    weights: WeightFiles


def transformers(name: str) -> Any:
    """The library.

    Raises:
        MissingDependency: the extra `hub` is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers as library
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{name} runs on transformers and torch. Run: pip install 'polymodal[hub]'"
        ) from error
    return library


def device_name(device: Device) -> str:
    """In torch's words: "auto" is CUDA where there is one."""
    import torch

    return "cuda" if device == "auto" and torch.cuda.is_available() else "cpu"


def load_model(source: Source, auto_class: str, device: str, dtype: Any) -> Any:
    """The model of a checkpoint, ready to infer.

    Args:
        auto_class: one of transformers' classes that find the model's own.

    Raises:
        DamagedWeights: weights are missing, do not have the shapes that config.json asks for, or
            cannot be read.
        ModelUnavailable: this transformers does not know the model.
        MissingDependency: a package that the model needs is not installed.
    """
    library = transformers(source.name)
    with _translated(source), quietly(library):
        model, report = getattr(library, auto_class).from_pretrained(
            source.folder,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=not source.weights.pickled,
            weights_only=True,
            dtype=dtype,
            output_loading_info=True,
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise DamagedWeights(
            f"the weights in {source.folder} lack {len(missing)} tensors that its config.json asks"
            f" for: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. They do not"
            " belong together, or the file is not whole."
        )
    return model.to(device).eval().requires_grad_(False)


def load_processor(source: Source, auto_class: str = "AutoProcessor") -> Any:
    """What turns pictures and texts into a model's input.

    Raises:
        DamagedWeights: its files are missing or cannot be read.
        ModelUnavailable: it needs code that comes with it.
        MissingDependency: a package that it needs is not installed.
    """
    library = transformers(source.name)
    with _translated(source), quietly(library):
        return getattr(library, auto_class).from_pretrained(
            source.folder, trust_remote_code=False, local_files_only=True
        )


@contextmanager
def _translated(source: Source) -> Iterator[None]:
    """Failures of the library as errors of the project."""
    try:
        yield
    except ImportError as error:
        said = _short(error)
        package = next((p for p in ("num2words", "sentencepiece", "timm") if p in said), None)
        install = f"pip install {package}" if package else "pip install 'polymodal[hub]'"
        raise MissingDependency(f"{source.name} needs a package: {said} Run: {install}") from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        said, whole = _short(error), str(error)
        if "trust_remote_code" in whole:
            raise ModelUnavailable(
                f"{source.name} needs code that comes with it (auto_map), which is never run. Use"
                " a checkpoint of a family that transformers itself has."
            ) from error
        if "does not recognize this architecture" in whole or "Unrecognized model" in whole:
            raise ModelUnavailable(
                f"{source.folder / 'config.json'}: this version of transformers does not know the"
                " model. A newer one may: pip install -U transformers"
            ) from error
        if "mismatch" in whole:
            raise DamagedWeights(
                f"the weights in {_files(source)} do not have the shapes that"
                f" {source.folder / 'config.json'} asks for: {said}"
            ) from error
        raise DamagedWeights(
            f"the checkpoint in {source.folder} cannot be loaded ({type(error).__name__}: {said})."
            " Copy or download it again."
        ) from error
    except Exception as error:
        if type(error).__module__.startswith(("safetensors", "pickle", "_pickle")):
            raise DamagedWeights(
                f"the weights in {_files(source)} cannot be read: {_short(error)}"
            ) from error
        raise


@contextmanager
def quietly(library: Any) -> Iterator[None]:
    """Without the library's progress and notes on stderr, which are put back as they were."""
    logging = library.utils.logging
    with _QUIET:
        level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
        logging.set_verbosity(logging.CRITICAL)
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(level)
            if bar:
                logging.enable_progress_bar()


def _files(source: Source) -> str:
    files = source.weights.files
    return str(files[0]) if len(files) == 1 else f"{source.folder} ({len(files)} files)"


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
