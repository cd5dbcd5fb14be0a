"""Federated training: protocol messages, coordinator, nodes, aggregation, transport, simulation and the worker."""
