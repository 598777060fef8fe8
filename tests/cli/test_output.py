"""Progress and errors as a person sees them; what the commands import."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from bootsvc.cli import main
from bootsvc.cli.exit_codes import ExitCode
from bootsvc.cli.output import Progress, duration, progress_bar, progress_text, show_error
from bootsvc.errors import StorageError
from bootsvc.units import MIB
from tests.bench import Bench


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_rate_and_remaining_time_follow_from_what_is_done() -> None:
    assert progress_text("copy", 10 * MIB, 40 * MIB, 2.0) == (
        "copy:  25 %  10.0 MiB of 40.0 MiB  5.0 MiB/s  0:06 left"
    )


def test_no_rate_is_invented_at_the_beginning() -> None:
    assert progress_text("copy", 0, 40 * MIB, 10.0).endswith("of 40.0 MiB")
    assert progress_text("copy", MIB, 40 * MIB, 0.1).endswith("of 40.0 MiB")


def test_finished_work_has_no_remaining_time() -> None:
    assert "left" not in progress_text("copy", MIB, MIB, 2.0)
    assert "100 %" in progress_text("copy", 2 * MIB, MIB, 2.0)


def test_bar_fills_and_never_exceeds_the_terminal() -> None:
    bar = progress_bar("copy", MIB, 2 * MIB, 1.0, 80)
    assert bar.startswith("[############............] copy:  50 %")
    assert len(progress_bar("copy", MIB, 2 * MIB, 1.0, 40)) < 40


@pytest.mark.parametrize(("seconds", "text"), [(5, "0:05"), (754, "12:34"), (3723, "1:02:03")])
def test_durations_are_read_like_a_clock(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_log_gets_a_plain_line_every_five_seconds() -> None:
    clock, log = Clock(), io.StringIO()
    shown = Progress("copy", 100, log, clock)
    for _ in range(12):
        clock.now += 1
        shown.tick(5)
    shown.end()
    lines = log.getvalue().splitlines()
    assert [line.split("%")[0].strip() for line in lines] == ["copy:  25", "copy:  50"]
    assert "\r" not in log.getvalue()


def test_terminal_gets_one_line_that_is_drawn_anew() -> None:
    clock, terminal = Clock(), Terminal()
    shown = Progress("copy", 100, terminal, clock)
    for _ in range(10):
        clock.now += 1
        shown.tick(10)
    shown.end()
    assert terminal.getvalue().count("\n") == 1
    assert terminal.getvalue().count("\r") == 11
    assert "100 %" in terminal.getvalue().splitlines()[-1]


def test_error_is_shown_with_the_next_step(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(StorageError("disk: gone", hint="plug it in"))
    shown = capsys.readouterr()
    assert shown.err == "bootsvc: disk: gone\n  hint: plug it in\n"
    assert not shown.out


def test_wrong_use_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stage"]) == ExitCode.USAGE
    assert main(["nothing"]) == ExitCode.USAGE
    assert main(["--help"]) == ExitCode.OK
    assert "exit codes:" in capsys.readouterr().out


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_os_side_needs_none_of_the_makers_libraries(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    code = (
        "import sys\n"
        "for name in ('elftools', 'bootsvc.image', 'bootsvc.disk'): sys.modules[name] = None\n"
        "from bootsvc.cli import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = run_python(code, "status", "--disk", str(bench.path), "--json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("{")


def test_status_loads_no_signature_library_without_keys(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    code = (
        "import sys\n"
        "from bootsvc.cli import main\n"
        "main(sys.argv[1:])\n"
        "print(*(name for name in ('nacl', 'subprocess', 'elftools') if name in sys.modules))"
    )
    done = run_python(code, "status", "--disk", str(bench.path), "--keys", str(tmp_path))
    assert done.stdout.splitlines()[-1] in ("", "subprocess")


def test_module_runs_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bootsvc.cli", "status", "--disk", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.DISK
    assert "none" in done.stderr


def test_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "disk.img")
    command = f"{sys.executable} -m bootsvc.cli status --disk {bench.path} | true"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
