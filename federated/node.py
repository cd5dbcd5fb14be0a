"""A hospital's training node: its own keys, its own data set, and the side of the ordered mode that it plays."""

from collections.abc import Callable

from core.imaging.datasets import DatasetArrays
from core.learning.orders import AggregationMode, RunOptions
from core.learning.run_events import FailureCode
from federated.aggregation.base import NodeWork
from federated.aggregation.registry import AGGREGATIONS
from federated.answering import Answering, Answers
from federated.failures import Refused
from federated.learner import Learner
from federated.ledger import Ledger
from federated.messages import Header
from federated.notary import Notary
from federated.spend import SpendBook


class TrainingNode(Answering):
    """Answers the coordinator's requests for one hospital and one data set."""

    def __init__(
        self,
        *,
        notary: Notary,
        ledger: Ledger,
        learner: Learner,
        dataset: str,
        data: DatasetArrays,
        clinical: bool,
        spend: SpendBook | None = None,
        has_left: Callable[[], bool] = lambda: False,
        should_stop: Callable[[], bool] = lambda: False,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        """Put a node together.

        Args:
            notary: cryptography of the party ``<slug>.training``.
            ledger: steps that the node has answered.
            learner: what it trains with.
            dataset: id of its data set, as orders name it.
            data: the data set, opened.
            clinical: the images are of real patients; then `plain` orders are refused here, whoever signed them.
            spend: what its data sets have spent of their privacy; without one a history that ends with this object.
            has_left: whether the hospital has left the run, asked once in each attempt: one that it has begun is
                finished, and then nothing more is answered, whoever asks, until it comes back.
            should_stop: asked before each training step.
            progress: told (steps done, steps in all) of a local training.
        """
        super().__init__(notary=notary, ledger=ledger)
        self._dataset = dataset
        self._has_left = has_left
        self._attempt, self._sits_out = "", False
        self._work = NodeWork(
            notary=notary,
            ledger=ledger,
            learner=learner,
            dataset=dataset,
            data=data,
            spend=SpendBook() if spend is None else spend,
            clinical=clinical,
            should_stop=should_stop,
            progress=progress,
        )
        self._sides: dict[AggregationMode, Answers] = {}

    def _check(self, options: RunOptions, header: Header) -> None:
        if self.party not in options.parties or options.member(self.party).dataset != self._dataset:
            raise Refused(FailureCode.ORDER)
        if header.attempt != self._attempt:
            self._attempt, self._sits_out = header.attempt, self._has_left()
        if self._sits_out:
            raise Refused(FailureCode.LEFT)

    def _answers(self, options: RunOptions) -> Answers:
        if options.mode not in self._sides:
            self._sides[options.mode] = AGGREGATIONS[options.mode].node_side(self._work)
        return self._sides[options.mode]
