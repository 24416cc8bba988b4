"""The export keeps what torch computes: tiny random towers, no downloads, no shipped weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs torch")
pytest.importorskip("onnx", reason="exporting needs onnx")
pytest.importorskip("safetensors", reason="the towers read safetensors")
ort = pytest.importorskip("onnxruntime", reason="the starter runs on onnxruntime")

from recipes.starter import backbones, export, pack, towers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's tracer warns at length


def tiny_network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 8, 8),
        torch.nn.ReLU6(),
        torch.nn.Conv2d(32, backbones.FEATURES, 1),
        torch.nn.ReLU6(),
    )


class Pixels(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = tiny_network()

    def forward(self, pixels):
        return self.network((pixels.permute(0, 3, 1, 2).float() - 127) / 128)


def tiny_towers():
    torch.manual_seed(0)
    heads = [towers.Head(2 * backbones.FEATURES, 64, 64, 0.0) for _ in range(2)]
    basis = torch.linalg.qr(torch.randn(backbones.CLASSES, 16))[0]
    image = towers.ImageTower(
        [Pixels(), Pixels()],
        towers.Heads(heads),
        torch.nn.Linear(backbones.FEATURES, backbones.CLASSES),
        0,
        basis,
        0.5,
    )
    encoder = towers.Encoder(vocabulary=100, positions=32, layers=2)
    class_head = towers.ClassHead(
        towers.Head(towers.WIDTH, 64, backbones.CLASSES, 0.0),
        torch.nn.Linear(towers.WIDTH, 1),
        basis,
    )
    text_heads = [towers.Head(towers.WIDTH, 64, 64, 0.0) for _ in range(2)]
    text = towers.TextTower(encoder, towers.Heads(text_heads), class_head, 0.3, 2.0)
    return image.eval(), text.eval()


def test_packed_image_tower_matches_torch(tmp_path):
    image, _ = tiny_towers()
    export.image_tower(image, 32, tmp_path / "image.onnx")
    pixels = torch.randint(0, 256, (5, 32, 32, 3), dtype=torch.uint8)
    assert export.check(image, tmp_path / "image.onnx", {"pixels": pixels}) > 0.99


def test_packed_text_tower_matches_torch_at_other_lengths_than_traced(tmp_path):
    _, text = tiny_towers()
    export.text_tower(text, tmp_path / "text.onnx")
    ids = torch.randint(0, 100, (7, 11))
    mask = torch.ones_like(ids)
    mask[3, 4:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    assert export.check(text, tmp_path / "text.onnx", inputs) > 0.99


def test_an_export_that_moved_the_embeddings_is_refused(tmp_path):
    _, text = tiny_towers()
    export.text_tower(text, tmp_path / "text.onnx")
    torch.manual_seed(1)
    for parameter in text.heads.parameters():
        torch.nn.init.normal_(parameter)
    ids = torch.randint(0, 100, (7, 11))
    with pytest.raises(ValueError, match="moved embeddings"):
        export.check(
            text, tmp_path / "text.onnx", {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        )


def test_packed_weights_are_close_to_the_originals():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(48, 128)).astype(np.float32)
    values, scale = pack.int8(weight, 0)
    assert np.abs(values * scale - weight).max() < 0.02
    packed, scales = pack.int4(weight)
    assert packed.nbytes == weight.size // 2
    low, high = packed % 16, packed // 16
    back = (np.concatenate([low, high], 2).astype(np.float32) - 8) * scales.astype(np.float32)
    error = np.sqrt(np.mean((back.reshape(weight.shape) - weight) ** 2))
    assert error < 0.12  # of a standard deviation of one; the largest may be clipped


def test_padding_does_not_reach_the_pooled_text():
    torch.manual_seed(0)
    encoder = towers.Encoder(vocabulary=100, positions=32, layers=2).eval()
    ids = torch.randint(1, 100, (1, 6))
    longer = torch.cat([ids, torch.full((1, 5), 7)], 1)
    mask = torch.tensor([[1] * 6 + [0] * 5])
    with torch.no_grad():
        assert torch.allclose(encoder(ids, torch.ones_like(ids)), encoder(longer, mask), atol=1e-5)
