"""Cuts a mesh into convex parts with CoACD.

This is a script that runs in a process of its own, because CoACD may crash on bad meshes and several meshes are cut at once.
Arguments: an .npz file with `vertices` (V, 3) and `faces` (T, 3), the .npz file to write with an array (n, 3) for each part, and
CoACD's options as JSON.  The script imports nothing of the package, so that it starts fast.
"""

import json
import sys

import numpy as np


def main() -> None:
    """Reads a mesh, cuts it, writes the parts."""
    import coacd

    source, target, options = sys.argv[1:4]
    coacd.set_log_level("off")
    mesh = np.load(source)
    parts = coacd.run_coacd(coacd.Mesh(mesh["vertices"], mesh["faces"]), **json.loads(options))
    with open(target, "wb") as file:
        np.savez(file, *[np.asarray(vertices, dtype=np.float64) for vertices, _ in parts])


if __name__ == "__main__":
    main()
