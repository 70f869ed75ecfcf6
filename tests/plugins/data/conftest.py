"""A small made-up corpus of tones: four speakers, three takes of two words each."""

import numpy as np
import pytest

RATE = 16000


def tone(frequency, seconds=0.3, rate=RATE, seed=0):
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate))
    return 0.3 * np.sin(2 * np.pi * frequency * np.arange(noise.size) / rate) + 0.01 * noise


def sphere(sound, rate=RATE):
    """Return the bytes of a NIST SPHERE file: a header of 1024 bytes, then 16-bit samples."""
    header = (
        "NIST_1A\n   1024\nchannel_count -i 1\n"
        f"sample_count -i {sound.size}\nsample_rate -i {rate}\nsample_n_bytes -i 2\n"
        "sample_byte_format -s2 01\nsample_sig_bits -i 16\nend_head\n"
    )
    return header.encode().ljust(1024) + (sound * 32767).astype("<i2").tobytes()


@pytest.fixture(name="tone")
def _tone():
    return tone


@pytest.fixture(name="sphere")
def _sphere():
    return sphere


@pytest.fixture
def corpus(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    seed = 0
    for s, speaker in enumerate(("ann", "bob", "cleo", "dan")):
        for word in "01":
            for take in range(3):
                seed += 1
                ending = ("wav", "flac", "WAV")[take]
                path = tmp_path / "corpus" / f"{word}_{speaker}_{take}.{ending}"
                path.parent.mkdir(exist_ok=True)
                sound = tone(300 + 200 * s + 1000 * int(word), 0.2 + 0.05 * take, seed=seed)
                soundfile.write(path, sound, RATE)
    return tmp_path / "corpus"
