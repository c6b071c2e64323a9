"""The simulators: one contract in `contract.py`, one table in `registry.py`, and a folder for each."""
