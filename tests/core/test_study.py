"""Studies: what is to be done, cells trained and recorded each once, whatever is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tiny
from attrs import evolve

from seqvae_core import Cell, DataError, PluginError, Plugins, Study
from seqvae_core.errors import ConfigError, DuplicateComponentError
from seqvae_core.hookspecs import hookimpl
from seqvae_core.ledger import Ledger, claim, difference
from seqvae_core.reproduction import plan, write_page

MODULE = '''
import time
from pathlib import Path

import torch
from attrs import frozen

from seqvae_core import Cell, DataError, DatasetConfig, Noise, Preset, Splits, Study, hookimpl


@frozen(kw_only=True)
class GatedConfig(DatasetConfig):
    """Noise that is there once its folder holds a file `open`."""

    name = "acme-gated"
    root: Path | None = None
    fault: bool = False

    def build(self, request):
        if self.fault:
            raise DataError("the corpus is damaged")
        if self.root is not None:
            with (self.root / "begun").open("a") as file:
                file.write(f"{request.seed}\\n")
            while not (self.root / "open").exists():
                time.sleep(0.05)
        x = Noise(request.seed).normal(torch.zeros(12, 5, 2))
        return Splits(**{part: [{"x": each} for each in x] for part in ("train", "valid", "test")})


PLAIN = {
    "data": "acme-gated",
    "model": {
        "backbone": "identity",
        "encoder": {"name": "dsae-factorised", "hidden": 4},
        "decoder": {"name": "framewise", "hidden": [4]},
        "likelihood": "gaussian",
        "latents": {"z": {"scope": "global", "dim": 2, "prior": "standard-normal"}},
    },
    "train": {"steps": 3, "batch_size": 4, "optimizer": {"name": "adam", "lr": 1e-3}},
    "tasks": ["rates"],
}


@hookimpl
def seqvae_datasets():
    return [GatedConfig]


@hookimpl
def seqvae_presets():
    wide = {"preset": "acme-tiny", "model": {"encoder": {"hidden": 8}}}
    return [
        Preset(name="acme-tiny", summary="tiny", reference="none", data=PLAIN),
        Preset(name="acme-wide", summary="wider", reference="none", data=wide),
    ]


def cells(roots):
    return [
        Cell(key="tiny/seed-1", source="acme-tiny", group="grid", seed=1),
        Cell(key="wide/seed-2", source="acme-wide", group="grid", seed=2,
             overrides=("train.steps=2",)),
        Cell(key="faulty/seed-1", source="acme-tiny", group="faulty", seed=1,
             overrides=("data.fault=true",)),
        Cell(key="unmeasured/seed-1", source="acme-tiny", group="faulty", seed=1),
        *(Cell(key=f"gated/seed-{seed}", source="acme-tiny", group="gated", seed=seed,
               overrides=(f"data.root={roots['gate'] / 'here'}",)) for seed in (1, 2)),
    ]


def measure(run):
    if run.parent.name == "unmeasured":
        raise ValueError("no figures here")
    return {"bytes": (run / "report.html").stat().st_size}


def pictures(run):
    return {run.parent.name: b"a picture"} if run.name == "seed-2" else {}


def page(records, folder):
    lines = [f"- {each['key']}: {each['figures']['rates/elbo']}\\n" for each in records]
    (folder / "acme-study.md").write_text("".join(lines))


@hookimpl
def seqvae_studies():
    return [
        Study(name="acme-study", summary="tiny cells", reference="none", measure=measure,
              pictures=pictures, roots={"gate": "a folder that says when"}, cells=cells,
              page=page)
    ]
'''


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugin") / "acme_study_module.py"
    path.write_text(MODULE)
    before = list(sys.path)
    yield path
    sys.path[:] = before
    sys.modules.pop(path.stem, None)


@pytest.fixture(scope="module")
def finished(module, tmp_path_factory):
    """Return a folder in which the groups "grid" and "faulty" were reproduced."""
    folder = tmp_path_factory.mktemp("finished")
    options = ["-p", module, "--out", folder / "out", "--runs", folder / "runs", "--jobs", 2]
    done = tiny.call("reproduce", "acme-study", *options, "--only", "grid", "--only", "faul*",
                     code=1)  # fmt: skip
    (folder / "stdout").write_text(done.stdout)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.fixture
def here(module, finished, tmp_path):
    """Return a function that reproduces in a folder of its own, which has the records."""
    (tmp_path / "gate" / "here").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    records = (finished / "out" / "acme-study.jsonl").read_bytes()
    (tmp_path / "out" / "acme-study.jsonl").write_bytes(records)

    def reproduce(*options, start=tiny.call, **more):
        return start("reproduce", "acme-study", "-p", module, "--out", tmp_path / "out",
                     "--runs", tmp_path / "runs", *options, **more)  # fmt: skip

    reproduce.folder = tmp_path
    reproduce.book = Ledger(tmp_path / "out", "acme-study")
    return reproduce


def states(done):
    return {cell["key"]: cell["state"] for cell in json.loads(done.stdout)["cells"]}


# Records -----------------------------------------------------------------------------------------


def test_a_finished_cell_is_one_record_of_settings_figures_costs_and_versions(finished):
    records = Ledger(finished / "out", "acme-study").read()

    assert set(records) == {"tiny/seed-1", "wide/seed-2"}
    record = records["wide/seed-2"]
    assert list(record) == [
        "key", "group", "source", "overrides", "seed", "figures", "seconds", "cpu_seconds",
        "peak_mib", "versions", "hardware", "finished", "settings",
    ]  # fmt: skip
    assert (record["group"], record["source"], record["seed"]) == ("grid", "acme-wide", 2)
    assert record["overrides"] == ["train.steps=2"]
    assert {"rates/elbo", "last/kl/z", "last/valid/elbo", "bytes"} <= record["figures"].keys()
    assert record["figures"]["last/step"] == 2
    assert record["seconds"] > 0 < record["cpu_seconds"]
    assert record["peak_mib"] > 50
    assert set(record["versions"]) == {"seqvae", "torch", "numpy", "python"}
    assert record["hardware"]["cores"] == os.cpu_count()
    assert record["hardware"]["processor"]
    assert record["settings"]["model"]["encoder"]["hidden"] == 8
    assert record["settings"]["seed"] == 2


def test_run_directories_of_finished_cells_are_removed(finished):
    left = [path for path in (finished / "runs").rglob("*") if path.is_file()]

    assert not [path for path in left if {"tiny", "wide"} & set(path.parts)]


def test_pictures_of_a_run_outlive_it_beside_the_page(finished):
    assert [path.name for path in (finished / "out").glob("*.png")] == ["acme-study-wide.png"]
    assert (finished / "out" / "acme-study-wide.png").read_bytes() == b"a picture"


def test_a_cell_that_fails_is_named_with_its_last_line_and_the_others_go_on(finished):
    log = finished / "runs" / "faulty" / "seed-1.log"
    said = f"faulty/seed-1 failed: the corpus is damaged; see {log}; "

    assert said in (finished / "stderr").read_text()
    assert log.read_text() == "the corpus is damaged\n"


def test_a_failing_measure_fails_its_cell_and_keeps_its_run(finished):
    said = "unmeasured/seed-1 failed: ValueError: no figures here; see "

    assert said in (finished / "stderr").read_text()
    assert tiny.steps_of(finished / "runs" / "unmeasured" / "seed-1") == [1, 2, 3]


def test_the_page_has_all_records_in_the_order_of_the_cells(finished):
    text = (finished / "out" / "acme-study.md").read_text()

    assert [line.split(":")[0] for line in text.splitlines()] == ["- tiny/seed-1", "- wide/seed-2"]
    last = (finished / "stdout").read_text().splitlines()[-1]
    assert last == f"page: {os.path.relpath(finished / 'out' / 'acme-study.md')}"


def test_what_is_recorded_is_not_trained_again_and_the_page_is_written_anew(here):
    before = here.book.path.read_bytes()

    done = here("--only", "grid", "--json")

    assert states(done) == {"tiny/seed-1": "done", "wide/seed-2": "done"}
    assert json.loads(done.stdout)["page"] == str(here.book.page)
    assert here.book.page.read_text().count("\n") == 2
    assert here.book.path.read_bytes() == before
    assert not (here.folder / "runs").exists()


def test_half_a_line_at_the_end_is_dropped(here):
    whole = here.book.path.read_bytes()
    line = whole.splitlines()[0]
    here.book.path.write_bytes(whole + line[: len(line) // 2])

    assert set(here.book.read()) == {"tiny/seed-1", "wide/seed-2"}
    here.book.write(json.loads(line)["key"], line.decode())
    assert sorted(here.book.path.read_bytes().splitlines()) == sorted(whole.splitlines())


@pytest.mark.parametrize("line", ["{", "[]", '{"key": "a"}', "", "\N{SNOWMAN}"])
def test_a_damaged_line_is_an_error_that_names_it(here, line):
    text = here.book.path.read_text()
    here.book.path.write_text(f"{line}\n{text}")

    done = here("--dry-run", code=2)

    assert done.stderr == f"line 1 of {here.book.path} is no record of a cell\n"


def test_two_records_of_one_cell_are_an_error(here):
    here.book.path.write_bytes(2 * here.book.path.read_bytes())

    with pytest.raises(DataError, match=r"^line 3 of .* repeats the cell (tiny|wide)/seed-[12]$"):
        here.book.read()


# The plan ----------------------------------------------------------------------------------------


def test_a_dry_run_counts_cells_and_estimates_by_the_median_of_source_and_group(here):
    record = next(iter(here.book.read().values()))
    for number, seconds in enumerate([10.0, 3600.0, 7200.0]):
        other = {**record, "key": f"other-{number}", "group": "gated", "source": "acme-tiny",
                 "seconds": seconds}  # fmt: skip
        here.book.write(other["key"], json.dumps(other))

    done = here("--dry-run", "--root", f"gate={here.folder / 'gate'}", "--jobs", 2)

    table = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert ["acme-tiny", "grid", "1", "0", "0", "0"] in table
    assert ["acme-wide", "grid", "1", "0", "0", "0"] in table
    assert ["acme-tiny", "faulty", "0", "2", "0", "0", "unknown"] in table
    assert ["acme-tiny", "gated", "0", "2", "0", "0", "about", "60", "min"] in table
    assert "time for all: more than 60 min" in done.stdout
    assert not here.book.page.exists()
    assert not (here.folder / "runs").exists()


def test_a_cell_whose_root_is_not_given_is_left_out_and_listed(here):
    done = here("--dry-run", "--json")
    assert states(done)["gated/seed-1"] == "left out"
    assert json.loads(done.stdout)["cells"][-1]["missing"] == ["gate"]

    done = here("--dry-run")
    assert "2 need --root gate=PATH: a folder that says when" in done.stdout
    assert str(here.folder) not in here.book.path.read_text()


def test_seeds_and_patterns_choose_cells_by_key_and_group(here):
    assert list(states(here("--dry-run", "--json", "--seeds", "2-3"))) == [
        "wide/seed-2", "gated/seed-2",
    ]  # fmt: skip
    assert list(states(here("--dry-run", "--json", "--only", "*/seed-1", "--only", "grid"))) == [
        "tiny/seed-1", "wide/seed-2", "faulty/seed-1", "unmeasured/seed-1", "gated/seed-1",
    ]  # fmt: skip


def test_a_record_of_other_settings_is_stale_and_trained_again_only_when_asked(here):
    record = dict(here.book.read()["tiny/seed-1"])
    record["settings"]["train"]["steps"] = 800
    here.book.write(record["key"], json.dumps(record))

    shown = here("--only", "grid")
    assert states(here("--only", "grid", "--dry-run", "--json"))["tiny/seed-1"] == "stale"
    assert ("1 have records of other settings, trained again with --rerun-stale: tiny/seed-1, "
            "train.steps was 800, is 3") in shown.stdout  # fmt: skip

    done = here("--only", "grid", "--rerun-stale", "--keep", "--json")
    assert states(done) == {"tiny/seed-1": "done", "wide/seed-2": "done"}
    assert len(here.book.read()) == 2
    assert tiny.steps_of(here.folder / "runs" / "tiny" / "seed-1") == [1, 2, 3]


@pytest.mark.parametrize(
    ("then", "now", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"a": 1, "b": [{"c": 2}]}, {"b": [{"c": 2.0}], "a": 1}, ""),
        ({"a": {"b": 1}}, {"a": {"b": "x"}}, 'a.b was 1, is "x"'),
        ({"a": [1, {"b": 2}]}, {"a": [1]}, "a.1.b was 2, is not set"),
        ({}, {"a": [3]}, "a.0 was not set, is 3"),
    ],
)
def test_the_first_setting_that_differs_is_said(then, now, said):
    assert difference(then, now) == said


def test_a_cell_of_a_file_is_recorded_without_its_folder(tmp_path, plugins):
    source = tiny.write_experiment(tmp_path)
    study = made([Cell(key="a", source=str(source), group="g", seed=0)])

    (entry,) = plan(study, plugins, {})

    assert entry.settings["data"]["path"] == "toy.npz"
    assert str(tmp_path) not in json.dumps(entry.settings)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--root", "gaet=."], "study 'acme-study' has no root 'gaet'; did you mean 'gate'? "),
        (["--root", "gate"], "expected --root ROOT=PATH, got 'gate'"),
        (["--root", "gate=/nowhere"], "root 'gate' is not there: /nowhere"),
        (["--seeds", "1-x"], "expected --seeds such as 1-3,7, got '1-x'"),
        (["--seeds", "9"], "no cell of 'acme-study' was asked for; known: tiny/seed-1, "),
        (["--only", "gird"], "no cell of 'acme-study' was asked for; known: tiny/seed-1, "),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(here, options, said):
    done = here(*options, "--dry-run", code=2)

    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_trained(here):
    (here.folder / "file").touch()

    done = here("--only", "tiny/*", "--out", here.folder / "file", code=2)

    assert done.stderr.startswith(f"cannot write {here.folder / 'file'}/.acme-study.lock: ")
    assert not (here.folder / "runs").exists()


def test_an_unknown_study_says_what_is_known_and_no_name_lists_them(module):
    done = tiny.call("reproduce", "acme-stuyd", "-p", module, code=2)
    assert done.stderr.startswith("unknown study 'acme-stuyd'; did you mean 'acme-study'? known: ")

    rows = json.loads(tiny.call("reproduce", "-p", module, "--json").stdout)
    (row,) = [row for row in rows if row["name"] == "acme-study"]
    assert row == {"name": "acme-study", "summary": "tiny cells", "reference": "none",
                   "roots": "gate", "plugin": "acme_study_module"}  # fmt: skip


# Studies -----------------------------------------------------------------------------------------


def no_page(records, folder):
    pass


def made(cells, page=no_page):
    return Study(name="acme", summary="one", reference="none", cells=lambda roots: cells, page=page)


def provider(study):
    class Module:
        __name__ = "some_module"

        @staticmethod
        @hookimpl
        def seqvae_studies():
            return [study]

    return Module()


def test_a_study_of_two_plugins_is_an_error_that_names_both():
    plugins = Plugins()
    plugins.register(provider(made([])), "one")
    plugins.register(provider(made([Cell(key="a", source="b", group="c", seed=0)])), "two")

    with pytest.raises(DuplicateComponentError, match="study 'acme' is provided by both 'one' and"):
        plugins.get("study", "acme")


def test_what_is_no_study_is_refused():
    with pytest.raises(PluginError, match="seqvae_studies returned 3, expected a Study"):
        Plugins().register(provider(3), "some")
    with pytest.raises(PluginError, match="returned the name 'Acme', expected kebab-case"):
        Plugins().register(provider(evolve(made([]), name="Acme")), "some")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (["a", "a"], "study 'acme' has two cells 'a'"),
        (["a/b", "a/b/c/d"], "study 'acme' has cells within the cell 'a/b'"),
    ],
)
def test_cells_that_are_in_each_others_way_are_refused(plugins, keys, said):
    cells = [Cell(key=key, source="digits", group="g", seed=0) for key in keys]

    with pytest.raises(PluginError, match=said):
        plan(made(cells), plugins, {})


@pytest.mark.parametrize("key", ["../a", "/a", "a//b", "a/", "", "a b", ".a"])
def test_a_key_that_is_no_path_below_the_runs_is_refused(key):
    with pytest.raises(ValueError, match="key"):
        Cell(key=key, source="digits", group="g", seed=0)


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"source": "digist"}, "cell a: unknown preset 'digist'; did you mean 'digits'"),
        ({"overrides": ("seed",)}, "cell a: expected KEY=VALUE, got 'seed'"),
    ],
)
def test_a_cell_that_is_no_experiment_is_named(plugins, cell, said):
    study = made([Cell(**{"key": "a", "source": "digits", "group": "g", "seed": 0, **cell})])

    with pytest.raises(ConfigError, match=said):
        plan(study, plugins, {})


def test_a_study_without_records_has_no_page_and_one_that_writes_none_is_refused(here):
    study = made([Cell(key="tiny/seed-1", source="acme-tiny", group="grid", seed=1)])
    assert write_page(study, Ledger(here.folder / "empty", "acme")) is None

    here.book.path.rename(here.folder / "out" / "acme.jsonl")
    with pytest.raises(PluginError, match=r"study 'acme' wrote no .*acme\.md"):
        write_page(study, Ledger(here.folder / "out", "acme"))


# Kills, and two at once --------------------------------------------------------------------------


def launched(*arguments):
    return subprocess.Popen(
        tiny.command(*arguments), env=tiny.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def begun(here):
    path = here.folder / "gate" / "here" / "begun"
    return sorted(path.read_text().split()) if path.is_file() else []


def wait_for(condition, *processes):
    deadline = time.monotonic() + 200
    while not condition():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)


def ended(process, code=0):
    out, err = process.communicate(timeout=200)
    assert process.returncode == code, err
    return out, err


@pytest.mark.slow
def test_two_at_once_share_the_cells_and_record_each_once(here):
    options = ["--only", "gated", "--root", f"gate={here.folder / 'gate'}"]
    both = [here(*options, start=launched) for _ in range(2)]
    wait_for(lambda: begun(here) == ["1", "2"], *both)

    (here.folder / "gate" / "here" / "open").touch()

    for process in both:
        ended(process)
    assert begun(here) == ["1", "2"]
    assert len(here.book.read()) == 4
    assert str(here.folder) not in here.book.path.read_text()


@pytest.mark.slow
def test_a_kill_loses_the_running_cell_alone(here):
    """The killed one's cell is still being trained when the next begins, which waits for it."""
    options = ["--only", "gated", "--seeds", 1, "--root", f"gate={here.folder / 'gate'}"]
    killed = here(*options, start=launched)
    wait_for(lambda: begun(here) == ["1"], killed)
    killed.kill()
    killed.communicate()
    next_one = here(*options, start=launched)
    assert "waiting for 1 that another process trains" in next_one.stderr.readline()
    assert begun(here) == ["1"]

    (here.folder / "gate" / "here" / "open").touch()

    ended(next_one)
    assert begun(here) == ["1", "1"]
    assert set(here.book.read()) == {"tiny/seed-1", "wide/seed-2", "gated/seed-1"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_the_running_cells(here, number):
    options = ["--only", "gated", "--seeds", 1, "--root", f"gate={here.folder / 'gate'}"]
    process = here(*options, start=launched)
    wait_for(lambda: begun(here) == ["1"], process)

    process.send_signal(number)

    _, err = ended(process, code=130)
    assert err.splitlines()[-1] == "interrupted"
    free = claim(here.folder / "runs" / "gated" / "seed-1.lock")
    assert free is not None, "the cell's own process is still there"
    free.close()
    assert len(here.book.read()) == 2
