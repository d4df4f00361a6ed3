"""The limits a runtime works within."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RuntimeConfig:
    """Limits of one engine loop.

    `max_context` bounds prompt plus answer of one sequence, in tokens; `max_waiting` bounds the queue before
    `submit` refuses. A forward pass takes at most `prefill_tokens` prompt tokens (or one image, which cannot be
    split), and while answers run no more than take about `max_pass_s` seconds: for so long they may stall.
    `kv_token_budget` bounds the cache, in tokens of all sequences together (None: 8192 for each of `max_batch_size`,
    and room for one `max_context`), `page_size` tokens to a page. With `has_prefix_cache`, pages outlive their
    sequences and serve prompts that begin alike. `num_threads` is torch's, None leaves it alone.
    """

    max_batch_size: int = 8
    max_context: int = 8192
    max_waiting: int = 1024
    prefill_tokens: int = 512
    max_pass_s: float = 0.15
    kv_token_budget: int | None = None
    page_size: int = 16
    has_prefix_cache: bool = True
    num_threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_batch_size", "max_context", "max_waiting", "prefill_tokens", "page_size", "num_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}")
        if not self.max_pass_s > 0:
            raise ValueError(f"max_pass_s must be above 0, not {self.max_pass_s}")
        if self.kv_tokens < self.max_context:
            raise ValueError(f"kv_token_budget {self.kv_tokens} cannot hold max_context {self.max_context}")

    @property
    def kv_tokens(self) -> int:
        """Upper bound of the cache, in tokens."""
        if self.kv_token_budget is not None:
            return self.kv_token_budget
        return max(self.max_context, self.max_batch_size * min(self.max_context, 8192))
