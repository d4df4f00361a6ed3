"""transformers' Gemma 4 as a thing to train: packed rows in, losses out, its three parts compiled.

Shapes: R rows, W tokens in a row, D hidden, V vocabulary, N soft tokens of all media of a kind, M media, L soft
tokens of the longest of them.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Gemma4Config, Gemma4ForConditionalGeneration

from model.config import ModelConfig
from model.pocket.training import batch as batches
from model.pocket.training.batch import Batch
from model.pocket.training.initial import initialise
from model.pocket.training.labels import NOTHING
from model.pocket.training.prepared import Picture, Sound

# How much a soft token that should say nothing counts: most of a picture is background.
_BACKGROUND = 0.1


class Network:
    """`gemma` holds the weights. Clipping is left out while training: bounds come at the end."""

    def __init__(self, config: ModelConfig, *, is_compiled: bool = True) -> None:
        self.gemma: Any = Gemma4ForConditionalGeneration(Gemma4Config.from_dict(_unclipped(config.to_hf())))
        initialise(self.gemma)
        self._text = self.gemma.model.language_model
        self._cap = config.text.final_logit_softcap
        self._has_image_blocks = config.text.has_bidirectional_images
        if is_compiled:
            self._compile()

    def encoder_losses(self, batch: Batch) -> dict[str, Tensor]:
        """How well soft tokens say what they stand for: "image" and "audio", where the batch has any."""
        return self._encoded(batch)[1]

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The same, and "text": cross-entropy of the model's own tokens."""
        soft, losses = self._encoded(batch)
        hidden_RWD = self._decoded(batch, soft)
        at_RW = batch.own_RW[:, 1:]
        logits_OV = self._logits(hidden_RWD[:, :-1][at_RW])
        return losses | {"text": F.cross_entropy(logits_OV, batch.tokens_RW[:, 1:][at_RW])}

    def _encoded(self, batch: Batch) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """Soft tokens, [N, D], by placeholder id, and the losses of each."""
        soft, losses = {}, {}
        if batch.pictures:
            soft[batches.IMAGE] = self._see(batch.pictures)
            losses["image"] = self._picture_loss(soft[batches.IMAGE], batch.pictures)
        if batch.sounds:
            heard = self._hear(batch.sounds)
            losses["audio"] = self._sound_loss(heard, batch.sounds)
            soft[batches.AUDIO] = torch.cat(heard)
        return soft, losses

    def _see(self, pictures: Sequence[Picture]) -> Tensor:
        """[N, D], picture by picture."""
        groups = batches.picture_groups(pictures)
        seen = [soft for group in groups for soft in self.gemma.model.get_image_features(*group).pooler_output]
        return torch.cat(seen)[: sum(len(picture.words_N) for picture in pictures)]

    def _hear(self, sounds: Sequence[Sound]) -> list[Tensor]:
        """Soft tokens [L, D] of each sound. Those of about one length go through the tower together."""
        order = sorted(range(len(sounds)), key=lambda index: len(sounds[index].mel_FK))
        groups = batches.sound_groups([sounds[index] for index in order])
        heard = [one_LD for group in groups for one_LD in self.gemma.model.get_audio_features(*group).pooler_output]
        by_index = dict(zip(order, heard, strict=False))
        return [by_index[index][: sound.soft_tokens] for index, sound in enumerate(sounds)]

    def _picture_loss(self, soft_ND: Tensor, pictures: Sequence[Picture]) -> Tensor:
        cells = [words for picture in pictures for words in picture.words_N]
        share_NV = torch.zeros(len(cells), self._text.config.vocab_size)
        for index, words in enumerate(cells):
            for word in words or (NOTHING,):
                share_NV[index, word] += 1 / max(1, len(words))
        weight_N = torch.tensor([1.0 if words else _BACKGROUND for words in cells])
        # Divergence, so that 0 is the best: several words at once can only be said with a share each.
        loss_N = F.kl_div(self._said(soft_ND).log_softmax(-1), share_NV, reduction="none").sum(-1)
        return (loss_N * weight_N).sum() / weight_N.sum()

    def _sound_loss(self, heard: Sequence[Tensor], sounds: Sequence[Sound]) -> Tensor:
        said_LMV = self._said(pad_sequence(list(heard))).log_softmax(-1)
        loss: Tensor = F.ctc_loss(
            said_LMV,
            torch.tensor([word for sound in sounds for word in sound.said]),
            torch.tensor([sound.soft_tokens for sound in sounds]),
            torch.tensor([len(sound.said) for sound in sounds]),
            blank=NOTHING,
            zero_infinity=True,
        )
        return loss

    def _said(self, soft_ND: Tensor) -> Tensor:
        said_NV: Tensor = soft_ND @ self._text.embed_tokens.weight.T
        return said_NV

    def _decoded(self, batch: Batch, soft: dict[int, Tensor]) -> Tensor:
        """[R, W, D]."""
        embeds_RWD = self._text.embed_tokens(batch.tokens_RW)
        plain_RW = batch.tokens_RW
        for placeholder, soft_ND in soft.items():
            at_RW = batch.tokens_RW == placeholder
            embeds_RWD = embeds_RWD.masked_scatter(at_RW[..., None], soft_ND)
            plain_RW = plain_RW.masked_fill(at_RW, 0)
        inputs: dict[str, Any] = {"inputs_embeds": embeds_RWD, "position_ids": batch.positions_RW}
        if self._text.hidden_size_per_layer_input:
            inputs["per_layer_inputs"] = self._text.get_per_layer_inputs(plain_RW, None)
        decoded = self._text(attention_mask=self._masks(batch), use_cache=False, **inputs)
        hidden_RWD: Tensor = decoded.last_hidden_state
        return hidden_RWD

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        """[R, 1, W, W] each; rows are shorter than any window."""
        index_W = torch.arange(batches.ROW)
        is_past = index_W[:, None] >= index_W
        is_same = batch.segments_RW[:, :, None] == batch.segments_RW[:, None, :]
        masks = {"full_attention": is_past & is_same, "sliding_attention": is_past & is_same}
        if self._has_image_blocks:
            blocks_RW = batch.blocks_RW
            is_picture = (blocks_RW[:, :, None] == blocks_RW[:, None, :]) & (blocks_RW >= 0)[:, :, None]
            masks["sliding_attention"] = (is_past | is_picture) & is_same
        return {kind: mask[:, None] for kind, mask in masks.items()}

    def _logits(self, hidden_OD: Tensor) -> Tensor:
        logits_OV: Tensor = self.gemma.lm_head(hidden_OD)
        return logits_OV if self._cap is None else torch.tanh(logits_OV / self._cap) * self._cap

    def _compile(self) -> None:
        self._text.forward = torch.compile(self._text.forward, dynamic=False)
        model = self.gemma.model
        model.vision_tower.encoder.forward = torch.compile(model.vision_tower.encoder.forward, dynamic=False)
        if model.audio_tower is not None:
            model.audio_tower.forward = torch.compile(model.audio_tower.forward, dynamic=False)


def _unclipped(hf: dict[str, Any]) -> dict[str, Any]:
    towers = {
        kind: hf[kind] | {"use_clipped_linears": False} for kind in ("vision_config", "audio_config") if hf.get(kind)
    }
    return hf | {"dtype": "float32"} | towers
