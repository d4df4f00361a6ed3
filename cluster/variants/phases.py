"""The two phases of an answer in its engine, as spans: prefill until the first token, decode from there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from opentelemetry.trace import Span

from cluster import tracing
from cluster.engines.base import EngineOutput
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaRequest


class Phases:
    """Made by `phases`."""

    def __init__(self, whole: Span, stack: ExitStack) -> None:
        self._whole, self._stack = whole, stack
        self._current = self._begin("prefill")
        self._steps = self._tokens = 0

    def _begin(self, name: str) -> Span:
        return self._stack.enter_context(tracing.span(name, tracing.carried(self._whole)))

    def wrote(self, outputs: list[EngineOutput]) -> None:
        """The engine's outputs: one for each of its steps that wrote something."""
        if not self._steps:
            self._whole.set_attribute("gen_ai.usage.cache_read.input_tokens", outputs[0].cached_tokens)
            self._stack.close()
            self._current = self._begin("decode")
        self._steps += len(outputs)
        self._tokens += sum(output.token_count for output in outputs)

    def end(self) -> None:
        """Notes what it came to."""
        self._current.set_attribute("gemma_cluster.steps", self._steps)
        self._whole.set_attribute("gen_ai.usage.output_tokens", self._tokens)


@contextmanager
def phases(request: ReplicaRequest) -> Iterator[Phases]:
    """Around an answer, under the gateway's span for it."""
    prompt = len(request.prompt_token_ids)
    with tracing.span("generate", request.traceparent, gen_ai__usage__input_tokens=prompt) as whole, ExitStack() as own:
        made = Phases(whole, own)
        try:
            yield made
        finally:
            made.end()
