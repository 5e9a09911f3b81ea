"""Downloads against a real server on this machine that breaks off, forgets ranges, or lies."""

import hashlib
import http.server
import threading

import numpy as np
import pytest

from medjax.errors import UserError
from medjax.weights.download import Remote, download, verify

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT; the server's fields say how badly."""

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.status != 200:
            return self.send_error(self.server.status)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        start = start if self.server.ranges else 0
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            end = len(self.server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{end}/{end + 1}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        # Sends less than it promised, then hangs up.
        self.wfile.write(body[: self.server.breaks_after])
        self.server.breaks_after = None
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.ranges, server.status = CONTENT, True, 200
        server.breaks_after, server.asked = None, []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def remote(server):
    url = f"http://127.0.0.1:{server.server_address[1]}/weights.bin"
    return Remote(url, len(CONTENT), "sha256", hashlib.sha256(CONTENT).hexdigest())


def test_fetches_a_file_and_tells_how_far_it_is(remote, tmp_path):
    seen = []
    path = tmp_path / "new" / remote.name
    download(remote, path, lambda done, of: seen.append((done, of)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 2
    assert [p.name for p in path.parent.iterdir()] == ["weights.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_goes_on_after_a_break(server, remote, tmp_path, ranges):
    server.breaks_after, server.ranges = 1_200_000, ranges
    path = tmp_path / remote.name
    with pytest.raises(UserError, match=r"broke off; 1200000 of 3000000 bytes .* again to go on"):
        download(remote, path)
    assert not path.exists()
    download(remote, path)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1200000-"]


def test_a_part_that_is_whole_needs_no_server(server, remote, tmp_path):
    (tmp_path / "weights.bin.part").write_bytes(CONTENT)
    download(remote, tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT and server.asked == []


@pytest.mark.parametrize("damage", ["changed", "longer", "part changed"])
def test_another_file_is_refused_and_removed(server, remote, tmp_path, damage):
    if damage == "part changed":
        (tmp_path / "weights.bin.part").write_bytes(b"x" + CONTENT[1:1000])
    elif damage == "changed":
        server.content = b"x" + CONTENT[1:]
    else:
        server.content = CONTENT + b"x" * 2_000_000
    with pytest.raises(UserError, match="removed"):
        download(remote, tmp_path / "weights.bin")
    assert list(tmp_path.iterdir()) == []
    server.content = CONTENT
    download(remote, tmp_path / "weights.bin")


def test_a_server_that_refuses_or_is_not_there(server, remote, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"weights\.bin: the server answers 404.*--file"):
        download(remote, tmp_path / "a")
    nobody = remote._replace(url="http://127.0.0.1:9/weights.bin")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9.*--file"):
        download(nobody, tmp_path / "a")


def test_verify_knows_size_and_hash(remote, tmp_path):
    path = tmp_path / "mine.bin"
    path.write_bytes(CONTENT)
    verify(path, remote)
    verify(path, remote._replace(hash_name="md5", digest=hashlib.md5(CONTENT).hexdigest()))
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match="2999999 bytes"):
        verify(path, remote)
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(UserError, match="sha256 is"):
        verify(path, remote)
