"""What the machine's own apt sources offer: mirrors and package versions.

No mirror is named here. ``apt-get indextargets`` says which Debian suites this machine knows
and where from; images are made from the same places.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from qemu_lab.images.errors import ImageBuildError
from qemu_lab.images.tools import run

_FIELDS = "$(REPO_URI)|$(RELEASE)|$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(ARCHITECTURE)"
_FORMAT = ["--format", _FIELDS, "Created-By: Packages"]
COMPONENT = "main"


@dataclass(frozen=True, order=True)
class Source:
    """One suite that apt knows.

    Attributes:
        uri: base address of the archive.
        release: name of the suite's directory, for example bookworm-security.
    """

    uri: str
    release: str

    @property
    def line(self) -> str:
        """The line for a sources.list."""
        return f"deb {self.uri} {self.release} {COMPONENT}"


@dataclass(frozen=True)
class Suites:
    """Debian's suites on this machine.

    Attributes:
        codename: of the release, for example bookworm.
        point_release: the suite with the packages of the last point release.
        updates: the suites with what changed since.
    """

    codename: str
    point_release: Source
    updates: tuple[Source, ...]


def suites_of_this_machine(codename: str) -> Suites:
    """The suites of the release *codename* that apt fetches from.

    Raises:
        ImageBuildError: a suite is missing, or apt is.
    """
    return parse_suites(run(["apt-get", "indextargets", *_FORMAT]), codename)


def parse_suites(text: str, codename: str) -> Suites:
    """The suites in the output of ``apt-get indextargets`` in the format of this module.

    Raises:
        ImageBuildError: the point release or everything that came after it is missing.
    """
    found: set[Source] = set()
    for line in text.splitlines():
        fields = line.split("|")
        if len(fields) == _FIELDS.count("|") + 1:
            uri, release, _, component, origin, architecture = fields
            if (origin, component, architecture) == ("Debian", COMPONENT, "amd64"):
                found.add(Source(uri, release.rstrip("/")))
    main = sorted(source for source in found if source.release == codename)
    suffixes = ("-updates", "-security", "/updates")
    updates = sorted(s for s in found if s.release in {codename + suffix for suffix in suffixes})
    if not main or not updates:
        have = ", ".join(sorted(source.release for source in found)) or "nothing"
        raise ImageBuildError(
            f"apt knows {have} of Debian; needed are {codename} and {codename}-security: "
            "add them to /etc/apt/sources.list.d and run apt-get update"
        )
    return Suites(codename, main[0], tuple(updates))


def codename_of_this_machine() -> str:
    """VERSION_CODENAME of /etc/os-release.

    Raises:
        ImageBuildError: this is not Debian, so its packages cannot be had from here.
    """
    with open("/etc/os-release", encoding="utf-8") as file:  # noqa: PTH123 - one plain read
        facts = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    if facts.get("ID", "").strip('"') != "debian" or "VERSION_CODENAME" not in facts:
        raise ImageBuildError("Debian images are made from a Debian machine's own apt sources")
    return facts["VERSION_CODENAME"].strip('"')


def available_versions(packages: Iterable[str]) -> str:
    """Every version of the packages that apt knows: the text for ``newest_versions``."""
    names = sorted(set(packages))
    return run(["apt-cache", "madison", *names]) if names else ""


def newest_versions(madison: str, sources: Iterable[Source]) -> dict[str, str]:
    """Package -> the newest version that *sources* offer; one that they lack is left out.

    Args:
        madison: output of ``apt-cache madison``, whose lines are ``package | version |
            URI suite/component architecture Packages``, newest version of a package first.
        sources: the suites that count.
    """
    wanted = {f"{source.uri.rstrip('/')} {source.release}/{COMPONENT}" for source in sources}
    newest: dict[str, str] = {}
    for line in madison.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) == 3 and fields[2].rsplit(" ", 2)[0] in wanted:
            newest.setdefault(fields[0], fields[1])
    return newest


def parse_package_list(text: str) -> dict[str, str]:
    """Package -> version, from lines ``package version`` (as build/images/*.packages)."""
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """One line for each package that differs: ``package: old -> new``, none for the absent."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name, "none"), new.get(name, "none")
        if before != after:
            lines.append(f"{name}: {before} -> {after}")
    return lines
