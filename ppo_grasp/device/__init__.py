"""What runs on the device: CUDA graphs, Adam on one tensor, precision, NVTX ranges, a policy at work."""
