"""Several processes train one policy, each on a GPU and worlds of its own: what they reduce, agree on, and who writes.

`torchrun` starts the processes, which are called ranks.  All ranks hold the same parameters, bit by bit, because all take the
same gradient steps: the flat gradient is averaged over ranks before each.  `ALONE` stands for a training of one process: its
methods hand back what they get, so the code that calls them is the same for one process and for several.

Tensors of the update are reduced on the device, with NCCL on GPUs.  These collectives may be captured in a CUDA graph.
Numbers of the host, such as counters and metrics, are reduced by gloo, which the device does not wait for.  No wait is
without an end: a rank that has died or hangs makes the others raise `RankError`.
"""

from __future__ import annotations

import io
import json
import math
import os
import time
from datetime import timedelta
from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from torch import Tensor

from ppo_grasp.run.signals import Signals

SETUP_S = 1800.0
"""Seconds that ranks wait for each other before training runs: one may compile kernels or cut meshes for minutes."""
SETTLED = 3
"""Iterations after which training runs: captures and first launches are over."""
GRACE_S = 12.0
"""Seconds that a rank which was told to stop waits for the others.  torchrun kills 30 s after it has told."""
SEED_STRIDE = 1_000_003
"""Between the seeds of two ranks: larger than the seeds that people use, so that no two runs share worlds."""


class RankError(RuntimeError):
    """Another process of the training has died, hangs, or could not begin."""


class Ranks:
    """The processes that train together.  This class is for one process alone; `TorchRanks` is for several."""

    rank = 0
    size = 1
    local_size = 1
    """Processes on this machine."""

    @property
    def writes(self) -> bool:
        """Whether this process writes the run directory and speaks to the user."""
        return self.rank == 0

    def seed(self, seed: int) -> int:
        """The seed of what differs between ranks, such as the worlds."""
        return seed + SEED_STRIDE * self.rank

    # On the device.  These may be captured in a CUDA graph.

    def average(self, x: Tensor) -> None:
        """Replaces x by its mean over ranks, in place."""

    def pool(self, mean: Tensor, var: Tensor) -> Tuple[Tensor, Tensor]:
        """Mean and variance over the samples of all ranks, of which each has equally many; mean, var: (...) of this rank's."""
        return mean, var

    def mean_and_std(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Mean and standard deviation of all elements of all ranks, () each."""
        return x.mean(), x.std()

    def broadcast(self, x: Tensor) -> None:
        """Replaces x by that of rank 0, in place."""

    # On the host.

    def largest(self, value: float) -> float:
        """The largest of the ranks' values."""
        return value

    def total(self, values: List[float]) -> List[float]:
        """The sum over ranks of each value."""
        return values

    def gather(self, value: Any) -> List[Any]:
        """What each rank gave, by rank.  value: what JSON can hold."""
        return [value]

    def collect(self, value: Any) -> List[Any]:
        """What each rank gave, by rank, on the one that writes; nothing on the others.  value: nested plain values and tensors."""
        return [value]

    def agree(self, signals: Signals) -> Tuple[Optional[int], bool]:
        """What signals have asked any rank for: to stop, by the signal's number, and to save.  All ranks get the same answer."""
        return signals.received, signals.take_save()

    def wait_for(self, event: Any) -> None:
        """Waits until the device has passed a CUDA event; does nothing with other points in time."""
        if isinstance(event, torch.cuda.Event):
            event.synchronize()

    def claim(self, what: str) -> bool:
        """Whether this rank is the first that claims this name.  It is true for one rank only."""
        return True

    # Beginning and end.

    def connect(self, device: torch.device) -> None:
        """Prepares reductions on a device.  Raises RankError if ranks have devices of different types."""

    def close(self) -> None:
        """Ends the connection.  CUDA graphs with reductions in them must be gone."""


ALONE = Ranks()


class TorchRanks(Ranks):
    """The processes that torchrun started, through torch.distributed."""

    def __init__(self, timeout_s: float = 60.0) -> None:
        """Meets the others.  timeout_s: seconds without a word from another rank after which it counts as dead."""
        import torch.distributed as dist
        from torch.distributed.rendezvous import rendezvous

        self._dist = dist
        self.timeout_s = timeout_s
        # We watch over ranks by ourselves, and save before we end.  NCCL's watchdog would end the process at once.
        os.environ.setdefault("TORCH_NCCL_ASYNC_ERROR_HANDLING", "0")
        os.environ.setdefault("TORCH_NCCL_ENABLE_MONITORING", "0")
        self._limit = timedelta(seconds=2 * SETUP_S)  # our own limits come first
        store, rank, size = next(rendezvous("env://", timeout=self._limit))
        if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
            # torchrun on one machine keeps its store when it restarts us.  The addresses of those who died are still in it.
            store = dist.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=self._limit)
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_size = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self._store = dist.distributed_c10d._get_default_store()
        self._host_group = self._group = dist.group.WORLD
        self._on_gpu = False
        self._reports = 0
        self._signals: Optional[Signals] = None

    def average(self, x: Tensor) -> None:
        """See `Ranks`."""
        if self._on_gpu:
            self._dist.all_reduce(x, self._dist.ReduceOp.AVG, group=self._group)
        else:
            self._finish(self._dist.all_reduce(x, group=self._group, async_op=True))
            x.div_(self.size)

    def pool(self, mean: Tensor, var: Tensor) -> Tuple[Tensor, Tensor]:
        """See `Ranks`.  The means first, as var + (mean - pooled)^2 then loses nothing however far from zero they are."""
        pooled = mean.clone()
        self.average(pooled)
        var = var + (mean - pooled).square()
        self.average(var)
        return pooled, var

    def mean_and_std(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """See `Ranks`."""
        var, mean = torch.var_mean(x.double(), correction=0)
        mean, var = self.pool(mean, var)
        count = x.numel() * self.size
        return mean.to(x.dtype), (var * (count / max(count - 1, 1))).sqrt().to(x.dtype)

    def broadcast(self, x: Tensor) -> None:
        """See `Ranks`."""
        if self._on_gpu:
            self._dist.broadcast(x, 0, group=self._group)
        else:
            self._finish(self._dist.broadcast(x, 0, group=self._group, async_op=True))

    def largest(self, value: float) -> float:
        """See `Ranks`."""
        x = torch.tensor(value, dtype=torch.float64)
        self._finish(self._dist.all_reduce(x, self._dist.ReduceOp.MAX, group=self._host_group, async_op=True))
        return float(x)

    def total(self, values: List[float]) -> List[float]:
        """See `Ranks`.  Training calls it once an iteration, so it counts the iterations."""
        x = torch.tensor(values, dtype=torch.float64)
        self._finish(self._dist.all_reduce(x, group=self._host_group, async_op=True))
        self._reports += 1
        return x.tolist()  # type: ignore[no-any-return]

    def gather(self, value: Any) -> List[Any]:
        """See `Ranks`."""
        words = json.dumps(value).encode()
        length = int(self.largest(float(len(words))))
        mine = torch.tensor(list(words.ljust(length)), dtype=torch.uint8)
        each = [torch.empty_like(mine) for _ in range(self.size)]
        self._finish(self._dist.all_gather(each, mine, group=self._host_group, async_op=True))
        return [json.loads(bytes(x.tolist())) for x in each]

    def collect(self, value: Any) -> List[Any]:
        """See `Ranks`.  As all must send equally many bytes, what is shorter than the longest gets zeros at its end."""
        content = io.BytesIO()
        torch.save(value, content)
        lengths = self.gather(content.tell())
        mine = torch.frombuffer(bytearray(content.getvalue().ljust(max(lengths), b"\0")), dtype=torch.uint8)
        each = [torch.empty_like(mine) for _ in range(self.size)] if self.writes else None
        self._finish(self._dist.gather(mine, each, group=self._host_group, async_op=True))
        whole = [io.BytesIO(x[:length].numpy().tobytes()) for x, length in zip(each or [], lengths)]
        return [torch.load(one, map_location="cpu", weights_only=True) for one in whole]

    def agree(self, signals: Signals) -> Tuple[Optional[int], bool]:
        """See `Ranks`.  From then on a rank that is to stop waits no longer than `GRACE_S` for the others."""
        self._signals = signals
        asked = int(self.largest(2.0 * (signals.received or 0) + signals.take_save()))
        return (asked // 2, False) if asked > 1 else (None, asked == 1)

    def wait_for(self, event: Any) -> None:
        """See `Ranks`."""
        if isinstance(event, torch.cuda.Event):
            self._wait(event.query)

    def claim(self, what: str) -> bool:
        """See `Ranks`.  Where the store is gone with its process, rank 0 is first."""
        try:
            return bool(self._store.add(what, 1) == 1)
        except Exception:  # what a lost connection raises depends on the store
            return self.rank == 0

    def connect(self, device: torch.device) -> None:
        """See `Ranks`.  The first reduction sets NCCL up, which must happen before a capture."""
        places = self.gather([device.type, os.environ.get("CUDA_VISIBLE_DEVICES", "")])
        if len({kind for kind, _ in places}) > 1:
            without = next(rank for rank, (kind, _) in enumerate(places) if kind == "cpu")
            raise RankError(f"process {without} has no GPU: start no more processes on a machine than it has GPUs")
        if device.type == "cuda":
            self._group = self._dist.new_group(backend="nccl", timeout=self._limit)
            self._on_gpu = True
            for kind in (torch.float32, torch.float64):
                x = torch.ones(1, dtype=kind, device=device)
                self.average(x)
                self.broadcast(x)
            done = torch.cuda.Event()
            done.record()
            self.wait_for(done)

    def close(self) -> None:
        """See `Ranks`."""
        self.largest(0.0)  # nobody leaves while another still needs the connection
        self._dist.destroy_process_group()

    def _finish(self, work: Any) -> None:
        """Waits for a collective of the host."""
        try:
            self._wait(work.is_completed)
            work.wait()
        except RankError:
            raise
        except RuntimeError as error:  # gloo's, when a connection breaks
            raise RankError("another process of this training has ended") from error

    def _wait(self, done: Callable[[], bool]) -> None:
        """Raises RankError if it takes longer than another rank may need."""
        begin = time.monotonic()
        limit = SETUP_S if self._reports < SETTLED else self.timeout_s
        while not done():
            now = time.monotonic()
            if now - begin > limit:
                raise RankError(f"another process of this training has not answered for {limit:g} s: it died or hangs")
            told = None if self._signals is None else self._signals.received_at
            if told is not None and now - max(begin, told) > GRACE_S:
                raise RankError("another process of this training has ended")
            if now - begin > 1e-3:  # answers mostly come sooner, and sleeping makes them late
                time.sleep(1e-4)


_joined: Optional[Ranks] = None


def join(timeout_s: float = 60.0) -> Ranks:
    """The processes that torchrun started, this one among them; `ALONE` without torchrun.  The output of all but rank 0 is
    dropped: what they have to say is the same."""
    global _joined
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    _joined = TorchRanks(timeout_s)
    if not _joined.writes:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return _joined


def speaks() -> bool:
    """Whether this process is the one that tells the user of an error: the first of its training that has one."""
    if _joined is None:
        return int(os.environ.get("RANK", "0")) == 0
    return _joined.claim("error")


def mean_of(ranks: Ranks, values: Dict[str, float]) -> Dict[str, float]:
    """The mean over ranks of each number."""
    if ranks.size == 1:
        return values
    each = ranks.gather({name: float(value) for name, value in values.items()})
    return {name: math.fsum(one[name] for one in each) / ranks.size for name in values}


def sum_of(ranks: Ranks, values: Dict[str, float]) -> Dict[str, float]:
    """The sum over ranks of each number."""
    return {name: value * ranks.size for name, value in mean_of(ranks, values).items()}


class Silent:
    """Stands in for the logger on ranks that write nothing."""

    def stage(self, message: str) -> None:
        """Says nothing."""

    def log(self, row: Dict[str, float]) -> None:
        """Writes nothing."""

    def close(self, message: str = "") -> None:
        """Does nothing."""
