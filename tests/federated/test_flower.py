"""Flower carries the same learning: in its simulation, and over TLS between a SuperLink and two SuperNodes.

All runs in process groups of its own, which are killed in the end: Ray and Flower leave processes where they fail.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from learning import CLIENTS, LOCAL, net, same

from graphopt import load, save
from graphopt.federated import Quantized, TopK, federate

pytest.importorskip("flwr", reason="pip install 'graphopt[federated]'")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("flower")]

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SLOW = 900.0
"""Seconds after which nothing more is waited for: on a loaded machine Ray takes minutes to begin."""


def environment(home: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(BIN), os.environ["PATH"]])
    known = os.pathsep.join([str(ROOT), str(HERE), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PATH": paths, "PYTHONPATH": known, "FLWR_HOME": str(home), "FLWR_TELEMETRY_ENABLED": "0"}


@contextmanager
def running(words: list[str], home: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, all of which ends with the context."""
    with log.open("wb") as file:
        process = subprocess.Popen(
            words, cwd=home, env=environment(home), stdout=file, stderr=file, start_new_session=True
        )
    try:
        yield process
    finally:
        for kind in (signal.SIGTERM, signal.SIGKILL):
            with ExitStack() as stack:
                stack.callback(process.poll)
                try:
                    os.killpg(process.pid, kind)
                    process.wait(10)
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    pass


SIMULATION = """
import numpy as np
from learning import CLIENTS, LOCAL, net
import graphopt
from graphopt.federated import Client, Quantized, TopK, federate

def raises(graph, data, options):
    raise OSError("the battery is empty")

def hangs(graph, data, options):
    import time
    time.sleep(3600)

if __name__ == "__main__":
    clients = [*CLIENTS[:2], Client(CLIENTS[2], step=raises), Client(CLIENTS[3], name="slow", step=hangs)]
    update = Quantized(4) | TopK(0.25)
    made = federate(net(), clients, 3, LOCAL, update, engine="flower", time_limit=20, checkpoint="run")
    graphopt.save(made.model, "learned.gopt")
    for number, dropped in made.history.dropped:
        print(number, dropped.client, dropped.why)
    print(made.history.up, made.history.down)
"""


def test_the_simulation_gives_the_weights_of_the_local_engine(tmp_path: Path) -> None:
    (tmp_path / "simulation.py").write_text(SIMULATION)
    log = tmp_path / "log"
    with running([sys.executable, "simulation.py"], tmp_path, log) as process:
        assert process.wait(SLOW) == 0, log.read_text()
    wanted = federate(net(), CLIENTS[:2], 3, LOCAL, Quantized(4) | TopK(0.25))
    assert same(load(tmp_path / "learned.gopt"), wanted.model)
    told = log.read_text().splitlines()
    for number in (1, 2, 3):
        assert f"{number} client 2 OSError: the battery is empty" in told
        assert f"{number} slow no answer in 20 seconds" in told
    assert f"{wanted.history.up} {2 * wanted.history.down}" in told


RECIPE = """
model = "net.gopt"
rounds = 2
output = "learned.gopt"
[data]
clients = ["client-0.npz", "client-1.npz"]
[local]
batch_size = 8
optimizer = {name = "adam", lr = 0.01}
[update]
bits = 8
"""
PROJECT = """
[project]
name = "together"
version = "1.0.0"
license = "Apache-2.0"
dependencies = []
[tool.flwr.app]
publisher = "somebody"
[tool.flwr.app.components]
serverapp = "app:server"
clientapp = "app:client"
"""
APP = """
from graphopt.federated.flower import client_app, server_app
server = server_app("{recipe}")
client = client_app("{recipe}")
"""
CONNECTION = """
[superlink]
default = "tls"
[superlink.tls]
address = "127.0.0.1:{port}"
root-certificates = "{folder}/ca.pem"
"""


def test_a_superlink_and_two_supernodes_over_tls(tmp_path: Path) -> None:
    save(net(), tmp_path / "net.gopt")
    for i, client in enumerate(CLIENTS[:2]):
        np.savez(tmp_path / f"client-{i}.npz", **client)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "pyproject.toml").write_text(PROJECT)
    (tmp_path / "app" / "app.py").write_text(APP.format(recipe=tmp_path / "recipe.toml"))
    certify(tmp_path)
    port, *own = free_ports(3)
    (tmp_path / "config.toml").write_text(CONNECTION.format(port=port, folder=tmp_path))
    with ExitStack() as stack:
        nodes = {f"supernode-{i}": supernode(tmp_path, port, i, own[i]) for i in range(2)}
        for name, words in {"superlink": superlink(tmp_path, port), **nodes}.items():
            stack.enter_context(running(words, tmp_path, tmp_path / f"{name}.log"))
            until(lambda: listens(port), tmp_path)
        run = [str(BIN / "flwr"), "run", str(tmp_path / "app"), "tls"]
        subprocess.run(run, cwd=tmp_path, env=environment(tmp_path), check=True, timeout=SLOW)
        until((tmp_path / "learned.gopt").exists, tmp_path)
    wanted = federate(net(), CLIENTS[:2], 2, LOCAL, Quantized(8))
    assert same(load(tmp_path / "learned.gopt"), wanted.model)


def superlink(folder: Path, port: int) -> list[str]:
    keys = {"ca-certfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
    tls = [word for option, file in keys.items() for word in (f"--ssl-{option}", str(folder / file))]
    return [str(BIN / "flower-superlink"), *tls, "--port", str(port), "--disable-runtime-dependency-installation"]


def supernode(folder: Path, port: int, index: int, own: int) -> list[str]:
    where = ["--superlink", f"127.0.0.1:{port}", "--root-certificates", str(folder / "ca.pem")]
    told = ["--node-config", f"partition-id={index}", "--port", str(own)]
    return [str(BIN / "flower-supernode"), *where, *told]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def until(done: object, folder: Path) -> None:
    """Wait for something. Fails with all logs."""
    end = time.monotonic() + SLOW
    while not done():  # type: ignore[operator]
        if time.monotonic() > end:
            pytest.fail("\n".join(f"{log.name}:\n{log.read_text()}" for log in folder.glob("*.log")))
        time.sleep(1)


def certify(folder: Path) -> None:
    """An authority, and a certificate of it for the loopback address, valid for a day."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    now = datetime.datetime.now(datetime.UTC)

    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def made(name: str, key: ec.EllipticCurvePrivateKey, authority: bool) -> x509.CertificateBuilder:
        usage = x509.BasicConstraints(ca=authority, path_length=None)
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(usage, critical=True)
        )

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = made("server", key, False).add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificates = {"ca.pem": made("authority", root, True), "server.pem": server}
    for file, builder in certificates.items():
        (folder / file).write_bytes(builder.sign(root, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain, form = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    (folder / "server.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
