"""How versions come to a machine's running OS; the updater has no part in it."""

from __future__ import annotations

import sys
from pathlib import Path

BUNDLED = Path(__file__).parent.parent / "bundled"
"""Libraries that Debian lacks or has too old, where the Debian package brings them. Whoever imports
this package finds them; the other commands never look."""

if BUNDLED.is_dir() and str(BUNDLED) not in sys.path:
    sys.path.insert(0, str(BUNDLED))
