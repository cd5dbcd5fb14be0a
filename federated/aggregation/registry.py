"""The aggregation modes by name. A new mode joins here and nowhere else."""

from collections.abc import Mapping

from core.learning.orders import AggregationMode
from federated.aggregation.base import Aggregation
from federated.aggregation.blind.conversation import BLIND
from federated.aggregation.plain import PLAIN
from federated.aggregation.sealed import SEALED

AGGREGATIONS: Mapping[AggregationMode, Aggregation] = {mode.mode: mode for mode in (PLAIN, SEALED, BLIND)}
