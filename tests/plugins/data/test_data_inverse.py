"""Features back to sound: what was lost, what is kept, and that it is the same each time."""

import io
import pickle
import wave

import numpy as np
import pytest
from attrs import evolve

from seqvae_core.components import DataRequest
from seqvae_core.errors import DataError
from seqvae_data.config import SplitConfig
from seqvae_data.speech.audio import read
from seqvae_data.speech.config import AudioFolder, SpectrumConfig
from seqvae_data.speech.inverse import magnitudes, to_sound, to_wav
from seqvae_data.speech.spectra import features, log_magnitude, log_mel, mel_filters, waveform

RATE = 16000
SPECTRA = ("log-magnitude", "log-mel", "mfcc")


def again(name, sound, config, rate=RATE):
    return to_sound(features(name, sound, rate, config), name=name, rate=rate, config=config)


def amplitude(sound, config, rate=RATE):
    quiet = evolve(config, floor_db=-200.0)
    return 10.0 ** (log_magnitude(sound, rate, quiet).astype(np.float64) / 20.0)


def convergence(sound, original, config, rate=RATE):
    """Return |S' - S| / |S| of magnitudes, Sturmel and Daudet's spectral convergence."""
    wanted = amplitude(original, config, rate)
    found = amplitude(sound, config, rate)
    assert found.shape == wanted.shape
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)


def pitch(sound):
    return np.abs(np.fft.rfft(sound * np.hanning(sound.size))).argmax() * RATE / sound.size


@pytest.mark.parametrize("frequency", [220.0, 1000.0, 3300.0])
@pytest.mark.parametrize(("name", "within"), [("log-magnitude", 5.0), ("log-mel", 120.0)])
def test_a_tone_keeps_its_pitch_to_the_width_of_a_band(tone, name, within, frequency):
    config = SpectrumConfig(n_fft=1024, mels=80)
    sound = again(name, tone(frequency, 1.0), config)
    assert abs(pitch(sound) - frequency) < within


@pytest.mark.parametrize(("name", "bound"), [("log-magnitude", 0.1), ("log-mel", 0.3)])
def test_a_read_sentence_has_nearly_the_spectrum_that_it_had(shared_data, name, bound):
    path = shared_data / "timit_sample" / "TIMIT" / "TRAIN" / "DR1"
    sound, _ = read(sorted(path.rglob("SX*.WAV"))[0])
    config = SpectrumConfig(n_fft=512, mels=80)
    assert convergence(again(name, sound, config)[: sound.size], _whole(sound), config) < bound


def _whole(sound, frame=400, hop=160):
    """Return the samples that frames cover."""
    return sound[: (sound.size - frame) // hop * hop + frame]


@pytest.mark.parametrize("name", SPECTRA)
def test_the_features_of_the_sound_are_near_those_that_it_is_made_of(tone, name):
    config = SpectrumConfig(n_fft=512, mels=32, coefficients=20)
    rng = np.random.default_rng(0)
    sound = tone(500, 0.5) + 0.2 * tone(2500, 0.5) + 0.02 * rng.normal(size=8000)
    frames = features(name, sound, RATE, config)
    found = features(name, to_sound(frames, name=name, rate=RATE, config=config), RATE, config)
    inner = slice(3, -3)  # at both ends few frames overlap
    assert np.sqrt(((found - frames)[inner] ** 2).mean()) < 4.0  # decibels


def test_a_smooth_spectrum_is_found_that_has_the_mel_bands_asked_for(tone):
    config = SpectrumConfig(n_fft=512)
    mel = log_mel(tone(700) + tone(2900), RATE, config)
    found = magnitudes(mel.astype(np.float64), name="log-mel", rate=RATE, config=config)
    assert (found >= 0.0).all()
    power = found**2 @ mel_filters(RATE, config).T
    assert np.abs(10.0 * np.log10(power) - mel).mean() < 0.1


def test_joined_waveforms_are_the_sound(tone):
    sound = tone(440)
    content = to_wav(
        waveform(sound, RATE, SpectrumConfig()), name="waveform", rate=RATE, config=SpectrumConfig()
    )
    with wave.open(io.BytesIO(content)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2)
        found = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767.0
    np.testing.assert_allclose(found, sound[:4800], atol=1.1 / 32767)


@pytest.mark.parametrize(("name", "channels"), [("log-magnitude", 32), ("log-mel", 8), ("mfcc", 5)])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_finite_frames_make_a_file_even_absurd_ones(name, channels, count):
    frames = 1e4 * np.random.default_rng(0).normal(size=(count, channels))
    config = SpectrumConfig(mels=8, coefficients=5, n_fft=64, frame_ms=1.0, hop_ms=0.5)
    content = to_wav(frames, name=name, rate=RATE, config=config)
    with wave.open(io.BytesIO(content)) as file:
        assert file.getnframes() == 16 + 8 * (count - 1)


def test_the_same_frames_make_the_same_file(tone):
    frames = log_mel(tone(440), RATE, SpectrumConfig())
    one, other = (
        to_wav(frames, name="log-mel", rate=RATE, config=SpectrumConfig()) for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        (np.zeros((5, 41)), r"expected frames \(T, 40\) of log-mel, got \(5, 41\)"),
        (np.zeros((0, 40)), r"expected frames \(T, 40\) of log-mel, got \(0, 40\)"),
        (np.full((5, 40), np.nan), "200 of 200 values are NaN or infinite"),
    ],
)
def test_frames_that_cannot_be_heard_are_refused(frames, said):
    with pytest.raises(DataError, match=said):
        to_wav(frames, name="log-mel", rate=RATE, config=SpectrumConfig())


@pytest.mark.parametrize("name", [*SPECTRA, "waveform"])
def test_items_of_a_folder_can_be_restored_and_heard(corpus, name):
    config = AudioFolder(root=corpus, features=name, split=SplitConfig(test=0.25))
    splits = config.build(DataRequest(seed=0))
    sound = pickle.loads(pickle.dumps(splits.sound))
    frames = splits.restore(splits.test[0]["x"].numpy())
    content = sound(frames)
    assert content[:4] == b"RIFF"
    assert content == splits.sound(frames)
