"""Cuts a mesh into convex parts with CoACD, in a process of its own: it may crash on bad meshes, and many run at once.

Run as a script: the arguments are an .npz with `vertices` (V, 3) and `faces` (T, 3), and where to write the parts, an .npz
of arrays (n, 3).  Imports nothing of the package, so that it starts at once.
"""

import json
import sys

import numpy as np


def main() -> None:
    import coacd

    source, target, options = sys.argv[1:4]
    coacd.set_log_level("off")
    mesh = np.load(source)
    parts = coacd.run_coacd(coacd.Mesh(mesh["vertices"], mesh["faces"]), **json.loads(options))
    with open(target, "wb") as file:
        np.savez(file, *[np.asarray(vertices, dtype=np.float64) for vertices, _ in parts])


if __name__ == "__main__":
    main()
