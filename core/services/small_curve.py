"""The curve for explaining, as the page takes it; no person, no key and no record is involved."""

from security.small_curve import GENERATOR, ORDER, A, Agreement, B, P, agree, points

__all__ = ["GENERATOR", "ORDER", "A", "Agreement", "B", "P", "agree", "points"]
