"""The training loop and what surrounds it: evaluation, checkpoints, dashboard, report."""
