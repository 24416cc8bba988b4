"""Weight files of a checkpoint as they lie on the disk: which there are, whether they are whole.

Notable: the header of a safetensors file says where each tensor ends, so a missing shard or a file
that was cut off is found before anything is loaded, and a single number is read without loading the
rest. Format: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.errors import DamagedWeights, ModelUnavailable

__all__ = ["WeightFiles", "find_weight_files", "is_pickle", "read_json"]

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
MOST_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class _Tensor:
    """Where a tensor lies in its file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class WeightFiles:
    """The weights of one checkpoint.

    Attributes:
        files: safetensors files, or pickles where `pickled`.
        pickled: nothing is known of what is in them.
    """

    files: tuple[Path, ...]
    pickled: bool = False

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Of a tensor; None where there is none of that name.

        Raises:
            DamagedWeights: a file is cut off or no safetensors file.
        """
        found = self._find(name)
        return None if found is None else found[1].shape

    def number(self, name: str) -> float | None:
        """The first number of a tensor; None where there is none of that name."""
        found = self._find(name)
        if found is None:
            return None
        path, tensor = found
        with path.open("rb") as opened:
            opened.seek(tensor.start)
            data = opened.read(min(4, tensor.end - tensor.start))
        if tensor.dtype == "BF16":
            return float(np.frombuffer(b"\0\0" + data[:2], "<f4")[0])
        kind = {"F32": "<f4", "F16": "<f2"}.get(tensor.dtype)
        if kind is None:
            raise DamagedWeights(f"{path}: {name} is {tensor.dtype}, not a floating-point number.")
        return float(np.frombuffer(data, kind, 1)[0])

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of all tensors; none of pickles."""
        return {
            name: tensor.shape for each in self._headers.values() for name, tensor in each.items()
        }

    def parameters(self) -> int | None:
        """Numbers in all tensors together, from the headers; None for pickles."""
        if self.pickled:
            return None
        return sum(math.prod(shape) for shape in self.shapes().values())

    def size_bytes(self) -> int:
        """Of the files."""
        return sum(path.stat().st_size for path in self.files)

    def check(self) -> None:
        """Read every header.

        Raises:
            DamagedWeights: a file is cut off or no safetensors file; it is named.
        """
        _ = self._headers

    @cached_property
    def _headers(self) -> dict[Path, Mapping[str, _Tensor]]:
        """Read once: those of a large checkpoint name thousands of tensors."""
        return {} if self.pickled else {path: _header(path) for path in self.files}

    def _find(self, name: str) -> tuple[Path, _Tensor] | None:
        for path, tensors in self._headers.items():
            if name in tensors:
                return path, tensors[name]
        return None


def find_weight_files(folder: Path, *, allow_pickle: bool = False) -> WeightFiles:
    """The weights in a checkpoint's folder.

    Args:
        allow_pickle: take pickled weights where there are no others. They are unpickled by torch's
            `weights_only` loader.

    Raises:
        ModelUnavailable: there are none, or only pickles and they are not allowed.
        DamagedWeights: a shard is missing, or the index cannot be read.
    """
    if (folder / INDEX).is_file():
        return WeightFiles(_shards(folder / INDEX))
    if (folder / WHOLE).is_file():
        return WeightFiles((folder / WHOLE,))
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    pickles = [name for name in names if is_pickle(name)]
    if not pickles:
        raise ModelUnavailable(
            f"{folder} has no weights: neither {WHOLE} nor {INDEX}. Copy or download it again."
        )
    if not allow_pickle:
        raise ModelUnavailable(
            f"{folder} has its weights as pickles only ({', '.join(pickles[:3])}), which can run"
            " code when they are opened, so they are refused. Use a checkpoint with safetensors,"
            " or, if you trust where it came from, say --allow-pickle (in Python"
            " allow_pickle=True)."
        )
    index = folder / "pytorch_model.bin.index.json"
    found = _shards(index) if index.is_file() else tuple(folder / name for name in pickles)
    return WeightFiles(found, pickled=True)


def is_pickle(name: str) -> bool:
    """Whether a file of that name holds pickled weights."""
    path = Path(name)
    lowered = path.name.lower()
    return path.suffix.lower() in PICKLES and not lowered.startswith("training_args")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        DamagedWeights: it cannot be read as one; the file is named.
    """
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedWeights(f"{path} cannot be read ({error.strerror or error}).") from error
    except ValueError as error:
        raise DamagedWeights(f"{path} is not JSON ({error}). Copy or download it again.") from error
    if not isinstance(data, dict):
        raise DamagedWeights(f"{path} holds {type(data).__name__}, not a JSON object.")
    return data


def _shards(index: Path) -> tuple[Path, ...]:
    placed = read_json(index).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise DamagedWeights(f"{index} has no weight_map. Copy or download it again.")
    names = sorted(set(map(str, placed.values())))
    if any(Path(name).name != name for name in names):
        raise DamagedWeights(f"{index} names files outside its folder.")
    return _all_there(index, names)


def _all_there(index: Path, names: Sequence[str]) -> tuple[Path, ...]:
    missing = [name for name in names if not (index.parent / name).is_file()]
    if missing:
        raise DamagedWeights(
            f"{len(missing)} of {len(names)} weight files of {index.parent} are missing:"
            f" {', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. Copy or download them"
            " again."
        )
    return tuple(index.parent / name for name in names)


def _header(path: Path) -> Mapping[str, _Tensor]:
    again = "Copy or download it again."
    try:
        size = path.stat().st_size
        with path.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if not 2 <= length <= min(MOST_HEADER_BYTES, size):
                raise DamagedWeights(f"{path} is no whole safetensors file. {again}")
            raw = json.loads(opened.read(length))
        raw.pop("__metadata__", None)
        begin = 8 + length
        found = {
            name: _Tensor(
                entry["dtype"],
                tuple(entry["shape"]),
                begin + entry["data_offsets"][0],
                begin + entry["data_offsets"][1],
            )
            for name, entry in raw.items()
        }
    except OSError as error:
        raise DamagedWeights(f"{path} cannot be read ({os.strerror(error.errno or 0)}).") from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise DamagedWeights(f"{path} is no whole safetensors file. {again}") from error
    wanted = max((tensor.end for tensor in found.values()), default=begin)
    if size < wanted:
        raise DamagedWeights(f"{path} is cut off: it has {size:,} bytes of {wanted:,}. {again}")
    return found
