"""Stores of both kinds, empty, to be tested alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from bootsvc.store.address import open_object_store
from bootsvc.store.objects import ObjectStore
from tests.store.s3_server import make_bucket, s3_server


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``s3://bucket/prefix`` of an empty bucket; the environment leads to it."""
    name = f"bucket-{uuid.uuid4().hex}"
    make_bucket(server, name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return f"s3://{name}/images/store"


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """An empty store."""
    if request.param == "folder":
        return open_object_store(str(tmp_path / "store"), create=True)
    where: str = request.getfixturevalue("bucket")
    return open_object_store(where)
