"""Laws of `ccenv serve`: each request is answered or refused, by name and in time."""

import asyncio
import json
import threading
from types import SimpleNamespace

import pytest
import torch

from ccenv.agents.reinforce import Reinforce
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import MicroBatches
from ccenv.runs.commands import serve
from ccenv.runs.commands.serve import Server, input_of
from ccenv.simulator.simulator import Simulator


def small():
    simulator = Simulator(8, dataset="digits", num_blocks=(2,), block_size=4, weights="cotrain")
    simulator.seed(0)
    return SkippingClassifier.from_agent(Reinforce(simulator, seed=0))


async def asked(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body), head


def post(body):
    return b"POST /classify HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body


async def listening(server, capsys):
    """Starts a server; its task and its port."""
    serving = asyncio.create_task(server.serve("127.0.0.1", 0))
    while not (said := capsys.readouterr().out):
        await asyncio.sleep(0.01)
    return serving, int(said.split(":")[2].split("/")[0])


async def talked(classifier, image, capsys):
    go_on = threading.Event()

    def classify(images):
        go_on.wait(10)
        return classifier(images)

    with MicroBatches(classify, max_batch=1, max_wait=0.0, max_pending=1) as batches:
        serving, port = await listening(Server(classifier, batches), capsys)
        good = post(json.dumps(image.flatten().tolist()).encode())
        waiting = []
        for _ in range(2):
            # One is computed and one waits: each must have been taken before the next one comes.
            waiting.append(asyncio.create_task(asked(port, good)))
            await asyncio.sleep(0.1)
        found = {"busy": await asked(port, good)}
        found["none"] = await asked(port, post(b"[1, 2"))
        found["long"] = await asked(port, b"POST /classify HTTP/1.0\r\nContent-Length: 9e9\r\n\r\n")
        found["path"] = await asked(port, b"GET /elsewhere HTTP/1.0\r\n\r\n")
        go_on.set()
        # Whoever waits when the server is told to end is answered all the same.
        serving.cancel()
        found["answers"] = await asyncio.gather(*waiting)
    return found


def test_requests_are_answered_refused_when_too_many_wait_and_told_what_is_wrong(capsys):
    classifier = small()
    image = torch.rand(1, *classifier.prepare.shape)
    found = asyncio.run(talked(classifier, image, capsys))
    expected = classifier(image)[0]
    for status, content, _ in found["answers"]:
        assert status == 200
        assert content["answer"] == int(expected.argmax())
        torch.testing.assert_close(torch.tensor(content["logits"]), expected)
    status, content, head = found["busy"]
    assert (status, b"Retry-After" in head) == (503, True)
    assert "waiting" in content["error"]
    assert [found[name][0] for name in ("none", "long", "path")] == [400, 400, 404]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1e39"])
def test_what_is_no_finite_number_is_no_input(number):
    classifier = small()
    numbers = ["0.5"] * 64
    body = f"[{', '.join(numbers)}]".encode()
    assert input_of(body, classifier).eq(0.5).all()
    with pytest.raises(ValueError, match=r"expected one input .* as JSON numbers: they are not"):
        input_of(f"[{', '.join([*numbers[1:], number])}]".encode(), classifier)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400", "0.5", "1e30"])
def test_what_is_no_whole_number_is_no_symbol(number):
    prepare = SimpleNamespace(are_symbols=True, shape=(2,))
    reads = SimpleNamespace(prepare=prepare)
    assert input_of(b"[3, 1.0]", reads).tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"expected one input \[2\] as JSON numbers"):
        input_of(f"[3, {number}]".encode(), reads)


async def unfinished(port, length):
    """A client that sends one byte of its body, and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /classify HTTP/1.1\r\nContent-Length: %d\r\n\r\n[" % length)
    await writer.drain()
    return reader, writer


async def flooded(classifier, capsys):
    with MicroBatches(classifier, max_batch=1, max_wait=0.0) as batches:
        server = Server(classifier, batches)
        serving, port = await listening(server, capsys)
        good, found = post(json.dumps([0.5] * 64).encode()), {}
        clients = [await unfinished(port, server.longest) for _ in range(2)]
        while server.under_way < 2 * server.longest:
            await asyncio.sleep(0.01)
        found["full"] = await asked(port, good)
        _, writer = clients.pop()
        writer.close()
        while server.under_way > server.longest:
            await asyncio.sleep(0.01)
        found["room"] = await asked(port, good)
        found["bad"] = await asked(port, post(b"[" + b"NaN, " * 63 + b"NaN]"))
        head = b"POST /classify HTTP/1.1\r\nContent-Length: %d\r\n\r\n"
        found["long"] = await asked(port, head % (server.longest + 1))
        clients.pop()[1].close()
        while server.under_way:
            await asyncio.sleep(0.01)
        serving.cancel()
    return found


def test_bodies_that_are_not_finished_fill_no_more_memory_than_is_set_aside(capsys, monkeypatch):
    classifier = small()
    longest = serve.BESIDE + serve.PER_NUMBER * 64
    monkeypatch.setattr(serve, "UNDER_WAY", 2 * longest + 100)
    found = asyncio.run(flooded(classifier, capsys))
    status, content, head = found["full"]
    assert (status, b"Retry-After" in head) == (503, True)
    assert f"{2 * longest} bytes are being read" in content["error"]
    assert {name: found[name][0] for name in ("room", "bad", "long")} == {
        "room": 200,
        "bad": 400,
        "long": 400,
    }
