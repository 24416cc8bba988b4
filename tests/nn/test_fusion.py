"""Fusion, the plain transformer and the Q-Former's losses: who sees whom, and against torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from polymodal.nn.fusion import BottleneckFusion, EarlyFusion, LateFusion
from polymodal.nn.losses import InfoNCE
from polymodal.nn.qformer import QFormer
from polymodal.nn.qformer_losses import QFormerPretraining
from polymodal.nn.transformer import Block, CausalTransformer


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def test_a_block_is_torchs_encoder_layer():
    theirs = nn.TransformerEncoderLayer(
        12, 3, 48, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    ours = Block(12, 3).double()
    given = theirs.state_dict()
    weights, biases = given["self_attn.in_proj_weight"], given["self_attn.in_proj_bias"]
    state = {}
    for name, weight, bias in zip(
        ("query", "key", "value"), weights.chunk(3), biases.chunk(3), strict=True
    ):
        state |= {f"attention.{name}.weight": weight, f"attention.{name}.bias": bias}
    for new, old in {
        "attention_norm": "norm1",
        "attention.out": "self_attn.out_proj",
        "feed_forward.0": "norm2",
        "feed_forward.1": "linear1",
        "feed_forward.3": "linear2",
    }.items():
        state |= {f"{new}.{kind}": given[f"{old}.{kind}"] for kind in ("weight", "bias")}
    ours.load_state_dict(state)
    x = torch.randn(2, 5, 12).double()
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    plain = theirs(x, src_key_padding_mask=mask == 0)
    torch.testing.assert_close(ours(x, mask)[mask > 0], plain[mask > 0], rtol=0, atol=1e-12)
    causal = nn.Transformer.generate_square_subsequent_mask(5, dtype=torch.float64)
    expected = theirs(x, src_mask=causal, is_causal=True)
    torch.testing.assert_close(ours(x, causal=True), expected, rtol=0, atol=1e-12)


def test_padding_changes_nothing_in_any_fusion():
    token, word = torch.randn(2, 4, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[1, 1, 1, 0, 0]] * 2)
    for fusion in (
        EarlyFusion(8, depth=2, heads=2),
        BottleneckFusion(8, depth=2, heads=2, bottleneck=3),
    ):
        padded = fusion(token, word, mask)
        cut = fusion(token, word[:, :3])
        torch.testing.assert_close(padded[0], cut[0])
        torch.testing.assert_close(padded[1][:, :3], cut[1])


def test_early_fusion_tells_the_modalities_apart():
    fusion = EarlyFusion(8, depth=1, heads=2)
    one, other = torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    token, word = fusion(one, other)
    word_2, token_2 = fusion(other, one)
    assert (token - token_2).abs().max() > 1e-3
    assert (word - word_2).abs().max() > 1e-3


def test_bottleneck_streams_meet_after_the_first_block_only():
    """Block one shares the learned tokens; what the other stream saw comes with block two."""
    for depth, meets in ((1, False), (2, True)):
        fusion = BottleneckFusion(8, depth=depth, heads=2)
        token, word = torch.randn(1, 4, 8), torch.randn(1, 5, 8)
        _, words, shared = fusion(token, word)
        _, words_2, shared_2 = fusion(token + 1, word)
        assert torch.equal(words, words_2) is not meets
        assert not torch.equal(shared, shared_2)


def test_late_fusion_joins_both_and_their_product():
    fusion = LateFusion(3, 4, width=5, out=2)
    image, text = torch.randn(6, 3), torch.randn(6, 4)
    a, b = fusion.image(image), fusion.text(text)
    torch.testing.assert_close(fusion(image, text), fusion.head(torch.cat([a, b, a * b], 1)))
    assert fusion(image, text).shape == (6, 2)


def test_a_causal_transformer_learns_what_comes_next():
    model = CausalTransformer(6, width=16, depth=1, heads=2, positions=8)
    ids = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
    optimiser = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(60):
        optimiser.zero_grad()
        model.loss(ids).backward()
        optimiser.step()
    assert model.generate(ids[:, :2], 4, temperature=0).tolist() == ids.tolist()
    assert model.generate(ids[:, :2], 4, top=1).tolist() == ids.tolist()
    logit = model(ids)
    expected = F.cross_entropy(logit[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(model.loss(ids), expected)
    with pytest.raises(ValueError, match="9 tokens, and the model has 8 positions"):
        model(torch.zeros(1, 9, dtype=torch.long))


def pretraining():
    qformer = QFormer(6, vocabulary=20, width=12, depth=2, heads=2, queries=3, dropout=0.0)
    return QFormerPretraining(qformer, begin=19, width=8)


def pairs(count=4):
    ids = torch.randint(1, 18, (count, 5))
    mask = torch.ones_like(ids)
    mask[0, 3:] = 0
    return torch.randn(count, 7, 6), ids, mask


def test_the_contrast_takes_the_best_query_of_each_text():
    model, (token, ids, mask) = pretraining(), pairs()
    query = F.normalize(model.image_projection(model.qformer.look(token)), dim=-1)
    text = F.normalize(model.text_projection(model.qformer.read(ids, mask)[:, 0]), dim=-1)
    similarity = torch.stack([(query @ each).amax(1) for each in text], 1)
    torch.testing.assert_close(model.similarity(token, ids, mask), similarity)
    logit = similarity * model.logit_scale.exp()
    own = torch.arange(4)
    expected = [F.cross_entropy(part, own, label_smoothing=0.1) for part in (logit, logit.T)]
    torch.testing.assert_close(model(token, ids, mask).itc, sum(expected) / 2)


def test_with_one_query_the_contrast_is_infonce():
    qformer = QFormer(6, vocabulary=20, width=12, depth=2, heads=2, queries=1, dropout=0.0)
    model, (token, ids, mask) = QFormerPretraining(qformer, begin=19, width=8), pairs()
    image = F.normalize(model.image_projection(qformer.look(token)[:, 0]), dim=-1)
    text = F.normalize(model.text_projection(qformer.read(ids, mask)[:, 0]), dim=-1)
    loss = InfoNCE(label_smoothing=0.1)
    torch.testing.assert_close(model(token, ids, mask).itc, loss(image, text))


def test_writing_learns_the_words_and_not_the_padding():
    model, (token, ids, mask) = pretraining(), pairs()
    begun = ids.clone()
    begun[:, 0] = 19
    logit = model.writing(token, begun, mask)
    kept = mask[:, 1:] > 0
    expected = F.cross_entropy(logit[:, :-1][kept], ids[:, 1:][kept])
    torch.testing.assert_close(model(token, ids, mask).lm, expected)
    other = ids.clone()
    other[0, 3:] = 7
    torch.testing.assert_close(model(token, other, mask).lm, model(token, ids, mask).lm)


def test_matching_draws_the_likeliest_strangers(monkeypatch):
    model, (token, ids, mask) = pretraining(), pairs()
    drawn, seen = [], []
    real = model.matching

    def draw(weights, count):
        drawn.append(weights)
        return weights.argmax(1, keepdim=True)

    def match(*batch):
        seen.append(batch)
        return real(*batch)

    monkeypatch.setattr(torch, "multinomial", draw)
    monkeypatch.setattr(model, "matching", match)
    losses = model(token, ids, mask)
    assert all(weights.diagonal().abs().max() == 0 for weights in drawn)  # never the own one
    hardest = (model.similarity(token, ids, mask) - 9 * torch.eye(4)).argmax(1)
    assert torch.equal(seen[0][1][4:8], ids[hardest])
    labels = torch.tensor([1] * 4 + [0] * 8)
    torch.testing.assert_close(losses.itm, F.cross_entropy(real(*seen[0]), labels))


def test_the_three_losses_teach_a_qformer():
    """Four pictures, four texts: what it could not tell apart at first it knows in the end."""
    model, (token, ids, mask) = pretraining(), pairs()
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    first = model(token, ids, mask)
    for _ in range(60):
        optimiser.zero_grad()
        model(token, ids, mask).total.backward()
        optimiser.step()
        model.clamp_()
    last = model(token, ids, mask)
    assert last.lm < first.lm / 4
    assert last.total < first.total / 2
    assert model.similarity(token, ids, mask).argmax(1).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="batch to two or more"):
        model(token[:1], ids[:1], mask[:1])
