"""Blind sums: the cloud adds masked vectors and reads neither a vector nor their sum."""
