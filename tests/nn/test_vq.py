"""The image tokenizer: nearest codes, running means, restarts, and codes that can be learned."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from polymodal.nn.transformer import CausalTransformer
from polymodal.nn.vq import VectorQuantizer, VQTokenizer


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_a_vector_becomes_its_nearest_code():
    quantizer = VectorQuantizer(16, 3).eval()
    vectors = torch.randn(50, 3)
    expected = torch.cdist(vectors, quantizer.code_KD).argmin(1)
    code, ids, commitment = quantizer(vectors)
    assert torch.equal(ids, expected)
    torch.testing.assert_close(code, quantizer.code_KD[expected])
    torch.testing.assert_close(commitment, F.mse_loss(vectors, quantizer.code_KD[expected]))


def test_gradients_pass_straight_through():
    quantizer = VectorQuantizer(16, 3).eval()
    vectors = torch.randn(5, 3, requires_grad=True)
    (quantizer(vectors).code_ND * torch.arange(15.0).view(5, 3)).sum().backward()
    assert torch.equal(vectors.grad, torch.arange(15.0).view(5, 3))


def test_codes_are_the_running_means_of_what_chose_them():
    """The recursion of the paper's appendix, written out for one code after the other."""
    quantizer = VectorQuantizer(4, 2, decay=0.9, restart_below=0.0)
    counts, sums = [1.0] * 4, [code.clone() for code in quantizer.code_KD]
    for _ in range(3):
        vectors = torch.randn(30, 2)
        chosen = quantizer.nearest(vectors)
        quantizer(vectors)
        for k in range(4):
            own = vectors[chosen == k]
            counts[k] = 0.9 * counts[k] + 0.1 * len(own)
            sums[k] = 0.9 * sums[k] + 0.1 * own.sum(0)
            torch.testing.assert_close(quantizer.code_KD[k], sums[k] / counts[k])


def test_codes_that_nothing_chooses_restart_in_the_batch():
    quantizer = VectorQuantizer(8, 2, decay=0.5, restart_below=0.1)
    with torch.no_grad():
        quantizer.code_KD[1:] += 1000
        quantizer.sum_KD[1:] += 1000
    vectors = torch.randn(200, 2)
    assert quantizer(vectors).ids_N.unique().tolist() == [0]
    for _ in range(30):
        quantizer(vectors)
    quantizer.eval()
    assert len(quantizer(vectors).ids_N.unique()) == 8
    assert quantizer.code_KD.abs().max() < 10


def test_what_is_evaluated_moves_no_code():
    quantizer = VectorQuantizer(8, 2).eval()
    before = quantizer.code_KD.clone()
    quantizer(torch.randn(50, 2))
    assert torch.equal(quantizer.code_KD, before)


def stripes(count):
    """Pictures of 8 x 8 px, half of one colour and half of another."""
    colours = torch.rand(4, 3)
    left, right = torch.randint(0, 4, (2, count))
    picture = torch.empty(count, 3, 8, 8)
    picture[..., :4] = colours[left][:, :, None, None]
    picture[..., 4:] = colours[right][:, :, None, None]
    return picture


def test_pictures_survive_their_codes_and_a_small_model_learns_the_codes():
    tokenizer = VQTokenizer(codes=16, width=8, halvings=2, hidden=16)
    pictures = stripes(64)
    optimiser = torch.optim.Adam(tokenizer.parameters(), 1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        tokenizer(pictures)[1].backward()
        optimiser.step()
    tokenizer.eval()
    codes = tokenizer.encode(pictures)
    assert codes.shape == (64, 2, 2)
    rebuilt = tokenizer.decode(codes)
    assert F.mse_loss(rebuilt, pictures) < pictures.var() / 5
    torch.testing.assert_close(rebuilt, tokenizer(pictures)[0])

    model = CausalTransformer(17, width=16, depth=1, heads=2, positions=5)  # 16 codes and a start
    ids = F.pad(codes.flatten(1), (1, 0), value=16)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    first = model.loss(ids).item()
    for _ in range(80):
        optimiser.zero_grad()
        model.loss(ids).backward()
        optimiser.step()
    assert model.loss(ids).item() < first / 2
    drawn = model.generate(torch.full((8, 1), 16), 4, temperature=0.5)[:, 1:]
    assert set(drawn.flatten().tolist()) <= set(codes.flatten().tolist())
    assert tokenizer.decode(drawn.view(8, 2, 2)).shape == (8, 3, 8, 8)


def test_sides_that_are_no_multiple_are_refused():
    with pytest.raises(ValueError, match="a code stands for 4 px"):
        VQTokenizer(hidden=8).encode(torch.rand(1, 3, 8, 10))
    with pytest.raises(ValueError, match="two codes or more"):
        VectorQuantizer(1, 4)
