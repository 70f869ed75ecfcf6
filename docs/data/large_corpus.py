"""Train on 10 GB of features and tell how much memory that takes.

    python docs/data/large_corpus.py DIR            # needs 13 GB below DIR; resumable
    python docs/data/large_corpus.py DIR --gb 0.1   # a try

Two corpora of noise are made, one after the other: an `.npy` file of 100 kB a sequence, for
`arrays`; and WAV files of a minute, for `audio-folder`, whose features are four times as large as
they are. For each a process of its own reads it, trains 20 steps, and reads every sequence of the
training part once in random order. What was made is deleted when its figures are in
`DIR/figures.jsonl`; delete that to do it all again.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
import wave
from pathlib import Path

FRAMES, CHANNELS = 250, 100
MINUTE, RATE = 60 * 16000, 16000
EXPERIMENT = """
[data]
{data}
split = {{ test = 0.01, valid = 0.01 }}
[model]
backbone = "identity"
encoder = {{ name = "dsae-factorised", rnn = "gru", hidden = 16 }}
decoder = {{ name = "framewise", hidden = [16] }}
likelihood = "gaussian"
[model.latents.z]
scope = "global"
dim = 4
prior = "standard-normal"
[model.latents.s]
scope = "local"
dim = 4
prior = {{ name = "autoregressive-gaussian", hidden = 16 }}
[train]
steps = 20
batch_size = 16
threads = 1
optimizer = {{ name = "adam", lr = 1e-3 }}
"""
DATA = {
    "arrays": 'name = "arrays"\npath = "x.npy"',
    "audio-folder": 'name = "audio-folder"\nroot = "audio"\nfeatures = "waveform"\nsegment = 100\n'
    'cache = {{ folder = "{folder}/cache" }}',
}


# Corpora -----------------------------------------------------------------------------------------


def make(name: str, folder: Path, size: int) -> None:
    """Make a corpus, or what is missing of it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "experiment.toml").write_text(
        EXPERIMENT.format(data=DATA[name].format(folder=folder))
    )
    if name == "arrays":
        make_array(folder / "x.npy", size // (4 * FRAMES * CHANNELS))
    else:
        make_audio(folder / "audio", size // (4 * MINUTE))


def make_array(path: Path, rows: int) -> None:
    """Write an array piece by piece."""
    import numpy as np

    row = 4 * FRAMES * CHANNELS
    with path.open("ab") as file:
        if file.tell() == 0:
            shape = {"descr": "<f4", "fortran_order": False, "shape": (rows, FRAMES, CHANNELS)}
            np.lib.format.write_array_header_1_0(file, shape)
        header = file.tell() % row
        done = (file.tell() - header) // row
        file.truncate(header + done * row)
        for start in range(done, rows, 100):
            rng = np.random.default_rng(start)
            count = min(100, rows - start)
            file.write(rng.standard_normal((count, FRAMES, CHANNELS), np.float32).tobytes())


def make_audio(folder: Path, minutes: int) -> None:
    """Write minutes of noise, 8 bits a sample, of ten speakers."""
    import numpy as np

    for i in range(minutes):
        path = folder / f"speaker{i % 10}" / f"{i}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.stat().st_size > MINUTE:
            continue
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 1, RATE, 0, "NONE", ""))
            file.writeframes(np.random.default_rng(i).bytes(MINUTE))


# Measuring ---------------------------------------------------------------------------------------


def status() -> dict[str, int]:
    """Return the memory of this process by kind, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith(" kB")}
    return {key: int(fields[key]) // 1024 for key in ("VmHWM", "RssAnon", "RssFile")}


class Peaks(threading.Thread):
    """Look at the memory again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peaks = status()

    def run(self) -> None:
        """Keep the largest of each kind."""
        while True:
            for key, value in status().items():
                self.peaks[key] = max(self.peaks[key], value)
            time.sleep(0.02)


def measure(folder: Path) -> dict[str, float]:
    """Train, read an epoch, and return seconds and peaks of memory."""
    watch = Peaks()
    watch.start()
    import torch

    from seqvae_core import Experiment, Plugins
    from seqvae_core.runs import train

    before = status()["VmHWM"]
    plugins = Plugins.load()
    experiment = Experiment.load(folder / "experiment.toml", plugins)
    begun = time.monotonic()
    out = folder / "run"
    run = train(experiment, out, plugins=plugins, accelerator="cpu", force=True)
    trained = time.monotonic()
    data = run.splits.train
    frames = sum(data[i]["x"].shape[0] for i in torch.randperm(len(data)).tolist())
    read = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {
        "sequences": len(data),
        "frames": frames,
        "build and train, s": round(trained - begun),
        "an epoch's reading, s": round(read - trained),
        "peak resident, MiB": max(peak, watch.peaks["VmHWM"]),
        "peak anonymous, MiB": watch.peaks["RssAnon"],
        "peak of files, MiB": watch.peaks["RssFile"],
        "after import of torch, MiB": before,
    }


def size_of(folder: Path) -> float:
    """Return the GB of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9


def finish(name: str, folder: Path, size: int) -> dict[str, object]:
    """Make a corpus, measure in a process of its own, and delete the corpus."""
    begun = time.monotonic()
    make(name, folder, size)
    made = round(time.monotonic() - begun)
    figures: dict[str, object] = {"data": name, "making, s": made}
    for turn in ("first start", "second start"):
        command = [sys.executable, __file__, str(folder), "--measure"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=environment)
        figures[turn] = json.loads(done.stdout.splitlines()[-1])
    figures["GB on the disk"] = round(size_of(folder), 2)
    figures["machine"] = f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}"
    shutil.rmtree(folder)
    return figures


def main() -> None:
    """Finish what has no figures yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gb", type=float, default=10.0)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folder)))
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    figures = arguments.folder / "figures.jsonl"
    done = (
        [json.loads(line) for line in figures.read_text().splitlines()] if figures.is_file() else []
    )
    for name in DATA:
        if name not in {each["data"] for each in done}:
            record = finish(name, arguments.folder / f"corpus-{name}", int(arguments.gb * 1e9))
            with figures.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
