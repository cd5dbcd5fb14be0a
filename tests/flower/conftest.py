"""Tests against Flower itself: they run in the environment of requirements-flower.txt (`make test-flower`) only."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("flwr") else ["test_*.py"]
