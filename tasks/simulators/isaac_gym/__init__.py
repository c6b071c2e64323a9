"""Isaac Gym Preview 4."""
