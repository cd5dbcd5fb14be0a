"""`plain`: updates and figures travel signed but readable. The baseline of comparisons, never for clinical data."""

from core.learning.orders import AggregationMode
from federated.aggregation.averaging import Averaging
from federated.aggregation.protection import SignedOnly

PLAIN = Averaging(AggregationMode.PLAIN, SignedOnly())
