"""Downloads from a server of the test's own: checksums, mirrors, and all that goes wrong."""

import hashlib
import multiprocessing
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from seqvae_core.errors import DataError
from seqvae_data import download
from seqvae_data.download import Remote, fetch

CONTENT = bytes(range(256)) * 999
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()
LICENCE = "CC0, nobody's"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/missing":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/good")
            self.end_headers()
            return
        if self.path == "/slow":
            time.sleep(0.2)
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        if self.path == "/packed":
            self.send_header("Content-Encoding", self.headers["Accept-Encoding"])
        self.end_headers()
        body = {"/wrong": CONTENT[::-1], "/half": CONTENT[: len(CONTENT) // 2]}
        self.wfile.write(body.get(self.path, CONTENT))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def remote(self, *paths, checksum=SHA256, name="data.bin"):
        return Remote(name=name, urls=tuple(map(self.url, paths)), checksum=checksum)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def refused(remote, folder, said):
    with pytest.raises(DataError, match=said) as caught:
        fetch([remote], folder, licence=LICENCE)
    assert "\n" not in str(caught.value)
    assert [path.name for path in folder.rglob("*.tmp")] == []
    return str(caught.value)


@pytest.mark.parametrize("checksum", [SHA256, MD5], ids=["sha256", "md5"])
def test_what_is_served_arrives_with_its_licence_told_first(server, tmp_path, capsys, checksum):
    remote = server.remote("good", checksum=checksum, name="deep/er/data.bin")

    paths = fetch([remote], tmp_path / "new", licence=LICENCE)

    assert paths == [tmp_path / "new/deep/er/data.bin"]
    assert paths[0].read_bytes() == CONTENT
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"licence: {LICENCE}\n"


def test_what_is_there_is_not_fetched_again(server, tmp_path, capsys):
    remotes = [server.remote("good", name="a"), server.remote("good", name="b")]
    fetch(remotes, tmp_path, licence=LICENCE)
    (tmp_path / "b").unlink()

    fetch(remotes, tmp_path, licence=LICENCE)
    fetch(remotes, tmp_path, licence=LICENCE)

    assert server.asked == ["/good"] * 3
    assert capsys.readouterr().err.count("licence") == 2


def test_another_file_of_that_name_is_an_error_with_both_sums_and_stays(server, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")

    said = refused(server.remote("good"), tmp_path, "data.bin: expected .*; delete it")

    assert SHA256 in said
    assert hashlib.sha256(b"mine").hexdigest() in said
    assert (tmp_path / "data.bin").read_bytes() == b"mine"
    assert server.asked == []


def test_without_a_checksum_the_one_found_is_told(server, tmp_path, capsys):
    fetch([server.remote("good", checksum=None)], tmp_path, licence=LICENCE)

    assert f"data.bin: no checksum is published, got {SHA256}" in capsys.readouterr().err


@pytest.mark.parametrize("first", ["missing", "wrong", "half"])
def test_the_next_mirror_is_asked_when_one_fails(server, tmp_path, first):
    (path,) = fetch([server.remote(first, "good")], tmp_path, licence=LICENCE)

    assert path.read_bytes() == CONTENT
    assert server.asked == [f"/{first}", "/good"]


@pytest.mark.parametrize("served", ["moved", "packed"])
def test_bytes_arrive_as_they_are_stored(server, tmp_path, served):
    (path,) = fetch([server.remote(served)], tmp_path, licence=LICENCE)

    assert path.read_bytes() == CONTENT


def test_when_no_mirror_serves_each_is_named_with_its_reason(server, tmp_path):
    said = refused(
        server.remote("missing", "half", "wrong"), tmp_path, "cannot download data.bin: "
    )
    assert f"{server.url('missing')}: answers 404; " in said
    assert f"{server.url('half')}: breaks off; " in said
    wrong = hashlib.sha256(CONTENT[::-1]).hexdigest()
    assert said.endswith(f"{server.url('wrong')}: expected {SHA256}, got sha256:{wrong}")
    assert not (tmp_path / "data.bin").exists()


def test_a_half_sent_body_is_found_without_a_checksum_too(server, tmp_path):
    refused(server.remote("half", checksum=None), tmp_path, "/half: breaks off")


def test_a_server_that_is_down_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as server:
        remote = server.remote("good")

    refused(remote, tmp_path, f"{remote.urls[0]}: cannot be reached")


@pytest.mark.parametrize("url", ["http://[::1/data.bin", "gopher://127.0.0.1/data.bin"])
def test_an_address_that_is_none_is_named(tmp_path, url):
    assert url in refused(Remote(name="data.bin", urls=(url,)), tmp_path, "cannot download")


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")

    refused(server.remote("good"), tmp_path / "file", r"cannot write .*/file: File exists")


def test_without_pooch_the_extra_is_named(server, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    refused(server.remote("good"), tmp_path, r"needs pooch: pip install 'seqvae\[download\]'")


def test_two_processes_that_want_the_same_file_download_it_once(server, tmp_path):
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("processes cannot be forked here")
    context = multiprocessing.get_context("fork")
    wanted = {"files": [server.remote("slow")], "folder": tmp_path, "licence": LICENCE}
    children = [context.Process(target=fetch, kwargs=wanted) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()

    assert [child.exitcode for child in children] == [0, 0]
    assert server.asked == ["/slow"]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_on_a_terminal_a_bar_shows_how_far_it_is(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(download.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")

    fetch([server.remote("good")], tmp_path, licence=LICENCE)

    assert "100%" in capsys.readouterr().err


def test_a_checksum_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="checksum"):
        Remote(name="a", urls=(), checksum="crc32:12345678")
