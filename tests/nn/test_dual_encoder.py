"""The dual encoder against transformers' own CLIP and vectors pooled by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import transformers as hf

from polymodal.nn.dual_encoder import DualEncoder, Pooled, pool
from polymodal.nn.losses import InfoNCE


def small_clip():
    torch.manual_seed(0)
    config = hf.CLIPConfig(
        text_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "vocab_size": 50,
            "eos_token_id": 49,
        },
        vision_config={
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 8,
            "patch_size": 4,
        },
        projection_dim=12,
    )
    return hf.CLIPModel(config).eval()


def batch(items=5):
    ids = torch.randint(1, 48, (items, 7))
    ids[:, -1] = 49
    return torch.randn(items, 3, 8, 8), {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def test_clips_towers_give_clips_loss():
    clip = small_clip()
    pixels, words = batch()
    encoder = DualEncoder(
        Pooled(clip.vision_model, "model"),
        Pooled(clip.text_model, "model"),
        image_width=24,
        text_width=16,
        width=12,
    )
    encoder.image_projection.load_state_dict(clip.visual_projection.state_dict())
    encoder.text_projection.load_state_dict(clip.text_projection.state_dict())
    theirs = clip(pixel_values=pixels, **words, return_loss=True)
    image, text = encoder(pixels, words)
    torch.testing.assert_close(image, theirs.image_embeds)
    torch.testing.assert_close(text, theirs.text_embeds)
    loss = InfoNCE(scale=clip.logit_scale.exp().item())
    torch.testing.assert_close(loss(image, text), theirs.loss)


def test_any_encoder_of_transformers_and_frozen_vectors_meet():
    bert = hf.BertModel(
        hf.BertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            vocab_size=50,
        )
    )
    encoder = DualEncoder(torch.nn.Identity(), Pooled(bert), image_width=20, text_width=16, width=8)
    _, words = batch()
    image, text = encoder(torch.randn(5, 20), words)
    assert image.shape == text.shape == (5, 8)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(5))
    InfoNCE()(image, text).backward()
    assert all(weight.grad is not None for weight in encoder.image_projection.parameters())


@pytest.mark.parametrize("left", [False, True])
def test_pooling_heeds_the_mask_on_either_side(left):
    token = torch.randn(2, 4, 3)
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    start, end = 0, 2
    if left:
        mask, start, end = mask.flip(1), 1, 3
    torch.testing.assert_close(pool(token, "first", mask)[0], token[0, start])
    torch.testing.assert_close(pool(token, "last", mask)[0], token[0, end])
    torch.testing.assert_close(pool(token, "mean", mask)[0], token[0, start : end + 1].mean(0))
    torch.testing.assert_close(pool(token, "mean")[1], pool(token, "mean", mask)[1])


def test_a_convolutional_tower_pools_itself():
    resnet = hf.ResNetModel(
        hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    ).eval()
    pixels = torch.randn(2, 3, 32, 32)
    expected = resnet(pixels).pooler_output.flatten(1)
    torch.testing.assert_close(Pooled(resnet, "model")(pixels), expected)
    vectors = DualEncoder(
        Pooled(resnet, "model"), torch.nn.Identity(), image_width=16, text_width=16
    )
    torch.testing.assert_close(vectors.encode_image(pixels), F.normalize(expected))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="set `width`"):
        DualEncoder(torch.nn.Identity(), torch.nn.Identity(), image_width=3, text_width=4)
    gpt = hf.GPT2Model(hf.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50))
    with pytest.raises(ValueError, match="no pooled vector of its own"):
        Pooled(gpt, "model")(input_ids=torch.ones(1, 2, dtype=torch.long))
