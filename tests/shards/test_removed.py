"""Shards that `fdsl ship --remove-local` removed: they count as baked, and are baked again if they are lost there."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fdsl import InputError, bake, read_status, repair, ship, verify
from shards.directory import open_directory
from shards.problems import Kind
from shards.stores.contract import Store
from shards.stores.folder import Folder
from tests.commands import refused, succeeded
from tests.daemons import SshServer, use_ssh
from tests.shards.conftest import SERIAL, content, files, shards_of
from tests.shards.disk import OnDisk

pytestmark = pytest.mark.parametrize("family", ["rcdb"], indirect=True, scope="session")
"""Shipping knows files only, so one family will do."""

TAR = "train-000003.tar"


def files_of_shards(out: Path) -> list[str]:
    """Return the tars and samples tables in a folder."""
    return sorted(path.name for path in (*out.glob("*.tar"), *out.glob("samples/*")))


@pytest.fixture
def there(copy: OnDisk, tmp_path: Path) -> Path:
    """Where all shards of `copy` were shipped to and removed."""
    ship(copy.path, tmp_path / "there", executor=SERIAL, remove_local=True)
    assert files_of_shards(copy.path) == []
    return tmp_path / "there"


@pytest.mark.slow
@pytest.mark.parametrize("destination", ["folder", "s3"], indirect=True)
def test_disk_is_freed_while_a_bake_goes_on(baked: Path, copy: OnDisk, destination: Store, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for shards in ("0:5", "0:12"):
        bake(copy.spec, out, shards=shards, executor=SERIAL)
        result = ship(out, destination.url, executor=SERIAL, remove_local=True)
        assert files_of_shards(out) == []
    assert (result.n_shards, result.n_found, result.is_complete) == (7, 5, True)
    assert content(destination) == files(baked)


def test_removed_shards_count_as_baked(copy: OnDisk, there: Path) -> None:
    result = bake(copy.spec, copy.path, executor=SERIAL)
    assert (result.n_shards, result.n_found, result.n_missing) == (0, 12, 0)
    note = f"12 shards are only at {there}; `fdsl verify {there}` checks them"
    assert result.notes == (note,)
    status = read_status(copy.path)
    assert (status.missing, status.is_complete) == ((), True)
    assert (status.n_removed, status.removed_to, status.n_bytes_done) == (12, str(there), 0)
    verified = verify(copy.path, executor=SERIAL)
    assert (verified.problems, verified.n_shards) == ((), 0)
    assert verified.notes == (note,)
    for remove_local in (False, True):
        again = ship(copy.path, there, executor=SERIAL, remove_local=remove_local)
        assert (again.n_shards, again.n_found, again.is_complete) == (0, 12, True)
    assert files_of_shards(copy.path) == []


def test_shard_counts_in_the_midst_of_its_removal(copy: OnDisk, there: Path) -> None:
    """A listing may show one of the two files."""
    directory = open_directory(copy.path)
    shard = shards_of(copy)["train-000003"]
    for name in (TAR, "samples/train-000003.parquet"):
        shutil.copy(there / name, copy.path / name)
        assert directory.finished(shard)
        assert shard in directory.all_finished(list(shards_of(copy).values()))
        ship(copy.path, there, executor=SERIAL, remove_local=True)
        assert files_of_shards(copy.path) == []


def test_shard_that_is_lost_there_is_baked_again(baked: Path, copy: OnDisk, there: Path) -> None:
    (there / TAR).unlink()
    line = f"{TAR}: was removed after shipping, and is not whole at {there}"
    problems = verify(copy.path, executor=SERIAL).problems
    assert [(problem.kind, str(problem)) for problem in problems] == [(Kind.SHARD, line)]
    result = ship(copy.path, there, executor=SERIAL, remove_local=True)
    reason = f"`{copy.path / TAR}` is not whole here or at {there}; `fdsl repair` bakes it again"
    assert result.failures == {"train-000003": reason}
    assert [shard.name for shard in repair(copy.path, executor=SERIAL).baked] == ["train-000003"]
    assert files_of_shards(copy.path) == ["train-000003.parquet", TAR]
    result = ship(copy.path, there, executor=SERIAL, remove_local=True)
    assert (result.n_shards, result.is_complete) == (1, True)
    assert content(Folder(there)) == files(baked)
    assert files_of_shards(copy.path) == []


def test_second_driver_removes_a_shard_meanwhile(
    baked: Path, copy: OnDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, put = tmp_path / "there", Folder.put

    def disturbed(folder: Folder, name: str, path: Path, sha256: str) -> None:
        if name == TAR:
            monkeypatch.setattr(Folder, "put", put)
            assert ship(copy.path, there, executor=SERIAL, remove_local=True).is_complete
        put(folder, name, path, sha256)

    monkeypatch.setattr(Folder, "put", disturbed)
    result = ship(copy.path, there, executor=SERIAL, remove_local=True)
    assert (result.failures, result.is_complete) == ({}, True)
    assert content(Folder(there)) == files(baked)


def test_place_that_is_gone_is_no_reason_to_bake(copy: OnDisk, there: Path) -> None:
    there.rename(there.with_name("unmounted"))
    note = copy.path / "shipped.txt"
    for command in (verify, repair):
        with pytest.raises(InputError, match=f"^`{note}`: {there} has 12 shards, but holds no dataset now; mount it"):
            command(copy.path, executor=SERIAL)
    note.unlink()
    assert (
        len([problem for problem in verify(copy.path, executor=SERIAL).problems if problem.path.endswith("tar")]) == 12
    )


def test_damaged_receipt_is_no_proof(copy: OnDisk, there: Path) -> None:
    receipt = copy.path / "receipts" / "train-000003.json"
    receipt.write_text(receipt.read_text().replace('"bytes": ', '"bytes": 1'))
    assert [problem.path for problem in verify(copy.path, executor=SERIAL).problems if problem.kind == Kind.SHARD] == [
        TAR
    ]
    assert "train-000003" in ship(copy.path, there, executor=SERIAL).failures


KILLED = """
import os, signal, sys
from fdsl import LocalExecutor, ship
from shards.stores.folder import Folder
delete = Folder.delete
def kill(folder, name):
    if name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    delete(folder, name)
Folder.delete = kill
ship(*sys.argv[1:3], executor=LocalExecutor(1), remove_local=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", [TAR, "samples/train-000003.parquet"])
def test_killed_between_proof_and_removal(name: str, baked: Path, copy: OnDisk, tmp_path: Path) -> None:
    there = tmp_path / "there"
    command = [sys.executable, "-c", KILLED, copy.path, there, name]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL
    assert (there / TAR).exists()
    assert "train-000003.parquet" in files_of_shards(copy.path)
    assert bake(copy.spec, copy.path, executor=SERIAL).n_shards == 0
    assert ship(copy.path, there, executor=SERIAL, remove_local=True).is_complete
    assert files_of_shards(copy.path) == []
    assert content(Folder(there)) == files(baked)


def test_full_destination_removes_only_what_it_has(baked: Path, copy: OnDisk, mount_point: Path) -> None:
    size = sum(path.stat().st_size for path in baked.rglob("*") if path.is_file()) // 2
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", mount_point], check=True)
    with pytest.raises(OSError, match="No space left on device"):
        ship(copy.path, mount_point, executor=SERIAL, remove_local=True)
    n_there = len(list(mount_point.glob("receipts/*")))
    assert 0 < n_there < 12
    assert len(files_of_shards(copy.path)) == 2 * (12 - n_there)
    subprocess.run(["mount", "-o", "remount,size=100m", mount_point], check=True)
    assert ship(copy.path, mount_point, executor=SERIAL, remove_local=True).n_found == n_there
    assert content(Folder(mount_point)) == files(baked)


# What is refused


def test_only_one_place_has_removed_shards(baked: Path, copy: OnDisk, there: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(InputError, match=f"has 12 shards only at {there}; ship to there, or from there"):
        ship(copy.path, other, executor=SERIAL)
    assert not other.exists()
    assert ship(there, other, executor=SERIAL).is_complete
    assert content(Folder(other)) == files(baked)
    (copy.path / "shipped.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"shipped\.txt` must name the place"):
        verify(copy.path, executor=SERIAL)


def test_files_are_removed_from_folders_only(copy: OnDisk) -> None:
    pytest.importorskip("boto3")
    with pytest.raises(InputError, match="`remove_local` needs a folder as `out`"):
        ship("s3://bucket/x", copy.path, executor=SERIAL, remove_local=True)


@pytest.mark.slow
def test_dataset_by_another_name_is_not_removed(
    copy: OnDisk, ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_ssh(ssh_server, monkeypatch)
    before = files(copy.path)
    with pytest.raises(InputError, match="is the dataset itself"):
        ship(copy.path, f"ssh://127.0.0.1:{ssh_server.port}{copy.path}", executor=SERIAL, remove_local=True)
    assert files(copy.path) == before


def test_commands_say_where_shards_are(copy: OnDisk, tmp_path: Path) -> None:
    there = tmp_path / "there"
    succeeded("ship", copy.path, there, "--remove-local", "--workers", 1)
    assert f"12 shards to {there}, removed here" in succeeded("status", copy.path)
    assert f"note: 12 shards are only at {there}" in succeeded("verify", copy.path, "--workers", 1)
    text = succeeded("bake", copy.path / "spec.yaml", "-o", copy.path, "--workers", 1)
    assert f"12 shards already baked, skipped\nnote: 12 shards are only at {there}; `fdsl verify" in text
    (there / TAR).unlink()
    assert "next: fdsl repair" in refused("verify", copy.path, "--workers", 1)
