"""One dialogue made ready to be learned from: tokens, labels, and media as the towers take them.

Shapes: T tokens, P patches, C numbers in a patch, F mel frames, K mel bins, N soft tokens.
"""

import random
from collections.abc import Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from model.pocket.dialogue import Dialogue
from model.pocket.scenes.scene import Scene
from model.pocket.training import labels
from model.pocket.training.labels import Shares
from model.pocket.transcript import own_tokens, tokens, with_thoughts
from model.preprocess.images import byte_patches
from model.preprocess.mel import log_mels
from model.soft_tokens import SoftTokenRules, audio_soft_tokens

POOLING = 2
RULES = SoftTokenRules(pooling_kernel_size=POOLING, max_image_tokens=70)


class Picture(NamedTuple):
    """uint8 [P, C], int64 (x, y) [P, 2], and what each soft token is to say of the scene, and of what it shows.

    `laid` are the soft tokens, by number, that the decoder gets: all of them but in some lessons.
    """

    patches_PC: Tensor
    positions_P2: Tensor
    places_N: list[Shares]
    surfaces_N: list[Shares]
    laid: list[int]


class Sound(NamedTuple):
    """float32 [F, K], how many soft tokens that is, and the token ids of what is said."""

    mel_FK: Tensor
    soft_tokens: int
    said: list[int]


class Prepared(NamedTuple):
    """Token ids, how much each counts, and the media in the order of their placeholders.

    Only the model's own tokens count, those of a long answer less: else one word about a picture taught nothing
    beside a page of JSON.
    """

    tokens: list[int]
    counts: list[float]
    pictures: list[Picture]
    sounds: list[Sound]


def prepare(dialogue: Dialogue) -> Prepared:
    """Preprocesses the media and expands their placeholders."""
    media = _preprocessed(dialogue)
    return _prepared(tokens(dialogue, _soft_tokens(media)), media)


def prepare_to_learn(dialogue: Dialogue, rng: random.Random, thinned: float) -> Prepared:
    """The same with thoughts in the answers, by chance, and so many of the pictures thinned out.

    What is in pictures is learned sooner from few soft tokens, and more of it fits a row.
    """
    media = _preprocessed(dialogue)
    if rng.random() < thinned:
        media = [_thinned(medium) if isinstance(medium, Picture) else medium for medium in media]
    return _prepared(with_thoughts(tokens(dialogue, _soft_tokens(media)), rng), media)


def _prepared(ids: list[int], media: list[Picture | Sound]) -> Prepared:
    pictures = [medium for medium in media if isinstance(medium, Picture)]
    sounds = [medium for medium in media if isinstance(medium, Sound)]
    return Prepared(ids, _counts(own_tokens(ids)), pictures, sounds)


def _preprocessed(dialogue: Dialogue) -> list[Picture | Sound]:
    return [
        picture(part["image"], part["scene"]) if part["type"] == "image" else sound(part["audio"], part["words"])
        for part in _media(dialogue)
    ]


def _soft_tokens(media: list[Picture | Sound]) -> list[int]:
    return [len(medium.laid) if isinstance(medium, Picture) else medium.soft_tokens for medium in media]


def _thinned(picture: Picture) -> Picture:
    """Only what says something stays."""
    return picture._replace(laid=[index for index, words in enumerate(picture.places_N) if words])


def _counts(own: list[bool]) -> list[float]:
    """An answer counts as the square root of its tokens."""
    counts: list[float] = []
    for is_own, answer in groupby(own):
        length = len(list(answer))
        counts += [length**-0.5 if is_own else 0.0] * length
    return counts


def _media(dialogue: Dialogue) -> list[dict[str, Any]]:
    contents = [message["content"] for message in dialogue.messages if isinstance(message.get("content"), list)]
    return [part for parts in contents for part in parts if part["type"] in ("image", "audio")]


def picture(image: Image, scene: Scene) -> Picture:
    """The picture as the vision tower takes it but for its levels, labelled by the scene that it was drawn from."""
    bytes_PC, columns = byte_patches(image.convert("RGB"), RULES)
    grid = columns // POOLING, len(bytes_PC) // columns // POOLING
    index_P = torch.arange(len(bytes_PC))
    positions_P2 = torch.stack((index_P % columns, index_P // columns), -1)
    places_N, surfaces_N = labels.place_words(scene, *grid), labels.surface_words(scene, *grid)
    return Picture(torch.from_numpy(bytes_PC), positions_P2, places_N, surfaces_N, list(range(len(places_N))))


def sound(samples: np.ndarray, words: Sequence[str]) -> Sound:
    """The sound as the audio tower takes it, labelled by the words that are spoken."""
    said = labels.spoken_words(words)
    return Sound(log_mels(samples, RULES), audio_soft_tokens(len(samples) / RULES.sampling_rate_hz, RULES), said)
