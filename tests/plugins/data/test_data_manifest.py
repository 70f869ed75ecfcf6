"""Labels of audio files from tables: classes, numbers, stretches of time, and what is wrong."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from reading import build, refused

from seqvae_core.config import structure_component
from seqvae_core.errors import ConfigError, DataError
from seqvae_core.loading import data_shapes
from seqvae_core.testing import check_component
from seqvae_data.config import SplitConfig
from seqvae_data.speech.config import AudioFolder
from seqvae_data.speech.intervals import read_intervals
from seqvae_data.speech.tables import read_table

soundfile = pytest.importorskip("soundfile")

ROWS = [
    {
        "path": f"{word}_{speaker}_{take}.{ending}",
        "speaker": speaker,
        "word": word,
        "height": None if speaker == "dan" else 160.5 + 10 * position,
        "age": 20 + position,
    }
    for position, speaker in enumerate(("ann", "bob", "cleo", "dan"))
    for word in (0, 1)
    for take, ending in enumerate(("wav", "flac", "WAV"))
]


def write_csv(path, rows):
    columns = list(rows[0])
    lines = [",".join(columns)]
    lines += [",".join("" if row[c] is None else str(row[c]) for c in columns) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(params=["csv", "jsonl"])
def config(corpus, request):
    name = f"labels.{request.param}"
    {"csv": write_csv, "jsonl": write_jsonl}[request.param](corpus / name, ROWS)
    return AudioFolder(root=corpus, manifest=name, split=SplitConfig(test=0.25))


@pytest.fixture
def csv_config(corpus):
    write_csv(corpus / "labels.csv", ROWS)
    return AudioFolder(root=corpus, manifest="labels.csv")


def items(splits):
    return [item for part in (splits.train, splits.valid, splits.test) for item in part]


# Manifests ---------------------------------------------------------------------------------------


def test_columns_are_labels_and_those_with_a_decimal_point_are_numbers(config):
    splits = build(config)
    assert splits.classes == {
        "speaker": ("ann", "bob", "cleo", "dan"), "word": ("0", "1"),
        "age": ("20", "21", "22", "23"),
    }  # fmt: skip
    kinds = {name: (v.scope, v.family) for name, v in data_shapes(splits).labels.items()}
    assert kinds["height"] == ("global", "number")
    assert kinds["age"] == kinds["speaker"] == ("global", "class")
    for item in items(splits):
        speaker = splits.classes["speaker"][item["speaker"]]
        height = {"ann": 160.5, "bob": 170.5, "cleo": 180.5}.get(speaker)
        assert item["height"] == height if height else np.isnan(item["height"])


def test_columns_that_are_declared_numbers_are(config):
    splits = build(evolve(config, numbers=("age",), labels=("age",)))
    assert {item["age"] for item in items(splits)} == {20.0, 21.0, 22.0, 23.0}
    assert items(splits)[0].keys() == {"x", "age"}
    assert splits.classes == {}


def test_missing_classes_are_missing(csv_config):
    rows = [{**row, "speaker": None if row["speaker"] == "bob" else row["speaker"]} for row in ROWS]
    write_csv(csv_config.root / "labels.csv", rows)
    splits = build(csv_config)
    assert splits.classes["speaker"] == ("ann", "cleo", "dan")
    assert sum(item["speaker"] == -1 for item in items(splits)) == 6


def test_items_are_in_the_order_of_their_paths_whatever_that_of_the_rows(csv_config):
    before = build(csv_config)
    write_csv(csv_config.root / "labels.csv", ROWS[::-1])
    after = build(csv_config)
    assert [item["speaker"] for item in items(before)] == [item["speaker"] for item in items(after)]


def test_paths_are_compared_in_their_shortest_form_and_a_byte_order_mark_is_no_text(csv_config):
    path = csv_config.root / "labels.csv"
    rows = [{**row, "path": f"./{row['path']}"} for row in ROWS]
    write_csv(path, rows)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(items(build(csv_config))) == 24


def test_tabs_and_quotes_are_read(csv_config):
    lines = ["path\tsaid", *(f'{row["path"]} \t"{row["word"]}, ""so"""' for row in ROWS)]
    (csv_config.root / "labels.tsv").write_text("\n".join(lines))
    splits = build(evolve(csv_config, manifest="labels.tsv"))
    assert splits.classes["said"] == ('0, "so"', '1, "so"')


FAULTY_ROWS = [
    (ROWS[1:], r"0_ann_0\.wav: has no row in .*labels\.csv; leave such files out by data\.exclude"),
    (
        [*ROWS, {**ROWS[0], "path": "../secret.wav"}],
        r"labels\.csv, line 26: '\.\./secret\.wav' is none of the audio files to read",
    ),
    (
        [*ROWS, {**ROWS[0], "path": None}],
        "labels.csv, line 26: '' is none of the audio files to read",
    ),
    ([*ROWS, ROWS[0]], r"labels\.csv, line 26: '0_ann_0\.wav' has a row already, line 2"),
]


@pytest.mark.parametrize(("rows", "said"), FAULTY_ROWS)
def test_rows_without_a_file_and_files_without_a_row_are_named(csv_config, rows, said):
    write_csv(csv_config.root / "labels.csv", rows)
    refused(csv_config, said)
    with pytest.warns(UserWarning, match=f"left out 1 files: .*{said}"):
        splits = build(evolve(csv_config, on_error="skip"))
    assert len(items(splits)) == (23 if len(rows) < 24 else 24)


def test_excluded_files_need_no_row_and_their_rows_no_file(csv_config):
    write_csv(csv_config.root / "phones.csv", SPANS)
    config = evolve(csv_config, exclude="_dan_", intervals="phones.csv")
    assert len(items(build(config))) == 18
    write_csv(config.root / "labels.csv", [row for row in ROWS if row["speaker"] != "dan"])
    assert len(items(build(config))) == 18


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("labels.csv", b"", "has no column 'path', but none"),
        ("labels.csv", b"file,speaker\na,b\n", "has no column 'path', but file, speaker"),
        ("labels.csv", b"path,speaker\n", "has no rows"),
        ("labels.csv", b"path,speaker,speaker\na,b,c\n", "has the column 'speaker' more than once"),
        ("labels.csv", b"path,speaker\na.wav,b\nc.wav\n", "line 3: expected 2 cells, got 1"),
        ("labels.csv", b'path,speaker\na.wav,"b\n', "line 2: unexpected end of data"),
        ("labels.csv", b"path,speaker\n\xff\xfe,b\n", "expected UTF-8 text, got other bytes"),
        ("labels.csv", b"path,a\n0_ann_0.wav,1.5\n0_bob_0.wav,nan\n",
         "line 3, column 'a': expected a finite number, got 'nan'"),
        ("labels.jsonl", b"{]\n", "line 1: expected a JSON object, got '{]"),
        ("labels.jsonl", b"[" * 99999, r"line 1: expected a JSON object, got '\[\["),
        ("labels.jsonl", b"\n3\n", "line 2: expected a JSON object, got '3"),
        ("labels.jsonl", b'{"path": "a", "b": [1]}', "expected text, a number or null, got a list"),
        ("labels.jsonl", b'{"path": "0_ann_0.wav", "a": 1.5}\n{"path": "b", "a": NaN}\n',
         "line 2, column 'a': expected a finite number, got 'NaN'"),
        ("labels.xlsx", b"PK", r"labels\.xlsx: expected a \.csv, \.tsv or \.jsonl file"),
        ("nowhere.csv", None, r"nowhere\.csv: cannot be read: No such file or directory"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_named_in_one_line(corpus, name, content, said):
    if content is not None:
        (corpus / name).write_bytes(content)
    refused(AudioFolder(root=corpus, manifest=name), said)


def test_a_label_cannot_have_a_name_that_items_use_themselves(csv_config):
    write_csv(csv_config.root / "labels.csv", [{**row, "length": 3} for row in ROWS])
    refused(csv_config, "a label cannot be called 'length': rename the group or column")
    assert items(build(evolve(csv_config, labels=("word",))))


def test_what_is_declared_a_number_but_is_none_is_named(csv_config):
    said = r"line 2, column 'speaker': expected a finite number, got 'ann'"
    refused(evolve(csv_config, numbers=("speaker",)), said)
    refused(evolve(csv_config, numbers=("weight",)), "no label 'weight'; known: speaker, word")


@given(st.binary(max_size=200), st.sampled_from([".csv", ".tsv", ".jsonl"]))
def test_any_bytes_are_a_table_or_refused_in_one_line(tmp_path_factory, content, ending):
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(content)
    said = ""
    try:
        table = read_table(path, ())
        assert all(row.cells.keys() == set(table.columns) for row in table.rows)
        table.labels(())
    except DataError as error:
        said = str(error)
    assert "\n" not in said


# Intervals ---------------------------------------------------------------------------------------

SPANS = [
    {"path": row["path"], "start": start, "end": end, "phone": phone, "f0": f0}
    for row in ROWS
    for start, end, phone, f0 in ((0.05, 0.1, "a", 120.5), (0.1, 0.15, "b", None))
    if row["speaker"] != "bob"
]


@pytest.fixture
def aligned(csv_config):
    write_csv(csv_config.root / "phones.csv", SPANS)
    return evolve(csv_config, intervals="phones.csv")


def test_a_frame_has_the_label_of_the_interval_that_its_middle_is_in(aligned):
    splits = build(aligned)
    kinds = {name: (v.scope, v.family) for name, v in data_shapes(splits).labels.items()}
    assert kinds["phone"] == ("local", "class")
    assert kinds["f0"] == ("local", "number")
    assert splits.classes["phone"] == ("a", "b")
    for item in items(splits):
        frames = len(item["x"])
        middle = 0.0125 + 0.01 * torch.arange(frames)
        a, b = (middle >= 0.05) & (middle < 0.1), (middle >= 0.1) & (middle < 0.15)
        if splits.classes["speaker"][item["speaker"]] == "bob":
            a, b = torch.zeros(frames, dtype=bool), torch.zeros(frames, dtype=bool)
        assert torch.equal(item["phone"], torch.where(a, 0, torch.where(b, 1, -1)))
        assert torch.equal(item["f0"].isnan(), ~a)
        assert (item["f0"][a] == 120.5).all()


def test_segments_have_their_part_of_the_labels(aligned):
    whole, cut = build(evolve(aligned, normalise=False)), build(
        evolve(aligned, normalise=False, segment=4)
    )  # fmt: skip
    number = cut.test[0]["utterance"]
    pieces = [item["phone"] for item in cut.test if item["utterance"] == number]
    phones = whole.test[0]["phone"]
    assert torch.equal(torch.cat(pieces), phones[: len(phones) // 4 * 4])


def test_trimming_moves_the_labels_with_the_sound(aligned, tone):
    sound = np.concatenate([np.zeros(8000), tone(440, 0.3), np.zeros(8000)])
    soundfile.write(aligned.root / "0_ann_0.wav", sound, 16000)
    spans = [{"path": "0_ann_0.wav", "start": 0.5, "end": 0.8, "phone": "a"}]
    write_csv(aligned.root / "phones.csv", spans)
    splits = build(evolve(aligned, trim_db=30.0, labels=("phone",), segment=None))
    (phones,) = (item["phone"] for item in items(splits) if (item["phone"] >= 0).any())
    assert (phones == 0).sum() == 30
    assert len(phones) < 34


def test_intervals_go_with_a_pattern_and_for_waveforms(aligned):
    config = evolve(
        aligned, manifest=None, pattern=r"(?P<word>\d)_(?P<speaker>\w+)_", features="waveform"
    )
    splits = build(config)
    assert splits.classes["speaker"] == ("ann", "bob", "cleo", "dan")
    first = next(item for item in items(splits) if item["speaker"] == 0)
    assert first["phone"][:6].tolist() == [-1, -1, 0, 0, 1, 1]


def test_intervals_and_manifests_keep_the_contract(plugins, aligned):
    data = {"name": "audio-folder", "root": str(aligned.root), "manifest": "labels.csv",
            "intervals": "phones.csv", "spectrum": {"mels": 8}}  # fmt: skip
    check_component(structure_component("dataset", data, plugins))
    data |= {"pattern": "(?P<a>.)"}
    with pytest.raises(ConfigError, match="'pattern' and 'manifest' must not be given together"):
        structure_component("dataset", data, plugins)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"path": "nobody.wav"}, r"line 38: 'nobody\.wav' is none of the audio files to read"),
        ({"start": "soon"}, "line 38, column 'start': expected a finite number, got 'soon'"),
        ({"end": None}, "line 38, column 'end': expected a finite number, got ''"),
        ({"start": 0.16}, "line 38: expected 0 <= start < end, got 0.16, 0.15"),
        ({"start": -0.1}, "line 38: expected 0 <= start < end, got -0.1, 0.15"),
        ({"start": 0.09}, "line 38: 'phone' overlaps the interval of line 37"),
    ],
)
def test_an_interval_that_cannot_be_used_is_named(aligned, change, said):
    assert len(SPANS) == 36
    later = {**SPANS[0], "start": 0.15, "end": 0.2}
    write_csv(aligned.root / "phones.csv", [*SPANS[:34], later, SPANS[34], {**SPANS[35], **change}])
    refused(aligned, rf"phones\.csv, {said}")
    with pytest.warns(UserWarning, match=f"left out 1 intervals: .*{said}"):
        build(evolve(aligned, on_error="skip"))


def test_intervals_that_outlast_their_file_leave_it_out(aligned):
    write_csv(aligned.root / "phones.csv", [*SPANS, {**SPANS[0], "start": 0.2, "end": 0.9}])
    said = r"0_ann_0\.wav: .*phones\.csv has an interval up to 0\.900 s, the sound ends before 0\.2"
    refused(aligned, said)
    with pytest.warns(UserWarning, match=f"left out 1 files: .*{said}"):
        assert len(items(build(evolve(aligned, on_error="skip")))) == 23


def test_a_label_cannot_be_of_files_and_of_intervals(aligned):
    write_csv(aligned.root / "phones.csv", [{**span, "word": "a"} for span in SPANS])
    refused(aligned, "the label 'word' is both one of files and one of intervals")
    write_csv(
        aligned.root / "phones.csv", [{k: s[k] for k in ("path", "start", "end")} for s in SPANS]
    )
    refused(aligned, "has no column of labels beside path, start and end")


@given(st.lists(st.integers(1, 9), min_size=2, max_size=8), st.randoms())
def test_every_time_in_an_interval_has_its_label_and_no_other_has(tmp_path_factory, gaps, order):
    edges = np.cumsum(gaps).tolist()
    spans = [(a, b, str(i)) for i, (a, b) in enumerate(pairwise(edges)) if i % 3]
    spans = spans or [(edges[0], edges[1], "0")]
    shuffled = order.sample(spans, len(spans))
    path = Path(tmp_path_factory.getbasetemp()) / "spans.csv"
    write_csv(path, [{"path": "a", "start": a, "end": b, "x": value} for a, b, value in shuffled])
    read = read_intervals(path, {"a"}, (), "raise")
    times = np.arange(0.0, 90.0, 0.5)
    expected = [next((value for a, b, value in spans if a <= t < b), "") for t in times]
    assert read.labels("a", times, 90.0)["x"].tolist() == expected
