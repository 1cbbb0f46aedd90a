"""Rules of the API that OpenAPI has no words for."""

import os

import schemathesis
from hypothesis import strategies as st

HAS_SESSION = "CHAT_TOKEN" in os.environ

schemathesis.openapi.format("emoji", st.sampled_from(["👍", "❤️", "👋🏽", "👩‍💻", "🇫🇷", "1️⃣"]))


def given(values, *names):
    return [name for name in names if values is not None and values.get(name) is not None]


def may_read(query):
    """At most one place is given, and waiting goes with those that look forward."""
    places = given(query, "since", "after", "before")
    looks_forward = places in (["since"], ["after"])
    return len(places) <= 1 and (looks_forward or not given(query, "wait"))


def may_post(body, headers):
    """A nonce is given once. Without a session, the sender is named."""
    nonces = given(body, "nonce") + given(headers, "Idempotency-Key")
    return len(nonces) <= 1 and (HAS_SESSION or given(body, "sender") != [])


def is_seq(value):
    """A place that JSON takes for an integer, and a query for its digits; 0 is fine as it is."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() else None
    return type(value) in (int, float) and 0 < value < 2**63 and value == int(value)


@schemathesis.hook
def filter_case(context, case):
    if case.operation.label == "GET /chat/{room}/messages":
        return may_read(case.query)
    if case.operation.label == "POST /chat/{room}/messages" and isinstance(case.body, dict):
        return may_post(case.body, case.headers)
    return True


@schemathesis.hook
def before_call(context, case, kwargs):
    # A request may wait half a minute for messages, and a test need not.
    if case.query and str(case.query.get("wait")) in map(str, range(2, 31)):
        case.query["wait"] = 1
    # What a message may answer is up to the messages of the room, and so is where its changes end.
    if case.operation.label == "POST /chat/{room}/messages" and isinstance(case.body, dict):
        if is_seq(case.body.get("reply_to")):
            case.body["reply_to"] = None
    if case.operation.label == "GET /chat/{room}/changes" and case.query and is_seq(case.query.get("after")):
        case.query["after"] = 0
    # How far a room may be marked as read is up to its messages.
    if case.operation.label == "POST /chat/{room}/read" and isinstance(case.body, dict):
        if is_seq(case.body.get("seq")):
            case.body["seq"] = 0
