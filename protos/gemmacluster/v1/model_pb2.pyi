from protos.gemmacluster.v1 import content_pb2 as _content_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "display_name", "checkpoint", "engine", "input_modalities", "context_tokens", "max_output_tokens", "total_parameters", "active_parameters", "cost", "replicas")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    INPUT_MODALITIES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    checkpoint: str
    engine: str
    input_modalities: _containers.RepeatedScalarFieldContainer[_content_pb2.Modality]
    context_tokens: int
    max_output_tokens: int
    total_parameters: int
    active_parameters: int
    cost: float
    replicas: ReplicaCounts
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., checkpoint: _Optional[str] = ..., engine: _Optional[str] = ..., input_modalities: _Optional[_Iterable[_Union[_content_pb2.Modality, str]]] = ..., context_tokens: _Optional[int] = ..., max_output_tokens: _Optional[int] = ..., total_parameters: _Optional[int] = ..., active_parameters: _Optional[int] = ..., cost: _Optional[float] = ..., replicas: _Optional[_Union[ReplicaCounts, _Mapping]] = ...) -> None: ...

class ReplicaCounts(_message.Message):
    __slots__ = ("running", "target", "min", "max")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    running: int
    target: int
    min: int
    max: int
    def __init__(self, running: _Optional[int] = ..., target: _Optional[int] = ..., min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: Model
    def __init__(self, model: _Optional[_Union[Model, _Mapping]] = ...) -> None: ...
