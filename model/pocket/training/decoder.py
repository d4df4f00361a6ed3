"""transformers' Gemma 4 as a thing to train: packed rows in, losses out. Its eyes and ears have learned already.

Shapes: R rows, W tokens in a row, D hidden, V vocabulary, O tokens of the model's own.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from transformers import Gemma4ForConditionalGeneration

from model.config import ModelConfig
from model.pocket.training import batch as batches
from model.pocket.training import towers
from model.pocket.training.batch import Batch
from model.pocket.training.experts import compute_every_expert
from model.pocket.training.hf import hf_config
from model.pocket.training.initial import initialise
from model.pocket.training.optimizers import optimizers
from model.pocket.training.prepared import Picture
from model.pocket.training.products import attend_in_float32, fast_products
from model.pocket.training.saying import picture_loss, sound_loss

# What soft tokens say by themselves, against what the model answers.
_SAYING_WEIGHT = 0.5
# The highest learning rates.
_MATRICES_RATE, _OTHERS_RATE = 1e-2, 3e-3


class Decoder(nn.Module):
    """`gemma` holds all weights; those of the towers stay as they are."""

    def __init__(self, config: ModelConfig, *, is_compiled: bool = True) -> None:
        super().__init__()
        self.gemma: Any = Gemma4ForConditionalGeneration(hf_config(config))
        initialise(self.gemma)
        self._cap = config.text.final_logit_softcap
        self._has_image_blocks = config.text.has_bidirectional_images
        attend_in_float32(self._text)
        if config.text.moe is not None:
            compute_every_expert(self.gemma)
        for tower in self._towers():
            tower.requires_grad_(False)
        if is_compiled:
            self._compile()

    def adopt(self, eyes: Mapping[str, Tensor], ears: Mapping[str, Tensor] | None) -> None:
        """Takes over towers that have learned by themselves."""
        # Only the buffers of the output's scale may be missing: not every variant has them.
        loaded = self.gemma.model.vision_tower.load_state_dict(eyes, strict=False)
        if loaded.unexpected_keys or any(not name.startswith("std_") for name in loaded.missing_keys):
            raise ValueError(f"these are not the eyes of this variant: {loaded}")
        if ears is not None:
            self.gemma.model.audio_tower.load_state_dict(ears)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """ "text", the cross-entropy of the model's own tokens, and what soft tokens say: "image" and "audio"."""
        soft, losses = self._encoded(batch)
        hidden_RWD = self._decoded(batch, soft)
        counts_RW = batch.counts_RW[:, 1:]
        at_RW = counts_RW > 0
        logits_OV = self._logits(hidden_RWD[:, :-1][at_RW])
        loss_O = F.cross_entropy(logits_OV, batch.tokens_RW[:, 1:][at_RW], reduction="none")
        return losses | {"text": (loss_O * counts_RW[at_RW]).sum() / counts_RW.sum()}

    def optimizers(self) -> list[Optimizer]:
        """Of all weights but the towers'."""
        return optimizers(self, _MATRICES_RATE, _OTHERS_RATE)

    @property
    def _text(self) -> Any:
        return self.gemma.model.language_model

    def _towers(self) -> list[nn.Module]:
        model = self.gemma.model
        return [tower for tower in (model.vision_tower, model.audio_tower) if tower is not None]

    def _encoded(self, batch: Batch) -> tuple[dict[int, Tensor], dict[str, Tensor]]:
        """Soft tokens in the rows, [N, D], by placeholder id, and the losses of all."""
        soft, losses, model = {}, {}, self.gemma.model
        if batch.pictures:
            places = [words for picture in batch.pictures for words in picture.places_N]
            with torch.no_grad(), fast_products():
                seen_NH = towers.see(model.vision_tower, batch.pictures)
            soft_ND = model.embed_vision(inputs_embeds=seen_NH.float())
            losses["image"] = _SAYING_WEIGHT * picture_loss(self._said(soft_ND), places)
            soft[batches.IMAGE] = soft_ND[_laid(batch.pictures)]
        if batch.sounds:
            with torch.no_grad(), fast_products():
                heard = towers.hear(model.audio_tower, batch.sounds)
            soft_by_sound = [model.embed_audio(inputs_embeds=one_LH.float()) for one_LH in heard]
            soft[batches.AUDIO] = torch.cat(soft_by_sound)
            said = [self._said(one_LD) for one_LD in soft_by_sound]
            losses["audio"] = _SAYING_WEIGHT * sound_loss(said, batch.sounds)
        return soft, losses

    def _said(self, soft_ND: Tensor) -> Tensor:
        said_NV: Tensor = soft_ND @ self._text.embed_tokens.weight.T
        return said_NV

    def _decoded(self, batch: Batch, soft: dict[int, Tensor]) -> Tensor:
        """[R, W, D]."""
        embeds_RWD = self._text.embed_tokens(batch.tokens_RW)
        plain_RW = batch.tokens_RW
        for placeholder, soft_ND in soft.items():
            at_RW = batch.tokens_RW == placeholder
            embeds_RWD = embeds_RWD.masked_scatter(at_RW[..., None], soft_ND.to(embeds_RWD.dtype))
            plain_RW = plain_RW.masked_fill(at_RW, 0)
        inputs: dict[str, Any] = {"inputs_embeds": embeds_RWD, "position_ids": batch.positions_RW}
        if self._text.hidden_size_per_layer_input:
            inputs["per_layer_inputs"] = self._text.get_per_layer_inputs(plain_RW, None)
        with fast_products():
            decoded = self._text(attention_mask=self._masks(batch), use_cache=False, **inputs)
        hidden_RWD: Tensor = decoded.last_hidden_state.float()
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
        towers.compile_vision(self.gemma.model.vision_tower)
        if self.gemma.model.audio_tower is not None:
            towers.compile_audio(self.gemma.model.audio_tower)


def _laid(pictures: Sequence[Picture]) -> list[int]:
    """The numbers, among the soft tokens of all, of those that stand in the rows."""
    starts = accumulate((len(picture.places_N) for picture in pictures), initial=0)
    return [start + index for start, picture in zip(starts, pictures, strict=False) for index in picture.laid]
