"""Opens the GPU while Python is still importing, which saves seconds of every start on some machines.

Before that, each process that torchrun started takes a GPU of its own.
"""

from __future__ import annotations

import ctypes
import os
import threading


def take_own_gpu() -> None:
    """Makes one GPU visible to this process, by its number among torchrun's processes on this machine.

    All code that runs later then finds this GPU as the first and only one.  A process for which there is none sees no GPU.
    Without torchrun this does nothing.
    """
    number = os.environ.get("LOCAL_RANK")
    if number is None or int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [gpu for gpu in visible.split(",") if gpu] if visible is not None else None
    if gpus is None:
        os.environ["CUDA_VISIBLE_DEVICES"] = number
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[int(number)] if int(number) < len(gpus) else ""


def open_gpu() -> threading.Thread:
    """Starts a thread that makes the primary context of the first visible GPU, and returns the thread.

    Torch and Warp share this context.  Without a driver or a GPU the thread does nothing and raises no error: the code that
    needs the GPU will say so.
    """
    thread = threading.Thread(target=_retain_context, name="open_gpu", daemon=True)
    thread.start()
    return thread


def _retain_context() -> None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
