"""The training loop and what it keeps: replay, checkpoints, metrics."""
