"""Architectures, weights, training, metrics and export. TensorFlow is imported only inside functions."""
