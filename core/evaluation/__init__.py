"""Evaluation of checkpoints and of the whole way from upload to result."""
