"""Flower's client app at a hospital: passes a letter to the hospital's own process and its answer back.

It runs in a new process for each message and holds nothing. The SuperNode's ``--node-config`` says for whom:
``party='north.training' socket='/run/hemaseal/north.training.sock'``.
"""

from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from core.learning.run_events import FailureCode
from federated.transport.flower import records
from federated.transport.flower.lines import Line, LineEnded, Parcel

app = ClientApp()


@app.query()
def carry(message: Message, context: Context) -> Message:
    """Answer a message: with the party's name if there is no letter in it, or with the party's answer."""
    party, path = str(context.node_config["party"]), Path(str(context.node_config["socket"]))
    data = records.data_of(message.content)
    reply = records.answer(party) if not data else _asked(party, path, data)
    return Message(reply, reply_to=message)


def _asked(party: str, path: Path, data: bytes) -> RecordDict:
    try:
        with Line.to(path) as line:
            line.send(Parcel(party=party, data=data))
            parcel = line.receive()
    except LineEnded:
        return records.answer(party, failure=FailureCode.DROPPED_OUT.value)
    return records.answer(party, data=parcel.data, failure=parcel.failure)
