"""Compare the gradient of each estimator of the Jacobian penalty with the true one.

    python docs/concepts/jacobian_bias.py        # prints the tables, draws jacobian-bias.png

A decoder of 195 weights and two latents, in float64, so that the expectation over z ~ N(0, I) is a
mean over a grid. The true derivative of that mean is a central difference in the weights.
"""

import math
import warnings
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

from seqvae_basics.config import Activation, BernoulliLikelihood, Framewise
from seqvae_core.components import Decoder, Likelihood
from seqvae_core.pictures import INK, PALETTE, figure, png, tidy
from seqvae_core.records import Batch, Latent, Noise, Output, Shapes, Variable
from seqvae_jacobian.config import JacobianL1

PICTURE = Path(__file__).with_name("jacobian-bias.png")
ACTIVATIONS: tuple[Activation, ...] = ("relu", "leaky-relu", "elu", "softplus", "tanh", "gelu")
LATENTS, HIDDEN, FRAME = 2, (10, 10), (5,)
STEPS = (0.1, 0.03, 0.01)  # of the central difference
EPSILONS = (1.0, 0.5, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
SIDE = 400  # points of the grid in each direction
BATCH, BATCHES = 64, 200
SEEDS = range(6)
ROWS = 20_000  # that are computed at a time
AUTODIFF: dict[str, object] = {"method": "forward", "columns": 0}
ESTIMATORS = {"autodiff": AUTODIFF} | {
    f"ε {epsilon:g}": {"epsilon": epsilon, "columns": 0} for epsilon in EPSILONS
}

Parts = tuple[Decoder, Likelihood]
Table = dict[str, dict[str, float]]


def network(activation: Activation, seed: int = 0) -> Parts:
    """Return a decoder z ↦ sigmoid(MLP(z)), its weights and biases normal."""
    shapes = Shapes(
        frame=FRAME, latents={"z": Variable(name="z", scope="global", shape=(LATENTS,))},
        decoded=HIDDEN[-1:],
    )  # fmt: skip
    decoder = Framewise(hidden=HIDDEN, activation=activation).build(shapes)
    likelihood = BernoulliLikelihood().build(shapes)
    noise = Noise(seed)
    for part in (decoder, likelihood):
        part.double()
        for parameter in part.parameters():
            scale = math.sqrt(2.0 / parameter.shape[1]) if parameter.ndim == 2 else 0.5
            parameter.data = scale * noise.of("weights").normal(parameter.data)
    return decoder, likelihood


def grid(side: int, latents: int = LATENTS) -> Tensor:
    """Return points (side**latents, latents): the middles of cells that N(0, I) finds alike."""
    middle = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    one = torch.special.ndtri(middle)
    return torch.cartesian_prod(*[one] * latents).reshape(-1, latents)


def output(parts: Parts, z: Tensor, noise: Noise) -> Output:
    """Return what a model leaves to its terms, for samples z (B, L) and frames of zeros."""
    decoder, likelihood = parts

    def decode(latents: dict[str, Tensor], mask: Tensor, x: Tensor | None) -> object:
        return likelihood(decoder(latents, x)[0])

    mask = torch.ones(len(z), 1, dtype=torch.bool)
    latent = Latent(name="z", scope="global", sample=z, mask=mask)
    made = decode({"z": z}, mask, None)
    return Output(
        batch=Batch.of(torch.zeros_like(made.mean), mask=mask), latents={"z": latent},
        likelihood=made, noise=noise, decoder=decode, parts=parts,
    )  # fmt: skip


def weights(parts: Parts) -> list[nn.Parameter]:
    """Return the parameters of decoder and likelihood."""
    return [parameter for part in parts for parameter in part.parameters()]


def term(parts: Parts, z: Tensor, noise: Noise, **settings: object) -> Tensor:
    """Return the penalty of each row of z, (B,), by the regularizer `jacobian-l1`."""
    z_shape = Variable(name="z", scope="global", shape=z.shape[1:])
    shapes = Shapes(frame=FRAME, latents={"z": z_shape})
    built = JacobianL1(chunk=2 * ROWS, **settings).build(shapes)
    with warnings.catch_warnings():  # that the gradient is biased is what is to be shown
        warnings.filterwarnings("ignore", message=".*biased")
        return built(output(parts, z, noise))


def mean_gradient(parts: Parts, z: Tensor, **settings: object) -> tuple[float, Tensor]:
    """Return the mean penalty over all rows of z, and its gradient as the term gives it, (P,)."""
    value, total = 0.0, torch.zeros(())
    for rows in z.split(ROWS):
        share = len(rows) / len(z)
        mean = share * term(parts, rows, Noise(0), **settings).mean()
        value += mean.item()
        total = total + flat(torch.autograd.grad(mean, weights(parts)))
    return value, total


def exact_value(parts: Parts, z: Tensor) -> float:
    """Return the mean penalty over all rows of z, from the exact Jacobian."""
    with torch.no_grad():
        sums = [term(parts, rows, Noise(0), **AUTODIFF).sum() for rows in z.split(ROWS)]
    return torch.stack(sums).sum().item() / len(z)


def central(parts: Parts, z: Tensor, direction: Tensor, step: float) -> float:
    """Return the true derivative of the mean penalty along a direction (P,) of the weights."""
    before = flat(weights(parts)).detach()
    values = []
    for sign in (1.0, -1.0):
        nn.utils.vector_to_parameters(before + sign * step * direction, weights(parts))
        values.append(exact_value(parts, z))
    nn.utils.vector_to_parameters(before, weights(parts))
    return (values[0] - values[1]) / (2.0 * step)


def true_gradient(parts: Parts, z: Tensor, step: float) -> Tensor:
    """Return the true gradient of the mean penalty, (P,), one central difference a weight."""
    size = flat(weights(parts)).numel()
    axes = torch.eye(size, dtype=torch.float64)
    return torch.tensor([central(parts, z, axis, step) for axis in axes], dtype=torch.float64)


def noise_of(
    parts: Parts, gradient: Tensor, noise: Noise, batches: int = BATCHES, **settings: object
) -> float:
    """Return the norm of the deviation of one batch's gradient, over that of `gradient`."""
    squares = 0.0
    for _ in range(batches):
        z = noise.of("z").normal(torch.empty(BATCH, LATENTS, dtype=torch.float64))
        mean = term(parts, z, noise, **settings).mean()
        found = flat(torch.autograd.grad(mean, weights(parts)))
        squares += (found - gradient).square().sum().item()
    return math.sqrt(squares / batches) / gradient.norm().item()


def flat(values: Iterable[Tensor]) -> Tensor:
    """Return tensors as one vector."""
    return torch.cat([value.flatten() for value in values])


def direction(parts: Parts) -> Tensor:
    """Return the direction in which the biases of all hidden units grow alike, (P,)."""
    decoder = set(parts[0].parameters())
    hidden = [torch.full_like(p, float(p in decoder and p.ndim == 1)) for p in weights(parts)]
    return flat(hidden) / flat(hidden).norm()


def by_activation(z: Tensor) -> Table:
    """Return by activation the values, the derivatives along `direction` and the noise."""
    rows = {}
    for activation in ACTIVATIONS:
        parts = network(activation)
        along = direction(parts)
        row = {f"true, step {step:g}": central(parts, z, along, step) for step in STEPS}
        value, exact = mean_gradient(parts, z, **AUTODIFF)
        values = {"value, exact": value}
        for epsilon in (0.1, 0.01):
            value, found = mean_gradient(parts, z, columns=0, epsilon=epsilon)
            values[f"value, ε {epsilon:g}"] = value
            row[f"ε {epsilon:g}"] = (found @ along).item()
        row |= {"autodiff": (exact @ along).item()} | values
        row["cosine"] = torch.cosine_similarity(exact, found, 0).item()
        row["noise, autodiff"] = noise_of(parts, exact, Noise(1), **AUTODIFF)
        row["noise, ε 0.01"] = noise_of(parts, found, Noise(1), columns=0, epsilon=0.01)
        rows[activation] = row
    return rows


def by_estimator(z: Tensor) -> Table:
    """Return bias and noise of each estimator on the ReLU net, over the true gradient's norm."""
    parts = network("relu")
    truth = true_gradient(parts, z, STEPS[1])
    other = true_gradient(parts, grid(SIDE - 101), STEPS[1])
    print(f"the true gradient is off by {distance(other, truth):.3f} on another grid\n")
    rows = {}
    for name, settings in ESTIMATORS.items():
        value, found = mean_gradient(parts, z, **settings)
        bias, scale = distance(found, truth), (found.norm() / truth.norm()).item()
        noise = scale * noise_of(parts, found, Noise(1), **settings)
        rows[name] = {
            "value": value,
            "bias": bias,
            "cosine": torch.cosine_similarity(found, truth, 0).item(),
            "noise": noise,
            "noise, 1 column": scale
            * noise_of(parts, found, Noise(1), **{**settings, "columns": 1}),
            "error of 1 batch": math.hypot(bias, noise),
            "error of 100": math.hypot(bias, noise / 10.0),
            "resolution": noise * math.sqrt(BATCH / len(z)),
        }
    return rows


def by_seed() -> Table:
    """Return how far autodiff is from finite differences, ε = 0.03, on other ReLU nets."""
    rows, z = {}, grid(SIDE // 2)
    for seed in SEEDS:
        parts = network("relu", seed)
        along = direction(parts)
        _, exact = mean_gradient(parts, z, **AUTODIFF)
        _, found = mean_gradient(parts, z, columns=0, epsilon=0.03)
        rows[str(seed)] = {
            "true": central(parts, z, along, STEPS[1]),
            "ε 0.03": (found @ along).item(),
            "autodiff": (exact @ along).item(),
            "bias of autodiff": distance(exact, found),
            "cosine": torch.cosine_similarity(exact, found, 0).item(),
        }
    return rows


def distance(gradient: Tensor, truth: Tensor) -> float:
    """Return the norm of the difference over that of the truth."""
    return ((gradient - truth).norm() / truth.norm()).item()


def show(title: str, rows: Table) -> None:
    """Print a table in Markdown."""
    columns = list(next(iter(rows.values())))
    print(f"| {title} | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{row[column]:.3g}' for column in columns)} |")
    print(flush=True)


def draw(activations: Table, estimators: Table) -> bytes:
    """Draw the derivatives by activation, and bias and noise over ε, as PNG."""
    picture = figure(10.0, 3.8)
    left, right = picture.subplots(1, 2, width_ratios=[1.2, 1.0])
    keys = {"true": f"true, step {STEPS[1]:g}", "finite differences, ε 0.1": "ε 0.1"}
    for i, (label, key) in enumerate((keys | {"autodiff": "autodiff"}).items()):
        places = [x + 0.27 * (i - 1) for x in range(len(activations))]
        heights = [row[key] for row in activations.values()]
        left.bar(places, heights, 0.25, color=PALETTE[i], label=label)
    left.set_xticks(range(len(activations)), list(activations))
    left.axhline(0.0, color=INK, linewidth=0.8)
    left.set_ylabel("derivative along the hidden biases", fontsize=9, color=INK)
    over = [(epsilon, estimators[f"ε {epsilon:g}"]) for epsilon in EPSILONS]
    seen = {"bias": [(x, row) for x, row in over if row["bias"] > row["resolution"]], "noise": over}
    for key, colour in (("bias", PALETTE[0]), ("noise", PALETTE[1])):
        right.plot(
            [x for x, _ in seen[key]], [row[key] for _, row in seen[key]],
            "o-", color=colour, markersize=4, label=f"{key}, finite differences",
        )  # fmt: skip
        level = estimators["autodiff"][key]
        right.axhline(level, color=colour, linestyle=":", label=f"{key}, autodiff")
    right.set(xscale="log", yscale="log")
    right.set_xlabel("ε (ReLU)", fontsize=9, color=INK)
    right.set_ylabel("over the norm of the true gradient", fontsize=9, color=INK)
    for axes in (left, right):
        tidy(axes)
        axes.legend(fontsize=8, frameon=False, labelcolor=INK)
    return png(picture)


def main() -> None:
    """Print the tables and draw the picture."""
    torch.set_num_threads(1)
    z = grid(SIDE)
    print(f"{len(z)} points, {flat(weights(network('relu'))).numel()} weights\n")
    activations, estimators = by_activation(z), by_estimator(z)
    show("activation", activations)
    show("ReLU", estimators)
    show("ReLU, seed", by_seed())
    PICTURE.write_bytes(draw(activations, estimators))


if __name__ == "__main__":
    main()
