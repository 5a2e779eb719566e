"""Data sets: three splits of tensors in memory, read from files that the user has."""
