"""Cuts a mesh into convex parts with CoACD.

This is a script that runs in a process of its own, because CoACD may crash on bad meshes and several meshes are cut at once.
Arguments: an .npz file with `vertices` (V, 3) and `faces` (T, 3), the .npz file to write with an array (n, 3) for each part, and
CoACD's options as JSON.  The script imports nothing of the package, so that it starts fast.  It ends when its stdin does.
"""

import json
import os
import sys
import threading

import numpy as np


def end_with_stdin() -> None:
    """Ends the process as soon as nobody is left who could write to its stdin: its parent has ended, however that came."""
    os.read(0, 1)
    os._exit(1)


def main() -> None:
    """Reads a mesh, cuts it, writes the parts."""
    threading.Thread(target=end_with_stdin, daemon=True).start()
    import coacd

    source, target, options = sys.argv[1:4]
    coacd.set_log_level("off")
    mesh = np.load(source)
    parts = coacd.run_coacd(coacd.Mesh(mesh["vertices"], mesh["faces"]), **json.loads(options))
    with open(target, "wb") as file:
        np.savez(file, *[np.asarray(vertices, dtype=np.float64) for vertices, _ in parts])


if __name__ == "__main__":
    main()
