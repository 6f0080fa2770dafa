"""The CRI client against a gRPC server of our own; tests/containers asks a real containerd."""

import json
import sys
from concurrent import futures

import pytest

from sigtrace.attribution.runtimes.cri import CriClient
from sigtrace.attribution.runtimes.protobuf import Message, encode
from sigtrace.attribution.runtimes.values import NoAnswer
from sigtrace.errors import HostError

ID, POD_ID, OTHER = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def grpc():
    return pytest.importorskip("grpc", reason="grpcio is not installed: pip install grpcio")


class Cri:
    """Answers by method; an exception's name stands for a status code."""

    def __init__(self, grpc, path: str) -> None:
        self.asked: list[str] = []
        self.answers = {
            "Version": lambda _: encode({1: "0.1.0", 2: "containerd", 3: "v9", 4: "v1"}),
            "ListContainers": self.list_containers,
            "ListPodSandbox": self.list_pods,
            "ContainerStatus": lambda _: encode(
                {1: {1: ID, 2: {1: "web"}, 3: 1, 8: {1: "web:1"}, 9: "ref"}, 2: {"info": self.details}}
            ),
            "PodSandboxStatus": lambda _: encode(
                {1: {1: POD_ID, 2: {1: "api", 2: "u-1", 3: "default"}, 8: {SERVICE: "shop"}}, 2: {"info": '{"pid":9}'}}
            ),
            "ImageStatus": lambda _: encode({2: {"info": '{"imageSpec":{"config":{"StopSignal":"SIGINT"}}}'}}),
        }
        self.details = json.dumps({"pid": 4711, "sandboxID": POD_ID})
        self._grpc = grpc
        outer = self

        class Handler(grpc.GenericRpcHandler):
            def service(self, call):
                return grpc.unary_unary_rpc_method_handler(
                    lambda request, context: outer.answer(call.method.rpartition("/")[2], request, context)
                )

        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        self.server.add_generic_rpc_handlers((Handler(),))
        self.server.add_insecure_port(f"unix:{path}")
        self.server.start()

    @staticmethod
    def list_containers(request):
        wanted = Message(request).message(1).raw(1).decode()
        return encode({1: [{1: ID, 3: {1: "web"}}]}) if wanted in ("", ID) else b""

    @staticmethod
    def list_pods(request):
        wanted = Message(request).message(1).raw(1).decode()
        return encode({1: [{1: POD_ID, 2: {1: "api"}}]}) if wanted in ("", POD_ID) else b""

    def answer(self, method, request, context):
        self.asked.append(method)
        answer = self.answers[method]
        if isinstance(answer, str):
            context.abort(self._grpc.StatusCode[answer], "the reason\x1b[31m")
        return answer(request)


SERVICE = "resource.opentelemetry.io/service.name"


@pytest.fixture
def cri(grpc, short):
    server = Cri(grpc, str(short / "s"))
    yield server
    server.server.stop(None).wait()


@pytest.fixture
def client(cri, short):
    one = CriClient(str(short / "s"), timeout_s=5)
    yield one
    one.close()


def test_it_says_who_is_there(client):
    assert client.open() == "containerd v9"


def test_a_container_is_put_together_from_status_pod_and_image(client):
    client.open()
    info = client.fetch(ID)
    assert (info.runtime, info.name, info.image, info.main_pid) == ("containerd", "web", "web:1", 4711)
    assert (info.pod, info.namespace, info.pod_uid, info.service_name) == ("api", "default", "u-1", "shop")
    assert info.stop_signal == 2


def test_pod_and_image_are_asked_for_once(client, cri):
    client.open()
    assert client.fetch(ID) == client.fetch(ID)
    assert (cri.asked.count("PodSandboxStatus"), cri.asked.count("ImageStatus")) == (1, 1)


def test_a_sandbox_is_found_too(client):
    client.open()
    assert client.fetch(POD_ID).main_pid == 9


def test_an_unknown_one_is_none_and_never_asked_the_status_of(client, cri):
    """containerd writes an error into its log for each status of a container that it doesn't know."""
    client.open()
    assert client.fetch(OTHER) is None
    assert cri.asked == ["Version", "ListContainers", "ListPodSandbox"]


def test_the_list_has_sandboxes_and_containers(client):
    client.open()
    assert [info.container_id for info in client.listing()] == [POD_ID, ID]


@pytest.mark.parametrize("code", ["NOT_FOUND", "UNKNOWN", "INTERNAL"])
def test_a_refusal_is_about_one_container_only(client, cri, code):
    client.open()
    cri.answers["ContainerStatus"] = code
    assert client.fetch(ID) is None


@pytest.mark.parametrize("code", ["UNAVAILABLE", "UNIMPLEMENTED", "PERMISSION_DENIED"])
def test_a_broken_runtime_is_no_answer_and_its_words_are_harmless(client, cri, code):
    client.open()
    cri.answers["ContainerStatus"] = code
    with pytest.raises(NoAnswer, match=r"ContainerStatus: .*the reason\\x1b\[31m"):
        client.fetch(ID)


def test_rubbish_is_no_answer(client, cri):
    client.open()
    cri.answers["ContainerStatus"] = lambda _: b"\xff\xff"
    with pytest.raises(NoAnswer):
        client.fetch(ID)


def test_an_answer_that_is_too_large_is_no_answer(client, cri):
    client.open()
    cri.answers["ListContainers"] = lambda _: b"\0" * (17 << 20)
    with pytest.raises(NoAnswer, match="resource exhausted"):
        client.fetch(ID)


def test_a_socket_that_answers_nothing_ends_in_time(grpc, server):
    server.answer = lambda connection: connection.recv(1)
    client = CriClient(server.path, timeout_s=0.2)
    with pytest.raises(NoAnswer, match="Version: deadline exceeded"):
        client.open()
    client.close()


def test_a_missing_socket_is_no_answer(grpc, short):
    with pytest.raises(NoAnswer, match="does not exist"):
        CriClient(str(short / "none")).open()


def test_a_client_that_is_not_open_is_no_answer(grpc, short):
    with pytest.raises(NoAnswer, match="not open"):
        CriClient(str(short / "none")).fetch(ID)


def test_without_grpcio_it_says_what_to_install(monkeypatch, short):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(HostError, match=r"grpcio.*pip install grpcio"):
        CriClient(str(short / "none")).open()
