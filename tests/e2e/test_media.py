"""Images, sound and video over gRPC: every variant answers to what it can see or hear."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from cluster.client import Client
from cluster.errors import InvalidRequest
from protos.gemmacluster.v1 import content_pb2, generation_pb2
from tests.cluster.media_samples import flac, image, mp3, mp4, wav, webm

MEDIA = {
    "image/png": image("PNG", 320, 200),
    "image/jpeg": image("JPEG", 90, 400),
    "image/webp": image("WEBP", 64, 64),
    "video/mp4": mp4(30),
    "video/webm": webm(20),
    "audio/wav": wav(1.5),
    "audio/flac": flac(0.4),
    "audio/mpeg": mp3(2.0),
}
SEE, HEAR = [kind for kind in MEDIA if not kind.startswith("audio/")], ["audio/wav", "audio/flac", "audio/mpeg"]
CASES = [(variant, kind) for variant in ("e2b", "e4b") for kind in (*SEE, *HEAR)]
CASES += [(variant, kind) for variant in ("26b-a4b", "31b") for kind in SEE]


def message(text: str, *kinds: str) -> content_pb2.Content:
    """Media, then text."""
    blobs = [content_pb2.Blob(mime_type=kind, data=MEDIA[kind]) for kind in kinds]
    parts = [content_pb2.Part(inline_data=blob) for blob in blobs]
    return content_pb2.Content(parts=[*parts, content_pb2.Part(text=text)])


@pytest.mark.parametrize(("variant", "kind"), CASES)
def test_a_variant_answers_to_what_it_can_see_or_hear(client: Client, variant: str, kind: str) -> None:
    options = {"model": variant, "max_output_tokens": 8, "temperature": 0}
    answer = client.generate(message("what is it?", kind), **options)
    again = client.generate(message("what is it?", kind), **options)
    modality = content_pb2.Modality.Value(f"MODALITY_{kind.partition('/')[0].upper()}")
    counts = {item.modality: item.tokens for item in answer.usage.prompt_tokens_by_modality}
    assert counts[modality] > 0
    assert 1 <= answer.usage.output_tokens <= 8
    assert answer.content == again.content


@pytest.mark.parametrize("variant", ["e2b", "31b"])
def test_the_answer_depends_on_the_picture(client: Client, variant: str) -> None:
    def answer(data: bytes) -> str:
        blob = content_pb2.Blob(mime_type="image/png", data=data)
        turn = content_pb2.Content(parts=[content_pb2.Part(inline_data=blob), content_pb2.Part(text="describe it")])
        return client.generate(turn, model=variant, max_output_tokens=24, temperature=0).content.parts[0].text

    pictures = [image("PNG", 200, 200, "L"), image("PNG", 200, 200), image("PNG", 150, 200)]
    assert len({answer(picture) for picture in pictures}) > 1


def test_several_media_of_several_kinds_in_one_turn(client: Client) -> None:
    turn = message("compare them", "image/png", "audio/wav", "image/jpeg", "video/mp4")
    answer = client.generate(turn, model="e4b", max_output_tokens=8)
    assert {item.modality for item in answer.usage.prompt_tokens_by_modality} == {
        content_pb2.MODALITY_TEXT,
        content_pb2.MODALITY_IMAGE,
        content_pb2.MODALITY_AUDIO,
        content_pb2.MODALITY_VIDEO,
    }


def test_a_picture_stays_in_the_session(client: Client) -> None:
    session = client.create_session().session_id
    first = client.generate(message("look", "image/png"), session=session, model="e2b", max_output_tokens=4)
    second = client.generate("and now?", session=session, max_output_tokens=4)
    pictures = [
        item.tokens
        for answer in (first, second)
        for item in answer.usage.prompt_tokens_by_modality
        if item.modality == content_pb2.MODALITY_IMAGE
    ]
    assert len(pictures) == 2
    assert pictures[0] == pictures[1]
    assert client.get_session(session).contents[0].parts[0].inline_data.data == MEDIA["image/png"]


def test_a_history_larger_than_one_message_reaches_the_replica(client: Client) -> None:
    session = client.create_session().session_id
    for seed in (1, 2):
        noise = np.random.default_rng(seed).integers(0, 256, (1800, 1800, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG", compress_level=0)
        blob = content_pb2.Blob(mime_type="image/png", data=file.getvalue())
        turn = content_pb2.Content(parts=[content_pb2.Part(inline_data=blob)])
        answer = client.generate(turn, session=session, model="echo", max_output_tokens=1)
    assert answer.session.turns == 2


def test_audio_alone_goes_to_a_variant_that_hears(client: Client) -> None:
    answer = client.generate(message("what was said?", "audio/wav"), max_output_tokens=4)
    assert answer.routing.variant in ("e2b", "e4b")


@pytest.mark.parametrize("variant", ["e2b", "31b"])
def test_a_caller_chooses_the_resolution_of_each_medium(client: Client, variant: str) -> None:
    sizes = [70, 140, 280, 560, 1120]
    counts = [_image_tokens(client.generate(scaled(most), model=variant, max_output_tokens=2)) for most in sizes]
    assert counts == sorted(set(counts))
    assert all(count <= most for count, most in zip(counts, sizes, strict=True))
    assert [_image_tokens(client.count_tokens(scaled(most), model=variant)) for most in sizes] == counts
    both = client.generate(scaled(70, 1120), model=variant, max_output_tokens=2)
    assert _image_tokens(both) == counts[0] + counts[-1]


def test_a_resolution_stays_in_the_session(client: Client) -> None:
    session = client.create_session().session_id
    first = client.generate(scaled(560, 70), session=session, model="e2b", max_output_tokens=2)
    second = client.generate("and now?", session=session, max_output_tokens=2)
    assert _image_tokens(second) == _image_tokens(first) > 560


@pytest.mark.parametrize(("kind", "most"), [("image/png", 100), ("video/mp4", 0), ("audio/wav", 280)])
def test_a_resolution_that_cannot_be_names_its_field(client: Client, kind: str, most: int) -> None:
    blob = content_pb2.Blob(mime_type=kind, data=MEDIA[kind], max_soft_tokens=most)
    with pytest.raises(InvalidRequest) as caught:
        client.route(content_pb2.Content(parts=[content_pb2.Part(inline_data=blob)]))
    assert [item.field for item in caught.value.violations] == ["contents[0].parts[0].inline_data.max_soft_tokens"]


def scaled(*sizes: int) -> content_pb2.Content:
    """The same picture at several resolutions."""
    data = MEDIA["image/png"]
    blobs = [content_pb2.Blob(mime_type="image/png", data=data, max_soft_tokens=most) for most in sizes]
    return content_pb2.Content(parts=[content_pb2.Part(inline_data=blob) for blob in blobs])


def _image_tokens(answer: generation_pb2.GenerateResponse | generation_pb2.CountTokensResponse) -> int:
    is_counted = isinstance(answer, generation_pb2.CountTokensResponse)
    counts = answer.tokens_by_modality if is_counted else answer.usage.prompt_tokens_by_modality
    return sum(item.tokens for item in counts if item.modality == content_pb2.MODALITY_IMAGE)
