"""CUDA graphs: a function issued once, kernel by kernel, and from then on replayed as a whole."""

from __future__ import annotations

import gc
import warnings
from contextlib import contextmanager, nullcontext
from typing import Callable, ContextManager, Generic, Iterator, Optional, TypeVar

import torch

T = TypeVar("T")


class CapturedFunction(Generic[T]):
    """Calls `function()`.  If enabled, the second call captures it as a CUDA graph, and later calls replay the graph.

    The function must read and write tensors that stay where they are, and must never ask the host about a value.  The first
    call runs eagerly, so that library handles, optimiser state and loaded kernels exist before the capture.  It is a call
    like any other: its results count.  The next call overwrites what a call returns.

    The current stream must not be the default one, see `side_stream`.  Each replay draws new random numbers from torch's
    default generator.  If a capture fails, one warning says why, and every call runs eagerly.
    """

    def __init__(
        self,
        function: Callable[[], T],
        enabled: bool = True,
        context: Callable[[], ContextManager[object]] = nullcontext,
        name: str = "function",
    ) -> None:
        """context: entered inside the capture, around the function; name: for messages."""
        self.function = function
        self.enabled = enabled and torch.cuda.is_available()
        self.context = context
        self.name = name
        self._graph: Optional[torch.cuda.CUDAGraph] = None
        self._output: Optional[T] = None
        self._warm = False

    @property
    def will_capture(self) -> bool:
        """Whether the next call spends time on a capture."""
        return self.enabled and self._warm and self._graph is None

    def __call__(self) -> T:
        if not self.enabled:
            return self.function()
        if not self._warm:
            self._warm = True
            return self.function()
        if self._graph is None:
            try:
                self._capture()
            except Exception as error:
                self._give_up(error)
                return self.function()
        assert self._graph is not None
        self._graph.replay()
        return self._output  # type: ignore[return-value]

    def release(self) -> None:
        """Destroys the graph: one with NCCL's work in it must be gone before the process group."""
        self._graph = self._output = None

    def _capture(self) -> None:
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        # thread_local: other threads (a progress display, a logger) may do as they like meanwhile.
        capture = torch.cuda.graph(graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local")
        with _garbage_collection_suspended(), capture, self.context():
            self._output = self.function()
        self._graph = graph

    def _give_up(self, error: Exception) -> None:
        self.enabled = False
        self._output = None
        cause: BaseException = error
        while cause.__context__ is not None:  # ending the broken capture raises as well, and hides why it broke
            cause = cause.__context__
        reason = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        warnings.warn(f"{self.name} cannot be captured as a CUDA graph, running without: {reason}", stacklevel=3)
        torch.cuda.synchronize()
        try:
            torch.rand((), device="cuda")
        except RuntimeError:  # the generator still believes in the capture; a copy of its state does not
            generator = torch.cuda.default_generators[torch.cuda.current_device()]
            generator.graphsafe_set_state(generator.clone_state())


def replayed(
    function: Callable[[], T],
    device: torch.device,
    name: str,
    context: Callable[[], ContextManager[object]] = nullcontext,
) -> Callable[[], T]:
    """The function as a `CapturedFunction` on a GPU, and as it is elsewhere.

    On the default stream, which cannot be captured, each call runs eagerly.
    """
    if device.type != "cuda":
        return function
    captured = CapturedFunction(function, True, context, name)

    def call() -> T:
        if torch.cuda.current_stream(device) == torch.cuda.default_stream(device):
            return function()
        return captured()

    return call


class SecondStream:
    """A second stream beside the current one, for work that can overlap.  On a CPU everything runs in the order of the code.

    Work inside `with second_stream.fork():` starts after all work that was issued before, and may overlap what follows
    until `join`.  Use the tensors that it makes only between a `join` and the next `fork`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def fork(self) -> ContextManager[object]:
        """Makes the second stream current."""
        if self._stream is None:
            return nullcontext()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        return torch.cuda.stream(self._stream)

    def join(self) -> None:
        """Makes all work that is issued from now on wait for the work on the second stream."""
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)


@contextmanager
def side_stream(device: torch.device, wait: bool = True) -> Iterator[None]:
    """Makes a new stream current on a CUDA device, since the default stream cannot be captured; does nothing elsewhere.

    wait: whether its work comes after what was issued before on the current stream, and before what is issued afterwards.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    if wait:
        stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    if wait:
        torch.cuda.current_stream(device).wait_stream(stream)


@contextmanager
def _garbage_collection_suspended() -> Iterator[None]:
    """Keeps a finaliser from freeing an old graph in the middle of a capture, which would corrupt the capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
