"""Every error that a start may meet has a reason, and every reason has words."""

from __future__ import annotations

import pytest

from bootsvc import errors
from bootsvc.formats.boot_status import Phase, Reason, Request, StatusCode
from bootsvc.formats.describe import CODES, PHASES, REASONS, REQUESTS
from bootsvc.sequence.reasons import errno_of, reason_of


def kinds(root: type[errors.BootsvcError]) -> list[type[errors.BootsvcError]]:
    return [root, *(one for child in root.__subclasses__() for one in kinds(child))]


@pytest.mark.parametrize("kind", kinds(errors.BootsvcError))
def test_every_error_of_ours_has_a_reason(kind: type[errors.BootsvcError]) -> None:
    made: dict[type[errors.BootsvcError], errors.BootsvcError] = {
        errors.DeviceError: errors.DeviceError("disk", "read", 0, 5, "I/O error"),
        errors.RottenHereError: errors.RottenHereError("primary", 3),
    }
    error = made[kind] if kind in made else kind("what happened")
    assert reason_of(error) is not Reason.NONE


def test_the_kernels_error_number_is_found_behind_other_errors() -> None:
    device = errors.DeviceError("disk", "read", 0, 28, "no space")
    outer = errors.BootError("cannot load")
    outer.__cause__ = device
    assert errno_of(outer) == errno_of(device) == 28
    assert errno_of(errors.BootError("else")) == 0


def test_every_code_phase_request_and_reason_has_words_of_its_own() -> None:
    for members, words in (
        (StatusCode, CODES),
        (Phase, PHASES),
        (Request, REQUESTS),
        (Reason, REASONS),
    ):
        assert set(members) == set(words)
        assert len(set(words.values())) == len(words)
