"""The method itself: what a start finds, what it decides, how it carries that out (DESIGN 4).

    observe -> decide -> perform, again and again, until there is something to boot or to halt for

``states`` and ``actions`` are values, ``decide`` is a pure table, ``requests`` are the pure changes
that the running OS and a technician ask for; only ``runner`` and ``staging`` touch a disk.
"""
