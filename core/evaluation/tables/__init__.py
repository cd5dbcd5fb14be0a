"""The tables of both papers, made again on somebody's own data: ``python -m core tables`` (docs/results.md)."""
