"""Starting Keras and TensorFlow without the notes that TensorFlow writes before its log can be turned down."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def load_keras() -> None:
    """Import Keras with its backend, quietly; what goes wrong is an exception as ever.

    TensorFlow writes some lines straight to file descriptor 2 while it is imported, whatever ``TF_CPP_MIN_LOG_LEVEL``
    says: they come before its log reads that. Later lines heed it.
    """
    if "keras" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _silent_stderr():
            import keras  # noqa: F401, PLC0415


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
