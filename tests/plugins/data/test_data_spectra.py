"""Spectra: known tones in known bins, stated sizes, stated floors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seqvae_core.errors import DataError
from seqvae_data.speech.config import SpectrumConfig
from seqvae_data.speech.spectra import (
    features,
    frame_times,
    log_magnitude,
    log_mel,
    mel_filters,
    mfcc,
    waveform,
)

RATE = 16000


def sine(frequency, rate=RATE, count=4000):
    return np.sin(2 * np.pi * frequency * np.arange(count) / rate)


@given(st.integers(2, 198))
def test_a_sine_on_a_bin_is_loudest_there(k):
    spectrum = log_magnitude(sine(40.0 * k), RATE, SpectrumConfig())
    assert (spectrum.argmax(1) == k - 1).all()  # bin 0 is dropped


def test_the_level_of_a_sine_is_half_the_sum_of_the_window():
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    spectrum = log_magnitude(sine(2000.0), RATE, SpectrumConfig())
    np.testing.assert_allclose(spectrum.max(1), 20 * np.log10(window.sum() / 2), atol=0.01)


@given(st.floats(200.0, 6000.0))
def test_a_sine_is_loudest_in_the_mel_band_nearest_to_it(frequency):
    config = SpectrumConfig(n_fft=2048)
    mel = 2595 * np.log10(1 + frequency / 700)
    top = 2595 * np.log10(1 + 8000 / 700)
    nearest = mel / top * 41 - 1
    band = log_mel(sine(frequency), RATE, config).argmax(1)
    assert (abs(band - nearest) <= 0.6).all()


@pytest.mark.parametrize(("rate", "channels"), [(16000, 200), (8000, 100)])
def test_25_ms_frames_give_a_channel_every_40_hertz(rate, channels):
    spectrum = log_magnitude(sine(440.0, rate, 2 * rate), rate, SpectrumConfig())
    assert spectrum.shape == (1 + (2 * rate - rate // 40) // (rate // 100), channels)
    assert spectrum.dtype == np.float32


def test_a_frame_is_the_plain_transform_of_the_windowed_samples():
    sound = np.random.default_rng(0).normal(size=1000)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    k, n = np.arange(1, 201)[:, None], np.arange(400)
    for t, frame in enumerate(log_magnitude(sound, RATE, SpectrumConfig())):
        part = sound[160 * t : 160 * t + 400] * window
        expected = 20 * np.log10(np.abs((part * np.exp(-2j * np.pi * k * n / 400)).sum(1)))
        np.testing.assert_allclose(frame, expected, atol=1e-4)


@pytest.mark.parametrize("compute", [log_magnitude, log_mel])
def test_silence_is_at_the_floor(compute):
    spectrum = compute(np.zeros(800), RATE, SpectrumConfig(floor_db=-60.0))
    np.testing.assert_allclose(spectrum, -60.0, rtol=1e-6)


@pytest.mark.parametrize("compute", [log_magnitude, log_mel])
def test_ten_times_the_amplitude_is_20_decibels_more(compute):
    sound = np.random.default_rng(1).normal(size=2000)
    config = SpectrumConfig(floor_db=-200.0)
    louder = compute(10 * sound, RATE, config) - compute(sound, RATE, config)
    np.testing.assert_allclose(louder, 20.0, atol=1e-3)


@pytest.mark.parametrize("compute", [log_magnitude, log_mel])
def test_a_long_sound_is_computed_in_parts_without_a_seam(compute):
    sound = np.random.default_rng(2).normal(size=2500 * 160)
    config = SpectrumConfig()
    whole = compute(sound, RATE, config)
    part = compute(sound[1000 * 160 :], RATE, config)
    assert len(whole) == 2498
    np.testing.assert_allclose(whole[1000:], part, atol=1e-4)


def test_mel_spectra_are_librosa_s_of_the_same_window_and_filters():
    librosa = pytest.importorskip("librosa")
    sound = np.random.default_rng(3).normal(size=8000)
    config = SpectrumConfig(n_fft=512)
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400))
    power = librosa.feature.melspectrogram(
        y=np.pad(sound, (56, 56)), sr=RATE, n_fft=512, hop_length=160, win_length=400,
        window=window, center=False, n_mels=40, htk=True, norm=None,
    )  # fmt: skip
    # librosa centres a short window in the transform's points
    expected = librosa.power_to_db(power, amin=1e-8, top_db=None).T
    np.testing.assert_allclose(log_mel(sound, RATE, config), expected, atol=1e-3)


def test_cepstra_are_librosa_s_of_the_same_mel_spectrum():
    librosa = pytest.importorskip("librosa")
    sound = np.random.default_rng(4).normal(size=8000)
    config = SpectrumConfig(coefficients=20)
    expected = librosa.feature.mfcc(S=log_mel(sound, RATE, config).T, n_mfcc=20).T
    np.testing.assert_allclose(mfcc(sound, RATE, config), expected, rtol=1e-4, atol=1e-3)


def test_all_cepstra_hold_as_much_energy_as_the_mel_spectrum():
    sound = np.random.default_rng(5).normal(size=3000)
    config = SpectrumConfig(coefficients=40)
    mel, cepstra = log_mel(sound, RATE, config), mfcc(sound, RATE, config)
    np.testing.assert_allclose((cepstra**2).sum(1), (mel**2).sum(1), rtol=1e-4)


@given(st.integers(400, 3000))
def test_a_waveform_s_frames_are_its_samples_in_order(size):
    sound = np.random.default_rng(size).uniform(-1, 1, size)
    frames = waveform(sound, RATE, SpectrumConfig())
    assert frames.shape == (size // 400, 400)
    np.testing.assert_array_equal(frames.ravel(), sound[: frames.size].astype(np.float32))


@pytest.mark.parametrize("name", ["log-mel", "log-magnitude", "mfcc", "waveform"])
def test_the_loudest_frame_is_the_one_at_the_time_of_a_click(name):
    sound = 1e-4 * np.random.default_rng(0).normal(size=16000)
    sound[8000 - 40 : 8000 + 40] += 0.9
    frames = features(name, sound, RATE, SpectrumConfig())
    times = frame_times(name, len(frames), RATE, SpectrumConfig())
    loudest = (frames**2).sum(1) if name == "waveform" else frames[:, 0 if name == "mfcc" else 2]
    assert abs(times[loudest.argmax()] - 0.5) <= 0.0126


def test_mel_bands_lie_within_their_edges():
    filters = mel_filters(RATE, SpectrumConfig(fmin=300.0, fmax=5000.0, n_fft=1024))
    hertz = np.fft.rfftfreq(1024, 1 / RATE)
    assert filters.shape == (40, 513)
    assert (filters[:, (hertz <= 300) | (hertz >= 5000)] == 0).all()
    assert filters.max() <= 1.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"mels": 160}, "160 mel bands are too narrow for 400 Fourier points at 16000 Hz"),
        ({"fmax": 9000.0}, "mel bands from fmin = 0 Hz to 9000 Hz do not fit"),
        ({"fmin": 500.0, "fmax": 400.0}, "mel bands from fmin = 500 Hz to 400 Hz do not fit"),
        ({"n_fft": 256}, "a frame of at least 2 and at most n_fft = 256"),
        ({"hop_ms": 0.01}, "expected a hop of at least 1"),
        ({"frame_ms": 300.0}, "4000 samples are fewer than one frame of 4800"),
    ],
)
def test_settings_that_do_not_fit_the_sound_are_refused(settings, said):
    with pytest.raises(DataError, match=said):
        log_mel(sine(440.0), RATE, SpectrumConfig(**settings))


def test_more_cepstra_than_mel_bands_are_refused():
    with pytest.raises(DataError, match="13 coefficients of 8 mel bands"):
        mfcc(sine(440.0), RATE, SpectrumConfig(mels=8))


def test_a_sound_of_less_than_a_frame_is_no_waveform():
    with pytest.raises(DataError, match="399 samples are fewer than one frame of 400"):
        waveform(np.zeros(399), RATE, SpectrumConfig())
