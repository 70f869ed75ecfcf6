"""Where and with what a run trains: Fabric, torch's threads, optimisers, signals."""

import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from seqvae_core.errors import ConfigError
from seqvae_core.settings import OptimizerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["deferred_signals", "make_fabric", "make_optimizer", "threads"]


def make_fabric(
    *, devices: int = 1, precision: str = "32-true", accelerator: str = "auto"
) -> "Fabric":
    """Return Lightning Fabric for some devices: CUDA when there, else the CPU.

    From then on convolutions and recurrent layers keep all bits of float32 on CUDA, where torch
    would give them TF32's 10, unless `torch.set_float32_matmul_precision` allows these. Where
    matrix products were told their precision by `torch.backends`, nothing is changed.

    Args:
        devices: how many processes; under torchrun its own number is taken.
        precision: "32-true", "64-true", "bf16-mixed" or "16-mixed".
        accelerator: "auto", "cpu" or "cuda".

    Raises:
        ConfigError: if Fabric does not know them, or has no such devices.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    if str(precision) in ("16-true", "bf16-true"):
        raise ConfigError(
            f"precision '{precision}' would keep weights in 16 bits, which sums of KLs do not "
            "stand; expected 32-true, 64-true, bf16-mixed or 16-mixed"
        )
    world = int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    with suppress(RuntimeError):  # torch's, which does not mix its older and newer switches
        # a difference quotient, for one, is lost in 10 bits
        torch.backends.cudnn.allow_tf32 = torch.get_float32_matmul_precision() != "highest"
    try:
        return Fabric(
            accelerator=accelerator,
            devices=world,
            strategy="ddp" if world > 1 else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError, MisconfigurationException) as error:
        raise ConfigError(" ".join(str(error).split())) from None


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Let torch use `count` threads within the block (its own choice if None)."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def make_optimizer(config: OptimizerConfig, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return torch's optimiser of those settings."""
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    adaptive = {**common, "betas": config.betas, "eps": config.eps, "fused": True}
    makers: dict[str, Callable[[], Optimizer]] = {
        "adam": lambda: torch.optim.Adam(parameters, **adaptive),
        "adamw": lambda: torch.optim.AdamW(parameters, **adaptive),
        "sgd": lambda: torch.optim.SGD(parameters, **common, momentum=config.momentum),
        "rmsprop": lambda: torch.optim.RMSprop(
            parameters, **common, eps=config.eps, momentum=config.momentum
        ),
    }
    return makers[config.name]()


@contextmanager
def deferred_signals() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C and SIGTERM until the step is done; a second Ctrl-C is not held."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def hold(number: int, frame: Any) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, hold) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(seen)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
