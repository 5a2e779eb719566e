"""The contenders, each a process of its own: `python -m benchmarks.ways.<name>`, started by contest.py."""
