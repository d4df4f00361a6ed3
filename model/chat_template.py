"""Renders conversations with the checkpoint's own jinja template, sandboxed, by transformers' conventions."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from model.tokenizer import Tokenizer, named_tokens, read_tokenizer_config

# What a template can raise while it renders: its own refusals, and wrong types or keys in the conversation.
_TEMPLATE_FAILURES = (
    jinja2.TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
)


class ChatTemplateError(ValueError):
    """The template is missing or broken, or it refuses this conversation."""


class ChatTemplate:
    """One compiled chat template. Every rendering sees `variables` (bos_token, ...) and the conversation."""

    def __init__(self, source: str, variables: dict[str, str]) -> None:
        try:
            self._template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise ChatTemplateError(f"chat template does not compile: {error}") from error
        self._variables = variables

    @classmethod
    def from_checkpoint(cls, path: Path) -> "ChatTemplate":
        """Reads chat_template.jinja under `path`, else "chat_template" of tokenizer_config.json.

        Raises ChatTemplateError, and TokenizerError for a broken tokenizer_config.json.
        """
        config = read_tokenizer_config(path)
        return cls(_read_source(path, config), named_tokens(config))

    def render(
        self,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        enable_thinking: bool = False,
        add_generation_prompt: bool = True,
        escape: Callable[[str], str] | None = None,
    ) -> str:
        """The prompt text. Raises ChatTemplateError, in the template's words, if it refuses the conversation.

        `messages` have a role (system, user, assistant, tool) and content: a string, or a list of
        {"type": "text" | "image" | "audio" | "video", ...}. `tools` are JSON-schema function declarations.
        `escape` is applied to every string of the caller: with `Tokenizer.escape_specials`, and the result
        encoded by `Tokenizer.encode_chat`, no caller can write control tokens. `encode` does just that.
        """
        if not messages:
            raise ChatTemplateError("the conversation is empty")
        if escape is not None:
            messages, tools = _escape_all(messages, escape), _escape_all(tools, escape)
        try:
            return self._template.render(
                messages=messages,
                tools=tools,
                documents=None,
                enable_thinking=enable_thinking,
                add_generation_prompt=add_generation_prompt,
                **self._variables,
            )
        except _TEMPLATE_FAILURES as error:
            raise ChatTemplateError(f"chat template: {error}") from error

    def encode(
        self,
        tokenizer: Tokenizer,
        messages: list[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        enable_thinking: bool = False,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Token ids of the prompt; control tokens come from the template alone, never from the caller."""
        text = self.render(
            messages,
            tools=tools,
            enable_thinking=enable_thinking,
            add_generation_prompt=add_generation_prompt,
            escape=tokenizer.escape_specials,
        )
        return tokenizer.encode_chat(text)


class _GenerationTag(jinja2.ext.Extension):
    """Renders the body of {% generation %}…{% endgeneration %}, by which templates mark trained spans."""

    tags = {"generation"}  # noqa: RUF012 (jinja2's own declaration)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # jinja2's own filter escapes for HTML, which a prompt must not.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise jinja2.TemplateError(message)


def _read_source(path: Path, config: dict[str, Any]) -> str:
    file = path / "chat_template.jinja"
    if file.exists():
        return file.read_text()
    source = config.get("chat_template")
    if isinstance(source, list):  # several named templates
        source = {entry["name"]: entry["template"] for entry in source}.get("default")
    if not isinstance(source, str):
        raise ChatTemplateError(f"no chat template in {file} nor in tokenizer_config.json")
    return source


def _escape_all(value: Any, escape: Callable[[str], str]) -> Any:
    """The same structure with every string escaped, keys too. Roles and types have no character to escape."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, list | tuple):
        return [_escape_all(item, escape) for item in value]
    if isinstance(value, dict):
        return {_escape_all(key, escape): _escape_all(item, escape) for key, item in value.items()}
    return value
