"""A function that does what its event says."""

# A function as people write them: without annotations.
# ruff: noqa: ANN001, ANN201

import os
import time


def handler(event, context):
    deed = event.get("do", "echo")
    if deed == "raise":
        raise ValueError("as you wish")
    if deed == "sleep":
        time.sleep(event["seconds"])
    if deed == "exit":
        os._exit(3)
    return {"echo": event}
