"""A vision tower and a language model joined, held to what transformers makes of each alone."""

import json

import pytest
import torch
import transformers as hf

from polymodal import UsageError
from polymodal.training.llava_model import assemble, load_llava
from tests.hub import tiny, tiny_generators
from tests.training import tiny_llava

PAIRS = [("clip", "llama"), ("siglip", "gpt2"), ("dinov2", "qwen2")]


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("parts")
    for name, make in {**tiny_llava.TOWERS, **tiny_llava.LANGUAGES}.items():
        make(root / name)
    return root


@pytest.mark.parametrize(("vision", "language"), PAIRS)
def test_the_whole_says_of_text_and_sees_in_pictures_what_its_parts_do(
    parts, tmp_path, vision, language
):
    llava = tiny_llava.joined(parts / vision, parts / language, tmp_path / "whole")
    model = llava.model.eval()
    alone = hf.AutoModelForCausalLM.from_pretrained(parts / language)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.allclose(model(input_ids=ids).logits[..., :256], alone(ids).logits[..., :256])
        pixels = torch.randn(2, 3, llava.eyes.side_px, llava.eyes.side_px)
        whole = hf.AutoModel.from_pretrained(parts / vision)
        tower = getattr(whole, "vision_model", whole)
        features = tower(pixels, output_hidden_states=True).hidden_states[-2]
        features = features[:, features.shape[1] - 16 :]  # 4 x 4 patches, the class token before
        expected = model.model.multi_modal_projector(features)
        seen = torch.stack(model.get_image_features(pixels).pooler_output)
    assert llava.eyes.tokens == 16
    assert torch.allclose(seen, expected, atol=1e-5)


def test_the_image_token_is_added_where_the_tokenizer_lacks_it(parts, tmp_path):
    before = hf.AutoTokenizer.from_pretrained(parts / "llama")
    assert "<image>" not in before.get_vocab()
    llava = tiny_llava.joined(parts / "clip", parts / "llama", tmp_path / "whole")
    assert llava.chat.image_id == len(before)
    rows = llava.model.get_input_embeddings().weight
    assert len(rows) == len(before) + 1
    assert torch.allclose(rows[-1], rows[:-1].mean(0))


def test_tied_weights_stay_one_tensor(tmp_path, parts):
    tiny_llava.llama(tmp_path / "tied", tie_word_embeddings=True)
    llava = tiny_llava.joined(parts / "clip", tmp_path / "tied", tmp_path / "whole")
    assert llava.model.lm_head.weight is llava.model.get_input_embeddings().weight


def test_a_seed_gives_the_same_projector(parts):
    def projector(seed):
        made = assemble(
            tiny_llava.source(parts / "clip"), tiny_llava.source(parts / "llama"), seed=seed
        )
        return made.model.model.multi_modal_projector.linear_1.weight

    assert torch.equal(projector(3), projector(3))
    assert not torch.equal(projector(3), projector(4))


def test_licences_of_the_parts_are_kept(parts, tmp_path):
    tiny.clip(tmp_path / "tower")
    (tmp_path / "tower" / "README.md").write_text("---\nlicense: mit\n---\n# A tower\n")
    made = assemble(
        tiny_llava.source(tmp_path / "tower"), tiny_llava.source(parts / "llama"), seed=0
    )
    assert list(made.licences.values()) == ["mit", "not stated in its folder"]


def test_a_head_that_is_no_plain_matrix_is_refused(parts, tmp_path):
    tokenizer = tiny_generators.pieces()
    tokenizer.save_pretrained(tmp_path / "capped")
    text = {**tiny_generators.TEXT, **tiny_generators.ends(tokenizer), "head_dim": 8}
    config = hf.Gemma2Config(**{**text, "tie_word_embeddings": True}, final_logit_softcapping=2.0)
    tiny.seeded(hf.Gemma2ForCausalLM(config), tmp_path / "capped")
    with pytest.raises(UsageError, match="after its head"):
        assemble(tiny_llava.source(parts / "clip"), tiny_llava.source(tmp_path / "capped"), seed=0)


def test_a_tower_without_patches_is_refused(parts, tmp_path):
    size = {"height": 32, "width": 32}
    hf.BitImageProcessor(size={"shortest_edge": 32}, crop_size=size).save_pretrained(tmp_path)
    config = hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1])
    hf.ResNetModel(config).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="no vision tower of patches"):
        assemble(tiny_llava.source(tmp_path), tiny_llava.source(parts / "llama"), seed=0)


@pytest.mark.parametrize("other", ["clip", "whole"])
def test_what_is_no_language_model_alone_is_refused(parts, tmp_path, other):
    if other == "whole":
        tiny_llava.joined(parts / "clip", parts / "llama", tmp_path / "whole")
    folder = {"clip": parts / "clip", "whole": tmp_path / "whole"}[other]
    with pytest.raises(UsageError, match="no language model alone"):
        assemble(tiny_llava.source(parts / "clip"), tiny_llava.source(folder), seed=0)


def test_another_family_and_parts_that_do_not_fit_are_refused(parts, tmp_path):
    with pytest.raises(UsageError, match=r"family 'clip'.*train align"):
        load_llava(tiny_llava.source(parts / "clip"))
    folder = tiny_generators.llava(tmp_path / "llava")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_token_index": 7}))
    with pytest.raises(UsageError, match="puts pictures at token 7"):
        load_llava(tiny_llava.source(folder))
