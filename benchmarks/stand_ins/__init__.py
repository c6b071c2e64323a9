"""Household things modelled at their true sizes, as stand-ins for scans and drawings that are not in this repository."""
