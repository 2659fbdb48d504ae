"""A bucket of an object store that speaks the S3 protocol.

Each file is one PUT, which the store publishes whole or not at all. Its SHA-256 goes along, so it refuses bytes
that were changed on the way.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

from fdsl.primitives.errors import InputError, extra_hint, one_line
from shards.files import HIDDEN
from shards.stores.contract import Entry
from shards.stores.uploading import Unreachable, Uploading, retried, too_large

try:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        IncompleteReadError,
        NoCredentialsError,
    )
    from botocore.exceptions import ConnectionError as NoConnection
except ImportError:
    raise InputError(f"s3:// needs the package boto3; {extra_hint('s3')}") from None

Result = TypeVar("Result")

_MAX_BYTES = 5 * 2**30
"""Size limit of one PUT."""
_URL = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[A-Za-z0-9!_.*'()-]+)*)/?", re.IGNORECASE)
_ADVICE = {
    "NoSuchBucket": "the bucket does not exist; create it",
    "InvalidAccessKeyId": "the access key is unknown; check AWS_ACCESS_KEY_ID or ~/.aws/credentials",
    "SignatureDoesNotMatch": "the secret key is wrong; check AWS_SECRET_ACCESS_KEY or ~/.aws/credentials",
    "AccessDenied": "access is denied; check the credentials and the bucket's policy",
    "403": "access is denied; check the credentials and the bucket's policy",
    "BadDigest": "the store received other bytes than were sent; check memory and network",
}
"""What to do about the usual answers, by their code."""
_PASSING = ("ConditionalRequestConflict", "OperationAborted", "RequestTimeout")
"""Codes of answers that another try may not meet."""
_lock = threading.Lock()


@cache
def _shared_client(is_patient: bool) -> Any:
    n_attempts, connect_s, read_s = (3, 10, 120) if is_patient else (2, 5, 20)
    return boto3.session.Session().client(
        "s3",
        config=Config(
            retries={"mode": "standard", "total_max_attempts": n_attempts},
            connect_timeout=connect_s,
            read_timeout=read_s,
            max_pool_connections=32,
        ),
    )


def _client(is_patient: bool = True) -> Any:
    """Return this process's client; threads may share it.

    Parameters
    ----------
    is_patient : wait long for an answer
    """
    with _lock:  # creating two at once is not safe
        return _shared_client(is_patient)


class _OpenObject:
    """An object that is being read; see `StoredFile`."""

    def __init__(self, bucket: Bucket, name: str, answer: Any) -> None:
        self._bucket, self._name, self._body = bucket, name, answer["Body"]
        self.n_bytes: int = answer["ContentLength"]

    def read(self, n_bytes: int, /) -> bytes:
        """Return the next bytes, at most `n_bytes`; none at the end."""
        content: bytes = self._bucket._guarded(self._name, partial(self._body.read, n_bytes))
        return content


@dataclass(frozen=True)
class Bucket(Uploading):
    """A folder of a bucket.

    Endpoint, region and credentials come from the standard places: environment, ~/.aws, instance role.

    Attributes
    ----------
    bucket : name of the bucket
    prefix : of every key; empty, or with a slash at its end
    """

    bucket: str
    prefix: str

    @classmethod
    def of_url(cls, url: str, name: str) -> Bucket:
        """Return the store of an s3:// URL.

        Raises
        ------
        InputError
            The URL is wrong.
        """
        match = _URL.fullmatch(url)
        if match is None or match[1].lower() != match[1] or {".", ".."} & set(match[2].split("/")):
            raise InputError(
                f"`{name}` (={url}) must be s3://BUCKET/FOLDER with letters, digits and -_.!*'() in its names"
            )
        return cls(match[1], f"{match[2][1:]}/" if match[2] else "")

    @property
    def url(self) -> str:
        """URL of the folder."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def _send(self, name: str, path: Path, sha256: str, exclusive: bool) -> None:
        n_bytes = path.stat().st_size
        if n_bytes > _MAX_BYTES:
            raise InputError(
                f"`{self.locate(name)}` has {n_bytes:,} bytes; an object takes 5 GiB: lower `shards.samples`"
            )
        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        condition = {"IfNoneMatch": "*"} if exclusive else {}

        def send() -> None:
            with path.open("rb") as body:
                body.seek(0)  # on macOS, the path of an open file shares its position
                self._call(name, "put_object", Body=body, ContentLength=n_bytes, ChecksumSHA256=checksum, **condition)

        retried(send)
        stored = self._head(name)
        if stored.get("ContentLength") != n_bytes or stored.get("ChecksumSHA256", checksum) != checksum:
            raise OSError(0, "the store lost or changed it just after it was sent", self.locate(name))

    def read(self, name: str, max_bytes: int) -> bytes:
        """Return a file's content; see `Store.read`."""

        def read() -> bytes:
            answer = self._call(name, "get_object")
            if answer["ContentLength"] > max_bytes:
                raise too_large(self.locate(name))
            content: bytes = self._guarded(name, answer["Body"].read)
            return content

        return retried(read)

    @contextmanager
    def open(self, name: str) -> Iterator[_OpenObject]:
        """Open a file for reading; see `Store.open`."""
        answer = retried(lambda: self._call(name, "get_object"))
        try:
            yield _OpenObject(self, name, answer)
        finally:
            answer["Body"].close()

    def stat(self, name: str) -> Entry | None:
        """Return a file's size; see `Store.stat`."""
        answer = self._head(name)
        return Entry(answer["ContentLength"]) if answer else None

    def entries(self, folder: str = "") -> dict[str, Entry]:
        """Return the files of a folder by name; see `Store.entries`."""
        prefix = f"{self.prefix}{folder}/" if folder else self.prefix
        found: dict[str, Entry] = {}
        arguments = {"Bucket": self.bucket, "Prefix": prefix, "Delimiter": "/"}
        while True:
            answer = retried(lambda: self._guarded("", self._client().list_objects_v2, **arguments))
            for item in answer.get("Contents", ()):
                name = item["Key"].removeprefix(self.prefix)
                is_folder = item["Key"] == prefix  # some tools create a folder as an empty object
                if not is_folder and not HIDDEN.fullmatch(name.rpartition("/")[2]):
                    found[name] = Entry(item["Size"], modified=item["LastModified"].timestamp())
            for item in answer.get("CommonPrefixes", ()):
                found[item["Prefix"].removeprefix(self.prefix)] = Entry(None)
            if not answer.get("IsTruncated"):
                return found
            arguments["ContinuationToken"] = answer["NextContinuationToken"]

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        retried(lambda: self._call(name, "delete_object"))

    def locate(self, name: str) -> str:
        """Return a file's URL."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    def loader_url(self, name: str) -> str:
        """Return a pipe from the aws command."""
        return f"pipe:aws s3 cp {self.locate(name)} -"

    def sweep(self) -> None:
        """Do nothing: a PUT leaves nothing unfinished.

        Unfinished multipart uploads are other programs'. See `Store.sweep`.
        """

    def _head(self, name: str) -> dict[str, Any]:
        """Return what the store knows about a file.

        It has the hash, if the store keeps one. Empty if the file is missing.
        """
        try:
            answer: dict[str, Any] = retried(lambda: self._call(name, "head_object", ChecksumMode="ENABLED"))
        except FileNotFoundError:
            return {}
        return answer

    def _client(self) -> Any:
        return _client(self._has_answered())

    def _call(self, name: str, operation: str, **arguments: Any) -> Any:
        """Return the store's answer about a file."""
        call = getattr(self._client(), operation)
        return self._guarded(name, call, Bucket=self.bucket, Key=f"{self.prefix}{name}", **arguments)

    def _guarded(self, name: str, call: Callable[..., Result], **arguments: Any) -> Result:
        """Return the result of a call of boto3.

        Its errors become an OSError with the file's URL.
        """
        place = self.locate(name)
        try:
            result = call(**arguments)
            self._note_answer()
            return result
        except ClientError as error:
            self._note_answer()
            code = str(error.response["Error"].get("Code", ""))
            status = error.response["ResponseMetadata"].get("HTTPStatusCode", 0)
            if code in ("NoSuchKey", "404", "NotFound"):
                raise FileNotFoundError(2, "No such object", place) from None
            if code == "PreconditionFailed":
                raise FileExistsError(17, "Object exists", place) from None
            text = _ADVICE.get(code, one_line(str(error)))
            if status >= 500 or status == 429 or code in _PASSING:
                raise Unreachable(0, text, place) from None
            raise OSError(0, text, place) from None
        except NoCredentialsError:
            raise OSError(
                0, "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE", place
            ) from None
        except (HTTPClientError, IncompleteReadError, NoConnection) as error:
            raise self._unreachable(one_line(str(error)), place) from None
        except (BotoCoreError, OSError) as error:
            if isinstance(error, OSError) and error.filename:
                raise
            raise OSError(0, one_line(str(error)), place) from None
