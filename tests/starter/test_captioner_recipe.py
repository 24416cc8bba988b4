"""The captioner's recipe on a tiny decoder: batches, steps, sampling, export to ONNX."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("onnx", reason="exporting needs the extra `train`")

from recipes.starter import (  # noqa: E402
    captioncritic,
    captionexport,
    captiongrids,
    captionnet,
    captiontrain,
    captionwords,
    export,
    pack,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's tracer warns at length

CAPTION, QUESTION, ANSWER, EOS = (
    captionwords.CAPTION,
    captionwords.QUESTION,
    captionwords.ANSWER,
    captionwords.EOS,
)


@pytest.fixture
def network() -> captionnet.Captioner:
    torch.manual_seed(0)
    shape = captionnet.Shape(words=40, width=64, heads=2, layers=2, inner=96, dropout=0.1)
    return captionnet.Captioner(shape).eval()


@pytest.fixture
def grids():
    torch.manual_seed(1)
    return torch.randn(3, captiongrids.PLACES, captiongrids.DIRECTIONS)


ROWS = [
    [([CAPTION], [10, 11, 12, EOS]), ([QUESTION, 13, 14, ANSWER], [15, EOS])],
    [([CAPTION], [16, EOS])],
    [([CAPTION], [17, 18, EOS]), ([CAPTION], [19, EOS]), ([CAPTION], [EOS])],
]


def test_targets_are_the_words_after_the_prompt():
    part = captiontrain.batch(ROWS)
    on = part.targets >= 0
    wanted = [token for row in ROWS for _, target in row for token in target]
    assert part.targets[on].tolist() == wanted
    read = part.ids.reshape(-1)[part.real][on].tolist()
    assert read[:4] == [CAPTION, 10, 11, 12]
    assert read[4:6] == [ANSWER, 15]


@torch.no_grad()
def test_padding_and_neighbours_change_nothing(network, grids):
    part = captiontrain.batch(ROWS)
    together = network(network.look(grids), part.ids, part.real)
    start = 0
    for grid, row in zip(grids, ROWS, strict=True):
        for pair in row:
            alone = captiontrain.batch([[pair]])
            logits = network(network.look(grid[None]), alone.ids, alone.real)
            torch.testing.assert_close(together[start : start + len(logits)], logits)
            start += len(logits)
    assert start == len(together)


@torch.no_grad()
def test_steps_with_a_memory_give_what_one_pass_gives(network, grids):
    ids = torch.randint(9, 40, (3, 2, 6))
    sight = network.look(grids)
    whole = network(sight, ids, torch.arange(ids.numel())).log_softmax(-1).view(3, 2, 6, -1)
    past, start = network.empty_past(3, 2), 0
    for count in (2, 1, 3):
        logprobs, past = network.step(ids[:, :, start : start + count], sight, past)
        torch.testing.assert_close(logprobs, whole[:, :, start : start + count])
        start += count


def test_the_packed_files_do_what_torch_does(network, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "basis.npz",
        mean=rng.normal(size=captiongrids.WIDTH).astype(np.float32),
        directions=rng.normal(size=(captiongrids.WIDTH, captiongrids.DIRECTIONS)).astype(np.float32)
        / 40,
    )
    reduced = torch.randn(2, captiongrids.PLACES, captiongrids.DIRECTIONS)
    mean, directions = map(torch.from_numpy, captiongrids.projection(tmp_path))
    whole = reduced @ torch.linalg.pinv(directions) + mean  # a grid with these coordinates
    with torch.no_grad():
        wanted = network.look(reduced)
    captionexport.write(network, tmp_path, tmp_path)
    got = export.session(tmp_path / "look.onnx").run(["sight"], {"grid": whole.numpy()})[0]
    # int8 weights move it a little, folding the directions not at all.
    assert np.abs(got - wanted.numpy()).mean() < 0.02 * np.abs(wanted.numpy()).mean() + 0.01


def test_every_matrix_is_stored_once_as_int8(network, tmp_path):
    import onnx

    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "basis.npz",
        mean=np.zeros(captiongrids.WIDTH, np.float32),
        directions=rng.normal(size=(captiongrids.WIDTH, captiongrids.DIRECTIONS)).astype(
            np.float32
        ),
    )
    captionexport.write(network, tmp_path, tmp_path)
    numbers = sum(p.numel() for p in network.parameters() if p.ndim == 2)
    stored = 0
    for name in ("look.onnx", "step.onnx"):
        for tensor in onnx.load(str(tmp_path / name)).graph.initializer:
            if np.prod(tensor.dims) >= pack.SMALLEST:
                assert tensor.data_type == onnx.TensorProto.INT8, tensor.name
                stored += int(np.prod(tensor.dims))
    assert stored <= numbers


def test_samples_stop_at_the_end_mark_and_say_words_only(network, grids):
    drawn = captioncritic.sample(network, grids, 4, torch.Generator().manual_seed(0))
    assert [len(each) for each in drawn] == [4, 4, 4]
    for text in (text for each in drawn for text in each):
        assert len(text) <= captiontrain.MOST_WORDS
        assert all(token >= len(captionwords.SPECIAL) for token in text)


def test_a_sample_is_measured_against_the_others_of_its_photograph():
    rewards = np.array([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]], np.float32)
    gains = captioncritic.advantages(rewards)
    np.testing.assert_allclose(gains[0], [1 - 4.0, 2 - 3.5, 6 - 1.5])
    np.testing.assert_allclose(gains[1], 0)
