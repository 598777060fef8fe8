"""LAYOUT.md and the drawings in the modules say what the declarations do."""

from __future__ import annotations

import json
import re
from pathlib import Path

from construct import Struct

from bootsvc.formats import boot_status, check_information, footer, pack, recipe
from bootsvc.formats.boot_status import AREAS_OF_CODE, CODES_OF_PHASE, WITHOUT_AREA, Area
from bootsvc.formats.gpt import NAMES, TYPE_GUIDS
from bootsvc.storage.status_store import COPY_OFFSETS
from bootsvc.units import MIB
from tests.images import make_image, random_blocks

TEXT = Path(boot_status.__file__).with_name("LAYOUT.md").read_text()

Fields = list[tuple[int, int, str]]


def declared(layout: Struct, tail: Fields) -> Fields:
    """Offset, size and name of each field as construct computes them."""
    fields, at = [], 0
    for part in layout.subcons:
        fields.append((at, part.sizeof(), part.name))
        at += part.sizeof()
    return fields + tail


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below ``heading``, without its head."""
    _, below = TEXT.split(f"\n{heading}\n", 1)
    lines = below.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def documented(heading: str) -> Fields:
    return [(int(offset), int(size), name) for offset, size, name, _ in table(heading)]


def test_the_documented_record_is_the_declared_one() -> None:
    assert documented("## Boot-status record") == declared(boot_status.LAYOUT, [(508, 4, "crc")])
    assert documented("### Area") == declared(boot_status._AREA, [])
    assert documented("### Failure") == declared(boot_status._FAILURE, [])


def test_the_drawing_in_the_module_is_the_declared_record() -> None:
    drawing = re.findall(r"^ +(\d+) +(\d+) (area )?(\w+)", boot_status.__doc__ or "", re.MULTILINE)
    drawn = [(int(offset), int(size), name) for offset, size, _, name in drawing]
    assert drawn == declared(boot_status.LAYOUT, [(508, 4, "crc")])


def test_the_documented_locator_is_the_declared_one() -> None:
    assert documented("## Footer") == declared(footer._LOCATOR, [(4092, 4, "crc")])


def test_the_documented_check_information_is_the_declared_one() -> None:
    declared_fields = declared(check_information.LAYOUT, [(188, 4, "crc")])
    assert documented("## Check information") == declared_fields
    drawing = re.findall(r"^ +(\d+) +(\d+) (\w+)", check_information.__doc__ or "", re.MULTILINE)
    assert [(int(at), int(size), name) for at, size, name in drawing] == declared_fields


def test_the_documented_pack_and_recipe_are_the_declared_ones() -> None:
    assert documented("## Pack") == declared(pack._HEAD, [])
    assert documented("## Recipe") == declared(recipe._HEAD, [])
    drawing = re.findall(
        r"^ +(?:header: offset.*\n +)?(\d+) +(\d+) (\w+)", pack.__doc__ or "", re.MULTILINE
    )
    assert [(int(at), int(size), name) for at, size, name in drawing] == declared(pack._HEAD, [])


def test_the_documented_phases_are_those_that_may_stand_on_a_disk() -> None:
    expected = [
        [
            phase.name,
            str(int(phase)),
            " ".join(str(int(code)) for code in codes),
            "none" if phase in WITHOUT_AREA else AREAS_OF_CODE[codes[0]][0].name.lower(),
        ]
        for phase, codes in CODES_OF_PHASE.items()
    ]
    found = [
        [name, number, codes, boots.split(",")[0]]
        for name, number, codes, boots in table(
            "Which code and which area may stand with which phase:"
        )
    ]
    assert found == expected


def test_the_documented_places_of_the_two_copies_are_the_real_ones() -> None:
    assert "at byte 0 and at byte 2 MiB" in TEXT
    assert COPY_OFFSETS == (0, 2 * MIB)


def test_the_documented_manifest_keys_are_the_written_ones() -> None:
    written = json.loads(make_image(random_blocks(1, 1)).manifest_bytes)
    rows = dict(table("## Manifest"))
    assert set(rows) == set(written)
    assert set(rows["boot"].split(", ")) == set(written["boot"])


def test_the_documented_partitions_are_the_ones_looked_for() -> None:
    assert table("## Partitions") == [[role, NAMES[role], TYPE_GUIDS[role]] for role in TYPE_GUIDS]


def test_areas_are_numbered_as_documented() -> None:
    assert (Area.NONE, Area.PRIMARY, Area.BACKUP) == (0, 1, 2)
