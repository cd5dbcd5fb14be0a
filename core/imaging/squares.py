"""Preprocessed pictures in memory, or where they lie: what trains and evaluates asks for those that it needs now."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Places = NDArray[np.intp]


class Squares(Protocol):
    """Pictures uint8[n, s, s, 3]: an array, or `StoredSquares`, which is indexed like one along its first axis.

    A slice is a view, whose pictures `np.asarray` brings; a number gives a picture, an array of numbers a new array.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, s, s, 3)."""
        ...

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """Of the pixels."""
        ...

    def __len__(self) -> int:
        """Number of pictures."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """Yield each picture."""
        ...

    def __getitem__(self, which: Any, /) -> Any:
        """See the class."""
        ...

    def __array__(self) -> Pixels:
        """Return all of them."""
        ...


class StoredSquares:
    """Pictures that lie elsewhere, of which only those that are asked for are in memory. See `Squares`."""

    def __init__(self, fetch: Callable[[Places], Pixels], places: Places, side: int) -> None:
        """Describe them.

        Args:
            fetch: returns the pictures at ascending places, uint8[k, s, s, 3].
            places: where each picture lies, intp[n].
            side: s, in pixels.
        """
        self._fetch, self._places, self._side = fetch, places, side
        self.dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """See `Squares.shape`."""
        return len(self._places), self._side, self._side, 3

    def __len__(self) -> int:
        """See `Squares.__len__`."""
        return len(self._places)

    def __iter__(self) -> Iterator[Pixels]:
        """See `Squares.__iter__`."""
        return (self[place] for place in range(len(self)))  # type: ignore[misc]

    def __getitem__(self, which: int | slice | NDArray[np.integer], /) -> "StoredSquares | Pixels":
        """See `Squares`."""
        if isinstance(which, slice):
            return StoredSquares(self._fetch, self._places[which], self._side)
        if isinstance(which, int | np.integer):
            return self._fetch(self._places[[which]])[0]
        return StoredSquares(self._fetch, self._places[which], self._side).__array__()

    def __array__(self, dtype: np.dtype[np.uint8] | None = None, *, copy: bool | None = None) -> Pixels:
        """See `Squares.__array__`; what comes is always new."""
        order = np.argsort(self._places, kind="stable")
        found = np.empty(self.shape, np.uint8)
        found[order] = self._fetch(self._places[order])
        return found if dtype is None else found.astype(dtype, copy=False)
