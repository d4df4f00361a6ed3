"""Spoken clips: what is said, by whom, how long, and that tests hear neither voices nor sentences of training."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.pocket.speech import clips, espeak, lexicon, shipped, voices
from model.pocket.speech.clips import ClipPool, utterances
from model.pocket.speech.noise import MAX_SILENCE_S, recorded
from model.preprocess.sound import decode_sound
from model.soft_tokens import SoftTokenRules

needs_espeak = pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")


def _tone(duration_s: float) -> np.ndarray:
    times_N = np.arange(round(duration_s * espeak.SAMPLING_RATE_HZ)) / espeak.SAMPLING_RATE_HZ
    return np.sin(2 * np.pi * 440 * times_N).astype(np.float32)


def test_voices_and_sentences_of_tests_are_never_trained() -> None:
    train, test = utterances("train", 20_000, seed=0), utterances("test", 2_000, seed=1)
    assert not {u.voice.name.split("+")[1] for u in train} & {u.voice.name.split("+")[1] for u in test}
    assert not {u.words for u in train if len(u.words) > 1} & {u.words for u in test}
    assert {u.words for u in train if len(u.words) == 1} == {(w,) for w in (*lexicon.WORDS, *lexicon.DIGITS)}


def test_a_seed_names_the_utterances() -> None:
    assert utterances("train", 50, seed=3) == utterances("train", 50, seed=3)
    assert utterances("train", 50, seed=3) != utterances("train", 50, seed=4)
    assert utterances("train", 50, seed=3) == utterances("train", 60, seed=3)[:50]


def test_utterances_have_every_length() -> None:
    spoken = utterances("train", 500, seed=0)
    digits = {len(u.words) for u in spoken if u.words[0] in lexicon.DIGITS}
    words = {len(u.words) for u in spoken if u.words[0] not in lexicon.DIGITS}
    assert (digits, words) == ({1, 2, 3, 4, 5, 6}, {1, 2, 3, 4})


def test_a_word_is_of_one_kind() -> None:
    assert len(set(lexicon.WORDS)) == len(lexicon.WORDS) == 38
    assert not set(lexicon.WORDS) & set(lexicon.DIGITS)


@pytest.mark.parametrize(
    ("words", "answer"), [(("four", "zero", "seven"), "407"), (("green", "apple"), "green apple"), (("zero",), "0")]
)
def test_digits_are_written_as_one_number_and_words_apart(words: tuple[str, ...], answer: str) -> None:
    assert lexicon.written(words) == answer


def test_noise_is_drawn_from_the_seed() -> None:
    first, again, other = (recorded(random.Random(seed), _tone(0.5)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_noise_leaves_the_speech_the_louder() -> None:
    for seed in range(40):
        heard = recorded(random.Random(seed), _tone(0.5))
        power = np.abs(np.fft.rfft(heard)) ** 2
        at_tone = round(440 * len(heard) / espeak.SAMPLING_RATE_HZ)
        assert heard.dtype == np.float32
        assert np.abs(heard).max() <= 1
        assert 0.5 <= len(heard) / espeak.SAMPLING_RATE_HZ <= 0.9
        assert power[at_tone - 8 : at_tone + 9].sum() > 0.75 * power.sum()


@needs_espeak
def test_speech_is_short_loud_and_the_same_at_every_call() -> None:
    spoken = espeak.synthesize("green apple", "en-us+m3", 180, 50)
    assert spoken.dtype == np.float32
    assert 0.4 < len(spoken) / espeak.SAMPLING_RATE_HZ < 1.2
    assert 0.1 < np.abs(spoken).max() <= 1
    assert np.array_equal(spoken, espeak.synthesize("green apple", "en-us+m3", 180, 50))
    assert len(espeak.synthesize("green apple", "en-us+m3", 150, 50)) > len(spoken)


@needs_espeak
def test_every_voice_sounds_like_itself() -> None:
    names = [*voices.names("train"), *voices.names("test")]
    assert len({espeak.synthesize("seven", name).tobytes() for name in names}) == len(names)


@needs_espeak
def test_espeak_says_what_it_cannot_do() -> None:
    with pytest.raises(espeak.EspeakError, match="silence"):
        espeak.synthesize(" ", "en-us+m3")
    with pytest.raises(espeak.EspeakError, match="zzz"):
        espeak.synthesize("one", "zzz")


def test_a_missing_espeak_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(espeak.EspeakError, match="apt-get install espeak-ng"):
        espeak.synthesize("one", "en-us+m3")


@needs_espeak
def test_a_pool_is_made_once_and_then_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    made = ClipPool(tmp_path, "train", 12, seed=5, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 12) for done in range(1, 13)]
    monkeypatch.setenv("PATH", "")
    read = ClipPool(tmp_path, "train", 12, seed=5)
    assert len(list(tmp_path.iterdir())) == 1
    for index, utterance in enumerate(utterances("train", 12, seed=5)):
        assert read[index].utterance == utterance
        assert np.array_equal(read[index].samples_N, made[index].samples_N)


@needs_espeak
def test_a_pool_holds_what_espeak_says(tmp_path: Path) -> None:
    clip = ClipPool(tmp_path, "test", 3, seed=2)[1]
    voice = clip.utterance.voice
    spoken = espeak.synthesize(" ".join(clip.utterance.words), voice.name, voice.words_per_minute, voice.pitch)
    assert clip.samples_N == pytest.approx(spoken, abs=1e-4)


@needs_espeak
def test_the_longest_clip_costs_an_encoder_little() -> None:
    slowest = voices.WORDS_PER_MINUTE[0]
    for name in (*voices.names("train"), *voices.names("test")):
        for text in (" ".join(["seven"] * clips.MOST_DIGITS), " ".join(["strawberry"] * clips.MOST_WORDS)):
            speech_N = espeak.synthesize(text, name, slowest)
            assert len(speech_N) / espeak.SAMPLING_RATE_HZ + 2 * MAX_SILENCE_S <= 3.2


def test_shipped_clips_are_what_the_index_says() -> None:
    listed = shipped.samples()
    assert {sample.path.name for sample in listed} == {path.name for path in shipped.FOLDER.glob("*.flac")}
    assert sum(path.stat().st_size for path in shipped.FOLDER.iterdir()) < 150_000
    assert {sample.said.isdigit() for sample in listed} == {True, False}
    for sample in listed:
        samples_N = decode_sound(sample.path.read_bytes(), "audio/flac", SoftTokenRules())
        assert 0.8 < len(samples_N) / espeak.SAMPLING_RATE_HZ < 2
        assert np.abs(samples_N).max() > 0.1


def test_shipped_clips_are_held_out() -> None:
    for sample in shipped.samples():
        words = tuple(lexicon.DIGITS[int(d)] for d in sample.said) if sample.said.isdigit() else sample.said.split()
        assert lexicon.is_held_out(tuple(words))
        assert sample.voice in voices.names("test")


@needs_espeak
def test_shipped_clips_can_be_made_anew(tmp_path: Path) -> None:
    shipped.write_samples(tmp_path)
    for sample in shipped.samples():
        made = decode_sound((tmp_path / sample.path.name).read_bytes(), "audio/flac", SoftTokenRules())
        kept = decode_sound(sample.path.read_bytes(), "audio/flac", SoftTokenRules())
        # Releases of espeak-ng differ a little.
        assert len(made) == pytest.approx(len(kept), rel=0.1)
