"""Starts the other programs in turns and prints what each start took.

Arguments: how many rounds, the disk. One line per start: ``bench: NAME cpu SECONDS wall SECONDS``,
from exec to the moment that the program tells; then ``bench: end``.
"""

import posix
import sys
import time

PYTHON = "/usr/bin/python3"
PROGRAMS = (("bare", "bare", "-"), ("imports", "start", "imports"), ("decision", "start", "-"))
"""Name of the figure, program, its second argument."""


def run(program: str, disk: str, extra: str, output: int) -> tuple[float, float]:
    """Processor time and elapsed time of one start, in seconds."""
    command = [PYTHON, "-I", "-S", "-B", f"/bench/{program}.pyc", disk, extra]
    told, tell = posix.pipe()
    redirections = [(posix.POSIX_SPAWN_DUP2, output, 1), (posix.POSIX_SPAWN_DUP2, tell, 3)]
    began = time.monotonic()
    child = posix.posix_spawn(PYTHON, command, {}, file_actions=redirections)
    posix.close(tell)
    clocks = posix.read(told, 100).split()
    posix.close(told)
    _, status = posix.waitpid(child, 0)
    if status or len(clocks) != 2:
        sys.exit(f"bench: {program} ended with status {status}")
    return float(clocks[0]), float(clocks[1]) - began


if __name__ == "__main__":
    rounds, disk_path = int(sys.argv[1]), sys.argv[2]
    said = posix.open("/bench/said", posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC, 0o600)
    for _ in range(rounds):
        for name, file, argument in PROGRAMS:
            cpu, wall = run(file, disk_path, argument, said)
            print(f"bench: {name} cpu {cpu:.6f} wall {wall:.6f}", flush=True)
    print("bench: end", flush=True)
