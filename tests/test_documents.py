"""What the documents name exists: make targets, files behind links, folders, programs."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]
OURS = [one for one in TREE.iterdir() if one.name != "build" and not one.name.startswith(".venv")]
DOCUMENTS = {
    str(path.relative_to(TREE)): path
    for top in OURS
    if top.is_file() or not top.name.startswith(".")
    for path in ([top] if top.is_file() else sorted(top.rglob("*")))
    if path.suffix == ".md"
}
MAKEFILE = (TREE / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))


def prose(text: str) -> str:
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text: str) -> set[str]:
    """The names that headings get."""
    headings = re.findall(r"^#+ +(.*)$", prose(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


def commands(text: str) -> list[str]:
    """Code in a document: lines of its blocks, and what stands between backticks."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return lines + re.findall(r"`([^`\n]+)`", prose(text))


def targets_of(text: str) -> set[str]:
    found = [re.match(r"(?:\$ )?make ([a-z][a-z-]*)\b(?!=)", one) for one in commands(text)]
    return {one[1] for one in found if one}


def test_the_documents_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "bootsvc/SETTINGS.md"} <= set(DOCUMENTS)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_make_target_that_a_document_names_exists(name: str) -> None:
    assert targets_of(DOCUMENTS[name].read_text()) <= TARGETS


def test_the_readme_shows_the_two_commands() -> None:
    assert {"demo", "test", "check"} <= targets_of(DOCUMENTS["README.md"].read_text())


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_somewhere(name: str) -> None:
    path = DOCUMENTS[name]
    text = path.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = path.parent / file if file else path
        assert found.exists(), f"{name} links to {target}"
        assert not anchor or anchor in anchors(found.read_text()), f"{name} links to {target}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_that_a_document_names_exists(name: str) -> None:
    """Paths of this tree that stand between backticks; what is built or installed is not here."""
    here = DOCUMENTS[name].parent
    tops = {one.name for one in OURS}
    for word in re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", prose(DOCUMENTS[name].read_text())):
        if "/" in word and word.split("/")[0] in tops:
            assert (TREE / word).exists() or (here / word).exists(), f"{name} names {word}"


def test_make_alone_explains_every_target() -> None:
    shown = subprocess.run(["make", "-C", TREE], capture_output=True, text=True, check=True).stdout
    explained = re.findall(r"^  ([a-z-]+) +\S", shown, flags=re.MULTILINE)
    assert set(explained) == TARGETS
    assert all(len(line) <= 120 for line in shown.splitlines())


def test_every_phony_target_is_declared_and_no_other() -> None:
    phony = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, flags=re.MULTILINE)
    assert {one for line in phony for one in line.split()} == TARGETS


def test_every_needed_debian_package_has_its_reason() -> None:
    names: list[str] = []
    for line in (TREE / ".ci/debian-packages").read_text().splitlines():
        if line and not line.startswith("#"):
            words, _, reason = line.partition(" ")
            assert len(reason.split()) >= 2, line
            names += words.split("|")
    assert len(set(names)) == len(names)


def test_ci_runs_all_tests() -> None:
    run = (TREE / ".ci/run").read_text()
    assert run.rstrip().endswith("exec make test")
    assert re.search(r"^test: check ", MAKEFILE, flags=re.MULTILINE)


def test_no_fast_test_leaves_itself_out() -> None:
    """What a test needs is listed above; one that skips where it is missing would prove nothing."""
    word = re.compile(r"\bpytest\.(mark\.)?(skip|skipif|importorskip|xfail)\b")
    for path in (TREE / "tests").rglob("test_*.py"):
        assert not word.search(path.read_text()), path
