"""What runs on the device: CUDA graphs, Adam on one tensor, precision, named ranges and their timing, playing a policy."""
