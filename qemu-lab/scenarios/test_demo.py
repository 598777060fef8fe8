"""The demo is a scenario as well, so that it cannot rot (back end: switch_root)."""

import pytest

from qemu_lab import demo
from qemu_lab.pytest_plugin import Lab

pytestmark = pytest.mark.vm


def test_the_demo_goes_as_told_and_names_the_panic(
    lab: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(lab.directory) == 0
    told = capfd.readouterr().out
    assert "last failure  TRIAL: the kernel panicked, area primary, image number 3" in told
    assert "primary holds version 2 bit for bit" in told
