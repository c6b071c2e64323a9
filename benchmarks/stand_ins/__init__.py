"""Models of household things at their true sizes.  They stand in for scans and drawings, which are not in this repository."""
