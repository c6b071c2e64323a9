"""Measuring a policy, and reporting what was measured."""
