"""Objects from mesh files: reading, checking and cutting into convex parts."""
