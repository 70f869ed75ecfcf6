"""Drawing without a memory: the whole decoder is run again for every place."""

import torch


def naive(decoder, latents, lengths, draw):
    """Return what `decoder.ancestral` should, by as many passes of `forward` as there are places.

    Places of a grid are drawn in raster order, all frames at once; flat frames one by one.
    """
    first = next(iter(latents.values()))
    frames = int(lengths.max())
    latents = {name: value[:, :frames] if value.ndim > 2 else value
               for name, value in latents.items()}  # fmt: skip
    x = first.new_zeros(len(first), frames, *decoder.frame)
    if len(decoder.frame) == 1:
        for t in range(frames):
            x[:, t : t + 1] = draw(decoder(latents, x)[0][:, t : t + 1])
        return x
    for i in range(decoder.frame[1]):
        for j in range(decoder.frame[2]):
            place = (..., slice(i, i + 1), slice(j, j + 1))
            x[place] = draw(decoder(latents, x)[0][place])
    return x


def recorded(draw):
    """Return `draw`, and the list of all features that it will have been asked for."""
    asked = []

    def recording(features):
        asked.append(features)
        return draw(features)

    return recording, asked


def bernoulli(noise, channels=1):
    """Return a draw of zeros and ones, of a probability that the features' sum gives."""

    def draw(features):
        mean = torch.sigmoid(features.sum(2, keepdim=True))
        mean = mean.expand(-1, -1, channels, *mean.shape[3:])
        return (noise.uniform(mean) < mean).to(mean)

    return draw
