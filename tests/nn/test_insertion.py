"""Gated layers in language models of transformers, held to the models without them."""

import copy

import pytest
import torch
import transformers as hf

from polymodal.nn.insertion import GatedLayers, decoder_layers
from polymodal.training.towers import recompute_activations

SMALL = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 60}
WIDE = {**SMALL, "intermediate_size": 48, "num_key_value_heads": 2}
MODELS = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**WIDE)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**WIDE)),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=32, n_layer=4, n_head=4, vocab_size=60, n_positions=64)
    ),
    "opt": lambda: hf.OPTForCausalLM(
        hf.OPTConfig(**SMALL, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=64)
    ),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**SMALL, intermediate_size=48)),
}
IMAGE = 7
IDS = torch.tensor([[1, IMAGE, 5, 6, IMAGE, 9, 3], [2, 4, 5, IMAGE, 8, 9, 1]])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def with_gates(name, every=2, **gates):
    model = MODELS[name]().eval()
    return model, GatedLayers(model, 24, heads=2, head_width=8, every=every, **gates)


def opened(gated):
    with torch.no_grad():
        for layer in gated:
            layer.attention_gate.fill_(0.8)
            layer.feed_forward_gate.fill_(-0.5)
    return gated


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_fresh_gates_change_nothing_to_the_bit_and_open_ones_do(name):
    model, gated = with_gates(name)
    plain = MODELS[name]().eval()
    plain.load_state_dict(model.state_dict())  # nothing is renamed or added
    expected = plain(IDS).logits
    tokens = torch.randn(3, 5, 24)
    gated.show(tokens, IDS == IMAGE)
    assert torch.equal(model(IDS).logits, expected)
    opened(gated)
    assert not torch.allclose(model(IDS).logits, expected, atol=1e-3)


@torch.no_grad()
def test_it_is_the_gated_layer_before_every_nth_layer():
    model, gated = with_gates("llama")
    opened(gated)
    tokens = torch.randn(3, 5, 24)
    gated.show(tokens, IDS == IMAGE)
    found = model(IDS, output_hidden_states=True).hidden_states
    # By hand: layers 1 and 3 are called with what the gated layer makes of the words.
    inner = MODELS["llama"]()
    inner.load_state_dict(model.state_dict())
    base = inner.eval().model
    hidden = base.embed_tokens(IDS)
    places = torch.arange(7)[None].expand(2, -1)
    rotary = base.rotary_emb(hidden, places)
    padded = torch.zeros(2, 2, 5, 24)
    padded[0], padded[1, 0] = tokens[:2], tokens[2]
    looks = torch.zeros(2, 7, 10, dtype=torch.bool)
    looks[0, 1:4, :5], looks[0, 4:, 5:], looks[1, 3:, :5] = True, True, True
    causal = torch.full((7, 7), -torch.inf).triu(1)[None, None]
    for number, layer in enumerate(base.layers):
        if number % 2:
            hidden = gated[number // 2](hidden, padded.flatten(1, 2), looks)
        hidden = layer(hidden, attention_mask=causal, position_embeddings=rotary)
        if number < 3:
            torch.testing.assert_close(found[number + 1], hidden, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_words_before_a_picture_and_words_without_any_are_alike():
    model, gated = with_gates("llama")
    opened(gated)
    ids = torch.tensor([[1, 2, 3, IMAGE, 5]])
    gated.show(torch.randn(1, 5, 24), ids == IMAGE)
    before = model(ids).logits[:, :3]
    gated.show(None, ids[:, :3] == IMAGE)
    torch.testing.assert_close(model(ids[:, :3]).logits, before)


@torch.no_grad()
def test_words_that_follow_look_where_the_last_one_did():
    model, gated = with_gates("qwen2")
    opened(gated)
    ids, tokens = IDS[:1], torch.randn(2, 5, 24)
    gated.show(tokens, ids == IMAGE)
    whole = model(ids).logits
    gated.show(tokens, ids[:, :5] == IMAGE)
    cache = model(ids[:, :5], use_cache=True).past_key_values
    for place in (5, 6):
        gated.go_on()
        step = model(ids[:, place : place + 1], past_key_values=cache).logits
        torch.testing.assert_close(step[:, 0], whole[:, place], rtol=1e-4, atol=1e-5)


def test_a_copy_has_gates_of_its_own_and_recomputing_gives_the_same_gradient():
    model, gated = with_gates("llama")
    both = torch.nn.ModuleList([model, gated])
    opened(gated)
    other, copied = copy.deepcopy(both)
    with torch.no_grad():
        copied[0].attention_gate.zero_()
    tokens = torch.randn(3, 5, 24)
    gradients = []
    for recompute in (False, True):
        model.train()
        if recompute:
            recompute_activations(model)
        gated.show(tokens, IDS == IMAGE)
        model(IDS, use_cache=False).logits.square().mean().backward()
        gradients.append([p.grad.clone() for p in gated.parameters()])
        both.zero_grad()
    for one, two in zip(*gradients, strict=True):
        torch.testing.assert_close(one, two)
    copied.show(tokens, IDS == IMAGE)
    gated.show(tokens, IDS == IMAGE)
    assert not torch.allclose(other.eval()(IDS).logits, model.eval()(IDS).logits, atol=1e-4)


def test_what_does_not_fit_is_refused():
    model, gated = with_gates("llama")
    with pytest.raises(ValueError, match="3 placeholders for 2 pictures"):
        gated.show(torch.randn(2, 5, 24), IDS == IMAGE)
    with pytest.raises(ValueError, match="a gated layer in 5, and the model has 4 layers"):
        GatedLayers(model, 24, every=5)
    with pytest.raises(ValueError, match="no list of layers"):
        decoder_layers(torch.nn.Linear(2, 2))
