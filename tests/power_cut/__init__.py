"""The power-cut proof: no power cut, torn or lost write leaves a machine without its image.

    python -m tests.power_cut             the whole proof: a table, and JSON in build/power-cut
    python -m tests.power_cut --sample    a spread sample, as the tests run it
    python -m tests.power_cut --repeat 'update/1:torn@6+3/0:prefix@4'

The product's own code (``sequence.runner``, ``sequence.staging``, ``sequence.requests``) runs on a
simulated disk. Every write and every flush of every start is cut, the machine is started again, and
cut again in what follows. A judge outside, who reads raw bytes and imports nothing of bootsvc,
looks at every disk that a cut left and at every start.

    disk.py       a disk's content as a value with a key; the device that writes down what is done
    cuts.py       disk before a start + its log -> every disk that a cut in it may leave
    scenarios.py  what happens to the machine, where it must end, and the documented fall-backs
    block_store.py  the store of the scenarios that update by blocks
    world.py      one power-on, updater and OS, as a pure function of the disk
    parsed.py     parsers remember while a start runs, which is what makes the proof fast
    truth.py      what the judge knows of a scenario beforehand
    view.py       how he sees a disk
    oracle.py     the judge: clauses, each of which can fail (test_oracle.py)
    explore.py    the walk over the graph of states, equal ones merged
    proof.py      walks of all scenarios in several processes, put together
    timeline.py   the run without cuts, operation by operation
    results.py    what was found, as values, JSON and table
    repeat.py     one state made again from its label
    report.py     the page for people, and picture.py what is drawn on it
    mutants.py    mistakes made on purpose (mistakes/), each caught by a clause of the judge

The same machines on a disk that fails (`python -m tests.power_cut.disk_errors`):

    failing_disk.py   the disk, and failing_start.py a start on it
    error_cases.py    which operation fails in which way
    error_walk.py     every operation of every scenario fails once
    error_oracle.py   what must hold, and fall_backs.py the documented ends
    error_results.py  what was found, as values and table

The updater's own two slots on the ESP (`python -m tests.power_cut.updater_slots`):

    updater_slots.py  the OS and GRUB as writers of one volume, every cut, and what follows each
    updater_judge.py  GRUB played, and the judge: a FAT32 reader and clauses of their own

What a disk promises here: sectors (512 or 4096 bytes) arrive whole, order holds only at a flush.
Beyond that promise the sector of the boot-status record is torn at every byte as well.

How far it goes. Depth 1: every cut of the run without cuts; of a flush epoch of up to 10 writes
every subset; a write that arrives alone of its epoch is torn at its first sector, in its middle and
at its last. Depth 2: every cut of every start that follows a first cut, after equal disks are
merged; a record is then torn in its middle and into garbage only, and a write that arrives alone of
its epoch is torn in its middle only, for what they leave differs from depth 1 in bytes that nobody
accepts. Depth 3: seeded random. Images have 64 blocks and copies go by 8 (the product's default is
256), so that each copying phase makes at least 8 writes in 3 flush epochs; the proof fails where a
scenario makes fewer, or fires no cut of a kind.

A state is judged once: what the record names at the very cut, what is started from there on, where
it ends. "went on" is the end of the run without cuts, "fell back" another documented end, "bricked"
anything else. Exceptions out of product code are findings of their own.
"""
