"""What stores on other machines share: files are made here, then sent."""

from __future__ import annotations

import logging
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from fdsl.primitives.errors import InputError
from shards.stores.contract import HashedFile, Store, probed
from shards.stores.folder import file_sha256, wrong_hash

Result = TypeVar("Result")

_log = logging.getLogger(__name__)
"""Warns of waiting. Writes to standard error, of workers too, unless the program configures logging."""

OPEN_FILES = Path("/dev/fd")
"""Folder of the files that this process has open, by number."""

WAITS_S = (1.0, 4.0, 15.0, 60.0, 120.0)
"""Waits before each further try of a request that failed for a reason that may pass."""


_answered: set[str] = set()
"""URLs of stores that have answered this process, or the one that started it."""


class Unreachable(ConnectionError):
    """A store does not answer any more, or is overloaded."""


def retried(call: Callable[[], Result]) -> Result:
    """Call again while the store is unreachable.

    Logs a warning before each wait.

    Raises
    ------
    Unreachable
        The last try failed, too.
    """
    for n_tries, wait_s in enumerate(WAITS_S, 1):
        try:
            return call()
        except Unreachable as error:
            advice = f"trying again in {wait_s:.0f} s ({n_tries} of {len(WAITS_S)})"
            _log.warning("%s: %s; %s", error.filename, error.strerror, advice)
            time.sleep(wait_s)
    return call()


def too_large(place: str) -> InputError:
    """Return the error of something that no bake writes there."""
    return InputError(f"`{place}` is not a regular file or is larger than a bake writes it; remove it")


class Uploading(Store, ABC):
    """A store to which whole local files are sent.

    One that does not answer is waited for if it has answered before. Otherwise its address may be wrong.
    """

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a store in a worker, which gets one that has answered."""
        self.__dict__.update(state)
        self._note_answer()

    def _note_answer(self) -> None:
        _answered.add(self.url)

    def _has_answered(self) -> bool:
        return self.url in _answered

    def _unreachable(self, reason: str, place: str) -> ConnectionError:
        """Return the error of a store that does not answer."""
        return (Unreachable if self._has_answered() else ConnectionError)(0, reason, place)

    def preflight(self, folders: Collection[str]) -> None:
        """Store and delete a small file; see `Store.preflight`."""
        try:
            self.entries(".probe")  # a missing bucket is named more clearly when it is listed
            with probed(self):
                pass
        except OSError as error:
            error.filename = self.url
            raise

    def reserve(self, first: int, n: int, names: Collection[str]) -> AbstractContextManager[None]:
        """Do nothing: equal bytes overwrite each other.

        See `Store.reserve`.
        """
        return nullcontext()

    def is_reserved(self) -> bool:
        """Return False: nothing is locked.

        See `Store.is_reserved`.
        """
        return False

    @contextmanager
    def create(self, name: str, exclusive: bool = False) -> Iterator[HashedFile]:
        """Open a local file, sent when the block ends.

        See `Store.create`.
        """
        with tempfile.TemporaryFile() as local:  # has no name, so a killed process leaves nothing
            file = HashedFile(local)
            try:
                yield file
                local.flush()
            except OSError as error:
                if error.filename is None:  # the disk is full
                    error.filename = tempfile.gettempdir()
                raise
            self._send(name, OPEN_FILES / str(local.fileno()), file.sha256, exclusive)

    def put(self, name: str, path: Path, sha256: str) -> None:
        """Send a local file; see `Store.put`."""
        if file_sha256(path) != sha256:
            raise wrong_hash(str(path))
        self._send(name, path, sha256, exclusive=False)

    @abstractmethod
    def _send(self, name: str, path: Path, sha256: str, exclusive: bool) -> None:
        """Send a local file, whose hash is known, all or nothing.

        The file may be one of OPEN_FILES.
        """
