"""Procedural shapes: simple solids, compounds, everyday things, and sets drawn from them."""
