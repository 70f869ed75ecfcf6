"""From features back to sound: Griffin and Lim's algorithm, and what leads to magnitudes."""

import io
import wave
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqvae_core.errors import DataError
from seqvae_core.noise import Noise
from seqvae_data.frames import check_finite
from seqvae_data.speech.config import FeatureName, SpectrumConfig
from seqvae_data.speech.spectra import analysis_window, mel_filters, sizes

__all__ = ["griffin_lim", "magnitudes", "to_sound", "to_wav"]

_LOUDEST = 120.0  # decibels; a full-scale sine is at about 42 dB in 25 ms at 16 kHz


def to_wav(
    frames: NDArray[Any],  # (T, C)
    *,
    name: FeatureName,
    rate: int,
    config: SpectrumConfig,
) -> bytes:
    """Return features as a WAV file, 16 bits, one channel; what exceeds full scale is scaled down.

    Raises:
        DataError: as `to_sound`.
    """
    sound = to_sound(frames, name=name, rate=rate, config=config)
    sound = sound / max(1.0, float(np.abs(sound).max()))
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(sound * 32767.0).astype("<i2").tobytes())
    return content.getvalue()


def to_sound(
    frames: NDArray[Any],  # (T, C)
    *,
    name: FeatureName,
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float64]:
    """Return a sound, (N,) with full scale 1, whose features are about those given.

    Waveforms are joined. Of all others the phase is lost: it is estimated, so that the pitch and
    the envelope are right but the samples are not.

    Args:
        frames: in the features' own units, before normalisation.
        name: which features.
        rate: of sampling, in hertz.
        config: how they were computed.

    Raises:
        DataError: for NaN or infinite values, or another number of channels than the settings give.
    """
    values = np.asarray(frames, dtype=np.float64)
    check_finite(values)
    expected = _channels(name, rate, config)
    if values.ndim != 2 or len(values) == 0 or values.shape[1] != expected:
        raise DataError(f"expected frames (T, {expected}) of {name}, got {values.shape}")
    if name == "waveform":
        return values.reshape(-1)
    return griffin_lim(magnitudes(values, name=name, rate=rate, config=config), rate, config)


def magnitudes(
    frames: NDArray[np.float64],  # (T, C)
    *,
    name: FeatureName,
    rate: int,
    config: SpectrumConfig,
) -> NDArray[np.float64]:
    """Return the magnitude |X| of each Fourier bin, (T, n_fft // 2 + 1), 0 where it is unknown.

    Of the many spectra with given mel bands it is a smooth one: non-negative, found by the
    multiplicative updates of Lee and Seung (2001) for the generalised Kullback-Leibler divergence,
    from a flat start. Cepstra that were left out are taken to be 0.
    """
    if name == "log-magnitude":
        return np.pad(_undecibel(frames, 20.0, config), ((0, 0), (1, 0)))
    if name == "mfcc":
        from scipy.fft import idct

        frames = idct(frames, n=config.mels, axis=1, norm="ortho")
    return np.sqrt(_power(_undecibel(frames, 10.0, config), mel_filters(rate, config)))


def griffin_lim(
    magnitude: NDArray[np.float64],  # (T, n_fft // 2 + 1)
    rate: int,
    config: SpectrumConfig,
    *,
    steps: int = 60,
    momentum: float = 0.99,
) -> NDArray[np.float64]:
    """Return a sound, (N,), whose spectra have about the given magnitudes.

    Griffin and Lim, "Signal estimation from modified short-time Fourier transform" (1984), with
    the momentum of Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm" (2013). The
    first phases are random but the same at each call.
    """
    frame, hop, points = sizes(rate, config)
    window = analysis_window(frame)
    turn = 2.0 * np.pi * _uniform(magnitude.shape)
    spectrum = magnitude * np.exp(1j * turn)
    before = np.zeros_like(spectrum)
    for _ in range(steps):
        again = _spectra(_overlapped(spectrum, window, hop, points), window, hop, points)
        ahead = again + momentum * (again - before)
        spectrum = magnitude * ahead / np.maximum(np.abs(ahead), 1e-16)
        before = again
    return _overlapped(spectrum, window, hop, points)


def _uniform(shape: tuple[int, ...]) -> NDArray[np.float64]:
    import torch

    return Noise(0).of("phase").uniform(torch.empty(shape, dtype=torch.float64)).numpy()


def _spectra(
    sound: NDArray[np.float64], window: NDArray[np.float64], hop: int, points: int
) -> NDArray[np.complex128]:
    frames = np.lib.stride_tricks.sliding_window_view(sound, window.size)[::hop]
    return np.fft.rfft(frames * window, points)


def _overlapped(
    spectrum: NDArray[np.complex128], window: NDArray[np.float64], hop: int, points: int
) -> NDArray[np.float64]:
    """Return the sound whose windowed spectra are nearest to those given, by least squares."""
    frames = np.fft.irfft(spectrum, points)[:, : window.size] * window
    size = (len(frames) - 1) * hop + window.size
    sound, weight = np.zeros(size), np.zeros(size)
    for t, frame in enumerate(frames):
        here = slice(t * hop, t * hop + window.size)
        sound[here] += frame
        weight[here] += window**2
    # at both ends the window is near 0, and dividing by it would make a click
    nearest: NDArray[np.float64] = sound / np.maximum(weight, 1e-2)
    return nearest


def _power(
    mel: NDArray[np.float64], filters: NDArray[np.float64], steps: int = 100
) -> NDArray[np.float64]:
    covered = filters.sum(0) > 0
    filters = filters[:, covered]
    power = np.tile(mel.mean(1, keepdims=True), (1, filters.shape[1]))
    for _ in range(steps):
        power *= (mel / np.maximum(power @ filters.T, 1e-30)) @ filters / filters.sum(0)
    whole = np.zeros((len(mel), covered.size))
    whole[:, covered] = power
    return whole


def _undecibel(
    decibels: NDArray[np.float64], factor: float, config: SpectrumConfig
) -> NDArray[np.float64]:
    limited = np.clip(decibels, config.floor_db, _LOUDEST)
    value: NDArray[np.float64] = np.power(10.0, limited / factor)
    return value


def _channels(name: FeatureName, rate: int, config: SpectrumConfig) -> int:
    frame, _, points = sizes(rate, config)
    return {
        "log-mel": config.mels,
        "log-magnitude": points // 2,
        "mfcc": config.coefficients,
        "waveform": frame,
    }[name]
