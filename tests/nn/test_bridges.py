"""Projectors, resampler, gated attention and Q-Former against transformers, weights copied."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel
from transformers.models.idefics.configuration_idefics import IdeficsConfig
from transformers.models.idefics.modeling_idefics import IdeficsGatedCrossAttentionLayer
from transformers.models.idefics.perceiver import IdeficsPerceiverResampler
from transformers.models.idefics3.modeling_idefics3 import Idefics3Connector
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from polymodal.nn.attention import Attention
from polymodal.nn.gated import GatedCrossAttention, looks_at_latest
from polymodal.nn.projectors import (
    LinearProjector,
    MLPProjector,
    PixelShuffleProjector,
    pixel_shuffle,
)
from polymodal.nn.qformer import QFormer
from polymodal.nn.resampler import PerceiverResampler


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def scatter(module):
    """Weights that differ from those every module starts with."""
    with torch.no_grad():
        for each in module.parameters():
            each.copy_(torch.randn(each.shape) * 0.3)
    return module.double().eval()


def same(left, right):
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


def test_the_mlp_projector_is_llavas():
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(hidden_size=12),
        text_config=hf.LlamaConfig(hidden_size=20, num_attention_heads=2),
    )
    theirs = scatter(LlavaMultiModalProjector(config))
    ours = MLPProjector(12, 20).double()
    ours.load_state_dict(theirs.state_dict())
    tokens = torch.randn(2, 9, 12, dtype=torch.float64)
    same(ours(tokens), theirs(tokens))


def test_the_linear_projector_is_one_map():
    ours = LinearProjector(6, 8).double()
    tokens = torch.randn(2, 9, 6, dtype=torch.float64)
    same(ours(tokens), tokens @ ours.weight.T + ours.bias)


def test_pixel_shuffle_is_idefics3s():
    config = hf.Idefics3Config(
        vision_config={"hidden_size": 6},
        text_config={"hidden_size": 16, "num_attention_heads": 2},
        scale_factor=3,
    )
    theirs = scatter(Idefics3Connector(config))
    ours = PixelShuffleProjector(6, 16, factor=3).double()
    ours.load_state_dict({"proj.weight": theirs.modality_projection.proj.weight})
    tokens = torch.randn(2, 36, 6, dtype=torch.float64)
    same(pixel_shuffle(tokens, 3), theirs.pixel_shuffle(tokens, 3))
    same(ours(tokens), theirs(tokens))
    with pytest.raises(ValueError, match="leave out the class token"):
        pixel_shuffle(torch.randn(1, 37, 6), 3)
    with pytest.raises(ValueError, match="multiple of 4"):
        pixel_shuffle(torch.randn(1, 36, 6), 4)


def idefics(**options):
    return IdeficsConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=64,
        vision_config={"embed_dim": 24},
        perceiver_config={"qk_layer_norms_perceiver": False},
        **options,
    )


def test_the_resampler_is_idefics():
    theirs = scatter(
        IdeficsPerceiverResampler(idefics(), 24, depth=2, n_heads=3, head_dim=5, n_latents=7)
    )
    ours = PerceiverResampler(24, heads=3, depth=2, latents=7, head_width=5).double()
    state = {"latents": theirs.latents}
    for name, value in theirs.state_dict().items():
        ours_name = name.replace("layer_norm.", "norm.") if name.startswith("layer_") else name
        for old, new in {
            "0.context_layer_norm": "token_norm",
            "0.latents_layer_norm": "latent_norm",
            "0.q_proj": "attention.query",
            "0.k_proj": "attention.key",
            "0.v_proj": "attention.value",
            "0.output_proj": "attention.out",
            "1.ln": "feed_forward.0",
            "1.fc": "feed_forward.1",
            "1.c_proj": "feed_forward.3",
        }.items():
            ours_name = ours_name.replace(f".{old}.", f".{new}.")
        state[ours_name] = value
    ours.load_state_dict(state)
    tokens = torch.randn(3, 10, 24, dtype=torch.float64)
    same(ours(tokens), theirs(tokens))
    mask = torch.ones(3, 10, dtype=torch.bool)
    same(ours(tokens, mask), theirs(tokens))
    mask[:, 6:] = False
    same(ours(tokens, mask), theirs(tokens[:, :6]))


def test_gated_attention_is_idefics():
    config = idefics(hidden_act="gelu", attn_implementation="sdpa")  # eager sums in float32
    theirs = IdeficsGatedCrossAttentionLayer(config, layer_idx=0)
    # Idefics has RMS norms and a gated feed-forward: Flamingo's are put in their place.
    theirs.input_layernorm = torch.nn.LayerNorm(16)
    theirs.post_attention_layernorm = torch.nn.Identity()
    ours = scatter(GatedCrossAttention(16, 24, heads=2))
    theirs.mlp = ours.feed_forward
    theirs = theirs.double().eval()
    theirs.input_layernorm.load_state_dict(ours.attention_norm.state_dict())
    theirs.alpha_cross_attn, theirs.alpha_dense = ours.attention_gate, ours.feed_forward_gate
    for old, new in {
        "q_proj": "query",
        "k_proj": "key",
        "v_proj": "value",
        "o_proj": "out",
    }.items():
        theirs.cross_attn.get_submodule(old).load_state_dict(
            ours.attention.get_submodule(new).state_dict()
        )
    words, tokens = torch.randn(2, 5, 16).double(), torch.randn(2, 6, 24).double()
    looks = torch.rand(2, 5, 6) > 0.5
    looks[0, 0] = False  # before any picture
    bias = torch.zeros(2, 1, 5, 6).double().masked_fill(~looks[:, None], -1e30)
    expected = theirs(
        words,
        image_hidden_states=tokens,
        image_attention_mask=bias,
        cross_attention_gate=looks.any(2).double(),
    )
    same(ours(words, tokens, looks), expected)


def test_a_fresh_gate_is_the_identity():
    gated = GatedCrossAttention(16, 24, heads=2)
    words, tokens = torch.randn(2, 5, 16), torch.randn(2, 6, 24)
    assert torch.equal(gated(words, tokens), words)
    gated(words, tokens).sum().backward()
    assert gated.attention_gate.grad.abs() > 0  # and yet it learns
    assert gated.feed_forward_gate.grad.abs() > 0


def test_a_word_looks_at_the_picture_before_it():
    places = torch.tensor([[0, 1, 0, 1, 0], [0, 0, 0, 1, 0]]).bool()
    looks = looks_at_latest(places, tokens=2, pictures=2)
    first, second = [1, 1, 0, 0], [0, 0, 1, 1]
    assert looks.long().tolist() == [
        [[0, 0, 0, 0], first, first, second, second],
        [[0, 0, 0, 0]] * 3 + [first, first],
    ]
    with pytest.raises(ValueError, match="2 placeholders for 1 pictures"):
        looks_at_latest(places, tokens=2, pictures=1)


def qformers():
    config = hf.Blip2QFormerConfig(
        vocab_size=50,
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=96,
        encoder_hidden_size=18,
        max_position_embeddings=16,
        use_qformer_text_input=True,
    )
    ours = scatter(QFormer(18, vocabulary=50, width=24, depth=4, heads=3, queries=5, positions=16))
    theirs = Blip2QFormerModel(config).double().eval()
    names = {
        "attention.attention.query": "attention.part.query",
        "attention.attention.key": "attention.part.key",
        "attention.attention.value": "attention.part.value",
        "attention.output.dense": "attention.part.out",
        "attention.output.LayerNorm": "attention.norm",
        "crossattention.attention.query": "cross.part.query",
        "crossattention.attention.key": "cross.part.key",
        "crossattention.attention.value": "cross.part.value",
        "crossattention.output.dense": "cross.part.out",
        "crossattention.output.LayerNorm": "cross.norm",
        "intermediate.dense": "word_feed_forward.part.0",
        "output.dense": "word_feed_forward.part.2",
        "output.LayerNorm": "word_feed_forward.norm",
        "intermediate_query.dense": "query_feed_forward.part.0",
        "output_query.dense": "query_feed_forward.part.2",
        "output_query.LayerNorm": "query_feed_forward.norm",
    }
    state, given = {}, ours.state_dict()
    for name in theirs.state_dict():
        if name.startswith("layernorm"):
            state[name] = given[name.replace("layernorm", "norm")]
            continue
        layer, _, rest = name.removeprefix("encoder.layer.").partition(".")
        rest, _, kind = rest.rpartition(".")
        state[name] = given[f"layers.{layer}.{names[rest]}.{kind}"]
    theirs.load_state_dict(state)
    return ours, theirs


def test_the_qformer_is_blip2s():
    ours, theirs = qformers()
    assert [layer.cross is not None for layer in ours.layers] == [True, False, True, False]
    tokens = torch.randn(3, 7, 18).double()
    ids = torch.randint(0, 50, (3, 6))
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    query = ours.query.expand(3, -1, -1)
    words = ours.embedding(ids) + ours.position.weight[:6]
    seen = torch.cat([torch.ones(3, 5, dtype=torch.long), mask], 1)

    look = theirs(query_embeds=query, encoder_hidden_states=tokens).last_hidden_state
    same(ours.look(tokens), look)
    read = theirs(query_embeds=words, query_length=0, attention_mask=mask).last_hidden_state
    same(ours.read(ids, mask), read)
    both = theirs(
        query_embeds=torch.cat([query, words], 1),
        query_length=5,
        attention_mask=seen,
        encoder_hidden_states=tokens,
    ).last_hidden_state
    same(torch.cat(ours.look_and_read(tokens, ids, mask), 1), both)
    kept = torch.ones(3, 7, dtype=torch.long)
    kept[:, 4:] = 0
    same(ours.look(tokens, kept), ours.look(tokens[:, :4]))


def test_a_writing_qformer_sees_no_later_word():
    ours, _ = qformers()
    tokens, ids = torch.randn(2, 7, 18).double(), torch.randint(0, 50, (2, 6))
    other = ids.clone()
    other[:, 4] = (other[:, 4] + 1) % 50
    query, words = ours.look_and_read(tokens, ids, causal=True)
    query_2, words_2 = ours.look_and_read(tokens, other, causal=True)
    same(query, ours.look(tokens))  # queries see no words
    same(query, query_2)
    same(words[:, :4], words_2[:, :4])
    assert (words[:, 4:] - words_2[:, 4:]).abs().min() > 0
    blind, _ = ours.look_and_read(torch.zeros_like(tokens), ids, causal=True)
    assert (blind - query).abs().max() > 0


def test_what_the_blocks_cannot_do_is_said():
    with pytest.raises(ValueError, match="do not share a width of 10"):
        Attention(10, 3)
    silent = QFormer(8, vocabulary=0, width=8, depth=1, heads=2)
    assert silent.look(torch.randn(1, 3, 8)).shape == (1, 32, 8)
    with pytest.raises(ValueError, match="make it with a vocabulary"):
        silent.read(torch.ones(1, 2, dtype=torch.long))
    short = QFormer(8, vocabulary=9, width=8, depth=1, heads=2, positions=4)
    with pytest.raises(ValueError, match="5 words, and the Q-Former has 4 positions"):
        short.read(torch.ones(1, 5, dtype=torch.long))
