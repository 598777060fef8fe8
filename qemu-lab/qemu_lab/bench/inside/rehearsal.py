"""A start of the updater up to its decision, and not a step further.

Argument 1: the disk; argument 2: ``imports`` to end as soon as everything is imported. The
clocks at that moment go to file descriptor 3.
"""

import posix
import sys
import time
from pathlib import Path

from bootsvc import updater
from bootsvc.console.reporter import ConsoleReporter
from bootsvc.sequence.actions import Boot
from bootsvc.storage.device import DirectDevice
from bootsvc.storage.disk import disk_on


def main() -> int:
    """What ``bootsvc.updater.main`` does, on a disk that need not be a block device."""
    if sys.argv[2] != "imports":
        reporter = ConsoleReporter()
        reporter.stage("start")
        settings = updater.settings_for("console=ttyS0 quiet", reporter)
        disk = disk_on(DirectDevice(Path(sys.argv[1]), writable=True))
        outcome = updater.runner_on(disk, settings, reporter).run()
        if not isinstance(outcome, Boot):
            return 1
    posix.write(3, b"%.6f %.6f" % (time.process_time(), time.monotonic()))
    return 0
