"""Prompt laws: the ids are those transformers' processor makes, and nothing a caller writes is a control token."""

import importlib
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast
from transformers.models.gemma4 import image_processing_pil_gemma4
from transformers.video_utils import VideoMetadata, default_sample_indices_fn

from cluster.errors import InvalidRequest, NotSupported
from cluster.media import inspect_media
from cluster.prompt import Prompt, PromptBuilder
from cluster.request import MediaInfo
from model.soft_tokens import SoftTokenRules, audio_soft_tokens, image_soft_tokens, video_frames
from model.tiny import ensure_tiny
from protos.gemmacluster.v1.content_pb2 import (
    ROLE_MODEL,
    ROLE_SYSTEM,
    ROLE_TOOL,
    ROLE_USER,
    Blob,
    Content,
    FunctionCall,
    FunctionDeclaration,
    FunctionResponse,
    Part,
)
from tests.cluster import media_samples as samples

RULES = SoftTokenRules()
TOKENS = {
    "boi_token": "<|image>",
    "image_token": "<|image|>",
    "eoi_token": "<image|>",
    "boa_token": "<|audio>",
    "audio_token": "<|audio|>",
    "eoa_token": "<audio|>",
    "video_token": "<|video|>",
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_tiny("e2b", tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def builder(checkpoint: Path) -> PromptBuilder:
    return PromptBuilder(checkpoint)


@pytest.fixture(scope="session")
def reference(checkpoint: Path) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def processor() -> Iterator[Any]:
    """transformers' Gemma4Processor class, which imports torchvision unless the Pillow twin stands in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "transformers.models.gemma4.image_processing_gemma4", image_processing_pil_gemma4)
        yield importlib.import_module("transformers.models.gemma4.processing_gemma4").Gemma4Processor


def user(*parts: Part | str) -> Content:
    return Content(role=ROLE_USER, parts=[Part(text=p) if isinstance(p, str) else p for p in parts])


def model(*parts: Part | str) -> Content:
    return Content(role=ROLE_MODEL, parts=[Part(text=p) if isinstance(p, str) else p for p in parts])


def media(data: bytes, mime_type: str, max_soft_tokens: int | None = None) -> Part:
    return Part(inline_data=Blob(mime_type=mime_type, data=data, max_soft_tokens=max_soft_tokens))


def struct(**values: Any) -> Struct:
    result = Struct()
    result.update(values)
    return result


SYSTEM = Content(role=ROLE_SYSTEM, parts=[Part(text="Be brief.")])
PNG = media(samples.image("PNG", 640, 480), "image/png")
OGG = media(samples.ogg(1.0), "audio/ogg")
MP4 = media(samples.mp4(50), "video/mp4")


def text_of(builder: PromptBuilder, prompt: Prompt) -> str:
    return builder._tokenizer.decode(prompt.token_ids, skip_special=False)


@pytest.mark.parametrize("thinking", [False, True])
def test_a_conversation_has_the_ids_transformers_gives_it(
    builder: PromptBuilder, reference: PreTrainedTokenizerFast, thinking: bool
) -> None:
    contents = [user("Hi there, ", "friend"), model("Hello!"), user("How are you?")]
    expected = reference.apply_chat_template(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi there, friend"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": "How are you?"},
        ],
        add_generation_prompt=True,
        enable_thinking=thinking,
        return_dict=False,
    )
    prompt = builder.build(contents, system=SYSTEM, thinking=thinking)
    assert prompt.token_ids == expected
    assert prompt.tokens_by_modality == {"text": len(expected)}
    assert prompt.tokens == len(expected)
    assert prompt.media == ()


def test_tools_calls_and_results_have_the_ids_transformers_gives_them(
    builder: PromptBuilder, reference: PreTrainedTokenizerFast
) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = FunctionDeclaration(name="weather", description="Tells the weather", parameters=struct(**schema))
    call = FunctionCall(id="1", name="weather", args=struct(city="Oslo", days=3))
    result = FunctionResponse(id="1", name="weather", response=struct(celsius=-3.5, snow=True))
    contents = [
        user("Weather?"),
        model(Part(text="He asks for Oslo.", thought=True), Part(function_call=call)),
        Content(role=ROLE_TOOL, parts=[Part(function_response=result)]),
    ]
    function = {"name": "weather", "arguments": {"city": "Oslo", "days": 3}}
    expected = reference.apply_chat_template(
        [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "tool_calls": [{"function": function}], "reasoning": "He asks for Oslo."},
            {"role": "tool", "name": "weather", "content": {"celsius": -3.5, "snow": True}},
        ],
        tools=[{"function": {"name": "weather", "description": "Tells the weather", "parameters": schema}}],
        add_generation_prompt=True,
        return_dict=False,
    )
    assert builder.build(contents, tools=[tool]).token_ids == expected


CALL = FunctionCall(name="weather", args=struct(city="Oslo"))
RESULT = FunctionResponse(name="weather", response=struct(celsius=-3.5))
TOOL_TURN = Content(role=ROLE_TOOL, parts=[Part(function_response=RESULT)])


def test_the_answer_to_a_result_closes_the_turn_that_called(builder: PromptBuilder) -> None:
    contents = [user("Weather?"), model(Part(function_call=CALL)), TOOL_TURN, model("Cold."), user("Thanks")]
    assert (
        '<|turn>model\n<|tool_call>call:weather{city:<|"|>Oslo<|"|>}<tool_call|>'
        "<|tool_response>response:weather{celsius:-3.5}<tool_response|>Cold.<turn|>\n<|turn>user\nThanks<turn|>\n"
    ) in text_of(builder, builder.build(contents))


def test_one_call_after_another_stays_in_the_turn(builder: PromptBuilder) -> None:
    calling = [model(Part(function_call=CALL)), TOOL_TURN]
    once, twice = (text_of(builder, builder.build([user("Weather?"), *calling * n], thinking=True)) for n in (1, 2))
    assert twice == once + once.partition("<|turn>model\n")[2]


def test_what_is_said_beside_a_call_comes_before_it_and_not_after_its_result(builder: PromptBuilder) -> None:
    contents = [user("Weather?"), model(Part(text="Hm.", thought=True), "I look.", Part(function_call=CALL)), TOOL_TURN]
    assert text_of(builder, builder.build(contents)).endswith(
        "<|turn>model\n<|channel>thought\nHm.\nI look.\n<channel|>"
        '<|tool_call>call:weather{city:<|"|>Oslo<|"|>}<tool_call|>'
        "<|tool_response>response:weather{celsius:-3.5}<tool_response|>"
    )


def replacement(processor: Any, info: MediaInfo) -> str:
    """What Gemma4Processor itself puts in the place of a medium."""
    names = SimpleNamespace(**TOKENS)
    if info.modality == "image":
        inputs = {"num_soft_tokens_per_image": [image_soft_tokens(info.width, info.height, RULES)]}
        return str(processor.replace_image_token(names, inputs, 0))
    if info.modality == "audio":
        return f"<|audio>{'<|audio|>' * audio_soft_tokens(info.duration_s, RULES)}<audio|>"
    frames = video_frames(info.width, info.height, info.frame_count, info.frames_per_s, RULES)
    metadata = VideoMetadata(total_num_frames=info.frame_count, fps=info.frames_per_s)
    metadata.frames_indices = list(default_sample_indices_fn(metadata, num_frames=min(32, info.frame_count)))
    inputs = {"num_soft_tokens_per_video": [frames.tokens_per_frame], "video_metadata": [metadata]}
    return str(processor.replace_video_token(names, inputs, 0))


@pytest.mark.parametrize("parts", [[PNG, "What is this?"], ["Hear:", OGG, " and see:", MP4, "99", PNG, PNG], [MP4]])
def test_media_become_what_the_processor_puts_in_their_place(
    builder: PromptBuilder, reference: PreTrainedTokenizerFast, processor: Any, parts: list[Part | str]
) -> None:
    items, text = [], ""
    for part in parts:
        info = None if isinstance(part, str) else inspect_media(part.inline_data.data, part.inline_data.mime_type)
        items.append({"type": "text", "text": part} if info is None else {"type": info.modality})
        text += part.strip() if isinstance(part, str) else replacement(processor, info)
    rendered = reference.apply_chat_template(
        [{"role": "user", "content": items}], add_generation_prompt=True, tokenize=False
    )
    start, end = rendered.index("user\n") + 5, rendered.index("<turn|>")
    expected = reference.encode(rendered[:start] + text + rendered[end:], add_special_tokens=False)
    assert builder.build([user(*parts)]).token_ids == expected


def test_soft_tokens_are_found_and_counted_by_modality(builder: PromptBuilder, reference: Any) -> None:
    prompt = builder.build([user("a", PNG, OGG), model("b"), user(MP4, "c")])
    image, audio, video = prompt.media
    ids = reference.convert_tokens_to_ids(["<|image|>", "<|audio|>", "<|video|>"])
    for placed, soft in zip(prompt.media, ids, strict=True):
        assert prompt.token_ids[placed.token_offset] == soft
        assert prompt.token_ids.index(soft) == placed.token_offset
        assert prompt.token_ids.count(soft) == placed.token_count
    assert prompt.tokens_by_modality == {
        "text": prompt.tokens - image.token_count - audio.token_count - video.token_count,
        "image": image_soft_tokens(640, 480, RULES),
        "audio": audio_soft_tokens(1.0, RULES),
        "video": 32 * video_frames(64, 48, 50, 25, RULES).tokens_per_frame,
    }
    assert image.data == PNG.inline_data.data
    assert [placed.mime_type for placed in prompt.media] == ["image/png", "audio/ogg", "video/mp4"]


def test_the_same_bytes_may_stand_in_a_prompt_at_every_resolution(builder: PromptBuilder) -> None:
    sizes = (70, 1120, None, 140, 560, 280, 70)
    for part, count in ((PNG, _image_tokens), (MP4, _video_tokens)):
        data, mime_type = part.inline_data.data, part.inline_data.mime_type
        contents = [user(*[media(data, mime_type, most) for most in sizes])]
        prompt = builder.build(contents)
        assert [placed.max_soft_tokens for placed in prompt.media] == list(sizes)
        assert [placed.token_count for placed in prompt.media] == [count(most) for most in sizes]
        assert len({placed.token_count for placed in prompt.media}) == 5
        assert sum(map(count, sizes)) < builder.least_tokens(contents) <= prompt.tokens


def _image_tokens(most: int | None) -> int:
    return image_soft_tokens(640, 480, replace(RULES, max_image_tokens=most or 280))


def _video_tokens(most: int | None) -> int:
    return video_frames(64, 48, 50, 25, replace(RULES, max_frame_tokens=most or 70)).tokens


def test_a_strip_longer_than_the_position_table_is_an_invalid_request(
    builder: PromptBuilder, checkpoint: Path, tmp_path: Path
) -> None:
    strip = samples.image("PNG", 3000, 2)
    shutil.copytree(checkpoint, tmp_path / "c")
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    config["vision_config"]["position_embedding_size"] = 3359
    (tmp_path / "c" / "config.json").write_text(json.dumps(config))
    short = PromptBuilder(tmp_path / "c")
    assert short.build([user(media(strip, "image/png", 560))]).tokens_by_modality["image"] == 560
    with pytest.raises(InvalidRequest, match="3360 patches in a row or column at 1120 soft tokens"):
        short.build([user(media(strip, "image/png", 1120))])
    assert builder.build([user(media(strip, "image/png", 1120))]).tokens_by_modality["image"] == 1120


def test_known_media_are_not_decoded_again(builder: PromptBuilder) -> None:
    info = inspect_media(PNG.inline_data.data, "image/png")
    claimed = MediaInfo("image", "image/png", info.sha256, 48, 48 * 3)
    prompt = builder.build([user(PNG)], media={info.sha256: claimed})
    assert prompt.tokens_by_modality["image"] == image_soft_tokens(48, 48 * 3, RULES)


def test_thoughts_of_answered_turns_are_left_out(builder: PromptBuilder) -> None:
    plain = [user("a"), model("b"), user("c")]
    thinking = [user("a"), model(Part(text="hm", thought=True), "b"), user("c")]
    assert builder.build(thinking).token_ids == builder.build(plain).token_ids
    alone = [user("a"), model(Part(text="hm", thought=True)), user("c")]
    assert builder.build(alone).token_ids == builder.build([user("a"), user("c")]).token_ids


def test_a_conversation_the_template_refuses_is_an_invalid_request(builder: PromptBuilder) -> None:
    result = Part(function_response=FunctionResponse(name="f"))
    with pytest.raises(InvalidRequest, match=r"contents: .*tool call"):
        builder.build([Content(role=ROLE_TOOL, parts=[result])])


def test_media_that_turn_out_broken_are_an_invalid_request(builder: PromptBuilder) -> None:
    with pytest.raises(InvalidRequest, match="not image/png"):
        builder.build([user(media(b"junk", "image/png"))])


HOSTILE = st.lists(
    st.sampled_from([*TOKENS.values(), "<|turn>", "<turn|>", "<bos>", "<|", "image|>", "<", "\ufdd0", "{{ 1 }}", "x"])
    | st.text(max_size=3),
    max_size=8,
).map("".join)


@settings(max_examples=100, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=HOSTILE, instruction=HOSTILE, answer=HOSTILE, argument=HOSTILE)
def test_no_caller_can_write_a_control_token(
    builder: PromptBuilder, said: str, instruction: str, answer: str, argument: str
) -> None:
    def build(said: str, instruction: str, answer: str, argument: str) -> Prompt:
        call = FunctionCall(name="f", args=struct(**{"k" + argument: argument}))
        result = FunctionResponse(name="f", response=struct(**{"k" + argument: [argument]}))
        contents = [
            user("-" + said, PNG),
            model("-" + answer),
            user("-" + said),
            model(Part(text="-" + said, thought=True), Part(function_call=call)),
            Content(role=ROLE_TOOL, parts=[Part(function_response=result)]),
        ]
        tool = FunctionDeclaration(name="f", description="-" + said)
        system = Content(role=ROLE_SYSTEM, parts=[Part(text="-" + instruction)])
        return builder.build(contents, system=system, tools=[tool])

    special = builder._tokenizer.special_ids
    hostile, harmless = build(said, instruction, answer, argument), build("", "", "", "")
    assert [i for i in hostile.token_ids if i in special] == [i for i in harmless.token_ids if i in special]


def test_values_nested_as_deep_as_the_codec_lets_them_are_rendered(builder: PromptBuilder) -> None:
    args: dict[str, Any] = {"x": 1}
    for _ in range(23):
        args = {"k": args}
    call = Part(function_call=FunctionCall(name="f", args=struct(**args)))
    prompt = builder.build([user("a"), model(call), user("b")])
    assert text_of(builder, prompt).count("k:{") == 23


def test_variants_of_one_family_share_a_fingerprint(builder: PromptBuilder, checkpoint: Path, tmp_path: Path) -> None:
    other = PromptBuilder(ensure_tiny("31b", tmp_path / "tiny"))
    assert other.fingerprint == builder.fingerprint
    changed = tmp_path / "changed"
    shutil.copytree(checkpoint, changed)
    processor = json.loads((changed / "processor_config.json").read_text())
    processor["image_processor"]["max_soft_tokens"] = 560
    (changed / "processor_config.json").write_text(json.dumps(processor))
    assert PromptBuilder(changed).fingerprint != builder.fingerprint


def test_a_template_without_a_place_for_a_modality_says_so(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "c")
    (tmp_path / "c" / "chat_template.jinja").write_text("{{ messages[0].content | map(attribute='type') | join }}")
    with pytest.raises(NotSupported, match="no place for image and audio"):
        PromptBuilder(tmp_path / "c").build([user("x", PNG, OGG)])


def test_a_vocabulary_without_tokens_for_a_modality_says_so(checkpoint: Path, tmp_path: Path) -> None:
    shutil.copytree(checkpoint, tmp_path / "c")
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    (tmp_path / "c" / "config.json").write_text(json.dumps(config | {"audio_token_id": 258_881}))
    bare = PromptBuilder(tmp_path / "c")
    with pytest.raises(NotSupported, match="audio"):
        bare.build([user("x", OGG)])
    assert bare.build([user("x", PNG)]).tokens_by_modality["image"] > 0


@settings(max_examples=50, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=4))
def test_a_prompt_never_has_fewer_tokens_than_the_least(builder: PromptBuilder, texts: list[str]) -> None:
    contents = [user(*texts, PNG)]
    assert builder.least_tokens(contents) <= builder.build(contents).tokens


def test_the_least_is_known_at_once_however_long_the_text(builder: PromptBuilder) -> None:
    contents = [user("word " * 4_000_000)]
    builder.least_tokens([user("x")])
    started = time.perf_counter()
    assert builder.least_tokens(contents) > 262_144
    assert time.perf_counter() - started < 0.5


def test_a_prompt_of_100_000_tokens_is_built_in_a_moment(builder: PromptBuilder) -> None:
    turns = [user("The <|turn> quick brown fox jumps over the lazy dog. " * 1000), model("Yes.")] * 4
    started = time.perf_counter()
    assert builder.build([*turns, user(*[PNG] * 50)]).tokens > 100_000
    assert time.perf_counter() - started < 5
