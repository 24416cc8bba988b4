"""The contrastive losses against open_clip, torch's cross-entropy and sums written out."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
import torch.nn.functional as F

from polymodal.nn.losses import MAX_LOGIT_SCALE, InfoNCE, SigLIP, sigmoid_bias

from .live_memory import peak_bytes

GROUPS = torch.tensor([0, 1, 2, 0, 4, 1, 0, 7, 8, 9, 4])


def pairs(items=11, width=6, seed=0, dtype=torch.float64):
    random = torch.Generator().manual_seed(seed)
    return [
        F.normalize(
            torch.randn(items, width, generator=random, dtype=dtype), dim=1
        ).requires_grad_()
        for _ in range(2)
    ]


def value_and_gradients(loss, image, text, **options):
    value = loss(image, text, **options)
    wanted = [image, text, *loss.parameters()]
    return [value.detach(), *torch.autograd.grad(value, wanted)]


def assert_same(left, right, tolerance=1e-10):
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def losses(chunk):
    return [
        InfoNCE(chunk=chunk),
        InfoNCE(chunk=chunk, label_smoothing=0.1),
        InfoNCE(chunk=chunk, hardness=0.3),
        InfoNCE(chunk=chunk, label_smoothing=0.1, hardness=0.5),
        SigLIP(11, chunk=chunk),
    ]


def test_infonce_is_open_clips():
    image, text = pairs()
    loss = InfoNCE().double()
    theirs = open_clip.loss.ClipLoss()
    expected = theirs(image, text, loss.logit_scale.exp())
    gradients = torch.autograd.grad(expected, [image, text, loss.logit_scale])
    assert_same(value_and_gradients(loss, image, text), [expected.detach(), *gradients])


def test_siglip_is_open_clips():
    image, text = pairs()
    loss = SigLIP(11).double()
    expected = open_clip.loss.SigLipLoss()(image, text, loss.logit_scale.exp(), loss.logit_bias)
    wanted = [image, text, loss.logit_scale, loss.logit_bias]
    gradients = torch.autograd.grad(expected, wanted)
    assert_same(value_and_gradients(loss, image, text), [expected.detach(), *gradients])


def test_several_positives_and_smoothing_are_cross_entropy_with_soft_targets():
    image, text = pairs()
    loss = InfoNCE(label_smoothing=0.1).double()
    target = (GROUPS[:, None] == GROUPS).double()
    target /= target.sum(1, keepdim=True)
    logits = loss.logit_scale.exp() * image @ text.T
    expected = (
        F.cross_entropy(logits, target, label_smoothing=0.1)
        + F.cross_entropy(logits.T, target, label_smoothing=0.1)
    ) / 2
    torch.testing.assert_close(loss(image, text, group_N=GROUPS), expected, rtol=0, atol=1e-12)


def test_hard_negatives_weigh_as_written_in_the_paper():
    image, text = pairs(items=5)
    groups, beta = torch.tensor([0, 1, 0, 3, 4]), 0.7
    loss = InfoNCE(hardness=beta).double()
    logits = (loss.logit_scale.exp() * image @ text.T).tolist()

    def row(values, own):
        positive = [v for v, g in zip(values, groups, strict=True) if g == own]
        negative = [v for v, g in zip(values, groups, strict=True) if g != own]
        total = sum(math.exp(beta * v) for v in negative)
        weights = [len(negative) * math.exp(beta * v) / total for v in negative]
        bottom = sum(math.exp(v) for v in positive)
        bottom += sum(w * math.exp(v) for w, v in zip(weights, negative, strict=True))
        return sum(math.log(bottom) - v for v in positive) / len(positive)

    rows = [row(values, own) for values, own in zip(logits, groups, strict=True)]
    columns = [
        row(values, own) for values, own in zip(zip(*logits, strict=True), groups, strict=True)
    ]
    expected = (sum(rows) + sum(columns)) / 10
    assert loss(image, text, group_N=groups).item() == pytest.approx(expected, abs=1e-12)


def test_a_row_without_negatives_has_no_hard_ones():
    image, text = pairs(items=3)
    same = torch.zeros(3, dtype=torch.long)
    hard = value_and_gradients(InfoNCE(hardness=0.5).double(), image, text, group_N=same)
    plain = value_and_gradients(InfoNCE().double(), image, text, group_N=same)
    assert_same(hard, plain)


@pytest.mark.parametrize("groups", [None, GROUPS])
@pytest.mark.parametrize("chunk", [1, 4, 11, 100])
def test_chunks_change_neither_value_nor_gradient(chunk, groups):
    image, text = pairs()
    for plain, chunked in zip(losses(None), losses(chunk), strict=True):
        assert_same(
            value_and_gradients(plain.double(), image, text, group_N=groups),
            value_and_gradients(chunked.double(), image, text, group_N=groups),
        )


@pytest.mark.parametrize("groups", [None, GROUPS[:10]])
@pytest.mark.parametrize("chunk", [None, 2])
def test_the_mean_over_ranks_is_the_whole_batch(chunk, groups):
    """Each rank has its own rows and everyone's features; its gradients are averaged."""
    image, text = pairs(items=10)
    for loss in (each.double() for each in losses(chunk)):
        whole = value_and_gradients(loss, image, text, group_N=groups)
        ranks = [
            loss(
                image[start : start + 5],
                text[start : start + 5],
                all_image_ND=image,
                all_text_ND=text,
                offset=start,
                group_N=groups,
            )
            for start in (0, 5)
        ]
        mean = (ranks[0] + ranks[1]) / 2
        split = torch.autograd.grad(mean, [image, text, *loss.parameters()])
        assert_same(whole, [mean.detach(), *split])


@pytest.mark.parametrize("kind", [InfoNCE, lambda chunk: SigLIP(1024, chunk=chunk)])
def test_chunks_take_a_fraction_of_the_memory(kind):
    image, text = pairs(items=1024, width=16, dtype=torch.float32)
    peaks = [
        peak_bytes(lambda chunk=chunk: kind(chunk=chunk)(image, text).backward())
        for chunk in (None, 64)
    ]
    assert peaks[0] > 1024 * 1024 * 4
    assert peaks[1] < peaks[0] / 5


def test_half_precision_features_are_summed_in_float32():
    image, text = pairs(items=64, width=32, dtype=torch.float32)
    exact = InfoNCE()(image, text)
    half = InfoNCE()(image.bfloat16(), text.bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(exact.item(), rel=0.01)


def test_the_scale_starts_at_one_over_007_and_stays_under_100():
    loss = InfoNCE()
    assert loss.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    for wild, kept in ((9.0, MAX_LOGIT_SCALE), (-1.0, 0.0), (2.0, 2.0)):
        torch.nn.init.constant_(loss.logit_scale, wild)
        loss.clamp_()
        assert loss.logit_scale.item() == pytest.approx(kept)


def test_the_bias_starts_at_the_share_of_pairs_in_a_batch():
    assert torch.tensor(sigmoid_bias(64)).sigmoid().item() == pytest.approx(1 / 64)
    assert sigmoid_bias(32_768) == pytest.approx(-10, abs=0.5)  # the paper's


def test_what_cannot_be_compared_is_refused():
    image, text = pairs(items=4)
    with pytest.raises(ValueError, match=r"one item: raise the batch size"):
        InfoNCE()(image[:1], text[:1])
    with pytest.raises(ValueError, match="batch of two or more"):
        SigLIP(1)
    with pytest.raises(ValueError, match="come in pairs"):
        InfoNCE()(image, text[:3])
    with pytest.raises(ValueError, match="do not lie within"):
        InfoNCE()(image, text, offset=1)
    with pytest.raises(ValueError, match="group_N has shape"):
        InfoNCE()(image, text, group_N=torch.zeros(3))
    with pytest.raises(ValueError, match="at least one row"):
        InfoNCE(chunk=0)
    with pytest.raises(ValueError, match="share under 1"):
        InfoNCE(label_smoothing=1.0)
    with pytest.raises(ValueError, match="not negative"):
        InfoNCE(hardness=-1)
    with pytest.raises(ValueError, match="must be positive"):
        SigLIP(4, scale=0)
