"""Passwords as they are stored: for the console (scrypt) and for GRUB (PBKDF2)."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from bootsvc.errors import PasswordError
from bootsvc.trust import grub_password
from bootsvc.trust.password import (
    MAX_LENGTH,
    MAX_MEMORY,
    NOBODY,
    N,
    P,
    R,
    check,
    hash_password,
    parse_stored,
    refusal_of,
)

SALT = bytes(range(16))
PASSWORD = "correct horse"
STORED = hash_password(PASSWORD, SALT)


def test_the_stored_form_is_what_openssl_makes_of_the_same_password() -> None:
    digest = hashlib.scrypt(
        PASSWORD.encode(), salt=SALT, n=N, r=R, p=P, maxmem=2 * MAX_MEMORY, dklen=32
    )
    assert f"scrypt${N}${R}${P}${SALT.hex()}${digest.hex()}" == STORED


def test_only_the_password_itself_is_right() -> None:
    assert check(PASSWORD, STORED)
    for other in ("correct horse ", "Correct horse", "correct hors", "", "\0" * 13):
        assert not check(other, STORED)


def test_another_salt_gives_another_hash() -> None:
    assert hash_password(PASSWORD, bytes(16)).split("$")[-1] != STORED.split("$")[-1]


@pytest.mark.parametrize(
    "password", ["", "seven77", "x" * (MAX_LENGTH + 1), "tab\there", "größer+"]
)
def test_what_a_serial_line_cannot_send_is_no_password(password: str) -> None:
    assert refusal_of(password)
    with pytest.raises(PasswordError):
        hash_password(password, SALT)
    assert not check(password, STORED)


@pytest.mark.parametrize("password", ["eight888", "x" * MAX_LENGTH, " ~!$\\'\"`{}"])
def test_all_that_a_serial_line_can_send_is(password: str) -> None:
    assert refusal_of(password) == ""


SALT_TEXT, HASH_TEXT = STORED.split("$")[4:]


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "plain text",
        "scrypt",
        f"bcrypt$32768$8$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$32768$8${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$32768$8$1${SALT_TEXT}${HASH_TEXT}$",
        f"scrypt$many$8$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$-32768$8$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$32768$8$1$salt${HASH_TEXT}",
        f"scrypt$32768$8$1${SALT_TEXT}${HASH_TEXT[:-2]}",
        f"scrypt$32768$8$1${SALT_TEXT[:-2]}${HASH_TEXT}",
        f"scrypt$32767$8$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$8192$8$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$32768$1$1${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$32768$8$0${SALT_TEXT}${HASH_TEXT}",
        f"scrypt$\N{SUPERSCRIPT TWO}$8$1${SALT_TEXT}${HASH_TEXT}",
    ],
)
def test_a_malformed_or_weak_stored_password_lets_nobody_in(stored: str) -> None:
    with pytest.raises(PasswordError):
        check(PASSWORD, stored)


@pytest.mark.parametrize(
    "numbers", ["1073741824$8$1", "32768$999999999$1", "32768$8$5", "131072$8$1"]
)
def test_a_stored_password_cannot_ask_for_gigabytes(numbers: str) -> None:
    with pytest.raises(PasswordError, match="asks for too much"):
        parse_stored(f"scrypt${numbers}${SALT_TEXT}${HASH_TEXT}")


def test_nobody_is_let_in_where_it_is_said_so() -> None:
    assert not check(NOBODY, NOBODY)
    assert not check(PASSWORD, NOBODY)


@pytest.mark.parametrize("missing", ["nacl.bindings", "nacl.exceptions"])
def test_without_scrypt_nobody_is_let_in(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(PasswordError, match="no password can be checked"):
        check(PASSWORD, STORED)


def test_a_libsodium_without_scrypt_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    # Its minimal build has none; PyNaCl then says so when it is called.
    monkeypatch.setattr("nacl.bindings.crypto_pwhash.has_crypto_pwhash_scryptsalsa208sha256", False)
    with pytest.raises(PasswordError, match="no password can be checked"):
        check(PASSWORD, STORED)


# --- GRUB ----------------------------------------------------------------------------------------


def test_grubs_own_program_stores_the_same_password_in_the_same_form() -> None:
    done = subprocess.run(
        ["grub-mkpasswd-pbkdf2"],
        input=f"{PASSWORD}\n{PASSWORD}\n",
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = done.stdout.split()[-1]
    assert grub_password.check_stored(theirs) == theirs
    salt = bytes.fromhex(theirs.split(".")[4])
    assert len(salt) == grub_password.SALT_SIZE
    assert grub_password.hash_password(PASSWORD, salt) == theirs


def test_no_password_is_none_for_grub_either() -> None:
    with pytest.raises(PasswordError):
        grub_password.hash_password("", bytes(64))


GRUB_STORED = grub_password.hash_password(PASSWORD, bytes(64))


@pytest.mark.parametrize(
    "stored",
    [
        PASSWORD,
        GRUB_STORED.replace("sha512", "sha256"),
        GRUB_STORED.replace(".10000.", ".0."),
        GRUB_STORED[:-1],
        GRUB_STORED + "\nset superusers=",
        GRUB_STORED.lower(),
    ],
)
def test_nothing_else_gets_into_grubs_configuration(stored: str) -> None:
    with pytest.raises(PasswordError, match="has the form"):
        grub_password.check_stored(stored)
