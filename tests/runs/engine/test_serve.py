"""Laws of `ccenv serve`: each request is answered or refused, by name and in time."""

import asyncio
import json
import threading

import torch

from ccenv.agents.reinforce import Reinforce
from ccenv.deploy.export import SkippingClassifier
from ccenv.deploy.micro_batches import MicroBatches
from ccenv.runs.serve import Server
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


async def talked(classifier, image, capsys):
    go_on = threading.Event()

    def classify(images):
        go_on.wait(10)
        return classifier(images)

    with MicroBatches(classify, max_batch=1, max_wait=0.0, max_pending=1) as batches:
        serving = asyncio.create_task(Server(classifier, batches).serve("127.0.0.1", 0))
        while not (said := capsys.readouterr().out):
            await asyncio.sleep(0.01)
        port = int(said.split(":")[2].split("/")[0])
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
