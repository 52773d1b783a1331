"""Do what studies still lack, then make the READMEs' tables and pictures of all rows.

    nox -s results                             all packages
    nox -s results -- adapmtl                  the studies of one package
    nox -s results -- adapmtl sparsity         one study
    nox -s results -- --show                   no training: only tables and pictures of the rows that are there
    nox -s results -- adapmtl --processes 1    by default a process per core, one thread each

Stopped and started again it continues. Started twice, the processes share the work.
"""

import argparse
import os
import subprocess
import sys

import torch
from readme import draw, tables_of, write
from study import Named, studies, work


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(prog="nox -s results --", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("package", nargs="?", default="")
    parser.add_argument("study", nargs="?", default="")
    parser.add_argument("--show", action="store_true", help="train nothing")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    try:
        chosen = studies(asked.package, asked.study)
    except ValueError as error:
        parser.error(str(error))
    if asked.worker:
        torch.set_num_threads(1)
        for named in chosen:
            work(named)
        return
    for named in chosen:
        if lacking := named.study.lacking():
            print(f"{named.package} {named.name} is skipped: {lacking}", flush=True)
    missing = [(named, key) for named in chosen for key in named.missing()]
    seconds = sum(named.study.seconds for named, _ in missing) / max(1, min(asked.processes, len(missing)))
    of = sum(len(named.study.trainings) for named in chosen)
    print(f"{len(missing)} of {of} trainings to do, about {seconds / 60:.0f} min", flush=True)
    if missing and not asked.show:
        train(asked.package, asked.study, min(asked.processes, len(missing)))
    show(chosen)
    left = sum(len(named.missing()) for named in chosen)
    if left and not asked.show:
        sys.exit(f"{left} trainings are left: another process is at them, or they failed")


def train(package: str, study: str, processes: int) -> None:
    """Let processes of their own do what is missing."""
    command = [sys.executable, __file__, *[name for name in (package, study) if name], "--worker"]
    workers = [subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(processes)]
    try:
        failed = [worker.wait() for worker in workers]
    finally:
        for worker in workers:
            worker.terminate()  # does nothing to one that has ended
    if any(failed):
        sys.exit("a training failed; see above. What is finished is kept, and the same command continues")


def show(chosen: list[Named]) -> None:
    """Make the tables and pictures."""
    for named in chosen:
        if len(named.rows()):
            write(named.package, tables_of(named))
            draw(named)


if __name__ == "__main__":
    main()
