"""``bootsvc stage``: every refusal leaves the disk untouched; a good image waits in staging."""

import fcntl
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from bootsvc.cli.exit_codes import ExitCode
from bootsvc.errors import DeviceError
from bootsvc.formats.boot_status import Area, AreaState, Phase, Request, StatusCode
from bootsvc.sequence import staging
from bootsvc.storage.device import DirectDevice
from bootsvc.units import BLOCK_SIZE
from tests.bench import AREA_SIZE, V1, V2, V3
from tests.cli.command import Command
from tests.images import OTHER_KEY, Image, make_image, random_blocks, signed, with_manifest


def cut(image: Image, count: int) -> bytes:
    return image.as_file()[:-count]


def altered(image: Image, at: int) -> bytes:
    data = bytearray(image.as_file())
    data[at] ^= 1
    return bytes(data)


def without_block(image: Image) -> bytes:
    return image.as_file()[BLOCK_SIZE:]


def lying_manifest() -> Image:
    """A signed manifest that claims one block more than there is."""
    return with_manifest(V3, size=V3.manifest.size + BLOCK_SIZE)


def lying_tree() -> Image:
    """Footer and manifest agree on a size that the file does not have."""
    manifest = replace(V3.manifest, size=V3.manifest.size - BLOCK_SIZE)
    return signed(V3.content, manifest, V3.tree)


TOO_LARGE = make_image(random_blocks(AREA_SIZE // BLOCK_SIZE, seed=9), number=4)
BELOW_FLOOR = with_manifest(V3, number=0)
MANIFEST_AT = len(V3.content) + len(V3.tree)

REFUSED: dict[str, tuple[Callable[[], Image | bytes], ExitCode, str]] = {
    "too large": (lambda: TOO_LARGE, ExitCode.TOO_LARGE, "the image needs"),
    "wrong machine": (
        lambda: make_image(V3.content, number=3, compatible="other"),
        ExitCode.WRONG_MACHINE,
        "'other'",
    ),
    "below floor": (lambda: BELOW_FLOOR, ExitCode.BELOW_FLOOR, "below the version floor 1"),
    "wrongly signed": (
        lambda: make_image(V3.content, number=3, key=OTHER_KEY),
        ExitCode.SIGNATURE,
        "no signature",
    ),
    "one byte short": (lambda: cut(V3, 1), ExitCode.INCOMPLETE, "whole number"),
    "one byte altered": (lambda: altered(V3, 5000), ExitCode.ALTERED, "block 1 (byte 4096)"),
    "last byte altered": (
        lambda: altered(V3, len(V3.content) - 1),
        ExitCode.ALTERED,
        "differs from its digest",
    ),
    "altered manifest": (
        lambda: altered(V3, V3.as_file().index(b'"3.0"') + 1),
        ExitCode.SIGNATURE,
        "no signature",
    ),
    "altered tree": (lambda: altered(V3, len(V3.content) + 40), ExitCode.ALTERED, "signed root"),
    "altered locator": (lambda: altered(V3, -2000), ExitCode.DAMAGED, "CRC-32"),
    "a block missing": (lambda: without_block(V3), ExitCode.SIZE_MISMATCH, "claim"),
    "footer missing": (
        lambda: b"hsqs" + cut(V3, BLOCK_SIZE)[4:],
        ExitCode.INCOMPLETE,
        "footer is missing",
    ),
    "lying manifest": (lying_manifest, ExitCode.SIZE_MISMATCH, "the manifest says"),
    "lying sizes": (lying_tree, ExitCode.SIZE_MISMATCH, "claims"),
    "something else": (lambda: bytes(3 * BLOCK_SIZE), ExitCode.NO_IMAGE, "not an image file"),
    "empty file": (lambda: b"", ExitCode.NO_IMAGE, "not an image file"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_image_leaves_the_whole_disk_as_it_is(bootsvc: Command, kind: str) -> None:
    make, code, words = REFUSED[kind]
    path = bootsvc.file(make())
    before = bootsvc.bench.digest()
    outcome = bootsvc("stage", path)
    assert outcome.code == code
    assert words in outcome.err
    assert bootsvc.bench.digest() == before


def test_every_refusal_has_an_exit_code_of_its_own_class() -> None:
    codes = {code for _, code, _ in REFUSED.values()}
    assert len(codes) == 9
    assert all(code >= ExitCode.NO_IMAGE for code in codes)


def test_image_signed_by_a_retired_key_is_refused(bootsvc: Command) -> None:
    bootsvc.trust("key2", OTHER_KEY.public().key.hex() + "\nretired")
    path = bootsvc.file(make_image(V3.content, number=3, key=OTHER_KEY))
    before = bootsvc.bench.digest()
    outcome = bootsvc("stage", path)
    assert outcome.code == ExitCode.RETIRED_KEY
    assert "key2" in outcome.err
    assert bootsvc.bench.digest() == before


def test_image_that_failed_before_is_refused_unless_asked_for_again(bootsvc: Command) -> None:
    bootsvc.bench.change(lambda status: status.with_failed(V3.identity))
    path = bootsvc.file(V3)
    before = bootsvc.bench.digest()
    outcome = bootsvc("stage", path)
    assert outcome.code == ExitCode.FAILED_BEFORE
    assert "--again" in outcome.err
    assert bootsvc.bench.digest() == before
    assert bootsvc("stage", path, "--again").code == ExitCode.OK
    assert bootsvc.bench.status.failed == ()


def test_good_image_waits_in_staging_for_the_next_start(bootsvc: Command) -> None:
    areas = [bootsvc.bench.content(role) for role in ("primary", "backup")]
    before = bootsvc.bench.status
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.OK
    assert "number 3, label 3.0" in outcome.out
    size = bootsvc.bench.place("staging")[1]
    assert bootsvc.bench.content("staging") == V3.in_area(size)
    assert [bootsvc.bench.content(role) for role in ("primary", "backup")] == areas
    status = bootsvc.bench.status
    assert status.request is Request.UPDATE
    assert status.staging.state is AreaState.VALID
    assert (status.staging.identity, status.staging.size) == (V3.identity, V3.manifest.size)
    assert any(status.transaction)
    assert (status.status_code, status.phase) == (StatusCode.WORKING, Phase.IDLE)
    assert (status.primary, status.backup) == (before.primary, before.backup)


def test_two_stagings_are_two_transactions(bootsvc: Command) -> None:
    path = bootsvc.file(V3)
    bootsvc("stage", path)
    first = bootsvc.bench.status.transaction
    bootsvc("stage", path)
    assert bootsvc.bench.status.transaction != first


def test_only_differing_blocks_are_written(bootsvc: Command) -> None:
    bootsvc.bench.put(Area.STAGING, V2)
    outcome = bootsvc("stage", bootsvc.file(V3))
    differing = 2 * BLOCK_SIZE
    footer = len(V3.footer)
    assert f"written {(differing + footer) / 1024:.1f} KiB" in outcome.out


def test_image_can_be_kept_in_staging_without_a_request(bootsvc: Command) -> None:
    before = bootsvc.bench.status
    outcome = bootsvc("stage", bootsvc.file(V2), "--no-request")
    assert outcome.code == ExitCode.OK
    status = bootsvc.bench.status
    assert status.request is Request.NONE
    assert status.staging.state is AreaState.VALID
    assert status.transaction == before.transaction


def test_image_that_runs_already_is_not_an_update(bootsvc: Command) -> None:
    path = bootsvc.file(V2)
    before = bootsvc.bench.digest()
    assert bootsvc("stage", path).code == ExitCode.PHASE
    assert bootsvc.bench.digest() == before


def test_older_image_at_the_floor_may_be_installed(bootsvc: Command) -> None:
    assert bootsvc("stage", bootsvc.file(V1)).code == ExitCode.OK


def test_staging_is_refused_in_an_unfinished_phase(bootsvc: Command) -> None:
    bootsvc.bench.on_trial(bytes(range(16)))
    path = bootsvc.file(V3)
    before = bootsvc.bench.digest()
    outcome = bootsvc("stage", path)
    assert outcome.code == ExitCode.PHASE
    assert "TRIAL" in outcome.err
    assert bootsvc.bench.digest() == before


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), DeviceError("x", "write", 0, 5, "I/O")])
def test_interrupted_staging_asks_for_nothing_and_can_be_repeated(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    areas = [bootsvc.bench.content(role) for role in ("primary", "backup")]
    path = bootsvc.file(V3)
    bootsvc("stage", path)

    def interrupt(*_: object, **__: object) -> None:
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(staging, "verify_copy", interrupt)
        outcome = bootsvc("stage", path)
    is_key = isinstance(stop, KeyboardInterrupt)
    assert outcome.code == (ExitCode.INTERRUPTED if is_key else ExitCode.DISK)
    assert "Traceback" not in outcome.err
    status = bootsvc.bench.status
    assert status.staging.state is AreaState.WRITING
    assert status.request is Request.NONE
    assert [bootsvc.bench.content(role) for role in ("primary", "backup")] == areas
    assert bootsvc("stage", path).code == ExitCode.OK
    assert bootsvc.bench.status.request is Request.UPDATE


def test_machine_without_trusted_keys_stages_nothing(bootsvc: Command) -> None:
    (bootsvc.keys / "key1.pub").unlink()
    before = bootsvc.bench.digest()
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.DISK
    assert "no trusted key" in outcome.err
    assert bootsvc.bench.digest() == before


def test_mistake_in_the_settings_is_named(bootsvc: Command) -> None:
    bootsvc.settings.write_text('compatibel = "test"\n')
    outcome = bootsvc("stage", bootsvc.file(V3))
    assert outcome.code == ExitCode.SETTINGS
    assert "did you mean compatible?" in outcome.err


def test_missing_image_file_is_named(bootsvc: Command) -> None:
    outcome = bootsvc("stage", "none.bimg")
    assert outcome.code == ExitCode.DISK
    assert "none.bimg" in outcome.err


def test_a_disk_that_another_program_works_on_is_waited_for_with_a_word(
    bootsvc: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As right after login, while the image's own unit confirms."""
    monkeypatch.setattr("bootsvc.storage.lock._SILENT_S", 0.0)
    image = bootsvc.file(V3)
    other = DirectDevice(bootsvc.bench.path, writable=True)
    fcntl.flock(other.fileno(), fcntl.LOCK_EX)
    real = time.sleep

    def give_back(seconds: float) -> None:
        other.close()
        real(seconds)

    monkeypatch.setattr(time, "sleep", give_back)
    outcome = bootsvc("stage", image)
    assert outcome.code == ExitCode.OK
    assert "waiting for" in outcome.err
