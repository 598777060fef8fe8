"""Runs the command line in this process, on a disk file, as if the updater had started us."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from bootsvc.boot.handover import Handover
from bootsvc.cli import keeping, main, os_side, update
from bootsvc.formats.boot_status import Area
from bootsvc.os_side import started
from tests.bench import V2, Bench
from tests.images import COMPATIBLE, KEY, Image

TRANSACTION = bytes(range(16))


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


@dataclass
class Command:
    """A machine with a disk file, trusted keys and settings; ``__call__`` runs ``bootsvc``."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch
    bench: Bench = field(init=False)

    def __post_init__(self) -> None:
        self.bench = Bench(self.folder / "disk.img")
        self.keys = self.folder / "keys"
        self.keys.mkdir()
        self.trust("key1", KEY.public().key.hex())
        self.settings = self.folder / "bootsvc.toml"
        self.settings.write_text(f'compatible = "{COMPATIBLE}"\n')
        self.run_dir = self.folder / "run"
        self.helpers = self.folder / "helpers"
        for path in (self.run_dir, self.helpers):
            path.mkdir()
        for module in (os_side, keeping, update):
            self.patch.setattr(module, "RUN_DIR", self.run_dir)
        self.patch.setattr(os_side, "HELPERS_DIR", self.helpers)
        self.patch.setattr(
            started,
            "read_this_start",
            partial(
                started.read_this_start, self.run_dir / "handover.env", self.folder / "cmdline"
            ),
        )

    def trust(self, name: str, text: str) -> None:
        """Put a public key among the trusted ones."""
        (self.keys / f"{name}.pub").write_text(text + "\n")

    def handed_over(
        self,
        image: Image = V2,
        area: Area = Area.PRIMARY,
        transaction: bytes = TRANSACTION,
        *,
        is_trial: bool = True,
    ) -> None:
        """The updater started ``image`` from ``area``."""
        facts = Handover(
            area=area,
            identity=image.identity,
            transaction=transaction,
            is_trial=is_trial,
            root_node="",
            root_guid="",
            data_node="",
            data_guid="",
            overlay="volatile",
            init="/sbin/init",
            confirm_limit_s=300,
        )
        (self.run_dir / "handover.env").write_text(facts.env_text())

    def uses_data(self, image: Image = V2) -> Path:
        """``image`` runs from this very disk, whose data partition takes writes."""
        self.handed_over(image, is_trial=False)
        self.patch.setattr("bootsvc.os_side.machine.whole_disk", lambda _: self.bench.path)
        (self.run_dir / "overlay.env").write_text("BOOTSVC_DATA_USED=1\n")
        data = self.run_dir / "data"
        data.mkdir(exist_ok=True)
        return data

    def file(self, image: Image | bytes, name: str = "new.bimg") -> Path:
        """An image file."""
        path = self.folder / name
        path.write_bytes(image if isinstance(image, bytes) else image.as_file())
        return path

    def __call__(self, name: str, *arguments: str | Path) -> Outcome:
        """``bootsvc NAME --disk ... ARGUMENTS``."""
        places: list[str | Path] = ["--disk", self.bench.path]
        words = name.split()
        if words[0] in ("status", "stage", "verify", "rollback") or words[-1] in (
            "list", "keep", "restore", "boot-once",
        ):  # fmt: skip
            places += ["--keys", self.keys]
        if words[-1] in ("stage", "rollback", "keep", "restore", "boot-once"):
            places += ["--settings", self.settings]
        return self.plain(*words, *places, *arguments)

    def plain(self, *arguments: str | Path) -> Outcome:
        """``bootsvc ARGUMENTS``."""
        self.capture.readouterr()
        code = main([str(one) for one in arguments])
        shown = self.capture.readouterr()
        return Outcome(code, shown.out, shown.err)
