"""The contenders; each is a process of its own: `python -m benchmarks.ways.<name> <workload> <folder> <device>`."""
