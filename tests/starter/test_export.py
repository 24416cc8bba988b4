"""The export keeps what torch computes: tiny random towers, no downloads, no shipped weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="exporting needs torch")
onnx = pytest.importorskip("onnx", reason="exporting needs onnx")
pytest.importorskip("safetensors", reason="the towers read safetensors")
ort = pytest.importorskip("onnxruntime", reason="the starter runs on onnxruntime")

from recipes.starter import backbones, export, pack, towers  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's tracer warns at length


SIDE = 32


def tiny_backbone() -> backbones.Backbone:
    """A stem, two blocks (one that halves the grid, one with a skip), and the last convolution."""
    settings = [(16, 2, None), (16, 1, 48)]
    blocks = []
    for width, stride, expanded in settings:
        block = backbones.Block.__new__(backbones.Block)
        torch.nn.Module.__init__(block)
        block.expand = backbones.SameConv(width, expanded, 1) if expanded else None
        inside = expanded or width
        block.depthwise = backbones.SameConv(inside, inside, 3, stride, groups=inside)
        block.project = backbones.SameConv(inside, 16, 1)
        block.skip = stride == 1
        blocks.append(block)
    stem, last = backbones.SameConv(3, 16, 3, 2), backbones.SameConv(16, backbones.FEATURES, 1)
    return backbones.Backbone(stem, blocks, last)


def tiny_towers():
    torch.manual_seed(0)
    networks = [tiny_backbone(), tiny_backbone()]
    width = sum(network.width for network in networks)
    heads = [towers.Head(width, 64, 64, 0.0) for _ in range(2)]
    basis = torch.linalg.qr(torch.randn(backbones.CLASSES, 16))[0]
    image = towers.ImageTower(
        networks,
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
    pixels = torch.randint(0, 256, (32, SIDE, SIDE, 3), dtype=torch.uint8)
    export.image_tower(image, pixels.numpy(), tmp_path / "image.onnx")
    assert export.check(image, tmp_path / "image.onnx", {"pixels": pixels[:5]}, 0.9) > 0.98


def test_the_image_tower_takes_photographs_of_another_size(tmp_path):
    image, _ = tiny_towers()
    pixels = torch.randint(0, 256, (32, SIDE, SIDE, 3), dtype=torch.uint8)
    export.image_tower(image, pixels.numpy(), tmp_path / "image.onnx")
    model = onnx.load(str(tmp_path / "image.onnx"))
    sizes = [dim.dim_param for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert sizes == ["batch", "height", "width", ""]
    assert not model.graph.value_info
    larger = torch.randint(0, 256, (5, 2 * SIDE, 2 * SIDE, 3), dtype=torch.uint8)
    assert export.check(image, tmp_path / "image.onnx", {"pixels": larger}, 0.9) > 0.98


def test_a_picture_is_the_same_alone_and_in_a_batch(tmp_path):
    image, _ = tiny_towers()
    pixels = torch.randint(0, 256, (16, SIDE, SIDE, 3), dtype=torch.uint8).numpy()
    export.image_tower(image, pixels, tmp_path / "image.onnx")
    run = export.session(tmp_path / "image.onnx").run
    together = run(["grid"], {"pixels": pixels})[0]
    for row in range(4):
        np.testing.assert_array_equal(
            run(["grid"], {"pixels": pixels[row : row + 1]})[0][0], together[row]
        )


def test_the_backbone_runs_in_integers_with_its_padding_inside(tmp_path):
    image, _ = tiny_towers()
    pixels = torch.randint(0, 256, (16, SIDE, SIDE, 3), dtype=torch.uint8).numpy()
    export.image_tower(image, pixels, tmp_path / "image.onnx")
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(str(tmp_path / "image.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = [node.op_type for node in onnx.load(str(tmp_path / "optimised.onnx")).graph.node]
    assert kinds.count("QLinearConv") == 14  # two networks of 7 convolutions
    assert not {"Conv", "Pad", "QuantizeLinear"} & set(kinds)


def test_packed_text_tower_matches_torch_at_other_lengths_than_traced(tmp_path):
    _, text = tiny_towers()
    export.text_tower(text, tmp_path / "text.onnx")
    ids = torch.randint(0, 100, (7, 11))
    mask = torch.ones_like(ids)
    mask[3, 4:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    assert export.check(text, tmp_path / "text.onnx", inputs, 0.99) > 0.99


def test_an_export_that_moved_the_embeddings_is_refused(tmp_path):
    _, text = tiny_towers()
    export.text_tower(text, tmp_path / "text.onnx")
    torch.manual_seed(1)
    for parameter in text.heads.parameters():
        torch.nn.init.normal_(parameter)
    ids = torch.randint(0, 100, (7, 11))
    with pytest.raises(ValueError, match="moved embeddings"):
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        export.check(text, tmp_path / "text.onnx", inputs, 0.99)


def test_packed_weights_are_close_to_the_originals():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(48, 128)).astype(np.float32)
    values, scale = pack.int8(weight, 0)
    assert np.abs(values * scale - weight).max() < 0.02
    packed, scales = pack.blocks(weight, 4)
    assert packed.nbytes == weight.size // 2
    both = np.stack([packed % 16, packed // 16], -1).reshape(48, 2, pack.BLOCK)
    back = (both.astype(np.float32) - 8) * scales[..., None]
    error = np.sqrt(np.mean((back.reshape(weight.shape) - weight) ** 2))
    assert error < 0.12  # of a standard deviation of one; the largest may be clipped


@pytest.mark.parametrize("inputs", [128, 100])
@pytest.mark.parametrize(("prefix", "error"), [("heads.0.", 0.2), ("encoder.", 0.02)])
def test_a_packed_product_is_the_product(tmp_path, inputs, prefix, error):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(96, inputs)), rng.normal(size=96)
    x = rng.normal(size=(5, inputs)).astype(np.float32)
    node = onnx.helper.make_node("Gemm", ["x", f"{prefix}w", "b"], ["y"], transB=1)
    tensors = [
        onnx.numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in ((f"{prefix}w", weight), ("b", bias))
    ]
    values = [
        onnx.helper.make_tensor_value_info(name, 1, ["n", size])
        for name, size in (("x", inputs), ("y", 96))
    ]
    graph = onnx.helper.make_graph([node], "g", values[:1], values[1:], tensors)
    opset = [onnx.helper.make_opsetid("", export.OPSET)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset), tmp_path / "plain.onnx")
    pack.small(tmp_path / "plain.onnx", tmp_path / "packed.onnx")
    got = export.session(tmp_path / "packed.onnx").run(None, {"x": x})[0]
    wanted = x @ weight.T + bias
    assert np.sqrt(np.mean((got - wanted) ** 2)) < error * wanted.std()


def test_padding_does_not_reach_the_pooled_text():
    torch.manual_seed(0)
    encoder = towers.Encoder(vocabulary=100, positions=32, layers=2).eval()
    ids = torch.randint(1, 100, (1, 6))
    longer = torch.cat([ids, torch.full((1, 5), 7)], 1)
    mask = torch.tensor([[1] * 6 + [0] * 5])
    with torch.no_grad():
        assert torch.allclose(encoder(ids, torch.ones_like(ids)), encoder(longer, mask), atol=1e-5)
