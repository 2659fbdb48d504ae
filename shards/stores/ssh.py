"""A folder on another machine, over ssh.

Uses the commands ssh and rsync here, and rsync and GNU coreutils there. The user's ssh configuration applies, except that an
unknown or changed host key is always refused.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO

from fdsl.primitives.errors import InputError, one_line
from shards.files import HIDDEN
from shards.stores.contract import Entry
from shards.stores.uploading import OPEN_FILES, Unreachable, Uploading, retried, too_large

_OPTIONS = (
    "BatchMode=yes", "StrictHostKeyChecking=yes", "ConnectTimeout=15", "ServerAliveInterval=15", "ServerAliveCountMax=4",
    "ControlMaster=auto", "ControlPersist=10",
)  # fmt: skip
_URL = re.compile(
    r"ssh://((?:[A-Za-z0-9._][A-Za-z0-9._-]*@)?[A-Za-z0-9][A-Za-z0-9._-]*)(?::(\d{1,5}))?(/[^\x00-\x1f]+)"
)
_SSH_FAILED = 255
"""Exit code of ssh itself, as opposed to the command there."""
_RSYNC_CUT = (10, 12, 30, 35, _SSH_FAILED)
"""Exit codes of rsync if the connection failed: socket, protocol, timeouts, ssh."""
_ADVICE = {
    "HOST IDENTIFICATION HAS CHANGED": "the host key changed; if that is expected, remove the old one: ssh-keygen -R",
    "Host key verification failed": "the host key is unknown; connect once by hand and compare it",
    "Permission denied (13)": "this user may not write there; choose another folder",
    "Permission denied (": "the login is refused; `ssh` must work without a password: use a key and ssh-agent",
    "Could not resolve hostname": "the host name is unknown",
    "No space left on device": "the disk there is full; free space on it",
    "Disk quota exceeded": "the disk quota there is used up; free space there",
    "rsync: command not found": "rsync is missing there; install it",
    "rsync: not found": "rsync is missing there; install it",
}
"""Errors that another try does not mend, by ssh's own words, and what to do."""

# Scripts that run there. Exit codes: 3 missing, 4 exists, 5 too large or no file, 6 wrong bytes arrived.
_CHECK = 'sha256sum < "$1" | grep -q "^$3 " || { rm -f "$1"; exit 6; }; '
# the file may be gone, published by another sender of the same bytes
_PUBLISH = _CHECK + 'mv -fT "$1" "$2" || { test -e "$1" && exit 1; exit 6; }; sync "$(dirname "$2")"'
_PUBLISH_NEW = _CHECK + 'ln -T "$1" "$2" || { test -e "$2" && rm -f "$1" && exit 4; }; rm -f "$1"'
_READ = 'test -e "$1" || exit 3; test -f "$1" && test "$(stat -Lc %s "$1")" -le "$2" || exit 5; cat "$1"'
_SIZE = 'test -e "$1" || exit 3; test -f "$1" || exit 5; stat -Lc %s "$1"'
_STAT = 'test -f "$1" || exit 3; stat -Lc %s "$1"'
_SWEEP = 'find "$1" -maxdepth 2 -type f -regextype posix-extended -regex ".*/\\.[^/]*\\.[0-9a-f]{16}\\.tmp" -delete'
_LIST = 'test -d "$1" || exit 0; find -L "$1" -mindepth 1 -maxdepth 1 -printf "%y %s %T@ %f\\0"'


_MAX_FOLDER = 50
"""Length of a folder in which the name of a socket still fits."""


@cache
def _control_path() -> str:
    """Return the path of the sockets by which commands share one connection.

    `none`, if no folder is private to the user: each command then connects by itself.
    """
    folder = Path(tempfile.gettempdir(), f"fdsl-ssh-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    is_private = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077
    return f"{folder}/%C" if is_private and len(str(folder)) <= _MAX_FOLDER else "none"


class _Download:
    """A file that is being read; see `StoredFile`."""

    def __init__(self, file: IO[bytes], n_bytes: int) -> None:
        self._file, self.n_bytes, self._n_read = file, n_bytes, 0

    def read(self, n_bytes: int, /) -> bytes:
        """Return the next bytes, at most `n_bytes`; none at the end.

        Raises Unreachable if the connection is lost.
        """
        content = self._file.read(n_bytes)
        self._n_read += len(content)
        if len(content) < n_bytes and self._n_read < self.n_bytes:
            raise Unreachable(0, "the connection was lost")
        return content


@dataclass(frozen=True)
class Host(Uploading):
    """A folder on another machine.

    Attributes
    ----------
    host : HOST or USER@HOST, as ssh takes it
    port : port number, or None for that of ssh's configuration
    folder : absolute path there
    """

    host: str
    port: str | None
    folder: str

    @classmethod
    def of_url(cls, url: str, name: str) -> Host:
        """Return the store of an ssh:// URL.

        Raises
        ------
        InputError
            The URL is wrong, or a command is missing here.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise InputError(
                f"`{name}` (={url}) must be ssh://USER@HOST:PORT/FOLDER; the user and the port may be left out"
            )
        for command in ("ssh", "rsync"):
            if shutil.which(command) is None:
                raise InputError(f"`{name}` (={url}) needs the command {command}; install it")
        return cls(match[1], match[2], str(PurePosixPath(match[3])))

    @property
    def url(self) -> str:
        """URL of the folder."""
        return f"ssh://{self.host}{f':{self.port}' if self.port else ''}{self.folder}"

    def _send(self, name: str, path: Path, sha256: str, exclusive: bool) -> None:
        target = PurePosixPath(self.folder, name)
        # named by its content, so that the next try continues it
        hidden = str(target.with_name(f".{target.name}.{sha256[:16]}.tmp"))
        rsync = [
            "rsync", "--inplace", "--no-whole-file", "--fsync", "--secluded-args", "--copy-links", "--chmod=F644",
            "-e", shlex.join(self._ssh()),
        ]  # fmt: skip
        opened = [int(path.name)] if path.is_relative_to(OPEN_FILES) else []

        def send() -> None:
            self._run(name, 'mkdir -p "$1"', str(target.parent))
            done = subprocess.run(
                [*rsync, str(path), f"{self.host}:{hidden}"],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, pass_fds=opened,
            )  # fmt: skip
            if done.returncode:
                was_published = b"No such file" in done.stderr  # by another sender of the same bytes
                raise self._error(name, done.stderr, may_pass=was_published or done.returncode in _RSYNC_CUT)
            self._run(name, _PUBLISH_NEW if exclusive else _PUBLISH, hidden, str(target), sha256)

        retried(send)

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; see `Store.read`."""
        return retried(lambda: self._run(name, _READ, self._path(name), str(max_bytes)))

    @contextmanager
    def open(self, name: str) -> Iterator[_Download]:
        """Open a file for reading; see `Store.open`."""
        n_bytes = int(retried(lambda: self._run(name, _SIZE, self._path(name))))
        command = shlex.join(["cat", self._path(name)])
        with subprocess.Popen(
            [*self._ssh(), self.host, command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None  # as asked for
            try:
                yield _Download(process.stdout, n_bytes)
            finally:
                process.kill()

    def stat(self, name: str) -> Entry | None:
        """Return a file's size; see `Store.stat`."""
        try:
            return Entry(int(retried(lambda: self._run(name, _STAT, self._path(name)))))
        except FileNotFoundError:
            return None

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Return the files of a folder by name; see `Store.entries`."""
        prefix = f"{folder}/" if folder else ""
        found = {}
        for line in retried(lambda: self._run(folder, _LIST, self._path(folder))).split(b"\0")[:-1]:
            kind, n_bytes, modified, raw = line.split(b" ", 3)
            name = raw.decode(errors="surrogateescape")
            if kind == b"d":
                found[f"{prefix}{name}/"] = Entry(None)
            elif not HIDDEN.fullmatch(name):
                is_file = kind == b"f"
                found[f"{prefix}{name}"] = Entry(int(n_bytes), modified=float(modified)) if is_file else Entry(None)
        return found

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        retried(lambda: self._run(name, 'rm -f "$1"', self._path(name)))

    def sweep(self) -> None:
        """Delete what interrupted writers have left unfinished; see `Store.sweep`."""
        retried(lambda: self._run("", _SWEEP, self.folder))

    def locate(self, name: str) -> str:
        """Return a file's URL."""
        return f"{self.url}/{name}"

    def loader_url(self, name: str) -> str:
        """Return a pipe from the ssh command."""
        port = f" -p {self.port}" if self.port else ""
        path = self._path(name)
        if shlex.quote(self.folder) == self.folder:  # braces, which webdataset expands, need no quotes here
            return f"pipe:ssh{port} {self.host} cat {path}"
        return f"pipe:ssh{port} {self.host} {shlex.quote(f'cat {shlex.quote(path)}')}"

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self.folder, name))

    def _ssh(self) -> list[str]:
        options = [word for option in (*_OPTIONS, f"ControlPath={_control_path()}") for word in ("-o", option)]
        return ["ssh", *options, *(["-p", self.port] if self.port else [])]

    def _run(self, name: str, script: str, *arguments: str) -> bytes:
        """Return the output of a shell script there, about a file."""
        command = shlex.join(["sh", "-c", f"LC_ALL=C; {script}", "fdsl", *arguments])
        done = subprocess.run(
            [*self._ssh(), self.host, command], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        place = self.locate(name)
        if done.returncode != _SSH_FAILED:
            self._note_answer()
        match done.returncode:
            case 0:
                return done.stdout
            case 3:
                raise FileNotFoundError(2, "No such file", place)
            case 4:
                raise FileExistsError(17, "File exists", place)
            case 5:
                raise too_large(place)
            case 6:
                raise Unreachable(0, "other bytes arrived than were sent", place)
        raise self._error(name, done.stderr, may_pass=done.returncode == _SSH_FAILED)

    def _error(self, name: str, stderr: bytes, may_pass: bool) -> OSError:
        """Return the error of a failed command."""
        text = one_line(stderr.decode(errors="replace"))
        for words, advice in _ADVICE.items():
            if words in text:
                return OSError(0, advice, self.locate(name))
        reason, place = text or "ssh failed", self.locate(name)
        return self._unreachable(reason, place) if may_pass else OSError(0, reason, place)
