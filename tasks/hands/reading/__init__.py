"""A user's own hand: reading its MJCF or URDF, completing it, proposing what the file does not say."""
