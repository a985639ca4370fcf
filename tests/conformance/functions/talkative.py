"""A function that logs in every way Python offers, and fails on request."""

# A function as people write them: without annotations.
# ruff: noqa: ANN001, ANN201

import logging
import time

LOG = logging.getLogger("shop.orders")
LOG.setLevel(logging.DEBUG)


class OutOfStockError(Exception):
    """What the shop raises."""


def handler(event, context):
    DEEDS[event["do"]](event)
    return context.aws_request_id


def print_lines(event):
    for line in event["lines"]:
        print(line)


def log_lines(event):
    for line in event["lines"]:
        LOG.warning(line)


def log_levels(_event):
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        LOG.log(level, "at %s", logging.getLevelName(level), extra={"order": 7})


def log_exception(_event):
    try:
        sell("book")
    except OutOfStockError:
        LOG.exception("sale failed")


def fail(_event):
    sell("lamp")


def sleep(event):
    print("about to sleep")
    time.sleep(event["seconds"])


def sell(what):
    raise OutOfStockError(f"no {what}\nleft")


DEEDS = {
    "print": print_lines,
    "log": log_lines,
    "levels": log_levels,
    "caught": log_exception,
    "raise": fail,
    "sleep": sleep,
}
