"""What uploads are bound to: who made them, in which attempt of which round, and from which global weights."""

from federated.messages import Header
from security.context import Context, Purpose


def initial_context(study: str, sender: str, header: Header) -> Context:
    """First weights drawn by a node."""
    return _context(Purpose.CLIENT_UPDATE, study, sender, header, "initial")


def update_context(study: str, sender: str, header: Header, base_sha256: str) -> Context:
    """An update, as a difference from the weights with hash `base_sha256`."""
    return _context(Purpose.CLIENT_UPDATE, study, sender, header, f"update/{base_sha256}")


def figures_context(study: str, sender: str, header: Header, weights_sha256: str) -> Context:
    """Metric sums of the weights with hash `weights_sha256`."""
    return _context(Purpose.NODE_METRICS, study, sender, header, f"sums/{weights_sha256}")


def _context(purpose: Purpose, study: str, sender: str, header: Header, object_id: str) -> Context:
    return Context(
        purpose=purpose,
        study=study,
        sender=sender,
        object_id=object_id,
        run=header.run,
        round=header.round,
        attempt=header.attempt,
    )
