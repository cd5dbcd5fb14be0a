"""Flower's server app: passes the coordinator's letters to the grid for as long as the Flower run lasts.

``flwr run federated/transport/flower/bundle NAME --run-config "socket='/run/hemaseal/flower.sock'"`` starts it; the
coordinator connects to that socket (`transport.FlowerTransport`). It holds no key and reads no letter.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from federated.transport.flower.carrier import Carrier
from federated.transport.flower.lines import Listener

app = ServerApp()

_WAIT_S = 1.0


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Carry one exchange after another, until the socket is removed or the Flower run is stopped."""
    carrier = Carrier(grid)
    with Listener(Path(str(context.run_config["socket"]))) as listener:
        while listener.is_wanted:
            line = listener.accept(wait_s=_WAIT_S)
            if line is None:
                carrier.refresh()
            else:
                with line:
                    carrier.carry(line)
