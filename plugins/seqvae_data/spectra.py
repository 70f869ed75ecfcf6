"""Spectra of sound: short-time Fourier magnitudes and mel bands, in decibels."""

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.config import SpectrumConfig

__all__ = ["log_magnitude", "log_mel", "mel_filters"]


def log_magnitude(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return 20·log10|X| of each frame without DC, (T, n_fft / 2), at least the floor, in dB.

    Raises:
        DataError: if the sound is shorter than one frame.
    """
    magnitude = np.abs(_transform(sound, rate, config))[:, 1:]
    return _decibels(magnitude, 20.0, config)


def log_mel(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return 10·log10 of the power in each mel band, (T, mels), at least the floor, in dB.

    Raises:
        DataError: if the sound is shorter than one frame, or a band holds no Fourier bin.
    """
    power = np.abs(_transform(sound, rate, config)) ** 2
    return _decibels(power @ mel_filters(rate, config).T, 10.0, config)


def mel_filters(rate: int, config: SpectrumConfig) -> NDArray[np.float64]:
    """Return triangular filters of height 1 on the HTK mel scale, (mels, n_fft // 2 + 1).

    m = 2595·log10(1 + f / 700); the centres are evenly spaced in mel, and each triangle reaches
    from the centre below to the centre above.

    Raises:
        DataError: if the edges are out of order, or a band holds no Fourier bin.
    """
    _, _, points = _sizes(rate, config)
    high = rate / 2 if config.fmax is None else config.fmax
    if not config.fmin < high <= rate / 2:
        raise DataError(
            f"mel bands from fmin = {config.fmin:g} Hz to {high:g} Hz do not fit a sampling rate "
            f"of {rate} Hz"
        )
    low, top = (2595.0 * np.log10(1.0 + f / 700.0) for f in (config.fmin, high))
    edges = 700.0 * (10.0 ** (np.linspace(low, top, config.mels + 2) / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(points, 1.0 / rate)
    rise = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    filters: NDArray[np.float64] = np.clip(np.minimum(rise, fall), 0.0, None)
    if not (filters > 0).any(1).all():
        raise DataError(
            f"{config.mels} mel bands are too narrow for {points} Fourier points at {rate} Hz: "
            "lower mels or raise n_fft"
        )
    return filters


def _sizes(rate: int, config: SpectrumConfig) -> tuple[int, int, int]:
    """Return samples in a frame and a hop, and points of the transform."""
    frame, hop = (round(rate * ms / 1000.0) for ms in (config.frame_ms, config.hop_ms))
    points = config.n_fft or frame
    if hop < 1 or not 2 <= frame <= points:
        raise DataError(
            f"frames of {frame} samples every {hop} at {rate} Hz: expected a hop of at least 1, "
            f"and a frame of at least 2 and at most n_fft = {points}"
        )
    return frame, hop, points


def _transform(
    sound: NDArray[np.float64], rate: int, config: SpectrumConfig
) -> NDArray[np.complex128]:
    frame, hop, points = _sizes(rate, config)
    if sound.size < frame:
        raise DataError(f"{sound.size} samples are fewer than one frame of {frame}")
    window = np.sin(np.pi * np.arange(frame) / frame)  # its square is the periodic Hann window
    frames = np.lib.stride_tricks.sliding_window_view(sound, frame)[::hop]
    return np.fft.rfft(frames * window, points)


def _decibels(
    value: NDArray[np.float64], factor: float, config: SpectrumConfig
) -> NDArray[np.float32]:
    floor = 10.0 ** (config.floor_db / factor)
    decibels: NDArray[np.float64] = factor * np.log10(np.maximum(value, floor))
    return decibels.astype(np.float32)
