"""The grasping task: what a step does, what it pays, and where episodes start."""
