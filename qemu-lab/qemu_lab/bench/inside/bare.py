"""The least that a program with binary data needs: Python and ``struct``. The yardstick."""

import posix
import struct
import time

if struct.calcsize("<Q") == 8:
    posix.write(3, b"%.6f %.6f" % (time.process_time(), time.monotonic()))
