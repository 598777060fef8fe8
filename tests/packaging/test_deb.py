"""The Debian package of the OS side, looked at with dpkg-deb."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bootsvc.errors import ToolError
from bootsvc.packaging import deb
from bootsvc.packaging.bundled import bundled_files
from tests.transfer.mirror import Mirror

WATCHDOG_S = 60


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built once."""
    return deb.build(tmp_path_factory.mktemp("debs"))


@pytest.fixture(scope="module")
def tree(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's files, extracted."""
    target = tmp_path_factory.mktemp("tree")
    subprocess.run(["dpkg-deb", "-x", str(package), str(target)], check=True)
    return target


def _listing(package: Path) -> list[str]:
    command = ["dpkg-deb", "-c", str(package)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_two_builds_give_the_same_bytes_whatever_the_umask(package: Path, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        again = deb.build(tmp_path)
    finally:
        os.umask(before)
    assert again.read_bytes() == package.read_bytes()
    assert list(tmp_path.iterdir()) == [again]


def test_everything_belongs_to_root_and_no_one_else_may_write(package: Path) -> None:
    for line in _listing(package):
        mode, owner = line.split()[:2]
        assert owner == "root/root", line
        assert mode[1:] in {"rwxr-xr-x", "rw-r--r--"}, line


def test_the_code_comes_without_its_builder_and_caches(tree: Path) -> None:
    code = tree / "usr/lib/python3/dist-packages/bootsvc"
    assert (code / "__init__.py").is_file()
    assert (code / "formats/boot_status.py").is_file()
    assert not (code / "packaging").exists()
    assert not list(code.rglob("__pycache__"))


CODE = "usr/lib/python3/dist-packages"
DEBIANS_OWN = ("construct", "crcmod", "nacl", "_cffi_backend.*.so")


def test_what_the_package_carries_of_others_is_the_code_alone_under_its_licence(
    tree: Path,
) -> None:
    bundled = tree / CODE / "bootsvc/bundled"
    terms = (tree / "usr/share/doc/bootsvc/copyright").read_text()
    assert {one.name for one in bundled.iterdir()} == {"tuf", "securesystemslib", "urllib3"}
    for library in bundled.iterdir():
        assert f"Files: {library.relative_to(tree)}/*\nCopyright: " in terms
    assert not [one for one in bundled.rglob("*") if re.search(r"test_|\.so$|emscripten", one.name)]
    assert sum(one.stat().st_size for one in bundled.rglob("*")) < 1_500_000


def test_a_library_of_another_version_is_not_carried(tmp_path: Path) -> None:
    pyproject = (deb.PROJECT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(pyproject.replace('"tuf==', '"tuf==1.'))
    with pytest.raises(ToolError, match=r"tuf 7\S+ is installed") as refused:
        list(bundled_files(tmp_path))
    assert refused.value.hint == "make setup"


def _imports(module: str, *, also_late: bool) -> set[str]:
    """What a module of ours imports, late: within its functions, too."""
    path = deb.PROJECT / module.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    body: list[ast.AST] = list(ast.parse(source.read_bytes()).body)
    found: set[str] = set()
    while body:
        node = body.pop()
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            submodules = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(one for one in submodules if _is_ours(one))
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING") and (
            also_late or not isinstance(node, ast.FunctionDef)
        ):
            body += ast.iter_child_nodes(node)
    return found


def _is_ours(module: str) -> bool:
    path = deb.PROJECT / module.replace(".", "/")
    return module.startswith("bootsvc") and (path.is_dir() or path.with_suffix(".py").is_file())


def _all_that_is_imported_for(command: str) -> set[str]:
    """Every module behind a module of the command line; of other commands and of what publishers
    do, which it has some words in common with, only what they import at once."""
    found, left = set[str](), {command, "bootsvc.cli.__main__"}
    while left:
        module = left.pop()
        if module in found:
            continue
        found.add(module)
        if _is_ours(module):
            parents = {module[:at] for at, char in enumerate(module) if char == "."}
            of_others = module.startswith(("bootsvc.cli", "bootsvc.store")) and module != command
            left |= parents | _imports(module, also_late=not of_others)
    return found


def test_the_package_brings_or_depends_on_every_module_that_an_update_imports(tree: Path) -> None:
    needed = _all_that_is_imported_for("bootsvc.cli.update")
    ours = {one for one in needed if one.startswith("bootsvc")}
    assert {"bootsvc.transfer.fetch", "bootsvc.chains.strategy", "bootsvc.formats.pack"} < ours
    for module in ours:
        path = tree / CODE / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__init__.py").is_file(), module
    others = {one.split(".")[0] for one in needed - ours} - sys.stdlib_module_names
    carried = {one.name for one in (tree / CODE / "bootsvc/bundled").iterdir()}
    assert others - carried == {"construct", "crcmod", "nacl", "zstandard"}
    depends = re.search(r"^Depends: (.*)$", deb.control_file([]), re.MULTILINE)
    assert depends is not None
    for library in others - carried:
        assert f"python3-{library}" in depends[1].replace(",", "").split()


USE = """
import sys
sys.path[:0] = sys.argv[1:3]
from pathlib import Path
from bootsvc.errors import NotOnServerError
from bootsvc.transfer.freshness import Freshness

def fetch(path, largest):
    file = Path(sys.argv[3], path)
    if not file.exists():
        raise NotOnServerError(path)
    return file.read_bytes()

root = Path(sys.argv[4], "root.json").read_bytes()
print(Freshness(Path(sys.argv[5]), root, fetch).target("a.json").decode())
print(sys.modules["tuf"].__file__, sys.modules["urllib3"].__file__, sep="\\n")
"""


def test_a_machine_with_debians_own_packages_alone_believes_a_store(
    tree: Path, tmp_path: Path
) -> None:
    """Neither the environment of the tests nor any other package of Debian's is within reach."""
    own = tmp_path / "own"
    own.mkdir()
    for pattern in DEBIANS_OWN:
        [found] = Path("/usr/lib/python3/dist-packages").glob(pattern)
        (own / found.name).symlink_to(found)
    mirror = Mirror(tmp_path)
    mirror.publish(a=b"believed")
    paths = (tree / CODE, own, tmp_path / "store", mirror.keys, tmp_path / "data")
    command = ["/usr/bin/python3", "-I", "-S", "-B", "-W", "error", "-c", USE, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    said, *libraries = done.stdout.splitlines()
    assert said == "believed"
    assert all(one.startswith(f"{tree / CODE}/bootsvc/bundled/") for one in libraries)


KEEP = """
import sys
sys.path[:0] = sys.argv[1:3]
import bootsvc.cli.restore_point
import bootsvc.os_side.restore_points
import bootsvc.os_side.keep_restore_point
import bootsvc.os_side.updating
print(*sorted({"numpy", "obstore", "cryptography"} & set(sys.modules)))
"""


def test_a_machine_needs_no_library_of_publishers_to_keep_restore_points(
    tree: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for pattern in DEBIANS_OWN:
        [found] = Path("/usr/lib/python3/dist-packages").glob(pattern)
        (own / found.name).symlink_to(found)
    command = ["/usr/bin/python3", "-I", "-S", "-B", "-W", "error", "-c", KEEP]
    done = subprocess.run(
        [*command, str(tree / CODE), str(own)], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout) == ("", "\n")


def test_programs_and_hooks_are_executable(tree: Path) -> None:
    for name in (
        "usr/bin/bootsvc",
        "usr/lib/bootsvc/overlay.sh",
        "usr/lib/bootsvc/confirm",
        "usr/lib/bootsvc/confirm-limit",
        "usr/lib/bootsvc/identity-save",
        "usr/lib/systemd/system-generators/bootsvc-generator",
        "usr/share/initramfs-tools/hooks/bootsvc",
        "usr/share/initramfs-tools/scripts/init-top/bootsvc",
    ):
        assert os.access(tree / name, os.X_OK), name


def test_shell_scripts_parse(tree: Path) -> None:
    scripts = [
        path
        for path in tree.rglob("*")
        if path.is_file()
        and (path.read_bytes().startswith(b"#!/bin/sh") or "scripts" in path.parts)
    ]
    assert len(scripts) >= 8
    for path in [*scripts, *(deb.HERE / "debian").glob("p*")]:
        done = subprocess.run(["sh", "-n", str(path)], capture_output=True, check=False)
        assert done.returncode == 0, (path, done.stderr)


def test_the_installed_identity_list_is_the_one_built_into_the_overlay_script(tree: Path) -> None:
    script = (tree / "usr/lib/bootsvc/overlay.sh").read_text()
    built_in = re.search(r"^DEFAULT_IDENTITY_LIST='(.*?)'$", script, re.MULTILINE | re.DOTALL)
    assert built_in is not None
    installed = (tree / "etc/bootsvc/identity.list").read_text().splitlines()
    assert [line for line in installed if not line.startswith("#")] == built_in[1].splitlines()


def test_watchdog_settings_agree_with_each_other(tree: Path) -> None:
    manager = (tree / "etc/systemd/system.conf.d/bootsvc-watchdog.conf").read_text()
    assert f"RuntimeWatchdogSec={WATCHDOG_S}s\n" in manager
    drivers = (tree / "etc/modprobe.d/bootsvc.conf").read_text().splitlines()
    options = [line for line in drivers if line.startswith("options")]
    assert options
    for line in options:
        assert "nowayout=1" in line
        assert line.endswith(f"={WATCHDOG_S}"), line


def test_every_file_in_etc_is_a_conffile(package: Path, tree: Path) -> None:
    command = ["dpkg-deb", "-I", str(package), "conffiles"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    present = [f"/{p.relative_to(tree)}" for p in (tree / "etc").rglob("*") if p.is_file()]
    assert sorted(listed) == sorted(present)


@pytest.mark.parametrize("script", ["postinst", "postrm"])
def test_the_package_enables_every_unit_that_can_be_enabled(tree: Path, script: str) -> None:
    units = re.search(r'^UNITS="(.*)"$', (deb.HERE / "debian" / script).read_text(), re.MULTILINE)
    assert units is not None
    folder = tree / "usr/lib/systemd/system"
    can_be = {one.name for one in folder.iterdir() if "[Install]" in one.read_text()}
    assert set(units[1].split()) == can_be


def _save(tmp_path: Path, root: Path, **facts: str) -> str:
    """Run identity-save with / and /run/bootsvc replaced by directories below tmp_path."""
    run = tmp_path / "run"
    run.mkdir(exist_ok=True)
    lines = {
        "BOOTSVC_DATA_USED": "1",
        "BOOTSVC_IDENTITY_DIR": f"{tmp_path}/data/identity/current",
        "BOOTSVC_IDENTITY_FAILED": "0",
        **facts,
    }
    (run / "overlay.env").write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
    (run / "identity.list").write_text("# ours\netc/hostname\netc/ssh/ssh_host_*\n")
    text = (deb.HERE / "root/usr/lib/bootsvc/identity-save").read_text()
    text = text.replace("RUN=/run/bootsvc", f"RUN={run}")
    text = text.replace("in /$pattern", f"in {root}/$pattern")
    text = text.replace("copy=$kept$file", f"copy=$kept${{file#{root}}}")
    text = text.replace('! -e "${copy#"$kept"}"', f'! -e "{root}${{copy#"$kept"}}"')
    done = subprocess.run(["sh"], input=text, capture_output=True, text=True, check=True)
    return done.stdout


def _root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc/ssh").mkdir(parents=True)
    (root / "etc/hostname").write_text("mine\n")
    (root / "etc/ssh/ssh_host_key").write_text("secret\n")
    (root / "etc/passwd").write_text("not listed\n")
    return root


def test_listed_files_are_saved_and_removed_ones_go(tmp_path: Path) -> None:
    root = _root(tmp_path)
    _save(tmp_path, root)
    current = tmp_path / "data/identity/current"
    saved = sorted(str(p.relative_to(current)) for p in current.rglob("*") if p.is_file())
    assert saved == ["etc/hostname", "etc/ssh/ssh_host_key"]
    (root / "etc/ssh/ssh_host_key").unlink()
    _save(tmp_path, root, BOOTSVC_IDENTITY_FAILED="1")
    assert (current / "etc/ssh/ssh_host_key").exists()
    _save(tmp_path, root)
    assert not (current / "etc/ssh/ssh_host_key").exists()


def test_an_empty_file_never_replaces_a_saved_one(tmp_path: Path) -> None:
    root = _root(tmp_path)
    _save(tmp_path, root)
    (root / "etc/hostname").write_text("")
    _save(tmp_path, root)
    assert (tmp_path / "data/identity/current/etc/hostname").read_text() == "mine\n"


def test_a_trial_without_its_own_copy_saves_nothing(tmp_path: Path) -> None:
    root = _root(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/trial").touch()
    assert "nothing is saved" in _save(tmp_path, root)
    assert not (tmp_path / "data").exists()
    trial = tmp_path / "data/identity/trial-12"
    _save(tmp_path, root, BOOTSVC_IDENTITY_DIR=str(trial))
    assert (trial / "etc/hostname").read_text() == "mine\n"
    assert not (tmp_path / "data/identity/current").exists()
