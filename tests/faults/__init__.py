"""Faults injected into the real worker, and what must hold after each of them."""
