"""`python -m tasks.compile_kernels --arch 90`: compiles MuJoCo Warp's GPU kernels ahead of time, with or without a GPU."""

from __future__ import annotations

from tasks.commands.compile_kernels import command

if __name__ == "__main__":
    command()
