"""Boot-time image updater: keeps a bootable image on a machine through every update.

The packages, from the bottom up: ``errors`` and ``units``; ``formats`` (byte layouts), ``trust``
(signatures and digests), ``storage`` (areas and the boot-status record on a disk), ``sequence``
(what to do at a start), ``boot`` (doing it), ``image`` and ``disk`` (making them), ``cli``.
"""

__version__ = "0.1.0"
