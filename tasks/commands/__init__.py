"""What the commands do: train, play, evaluate, report on runs, and compile kernels."""
