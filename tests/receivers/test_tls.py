"""TLS with a CA of one's own, mTLS, and what is said of certificates that won't do."""

import subprocess

import pytest

from sigtrace.errors import UsageError
from tests.receivers.sending import sending
from tests.receivers.servers import GrpcReceiver, HttpReceiver

KINDS = {"http/protobuf": HttpReceiver, "grpc": GrpcReceiver}


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """A folder with ca.pem, other-ca.pem, and NAME.pem and NAME.key of server (localhost), elsewhere and client."""
    folder = tmp_path_factory.mktemp("keys")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    for ca in ("ca", "other-ca"):
        # A day is enough, whatever this machine thinks which day it is.
        openssl(*new, "-x509", "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-subj", f"/CN={ca}", "-days", "2")
    for name, host in (("server", "localhost"), ("elsewhere", "elsewhere.invalid"), ("client", "sigtrace")):
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={host}")
        (folder / "san").write_text(f"subjectAltName=DNS:{host}\n")
        sign = ("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
        openssl(*sign, "-extfile", "san", "-days", "2", "-out", f"{name}.pem")
    openssl("ec", "-in", "client.key", "-aes256", "-passout", "pass:x", "-out", "locked.key")
    return folder


@pytest.fixture(params=KINDS)
def world(request, keys):
    """(a function that opens a receiver, a function that sends to it)."""
    kind = KINDS[request.param]

    def receiver(name="server", clients=None):
        return kind(tls=(str(keys / f"{name}.pem"), str(keys / f"{name}.key"), clients and str(keys / clients)))

    def send(receiver, **files):
        given = {name: str(keys / file) for name, file in files.items()}
        return sending(receiver.url, protocol=request.param, **given)

    return receiver, send


def test_a_ca_of_ones_own_is_believed(world, wait_until):
    open_, send = world
    with open_() as receiver, send(receiver, certificate="ca.pem") as sender:
        sender.stop_one()
        wait_until(lambda: sender.tally.exported == 3, timeout=20)
        assert receiver.checker.finish() == []


@pytest.mark.parametrize(("server", "ca"), [("server", "other-ca.pem"), ("elsewhere", "ca.pem"), ("server", None)])
def test_a_certificate_of_nobody_or_for_another_host_is_not_believed(world, wait_until, server, ca):
    open_, send = world
    with open_(server) as receiver, send(receiver, **({"certificate": ca} if ca else {})) as sender:
        sender.stop_one()
        wait_until(lambda: sender.lines, timeout=20)
        assert "tried again" in sender.lines[0]
        assert sender.tally.exported == 0
        assert not receiver.requests
        if isinstance(receiver, HttpReceiver):
            assert "its certificate is not to be trusted" in sender.lines[0]


def test_a_receiver_that_wants_a_certificate_gets_it(world, wait_until):
    open_, send = world
    own = {"client_certificate": "client.pem", "client_key": "client.key"}
    with open_(clients="ca.pem") as receiver:
        with send(receiver, certificate="ca.pem") as stranger:
            stranger.stop_one()
            wait_until(lambda: stranger.lines, timeout=20)
        assert not receiver.requests
        with send(receiver, certificate="ca.pem", **own) as sender:
            sender.stop_one()
            wait_until(lambda: sender.tally.exported == 3, timeout=20)
        assert receiver.checker.finish() == []


@pytest.mark.parametrize(
    "files",
    [
        {"certificate": "san"},
        {"client_certificate": "client.pem", "client_key": "locked.key"},
        {"client_certificate": "client.pem", "client_key": "server.key"},
        {"client_certificate": "san", "client_key": "client.key"},
        {"client_key": "client.key"},
        {"client_certificate": "client.pem"},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_no_certificates_are_told_before_anything_is_sent(keys, kind, files):
    given = {name: str(keys / file) for name, file in files.items()}
    with pytest.raises(UsageError) as error, sending("https://localhost:1", protocol=kind, **given):
        pass
    assert "OTLP" in str(error.value)
