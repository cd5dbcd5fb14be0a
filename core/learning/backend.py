"""Starting Keras and TensorFlow without the notes that TensorFlow writes before its log can be turned down.

And without the packages that Keras takes along where they are installed, to accept their tables and wear their
interface: nobody here hands it any, and a process that trains would hold them in memory all along.
"""

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_LOADING = threading.Lock()
OPTIONAL = ("pandas", "sklearn")
"""What Keras imports if it can, and does without if it cannot."""


def load_keras() -> None:
    """Import Keras with its backend, quietly, without `OPTIONAL`; what goes wrong is an exception as ever.

    TensorFlow writes some lines straight to file descriptor 2 while it is imported, whatever ``TF_CPP_MIN_LOG_LEVEL``
    says: they come before its log reads that. Later lines heed it. While it is loading, no other thread can import what
    is left out, so a process loads it before it has threads that might.
    """
    with _LOADING:
        if "keras" not in sys.modules:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            with _silent_stderr(), _left_out(OPTIONAL):
                import keras  # noqa: F401, PLC0415


@contextmanager
def _left_out(names: Sequence[str]) -> Iterator[None]:
    """Let an import of these packages fail within the block, but for those that are there already."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment]  # which is how Python says that it cannot be imported
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
