"""In which numbers a checkpoint's weights are held, and on which device it runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from polymodal.errors import MissingDependency, UsageError

__all__ = [
    "AS_IT_IS",
    "DTYPES",
    "QUANTIZED",
    "Precision",
    "check_device",
    "keep_unpacked",
    "onnx_gpu",
    "torch_device",
]

DTYPES = ("auto", "float32", "bfloat16", "float16")
QUANTIZED = ("8bit", "4bit")
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
BITS = {"8bit": 1.0, "4bit": 0.5}
ROWS, BLOCK = 32, 64
DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?")


def check_device(device: str) -> None:
    """Refuse what is no device.

    Raises:
        UsageError: it is none of auto, cpu, cuda, cuda:N.
    """
    if not DEVICE.fullmatch(device):
        raise UsageError(f"device {device!r} is not known; use auto, cpu, cuda or cuda:N.")


def torch_device(device: str) -> str:
    """In torch's words, with its number; "auto" is CUDA where there is one.

    Raises:
        UsageError: there is no such device on this machine.
    """
    check_device(device)
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "cpu" or (device == "auto" and not count):
        return "cpu"
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        there = f"it has {count}" if count else "torch finds none; use cpu"
        raise UsageError(f"this machine has no GPU {device}: {there}.")
    return f"cuda:{number}"


def onnx_gpu(device: str, what: str) -> int | None:
    """The GPU's number for onnxruntime; None for the CPU, also where "auto" finds no other.

    Raises:
        UsageError: it is no device, or a GPU that this onnxruntime cannot use.
    """
    check_device(device)
    if device == "cpu":
        return None
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return int(device.partition(":")[2] or 0)
    if device == "auto":
        return None
    raise UsageError(
        f"{what} cannot run on {device}: this onnxruntime has no CUDA. Use --device cpu, or:"
        " pip install onnxruntime-gpu"
    )


@dataclass(frozen=True)
class Precision:
    """How weights are held.

    Attributes:
        dtype: one of `DTYPES`; "auto" is float32 on a CPU and for vectors, and on a GPU the
            checkpoint's own for models that write; what is quantised has bfloat16 for float32.
        quantize: "8bit" (LLM.int8(), Dettmers et al. 2022) or "4bit" (NF4, Dettmers et al. 2023) by
            bitsandbytes: the linear layers' weights are then held so, and computed in `dtype`.
    """

    dtype: str = "auto"
    quantize: str | None = None

    def __post_init__(self) -> None:
        """Refuse what is not known.

        Raises:
            UsageError: with what is.
        """
        if self.dtype not in DTYPES:
            raise UsageError(f"dtype {self.dtype!r} is not known; use {', '.join(DTYPES)}.")
        if self.quantize is not None and self.quantize not in QUANTIZED:
            raise UsageError(f"quantize {self.quantize!r} is not known; use 8bit or 4bit.")

    def refuse_for(self, what: str) -> None:
        """Refuse a precision that was asked of something which has only its own.

        Raises:
            UsageError: one was asked for.
        """
        if self != AS_IT_IS:
            raise UsageError(
                f"{what} comes in one precision; --dtype and --quantize go with a checkpoint: -m"
                " FOLDER, or its id on the hub."
            )

    def resolved(self, device: str, own: str | None) -> str:
        """The type that weights have, or are computed in.

        Args:
            own: the checkpoint's, on a GPU; None where vectors must not differ by device.
        """
        if self.dtype != "auto":
            return self.dtype
        if own is not None and own in BYTES and device != "cpu":
            return own
        return "float32" if self.quantize is None else "bfloat16"

    def said(self, dtype: str) -> str:
        """What a revision has to say of it, after a blank; "" for float32."""
        parts = [dtype] if dtype != "float32" else []
        return "".join(f" {part}" for part in [*parts, *([self.quantize] if self.quantize else [])])

    def least_bytes(self, parameters: int | None, dtype: str) -> int:
        """What so many numbers take at least; 0 where their count is not known."""
        return int((parameters or 0) * (BITS[self.quantize] if self.quantize else BYTES[dtype]))

    def settings(self, name: str, dtype: str) -> Mapping[str, Any]:
        """What transformers' `from_pretrained` takes for it.

        Raises:
            MissingDependency: the extra `quantize` is not installed.
        """
        import torch

        kind = getattr(torch, dtype)
        if self.quantize is None:
            return {"dtype": kind}
        if find_spec("bitsandbytes") is None:
            raise MissingDependency(
                f"{name} is quantised by bitsandbytes. Run: pip install 'polymodal[quantize]'"
            )
        from transformers import BitsAndBytesConfig

        config = (
            BitsAndBytesConfig(load_in_8bit=True)
            if self.quantize == "8bit"
            else BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=kind,
            )
        )
        return {"dtype": kind, "quantization_config": config}


def keep_unpacked(model: Any) -> None:
    """Have layers of 4 bits computed on a CPU whatever their shape.

    bitsandbytes packs them anew for CPUs that compute in bfloat16, by 32 rows and blocks of 64
    columns, and fails on others: the 4,304 of SigLIP So400m, the 3,420 of Qwen2.5-VL. Those are
    computed as on a CPU without it.
    """
    for layer in model.modules():
        if getattr(layer, "support_avx512bf16_for_cpu", False) and (
            layer.out_features % ROWS or layer.in_features % BLOCK
        ):
            layer.support_avx512bf16_for_cpu = False


AS_IT_IS = Precision()
"""What nobody asked to change."""
