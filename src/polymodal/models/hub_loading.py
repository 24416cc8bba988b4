"""Loading parts of a checkpoint with transformers: nothing from the network, and no guesses.

Notable: transformers fills weights that a file lacks with random numbers and only logs it; here
that is an error, since such a model answers, and answers nonsense.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from logging import ERROR, NOTSET, getLogger
from pathlib import Path
from typing import Any

from polymodal.errors import (
    DamagedWeights,
    MissingDependency,
    ModelUnavailable,
    NotEnoughMemory,
    PolymodalError,
)
from polymodal.models.fitting import is_out_of_memory
from polymodal.models.precision import AS_IT_IS, Precision, keep_unpacked
from polymodal.models.tensorfiles import WeightFiles, read_json
from polymodal.models.trust import needs_code

__all__ = [
    "SMALLER",
    "Source",
    "load_model",
    "load_processor",
    "prepare",
    "quietly",
    "transformers",
]

SMALLER = (
    "What takes less: --dtype bfloat16, --quantize 8bit or 4bit, or a smaller model; or give it"
    " more memory."
)

STARTER_TOWER = "polymodal_starter"
SHOWN = 300
PAGE_BYTES = 4096
ALIGNED_BYTES = 64
SHARE_OF_DEVICE = 0.8
"""Of a device's free memory that weights may take before some of them stay on the host."""
USUAL = (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError)
"""What transformers raises where files are wrong."""
_QUIET = threading.Lock()


@dataclass(frozen=True)
class Source:
    """Where a checkpoint lies, and what it is called in messages.

    Attributes:
        code: what comes with it may run.
    """

    name: str
    folder: Path
    weights: WeightFiles
    code: bool = False


def transformers(name: str) -> Any:
    """The library.

    Raises:
        MissingDependency: the extra `hub` is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"{name} runs on transformers and torch. Run: pip install 'polymodal[hub]'"
        ) from error
    # It puts another module in its place while it is imported, and a thread that waited for that
    # is given the first one, in which nothing is.
    return sys.modules["transformers"]


def _library(source: Source) -> Any:
    """transformers; it knows our own forms too where the checkpoint is of one."""
    library = transformers(source.name)
    config = source.folder / "config.json"
    if config.is_file() and '"polymodal_' in config.read_text(encoding="utf-8"):
        from polymodal.models.hub_bridged import register

        register()
    return library


def prepare(source: Source, auto_class: str) -> None:
    """Import what loading needs.

    Raises:
        MissingDependency: the extra `hub` is not installed.
    """
    getattr(transformers(source.name), auto_class)


def load_model(
    source: Source, auto_class: str, device: str, dtype: str, precision: Precision = AS_IT_IS
) -> Any:
    """The model of a checkpoint, ready to infer, its weights in memory.

    Args:
        auto_class: one of transformers' classes that find the model's own.
        dtype: "float32", "bfloat16" or "float16".

    Raises:
        DamagedWeights: weights are missing, do not have the shapes that config.json asks for, or
            cannot be read.
        ModelUnavailable: this transformers does not know the model.
        MissingDependency: a package that the model needs is not installed.
    """
    library = _library(source)
    own = _own_tower(source)
    settings = precision.settings(source.name, dtype)
    with _translated(source), quietly(library):
        model, report = getattr(library, auto_class).from_pretrained(
            source.folder,
            trust_remote_code=source.code,
            local_files_only=True,
            use_safetensors=not source.weights.pickled,
            weights_only=True,
            device_map=_placed(source, device, dtype, precision),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **settings,
        )
    if report["mismatched_keys"]:
        tensor, has, asked = min(report["mismatched_keys"])
        more = len(report["mismatched_keys"]) - 1
        raise DamagedWeights(
            f"the weights in {_files(source)} do not have the shapes that"
            f" {source.folder / 'config.json'} asks for: {tensor} is {_shape(has)}, not"
            f" {_shape(asked)}{f'; and {more} more' if more else ''}. They do not belong together."
        )
    missing = sorted(report["missing_keys"])
    if missing:
        raise DamagedWeights(
            f"the weights in {source.folder} lack {len(missing)} tensors that its config.json asks"
            f" for: {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. They do not"
            " belong together, or the file is not whole."
        )
    if own is not None:
        own.attach(list(model.modules()), source.folder)
    model.eval().requires_grad_(False)
    keep_unpacked(model)
    _read_in(model, precision)
    return model


def _own_tower(source: Source) -> Any:
    """The module of the starter's vision tower, known to transformers then, where it has one."""
    file = source.folder / "config.json"
    vision = read_json(file).get("vision_config") if file.is_file() else None
    if not isinstance(vision, dict) or vision.get("model_type") != STARTER_TOWER:
        return None
    from polymodal.models import starter_vision

    starter_vision.register()
    return starter_vision


def _placed(source: Source, device: str, dtype: str, precision: Precision) -> Any:
    """Where the layers go: all on the device, or what it has no room for on the host.

    accelerate moves a layer that stayed behind to the device whenever it is its turn; quantised
    weights cannot be moved so.
    """
    if device == "cpu" or precision.quantize is not None:
        return {"": device}
    import torch

    least_bytes = precision.least_bytes(source.weights.parameters(), dtype)
    fits = least_bytes < SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]
    return {"": device} if fits else "auto"


def _read_in(model: Any, precision: Precision) -> None:
    """Read weights that are only mapped: a page each, so that what they take can be measured.

    Where one lies at an odd address, all are copied, and with them nothing holds the file: sums
    over it may differ in the last bit from those of the same numbers in another file. So is what
    quantising left over, which would hold the whole file in memory.
    """
    tensors = [
        each for each in (*model.parameters(), *model.buffers()) if each.device.type == "cpu"
    ]
    odd = any(each.data_ptr() % ALIGNED_BYTES for each in tensors if each.is_floating_point())
    for each in tensors:
        if odd if precision.quantize is None else each.is_floating_point():
            each.data = each.data.clone()
        elif each.is_contiguous() and each.numel():
            each.data.view(-1)[:: max(1, PAGE_BYTES // each.element_size())].sum()


def load_processor(source: Source, auto_class: str = "AutoProcessor") -> Any:
    """What turns pictures and texts into a model's input.

    Raises:
        DamagedWeights: its files are missing or cannot be read.
        ModelUnavailable: it needs code that comes with it.
        MissingDependency: a package that it needs is not installed.
    """
    library = _library(source)
    _own_tower(source)
    with _translated(source), quietly(library):
        return getattr(library, auto_class).from_pretrained(
            source.folder, trust_remote_code=source.code, local_files_only=True
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
    except PolymodalError:
        raise
    except Exception as error:  # the library's, its parts', and of code that comes with it
        raise _failure(source, error) from error


def _failure(source: Source, error: Exception) -> PolymodalError:
    """What is said of a checkpoint that cannot be loaded."""
    if is_out_of_memory(error):
        return NotEnoughMemory(f"{source.name} does not fit into memory. {SMALLER}")
    kind, said, whole = type(error), _short(error), str(error)
    config = source.folder / "config.json"
    if "trust_remote_code" in whole:
        return needs_code(source.name)
    if "does not recognize this architecture" in whole or "Unrecognized model" in whole:
        return ModelUnavailable(
            f"{config}: this version of transformers does not know the model. A newer one may:"
            " pip install -U transformers"
        )
    if source.code and not isinstance(error, USUAL):  # raises what it likes
        return ModelUnavailable(
            f"the code that comes with {source.name} failed ({kind.__name__}: {said})."
        )
    what = f"the checkpoint in {source.folder} cannot be loaded ({kind.__name__}: {said})"
    if kind.__name__.startswith("StrictDataclass"):
        what = f"{config} cannot be used ({said})"
    elif kind.__module__.startswith(("safetensors", "pickle", "_pickle")):
        what = f"the weights in {_files(source)} cannot be read ({said})"
    return DamagedWeights(f"{what}. Copy or download it again.")


@contextmanager
def quietly(library: Any) -> Iterator[None]:
    """Without the library's progress and notes on stderr, which are put back as they were."""
    logging = library.utils.logging
    # It tells of every layer, at every step; and accelerate imports it for other models too.
    if (quantiser := getLogger("bitsandbytes")).level == NOTSET:
        quantiser.setLevel(ERROR)
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


def _shape(numbers: Iterable[int]) -> str:
    return " x ".join(map(str, numbers))


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
