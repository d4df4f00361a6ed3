from google.protobuf import struct_pb2 as _struct_pb2
from protos.gemmacluster.v1 import content_pb2 as _content_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RoutingPreference(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROUTING_PREFERENCE_UNSPECIFIED: _ClassVar[RoutingPreference]
    ROUTING_PREFERENCE_FAST: _ClassVar[RoutingPreference]
    ROUTING_PREFERENCE_BALANCED: _ClassVar[RoutingPreference]
    ROUTING_PREFERENCE_BEST: _ClassVar[RoutingPreference]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BATCH: _ClassVar[Priority]

class QueueReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUEUE_REASON_UNSPECIFIED: _ClassVar[QueueReason]
    QUEUE_REASON_BUSY: _ClassVar[QueueReason]
    QUEUE_REASON_STARTING: _ClassVar[QueueReason]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_STOP: _ClassVar[FinishReason]
    FINISH_REASON_MAX_TOKENS: _ClassVar[FinishReason]
ROUTING_PREFERENCE_UNSPECIFIED: RoutingPreference
ROUTING_PREFERENCE_FAST: RoutingPreference
ROUTING_PREFERENCE_BALANCED: RoutingPreference
ROUTING_PREFERENCE_BEST: RoutingPreference
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BATCH: Priority
QUEUE_REASON_UNSPECIFIED: QueueReason
QUEUE_REASON_BUSY: QueueReason
QUEUE_REASON_STARTING: QueueReason
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_STOP: FinishReason
FINISH_REASON_MAX_TOKENS: FinishReason

class GenerationConfig(_message.Message):
    __slots__ = ("max_output_tokens", "temperature", "top_k", "top_p", "seed", "stop_sequences", "thinking", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "response_format")
    class LogitBiasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_SEQUENCES_FIELD_NUMBER: _ClassVar[int]
    THINKING_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    max_output_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stop_sequences: _containers.RepeatedScalarFieldContainer[str]
    thinking: bool
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: _containers.ScalarMap[int, float]
    logprobs: int
    response_format: ResponseFormat
    def __init__(self, max_output_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., stop_sequences: _Optional[_Iterable[str]] = ..., thinking: _Optional[bool] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., logit_bias: _Optional[_Mapping[int, float]] = ..., logprobs: _Optional[int] = ..., response_format: _Optional[_Union[ResponseFormat, _Mapping]] = ...) -> None: ...

class ResponseFormat(_message.Message):
    __slots__ = ("json_schema", "json_object", "regex", "choice")
    class JsonObject(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Choice(_message.Message):
        __slots__ = ("texts",)
        TEXTS_FIELD_NUMBER: _ClassVar[int]
        texts: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, texts: _Optional[_Iterable[str]] = ...) -> None: ...
    JSON_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    JSON_OBJECT_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    CHOICE_FIELD_NUMBER: _ClassVar[int]
    json_schema: _struct_pb2.Struct
    json_object: ResponseFormat.JsonObject
    regex: str
    choice: ResponseFormat.Choice
    def __init__(self, json_schema: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., json_object: _Optional[_Union[ResponseFormat.JsonObject, _Mapping]] = ..., regex: _Optional[str] = ..., choice: _Optional[_Union[ResponseFormat.Choice, _Mapping]] = ...) -> None: ...

class TokenLogprob(_message.Message):
    __slots__ = ("token_id", "token", "logprob")
    TOKEN_ID_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    LOGPROB_FIELD_NUMBER: _ClassVar[int]
    token_id: int
    token: bytes
    logprob: float
    def __init__(self, token_id: _Optional[int] = ..., token: _Optional[bytes] = ..., logprob: _Optional[float] = ...) -> None: ...

class TokenLogprobs(_message.Message):
    __slots__ = ("chosen", "top")
    CHOSEN_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    chosen: TokenLogprob
    top: _containers.RepeatedCompositeFieldContainer[TokenLogprob]
    def __init__(self, chosen: _Optional[_Union[TokenLogprob, _Mapping]] = ..., top: _Optional[_Iterable[_Union[TokenLogprob, _Mapping]]] = ...) -> None: ...

class RoutingPreferences(_message.Message):
    __slots__ = ("preference", "allowed_variants", "max_cost")
    PREFERENCE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_VARIANTS_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    preference: RoutingPreference
    allowed_variants: _containers.RepeatedScalarFieldContainer[str]
    max_cost: float
    def __init__(self, preference: _Optional[_Union[RoutingPreference, str]] = ..., allowed_variants: _Optional[_Iterable[str]] = ..., max_cost: _Optional[float] = ...) -> None: ...

class RoutingReason(_message.Message):
    __slots__ = ("code", "variant", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    variant: str
    message: str
    def __init__(self, code: _Optional[str] = ..., variant: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class QueueStatus(_message.Message):
    __slots__ = ("variant", "reason", "requests_ahead", "waited_ms", "wait_ms")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_AHEAD_FIELD_NUMBER: _ClassVar[int]
    WAITED_MS_FIELD_NUMBER: _ClassVar[int]
    WAIT_MS_FIELD_NUMBER: _ClassVar[int]
    variant: str
    reason: QueueReason
    requests_ahead: int
    waited_ms: float
    wait_ms: float
    def __init__(self, variant: _Optional[str] = ..., reason: _Optional[_Union[QueueReason, str]] = ..., requests_ahead: _Optional[int] = ..., waited_ms: _Optional[float] = ..., wait_ms: _Optional[float] = ...) -> None: ...

class RoutingInfo(_message.Message):
    __slots__ = ("variant", "reasons", "queue_ms", "cached_tokens", "candidates")
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_MS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    variant: str
    reasons: _containers.RepeatedCompositeFieldContainer[RoutingReason]
    queue_ms: float
    cached_tokens: int
    candidates: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, variant: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[RoutingReason, _Mapping]]] = ..., queue_ms: _Optional[float] = ..., cached_tokens: _Optional[int] = ..., candidates: _Optional[_Iterable[str]] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("prompt_tokens", "prompt_tokens_by_modality", "output_tokens", "thought_tokens", "cached_tokens", "migrations")
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_BY_MODALITY_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    THOUGHT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    prompt_tokens: int
    prompt_tokens_by_modality: _containers.RepeatedCompositeFieldContainer[_content_pb2.ModalityTokens]
    output_tokens: int
    thought_tokens: int
    cached_tokens: int
    migrations: int
    def __init__(self, prompt_tokens: _Optional[int] = ..., prompt_tokens_by_modality: _Optional[_Iterable[_Union[_content_pb2.ModalityTokens, _Mapping]]] = ..., output_tokens: _Optional[int] = ..., thought_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., migrations: _Optional[int] = ...) -> None: ...

class SessionState(_message.Message):
    __slots__ = ("session_id", "etag", "turns")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TURNS_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    etag: str
    turns: int
    def __init__(self, session_id: _Optional[str] = ..., etag: _Optional[str] = ..., turns: _Optional[int] = ...) -> None: ...

class GenerateRequest(_message.Message):
    __slots__ = ("request_id", "model", "contents", "system_instruction", "generation_config", "routing", "session_id", "session_etag", "tools", "priority", "resumable")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_INSTRUCTION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_CONFIG_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_ETAG_FIELD_NUMBER: _ClassVar[int]
    TOOLS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    RESUMABLE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    contents: _containers.RepeatedCompositeFieldContainer[_content_pb2.Content]
    system_instruction: _content_pb2.Content
    generation_config: GenerationConfig
    routing: RoutingPreferences
    session_id: str
    session_etag: str
    tools: _containers.RepeatedCompositeFieldContainer[_content_pb2.FunctionDeclaration]
    priority: Priority
    resumable: bool
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., contents: _Optional[_Iterable[_Union[_content_pb2.Content, _Mapping]]] = ..., system_instruction: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., generation_config: _Optional[_Union[GenerationConfig, _Mapping]] = ..., routing: _Optional[_Union[RoutingPreferences, _Mapping]] = ..., session_id: _Optional[str] = ..., session_etag: _Optional[str] = ..., tools: _Optional[_Iterable[_Union[_content_pb2.FunctionDeclaration, _Mapping]]] = ..., priority: _Optional[_Union[Priority, str]] = ..., resumable: _Optional[bool] = ...) -> None: ...

class GenerateResponse(_message.Message):
    __slots__ = ("content", "finish_reason", "routing", "usage", "session", "request_id", "logprobs")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    content: _content_pb2.Content
    finish_reason: FinishReason
    routing: RoutingInfo
    usage: Usage
    session: SessionState
    request_id: str
    logprobs: _containers.RepeatedCompositeFieldContainer[TokenLogprobs]
    def __init__(self, content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., routing: _Optional[_Union[RoutingInfo, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., session: _Optional[_Union[SessionState, _Mapping]] = ..., request_id: _Optional[str] = ..., logprobs: _Optional[_Iterable[_Union[TokenLogprobs, _Mapping]]] = ...) -> None: ...

class StreamGenerateRequest(_message.Message):
    __slots__ = ("request", "max_tokens_per_message", "queue_status")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_PER_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_STATUS_FIELD_NUMBER: _ClassVar[int]
    request: GenerateRequest
    max_tokens_per_message: int
    queue_status: bool
    def __init__(self, request: _Optional[_Union[GenerateRequest, _Mapping]] = ..., max_tokens_per_message: _Optional[int] = ..., queue_status: _Optional[bool] = ...) -> None: ...

class StreamGenerateResponse(_message.Message):
    __slots__ = ("content", "chunk_index", "routing", "finish_reason", "usage", "session", "request_id", "logprobs", "queue_status")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_STATUS_FIELD_NUMBER: _ClassVar[int]
    content: _content_pb2.Content
    chunk_index: int
    routing: RoutingInfo
    finish_reason: FinishReason
    usage: Usage
    session: SessionState
    request_id: str
    logprobs: _containers.RepeatedCompositeFieldContainer[TokenLogprobs]
    queue_status: QueueStatus
    def __init__(self, content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., chunk_index: _Optional[int] = ..., routing: _Optional[_Union[RoutingInfo, _Mapping]] = ..., finish_reason: _Optional[_Union[FinishReason, str]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., session: _Optional[_Union[SessionState, _Mapping]] = ..., request_id: _Optional[str] = ..., logprobs: _Optional[_Iterable[_Union[TokenLogprobs, _Mapping]]] = ..., queue_status: _Optional[_Union[QueueStatus, _Mapping]] = ...) -> None: ...

class ResumeGenerateRequest(_message.Message):
    __slots__ = ("request_id", "after_chunk_index")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    after_chunk_index: int
    def __init__(self, request_id: _Optional[str] = ..., after_chunk_index: _Optional[int] = ...) -> None: ...

class ResumeGenerateResponse(_message.Message):
    __slots__ = ("chunk",)
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    chunk: StreamGenerateResponse
    def __init__(self, chunk: _Optional[_Union[StreamGenerateResponse, _Mapping]] = ...) -> None: ...

class CountTokensRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: GenerateRequest
    def __init__(self, request: _Optional[_Union[GenerateRequest, _Mapping]] = ...) -> None: ...

class CountTokensResponse(_message.Message):
    __slots__ = ("total_tokens", "tokens_by_modality", "variant")
    TOTAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_BY_MODALITY_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    total_tokens: int
    tokens_by_modality: _containers.RepeatedCompositeFieldContainer[_content_pb2.ModalityTokens]
    variant: str
    def __init__(self, total_tokens: _Optional[int] = ..., tokens_by_modality: _Optional[_Iterable[_Union[_content_pb2.ModalityTokens, _Mapping]]] = ..., variant: _Optional[str] = ...) -> None: ...

class RouteRequest(_message.Message):
    __slots__ = ("request",)
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    request: GenerateRequest
    def __init__(self, request: _Optional[_Union[GenerateRequest, _Mapping]] = ...) -> None: ...

class RouteResponse(_message.Message):
    __slots__ = ("routing", "prompt_tokens_by_modality", "max_output_tokens")
    ROUTING_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_BY_MODALITY_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    routing: RoutingInfo
    prompt_tokens_by_modality: _containers.RepeatedCompositeFieldContainer[_content_pb2.ModalityTokens]
    max_output_tokens: int
    def __init__(self, routing: _Optional[_Union[RoutingInfo, _Mapping]] = ..., prompt_tokens_by_modality: _Optional[_Iterable[_Union[_content_pb2.ModalityTokens, _Mapping]]] = ..., max_output_tokens: _Optional[int] = ...) -> None: ...
