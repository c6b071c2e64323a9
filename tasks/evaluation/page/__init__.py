"""One HTML page about one or more training runs."""
