"""A model's shape, read from its configuration, and the numbers it holds, by arithmetic.

Notable: nothing is imported and nothing is built, so that a model is judged in the core install and
before it is downloaded. The arithmetic is that of the architectures: attention has four
projections, a gated feed-forward three, and so on; biases and norms of towers are left out. A test
holds it against transformers, which builds the same configurations.

Legend: L layers, D width, F width of the feed-forward, H heads, K heads of keys and values,
V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from polymodal.errors import UsageError
from polymodal.models.hub_families import BRIDGED

__all__ = ["Decoder", "Shape", "Tower", "shape_of"]

Config = Mapping[str, Any]
GATED_VISION = {"qwen2_5_vl"}
PRODUCTS = {"quick_gelu"}
"""Activations that are computed as one array times another."""
UNGATED_TEXT = {"opt", "gpt2"}
DEFAULT_FAMILY = "llama"


@dataclass(frozen=True)
class Tower:
    """A transformer that looks at a picture, a text or sound at once.

    Attributes:
        patches: positions of one picture (or of 30 seconds of sound); 0 of a text.
        held: arrays of the feed-forward's width that it holds at once: what goes in and comes out
            of the activation, and a third where that is a product.
        turned: queries and keys are turned by their place (rotary), which is done in float32.
    """

    layers: int
    width: int
    feed_forward: int
    parameters: int
    patches: int = 0
    held: int = 2
    turned: bool = False


@dataclass(frozen=True)
class Decoder:
    """A language model that writes a token at a time.

    Attributes:
        kv_width: numbers of keys a token keeps in one layer: heads of keys x their size; its
            values are as many.
        kv_layers: layers that keep them.
    """

    layers: int
    width: int
    feed_forward: int
    vocabulary: int
    kv_width: int
    kv_layers: int
    parameters: int


@dataclass(frozen=True)
class Shape:
    """What memory depends on.

    Attributes:
        family: transformers' `model_type`.
        bridge: numbers between the towers: projector, Q-Former, poolers.
        decoder: None of an embedder.
    """

    family: str
    towers: tuple[Tower, ...]
    bridge: int
    decoder: Decoder | None

    @property
    def parameters(self) -> int:
        """Numbers in all parts together."""
        writes = 0 if self.decoder is None else self.decoder.parameters
        return sum(tower.parameters for tower in self.towers) + self.bridge + writes


def shape_of(config: Config, name: str = "the model") -> Shape:
    """The shape that a config.json describes; every number it needs must be in it.

    Raises:
        UsageError: a number is missing; it is named.
    """
    family = str(config.get("model_type", ""))
    read = _Reader(name)
    if family == "whisper":
        return _whisper(config, read)
    text = config.get("text_config") or config.get("llm_config")
    vision = config.get("vision_config")
    if family in {"clip", "siglip", "siglip2"}:
        return _contrastive(family, config, read)
    if not isinstance(vision, Mapping):
        body = text if isinstance(text, Mapping) else config
        return Shape(family, (), 0, _decoder(body, config, read))
    decoder = _decoder(text if isinstance(text, Mapping) else config, config, read)
    eyes = _vision(family, vision, read)
    if family in BRIDGED:
        bridge = read.number(config, "bridge_parameters")
    else:
        bridge = _bridge(family, config, eyes.width, decoder.width, read)
    return Shape(family, (eyes,), bridge, decoder)


class _Reader:
    """Numbers of a configuration, under any of the names that families give them."""

    def __init__(self, name: str) -> None:
        self._name = name

    def number(self, config: Config, *keys: str, default: int | None = None) -> int:
        for key in keys:
            found = config.get(key)
            if isinstance(found, list) and found:
                found = found[0]
            if isinstance(found, int | float) and not isinstance(found, bool):
                return int(found)
        if default is None:
            raise UsageError(
                f"{self._name}: its configuration has no {keys[0]}, so its memory cannot be worked"
                " out. With the extra `hub` installed, transformers fills in what it leaves out."
            )
        return default


def _block(width: int, feed_forward: int, *, gated: bool = False, cross: bool = False) -> int:
    attention = 4 * width * width * (2 if cross else 1)
    return attention + (3 if gated else 2) * width * feed_forward


def _vision(family: str, config: Config, read: _Reader) -> Tower:
    layers = read.number(config, "depth", "num_hidden_layers")
    width = read.number(config, "embed_dim", "hidden_size")
    ratio = config.get("mlp_ratio")
    if "intermediate_size" not in config and isinstance(ratio, int | float):
        feed_forward = int(width * ratio)
    else:
        feed_forward = read.number(config, "intermediate_size")
    patch = read.number(config, "patch_size", "spatial_patch_size")
    side = read.number(config, "image_size", default=0)
    patches = (side // patch) ** 2 if side else read.number(config, "num_patches", default=0)
    positions = patches or read.number(config, "num_position_embeddings", default=0)
    frames = read.number(config, "temporal_patch_size", default=1)
    deeper = read.number(config, "num_global_layers", default=0)
    block = _block(width, feed_forward, gated=family in GATED_VISION)
    numbers = (layers + deeper) * block + 3 * frames * patch * patch * width + positions * width
    is_product = family in GATED_VISION or config.get("hidden_act") in PRODUCTS
    held, turned = 2 + is_product, family.startswith("qwen")
    return Tower(layers + deeper, width, feed_forward, numbers, patches, held, turned)


def _decoder(config: Config, whole: Config, read: _Reader) -> Decoder:
    layers = read.number(config, "num_hidden_layers", "n_layer")
    width = read.number(config, "hidden_size", "n_embd")
    feed_forward = read.number(config, "intermediate_size", "ffn_dim", "n_inner", default=4 * width)
    heads = read.number(config, "num_attention_heads", "n_head")
    kv_heads = read.number(config, "num_key_value_heads", default=heads)
    head = read.number(config, "head_dim", default=width // heads)
    vocabulary = read.number(config, "vocab_size")
    kind = str(config.get("model_type", DEFAULT_FAMILY))
    gated = kind not in UNGATED_TEXT
    crossing = config.get("cross_attention_layers")
    kept = layers - len(crossing) if isinstance(crossing, list) else layers
    attention = 2 * width * heads * head + 2 * width * kv_heads * head
    numbers = layers * (attention + (3 if gated else 2) * width * feed_forward + 2 * width)
    tied = whole.get("tie_word_embeddings", config.get("tie_word_embeddings", True))
    numbers += vocabulary * width * (1 if tied else 2)
    if kind in UNGATED_TEXT:
        numbers += read.number(config, "max_position_embeddings", "n_positions") * width
    return Decoder(layers, width, feed_forward, vocabulary, kv_heads * head, kept, numbers)


def _bridge(family: str, config: Config, into: int, width: int, read: _Reader) -> int:
    """Numbers between eyes (of width `into`) and language, by how the family joins them."""
    vision = config["vision_config"]
    if family.startswith("qwen"):
        merged = into * read.number(vision, "spatial_merge_size", default=2) ** 2
        deeper = vision.get("deepstack_visual_indexes")
        mergers = 1 + (len(deeper) if isinstance(deeper, list) else 0)
        return mergers * (merged * merged + merged * width)
    if family in {"idefics3", "smolvlm"}:
        scale = read.number(config, "scale_factor", default=2)
        return into * scale**2 * width
    if family == "internvl":
        return into * 4 * width + width * width
    if family in {"blip-2", "instructblip"}:
        return _qformer(family, config, into, width, read)
    if family in {"paligemma", "mllama"}:
        return read.number(vision, "vision_output_dim", default=into) * width
    return into * width + width * width


def _qformer(family: str, config: Config, into: int, width: int, read: _Reader) -> int:
    """The Q-Former (Li et al. 2023): BERT whose every second layer looks at the picture."""
    own = config.get("qformer_config")
    if not isinstance(own, Mapping):
        own = {}
    layers = read.number(own, "num_hidden_layers")
    size = read.number(own, "hidden_size")
    feed_forward = read.number(own, "intermediate_size")
    every = read.number(own, "cross_attention_frequency", default=2)
    # Query tokens and, of InstructBLIP, the question have a feed-forward each.
    own_text = 2 * size * feed_forward if family == "instructblip" else 0
    numbers = layers * (_block(size, feed_forward) + own_text)
    numbers += -(-layers // every) * (2 * size * size + 2 * into * size)
    if family == "instructblip":
        rows = read.number(own, "vocab_size", default=0)
        numbers += (rows + read.number(own, "max_position_embeddings", default=512)) * size
    return numbers + read.number(config, "num_query_tokens", default=32) * size + size * width


def _contrastive(family: str, config: Config, read: _Reader) -> Shape:
    text, vision = config.get("text_config", {}), config.get("vision_config", {})
    eyes = _vision(family, vision, read)
    layers, width = read.number(text, "num_hidden_layers"), read.number(text, "hidden_size")
    feed_forward = read.number(text, "intermediate_size")
    numbers = layers * _block(width, feed_forward)
    numbers += read.number(text, "vocab_size") * width
    numbers += read.number(text, "max_position_embeddings") * width
    if family == "clip":
        bridge = read.number(config, "projection_dim") * (width + eyes.width)
    else:
        pooled = _block(eyes.width, eyes.feed_forward) if vision.get("vision_use_head", True) else 0
        bridge = pooled + width * read.number(text, "projection_size", default=width)
    return Shape(family, (Tower(layers, width, feed_forward, numbers), eyes), bridge, None)


def _whisper(config: Config, read: _Reader) -> Shape:
    width = read.number(config, "d_model")
    heard, written = read.number(config, "encoder_layers"), read.number(config, "decoder_layers")
    ear = read.number(config, "encoder_ffn_dim")
    pen = read.number(config, "decoder_ffn_dim")
    vocabulary = read.number(config, "vocab_size")
    positions = read.number(config, "max_source_positions", default=1500)
    numbers = heard * _block(width, ear) + positions * width
    numbers += 3 * width * (read.number(config, "num_mel_bins", default=80) + width)
    tower = Tower(heard, width, ear, numbers, positions)
    writes = written * _block(width, pen, cross=True) + vocabulary * width
    writes += read.number(config, "max_target_positions", default=448) * width
    decoder = Decoder(written, width, pen, vocabulary, width, written, writes)
    return Shape("whisper", (tower,), 0, decoder)
