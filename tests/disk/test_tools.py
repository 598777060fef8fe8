"""Programs that the making of disks runs."""

from __future__ import annotations

import pytest

from bootsvc.disk import tools
from bootsvc.errors import ToolError


def test_a_program_that_takes_long_is_looked_at_meanwhile_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tools, "LOOK_S", 0.01)
    looks: list[int] = []
    sent = "text for a program\n" * 20_000
    # It reads only after it was looked at, so that what is sent fills the pipe before.
    command = ["sh", "-c", "sleep 0.2; cat; echo an error >&2"]
    assert tools.run_tool(command, stdin=sent, looked=lambda: looks.append(1)) == sent
    assert looks


def test_who_looks_may_break_a_program_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "LOOK_S", 0.01)

    def look() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tools.run_tool(["sleep", "600"], looked=look)


def test_a_program_that_fails_says_why_and_one_that_is_missing_is_named() -> None:
    with pytest.raises(ToolError, match="exit code 3: because"):
        tools.run_tool(["sh", "-c", "echo because >&2; exit 3"])
    with pytest.raises(ToolError, match="no-such-tool is not installed"):
        tools.run_tool(["no-such-tool"])
