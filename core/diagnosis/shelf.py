"""What an enclave has opened and keeps, by checkpoint id; of too many the one that was loaded longest ago goes."""

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Shelf(Generic[T]):
    """A few models, for several threads. What stands under an id stays until it goes; it is never exchanged."""

    def __init__(self, most: int) -> None:
        """Hold at most so many."""
        self._most = most
        self._held: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def ids(self) -> tuple[str, ...]:
        """Whose models are here, the one loaded longest ago first."""
        with self._lock:
            return tuple(self._held)

    def get(self, checkpoint_id: str) -> T | None:
        """Return what stands under an id, or None."""
        with self._lock:
            return self._held.get(checkpoint_id)

    def put(self, checkpoint_id: str, model: T) -> None:
        """Put a model there, unless another thread did meanwhile, and count it as loaded last."""
        with self._lock:
            self._held.setdefault(checkpoint_id, model)
            self._held.move_to_end(checkpoint_id)
            while len(self._held) > self._most:
                self._held.popitem(last=False)
