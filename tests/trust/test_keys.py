"""Keys: which signatures count, and for what (DESIGN 4, 9)."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

from bootsvc.errors import FormatError, RetiredKeyError, SignatureError
from bootsvc.formats.footer import Signature
from bootsvc.trust.keys import PublicKey, parse_public_key, signing_key_of
from tests.images import KEY, OTHER_KEY, SigningKey

MESSAGE = b"a manifest"
TEXT = KEY.public().key.hex()


def signer(*signatures: Signature, keys: list[PublicKey], allow_retired: bool = False) -> str:
    return signing_key_of(MESSAGE, signatures, keys, allow_retired=allow_retired).name


def test_a_trusted_keys_signature_counts_whatever_stands_beside_it() -> None:
    good, other = KEY.sign(MESSAGE), OTHER_KEY.sign(MESSAGE)
    assert signer(other, good, keys=[KEY.public()]) == "key1"
    assert signer(other, good, keys=[KEY.public(), OTHER_KEY.public()]) == "key2"


def test_no_signature_by_a_trusted_key_is_refused() -> None:
    good = KEY.sign(MESSAGE)
    broken = replace(good, signature=bytes([good.signature[0] ^ 1]) + good.signature[1:])
    forged = replace(OTHER_KEY.sign(MESSAGE), key_id=KEY.public().key_id)
    for signatures in ((), (broken,), (forged,), (OTHER_KEY.sign(MESSAGE),), (KEY.sign(b"other"),)):
        with pytest.raises(SignatureError):
            signer(*signatures, keys=[KEY.public()])
    with pytest.raises(SignatureError):
        signer(good, keys=[])


def test_a_signature_over_the_bare_bytes_does_not_count() -> None:
    _, secret = crypto_sign_seed_keypair(bytes([1]) * 32)
    bare = Signature(KEY.public().key_id, crypto_sign(MESSAGE, secret)[:64])
    with pytest.raises(SignatureError):
        signer(bare, keys=[KEY.public()])


def test_a_retired_key_refuses_installation_but_not_the_start_of_what_is_there() -> None:
    retired = [KEY.public(is_retired=True)]
    with pytest.raises(RetiredKeyError, match="key1"):
        signer(KEY.sign(MESSAGE), keys=retired)
    assert signer(KEY.sign(MESSAGE), keys=retired, allow_retired=True) == "key1"


def test_a_current_key_counts_beside_a_retired_one() -> None:
    keys = [KEY.public(is_retired=True), OTHER_KEY.public()]
    assert signer(KEY.sign(MESSAGE), OTHER_KEY.sign(MESSAGE), keys=keys) == "key2"


@pytest.mark.parametrize("order", [1, -1])
def test_a_key_listed_as_current_and_as_retired_is_retired(order: int) -> None:
    keys = [KEY.public(), KEY.public(is_retired=True)][::order]
    with pytest.raises(RetiredKeyError):
        signer(KEY.sign(MESSAGE), keys=keys)


def test_a_key_file_is_64_digits_and_perhaps_the_word_retired() -> None:
    assert parse_public_key("key1", f"{TEXT}\n") == KEY.public()
    assert parse_public_key("key1", f"{TEXT}\nretired\n") == KEY.public(is_retired=True)
    assert KEY.public().key_id == hashlib.sha256(bytes.fromhex(TEXT)).digest()[:8]


@pytest.mark.parametrize(
    "text",
    ["", "\n", "retired", TEXT[:-1], TEXT + "0", "g" * 64, f"{TEXT} x", f"{TEXT}\nretired x"],
)
def test_anything_else_is_no_key_file(text: str) -> None:
    with pytest.raises(FormatError, match="key9"):
        parse_public_key("key9", text)


def test_keys_made_from_different_seeds_differ() -> None:
    assert len({SigningKey(seed).public().key_id for seed in range(5)}) == 5
