"""File formats of others, read and written without their packages."""
