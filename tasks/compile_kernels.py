"""`python -m tasks.compile_kernels --arch 90`: compiles MuJoCo Warp's GPU kernels ahead of time, with or without a GPU."""

from __future__ import annotations

from tasks.commands.arguments import run
from tasks.commands.compile_kernels import Args, main

if __name__ == "__main__":
    run(main, Args)
