"""A viewer in the browser: what is drawn comes from `SimState`, so it shows every simulator and needs no display."""
