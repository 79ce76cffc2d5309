"""Laws of `ccenv serve`: each request is answered or refused, by name and in time."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
import uvicorn

from ccenv.agents.reinforce import Reinforce
from ccenv.deploy import serving
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.export_images import Preparation, known_symbols
from ccenv.deploy.micro_batches import MicroBatches
from ccenv.deploy.serving import HttpService, read_input
from ccenv.runs.commands import serve
from ccenv.simulator.simulator import Simulator
from tests.ccenv.networks.tiny import NETWORKS, SYMBOLS, WINDOW, built


def small():
    simulator = Simulator(8, dataset="digits", num_blocks=(2,), block_size=4, weights="cotrain")
    simulator.seed(0)
    return SkippingClassifier.from_agent(Reinforce(simulator, seed=0))


HEAD = b"POST /classify HTTP/1.1\r\nHost: here\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


async def asked(port, request):
    """Status, content (a sentence of the library's as it is) and head of an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    content = json.loads(body) if b"application/json" in head else body.decode()
    return int(head.split()[1]), content, head.lower()


def post(body):
    return HEAD % len(body) + body


@contextlib.asynccontextmanager
async def listening(service):
    """A server: its port; stopped as by Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(service.config())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def talked(classifier, image):
    go_on = threading.Event()

    def classify(images):
        go_on.wait(10)
        return classifier(images)

    with MicroBatches(classify, max_batch=1, max_wait=0.0, max_pending=1) as batches:
        service = HttpService(classifier, batches)
        good, waiting, found = post(json.dumps(image.flatten().tolist()).encode()), [], {}
        async with listening(service) as port:
            for _ in range(2):
                # One is computed and one waits: each must have been taken before the next comes.
                waiting.append(asyncio.create_task(asked(port, good)))
                await asyncio.sleep(0.1)
            # Three are listened to: those that are computed or wait, and one that comes and goes.
            found["busy"] = await asked(port, good)
            found["none"] = await asked(port, post(b"[1, 2"))
            found["long"] = await asked(port, HEAD.replace(b"%d", b"9e9"))
            found["longer"] = await asked(port, HEAD % (service.longest + 1))
            found["path"] = await asked(port, b"GET /elsewhere HTTP/1.0\r\n\r\n")
            found["method"] = await asked(port, b"GET /classify HTTP/1.0\r\n\r\n")
            found["health"] = await asked(port, b"GET /health HTTP/1.0\r\n\r\n")
            # Whoever waits when the server is told to end is answered all the same.
            asyncio.get_running_loop().call_later(0.2, go_on.set)
        found["answers"] = await asyncio.gather(*waiting)
    return found


def test_requests_are_answered_refused_when_too_many_wait_and_told_what_is_wrong(monkeypatch):
    monkeypatch.setattr(serving, "SILENCE", 0.1)
    classifier = small()
    image = torch.rand(1, *classifier.prepare.shape)
    found = asyncio.run(talked(classifier, image))
    expected = classifier(image)[0]
    for status, content, _ in found["answers"]:
        assert status == 200
        assert content["answer"] == int(expected.argmax())
        torch.testing.assert_close(torch.tensor(content["logits"]), expected)
    status, content, head = found["busy"]
    assert (status, b"retry-after: 1" in head) == (503, True)
    assert "waiting" in content["error"]
    assert {name: found[name][0] for name in ("none", "long", "longer", "path", "method")} == {
        "none": 400,
        "long": 400,
        "longer": 400,
        "path": 404,
        "method": 404,
    }
    wanted = "expected GET /health or POST /classify, got GET /elsewhere"
    assert found["path"][1] == {"error": wanted}
    assert found["health"][:2] == (200, {"batches": 1, "mean_batch": 1.0})


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e39"])
def test_what_is_no_finite_number_is_no_input(number):
    classifier = small()
    numbers = ["0.5"] * 64
    body = f"[{', '.join(numbers)}]".encode()
    assert read_input(body, classifier).eq(0.5).all()
    with pytest.raises(ValueError, match=r"expected one input .* as JSON numbers: they are not"):
        read_input(f"[{', '.join([*numbers[1:], number])}]".encode(), classifier)


def symbols_for(num_symbols, shape=WINDOW):
    content = {"shape": shape, "are_bytes": False, "are_symbols": True, "transforms": []}
    return Preparation(content, num_symbols)


@pytest.mark.parametrize("name", [name for name, (_, shape) in NETWORKS.items() if shape is None])
def test_a_classifier_takes_the_symbols_that_its_network_reads_and_no_others(name):
    network, window = built(name), torch.zeros(1, *WINDOW, dtype=torch.int64)
    known = known_symbols(network, "layer_input")
    assert known in (SYMBOLS, network.num_symbols, getattr(network, "symbols_read", None))
    reads = SimpleNamespace(prepare=symbols_for(known))
    for symbol in (0, known - 1):
        window[0, 0] = symbol
        assert torch.equal(read_input(json.dumps(window.tolist()).encode(), reads), window[0])
        network.step(0, network.start(reads.prepare(window).long()), None)
    for symbol in (-1, known, 2**62, -(2**62)):
        window[0, 0] = symbol
        with pytest.raises(ValueError, match=rf"expected symbols in 0\.\.{known - 1}, got"):
            read_input(json.dumps(window.tolist()).encode(), reads)
        with pytest.raises(ValueError, match=rf"expected symbols in 0\.\.{known - 1}, got"):
            reads.prepare(window)


def test_a_policy_that_looks_symbols_up_limits_them_too():
    network = built("hashed_ngrams")
    assert known_symbols(network, "layer_input") == network.num_symbols + 1
    assert known_symbols(network, "symbols") == network.num_symbols


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "0.5", "1e30"])
def test_what_is_no_whole_number_is_no_symbol(number):
    prepare = symbols_for(None, shape=(2,))
    reads = SimpleNamespace(prepare=prepare)
    assert read_input(b"[3, 1.0]", reads).tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"expected one input \[2\] as JSON numbers"):
        read_input(f"[3, {number}]".encode(), reads)


def sent_whole(port, length, chunks):
    """Status, content and whether the connection is closed, for a client that reads at the end."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    part = b"0" * (length // chunks)
    connection.request("POST", "/classify", iter([part] * chunks), {"Content-Length": str(length)})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read()), answer.headers["Connection"]


def test_a_body_that_is_too_large_is_dropped_and_its_client_gets_the_answer():
    async def talk(classifier):
        with MicroBatches(classifier, max_wait=0.0) as batches:
            service = HttpService(classifier, batches)
            async with listening(service) as port:
                return await asyncio.to_thread(sent_whole, port, 1 << 26, 64)

    status, content, connection = asyncio.run(talk(small()))
    assert (status, connection) == (400, "close")
    assert content["error"].startswith("expected a body of at most")


async def unfinished(port, request):
    """A client that begins a request, and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    return reader, writer


async def until(is_true):
    while not is_true():
        await asyncio.sleep(0.01)


async def flooded(classifier):
    with MicroBatches(classifier, max_batch=1, max_wait=0.0) as batches:
        service = HttpService(classifier, batches)
        good, found = post(json.dumps([0.5] * 64).encode()), {}
        async with listening(service) as port:
            begun = HEAD % service.longest + b"["
            clients = [await unfinished(port, begun) for _ in range(2)]
            await until(lambda: service.under_way == 2 * service.longest)
            found["full"] = await asked(port, good)
            clients.pop()[1].close()
            await until(lambda: service.under_way == service.longest)
            found["room"] = await asked(port, good)
            found["bad"] = await asked(port, post(b"[" + b"NaN, " * 63 + b"NaN]"))
            clients.pop()[1].close()
            await until(lambda: service.under_way == 0)
            # Of no length that is said beforehand.
            chunked = HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
            service.longest, part = 4, b"3\r\n[1,\r\n"
            found["parts"] = await asked(port, chunked + part + part)
    return found


def test_bodies_that_are_not_finished_fill_no_more_memory_than_is_set_aside(monkeypatch):
    classifier = small()
    longest = serving.BESIDE + serving.PER_NUMBER * 64
    monkeypatch.setattr(serving, "UNDER_WAY", 2 * longest + 100)
    monkeypatch.setattr(serving, "SILENCE", 0.1)
    found = asyncio.run(flooded(classifier))
    status, content, head = found["full"]
    assert (status, b"retry-after: 1" in head) == (503, True)
    assert f"{2 * longest} bytes are being read" in content["error"]
    statuses = {name: found[name][0] for name in ("room", "bad", "parts")}
    assert statuses == {"room": 200, "bad": 400, "parts": 400}


async def silent(classifier):
    with MicroBatches(classifier, max_batch=1, max_wait=0.0, max_pending=1) as batches:
        async with listening(HttpService(classifier, batches)) as port:
            body = HEAD % 100 + b"["
            requests = [b"", b"GET /health HT", body]
            clients = [await unfinished(port, request) for request in requests]
            await asyncio.sleep(0.05)
            full = await asked(port, b"GET /health HTTP/1.0\r\n\r\n")
            said = [await asyncio.wait_for(reader.read(), 10) for reader, _ in clients]
            for _, writer in clients:
                writer.close()
            room = await asked(port, b"GET /health HTTP/1.0\r\n\r\n")
    return full, said, room


def test_connections_that_say_nothing_are_closed_and_make_room(monkeypatch):
    monkeypatch.setattr(serving, "PATIENCE", 0.5)
    full, said, room = asyncio.run(silent(small()))
    assert full[0] == 503
    assert said[:2] == [b"", b""]
    assert b" 503 " in said[2]
    assert b"no answer in time" in said[2]
    assert room[0] == 200


def test_one_connection_asks_many_times():
    async def talk(classifier):
        with MicroBatches(classifier, max_wait=0.0) as batches:
            async with listening(HttpService(classifier, batches)) as port:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                for _ in range(3):
                    writer.write(post(json.dumps([0.5] * 64).encode()).replace(b"close", b"keep"))
                    head = await reader.readuntil(b"\r\n\r\n")
                    assert b" 200 " in head
                    length = int(head.lower().split(b"content-length: ")[1].split()[0])
                    assert len(json.loads(await reader.readexactly(length))["logits"]) == 10
                writer.close()

    asyncio.run(talk(small()))


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert serve.main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert 'pip install "ccenv[serve]"' in said
    assert said.count("\n") == 1


def test_the_command_answers_until_it_is_interrupted_and_refuses_a_port_in_use(tmp_path, capsys):
    file = tmp_path / "classifier.safetensors"
    small().save(file)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve.main([str(file), "--port", str(port)]) == 2
        assert "in use" in capsys.readouterr().err
    statuses = []

    def client():
        request = post(json.dumps([0.5] * 64).encode())
        while not statuses:
            with contextlib.suppress(ConnectionRefusedError):
                statuses.append(asyncio.run(asked(port, request))[0])
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=client)
    thread.start()
    assert serve.main([str(file), "--port", str(port)]) == 130
    thread.join()
    assert statuses == [200]
    said = capsys.readouterr()
    assert said.out == f"http://127.0.0.1:{port}/classify\n"
    assert said.err == "stopped; what waited was answered\n"
