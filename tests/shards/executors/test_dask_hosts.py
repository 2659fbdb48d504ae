"""A Dask cluster on three hosts: scheduler, driver and workers meet only through the network and a shared folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from fdsl import Spec, verify
from tests.processes import PATIENCE_S, wait_for
from tests.shards.conftest import FDSL, SERIAL, snapshot
from tests.shards.executors.cluster import ABSENT, IS_INSTALLED, Cluster
from tests.shards.executors.hosts import ADDRESSES, running_hosts
from tests.shards.executors.preloads import HOLD, holder, preload

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_INSTALLED, reason=ABSENT)]


def test_cut_off_host_does_no_harm(spec: Spec, baked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shard of a silent host is baked elsewhere. Then the host, which has noticed nothing, writes it too."""
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP", "12s")  # no shorter one is accepted
    file, out = tmp_path / "spec.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(spec.to_mapping()))
    with running_hosts() as hosts:
        cluster = Cluster(tmp_path / "cluster", host=ADDRESSES["h0"])
        try:
            cluster.start_scheduler(prefix=hosts.on("h0"))
            cluster.start_worker(*preload(tmp_path, HOLD), prefix=hosts.on("h2"))
            with subprocess.Popen(
                [
                    *hosts.on("h0"),
                    FDSL,
                    "bake",
                    file,
                    "-o",
                    out,
                    "-q",
                    "--executor",
                    "dask",
                    "--scheduler",
                    cluster.address,
                ],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            ) as driver:
                wait_for(lambda: holder(tmp_path), driver)
                cluster.start_worker(prefix=hosts.on("h1"))
                hosts.pull_cable("h2")
                stdout, stderr = driver.communicate(timeout=PATIENCE_S)
            assert (driver.returncode, stderr) == (0, "")
            assert "the dataset is complete" in stdout
            (tmp_path / "go").touch()
            wait_for(lambda: any(tmp_path.glob("ended-*")))
        finally:
            cluster.stop()
    assert snapshot(out) == snapshot(baked)
    assert verify(out, executor=SERIAL).problems == ()
