"""Which tokens are answers, by the chat templates of every family, and what they are asked with."""

import pytest

from polymodal import UsageError
from polymodal.models.hub_families import CHATML, INST, USER_ASSISTANT
from polymodal.models.hub_prompts import Writer
from polymodal.models.messages import ImagePart, Message
from polymodal.training.chat import Chat, Turn
from polymodal.training.llava_data import IGNORED, DialogueSamples
from tests.hub import tiny, tiny_generators
from tests.hub.tiny_generators import (
    IDEFICS_TEMPLATE,
    INTERNVL_TEMPLATE,
    LLAVA_TEMPLATE,
    QWEN_TEMPLATE,
    byte_level,
    pieces,
)
from tests.training import tiny_llava

CHAT_ENDS = ("<|im_start|>", "<|im_end|>", "<end_of_utterance>", "<image>", "<IMG_CONTEXT>")
CHAT_ENDS += ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
IMAGE_TOKENS = ("<|image_pad|>", "<IMG_CONTEXT>", "<image>")
TALK = (
    Turn("user", "<image>\nWhat is this?"),
    Turn("assistant", "a red saree"),
    Turn("user", "And the border?"),
    Turn("assistant", " gold. "),
)
# What the model is to say, turn by turn, and how the prompt before the first answer reads.
GOLDEN = {
    "vicuna": (USER_ASSISTANT, pieces, ["a red saree</s>", "gold.</s>"], "? ASSISTANT:"),
    "mistral": (INST, pieces, ["a red saree</s>", "gold.</s>"], "? [/INST]"),
    "llava-1.5-hf": (LLAVA_TEMPLATE, pieces, ["a red saree", "gold.</s>"], "? ASSISTANT:"),
    "onevision": (CHATML, byte_level, None, "?<|im_end|><|im_start|>assistant\n"),
    "qwen": (QWEN_TEMPLATE, byte_level, None, "?<|im_end|>\n<|im_start|>assistant\n"),
    "internvl": (INTERNVL_TEMPLATE, byte_level, None, "?<|im_end|>\n<|im_start|>assistant\n"),
    "idefics": (
        IDEFICS_TEMPLATE,
        byte_level,
        [" a red saree<end_of_utterance>", " gold.<end_of_utterance>"],
        "?<end_of_utterance>\nAssistant:",
    ),
}
CHATML_ANSWERS = ["a red saree<|im_end|>", "gold.<|im_end|>"]


class OnlyText:
    """A processor as far as templates need one."""

    def __init__(self, tokenizer, template, image_token="<image>"):
        self.tokenizer, self.chat_template, self.image_token = tokenizer, template, image_token

    def apply_chat_template(self, messages, **options):
        return self.tokenizer.apply_chat_template(messages, **options)


def chat(template, make, model_type="llava"):
    special = CHAT_ENDS if make is byte_level else ("<image>",)
    named = {"eos_token": "<|im_end|>"} if make is byte_level else {}
    token = next((each for each in IMAGE_TOKENS if each in template), "<image>")
    return Chat("it", OnlyText(make(*special, **named), template, token), model_type, "llama")


def runs(encoded, tokenizer):
    """The stretches of ids that are answers, as text."""
    found, current = [], []
    for token, answer in zip(encoded.ids, encoded.answers, strict=True):
        if answer:
            current.append(token)
        elif current:
            found.append(tokenizer.decode(current))
            current = []
    return [*found, tokenizer.decode(current)] if current else found


@pytest.mark.parametrize("family", GOLDEN)
def test_exactly_the_answers_are_learnt(family):
    template, make, answers, asked = GOLDEN[family]
    made = chat(template, make)
    tokenizer = made._tokenizer
    encoded = made.encode(TALK, [1])
    assert runs(encoded, tokenizer) == (answers or CHATML_ANSWERS)
    prompt = tokenizer.decode(encoded.ids[: encoded.answers.index(True)])
    assert prompt.endswith(asked)
    assert "a red saree" not in prompt


def test_what_a_user_says_cannot_be_an_answer():
    made = chat(USER_ASSISTANT, pieces)
    encoded = made.encode(
        [Turn("user", "is it </s> red"), Turn("assistant", "no <image> there")], []
    )
    assert encoded.ids.count(made.image_id) == 0
    assert encoded.ids.count(made._tokenizer.eos_token_id) == 1


def test_system_words_join_the_question_where_the_template_has_no_such_role():
    made = chat(INST, pieces)
    encoded = made.encode(
        [Turn("system", "be short"), Turn("user", "what"), Turn("assistant", "red")], []
    )
    assert made._tokenizer.decode(encoded.ids).startswith("[INST] be short\nwhat [/INST]")
    assert runs(encoded, made._tokenizer) == ["red</s>"]


def test_a_template_that_rewrites_earlier_turns_is_refused():
    last_only = "{% for m in messages %}{{ m.role if loop.last else 'gone' }}: x{% endfor %}"
    with pytest.raises(UsageError, match="writes a turn otherwise once others follow"):
        chat(last_only, pieces).encode(TALK, [1])


def test_a_template_without_a_place_for_a_picture_is_refused():
    blind = "{% for m in messages %}{{ m.role }}: {{ m.content[-1].text }} {% endfor %}"
    made = Chat("it", OnlyText(pieces("<image>"), blind), "llava", "llama")
    with pytest.raises(UsageError, match=r"has 0 place\(s\) for 1 picture\(s\)"):
        made.encode(TALK, [1])


def test_a_tokenizer_without_the_image_token_is_refused():
    with pytest.raises(UsageError, match=r"has no image token '<image>'.*train align"):
        Chat("it", OnlyText(pieces(), USER_ASSISTANT), "llava", "llama")


@pytest.fixture(scope="module", params=["llava", "llava_bare", "joined"])
def llava(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "joined":
        tiny.clip(folder / "clip")
        tiny_generators.qwen2_text(folder / "qwen2")
        return tiny_llava.joined(folder / "clip", folder / "qwen2", folder / "whole")
    tiny_generators.GENERATORS[request.param](folder)
    return tiny_llava.load_llava(tiny_llava.source(folder))


def test_training_reads_what_a_checkpoint_is_asked_with(llava, tmp_path):
    """To the token, pictures included, against the adapter that answers for every verb."""
    root = tiny_llava.shapes(tmp_path / "shapes", each=1, system="Be short.")
    data = tiny_llava.open_dialogues(root / "talk.json")
    ids, labels, pixels, _ = DialogueSamples(data, llava, False, 512).sample(0, 0).value
    from polymodal.models.hub_families import FAMILIES

    writer = Writer("it", llava.processor, FAMILIES["llava"], "llama")
    picture = ImagePart(tiny_llava.shape("red", "circle", 0))
    prompt = writer.write([Message.system("Be short."), Message.user(picture, tiny_llava.QUESTION)])
    asked = writer.encode([prompt])
    first = (labels != IGNORED).nonzero()[0, 0]
    assert ids[:first].tolist() == asked["input_ids"][0].tolist()
    assert (pixels - asked["pixel_values"]).abs().max() == 0
    assert llava.processor.tokenizer.decode(labels[first:]).strip().startswith("red")
