"""Encrypted inference: a linear head whose weights a node uses without holding them; docs/encrypted-inference.md."""
