"""Builds prompts: renders the checkpoint's chat template, encodes it, lays out soft tokens, counts by modality."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import InvalidRequest, NotSupported
from cluster.media import MediaError, inspect_media
from cluster.prompt.messages import to_messages, to_tools
from cluster.prompt.soft_runs import SoftRuns
from cluster.request import MediaInfo
from model.chat_template import ChatTemplate, ChatTemplateError
from model.tokenizer import Tokenizer, read_tokenizer_config
from protos.gemmacluster.v1.content_pb2 import Content, FunctionDeclaration


@dataclass(frozen=True, slots=True)
class PlacedMedia:
    """A medium of a prompt, and where its soft tokens are.

    `token_offset` is the position of the first. The tokens of a video lie in several runs, one a frame, with
    timestamps between; `token_count` is the number in all runs together. `max_soft_tokens` is what the caller asked
    for, None for the checkpoint's.
    """

    sha256: str
    mime_type: str
    data: bytes
    token_offset: int
    token_count: int
    max_soft_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt ready for an engine.

    In `tokens_by_modality` a medium counts its soft tokens; the template, the begin and end tokens of media and
    the timestamps of videos are text.
    """

    token_ids: list[int]
    tokens_by_modality: dict[str, int]
    media: tuple[PlacedMedia, ...] = ()

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


class PromptBuilder:
    """Builds prompts for one checkpoint. Safe to use from several threads."""

    def __init__(self, checkpoint: Path) -> None:
        """Reads tokenizer, chat template and configs. Raises TokenizerError, ChatTemplateError, CheckpointError."""
        self._tokenizer = Tokenizer.from_checkpoint(checkpoint)
        self._longest_token = self._tokenizer.longest_token()
        self._template = ChatTemplate.from_checkpoint(checkpoint)
        self._runs = SoftRuns.from_checkpoint(checkpoint, self._tokenizer)
        self.fingerprint = _fingerprint(checkpoint, self._runs)

    def build(
        self,
        contents: Sequence[Content],
        *,
        system: Content | None = None,
        thinking: bool = False,
        tools: Sequence[FunctionDeclaration] = (),
        media: Mapping[str, MediaInfo] | None = None,
    ) -> Prompt:
        """The prompt of a checked conversation, ready for the model's next turn.

        `media` holds what is known already, by content hash; other media are decoded here. Nothing that a caller
        wrote becomes a control token. Raises InvalidRequest if the template refuses the conversation, NotSupported
        if it has no place for a modality.
        """
        text = self._render(contents, system, thinking, tools)
        return self._lay_out(text, list(_media(contents, media or {})))

    def least_tokens(self, contents: Sequence[Content], media: Mapping[str, MediaInfo] | None = None) -> int:
        """A number of tokens that the prompt has at least; cheap: neither rendered nor encoded."""
        said = [part for content in contents for part in content.parts if not part.thought]
        chars = sum(len(part.text.strip()) for part in said)
        found = _media(contents, media or {})
        runs = [run for medium in found for run in self._runs.of(medium.info, medium.max_soft_tokens)]
        return chars // self._longest_token + sum(run.count + 2 for run in runs)

    def _render(
        self,
        contents: Sequence[Content],
        system: Content | None,
        thinking: bool,
        tools: Sequence[FunctionDeclaration],
    ) -> str:
        try:
            return self._template.render(
                to_messages(contents, system),
                tools=to_tools(tools),
                enable_thinking=thinking,
                escape=self._tokenizer.escape_specials,
            )
        except ChatTemplateError as error:
            raise InvalidRequest.of("contents", str(error)) from error

    def _lay_out(self, text: str, found: list[_Medium]) -> Prompt:
        texts, places = self._runs.split(text)
        wanted: list[str] = [medium.info.modality for medium in found]
        if places != wanted:
            missing = " and ".join(Counter(wanted) - Counter(places)) or "media in this order"
            raise NotSupported(f"this checkpoint's chat template has no place for {missing}")
        ids: list[int] = []
        counts: Counter[str] = Counter()
        placed = []
        for before, medium in zip(texts, found, strict=False):
            placed.append(self._place(ids, before, medium))
            counts[medium.info.modality] += placed[-1].token_count
        ids += self._tokenizer.encode_chat(texts[-1])
        return Prompt(ids, {"text": len(ids) - counts.total(), **counts}, tuple(placed))

    def _place(self, ids: list[int], before: str, medium: _Medium) -> PlacedMedia:
        """Appends the text before a medium and its runs."""
        info, most = medium.info, medium.max_soft_tokens
        runs = self._runs.of(info, most)
        offsets = []
        for run in runs:
            ids += self._tokenizer.encode_chat(before + run.label)
            offsets.append(len(ids) + 1)
            ids += run.ids
            before = ""
        count = sum(run.count for run in runs)
        return PlacedMedia(info.sha256, info.mime_type, medium.data, offsets[0], count, most)


@dataclass(frozen=True, slots=True)
class _Medium:
    """The same bytes may be there twice, at two resolutions: `info` is of the bytes alone."""

    data: bytes
    info: MediaInfo
    max_soft_tokens: int | None


def _media(contents: Sequence[Content], known: Mapping[str, MediaInfo]) -> Iterator[_Medium]:
    for content in contents:
        for part in content.parts:
            if part.HasField("inline_data"):
                blob = part.inline_data
                data = blob.data  # a copy each time it is read
                most = blob.max_soft_tokens if blob.HasField("max_soft_tokens") else None
                yield _Medium(data, _info(data, blob.mime_type, known), most)


def _info(data: bytes, mime_type: str, known: Mapping[str, MediaInfo]) -> MediaInfo:
    info = known.get(hashlib.sha256(data).hexdigest())
    try:
        return info or inspect_media(data, mime_type)
    except MediaError as error:
        raise InvalidRequest.of("contents", str(error)) from error


def _fingerprint(checkpoint: Path, runs: SoftRuns) -> str:
    """Equal for checkpoints that make equal prompts of equal conversations."""
    config = read_tokenizer_config(checkpoint)
    # Says nothing of the ids, and differs between variants.
    config.pop("model_max_length", None)
    template = checkpoint / "chat_template.jinja"
    digest = hashlib.sha256((checkpoint / "tokenizer.json").read_bytes())
    digest.update(template.read_bytes() if template.exists() else b"")
    digest.update(repr(sorted(config.items())).encode())
    digest.update(runs.identity.encode())
    return digest.hexdigest()
