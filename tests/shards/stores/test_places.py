"""Which store a path or URL names."""

from __future__ import annotations

from pathlib import Path

import pytest

from fdsl import InputError
from shards.stores.folder import Folder
from shards.stores.places import open_store


@pytest.mark.parametrize("place", ["data/ex1k", "/tmp/a:b", "a:b/c", "C"])
def test_paths_are_folders(place: str) -> None:
    assert open_store(place) == Folder(Path(place))


@pytest.mark.parametrize("url", ["gs://bucket/x", "http://host/x", "S4://x/y", "file:///tmp/x", "az:/x"])
def test_unknown_scheme_is_an_error(url: str) -> None:
    with pytest.raises(InputError, match="is not supported; name a folder, an s3:// or an ssh:// URL"):
        open_store(url)


@pytest.mark.parametrize("url", ["s3://bucket/a/b", "s3://bucket", "ssh://me@host:22/data/x"])
def test_url_survives_a_path(url: str) -> None:
    pytest.importorskip("boto3", reason="boto3 is missing: pip install boto3")
    assert open_store(Path(url)).url == open_store(url).url == url


@pytest.mark.parametrize("place", ["s3:bucket/x", "S3:x", "ssh:host/x"])
def test_mistyped_url_is_no_folder(place: str) -> None:
    with pytest.raises(InputError, match=rf"`out` \(={place}\) must be s3://BUCKET/FOLDER or ssh://HOST/FOLDER"):
        open_store(place)
    assert open_store(f"./{place}") == Folder(Path(place))
