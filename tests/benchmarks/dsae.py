"""A DSAE of the library and the same network in plain torch, for the benchmarks to time."""

import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqvae_core.experiment import Experiment
from seqvae_core.records import Splits
from seqvae_core.training import Trainer

FRAMES, BATCH, WIDTH, HIDDEN, DIM = 100, 32, 257, 128, 32
STEPS = 1000

EXPERIMENT = {
    "data": {"name": "arrays", "path": "unused.npz"},
    "model": {
        "backbone": "identity",
        "encoder": {"name": "dsae-factorised", "rnn": "lstm", "hidden": HIDDEN},
        "decoder": {"name": "framewise", "hidden": [HIDDEN, HIDDEN]},
        "likelihood": {"name": "gaussian", "scale": "learned"},
        "latents": {
            "z": {"scope": "global", "dim": DIM, "prior": "standard-normal"},
            "s": {
                "scope": "local",
                "dim": DIM,
                "prior": {"name": "autoregressive-gaussian", "rnn": "lstm", "hidden": HIDDEN},
            },
        },
    },
    "train": {"steps": STEPS, "batch_size": BATCH, "optimizer": "adam", "threads": 1},
}


def lengths(*, full: bool) -> list[int]:
    """Return the frames of each sequence: all, or from two fifths of them on, evenly spread."""
    if full:
        return [FRAMES] * BATCH
    return torch.linspace(0.4 * FRAMES, FRAMES, BATCH).round().long().tolist()


def sequences(*, full: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(length, WIDTH, generator=generator) for length in lengths(full=full)]


def trainer(plugins, *, rnn: str = "lstm", full: bool = True) -> Trainer:
    """Return the library's DSAE, ready to step on one batch."""
    experiment = Experiment.of(
        {**EXPERIMENT, "model": {**EXPERIMENT["model"], "encoder": {
            **EXPERIMENT["model"]["encoder"], "rnn": rnn}}},
        plugins,
    )  # fmt: skip
    data = sequences(full=full)
    return Trainer(experiment, Splits(train=data, valid=[], test=data))


class BiLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(WIDTH, HIDDEN, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        if lengths is None:
            return self.rnn(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=FRAMES)[0]


class Reference(nn.Module):
    """The same layers as one would write them by hand, and the loss: the negative ELBO."""

    def __init__(self):
        super().__init__()
        self.global_rnn, self.local_rnn = BiLSTM(), BiLSTM()
        self.z = nn.Linear(2 * HIDDEN, 2 * DIM)
        self.s = nn.Linear(2 * HIDDEN, 2 * DIM)
        self.start = nn.Parameter(torch.zeros(DIM))
        self.prior_rnn = nn.LSTM(DIM, HIDDEN, batch_first=True)
        self.prior = nn.Linear(HIDDEN, 2 * DIM)
        self.decoder = nn.Sequential(
            nn.Linear(2 * DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, WIDTH),
        )  # fmt: skip
        self.logvar = nn.Parameter(torch.zeros(WIDTH))

    def forward(self, x, mask, lengths):
        real = mask[:, :, None]
        summary = (self.global_rnn(x, lengths) * real).sum(1) / mask.sum(1, keepdim=True)
        z_mean, z_logvar = self.z(summary).chunk(2, -1)
        z = z_mean + torch.exp(0.5 * z_logvar) * torch.randn_like(z_mean)
        s_mean, s_logvar = self.s(self.local_rnn(x, lengths)).chunk(2, -1)
        s = s_mean + torch.exp(0.5 * s_logvar) * torch.randn_like(s_mean)
        start = self.start.expand(BATCH, 1, DIM)
        p_mean, p_logvar = self.prior(self.prior_rnn(torch.cat([start, s[:, :-1]], 1))[0]).chunk(
            2, -1
        )
        mean = self.decoder(torch.cat([z[:, None].expand(-1, FRAMES, -1), s], 2))
        nll = F.gaussian_nll_loss(mean, x, self.logvar.exp().expand_as(x), reduction="none")
        nll = ((nll + 0.5 * math.log(2 * math.pi)) * real).sum((1, 2))
        kl_z = 0.5 * (z_mean**2 + z_logvar.exp() - z_logvar - 1).sum(1)
        kl_s = 0.5 * (
            p_logvar - s_logvar - 1
            + (s_logvar.exp() + (s_mean - p_mean) ** 2) * torch.exp(-p_logvar)
        )  # fmt: skip
        return (nll + kl_z + (kl_s * real).sum((1, 2))).mean()


def reference_step(*, full: bool = True):
    """Return a function that does one training step of the reference."""
    x = nn.utils.rnn.pad_sequence(sequences(full=full), batch_first=True)
    count = torch.tensor(lengths(full=full))
    mask = torch.arange(FRAMES) < count[:, None]
    model = Reference()
    optimizer = torch.optim.Adam(model.parameters())

    def step():
        loss = model(x, mask, None if full else count)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
