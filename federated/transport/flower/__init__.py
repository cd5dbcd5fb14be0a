"""The transport over Flower (`flwr`): SuperLink and SuperNodes carry the letters, and nothing of Flower reads them.

Flower's processes hold no key of the federation. At both ends they pass bytes on through a local socket: `serverapp` to
the coordinator (`transport`), `clientapp` to the hospital's own process (`party`). `flwr` is imported here only, in
`serverapp`, `clientapp` and `records`.
"""
