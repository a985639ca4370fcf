"""A function that does what functions do; the event says what, and where the server for it is."""

import asyncio
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor


def handler(event, context):
    return ACTIONS[event["do"]](event)


def _answer(event):
    return {"statusCode": event.get("status", 200), "body": "\u00e9"}


def _fail(event):
    raise LookupError(f"no {event['do']}")


def _chained(event):
    try:
        int("x")
    except ValueError as cause:
        raise RuntimeError("outer") from cause


def _urllib(event):
    with urllib.request.urlopen(event["url"]) as answer:
        return answer.status


def _requests(event):
    import requests

    return requests.get(event["url"], headers={"X-Own": "kept"}, timeout=10).status_code


def _requests_refused(event):
    import requests

    requests.get("http://127.0.0.1:9/", timeout=10)


async def _fetch(url):
    import aiohttp

    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status


def _aiohttp(event):
    return asyncio.run(_fetch(event["url"]))


def _httpx(event):
    import httpx

    async def fetch():
        async with httpx.AsyncClient() as client:
            return (await client.get(event["url"])).status_code

    return [httpx.get(event["url"]).status_code, asyncio.run(fetch())]


def _threads(event):
    thread = threading.Thread(target=_urllib, args=(event,))
    thread.start()
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_urllib, event).result()


def _aws(event):
    import boto3

    def client(name):
        return boto3.client(name, endpoint_url=event["url"])

    client("sqs").send_message(QueueUrl=event["url"] + "/1/orders", MessageBody="m")
    client("events").put_events(Entries=[{"Source": "s", "DetailType": "d", "Detail": "{}"}])
    client("lambda").invoke(FunctionName="other", Payload=b"{}")
    return "sent"


def _aws_error(event):
    import boto3

    boto3.client("sqs", endpoint_url=event["url"] + "/missing").send_message(QueueUrl=event["url"], MessageBody="m")


async def _coroutine(event):
    return 1


def _generator(event):
    yield 1


def _unmarshallable(event):
    return {1, 2}


def _exit(event):
    raise SystemExit(3)


ACTIONS = {
    "answer": _answer,
    "fail": _fail,
    "chained": _chained,
    "urllib": _urllib,
    "requests": _requests,
    "requests_refused": _requests_refused,
    "aiohttp": _aiohttp,
    "httpx": _httpx,
    "threads": _threads,
    "aws": _aws,
    "aws_error": _aws_error,
    "coroutine": _coroutine,
    "generator": _generator,
    "unmarshallable": _unmarshallable,
    "exit": _exit,
}
