"""Milliseconds of the stages of an act."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stages:
    """Measures named stages; a stage that runs twice is summed."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.ms: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to stage `name`, also when it fails."""
        before = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - before) * 1e3

    def add(self, prefix: str, inner: Mapping[str, float]) -> None:
        """Add stages that were measured elsewhere, as ``prefix.name``."""
        for name, value in inner.items():
            self.ms[f"{prefix}.{name}"] = self.ms.get(f"{prefix}.{name}", 0.0) + value

    def with_total(self) -> dict[str, float]:
        """Return all stages and ``total``, the time since this began."""
        return {**self.ms, "total": (time.perf_counter() - self._started) * 1e3}
