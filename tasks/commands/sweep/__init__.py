"""`python -m tasks.commands.sweep`: trains with several values of options, each over seeds, and compares."""
