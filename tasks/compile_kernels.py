"""`python -m tasks.compile_kernels --arch 90`: compiles MuJoCo Warp's GPU kernels ahead of time, with or without a GPU."""

from __future__ import annotations

from tasks.commands.compile_kernels import Args, main
from tasks.commands.errors import run
from tasks.commands.options import parse

if __name__ == "__main__":
    run(lambda: main(parse(Args)))
