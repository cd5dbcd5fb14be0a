"""`sealed`: updates and figures travel sealed to the aggregation enclave's key; the cloud sees sizes and times."""

from core.learning.orders import AggregationMode
from federated.aggregation.averaging import Averaging
from federated.aggregation.protection import SealedAndSigned

SEALED = Averaging(AggregationMode.SEALED, SealedAndSigned())
