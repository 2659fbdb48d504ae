"""torchrun, with its own options, but what goes wrong is one line: ours, that of a process, or that of a process's end.

    python trainer/start.py --standalone --nproc-per-node 8 trainer/pretrain.py --data data/ex1k --out runs/ex1k

torchrun itself does the same work, and adds the traceback of its own end to that line.
"""

from __future__ import annotations

import logging
import os
import signal
import sys

os.environ.setdefault(
    "TORCH_CPP_LOG_LEVEL", "FATAL"
)  # read when torch is imported; it fills pages while it tries to meet

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError


def _fate(error: ChildFailedError) -> str:
    """Return what became of the process that failed first; nothing if it ended by itself, and so has said why."""
    rank, failure = error.get_first_failure()
    if failure.exitcode >= 0:
        return ""
    reason = "; was there too little memory?" if failure.exitcode == -signal.SIGKILL else ""
    name = signal.Signals(-failure.exitcode).name
    return f"process {rank} was ended by {name}{reason}; the same command with --resume goes on"


def main() -> None:
    """Start the processes, wait for their end, and end as they did."""
    logging.disable()
    if os.environ["TORCH_CPP_LOG_LEVEL"] == "FATAL":
        del os.environ["TORCH_CPP_LOG_LEVEL"]  # the processes are to say what they have to
    try:
        run.main()
        return
    except ChildFailedError as error:
        message, status = _fate(error), 1
    except SignalException as error:
        message, status = "", 128 + error.sigval
    except (DistError, RendezvousError) as error:
        (first, *_) = str(error.__cause__ or error).splitlines()
        message, status = f"the processes cannot meet: {first}; give another port, or --standalone on one machine", 1
    if message:
        print(f"start: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
