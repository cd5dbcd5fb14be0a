"""From the members' stated privacy to that of the model: what its lineage says of differential privacy."""

from collections.abc import Iterable

from core.learning.lineage import Lineage
from core.learning.privacy import THIS_RUN, WHOLE_LINE, PrivacyUnit
from core.learning.run_choices import PrivacyOptions
from core.learning.run_events import FailureCode
from federated.failures import Refused
from federated.messages import PrivacyStatement


def check_statement(statement: PrivacyStatement | None, privacy: PrivacyOptions | None) -> None:
    """Refuse a member's statement that is not about what was ordered.

    Raises:
        Refused: with `ORDER`, it is missing, uncalled for, of other noise or delta, or above the budget.
    """
    if (statement is None) != (privacy is None):
        raise Refused(FailureCode.ORDER)
    if statement is None or privacy is None:
        return
    stated = statement.delta, statement.noise_multiplier
    if stated != (privacy.delta, privacy.noise_multiplier) or statement.epsilon > privacy.budget_epsilon:
        raise Refused(FailureCode.ORDER)


def privacy_of(base: Lineage, stated: Iterable[PrivacyStatement | None]) -> dict[str, float | str]:
    """Return the privacy of a model that a round made, as its lineage states it; empty for none.

    Epsilon is the largest that a member stated, of this round or of those before it: each patient is one hospital's.
    It is counted for patients only if every member's is. Where the run began with a model that had been trained
    without, on public or synthetic images for instance, it covers the run only, and says so.

    Args:
        base: lineage of the model that the round began with.
        stated: the statement of each member whose update is in the new model.
    """
    statements = [one for one in stated if one is not None]
    if not statements:
        return {}
    fresh = base.round == 0 and not base.parent
    whole = fresh or base.privacy.get("covers") == WHOLE_LINE
    units = {one.unit for one in statements} | ({str(base.privacy["unit"])} if base.privacy else set())
    before = float(base.privacy.get("epsilon", 0.0))
    return {
        "epsilon": max(before, *(one.epsilon for one in statements)),
        "delta": max(float(base.privacy.get("delta", 0.0)), statements[0].delta),
        "unit": PrivacyUnit.PATIENT.value if units == {PrivacyUnit.PATIENT.value} else PrivacyUnit.IMAGE.value,
        "noise_multiplier": statements[0].noise_multiplier,
        "covers": WHOLE_LINE if whole else THIS_RUN,
    }
