"""A training run: its settings, and what its checkpoints hold."""
