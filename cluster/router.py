"""Assigns each request to a variant: builds its prompt, asks the routing policy, prepares the replica's request."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.capabilities import Capabilities
from cluster.config import RoutingPolicy
from cluster.errors import InvalidRequest, NoVariant
from cluster.loads import LoadMonitor
from cluster.media import inspect_contents
from cluster.prompt import PlacedMedia, Prompt, PromptBuilder
from cluster.request import MediaInfo, ParsedRequest
from cluster.routing import NoVariantError, RouteDecision, RouteRequest, choose_variant
from protos.gemmacluster.internal.v1.replica_pb2 import ReplicaMedia, ReplicaRequest, ReplicaSampling
from protos.gemmacluster.v1.content_pb2 import Content

# Prompts longer than this, in bytes, are built off the event loop so that running streams go on.
_LONG_PROMPT_BYTES = 16_384


@dataclass(frozen=True)
class RoutedVariant:
    """A variant as the router knows it."""

    capabilities: Capabilities
    prompts: PromptBuilder


@dataclass(frozen=True)
class Routed:
    """A request with its variant chosen and its prompt built."""

    request: ParsedRequest
    decision: RouteDecision
    prompt: Prompt
    capabilities: Capabilities

    def replica_request(self, max_tokens_per_message: int) -> ReplicaRequest:
        """What the replica is asked, every default filled in."""
        return ReplicaRequest(
            request_id=self.request.request_id,
            prompt_token_ids=self.prompt.token_ids,
            sampling=self._sampling(),
            max_tokens_per_message=max_tokens_per_message,
            media=[_replica_medium(medium) for medium in self.prompt.media],
        )

    def _sampling(self) -> ReplicaSampling:
        asked, defaults = self.request.sampling, self.capabilities
        return ReplicaSampling(
            max_tokens=self.decision.max_output_tokens,
            temperature=defaults.default_temperature if asked.temperature is None else asked.temperature,
            top_k=(defaults.default_top_k or 0) if asked.top_k is None else asked.top_k,
            top_p=(defaults.default_top_p or 1.0) if asked.top_p is None else asked.top_p,
            seed=asked.seed,
            stop=asked.stop,
            min_p=asked.min_p or 0.0,
            repetition_penalty=1.0 if asked.repetition_penalty is None else asked.repetition_penalty,
            presence_penalty=asked.presence_penalty or 0.0,
            frequency_penalty=asked.frequency_penalty or 0.0,
            logit_bias=asked.logit_bias,
            logprobs=asked.logprobs,
            response_format=asked.response_format,
        )


def _replica_medium(medium: PlacedMedia) -> ReplicaMedia:
    return ReplicaMedia(
        mime_type=medium.mime_type,
        data=medium.data,
        token_offset=medium.token_offset,
        token_count=medium.token_count,
        max_soft_tokens=medium.max_soft_tokens,
    )


def _check_bias(request: ParsedRequest, capabilities: Capabilities) -> None:
    beyond = max(request.sampling.logit_bias, default=0)
    if beyond >= capabilities.vocab_size:
        rule = f"is beyond the {capabilities.vocab_size} tokens of {capabilities.name}"
        raise InvalidRequest.of(f"generation_config.logit_bias[{beyond}]", rule)


class Router:
    """Chooses among the variants of the cluster."""

    def __init__(self, variants: Mapping[str, RoutedVariant], policy: RoutingPolicy, loads: LoadMonitor) -> None:
        """`variants` is ordered, smallest first."""
        self._variants = variants
        self._policy = policy
        self._loads = loads

    async def route(self, request: ParsedRequest, history: Sequence[Content] = (), pin: str | None = None) -> Routed:
        """Chooses the variant for `history` and the request's contents. `pin` is the session's variant.

        Raises NoVariant, with a reason for each variant, when none can take it, and InvalidRequest for a bias on
        tokens that the chosen one does not have.
        """
        prompts = await self.prompts(request, history)
        try:
            decision = choose_variant(
                self._route_request(request, prompts, pin),
                [variant.capabilities for variant in self._variants.values()],
                self._loads.loads(),
                self._policy,
            )
        except NoVariantError as error:
            raise NoVariant(str(error), [(r.code, r.variant, r.message) for r in error.reasons]) from error
        chosen = self._variants[decision.variant]
        _check_bias(request, chosen.capabilities)
        return Routed(request, decision, prompts[decision.variant], chosen.capabilities)

    async def prompts(self, request: ParsedRequest, history: Sequence[Content] = ()) -> dict[str, Prompt]:
        """The prompt as each variant would see it; built once for variants that share tokenizer and template.

        Raises NoVariant before any work when the text alone is beyond every context.
        """
        contents = [*history, *request.contents]
        media = {**await inspect_contents(history), **request.media}
        self._refuse_oversize(contents, media)
        if sum(content.ByteSize() for content in contents) > _LONG_PROMPT_BYTES:
            return await asyncio.to_thread(self._build_prompts, request, contents, media)
        return self._build_prompts(request, contents, media)

    def _refuse_oversize(self, contents: Sequence[Content], media: Mapping[str, MediaInfo]) -> None:
        """Tokenising takes seconds a megabyte; a cheap lower bound spares it."""
        least = {name: item.prompts.least_tokens(contents, media) for name, item in self._variants.items()}
        limits = {name: item.capabilities.context_tokens for name, item in self._variants.items()}
        if any(least[name] < limits[name] for name in limits):
            return
        reasons = [
            ("CONTEXT_TOO_SMALL", name, f"the prompt has at least {least[name]} tokens, {name} takes {limits[name]}")
            for name in limits
        ]
        raise NoVariant("the prompt is too long for every variant", reasons)

    def _build_prompts(
        self, request: ParsedRequest, contents: Sequence[Content], media: Mapping[str, MediaInfo]
    ) -> dict[str, Prompt]:
        built: dict[str, Prompt] = {}
        for variant in self._variants.values():
            if variant.prompts.fingerprint not in built:
                built[variant.prompts.fingerprint] = variant.prompts.build(
                    contents,
                    system=request.system_instruction,
                    thinking=request.thinking,
                    tools=request.tools,
                    media=media,
                )
        return {name: built[variant.prompts.fingerprint] for name, variant in self._variants.items()}

    def _route_request(self, request: ParsedRequest, prompts: Mapping[str, Prompt], pin: str | None) -> RouteRequest:
        any_prompt = next(iter(prompts.values()))
        return RouteRequest(
            tokens={name: len(prompt.token_ids) for name, prompt in prompts.items()},
            modalities=frozenset(name for name, count in any_prompt.tokens_by_modality.items() if count),
            max_output_tokens=request.sampling.max_output_tokens,
            thinking=request.thinking,
            model=request.model,
            preference=request.preference,
            allowed_variants=request.allowed_variants,
            max_cost=request.max_cost,
            pinned_variant=pin if self._policy.sticky_sessions else None,
        )
