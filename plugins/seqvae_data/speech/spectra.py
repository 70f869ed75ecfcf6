"""Features of sound: short-time Fourier magnitudes, mel bands, cepstra, and plain samples."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_data.speech.config import FeatureName, SpectrumConfig

__all__ = [
    "analysis_window",
    "features",
    "frame_times",
    "log_magnitude",
    "log_mel",
    "mel_filters",
    "mfcc",
    "sizes",
    "waveform",
]

_BLOCK = 64  # frames that are transformed at a time: few enough to stay in the processor's cache


def features(
    name: FeatureName,
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return the named features of a sound, (T, C).

    Raises:
        DataError: if the sound is shorter than one frame, or the settings do not fit its rate.
    """
    compute = {
        "log-mel": log_mel,
        "log-magnitude": log_magnitude,
        "mfcc": mfcc,
        "waveform": waveform,
    }[name]
    return compute(sound, rate, config)


def frame_times(
    name: FeatureName, count: int, rate: int, config: SpectrumConfig
) -> NDArray[np.float64]:
    """Return when the middle of each of `count` frames is, in seconds from the first sample."""
    frame, hop, _ = sizes(rate, config)
    step = frame if name == "waveform" else hop
    times: NDArray[np.float64] = (step * np.arange(count) + frame // 2) / rate
    return times


def log_magnitude(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return 20·log10|X| of each frame without DC, (T, n_fft / 2), at least the floor, in dB.

    Raises:
        DataError: if the sound is shorter than one frame.
    """

    def compute(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
        return _decibels(np.abs(spectrum[:, 1:]), 20.0, config)

    return _by_block(sound, rate, config, compute)


def log_mel(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return 10·log10 of the power in each mel band, (T, mels), at least the floor, in dB.

    Raises:
        DataError: if the sound is shorter than one frame, or a band holds no Fourier bin.
    """
    filters = mel_filters(rate, config).T

    def compute(spectrum: NDArray[np.complex128]) -> NDArray[np.float64]:
        return _decibels((spectrum.real**2 + spectrum.imag**2) @ filters, 10.0, config)

    return _by_block(sound, rate, config, compute)


def mfcc(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return the first coefficients of the orthonormal DCT-II of `log_mel`, (T, coefficients).

    Raises:
        DataError: as `log_mel`, or if there are more coefficients than mel bands.
    """
    from scipy.fft import dct

    if config.coefficients > config.mels:
        raise DataError(f"{config.coefficients} coefficients of {config.mels} mel bands")
    cepstra: NDArray[np.float32] = dct(log_mel(sound, rate, config), axis=1, norm="ortho")
    return np.ascontiguousarray(cepstra[:, : config.coefficients])


def waveform(
    sound: NDArray[np.float64],  # (N,)
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float32]:
    """Return the samples in frames of `frame_ms` without overlap or window, (T, N), full scale 1.

    Samples that the last frame leaves over are dropped.

    Raises:
        DataError: if the sound is shorter than one frame.
    """
    frame, _, _ = sizes(rate, config)
    _check_length(sound, frame)
    return sound[: sound.size // frame * frame].reshape(-1, frame).astype(np.float32)


def mel_filters(rate: int, config: SpectrumConfig) -> NDArray[np.float64]:
    """Return triangular filters of height 1 on the HTK mel scale, (mels, n_fft // 2 + 1).

    m = 2595·log10(1 + f / 700); the centres are evenly spaced in mel, and each triangle reaches
    from the centre below to the centre above.

    Raises:
        DataError: if the edges are out of order, or a band holds no Fourier bin.
    """
    _, _, points = sizes(rate, config)
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


def sizes(rate: int, config: SpectrumConfig) -> tuple[int, int, int]:
    """Return samples in a frame and a hop, and points of the transform.

    Raises:
        DataError: if a hop has no sample, or a frame fewer than 2 or more than the transform.
    """
    frame, hop = (round(rate * ms / 1000.0) for ms in (config.frame_ms, config.hop_ms))
    points = config.n_fft or frame
    if hop < 1 or not 2 <= frame <= points:
        raise DataError(
            f"frames of {frame} samples every {hop} at {rate} Hz: expected a hop of at least 1, "
            f"and a frame of at least 2 and at most n_fft = {points}"
        )
    return frame, hop, points


def analysis_window(frame: int) -> NDArray[np.float64]:
    """Return the root of the periodic Hann window, (frame,)."""
    window: NDArray[np.float64] = np.sin(np.pi * np.arange(frame) / frame)
    return window


def _check_length(sound: NDArray[np.float64], frame: int) -> None:
    if sound.size < frame:
        raise DataError(f"{sound.size} samples are fewer than one frame of {frame}")


def _by_block(
    sound: NDArray[np.float64],
    rate: int,
    config: SpectrumConfig,
    compute: Callable[[NDArray[np.complex128]], NDArray[np.float64]],
) -> NDArray[np.float32]:
    """Return what is computed of the spectrum of each frame, some frames at a time."""
    frame, hop, points = sizes(rate, config)
    _check_length(sound, frame)
    window = analysis_window(frame)
    frames = np.lib.stride_tricks.sliding_window_view(sound, frame)[::hop]
    blocks = (frames[start : start + _BLOCK] for start in range(0, len(frames), _BLOCK))
    done = [compute(np.fft.rfft(part * window, points)) for part in blocks]
    return np.concatenate(done, dtype=np.float32, casting="same_kind")


def _decibels(
    value: NDArray[np.float64], factor: float, config: SpectrumConfig
) -> NDArray[np.float64]:
    floor = 10.0 ** (config.floor_db / factor)
    decibels: NDArray[np.float64] = factor * np.log10(np.maximum(value, floor))
    return decibels
