from protos.gemmacluster.v1 import admin_pb2 as _admin_pb2
from protos.gemmacluster.v1 import content_pb2 as _content_pb2
from protos.gemmacluster.v1 import generation_pb2 as _generation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReplicaRequest(_message.Message):
    __slots__ = ("request_id", "prompt_token_ids", "sampling", "max_tokens_per_message", "media", "progress", "traceparent")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_PER_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    prompt_token_ids: _containers.RepeatedScalarFieldContainer[int]
    sampling: ReplicaSampling
    max_tokens_per_message: int
    media: _containers.RepeatedCompositeFieldContainer[ReplicaMedia]
    progress: ReplicaProgress
    traceparent: str
    def __init__(self, request_id: _Optional[str] = ..., prompt_token_ids: _Optional[_Iterable[int]] = ..., sampling: _Optional[_Union[ReplicaSampling, _Mapping]] = ..., max_tokens_per_message: _Optional[int] = ..., media: _Optional[_Iterable[_Union[ReplicaMedia, _Mapping]]] = ..., progress: _Optional[_Union[ReplicaProgress, _Mapping]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class ReplicaProgress(_message.Message):
    __slots__ = ("token_ids", "next_chunk_index", "function_calls")
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    FUNCTION_CALLS_FIELD_NUMBER: _ClassVar[int]
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    next_chunk_index: int
    function_calls: int
    def __init__(self, token_ids: _Optional[_Iterable[int]] = ..., next_chunk_index: _Optional[int] = ..., function_calls: _Optional[int] = ...) -> None: ...

class ReplicaSampling(_message.Message):
    __slots__ = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "response_format")
    class LogitBiasEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: float
        def __init__(self, key: _Optional[int] = ..., value: _Optional[float] = ...) -> None: ...
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    TOP_P_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    MIN_P_FIELD_NUMBER: _ClassVar[int]
    REPETITION_PENALTY_FIELD_NUMBER: _ClassVar[int]
    PRESENCE_PENALTY_FIELD_NUMBER: _ClassVar[int]
    FREQUENCY_PENALTY_FIELD_NUMBER: _ClassVar[int]
    LOGIT_BIAS_FIELD_NUMBER: _ClassVar[int]
    LOGPROBS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stop: _containers.RepeatedScalarFieldContainer[str]
    min_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    logit_bias: _containers.ScalarMap[int, float]
    logprobs: int
    response_format: _generation_pb2.ResponseFormat
    def __init__(self, max_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., top_k: _Optional[int] = ..., top_p: _Optional[float] = ..., seed: _Optional[int] = ..., stop: _Optional[_Iterable[str]] = ..., min_p: _Optional[float] = ..., repetition_penalty: _Optional[float] = ..., presence_penalty: _Optional[float] = ..., frequency_penalty: _Optional[float] = ..., logit_bias: _Optional[_Mapping[int, float]] = ..., logprobs: _Optional[int] = ..., response_format: _Optional[_Union[_generation_pb2.ResponseFormat, _Mapping]] = ...) -> None: ...

class ReplicaMedia(_message.Message):
    __slots__ = ("mime_type", "data", "token_offset", "token_count", "max_soft_tokens")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TOKEN_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_SOFT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    data: bytes
    token_offset: int
    token_count: int
    max_soft_tokens: int
    def __init__(self, mime_type: _Optional[str] = ..., data: _Optional[bytes] = ..., token_offset: _Optional[int] = ..., token_count: _Optional[int] = ..., max_soft_tokens: _Optional[int] = ...) -> None: ...

class ReplicaChunk(_message.Message):
    __slots__ = ("responses", "result", "error_status", "elapsed_ms", "cached_tokens", "token_ids")
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_STATUS_FIELD_NUMBER: _ClassVar[int]
    ELAPSED_MS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IDS_FIELD_NUMBER: _ClassVar[int]
    responses: _containers.RepeatedScalarFieldContainer[bytes]
    result: ReplicaResult
    error_status: bytes
    elapsed_ms: float
    cached_tokens: int
    token_ids: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, responses: _Optional[_Iterable[bytes]] = ..., result: _Optional[_Union[ReplicaResult, _Mapping]] = ..., error_status: _Optional[bytes] = ..., elapsed_ms: _Optional[float] = ..., cached_tokens: _Optional[int] = ..., token_ids: _Optional[_Iterable[int]] = ...) -> None: ...

class ReplicaResult(_message.Message):
    __slots__ = ("content", "finish_reason", "output_tokens", "cached_tokens", "next_chunk_index", "thought_tokens", "migrations")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    CACHED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    THOUGHT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MIGRATIONS_FIELD_NUMBER: _ClassVar[int]
    content: _content_pb2.Content
    finish_reason: _generation_pb2.FinishReason
    output_tokens: int
    cached_tokens: int
    next_chunk_index: int
    thought_tokens: int
    migrations: int
    def __init__(self, content: _Optional[_Union[_content_pb2.Content, _Mapping]] = ..., finish_reason: _Optional[_Union[_generation_pb2.FinishReason, str]] = ..., output_tokens: _Optional[int] = ..., cached_tokens: _Optional[int] = ..., next_chunk_index: _Optional[int] = ..., thought_tokens: _Optional[int] = ..., migrations: _Optional[int] = ...) -> None: ...

class ReplicaLoadReport(_message.Message):
    __slots__ = ("running", "waiting", "kv_tokens", "kv_capacity_tokens", "replica_id", "ranks", "expert_bytes")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    KV_TOKENS_FIELD_NUMBER: _ClassVar[int]
    KV_CAPACITY_TOKENS_FIELD_NUMBER: _ClassVar[int]
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    EXPERT_BYTES_FIELD_NUMBER: _ClassVar[int]
    running: int
    waiting: int
    kv_tokens: int
    kv_capacity_tokens: int
    replica_id: str
    ranks: _containers.RepeatedCompositeFieldContainer[_admin_pb2.RankLoad]
    expert_bytes: int
    def __init__(self, running: _Optional[int] = ..., waiting: _Optional[int] = ..., kv_tokens: _Optional[int] = ..., kv_capacity_tokens: _Optional[int] = ..., replica_id: _Optional[str] = ..., ranks: _Optional[_Iterable[_Union[_admin_pb2.RankLoad, _Mapping]]] = ..., expert_bytes: _Optional[int] = ...) -> None: ...
