import base64
import io
import json
import shutil
import subprocess
import sys
import wave

import numpy as np
import pytest
from html_page import Page
from hypothesis import given
from hypothesis import strategies as st

import seqvae_report
from seqvae_core.errors import CheckpointError, PluginError, TrainingError
from seqvae_core.plugins import Plugins
from seqvae_core.records import Run
from seqvae_report.page import render, write

EXPERIMENT = """seed = 7
[data]
name = "japanese-vowels"
[model]
backbone = { name = "identity" }
encoder = { name = "dsae-factorised", hidden = 64 }
decoder = { name = "framewise" }
likelihood = { name = "gaussian" }
[model.latents.z]
scope = "global"
dim = 16
[[regularizers]]
name = "cmi"
weight = 0.25
[train]
steps = 40
batch_size = 32
[train.optimizer]
name = "adam"
lr = 0.002
"""
EVIL = '<script>alert("x")</script>'
ROWS = [
    {"features": "z", "accuracy, %": "95.7 [92.4, 98.4]", "chance": 0.111, "n": 185},
    {"features": EVIL, "accuracy, %": "38.4 [31.4, 45.4]", "chance": 0.111, "n": 185},
]
METRICS = {"speaker/z": 0.957, "speaker/z/low": 0.924, "speaker/z/high": 0.984, "frames": 5687}
FIGURES = {"map of z by speaker": "probe/0.png", EVIL: "probe/1.png"}


def png(seed: int) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(np.zeros(800, np.int16).tobytes())
    return file.getvalue()


def line(step: int) -> dict[str, float]:
    decay = np.exp(-step / 8)
    values = {
        "step": step, "loss": 120 * decay + 40, "elbo": -120 * decay - 42, "nll": 100 * decay + 30,
        "kl/z": 12 - 5 * decay, "kl/z/weighted": 6.0, "cmi": -decay, "cmi/weighted": -0.1,
        "cmi/critic/accuracy": 0.8, "lr": 0.002, "loss_per_frame": 8 * decay + 3,
    }  # fmt: skip
    if step % 10 == 0:
        values |= {"valid/loss": 44 + 10 * decay, "valid/elbo": -43.21 - decay, "valid/kl/z": 11.9}
    return values


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "demo"
    (path / "evaluation" / "probe").mkdir(parents=True)
    (path / "experiment.toml").write_text(EXPERIMENT)
    plugins = [{"name": "acme", "distribution": "seqvae-acme", "version": "1.2.3",
                "source": "entry point", "status": "loaded", "error": None}]  # fmt: skip
    (path / "plugins.json").write_text(json.dumps(plugins))
    (path / "environment.json").write_text(json.dumps({"python": "3.11.9", "device": "cpu"}))
    lines = [json.dumps(line(step)) for step in range(1, 41)]
    (path / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (path / "evaluation.json").write_text(json.dumps({"probe": METRICS, "rates": {"kl/z": 3.25}}))
    for index in range(2):
        (path / "evaluation" / "probe" / f"{index}.png").write_bytes(png(index))
    (path / "evaluation" / "probe" / "0.wav").write_bytes(wav())
    content = {"tables": {"Accuracy": ROWS}, "notes": ["Chance is the largest class."],
               "figures": FIGURES, "sounds": {"rebuilt": "probe/0.wav"}}  # fmt: skip
    (path / "evaluation" / "probe.json").write_text(json.dumps(content))
    return path


def test_every_number_of_the_evaluation_is_shown(run):
    text = Page(render(run)).text
    for row in ROWS:
        assert row["accuracy, %"] in text
    for number in ("0.111", "185", "0.957", "[0.924, 0.984]", "5,687", "3.250"):
        assert number in text
    assert "Chance is the largest class." in text


def test_every_figure_and_sound_is_inside_the_page(run):
    sources = Page(render(run)).values("src")
    for index in range(2):
        encoded = base64.b64encode(png(index)).decode()
        assert f"data:image/png;base64,{encoded}" in sources
    assert f"data:audio/wav;base64,{base64.b64encode(wav()).decode()}" in sources


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(run):
    page = Page(render(run))
    assert "script" not in page.tags
    assert all(value.startswith(("data:", "#")) for value in page.values("src", "href"))
    assert not any(name.startswith("on") for name, _ in page.attributes)


def test_what_the_run_holds_is_text_and_never_markup(run):
    evil = {EVIL: {EVIL: 1.0}}
    (run / "evaluation.json").write_text(json.dumps({"probe": METRICS} | evil))
    (run / "metrics.jsonl").write_text(json.dumps(line(1) | {EVIL: 2.0, f"kl/{EVIL}": 1.0}) + "\n")
    (run / "experiment.toml").write_text(f"# {EVIL}\n{EXPERIMENT}")
    page = Page(render(run, error=EVIL))
    assert "script" not in page.tags
    assert page.text.count("alert(") >= 6


def test_the_headline_says_what_was_run_and_how_far_it_came(run):
    text = Page(render(run)).text
    assert text.startswith("demo · seqvae demo finished")
    for words in ("40 of 40", "43.22", "at step 40", "z global, 16", "cmi × 0.25", "Seed 7"):
        assert words in text
    for words in ("seqvae-acme", "1.2.3", "python 3.11.9", "japanese-vowels"):
        assert words in text


def test_the_whole_resolved_experiment_is_there(run):
    assert " ".join(EXPERIMENT.split()) in Page(render(run)).text


def test_each_metric_has_its_curve(run):
    labels = Page(render(run)).values("aria-label")
    for title in ("Objective", "Negative log likelihood", "KL of z", "cmi", "cmi/critic/accuracy",
                  "Learning rate", "The same per frame"):  # fmt: skip
        assert f"{title} over the steps" in labels


def test_the_report_is_a_function_of_the_directory(run, tmp_path):
    copy = tmp_path / "elsewhere" / "demo"
    shutil.copytree(run, copy)
    assert render(run) == render(copy)


def test_a_run_that_stopped_says_why_and_where(run):
    text = Page(render(run, error="'nll' is nan at step 41")).text
    assert "demo stopped Stopped after step 40: 'nll' is nan at step 41" in text


@pytest.mark.parametrize(
    ("error", "words"),
    [(TrainingError("'nll' is nan\nat step 41"), "'nll' is nan at step 41"),
     (KeyboardInterrupt(), "KeyboardInterrupt")],
)  # fmt: skip
def test_the_error_that_ended_a_run_reaches_its_report(run, error, words):
    plugins = Plugins(strict=True)
    plugins.register(seqvae_report, "report")
    plugins.after_run(Run(path=run, experiment=None), error)
    assert words in Page((run / "report.html").read_text(encoding="utf-8")).text


def test_a_run_that_was_killed_is_called_unfinished(run):
    (run / "metrics.jsonl").write_text(json.dumps(line(1)) + "\n")
    assert "demo unfinished" in Page(render(run)).text


def test_a_run_whose_patience_ended_is_finished_early(run):
    (run / "experiment.toml").write_text(
        EXPERIMENT.replace("steps = 40", "steps = 99\npatience = 2")
    )
    losses = [{"step": step, "valid/elbo": value} for step, value in enumerate((-3, -1, -2, -2))]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, losses)) + "\n")
    assert "demo finished early" in Page(render(run)).text


@given(keep=st.integers(0, 60))
def test_a_broken_last_line_changes_only_its_remark(tmp_path_factory, keep):
    path = tmp_path_factory.mktemp("run") / "demo"
    path.mkdir()
    whole = "".join(json.dumps(line(step)) + "\n" for step in range(1, 6))
    (path / "metrics.jsonl").write_text(whole)
    expected = render(path)
    cut = json.dumps(line(6))[:keep]
    (path / "metrics.jsonl").write_text(whole + cut)
    remark = '<p class="soft">Lines of metrics.jsonl that could not be read: 1.</p>'
    assert render(path).replace(remark, "") == expected
    assert (remark in render(path)) == bool(cut)


def test_numbers_that_are_not_finite_are_counted_and_left_out(run):
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "loss": NaN, "nll": Infinity}\n')
    page = Page(render(run))
    assert "not finite: 2." in page.text
    assert not any("nan" in value or "inf" in value for value in page.values("d"))


def test_a_directory_without_anything_says_what_is_missing(tmp_path):
    text = Page(render(tmp_path)).text
    for words in ("not trained yet", "No evaluation yet", "No step has been logged yet",
                  "no experiment.toml", "no environment.json", "no plugins.json"):  # fmt: skip
        assert words in text


def test_a_missing_picture_is_said(run):
    (run / "evaluation" / "probe" / "0.png").unlink()
    assert "This picture's file is missing" in Page(render(run)).text


def test_no_file_outside_the_evaluation_is_embedded(run):
    (run / "secret.png").write_bytes(b"secret")
    content = {"figures": {"map": "../secret.png"}}
    (run / "evaluation" / "probe.json").write_text(json.dumps(content))
    html = render(run)
    assert base64.b64encode(b"secret").decode() not in html
    assert "This picture's file is missing" in html


def test_a_long_history_is_thinned(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        "".join(f'{{"step": {step}, "loss": {step % 7}}}\n' for step in range(1, 20_001))
    )
    html = render(tmp_path)
    assert len(html) < 60_000
    assert max(path.count("L") for path in Page(html).values("d")) < 2000


@pytest.mark.parametrize("name", ["experiment.toml", "plugins.json", "evaluation.json"])
def test_a_damaged_file_is_named(run, name):
    (run / name).write_text("{")
    with pytest.raises(CheckpointError, match=rf"cannot read .*{name}: .*"):
        render(run)


def test_without_jinja2_the_message_names_the_extra(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(PluginError, match=r"pip install 'seqvae\[report\]'"):
        render(run)


def test_writing_replaces_the_page_and_leaves_nothing_else(run):
    (run / "report.html").write_text("old")
    before = set(run.iterdir())
    assert write(run).read_text(encoding="utf-8") == render(run)
    assert set(run.iterdir()) == before


@pytest.mark.parametrize("width", [360, 1200])
def test_chromium_shows_the_page_without_a_complaint_and_without_overflow(run, tmp_path, width):
    """A frame of the width reports its own size to a page around it, and is looked at."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed")
    write(run)
    outer = tmp_path / "outer.html"
    outer.write_text(
        f'<body style="margin:0"><iframe src="{(run / "report.html").as_uri()}" width={width} '
        'height=1500 style="border:0" onload="document.title = `sideways ${Math.round('
        'contentDocument.documentElement.scrollWidth)}`"></iframe>'
    )
    shot = tmp_path / "shot.png"
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--allow-file-access-from-files",
        "--hide-scrollbars", "--enable-logging=stderr", f"--window-size={max(width, 500)},1500",
    ]  # fmt: skip
    looked = subprocess.run(
        [chromium, *flags, f"--screenshot={shot}", outer.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in looked.stderr
    measured = subprocess.run(
        [chromium, *flags, "--dump-dom", outer.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"<title>sideways {width}</title>" in measured.stdout

    from PIL import Image

    with Image.open(shot) as picture:
        pixels = np.asarray(picture.convert("RGB"))[:, :width]
    assert pixels.shape == (1500, width, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 200
    assert 0.01 < (pixels.min(2) < 128).mean() < 0.5  # ink on paper
