"""What the commands do: train, play, evaluate, report on runs, sweep, and compile kernels."""
