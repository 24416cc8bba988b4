"""The step's gradients are those of the whole batch, however it is split."""

import pytest
import torch
from torch import nn

from polymodal.nn.dual_encoder import DualEncoder
from polymodal.nn.losses import InfoNCE
from polymodal.training.contrastive import contrastive_step
from tests.training.running import on_ranks


@pytest.mark.parametrize("world", [1, 2, 4])
def test_gradients_are_those_of_the_full_batch_on_any_number_of_ranks(world, tmp_path):
    on_ranks("tests.training.exact_gradients", world, tmp_path / "rendezvous")


def with_dropout():
    torch.manual_seed(0)
    towers = [nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 8)) for _ in "ab"]
    return DualEncoder(*towers, image_width=8, text_width=8).double()


def test_dropout_falls_alike_in_both_passes_of_a_chunk():
    images, texts = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    cached, plain = with_dropout(), with_dropout()
    loss = InfoNCE().double()
    torch.manual_seed(5)
    contrastive_step(cached, loss, images, texts, group_B=torch.arange(6), chunks=3)
    after = torch.rand(1)
    torch.manual_seed(5)
    parts = [plain(images[at : at + 2], texts[at : at + 2]) for at in (0, 2, 4)]
    again = InfoNCE().double()
    again(*(torch.cat(side) for side in zip(*parts, strict=True))).backward()
    assert torch.equal(after, torch.rand(1))
    for one, other in zip(cached.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-12, atol=1e-14)


def test_a_batch_of_one_says_why_it_teaches_nothing():
    batch = torch.randn(1, 4).double()
    with pytest.raises(ValueError, match="raise the batch size to two or more"):
        contrastive_step(with_dropout(), InfoNCE().double(), batch, batch, group_B=torch.arange(1))


def test_more_chunks_than_items_is_refused():
    batch = torch.randn(3, 4).double()
    with pytest.raises(ValueError, match="3 items cannot be split into 4 chunks"):
        contrastive_step(
            with_dropout(), InfoNCE().double(), batch, batch, group_B=torch.arange(3), chunks=4
        )
