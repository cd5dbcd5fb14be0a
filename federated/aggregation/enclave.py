"""The aggregation enclave: the one party that opens updates in `sealed` mode. It holds the aggregation's keys only."""

from core.learning.orders import AGGREGATION, AggregationMode, RunOptions
from federated.aggregation.registry import AGGREGATIONS
from federated.answering import Answering, Answers
from federated.ledger import Ledger
from federated.notary import Notary


class AggregationEnclave(Answering):
    """Answers the coordinator's requests as the aggregation party, in whatever mode the authority ordered."""

    def __init__(self, *, notary: Notary, ledger: Ledger) -> None:
        if notary.party != AGGREGATION:
            raise ValueError(f"the identity of '{AGGREGATION}' expected, got that of '{notary.party}'")
        super().__init__(notary=notary, ledger=ledger)
        self._sides: dict[AggregationMode, Answers] = {}

    def _answers(self, options: RunOptions) -> Answers:
        if options.mode not in self._sides:
            self._sides[options.mode] = AGGREGATIONS[options.mode].aggregation_side(self._notary, self._ledger)
        return self._sides[options.mode]
