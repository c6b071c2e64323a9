"""MuJoCo C, and what both MuJoCo simulators share."""
