"""Visual tokens in a sequence: against LLaVA of transformers, and by hand for odd places."""

from __future__ import annotations

import pytest
import torch
import transformers as hf

from polymodal.nn.bridged import Bridged, visual_tokens
from polymodal.nn.merging import IGNORED, expand, merge
from polymodal.nn.projectors import MLPProjector

IMAGE, PAD = 49, 0


def llava():
    torch.manual_seed(0)
    config = hf.LlavaConfig(
        vision_config=hf.CLIPVisionConfig(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            image_size=8,
            patch_size=4,
        ),
        text_config=hf.LlamaConfig(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            vocab_size=50,
        ),
        image_token_index=IMAGE,
        image_seq_length=4,
    )
    return hf.LlavaForConditionalGeneration(config).eval()


def ours(theirs, language_model=None, width=24):
    if language_model is None:
        language_model = hf.LlamaForCausalLM(theirs.config.text_config).eval()
        language_model.model.load_state_dict(theirs.model.language_model.state_dict())
        language_model.lm_head.load_state_dict(theirs.lm_head.state_dict())
    projector = MLPProjector(16, width)
    if width == 24:
        projector.load_state_dict(theirs.model.multi_modal_projector.state_dict())
    tower = theirs.model.vision_tower
    return Bridged(tower, projector, language_model, placeholder=IMAGE).eval()


PROMPTS = [[1, IMAGE, 5, 6, 7], [1, 2, IMAGE, 3, IMAGE], [4, 5, 6]]


@pytest.mark.parametrize("side", ["right", "left"])
def test_any_number_of_pictures_anywhere_reads_as_in_llava(side):
    theirs = llava()
    pixels = torch.randn(3, 3, 8, 8)
    batch = expand(PROMPTS, [4, 4, 4], placeholder=IMAGE, pad=PAD, side=side)
    options = {"attention_mask": batch.mask_BS, "position_ids": batch.position_BS}
    expected = theirs(input_ids=batch.ids_BS, pixel_values=pixels, **options)
    got = ours(theirs)(batch.ids_BS, pixels, **options)
    torch.testing.assert_close(got.logits, expected.logits)


def test_the_loss_is_that_of_the_words_alone():
    theirs = llava()
    pixels = torch.randn(3, 3, 8, 8)
    batch = expand(PROMPTS, [4, 4, 4], placeholder=IMAGE, pad=PAD)
    expected = theirs(
        input_ids=batch.ids_BS,
        pixel_values=pixels,
        attention_mask=batch.mask_BS,
        labels=batch.labels_BS,
    )
    got = ours(theirs)(batch.ids_BS, pixels, attention_mask=batch.mask_BS, labels=batch.labels_BS)
    torch.testing.assert_close(got.loss, expected.loss)
    learnt = batch.labels_BS[batch.labels_BS != IGNORED].tolist()
    assert learnt == [token for row in PROMPTS for token in row if token != IMAGE]


def test_padding_on_the_left_changes_no_answer():
    """What a batch generates is what each prompt generates alone."""
    model = ours(llava())
    pixels = torch.randn(3, 3, 8, 8)
    options = {"max_new_tokens": 5, "do_sample": False, "pad_token_id": PAD, "eos_token_id": 48}
    batch = expand(PROMPTS, [4, 4, 4], placeholder=IMAGE, pad=PAD, side="left")
    together = model.generate(batch.ids_BS, pixels, attention_mask=batch.mask_BS, **options)
    first = 0
    for prompt, answer in zip(PROMPTS, together, strict=True):
        own = pixels[first : first + prompt.count(IMAGE)]
        first += len(own)
        one = expand([prompt], [4] * len(own), placeholder=IMAGE, pad=PAD)
        alone = model.generate(
            one.ids_BS, own if len(own) else None, attention_mask=one.mask_BS, **options
        )
        assert alone[0].tolist() == answer.tolist()


@pytest.mark.parametrize(
    "config",
    [
        hf.GPT2Config(n_embd=24, n_layer=1, n_head=2, vocab_size=48),
        hf.Qwen2Config(
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            intermediate_size=32,
            vocab_size=48,
        ),
        hf.OPTConfig(
            hidden_size=24,
            word_embed_proj_dim=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            ffn_dim=32,
            vocab_size=48,
            max_position_embeddings=32,
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_any_causal_language_model_reads_pictures(config):
    """None of them knows the placeholder's id: 48 words, and 49 stands for a picture."""
    language_model = hf.AutoModelForCausalLM.from_config(config)
    model = ours(llava(), language_model)
    batch = expand(PROMPTS, [4, 4, 4], placeholder=IMAGE, pad=PAD)
    pixels = torch.randn(3, 3, 8, 8)
    model(
        batch.ids_BS, pixels, attention_mask=batch.mask_BS, labels=batch.labels_BS
    ).loss.backward()
    assert model.projector.linear_1.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("config", "tokens", "width", "first"),
    [
        (hf.SiglipVisionConfig, 4, 16, False),
        (hf.Dinov2Config, 4, 16, True),
        (hf.ResNetConfig, 4, 12, False),
    ],
)
def test_any_vision_tower_gives_tokens(config, tokens, width, first):
    if config is hf.ResNetConfig:
        tower = hf.ResNetModel(config(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1]))
        pixels = torch.randn(2, 3, 16, 16)
    else:
        tower = hf.AutoModel.from_config(
            config(
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                image_size=8,
                patch_size=4,
            )
        )
        pixels = torch.randn(2, 3, 8, 8)
    for layer in (-1, -2):
        got = visual_tokens(tower.eval(), pixels, layer=layer, drop_first=first)
        assert got.shape[0] == 2
        assert got.shape[2] == (8 if config is hf.ResNetConfig and layer == -2 else width)
    assert visual_tokens(tower, pixels, layer=-1, drop_first=first).shape[1] == tokens


def test_pictures_of_different_sizes_land_in_order():
    batch = expand([[1, IMAGE, 2], [IMAGE, IMAGE]], [1, 3, 2], placeholder=IMAGE, pad=PAD)
    assert batch.ids_BS.tolist() == [[1, IMAGE, 2, PAD, PAD], [IMAGE] * 5]
    assert batch.mask_BS.tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch.position_BS.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert batch.labels_BS.tolist() == [[1, IGNORED, 2, IGNORED, IGNORED], [IGNORED] * 5]
    visual = [torch.full((size, 3), float(n)) for n, size in enumerate([1, 3, 2], start=1)]
    words = torch.zeros(2, 5, 3)
    merged = merge(words, batch.ids_BS, visual, placeholder=IMAGE)
    assert merged[..., 0].tolist() == [[0, 1, 0, 0, 0], [2, 2, 2, 3, 3]]
    assert words.abs().max() == 0  # the embeddings given stay as they are


def test_labels_stay_with_their_words():
    batch = expand(
        [[1, IMAGE, 5, 6]],
        [3],
        placeholder=IMAGE,
        pad=PAD,
        labels=[[IGNORED, IGNORED, IGNORED, 6]],
        side="left",
    )
    assert batch.labels_BS.tolist() == [[IGNORED] * 5 + [6]]


def test_gradients_reach_pictures_and_words():
    words = torch.randn(1, 3, 4, requires_grad=True)
    visual = torch.randn(1, 2, 4, requires_grad=True)
    merged = merge(words, torch.tensor([[IMAGE, IMAGE, 5]]), visual, placeholder=IMAGE)
    merged.sum().backward()
    assert visual.grad.tolist() == [[[1.0] * 4] * 2]
    assert words.grad.tolist() == [[[0.0] * 4] * 2 + [[1.0] * 4]]


def test_placeholders_and_pictures_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="2 placeholders and there are 1 pictures"):
        expand([[IMAGE, IMAGE]], [4], placeholder=IMAGE, pad=PAD)
    with pytest.raises(ValueError, match=r"0 placeholders and there are 1 pictures: .* tokenizer"):
        expand([[1, 2]], [4], placeholder=IMAGE, pad=PAD)
    words, ids = torch.zeros(1, 2, 4), torch.tensor([[IMAGE, 3]])
    with pytest.raises(ValueError, match="1 placeholders and there are 2 visual tokens"):
        merge(words, ids, torch.zeros(1, 2, 4), placeholder=IMAGE)
    with pytest.raises(ValueError, match=r"5 wide .* project them first"):
        merge(words, ids, torch.zeros(1, 1, 5), placeholder=IMAGE)
    with pytest.raises(ValueError, match="2 ids and 1 labels"):
        expand([[1, 2]], [], placeholder=IMAGE, pad=PAD, labels=[[1]])
    with pytest.raises(ValueError, match="left or the right"):
        expand([[1]], [], placeholder=IMAGE, pad=PAD, side="both")
    assert merge(words, torch.tensor([[1, 2]]), [], placeholder=IMAGE) is words
