"""Aggregation modes: the interface, federated averaging, and the modes `plain` and `sealed`."""
