"""Files from the web: resumed where they stopped, and used only if size and hash are right."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from medjax.errors import UserError

CHUNK = 1 << 20
TIMEOUT_S = 60.0
Progress = Callable[[int, int], None]
"""`progress(bytes done, bytes in all)`."""


class Remote(NamedTuple):
    """A published file and how to know it."""

    url: str
    size: int
    hash_name: str
    """A name that hashlib knows; md5 where the owner publishes nothing else."""
    digest: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def verify(path: Path, remote: Remote) -> None:
    """Raises UserError where a file is not the published one, by size and hash."""
    size = path.stat().st_size
    if size != remote.size:
        raise UserError(
            f"{path}: has {size} bytes where {remote.name} has {remote.size}; download it again"
        )
    # usedforsecurity: FIPS builds of Python refuse md5 otherwise.
    found = hashlib.new(remote.hash_name, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            found.update(chunk)
    if found.hexdigest() != remote.digest:
        raise UserError(
            f"{path}: its {remote.hash_name} is {found.hexdigest()} where {remote.name} has "
            f"{remote.digest}; this is another file or a damaged one"
        )


def download(remote: Remote, path: Path, progress: Progress | None = None) -> None:
    """Fetches `remote` to `path`, going on with what `path`.part already holds.

    The part stays when the connection breaks, and is removed when the whole has the wrong hash.

    Raises:
      UserError: the server cannot be reached, breaks off, or sends another file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    done = part.stat().st_size if part.is_file() else 0
    if done > remote.size:
        part.unlink()
        done = 0
    if done < remote.size:
        try:
            _receive(remote, part, done, progress)
        except (OSError, http.client.HTTPException) as error:
            kept = part.stat().st_size if part.is_file() else 0
            raise UserError(_broken(remote, kept, error)) from error
    try:
        verify(part, remote)
    except UserError as error:
        part.unlink()
        raise UserError(f"{error}. It was removed; fetch again, or give --file") from error
    part.replace(path)


def _receive(remote: Remote, part: Path, done: int, progress: Progress | None) -> None:
    request = urllib.request.Request(remote.url, headers={"User-Agent": "medjax"})
    if done:
        request.add_header("Range", f"bytes={done}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        said = response.headers.get("Content-Range", "")
        if not (response.status == 206 and said.startswith(f"bytes {done}-")):
            # The server knows no ranges and sends everything again.
            done = 0
        with part.open("r+b" if done else "wb") as file:
            file.seek(done)
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, remote.size)
                if done > remote.size:
                    break
    if done < remote.size:
        raise http.client.IncompleteRead(b"", remote.size - done)


def _broken(remote: Remote, kept: int, error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        why = f"the server answers {error.code} {error.reason}"
    elif isinstance(error, http.client.IncompleteRead):
        why = "the connection broke off"
    else:
        why = str(getattr(error, "reason", "") or error or type(error).__name__)
    return (
        f"{remote.url}: {why}; {kept} of {remote.size} bytes are kept: give the same command again "
        "to go on, or fetch the file elsewhere and give it with --file"
    )
