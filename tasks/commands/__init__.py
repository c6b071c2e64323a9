"""What the commands do: train, play, evaluate."""
