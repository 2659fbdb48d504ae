"""torchrun, with its own options, but what goes wrong is one line: ours, that of a process, or that of a process's end.

    python trainer/start.py --standalone --nproc-per-node 8 trainer/pretrain.py --data data/ex1k --out runs/ex1k

torchrun itself does the same work, and adds the traceback of its own end to that line. Here the processes have ten minutes to
save when SIGTERM or Ctrl-C comes, not half a minute; `--shutdown-timeout` gives them another time.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from argparse import Namespace
from pathlib import Path

signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C until processes are started: no traceback

_LEVEL = "TORCH_CPP_LOG_LEVEL"
_IS_OPEN = _LEVEL not in os.environ
os.environ.setdefault(_LEVEL, "FATAL")  # read when torch is imported, which fills pages while processes try to meet

from torch.distributed import DistError, run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousError

_PATIENCE = "--shutdown-timeout"
_PATIENCE_S = "600"


def _fate(rank: int, failure: ProcessFailure) -> str:
    """Return what became of a process that failed; nothing if it ended by itself, and so has said why."""
    if failure.exitcode >= 0:
        return ""
    try:
        name = signal.Signals(-failure.exitcode).name
    except ValueError:
        name = f"signal {-failure.exitcode}"
    if name == "SIGKILL":
        name += ", as systems do when memory is short; the same command with --resume goes on"
    return f"process {rank} was ended by {name}"


def _reason(error: BaseException) -> str:
    """Return the first line of what an error says, or its kind."""
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _why_apart(error: BaseException) -> str:
    """Return why processes cannot meet, and what to do."""
    reason = _reason(error.__cause__ or error)
    if "EADDRINUSE" in reason:
        return f"the processes cannot meet: {reason}; give another --master-port, or --standalone on one machine"
    return f"the processes cannot meet: {reason}; --master-addr and --master-port must be those of a machine that runs"


def _is_one(options: Namespace) -> bool:
    """Return whether all processes are on this machine."""
    return options.nnodes in ("1", "1:1")


def _announce(options: Namespace) -> None:
    """Refuse a program that is not there; say where several machines meet, for they wait for each other in silence."""
    if not (options.module or options.no_python or Path(options.training_script).exists()):
        raise FileNotFoundError(f"`{options.training_script}` does not exist")
    if not _is_one(options):
        place = options.rdzv_endpoint or f"{options.master_addr}:{options.master_port}"
        print(f"start: {options.nnodes} machines meet at {place}", file=sys.stderr)


def _wait() -> None:
    """Wait for processes that are still saving, which torch leaves behind at the third signal; pass further ones on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
        except KeyboardInterrupt:
            for each in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split():
                os.kill(int(each), signal.SIGTERM)


def main() -> None:
    """Start the processes, wait for their end, and end as the first that failed did."""
    logging.disable()
    if _IS_OPEN:
        del os.environ[_LEVEL]  # the processes are to say what they have to
    arguments = sys.argv[1:]
    if _PATIENCE in run.get_args_parser().format_help():
        arguments = [_PATIENCE, _PATIENCE_S, *arguments]
    options, message, status = run.parse_args(arguments), "", 1
    try:
        _announce(options)
        run.main(arguments)
        return
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        message, status = _fate(rank, failure), max(1, failure.exitcode)
        if not message and not _is_one(options):
            message = f"process {rank} ended with status {status}; if it does not say why, one on another machine does"
    except SignalException as error:
        status = 128 + error.sigval
        _wait()
    except (DistError, RendezvousError) as error:
        message = _why_apart(error)
    except (AssertionError, OSError, ValueError) as error:
        message = f"the processes cannot be started: {_reason(error)}; --help says what each option takes"
    if message:
        print(f"start: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()
