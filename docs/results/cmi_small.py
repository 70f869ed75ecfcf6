"""Train the γ = 0 VAE, the β-VAE at β = 1 - γ and CMI at γ, over seeds, and compare them in pairs.

    python docs/results/cmi_small.py --data DIR        # fill cmi_small.jsonl; resumable
    python docs/results/cmi_small.py --page            # write cmi_small.md from it

DIR holds `fsdd` and `timit_sample`; Japanese Vowels need none. A finished cell is one line of
`cmi_small.jsonl`; a cell that was cut off continues from its last checkpoint.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from statistics import mean, stdev

HERE = Path(__file__).parent
RECORDS = HERE / "cmi_small.jsonl"
GAMMA = 0.5
ROOTS = {"japanese-vowels": None, "fsdd": "fsdd", "timit": "timit_sample"}
METHODS = ("vae", "beta-vae", "cmi")


def arguments(data: str, method: str, seed: int, root: Path | None) -> list[str]:
    """Return the command line of one cell, without its run directory."""
    settings = [f"seed={seed}"]
    if root is not None:
        settings.append(f"data.root={root}")
    if method == "beta-vae":
        settings.append(f"model.latents.z.kl.weight={1 - GAMMA}")
    if method == "cmi":
        settings.append(f"regularizers.cmi.weight={GAMMA}")
    preset = f"{data}-cmi" if method == "cmi" else data
    return ["train", preset, *(word for text in settings for word in ("--set", text))]


def finish(cell: dict, root: Path | None, runs: Path) -> dict:
    """Train or resume one cell in a process of its own and return its record."""
    run = runs / "-".join(map(str, cell.values()))
    words = arguments(**cell, root=root)
    command = ["resume", run] if (run / "experiment.toml").is_file() else [*words, "--out", run]
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "seqvae_core", *map(str, command)], stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"cell {cell} failed")
    return {
        **cell,
        "gamma": GAMMA,
        "command": "seqvae " + " ".join(arguments(**cell, root=root and Path(root.name))),
        "seconds": round(time.monotonic() - begun, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "environment": json.loads((run / "environment.json").read_text()),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "evaluation": json.loads((run / "evaluation.json").read_text()),
    }


def fill(data: Path | None, runs: Path, seeds: int, only: list[str], part: str) -> None:
    """Finish every cell that has no record yet."""
    index, of = map(int, part.split("/"))
    cells = [
        {"data": name, "method": method, "seed": seed}
        for seed in range(1, seeds + 1)
        for name in only
        for method in METHODS
    ]
    for number, cell in enumerate(cells):
        done = [{key: record[key] for key in cell} for record in records()]
        folder = ROOTS[cell["data"]]
        if cell in done or number % of != index or (folder and data is None):
            continue
        record = finish(cell, data / folder if folder else None, runs)
        with RECORDS.open("a") as file:
            file.write(json.dumps(record) + "\n")


def records() -> list[dict]:
    """Return all finished cells."""
    if not RECORDS.is_file():
        return []
    return [json.loads(line) for line in RECORDS.read_text().splitlines()]


# The page --------------------------------------------------------------------------------------


def columns(data: str) -> dict[str, tuple[str, str, float]]:
    """Return title → (task, metric, factor) of what one data set's table shows."""
    by = " by utterance" if data == "timit" else ""
    shown = {
        "speaker from z, %": ("probe", f"speaker/z{by}/linear", 100.0),
        "speaker from pooled s, %": ("probe", f"speaker/pooled s{by}/linear", 100.0),
        "speaker from pooled s, MLP, %": ("probe", f"speaker/pooled s{by}/mlp", 100.0),
        "speaker from mean of frames, %": ("probe", f"speaker/mean of frames{by}/linear", 100.0),
        "EER of z, %": ("verification", f"eer/z{by}", 100.0),
        "EER of pooled s, %": ("verification", f"eer/pooled s{by}", 100.0),
        "KL(z), nats": ("rates", "kl/z", 1.0),
        "KL(s), nats a frame": ("rates", "kl/s per frame", 1.0),
        "true ELBO, nats a frame": ("rates", "elbo per frame", 1.0),
        "MSE": ("reconstruction", "mse", 1.0),
        "I(z;s), nats": ("mutual-information", "mi", 1.0),
    }
    if data == "fsdd":
        shown["digit from s_t, % of frames"] = ("probe", "digit/s per frame/linear", 100.0)
        shown["digit from s_t, MLP, %"] = ("probe", "digit/s per frame/mlp", 100.0)
        shown["digit from raw frames, MLP, %"] = ("probe", "digit/frames/mlp", 100.0)
        shown["digit from z, %"] = ("probe", "digit/z/linear", 100.0)
    return shown


def baselines(data: str) -> dict[str, tuple[str, str]]:
    """Return title → (probe's name, verification's name) of the rows without training."""
    by = " by utterance" if data == "timit" else ""
    dims = {"japanese-vowels": 12, "fsdd": 16, "timit": 16}[data]
    names = ("mean of frames", "mean and std of frames", f"mean of frames, pca {dims}",
             "untrained z", "untrained pooled s")  # fmt: skip
    return {name: (f"speaker/{name}{by}/linear", f"eer/{name}{by}") for name in names}


def spread(values: list[float]) -> str:
    """Return mean ± standard deviation over seeds."""
    values = [round(value, 6) for value in values]
    centre = f"{round(mean(values), 6):.3g}"
    return f"{centre} ± {stdev(values):.2g}" if len(values) > 1 else centre


def page() -> str:
    """Return the page of everything that is recorded."""
    parts = [(HERE / "cmi_small.head.md").read_text()]
    for data in ROOTS:
        found = [record for record in records() if record["data"] == data]
        if seeds := whole_seeds(found):
            parts += [f"## {data}\n", summary(data, found, seeds)]
    return "\n".join(parts)


def whole_seeds(found: list[dict]) -> list[int]:
    """Return the seeds that every method has finished."""
    done = {(record["method"], record["seed"]) for record in found}
    return [s for s in sorted({s for _, s in done}) if all((m, s) in done for m in METHODS)]


def summary(data: str, found: list[dict], seeds: list[int]) -> str:
    """Return one data set's tables: each method, the paired differences, the baselines."""
    shown = columns(data)
    by = {(r["method"], r["seed"]): r["evaluation"] for r in found}

    def value(method: str, seed: int, title: str) -> float:
        task, metric, factor = shown[title]
        return factor * by[method, seed][task][metric]

    def matched(seed: int, title: str) -> float:
        """Return what a β-VAE of CMI's KL(z) would show, on the line through β = 1 and 1 - γ."""
        rates = [value(method, seed, "KL(z), nats") for method in METHODS]
        share = (rates[2] - rates[0]) / (rates[1] - rates[0])
        ends = [value(method, seed, title) for method in METHODS[:2]]
        return ends[0] + share * (ends[1] - ends[0])

    others = {
        "CMI - β-VAE": partial(value, "beta-vae"),
        "CMI - β-VAE at equal KL(z)": matched,
        "CMI - VAE": partial(value, "vae"),
    }
    lines = [f"Seeds {seeds}; mean ± standard deviation over seeds.\n"]
    lines += ["| | " + " | ".join([*METHODS, *others]) + " |", "|---" * 7 + "|"]
    for title in shown:
        cells = [spread([value(m, s, title) for s in seeds]) for m in METHODS]
        for other in others.values():
            gaps = [value("cmi", s, title) - other(s, title) for s in seeds]
            signs = f"{sum(gap > 0 for gap in gaps)} up, {sum(gap < 0 for gap in gaps)} down"
            cells.append(f"{spread(gaps)} ({signs})")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    lines += ["\n| without training | speaker, % | EER, % |", "|---|---|---|"]
    for title, (probe, verify) in baselines(data).items():
        accuracy = [100 * by["cmi", s]["probe"][probe] for s in seeds]
        error = [100 * by["cmi", s]["verification"][verify] for s in seeds]
        lines.append(f"| {title} | {spread(accuracy)} | {spread(error)} |")
    chance = mean(100 * by["cmi", s]["probe"]["speaker/chance"] for s in seeds)
    lines.append(f"| chance | {chance:.3g} | 50 |")
    cpu = spread([r["cpu_seconds"] for r in found])
    peak = max(r["peak_mib"] for r in found)
    lines.append(f"\nCPU seconds a cell: {cpu}; peak memory {peak} MiB.\n")
    return "\n".join(lines)


def main() -> None:
    """Fill the records, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of fsdd and timit_sample")
    parser.add_argument("--runs", type=Path, default=Path("runs/cmi_small"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(ROOTS), choices=list(ROOTS))
    parser.add_argument("--part", default="0/1", help="INDEX/COUNT, to share cells out")
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    if given.page:
        (HERE / "cmi_small.md").write_text(page())
    else:
        data = given.data and given.data.resolve()
        fill(data, given.runs, given.seeds, given.only, given.part)


if __name__ == "__main__":
    main()
