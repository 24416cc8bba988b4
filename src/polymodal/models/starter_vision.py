"""The starter's image tower as the vision tower of a transformers model: frozen, in onnxruntime.

Notable: transformers takes the tower for one of its own, so the model around it is an ordinary
`LlavaForConditionalGeneration`: its training, generation, quantising and saving need no second way.
The tower's file lies in the checkpoint's folder and its checksum in config.json; transformers alone
does not know the tower, and says so.

Legend of shapes: P pictures, S side, N places of the grid, V features.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as library
from torch import Tensor, nn
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import make_flat_list_of_images
from transformers.modeling_outputs import BaseModelOutputWithPooling

from polymodal.errors import DamagedWeights
from polymodal.models.starter import open_session, resize_square, run_each

__all__ = [
    "TOWER_FILE",
    "StarterImageProcessor",
    "StarterVision",
    "StarterVisionConfig",
    "attach",
    "grid_of",
    "register",
]

TOWER_FILE = "vision-tower.onnx"
CPU = ["CPUExecutionProvider"]


class StarterVisionConfig(library.PreTrainedConfig):
    """What config.json says of the tower.

    Attributes:
        hidden_size: V.
        image_size: S.
        patch_size: pixels of a place, so that N is (S / patch_size) squared.
        sha256: of the tower's file.
    """

    model_type = "polymodal_starter"
    hidden_size: int = 0
    image_size: int = 0
    patch_size: int = 0
    sha256: str = ""


class StarterVision(library.PreTrainedModel):
    """Gives the features of places, times its only parameter, which is 1 unless it trains."""

    config_class = StarterVisionConfig
    main_input_name = "pixel_values"
    base_model_prefix = "starter"
    _supports_sdpa = _supports_flash_attn = _supports_flex_attn = True  # it attends to nothing
    supports_gradient_checkpointing = True

    def __init__(self, config: StarterVisionConfig) -> None:
        """Without the tower itself; see `hold`."""
        super().__init__(config)
        self.scale = nn.Parameter(torch.ones(1))
        self.content = b""
        self._session: Any = None
        self.post_init()

    def hold(self, content: bytes, source: str) -> None:
        """Take the tower's file.

        Raises:
            DamagedWeights: it is not the one that the configuration names.
        """
        if hashlib.sha256(content).hexdigest() != self.config.sha256:
            raise DamagedWeights(
                f"{source} is not the vision tower that its config.json names: its checksum is"
                " another. Copy the folder again, or train anew."
            )
        self.content = content

    def save_tower(self, folder: Path) -> None:
        """Write the tower's file into a checkpoint's folder."""
        (folder / TOWER_FILE).write_bytes(self.content)

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Pictures (P, 3, S, S), full is 255, to their only hidden state (P, N, V)."""
        pictures = pixel_values.detach().to("cpu", torch.uint8).permute(0, 2, 3, 1).numpy()
        grid = torch.from_numpy(self._run(pictures)).to(self.scale.device, self.scale.dtype)
        grid = grid * self.scale
        return BaseModelOutputWithPooling(last_hidden_state=grid, hidden_states=(grid,))

    def _run(self, pictures: Any) -> Any:
        if self._session is None:
            self._session = open_session(self.content, CPU, 1)
        session = self._session
        return np.concatenate(run_each(lambda each: grid_of(session, each[None]), list(pictures)))

    def __getstate__(self) -> dict[str, Any]:
        """Without what cannot be copied into another process."""
        return {**self.__dict__, "_session": None}

    def _init_weights(self, module: nn.Module) -> None:
        if module is self:
            nn.init.ones_(self.scale)


class StarterImageProcessor(BaseImageProcessor):
    """Pictures to what the tower takes: a square as the starter's card says, uint8."""

    model_input_names = ("pixel_values",)
    resample = 3  # of tiles; Pillow's number for bicubic
    do_rescale = do_normalize = False
    image_mean = image_std = None

    def __init__(
        self,
        size: dict[str, int] | None = None,
        crop: str = "center",
        resize: str = "bicubic",
        **others: Any,
    ) -> None:
        """For a square of `size["height"]` pixels; see `StarterSpec` for the others."""
        super().__init__(**others)
        self.size = dict(size or {"height": 256, "width": 256})
        self.crop, self.resize = crop, resize

    def __call__(self, images: Any, **_: Any) -> Any:
        """uint8 pixel_values (P, 3, S, S)."""
        side = self.size["height"]
        squares = [
            resize_square(each, side, self.crop, self.resize)
            for each in make_flat_list_of_images(images)
        ]
        pixels = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()
        return library.BatchFeature({"pixel_values": pixels})


def grid_of(session: Any, pictures: Any) -> Any:
    """Features of places, float32 (P, N, V), of uint8 pictures (P, S, S, 3)."""
    return session.run(["grid"], {"pixels": np.ascontiguousarray(pictures)})[0]


def register() -> None:
    """Make transformers know the tower, in this process."""
    library.AutoConfig.register(StarterVisionConfig.model_type, StarterVisionConfig, exist_ok=True)
    library.AutoModel.register(StarterVisionConfig, StarterVision, exist_ok=True)
    backends = {"torchvision": StarterImageProcessor, "pil": StarterImageProcessor}
    library.AutoImageProcessor.register(
        StarterVisionConfig, image_processor_classes=backends, exist_ok=True
    )


def attach(modules: Sequence[nn.Module], folder: Path) -> None:
    """Give the towers among a loaded checkpoint's modules their file.

    Raises:
        DamagedWeights: it is missing or another one.
    """
    file = folder / TOWER_FILE
    for tower in (each for each in modules if isinstance(each, StarterVision)):
        if not file.is_file():
            raise DamagedWeights(f"{folder} has no {TOWER_FILE}, which its config.json asks for.")
        tower.hold(file.read_bytes(), str(file))
