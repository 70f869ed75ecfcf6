"""What features of audio files cost beside a plain librosa loop, and beside a warm cache."""

import librosa
import numpy as np
import pytest
import soundfile

from seqvae_core.components import DataRequest
from seqvae_data.config import CacheConfig, SplitConfig
from seqvae_data.speech.config import AudioFolder, SpectrumConfig

RATE = 16000
FILES = 40
SECONDS = 3.0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Forty files of three seconds, 16 bits at 16 kHz."""
    root = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    for i in range(FILES):
        sound = 0.1 * rng.normal(size=round(RATE * SECONDS))
        soundfile.write(root / f"{i:02}.wav", sound, RATE, subtype="PCM_16")
    return root


def settings(root, cache):
    return AudioFolder(
        root=root, spectrum=SpectrumConfig(n_fft=512), split=SplitConfig(test=0.1), cache=cache
    )


def librosa_loop(root):
    """Return mel spectra of all files, in the shortest way that librosa has."""
    found = []
    for path in sorted(root.glob("*.wav")):
        sound, rate = librosa.load(path, sr=None)
        power = librosa.feature.melspectrogram(
            y=sound, sr=rate, n_fft=512, win_length=400, hop_length=160, n_mels=40, center=False
        )
        found.append(librosa.power_to_db(power, top_db=None).T)
    return found


@pytest.mark.filterwarnings("ignore:'(aifc|audioop|sunau)' is deprecated")  # librosa.load's readers
def test_mel_spectra_cost_about_what_a_plain_librosa_loop_does(ratio, corpus):
    """Both in one thread; ours is in float64, and finds, checks, splits and normalises too."""
    config = settings(corpus, CacheConfig(keep=False, workers=1))

    def ours():
        config.build(DataRequest(seed=0))

    assert ratio(ours, lambda: librosa_loop(corpus), rounds=10) <= 1.3


def test_a_start_from_a_warm_cache_costs_a_fifth_of_computing_at_most(ratio, corpus, tmp_path):
    warm = settings(corpus, CacheConfig(folder=tmp_path))
    fresh = settings(corpus, CacheConfig(keep=False, workers=1))
    warm.build(DataRequest(seed=0))

    def start():
        warm.build(DataRequest(seed=0))

    assert ratio(start, lambda: fresh.build(DataRequest(seed=0)), rounds=10) <= 0.2
