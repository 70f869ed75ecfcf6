"""Training: players that share one forward pass, on Lightning Fabric."""

import math
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from attrs import define
from torch import Tensor, nn
from torch.optim import Optimizer

from seqvae_core.components import Critic
from seqvae_core.devices import deferred_signals, make_fabric, make_optimizer
from seqvae_core.errors import ConfigError, TrainingError
from seqvae_core.experiment import Experiment, TrainConfig
from seqvae_core.loading import Order, data_shapes, item_lengths, iterate, train_batches
from seqvae_core.model import build_model
from seqvae_core.objective import Losses, build_objective, final
from seqvae_core.records import Batch, Noise, Output, Splits
from seqvae_core.settings import OptimizerConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Player", "Trainer", "players"]

Metrics = dict[str, float]


@define(eq=False)
class Player:
    """One optimiser with the parameters that it moves and the loss that it moves them by."""

    name: str
    parameters: list[nn.Parameter]
    loss: Callable[[Output], Tensor]
    optimizer: Optimizer
    steps: int = 1
    after: bool = False


class Trainer:
    """A model, its objective and their players, stepped together.

    Args:
        experiment: what to train.
        splits: on what.
        fabric: where; one process when left out.
        noise: what everything is drawn from; by default from the seed, a stream for each rank.

    Attributes:
        model: the bare model.
        objective: the bare objective with its terms and critics.
        players: in the order in which they step.
        step: steps done.
        best: the best validation value so far, its step, and the validations since.
    """

    def __init__(
        self,
        experiment: Experiment,
        splits: Splits,
        *,
        fabric: "Fabric | None" = None,
        noise: Noise | None = None,
    ):
        self.experiment = experiment
        self.config: TrainConfig = experiment.train
        self.splits = splits
        self.fabric = fabric or make_fabric()
        rank, world = self.fabric.global_rank, self.fabric.world_size
        self.noise = noise or Noise(experiment.seed).of(f"rank-{rank}")
        self.order = Order(
            count=len(splits.train), batch_size=self.config.batch_size, seed=experiment.seed,
            rank=rank, world=world, accumulate=self.config.accumulate, bucket=self.config.bucket,
            lengths=item_lengths(splits.train, "train") if self.config.bucket > 1 else None,
        )  # fmt: skip
        _check_terms(experiment, self.order.size)
        self.model = build_model(experiment.model, data_shapes(splits), experiment.seed)
        self.objective = build_objective(experiment, self.model.shapes)
        self.objective.to(self.fabric.device)
        self.step = 0
        self.best: dict[str, float] = {"value": math.inf, "step": 0, "since": 0}
        self._losses: Losses | None = None
        self._modules: dict[str, Any] = {}
        self._rates: dict[str, OptimizerConfig] = {}
        self.players = players(self)

    # One step -----------------------------------------------------------------------------------

    def advance(self, batches: list[Batch]) -> Metrics:
        """Do one step on the micro-batches of one batch and return its metrics.

        With one micro-batch critics step before the model, which then sees them as they are;
        with several, all players step together at the end.

        Raises:
            TrainingError: if a loss or a gradient norm is not finite, naming the term.
        """
        total = sum(len(batch) for batch in batches)
        self._set_rates()
        scalars: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            share = len(batch) / total
            out = self._modules["model"](batch.to(self.fabric.device), self.noise)
            for player in self.players:
                last = index == len(batches) - 1
                self._play(player, out, share, last, step=len(batches) == 1, scalars=scalars)
            self._gather(scalars, out, share)
        if len(batches) > 1:
            for player in self.players:
                self._move(player, scalars)
        self.step += 1
        self.model.at_step(self.step)
        return self._reduce(scalars)

    def _play(
        self, player: Player, out: Output, share: float, last: bool, *, step: bool,
        scalars: dict[str, Tensor],
    ) -> None:  # fmt: skip
        for turn in range(player.steps):
            seen = out if player.name == "model" else out.detach()
            module = self._modules[player.name]
            waiting = self.fabric.world_size > 1 and not last
            with self.fabric.no_backward_sync(module) if waiting else nullcontext():
                with self.fabric.autocast():
                    loss = player.loss(seen)
                self.fabric.backward(loss * share if share != 1.0 else loss,
                                     inputs=player.parameters)  # fmt: skip
            if player.name != "model" and turn == player.steps - 1:
                scalars[player.name] = scalars.get(player.name, 0.0) + share * loss.detach()
            if step:
                self._move(player, scalars)

    def _move(self, player: Player, scalars: dict[str, Tensor]) -> None:
        if self.config.clip is not None:
            norm: Any = self.fabric.clip_gradients(
                self._modules[player.name], player.optimizer,
                max_norm=self.config.clip, error_if_nonfinite=False,
            )  # fmt: skip
            scalars[f"{player.name}/grad_norm"] = norm.detach()
        player.optimizer.step()
        player.optimizer.zero_grad()

    def _set_rates(self) -> None:
        for player in self.players:
            rate = self._rates[player.name].rate(self.step, self.config.steps)
            for group in player.optimizer.param_groups:
                group["lr"] = rate

    def _gather(self, scalars: dict[str, Tensor], out: Output, share: float) -> None:
        assert self._losses is not None
        found = self._losses.scalars() | out.scalars
        found["frames"] = out.batch.mask.sum().to(found["loss"]) / len(out.batch)
        found["padding"] = 1.0 - out.batch.mask.to(found["loss"]).mean()
        for name, value in found.items():
            scalars[name] = scalars.get(name, 0.0) + share * value

    def _reduce(self, scalars: dict[str, Tensor]) -> Metrics:
        names = list(scalars)
        stacked = torch.stack([scalars[name].double().reshape(()) for name in names])
        if self.fabric.world_size > 1:
            stacked = self.fabric.all_reduce(stacked, reduce_op="mean")  # type: ignore[assignment]
        metrics = dict(zip(names, stacked.tolist(), strict=True))
        _check_finite(metrics, self.step)
        frames = metrics.pop("frames")
        metrics["loss_per_frame"] = metrics["loss"] / frames
        metrics["elbo_per_frame"] = metrics["elbo"] / frames
        metrics["lr"] = self._rates["model"].rate(self.step - 1, self.config.steps)
        return metrics

    # The loop -----------------------------------------------------------------------------------

    def fit(
        self,
        *,
        log: Callable[[int, Metrics], None] = lambda step, metrics: None,
        save: Callable[[], None] = lambda: None,
        save_best: Callable[[], None] = lambda: None,
        watch: Callable[[int, Metrics], None] = lambda step, metrics: None,
    ) -> None:
        """Train from `self.step` to the end.

        Args:
            log: called with each logged step's metrics; validations are always logged.
            save: called when a checkpoint is due.
            save_best: called when validation found the best step so far.
            watch: called at every step, for a progress bar.

        Raises:
            TrainingError: see `advance`.
            KeyboardInterrupt: on Ctrl-C or SIGTERM, after the step and a checkpoint.
        """
        config = self.config
        loader = train_batches(
            self.splits.train, self.order, start=self.step, steps=config.steps,
            workers=config.workers, pin_memory=config.pin_memory,
        )  # fmt: skip
        self.model.train()
        with deferred_signals() as asked_to_stop:
            while self.step < config.steps and not self._stale():
                metrics = self.advance([next(loader) for _ in range(config.accumulate)])
                validated: Metrics = {}
                if self._due(config.valid_every or config.checkpoint_every):
                    validated = self._validated(save_best)
                if validated or self._due(config.log_every):
                    log(self.step, metrics | validated)
                watch(self.step, metrics)
                stop = self._any_rank(asked_to_stop())
                if self._due(config.checkpoint_every) or stop or self._stale():
                    save()
                if stop:
                    raise KeyboardInterrupt

    def _due(self, every: int) -> bool:
        return self.step % every == 0 or self.step == self.config.steps

    def _stale(self) -> bool:
        return self.config.patience is not None and self.best["since"] >= self.config.patience

    def _any_rank(self, flag: bool) -> bool:
        if self.fabric.world_size == 1:
            return flag
        told: Any = self.fabric.all_reduce(torch.tensor(float(flag)), reduce_op="sum")
        return bool(told > 0)

    # Validation ---------------------------------------------------------------------------------

    def _validated(self, save_best: Callable[[], None]) -> Metrics:
        if len(self.splits.valid) == 0:
            return {}
        metrics = self.validate()
        value = metrics["valid/loss"] if self.config.monitor == "loss" else -metrics["valid/elbo"]
        self.best["since"] += 1
        if value < self.best["value"]:
            self.best = {"value": value, "step": self.step, "since": 0}
            save_best()
        return metrics

    @torch.no_grad()
    def validate(self) -> Metrics:
        """Return the validation part's mean losses, schedules at their end, the same noise always.

        Every rank goes through the whole part, so that all decide alike.
        """
        noise = Noise(self.experiment.seed).of("valid")
        sums: dict[str, float] = {}
        count, frames, step = 0, 0, final(self.objective, self.config.steps)
        self.model.eval()
        self.objective.eval()
        try:
            for batch in iterate(self.splits.valid, self.config.batch_size, part="valid"):
                with self.fabric.autocast():
                    out = self.model(batch.to(self.fabric.device), noise)
                    losses = self.objective(out, step)
                for name, value in losses.scalars().items():
                    sums[name] = sums.get(name, 0.0) + float(value) * len(batch)
                count += len(batch)
                frames += int(batch.mask.sum())
        finally:
            self.model.train()
            self.objective.train()
        metrics = {f"valid/{name}": value / count for name, value in sums.items()}
        _check_finite(metrics, self.step)
        return metrics | {"valid/elbo_per_frame": sums["elbo"] / frames}

    # State --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return what every rank shares beside the weights: plain data and tensors."""
        optimizers = {player.name: player.optimizer.state_dict() for player in self.players}
        return {"step": self.step, "best": self.best, "optimizers": optimizers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; the weights are loaded apart."""
        self.step = state["step"]
        self.model.at_step(self.step)
        self.best = dict(state["best"])
        for player in self.players:
            player.optimizer.load_state_dict(state["optimizers"][player.name])


def _check_terms(experiment: Experiment, size: int) -> None:
    """Raise `ConfigError` for a term whose needs a micro-batch of that size does not meet."""
    for term in experiment.regularizers:
        if term.weight and size < term.min_batch:
            raise ConfigError(
                f"'{term.name}' needs {term.min_batch} sequences at a time, a micro-batch has "
                f"{size}: train.batch_size / (devices * train.accumulate)"
            )


def players(trainer: Trainer) -> list[Player]:
    """Return the players in the order of their steps: critics, the model, critics `after` it.

    Each network is set up by Fabric, and each player's loss is a forward of its own, so that
    gradients are averaged over the ranks for critics as well.
    """
    fabric = trainer.fabric

    def model_loss(out: Output) -> Tensor:
        trainer._losses = trainer.objective(out, trainer.step)
        return trainer._losses.total.mean()

    def add(
        name: str, module: nn.Module, config: OptimizerConfig, **order: Any
    ) -> tuple[Player, Any]:
        wrapped, optimizer = fabric.setup(module, make_optimizer(config, module.parameters()))
        trainer._modules[name], trainer._rates[name] = wrapped, config
        return Player(name, list(module.parameters()), model_loss, optimizer, **order), wrapped

    model, _ = add("model", trainer.model, trainer.config.optimizer)
    critics = []
    for label, entry in trainer.objective.entries.items():
        term: Any = trainer.objective.terms[label]
        if isinstance(term.critic, Critic) and entry.weight > 0.0:
            if term.critic.steps > 1 and trainer.config.accumulate > 1:
                raise ConfigError(
                    f"'{label}/critic' has {term.critic.steps} steps for each of the model's, but "
                    f"with train.accumulate = {trainer.config.accumulate} players step together"
                )
            player, forward = add(
                f"{label}/critic", term.critic, term.critic.optimizer,
                steps=term.critic.steps, after=term.critic.after,
            )  # fmt: skip
            player.loss = partial(_critic_loss, forward, label)
            critics.append(player)
    return [*(p for p in critics if not p.after), model, *(p for p in critics if p.after)]


def _critic_loss(forward: Callable[[Output], Tensor], label: str, out: Output) -> Tensor:
    return forward(out.term(f"{label}/critic"))


def _check_finite(metrics: Metrics, step: int) -> None:
    order = sorted(metrics, key=lambda name: name in ("loss", "elbo") or name.endswith("weighted"))
    for name in order:
        if not math.isfinite(metrics[name]):
            raise TrainingError(f"'{name}' is {metrics[name]} at step {step}: training stopped")
