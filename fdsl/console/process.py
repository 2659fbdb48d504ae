"""Makes this process independent of how it was started."""

from __future__ import annotations

import io
import os
import shutil
import sys
import warnings
from pathlib import Path

from fdsl.primitives.errors import InputError

_FOREIGN = ("LOKY_", "JOBLIB_")
"""Prefixes of variables of joblib and loky. A valid value contradicts `--workers`; another one is an error there."""

_ENVIRONMENT = {
    "PYTHONSAFEPATH": "1",  # workers do not import from the working directory, which may be a dataset
    "OPENBLAS_NUM_THREADS": "1",  # each thread takes 80 MB of address space, and there is one per processor
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # mimalloc reserves 1 GB of address space
}

_MIN_ADDRESS_SPACE_KIB = 1_536_000
"""More than any command and its workers take. With less, numba, OpenCV and pyarrow may crash without a word."""


def prepare() -> None:
    """Prepare streams and environment of a command and its workers."""
    _open_streams()
    os.environ.update(_ENVIRONMENT)
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    warnings.filterwarnings("ignore", module=r"joblib\.")  # on missing semaphores; the error of a pool says more


def require_memory() -> None:
    """Refuse a limit with which libraries may crash.

    Raises
    ------
    InputError
        `ulimit -v` is too low.
    """
    import resource  # Windows lacks it

    limit_kib = resource.getrlimit(resource.RLIMIT_AS)[0] // 1024
    if 0 <= limit_kib < _MIN_ADDRESS_SPACE_KIB:  # no limit is -1
        raise InputError(
            f"`ulimit -v` (={limit_kib:,}) must be at least {_MIN_ADDRESS_SPACE_KIB:,}: with less address space,"
            " libraries crash; raise it, or run `ulimit -v unlimited`"
        )


def own_command() -> tuple[str, ...]:
    """Return the words that start this command from any folder."""
    found = shutil.which(sys.argv[0])
    return (str(Path(found).absolute()),) if found else (sys.executable, "-P", "-m", "cli")


def _open_streams() -> None:
    """Open closed streams, and make all streams accept any text.

    Otherwise the next file that is opened takes the number of a closed stream, and messages are written into a shard.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
