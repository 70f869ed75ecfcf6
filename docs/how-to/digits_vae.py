"""A small VAE of scikit-learn's digits in plain torch, as one might have lying about.

`python digits_vae.py` trains it and writes its weights, `digits.pt`, and the data, `digits.npz`.
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

FACTORS = 12


class VAE(nn.Module):
    """Images (N, 1, 8, 8) in [0, 1], twelve factors."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2 * FACTORS)
        )
        self.decoder = nn.Sequential(
            nn.Linear(FACTORS, 64), nn.ReLU(), nn.Linear(64, 64), nn.Sigmoid()
        )

    def encode(self, x):
        """Return mean and log variance, (N, 12) each."""
        return self.encoder(x).chunk(2, 1)

    def decode(self, z):
        """Return the mean of x, (N, 1, 8, 8)."""
        return self.decoder(z).reshape(-1, 1, 8, 8)


def train(x, steps=600, sigma=0.25):
    """Return a VAE that was trained on images, in a few seconds."""
    torch.manual_seed(0)
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (128,))]
        mean, logvar = model.encode(batch)
        z = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        error = (batch - model.decode(z)).square().sum((1, 2, 3)) / (2.0 * sigma**2)
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).sum(1)
        optimizer.zero_grad()
        (error + kl).mean().backward()
        optimizer.step()
    return model


def factory():
    """Return the trained VAE: what `seqvae audit --model digits_vae:factory` calls."""
    model = VAE()
    model.load_state_dict(torch.load("digits.pt", weights_only=True))
    return model


if __name__ == "__main__":
    images, digit = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32) / 16.0
    np.savez("digits.npz", x=images, digit=digit)
    torch.save(train(torch.from_numpy(images)).state_dict(), "digits.pt")
    print("written:", *map(str, sorted(Path.cwd().glob("digits.*"))), sep="\n")
