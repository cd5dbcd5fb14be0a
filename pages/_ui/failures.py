"""What a person sees when a page fails in a way that nobody foresaw: a number to give to the administrator."""

import logging
import secrets

from core.errors import HemaSealError
from pages._ui import shell

_LOG = logging.getLogger(__name__)


def on_script_error(error: Exception) -> bool:
    """Draw a named error as itself; log any other under a random number and draw that number.

    Returns:
        True: Streamlit draws nothing of its own.
    """
    if isinstance(error, HemaSealError):
        shell.show_error(error)
        return True
    number = secrets.token_hex(4)
    _LOG.error("page failed, number %s", number, exc_info=error)
    shell.show_error(HemaSealError(f"number {number}"))
    return True
