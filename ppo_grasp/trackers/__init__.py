"""Where a run's numbers go besides its own files.  Each tracker needs a package that is an extra."""
