"""The conventional way to an answer, for comparison: one server that gets pictures in clear and asks Keras.

``python -m core.evaluation.tables.central_server --checkpoint FILE`` reads the address of the database from its
standard input, prints its port when it is ready, and ends when its input does and nobody is connected. A picture comes
as the body of ``POST /predict`` or ``/call`` on loopback; it is decoded, squared, given to the network in one
orientation, and kept with its answer in one committed transaction.
"""

import json
import os
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Column, Engine, Integer, MetaData, Table, Text

from core.clock import SystemClock
from core.diagnosis.bundle import ServingModel
from core.diagnosis.checkpoint_file import load_checkpoint
from core.errors import HemaSealError
from core.evaluation.answers import decoded
from core.imaging.preprocess import normalise, preprocess
from core.learning.keras_answers import KerasAnswers
from core.learning.weights import decode_weights
from core.settings import Settings
from core.studies import STUDIES
from db.engine import make_engine
from db.types import blob_column_type

WAYS = ("predict", "call")
_TABLE = Table(
    "conventional_answers",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("picture", blob_column_type(), nullable=False),
    Column("answer", Text, nullable=False),
)


class CentralServer:
    """What the server does with one picture."""

    def __init__(self, model: ServingModel, engine: Engine) -> None:
        """Load the network and make the table.

        Raises:
            ValueError: the model comes without weights.
            CheckpointRefused: its weights are not those of its architecture.
        """
        if model.weights is None:
            raise ValueError("a checkpoint with weights is needed, to ask Keras")
        manifest = model.manifest
        self._study, self._classes, self._engine = STUDIES[manifest.study], manifest.classes, engine
        self._network = KerasAnswers(decode_weights(model.weights)[0], manifest.architecture, self._study)
        _TABLE.create(engine, checkfirst=True)

    def answer(self, data: bytes, way: str) -> dict[str, float]:
        """Return the probability of each class, once picture and answer are stored.

        Raises:
            ImageBroken, ImageTooLarge, ImageTypeRefused: it is no image that can be decoded.
        """
        study = self._study
        square = preprocess(decoded(data), study.input_size, study.preprocessing)
        ask = self._network.predict if way == "predict" else self._network.call
        found = ask(normalise(square[None], study.preprocessing))[0]
        answer = {name: float(value) for name, value in zip(self._classes, found, strict=True)}
        with self._engine.begin() as connection:
            connection.execute(_TABLE.insert().values(picture=data, answer=json.dumps(answer)))
        return answer


def serve(server: CentralServer) -> HTTPServer:
    """Return an HTTP server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, value = _reply(server, data, self.path.removeprefix("/"))
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_what: object) -> None:
            """Nothing is logged: a line on a terminal would cost time that is measured."""

    return HTTPServer(("127.0.0.1", 0), Handler)


def _reply(server: CentralServer, data: bytes, way: str) -> tuple[HTTPStatus, dict[str, float]]:
    if way not in WAYS:
        return HTTPStatus.NOT_FOUND, {}
    try:
        return HTTPStatus.OK, server.answer(data, way)
    except HemaSealError:
        return HTTPStatus.BAD_REQUEST, {}


def main(checkpoint: Annotated[Path, typer.Option()]) -> None:
    """Serve until standard input ends."""
    database = sys.stdin.readline().strip()
    model = load_checkpoint(checkpoint, settings=Settings(), at=SystemClock().now())
    http = serve(CentralServer(model, make_engine(database)))
    sys.stdout.write(f"{http.server_port}\n")
    sys.stdout.flush()
    threading.Thread(target=_ending, args=[http], daemon=True).start()
    http.serve_forever()


def _ending(http: HTTPServer) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    http.shutdown()


if __name__ == "__main__":
    typer.run(main)
