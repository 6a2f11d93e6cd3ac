"""What the official `anthropic` client, in its new line and its old one, sees of the Claude mock."""

import asyncio
import concurrent.futures
import contextlib
import datetime
import email.utils
import http.client
import itertools
import json
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request

import anthropic
from anthropic import beta_tool
from suite import check, raises

NEW = int(anthropic.__version__.split(".")[0]) >= 2
VERSION = "2026-10-21" if NEW else "2023-06-01"
MODEL = "claude-sonnet-4-6"
ALPHA, BRAVO = "sk-ant-alpha-0001", "sk-ant-bravo-0001"

# USD per million tokens: input, written for 5 minutes, written for an hour, read, output; and the minimum of a prefix.
TABLE = {
    "claude-fable-5-2": (8, 10, 16, 0.20, 40, 512),
    "claude-fable-5-1": (10, 12.5, 20, 0.25, 50, 512),
    "claude-mythos-5-1": (10, 12.5, 20, 0.25, 50, 512),
    "claude-fable-5": (10, 12.5, 20, 1.00, 50, 512),
    "claude-mythos-5": (10, 12.5, 20, 1.00, 50, 512),
    "claude-opus-5-5": (4, 5, 8, 0.20, 20, 512),
    "claude-opus-5": (5, 6.25, 10, 0.50, 25, 512),
    "claude-opus-4-8": (5, 6.25, 10, 0.50, 25, 1024),
    "claude-opus-4-7": (5, 6.25, 10, 0.50, 25, 2048),
    "claude-opus-4-6": (5, 6.25, 10, 0.50, 25, 4096),
    "claude-opus-4-5": (5, 6.25, 10, 0.50, 25, 4096),
    "claude-sonnet-5-5": (2, 2.50, 4, 0.10, 10, 512),
    "claude-sonnet-5": (2, 2.50, 4, 0.20, 10, 1024),
    "claude-sonnet-4-6": (3, 3.75, 6, 0.30, 15, 1024),
    "claude-sonnet-4-5": (3, 3.75, 6, 0.30, 15, 1024),
    "claude-haiku-5-5": (0.10, 0.125, 0.20, 0.01, 0.50, 512),
    "claude-haiku-4-5": (1, 1.25, 2, 0.10, 5, 4096),
}
LONG_HAIKU = (0.50, 0.625, 1.00, 0.05, 2.50)

EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
LONG = "You answer questions about companies. " * 250
TOOL = {
    "name": "Sql_Query",
    "description": "Asks the database",
    "input_schema": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["one", "two"]},
            "count": {"type": "integer", "minimum": 3},
            "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2},
            "left_out": {"type": "string"},
        },
        "required": ["kind", "count", "tags"],
    },
}


def client(mocks, kind=anthropic.Anthropic, **named):
    return kind(**{"base_url": mocks.claude, "api_key": ALPHA, "max_retries": 0, **named})


def question(content="Hello", **named):
    return {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": content}], **named}


def ask(mocks, content="Hello", **named):
    return client(mocks).messages.create(**question(content, **named))


def compact(value):
    """JSON as the client writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def raw(mocks, path="/v1/messages", body=None, headers=None, method=None):
    """Status, headers and text of an answer to bytes that no client would send."""
    sent = {"x-api-key": ALPHA, "anthropic-version": VERSION, "content-type": "application/json", **(headers or {})}
    sent = {name: value for name, value in sent.items() if value is not None}
    data = body if isinstance(body, (bytes, type(None))) else compact(body).encode()
    request = urllib.request.Request(mocks.claude + path, data=data, headers=sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def served(mocks, body=None, path="/v1/messages", headers=None):
    """The body of a 200."""
    status, _, text = raw(mocks, path, body, headers)
    assert status == 200, (status, text)
    return json.loads(text)


def refused(mocks, body, status=400, kind="invalid_request_error", headers=None, path="/v1/messages", method=None):
    """The message of a refusal, after its shape has been looked at."""
    got, sent, text = raw(mocks, path, body, headers, method)
    assert got == status, (body if len(str(body)) < 500 else "…", got, text)
    assert sent["content-type"] == "application/json", sent["content-type"]
    error = json.loads(text)
    assert set(error) == {"type", "error", "request_id"} and error["type"] == "error", error
    assert error["error"]["type"] == kind, error
    assert error["request_id"] == sent["request-id"] and sent["request-id"].startswith("req_011"), error
    return error["error"]["message"]


def events(mocks, body):
    """The events of a stream, each held against its own `event:` line and against the order of the protocol."""
    status, headers, text = raw(mocks, body={**body, "stream": True})
    assert status == 200, text
    assert headers["content-type"] == "text/event-stream; charset=utf-8", headers["content-type"]
    assert text.endswith("\n\n"), text[-200:]
    found = []
    for part in text[:-2].split("\n\n"):
        name, data = part.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), part
        data = json.loads(data[6:])
        assert name[7:] == data["type"], part
        found.append(data)
    steps = [event for event in found if event["type"] != "ping"]
    assert [event["type"] for event in (steps[0], *steps[-2:])] == ["message_start", "message_delta", "message_stop"]
    index, is_open = 0, False
    for event in steps[1:-2]:
        assert event["index"] == index, event
        assert event["type"] == ("content_block_start" if not is_open else event["type"]), event
        if event["type"] == "content_block_start":
            assert not is_open, event
            is_open = True
        elif event["type"] == "content_block_stop":
            index, is_open = index + 1, False
        else:
            assert event["type"] == "content_block_delta", event
    assert not is_open
    return found


def deltas(found, index):
    return [event["delta"] for event in found if event["type"] == "content_block_delta" and event["index"] == index]


def text_of(found):
    return "".join(event["delta"].get("text", "") for event in found if event["type"] == "content_block_delta")


def block(text=LONG, control=None):
    return {"type": "text", "text": text, **({"cache_control": control} if control else {})}


def tokens(mocks, body):
    """What `count_tokens` says of this request."""
    asked = ("model", "messages", "system", "tools", "tool_choice", "thinking", "cache_control", "output_config")
    body = {name: body[name] for name in asked if name in body}
    return served(mocks, body, "/v1/messages/count_tokens")["input_tokens"]


def counters(mocks, body, key=ALPHA):
    """Input tokens that were read, written for 5 minutes, written for an hour and neither, after a look at their sums."""
    usage = served(mocks, body, headers={"x-api-key": key})["usage"]
    five, hour = (usage["cache_creation"][f"ephemeral_{ttl}_input_tokens"] for ttl in ("5m", "1h"))
    assert usage["cache_creation_input_tokens"] == five + hour, usage
    read, rest = usage["cache_read_input_tokens"], usage["input_tokens"]
    assert read + five + hour + rest == tokens(mocks, body), usage
    return read, five, hour, rest


def sized(mocks, model, total):
    """A text of which a question has exactly so many tokens."""
    size = 4 * total
    for _ in range(60):
        counted = tokens(mocks, question([block("x" * size)], model=model))
        if counted == total:
            return "x" * size
        size += 4 * (total - counted) if abs(total - counted) > 2 else (1 if counted < total else -1)
    raise AssertionError(f"no text of {total} tokens")


def cost(model, usage, factor=1.0, prices=None):
    """What a message's usage costs by the table."""
    reads = usage["cache_read_input_tokens"]
    five, hour = (usage["cache_creation"][f"ephemeral_{ttl}_input_tokens"] for ttl in ("5m", "1h"))
    spent = (usage["input_tokens"], five, hour, reads, usage["output_tokens"])
    return factor * sum(price * count for price, count in zip(prices or TABLE[model], spent)) / 1e6


def is_sum(got, expected):
    assert math.isclose(got, expected, rel_tol=1e-6, abs_tol=1.5e-9), (got, expected)


def rule(response, times=1, **match):
    return {"match": match or {"method": "POST", "path": "/v1/messages"}, "times": times, "response": response}


def error_body(kind, **more):
    return {"type": "error", "error": {"type": kind, "message": "Scripted", **more}, "request_id": "req_011scripted"}


def failing(status, headers=None, body=None, times=1):
    return rule({"status": status, "headers": headers or {}, "body": error_body("api_error") if body is None else body}, times)


def retry_counts(mocks):
    return [request["headers"]["x-stainless-retry-count"] for request in mocks.requests()]


def took(function, *arguments, **named):
    began = time.monotonic()
    function(*arguments, **named)
    return time.monotonic() - began


def moment(text):
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", text), text
    return datetime.datetime.fromisoformat(re.sub(r"\.(\d{6})\d*", r".\1", text))


# Messages


@check
def a_message_has_every_field_of_the_api(mocks):
    answer = client(mocks).messages.with_raw_response.create(**question())
    message, body = answer.parse(), json.loads(answer.http_response.text)
    required = {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
    assert required <= set(body), body
    assert (body["type"], body["role"], body["model"], body["stop_reason"]) == ("message", "assistant", MODEL, "end_turn")
    assert body["stop_sequence"] is None and body["stop_details"] is None
    assert [part["type"] for part in body["content"]] == ["text"] and body["content"][0]["text"]
    usage = body["usage"]
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    assert (usage["cache_creation_input_tokens"], usage["cache_read_input_tokens"]) == (0, 0)
    assert (usage["service_tier"], usage["inference_geo"]) == ("standard", "global")
    assert usage["input_tokens"] > 0 and usage["output_tokens"] > 0
    assert message.content[0].text == body["content"][0]["text"]
    assert message._request_id == answer.headers["request-id"]


@check
def ids_have_their_shape_and_are_never_the_same(mocks):
    seen = set()
    for _ in range(5):
        message = ask(mocks, tools=[TOOL], tool_choice={"type": "any"})
        assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", message.id), message.id
        assert re.fullmatch(r"toolu_01[0-9A-Za-z]{22}", message.content[-1].id), message.content
        assert re.fullmatch(r"req_011[0-9A-Za-z]{20,}", message._request_id), message._request_id
        seen |= {message.id, message.content[-1].id, message._request_id}
    assert len(seen) == 15


@check
def every_reply_names_its_request_and_its_organization(mocks):
    organizations, requests = set(), []
    for path, body in [
        ("/v1/messages", question()),
        ("/v1/messages", question(stream=True)),
        ("/v1/messages", {}),
        ("/v1/messages/count_tokens", {"model": MODEL, "messages": question()["messages"]}),
        ("/v1/models", None),
        ("/v1/models/none", None),
        ("/v1/messages/batches", None),
        ("/v1/nowhere", None),
    ]:
        _, headers, _ = raw(mocks, path, body)
        organizations.add(headers["anthropic-organization-id"])
        requests.append(headers["request-id"])
        assert re.fullmatch(r"req_011[0-9A-Za-z]{20,}", headers["request-id"]), (path, headers["request-id"])
    assert len(set(requests)) == len(requests)
    [organization] = organizations
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", organization), organization


@check
def rate_limit_headers_tell_what_is_left_and_until_when(mocks):
    for body in [question(), question(stream=True)]:
        _, headers, _ = raw(mocks, body=body)
        limits = {}
        for kind in ["requests", "tokens", "input-tokens", "output-tokens"]:
            limit, left = (int(headers[f"anthropic-ratelimit-{kind}-{what}"]) for what in ["limit", "remaining"])
            limits[kind] = limit
            assert 0 <= left <= limit, (kind, left, limit)
            assert kind == "requests" or left % 1000 == 0, (kind, left)
            reset = moment(headers[f"anthropic-ratelimit-{kind}-reset"]).timestamp()
            assert -2 <= reset - time.time() <= 120, (kind, reset)
        assert limits["tokens"] == limits["input-tokens"] + limits["output-tokens"], limits
        assert headers["retry-after"] is None


@check(script={"claude": {"rate_limits": {"requests_per_minute": 2}, "latency": {"first_byte": {"constant": "0ms"}}}})
def a_full_bucket_is_a_429_that_says_when_to_come_again(mocks):
    for _ in range(2):
        ask(mocks)
    error = raises(anthropic.RateLimitError, ask, mocks)
    assert error.body["error"]["type"] == "rate_limit_error"
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


@check
def max_tokens_cut_an_answer_at_exactly_that_many(mocks):
    whole = ask(mocks)
    for limit in [1, 2, whole.usage.output_tokens - 1]:
        message = ask(mocks, max_tokens=limit)
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", limit), message
        assert whole.content[0].text.startswith(message.content[0].text)
    assert events(mocks, question(max_tokens=2))[-2]["delta"]["stop_reason"] == "max_tokens"
    assert ask(mocks, max_tokens=whole.usage.output_tokens).stop_reason == "end_turn"


@check
def a_stop_sequence_ends_an_answer_before_itself(mocks):
    whole = ask(mocks).content[0].text
    word = whole.split()[2]
    message = ask(mocks, stop_sequences=["§§", word])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word), message
    assert message.content[0].text == whole[: whole.index(word)]
    found = events(mocks, question(stop_sequences=[word]))
    assert (found[-2]["delta"]["stop_reason"], found[-2]["delta"]["stop_sequence"]) == ("stop_sequence", word)
    assert text_of(found) == message.content[0].text
    assert ask(mocks, stop_sequences=["§§"]).stop_reason == "end_turn"


@check
def turns_of_one_role_in_a_row_are_no_error(mocks):
    turns = [{"role": role, "content": "Hello"} for role in ["user", "user", "assistant", "assistant", "user"]]
    assert ask(mocks, messages=turns).stop_reason == "end_turn"


@check
def a_system_message_stands_after_a_user_message_of_the_models_that_take_it(mocks):
    user, system, assistant = ({"role": role, "content": "Hello"} for role in ["user", "system", "assistant"])
    for model in ["claude-opus-4-8", "claude-opus-5", "claude-opus-5-5", "claude-fable-5", "claude-sonnet-5-5"]:
        served(mocks, question(model=model, messages=[user, system]))
        served(mocks, question(model=model, messages=[user, system, assistant, user]))
        for messages in [[system, user], [user, system, user], [user, assistant, system]]:
            refused(mocks, question(model=model, messages=messages))
        picture = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
        refused(mocks, question(model=model, messages=[user, {"role": "system", "content": [picture]}]))
    for model in ["claude-sonnet-4-6", "claude-opus-4-7", "claude-sonnet-5", "claude-haiku-4-5"]:
        text = refused(mocks, question(model=model, messages=[user, system]))
        assert text == "role 'system' is not supported on this model", text


@check
def a_prefill_is_for_models_before_4_6(mocks):
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "I"}]
    for model in ["claude-opus-4-6", "claude-sonnet-4-6", "claude-opus-5-5", "claude-sonnet-5-5"]:
        text = refused(mocks, question(model=model, messages=turns))
        assert text.startswith("This model does not support assistant message prefill"), text
    for model in ["claude-opus-4-5", "claude-sonnet-4-5", "claude-haiku-4-5"]:
        served(mocks, question(model=model, messages=turns))


@check
def an_answer_in_a_format_is_json_of_its_schema(mocks):
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["name", "size"],
        "additionalProperties": False,
    }
    body = question(output_config={"format": {"type": "json_schema", "schema": schema}})
    fits(json.loads(served(mocks, body)["content"][0]["text"]), schema)


@check
def many_at_once_are_each_answered(mocks):
    async def both():
        async with client(mocks, anthropic.AsyncAnthropic) as asynchronous:
            return await asyncio.gather(*[asynchronous.messages.create(**question(f"Number {n}")) for n in range(40)])

    messages = asyncio.run(both())
    assert len({message.id for message in messages}) == 40
    assert all(message.stop_reason == "end_turn" for message in messages)
    assert len(mocks.requests()) == 40
    assert mocks.ledger()["requests"] == 40


# Streams


@check
def a_stream_yields_text_deltas_and_a_final_message(mocks):
    with client(mocks).messages.stream(**question()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    whole = ask(mocks)
    assert final.content[0].text == text == whole.content[0].text and text
    assert final.stop_reason == "end_turn" and final.usage.to_dict() == whole.usage.to_dict()
    sent = mocks.requests()[0]["headers"]
    assert sent["x-stainless-helper-method"] == "stream" and sent["accept"] == "application/json"


@check
def the_raw_events_come_in_the_order_of_the_protocol(mocks):
    found = events(mocks, question())
    [start, stop] = [event for event in found if event["type"] in ("content_block_start", "content_block_stop")]
    assert start == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert stop == {"type": "content_block_stop", "index": 0}
    assert {delta["type"] for delta in deltas(found, 0)} == {"text_delta"}
    assert found[-1] == {"type": "message_stop"}
    seen = [event.type for event in client(mocks).messages.create(**question(), stream=True)]
    assert seen == [event["type"] for event in found if event["type"] != "ping"]


@check
def a_message_starts_empty_with_its_input_counted(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    found, whole = events(mocks, body), served(mocks, question())
    message = found[0]["message"]
    assert set(whole) == set(message)
    assert (message["content"], message["stop_reason"], message["stop_sequence"]) == ([], None, None)
    assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", message["id"])
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", MODEL)
    usage = message["usage"]
    assert usage["cache_creation_input_tokens"] > 0 and usage["cache_read_input_tokens"] == 0
    assert usage["cache_creation"]["ephemeral_5m_input_tokens"] == usage["cache_creation_input_tokens"]
    assert usage["cache_creation_input_tokens"] + usage["input_tokens"] == tokens(mocks, body)
    assert usage["output_tokens"] < found[-2]["usage"]["output_tokens"]


@check
def the_usage_of_a_message_delta_is_cumulative(mocks):
    for content in ["Hello", "Tell me much about companies " * 20]:
        found, whole = events(mocks, question(content)), ask(mocks, content)
        assert found[-2]["usage"]["output_tokens"] == whole.usage.output_tokens
        for name in ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]:
            assert found[0]["message"]["usage"][name] == getattr(whole.usage, name)
            assert found[-2]["usage"].get(name, getattr(whole.usage, name)) == getattr(whole.usage, name)
        assert set(found[-2]["delta"]) >= {"stop_reason", "stop_sequence"}


@check
def a_stream_reads_and_writes_the_same_cache(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    first, second = (events(mocks, body)[0]["message"]["usage"] for _ in range(2))
    assert first["cache_creation_input_tokens"] == second["cache_read_input_tokens"] > 1024
    assert second["cache_creation_input_tokens"] == first["cache_read_input_tokens"] == 0
    assert counters(mocks, body)[0] == first["cache_creation_input_tokens"]


@check
def pings_anywhere_are_no_content(mocks):
    ping = {"type": "ping"}
    found = [event for event in events(mocks, question()) if event["type"] != "ping"]
    mocks.script(rule({"sse": [ping, *itertools.chain(*[[event, ping, ping] for event in found])]}))
    with client(mocks).messages.stream(**question()) as stream:
        assert stream.get_final_message().content[0].text == text_of(found)


@check
def a_stream_is_chunked(mocks):
    _, headers, _ = raw(mocks, body=question(stream=True))
    assert headers["transfer-encoding"] == "chunked" and headers["content-length"] is None


THINKING = [
    ("claude-sonnet-4-6", {"type": "enabled", "budget_tokens": 1024}),
    ("claude-opus-5-5", {"type": "adaptive"}),
]


@check
def thinking_streams_its_deltas_and_then_one_signature(mocks):
    for model, thinking in THINKING:
        found = events(mocks, question(model=model, thinking=thinking, max_tokens=4000))
        starts = [event["content_block"] for event in found if event["type"] == "content_block_start"]
        assert starts == [{"type": "thinking", "thinking": "", "signature": ""}, {"type": "text", "text": ""}], starts
        *thoughts, last = deltas(found, 0)
        assert thoughts and {delta["type"] for delta in thoughts} == {"thinking_delta"}, (model, thoughts)
        assert set(last) == {"type", "signature"} and last["type"] == "signature_delta" and last["signature"], last
        assert {delta["type"] for delta in deltas(found, 1)} == {"text_delta"}


@check
def thinking_is_gathered_by_the_stream_helper(mocks):
    for model, thinking in THINKING:
        body = question(model=model, thinking=thinking, max_tokens=4000)
        with client(mocks).messages.stream(**body) as stream:
            thoughts = "".join(event.thinking for event in stream if event.type == "thinking")
            final = stream.get_final_message()
        whole = client(mocks).messages.create(**body)
        assert [part.type for part in final.content] == [part.type for part in whole.content] == ["thinking", "text"]
        assert final.content[0].thinking == thoughts == whole.content[0].thinking and thoughts
        assert final.content[0].signature and whole.content[0].signature


@check
def thoughts_come_back_in_the_next_turn(mocks):
    body = question(thinking=THINKING[0][1], max_tokens=4000)
    first = client(mocks).messages.create(**body)
    messages = [*body["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": "More"}]
    assert client(mocks).messages.create(**{**body, "messages": messages}).stop_reason == "end_turn"


@check
def thinking_has_its_rules(mocks):
    for budget in [0, 1023, 4000, 5000]:
        refused(mocks, question(thinking={"type": "enabled", "budget_tokens": budget}, max_tokens=4000))
    served(mocks, question(thinking={"type": "enabled", "budget_tokens": 3999}, max_tokens=4000))
    refused(mocks, question(model="claude-opus-5-5", thinking={"type": "enabled", "budget_tokens": 1024}, max_tokens=4000))
    served(mocks, question(model="claude-sonnet-5-5", thinking={"type": "between_tools"}))
    refused(mocks, question(thinking={"type": "between_tools"}))
    message = served(mocks, question(thinking={"type": "disabled"}))
    assert [part["type"] for part in message["content"]] == ["text"]
    for thinking in [{}, {"type": "sometimes"}, {"type": "enabled"}, {"type": "adaptive", "display": "loud"}, "enabled"]:
        refused(mocks, question(thinking=thinking))


@check
def a_streamed_call_opens_empty_and_its_fragments_are_the_input(mocks):
    body = question(tools=[TOOL], tool_choice={"type": "any"})
    found, whole = events(mocks, body), served(mocks, body)["content"][-1]
    opening = next(event for event in found if event["type"] == "content_block_start")
    assert (opening["content_block"]["type"], opening["content_block"]["name"]) == ("tool_use", "Sql_Query")
    assert opening["content_block"]["input"] == {}
    assert re.fullmatch(r"toolu_01[0-9A-Za-z]{22}", opening["content_block"]["id"])
    parts = deltas(found, opening["index"])
    assert {part["type"] for part in parts} == {"input_json_delta"}
    assert parts[0]["partial_json"] == "" and len(parts) > 2
    assert json.loads("".join(part["partial_json"] for part in parts)) == whole["input"]
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@check
def a_stream_left_early_leaves_the_mock_as_it_was(mocks):
    for _ in range(5):
        stream = client(mocks).messages.create(**question("Tell me much " * 50), stream=True)
        next(iter(stream))
        stream.close()
    with client(mocks).messages.stream(**question()) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"
    assert ask(mocks).content


# Tools


def fits(value, schema, root=None):
    """Holds a value against a JSON schema, as far as the checks' schemas go."""
    root = root or schema
    trouble = (value, schema)
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        for option in schema["anyOf"]:
            with contextlib.suppress(AssertionError):
                return fits(value, option, root)
        raise AssertionError(trouble)
    assert value in schema.get("enum", [value]) and value == schema.get("const", value), trouble
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    names = {
        dict: ["object"],
        list: ["array"],
        str: ["string"],
        bool: ["boolean"],
        int: ["integer", "number"],
        float: ["number"],
        type(None): ["null"],
    }
    assert not kinds or set(kinds) & set(names[type(value)]), trouble
    if isinstance(value, dict):
        known = schema.get("properties", {})
        assert set(schema.get("required", [])) <= set(value), trouble
        assert schema.get("additionalProperties", True) or set(value) <= set(known), trouble
        for name in set(value) & set(known):
            fits(value[name], known[name], root)
    elif isinstance(value, list):
        assert schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf), trouble
        assert not schema.get("uniqueItems") or len(value) == len({json.dumps(item) for item in value}), trouble
        for item in value:
            fits(item, schema.get("items", {}), root)
    elif isinstance(value, str):
        assert schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf), trouble
        assert re.search(schema.get("pattern", ""), value), trouble
        if schema.get("format") == "date":
            datetime.date.fromisoformat(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        assert schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf), trouble
        assert schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf), trouble
        assert value % schema.get("multipleOf", 1) == 0 or not schema.get("multipleOf"), trouble


def forced(mocks, properties, **schema):
    """The input of a forced call, which has to fit the schema of its tool."""
    schema = {"type": "object", "properties": properties, "required": list(properties), **schema}
    tool = {"name": "Look", "description": "Looks", "input_schema": schema}
    message = served(mocks, question(tools=[tool], tool_choice={"type": "tool", "name": "Look"}))
    [call] = [part for part in message["content"] if part["type"] == "tool_use"]
    assert (call["name"], message["stop_reason"]) == ("Look", "tool_use")
    fits(call["input"], schema)
    return call["input"]


@check
def a_forced_choice_calls_a_tool_and_nothing_else(mocks):
    other = {**TOOL, "name": "Other"}
    for model in ["claude-opus-5", "claude-sonnet-4-6", "claude-haiku-4-5"]:
        for choice, names in [({"type": "any"}, {"Sql_Query", "Other"}), ({"type": "tool", "name": "Other"}, {"Other"})]:
            message = ask(mocks, model=model, tools=[TOOL, other], tool_choice=choice)
            assert message.stop_reason == "tool_use", message
            calls = [part for part in message.content if part.type == "tool_use"]
            assert calls and {call.name for call in calls} <= names, calls
            for call in calls:
                assert isinstance(call.input, dict)
                fits(call.input, TOOL["input_schema"])


@check
def forced_input_keeps_bounds_of_numbers(mocks):
    forced(mocks, {"a": {"type": "integer", "minimum": 7}, "b": {"type": "integer", "minimum": -5, "maximum": -3}})
    forced(mocks, {"a": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}, "b": {"type": "number"}})
    forced(mocks, {"a": {"type": "integer", "minimum": 10, "multipleOf": 7}, "b": {"type": "integer", "maximum": 0}})


@check
def forced_input_keeps_lengths_and_enumerations(mocks):
    forced(mocks, {"a": {"type": "string", "minLength": 9}, "b": {"type": "string", "maxLength": 2}})
    forced(mocks, {"a": {"type": "string", "enum": ["x"]}, "b": {"const": 4}, "c": {"type": "boolean"}})
    forced(mocks, {"a": {"type": ["string", "null"]}, "b": {"type": "null"}, "c": {"enum": [None, 3]}})


@check
def forced_input_fills_nested_objects_and_arrays(mocks):
    inner = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"], "additionalProperties": False}
    forced(mocks, {"a": inner, "b": {"type": "object", "properties": {"c": inner}, "required": ["c"]}})
    forced(mocks, {"a": {"type": "array", "items": inner, "minItems": 3, "maxItems": 3}})
    forced(mocks, {"a": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True}})


@check
def forced_input_follows_references_and_alternatives(mocks):
    forced(mocks, {"a": {"$ref": "#/$defs/Day"}}, **{"$defs": {"Day": {"type": "string", "enum": ["Mon", "Tue"]}}})
    forced(mocks, {"a": {"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}}, additionalProperties=False)


@check
def forced_input_matches_plain_patterns_and_formats(mocks):
    forced(mocks, {"a": {"type": "string", "format": "date"}})
    forced(mocks, {"a": {"type": "string", "pattern": "^[A-Z]{3}$"}})
    forced(mocks, {"a": {"type": "string", "pattern": "^[a-z]+-[0-9]{2,4}$"}})


@check
def forced_input_may_leave_out_only_what_is_not_required(mocks):
    given = forced(mocks, {"a": {"type": "string"}, "b": {"type": "string"}}, required=["a"])
    assert "a" in given
    schema = {"type": "object", "properties": {}}
    message = ask(mocks, tools=[{"name": "Bare", "input_schema": schema}], tool_choice={"type": "any"})
    assert message.content[-1].input == {}


@check
def after_a_tool_result_there_is_text(mocks):
    for model in ["claude-opus-5", "claude-sonnet-4-6"]:
        first = ask(mocks, model=model, tools=[TOOL], tool_choice={"type": "any"})
        results = [
            {"type": "tool_result", "tool_use_id": part.id, "content": "7"} for part in first.content if part.type == "tool_use"
        ]
        turns = [*question()["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
        answer = ask(mocks, model=model, tools=[TOOL], messages=turns)
        assert answer.stop_reason == "end_turn" and [part.type for part in answer.content] == ["text"]
        assert answer.content[0].text


@check
def a_tool_loop_may_be_streamed(mocks):
    body = question(tools=[TOOL], tool_choice={"type": "tool", "name": "Sql_Query"})
    with client(mocks).messages.stream(**body) as stream:
        fragments = "".join(event.partial_json for event in stream if event.type == "input_json")
        first = stream.get_final_message()
    [call] = [part for part in first.content if part.type == "tool_use"]
    assert first.stop_reason == "tool_use" and json.loads(fragments) == call.input
    fits(call.input, TOOL["input_schema"])
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "7"}], "is_error": False}
    turns = [*body["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    with client(mocks).messages.stream(**question(tools=[TOOL], messages=turns)) as stream:
        assert "".join(stream.text_stream) and stream.get_final_message().stop_reason == "end_turn"


def run_tools(mocks, **named):
    """Lets the client's tool runner go two rounds with a forced call; returns its inputs."""
    inputs = []

    @beta_tool
    def weather(city: str, days: int) -> str:
        """Weather of a city"""
        inputs.append((city, days))
        return "sunny"

    runner = client(mocks).beta.messages.tool_runner(
        **question(), tools=[weather], tool_choice={"type": "tool", "name": "weather"}, max_iterations=2, **named
    )
    assert next(iter(runner)).stop_reason == "tool_use"
    runner.until_done()
    return inputs


@check
def the_tool_runner_goes_round(mocks):
    inputs = run_tools(mocks, **({"thread": False} if NEW else {}))
    assert inputs and all(isinstance(city, str) and isinstance(days, int) for city, days in inputs)
    assert "sunny" in json.dumps(mocks.requests()[1]["body"]["messages"][-1])


@check
def the_tool_runner_goes_round_as_it_comes(mocks):
    assert run_tools(mocks)
    assert [request["status"] for request in mocks.requests()][-1] == 200


@check
def new_models_refuse_to_be_forced(mocks):
    for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-2", "claude-fable-5-1", "claude-mythos-5-1"]:
        for choice in [{"type": "any"}, {"type": "tool", "name": "Sql_Query"}]:
            error = raises(anthropic.BadRequestError, ask, mocks, model=model, tools=[TOOL], tool_choice=choice)
            text = error.body["error"]["message"]
            assert text == 'tool_choice: type "tool" and "any" are not supported for this model.', text
        assert ask(mocks, model=model, tools=[TOOL], tool_choice={"type": "auto"}).content
        assert ask(mocks, model=model, tools=[TOOL], tool_choice={"type": "none"}).stop_reason == "end_turn"


@check
def a_tool_choice_has_its_rules(mocks):
    for choice in [{"type": "auto"}, {"type": "any"}, {"type": "tool", "name": "Sql_Query"}]:
        refused(mocks, question(tool_choice=choice))
    for choice in [{}, {"type": "all"}, {"type": "tool"}, {"type": "any", "name": "Sql_Query"}, "any", {"type": "tool", "name": 5}]:
        refused(mocks, question(tools=[TOOL], tool_choice=choice))
    refused(mocks, question(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": "yes"}))
    served(mocks, question(tools=[TOOL], tool_choice={"type": "any", "disable_parallel_tool_use": True}))
    refused(mocks, question(tools=[TOOL], tool_choice={"type": "tool", "name": "Unknown"}))


@check
def names_of_tools_have_their_rules(mocks):
    pattern = "tools.1.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
    for name in ["Sql.Query", "a b", "ä", ""]:
        text = refused(mocks, question(tools=[TOOL, {**TOOL, "name": name}]))
        assert text == pattern or name == "", text
    text = refused(mocks, question(tools=[{**TOOL, "name": "a" * 129}]))
    assert text == "tools.0.custom.name: String should have at most 128 characters", text
    assert refused(mocks, question(tools=[TOOL, TOOL])) == "tools: Tool names must be unique."
    for name in ["a" * 128, "A-z_0", "x"]:
        served(mocks, question(tools=[{**TOOL, "name": name}]))


@check
def a_schema_of_input_is_an_object_of_json_schema(mocks):
    for schema in [{"type": "string"}, {}, [], "object", None, {"type": "object", "properties": {"a": {"type": "no"}}}]:
        text = refused(mocks, question(tools=[TOOL, {"name": "Look", "input_schema": schema}]))
        assert text.startswith("tools.1.custom.input_schema"), text
    refused(mocks, question(tools=[{"name": "Look"}]))
    served(mocks, question(tools=[{"name": "Look", "type": "custom", "input_schema": {"type": "object"}}]))


@check
def calls_and_results_come_in_pairs(mocks):
    call = {"type": "tool_use", "id": "toolu_01A", "name": "Sql_Query", "input": {}}
    other = {**call, "id": "toolu_01B"}
    results = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in ["toolu_01A", "toolu_01B"]]
    user = {"role": "user", "content": "q"}

    def turns(calls, answer):
        return question(tools=[TOOL], messages=[user, {"role": "assistant", "content": calls}, {"role": "user", "content": answer}])

    for calls, answer, missing in [([call], "q", "toolu_01A"), ([call, other], results[:1], "toolu_01B")]:
        text = refused(mocks, turns(calls, answer))
        begin = f"messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}"
        assert text.startswith(begin), text
        end = "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
        assert text.endswith(end), text
    for body in [turns([call], results), question(results[:1]), turns("text", results[:1])]:
        assert "unexpected `tool_use_id` found in `tool_result` blocks" in refused(mocks, body)
    refused(mocks, turns([call], [block("first"), results[0]]))
    served(mocks, turns([call, other], [*results, block("after")]))


# Prompt caching


@check
def the_second_request_reads_what_the_first_has_written(mocks):
    first, second = (counters(mocks, question(f"Question {n}", system=[block(control=EPHEMERAL)])) for n in range(2))
    assert first[0] == first[2] == 0 and first[1] > 1024, first
    assert second == (first[1], 0, 0, first[3]), (first, second)


@check
def without_a_breakpoint_nothing_is_cached(mocks):
    body = question(system=[block()], tools=[TOOL])
    counted = tokens(mocks, body)
    for _ in range(2):
        assert counters(mocks, body) == (0, 0, 0, counted)


@check
def a_prefix_below_the_minimum_is_silently_not_cached(mocks):
    for model, row in TABLE.items():
        minimum = row[-1]
        enough = sized(mocks, model, minimum)
        for text, written in [(enough[: -len(enough) // 50], 0), (sized(mocks, model, minimum - 1), 0), (enough, minimum)]:
            got = counters(mocks, question([block(text, EPHEMERAL)], model=model))
            assert got[:3] == (0, written, 0), (model, minimum, got)
            assert written or got == counters(mocks, question([block(text, EPHEMERAL)], model=model)), model


@check
def what_is_below_the_minimum_alone_counts_in_a_longer_prefix(mocks):
    body = question([block(control=EPHEMERAL)], system=[block("Be short.", EPHEMERAL)])
    total = tokens(mocks, body)
    assert counters(mocks, body) == (0, total, 0, 0)
    assert counters(mocks, body) == (total, 0, 0, 0)


@check
def five_minutes_and_an_hour_have_their_own_buckets(mocks):
    for control, index in [(EPHEMERAL, 1), ({"type": "ephemeral", "ttl": "5m"}, 1), (HOUR, 2)]:
        mocks.control("/_mock/reset", {})
        first, second = (counters(mocks, question(system=[block(control=control)])) for _ in range(2))
        assert first[index] > 1024 and first[3 - index] == 0, (control, first)
        assert second[:3] == (first[index], 0, 0), (control, second)


@check
def mixed_lifetimes_are_billed_from_the_highest_hit(mocks):
    system = [block("S " + LONG, HOUR)]
    one, two, three = (block(f"{n} {LONG}") for n in range(3))

    def at(part, control):
        return {**part, "cache_control": control}

    sizes = [tokens(mocks, question(parts, system=system)) for parts in ([one], [one, two], [one, two, three])]
    first = counters(mocks, question([at(one, EPHEMERAL)], system=system))
    alone = first[2]
    assert first == (0, sizes[0] - alone, alone, 0) and alone > 1024, first
    second = counters(mocks, question([one, at(two, HOUR), at(three, EPHEMERAL), block("end")], system=system))
    assert second[:3] == (sizes[0], sizes[2] - sizes[1], sizes[1] - sizes[0]), (second, sizes)


@check
def an_hour_comes_before_five_minutes(mocks):
    refused(mocks, question([block("x", EPHEMERAL), block("y", HOUR)]))
    refused(mocks, question([block("y", HOUR)], system=[block("x", EPHEMERAL)]))
    refused(mocks, question(system=[block("y", HOUR)], tools=[{**TOOL, "cache_control": EPHEMERAL}]))
    served(mocks, question([block("x", HOUR), block("y", EPHEMERAL)], tools=[{**TOOL, "cache_control": HOUR}]))


@check
def four_breakpoints_are_the_most(mocks):
    part = block("x", EPHEMERAL)
    text = "A maximum of 4 blocks with cache_control may be provided. Found 5."
    assert refused(mocks, question([part] * 5)) == text
    assert refused(mocks, question([part] * 2, system=[part] * 2, tools=[{**TOOL, "cache_control": EPHEMERAL}])) == text
    assert "Found 7." in refused(mocks, question([part] * 7))
    served(mocks, question([part] * 4))


@check
def top_level_control_is_a_breakpoint_on_the_last_block(mocks):
    turns = [{"role": "user", "content": LONG}, {"role": "assistant", "content": "Yes"}, {"role": "user", "content": "More"}]
    first = counters(mocks, question(messages=turns[:1], cache_control=EPHEMERAL))
    assert first == (0, first[1], 0, 0) and first[1] > 1024, first
    second = counters(mocks, question(messages=turns, cache_control=EPHEMERAL))
    assert second == (first[1], tokens(mocks, question(messages=turns)) - first[1], 0, 0), (first, second)
    hour = counters(mocks, question("1h " + LONG, cache_control=HOUR))
    assert hour == (0, 0, hour[2], 0) and hour[2] > 1024


@check
def top_level_control_takes_one_of_the_four_places(mocks):
    part, plain = block("x", EPHEMERAL), block("y")
    refused(mocks, question([part] * 4 + [plain], cache_control=EPHEMERAL))
    served(mocks, question([part] * 3 + [plain], cache_control=EPHEMERAL))
    refused(mocks, question([part], cache_control=HOUR))
    refused(mocks, question([block("x", HOUR)], cache_control=EPHEMERAL))
    body = question([block(control=EPHEMERAL)])
    assert counters(mocks, {**body, "cache_control": EPHEMERAL}) == (0, tokens(mocks, body), 0, 0)
    assert counters(mocks, body)[0] == tokens(mocks, body)


@check
def an_entry_is_found_at_the_twentieth_position_and_not_at_the_next(mocks):
    for more, found in [(1, True), (18, True), (19, True), (20, False), (25, False)]:
        start = block(f"{more} {LONG}")
        written = counters(mocks, question([{**start, "cache_control": EPHEMERAL}]))[1]
        rest = [block(str(n)) for n in range(more - 1)] + [block("end", EPHEMERAL)]
        body = question([start, *rest])
        total = tokens(mocks, body)
        expected = (written, total - written, 0, 0) if found else (0, total, 0, 0)
        assert counters(mocks, body) == expected, (more, expected)


@check
def positions_are_counted_across_turns(mocks):
    for pairs, found in [(9, True), (10, False)]:
        turns = [{"role": "user", "content": [block(f"{pairs} {LONG}", EPHEMERAL)]}]
        written = counters(mocks, question(messages=turns))[1]
        turns = [{"role": "user", "content": [block(f"{pairs} {LONG}")]}]
        for n in range(pairs):
            turns += [{"role": "assistant", "content": f"a{n}"}, {"role": "user", "content": f"u{n}"}]
        turns[-1] = {"role": "user", "content": [block("end", EPHEMERAL)]}
        assert counters(mocks, question(messages=turns))[0] == (written if found else 0), pairs


@check
def the_next_breakpoint_is_looked_from_when_the_last_finds_nothing(mocks):
    start = block(control=EPHEMERAL)
    written = counters(mocks, question([start]))[1]
    body = question([start, *[block(str(n)) for n in range(30)], block("end", EPHEMERAL)])
    assert counters(mocks, body) == (written, tokens(mocks, body) - written, 0, 0)


@check
def a_run_of_calls_or_of_results_is_one_position(mocks):
    for texts, found in [(17, True), (18, False)]:
        start = block(f"{texts} {LONG}")
        written = counters(mocks, question([{**start, "cache_control": EPHEMERAL}], tools=[TOOL]))[1]
        calls = [{"type": "tool_use", "id": f"toolu_{n}", "name": "Sql_Query", "input": {}} for n in range(15)]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": "7"} for call in calls]
        texts = [block(str(n)) for n in range(texts - 1)] + [block("end", EPHEMERAL)]
        turns = [
            {"role": "user", "content": [start]},
            {"role": "assistant", "content": calls},
            {"role": "user", "content": [*results, *texts]},
        ]
        assert counters(mocks, question(messages=turns, tools=[TOOL]))[0] == (written if found else 0), len(texts)


@check
def only_breakpoints_write_entries(mocks):
    parts = [block(f"{n} {LONG}") for n in range(3)]
    for upto in [1, 2]:
        mocks.control("/_mock/reset", {})
        counters(mocks, question([*parts[:2], {**parts[2], "cache_control": EPHEMERAL}]))
        body = question([*parts[: upto - 1], {**parts[upto - 1], "cache_control": EPHEMERAL}])
        assert counters(mocks, body) == (0, tokens(mocks, body), 0, 0), upto


@check
def every_breakpoint_writes_an_entry(mocks):
    parts = [block(f"{n} {LONG}", EPHEMERAL) for n in range(4)]
    counters(mocks, question(parts))
    for upto in [1, 2, 3, 4]:
        body = question([*parts[:upto], block("Another")])
        read, five, _, _ = counters(mocks, body)
        assert (read, five) == (tokens(mocks, question(parts[:upto])), 0), upto


@check
def a_read_leaves_the_entry_where_it_is(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    written = counters(mocks, body)[1]
    assert [counters(mocks, body)[:2] for _ in range(5)] == [(written, 0)] * 5


def three_levels(**change):
    """A breakpoint after tools, after system and after messages."""
    body = question([block("M " + LONG, EPHEMERAL)], system=[block("S " + LONG, EPHEMERAL)])
    body["tools"] = [{**TOOL, "description": "T " + LONG, "cache_control": EPHEMERAL}]
    return {**body, **change}


@check
def changed_tools_invalidate_everything(mocks):
    counters(mocks, three_levels())
    changed = three_levels(tools=[{**TOOL, "description": "Another " + LONG, "cache_control": EPHEMERAL}])
    assert counters(mocks, changed) == (0, tokens(mocks, changed), 0, 0)
    assert counters(mocks, three_levels())[0] == tokens(mocks, three_levels())


@check
def a_changed_system_keeps_the_tools(mocks):
    counters(mocks, three_levels())
    changed = three_levels(system=[block("Another " + LONG, EPHEMERAL)])
    read, five, _, rest = counters(mocks, changed)
    bare = question("x", tools=three_levels()["tools"])
    assert read == counters(mocks, bare)[0] > 1024 and rest == 0 and five == tokens(mocks, changed) - read


@check
def changed_messages_keep_tools_and_system(mocks):
    counters(mocks, three_levels())
    kept = counters(mocks, three_levels(messages=[{"role": "user", "content": "x"}]))[0]
    read, five, _, rest = counters(mocks, three_levels(messages=[{"role": "user", "content": [block("N " + LONG, EPHEMERAL)]}]))
    assert read == kept > 2048 and five > 1024 and rest == 0


@check
def a_changed_tool_choice_invalidates_only_messages(mocks):
    counters(mocks, three_levels(tool_choice={"type": "auto"}))
    kept = counters(mocks, three_levels(messages=[{"role": "user", "content": "x"}]))[0]
    for choice in [{"type": "none"}, {"type": "any"}, {"type": "tool", "name": "Sql_Query"}]:
        changed = three_levels(tool_choice=choice)
        read, five, _, _ = counters(mocks, changed)
        assert (read, five) == (kept, tokens(mocks, changed) - kept), choice
        assert counters(mocks, changed)[1] == 0, choice


@check
def changed_thinking_invalidates_messages(mocks):
    plain = three_levels(max_tokens=4000)
    counters(mocks, plain)
    changed = {**plain, "thinking": {"type": "enabled", "budget_tokens": 1024}}
    assert counters(mocks, changed)[1] > 1024
    assert counters(mocks, changed)[1] == 0


@check
def models_and_keys_have_caches_of_their_own(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    counters(mocks, body)
    assert counters(mocks, {**body, "model": "claude-sonnet-5"})[0] == 0
    assert counters(mocks, body, BRAVO)[0] == 0
    assert counters(mocks, body)[0] == counters(mocks, body, BRAVO)[0] > 1024


@check
def the_order_of_json_keys_matters(mocks):
    system = block(control=EPHEMERAL)
    tool = {**TOOL, "description": LONG, "cache_control": EPHEMERAL}
    for body, changed in [
        (question(system=[system]), question(system=[dict(reversed(system.items()))])),
        (question(tools=[tool]), question(tools=[dict(reversed(tool.items()))])),
        (question(tools=[tool]), question(tools=[{**tool, "input_schema": dict(reversed(TOOL["input_schema"].items()))}])),
    ]:
        mocks.control("/_mock/reset", {})
        counters(mocks, body)
        assert counters(mocks, changed)[0] == 0
        assert counters(mocks, body)[0] > 1024


@check
def a_changed_byte_misses(mocks):
    counters(mocks, question(system=[block(LONG, EPHEMERAL)]))
    for text in [LONG + " ", " " + LONG, LONG.replace("companies", "Companies", 1)]:
        assert counters(mocks, question(system=[block(text, EPHEMERAL)]))[0] == 0


@check(script={"claude": {"latency": {"first_byte": {"constant": "400ms"}}}})
def an_entry_is_readable_once_its_response_has_begun(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(served, mocks, body)
        time.sleep(0.1)
        second = pool.submit(served, mocks, body)
        for usage in (first.result()["usage"], second.result()["usage"]):
            assert usage["cache_read_input_tokens"] == 0 and usage["cache_creation_input_tokens"] > 1024, usage
    another = question("Tell me much " * 50, system=[block("Another " + LONG, EPHEMERAL)])
    with client(mocks).messages.create(**another, stream=True) as stream:
        next(iter(stream))
        assert served(mocks, another)["usage"]["cache_read_input_tokens"] > 1024


@check
def a_breakpoint_may_stand_on_every_kind_of_block(mocks):
    call = {"type": "tool_use", "id": "toolu_01", "name": "Sql_Query", "input": {"q": LONG}}
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": "7"}
    for part in ["call", "result"]:
        mocks.control("/_mock/reset", {})
        parts = {"call": call, "result": result}
        parts[part] = {**parts[part], "cache_control": EPHEMERAL}
        turns = [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": [parts["call"]]},
            {"role": "user", "content": [parts["result"]]},
        ]
        body = question(tools=[TOOL], messages=turns)
        first, second = counters(mocks, body), counters(mocks, body)
        assert first[1] > 1024 and second[:2] == (first[1], 0), part


@check
def a_breakpoint_has_its_rules(mocks):
    thought = {"type": "thinking", "thinking": "Hm", "signature": "x", "cache_control": EPHEMERAL}
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": [thought, block("a")]}, {"role": "user", "content": "q"}]
    refused(mocks, question(messages=turns))
    refused(mocks, question([block("", EPHEMERAL)]))
    for control in [{}, {"type": "persistent"}, {"type": "ephemeral", "ttl": "2h"}, {"type": "ephemeral", "ttl": 5}, "ephemeral"]:
        refused(mocks, question([{**block("x"), "cache_control": control}]))
        refused(mocks, question(cache_control=control))


@check
def a_prewarm_writes_and_says_nothing(mocks):
    system = [block(control=EPHEMERAL)]
    message = ask(mocks, system=system, max_tokens=0)
    assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "max_tokens", 0)
    written = message.usage.cache_creation_input_tokens
    assert written > 1024 and message.usage.cache_creation.ephemeral_5m_input_tokens == written
    assert counters(mocks, question(system=system))[:2] == (written, 0)


@check
def a_prewarm_has_its_rules(mocks):
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    for more in [
        {"stream": True},
        {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        {"tools": [TOOL], "tool_choice": {"type": "any"}},
        {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "Sql_Query"}},
    ]:
        refused(mocks, question(max_tokens=0, **more))
    served(mocks, question(max_tokens=0, tools=[TOOL], tool_choice={"type": "auto"}))
    status, _, text = raw(mocks, "/v1/messages/batches", {"requests": [{"custom_id": "a", "params": question(max_tokens=0)}]})
    if status == 200:
        batch = ended(client(mocks).messages.batches, json.loads(text)["id"])
        assert batch.request_counts.errored == 1, batch
    else:
        assert status == 400, text


@check
def tokens_are_counted_as_they_are_used(mocks):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}}
    for more in [
        {},
        {"system": "Be short."},
        {"system": [block("Be short."), block("And kind.")]},
        {"tools": [TOOL]},
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"messages": [{"role": "user", "content": [block("Ünïcödé ✓"), picture]}]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]},
    ]:
        body = question(**more)
        used = ask(mocks, **more).usage.input_tokens
        asked = {name: value for name, value in body.items() if name != "max_tokens"}
        counted = client(mocks).messages.count_tokens(**asked)
        assert counted.input_tokens == used > 0, more
        assert counted.to_dict() == {"input_tokens": used}, counted


@check
def what_is_estimated_is_estimated_alike_everywhere(mocks):
    body = question(system="Be short.", tools=[TOOL])
    parts = [TOOL, block("Be short."), block("Hello")]
    assert tokens(mocks, body) == sum(math.ceil(len(compact(part)) / 4) for part in parts)
    message = ask(mocks)
    assert message.usage.output_tokens == math.ceil(len(message.content[0].text.encode()) / 4)


@check
def counting_leaves_the_cache_and_the_ledger_alone(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    for _ in range(3):
        tokens(mocks, body)
    assert mocks.ledger()["lines"] == []
    assert counters(mocks, body)[0] == 0


@check
def a_miss_is_explained_to_who_asks(mocks):
    body = question(system=[block(control=EPHEMERAL)], tools=[TOOL])
    first = served(mocks, {**body, "diagnostics": {"previous_message_id": None}})
    for change, kind in [
        ({"model": "claude-sonnet-5"}, "model_changed"),
        ({"tools": [{**TOOL, "description": "Another"}]}, "tools_changed"),
        ({"system": [block("Another " + LONG, EPHEMERAL)]}, "system_changed"),
        ({"messages": [{"role": "user", "content": "Another"}]}, "messages_changed"),
    ]:
        message = served(mocks, {**body, **change, "diagnostics": {"previous_message_id": first["id"]}})
        reason = message["diagnostics"]["cache_miss_reason"]
        assert reason["type"] == kind and reason["cache_missed_input_tokens"] > 0, reason
    message = served(mocks, {**body, "diagnostics": {"previous_message_id": "msg_01" + "x" * 22}})
    assert message["diagnostics"]["cache_miss_reason"] == {"type": "previous_message_not_found"}
    assert served(mocks, body).get("diagnostics") is None


# Models


@check
def the_pages_of_models_show_every_model_of_the_table(mocks):
    models = client(mocks).models
    everything = list(models.list(limit=3))
    ids = [model.id for model in everything]
    assert set(ids) >= set(TABLE) and len(ids) == len(set(ids)), ids
    released = [model.created_at for model in everything]
    assert released == sorted(released, reverse=True)
    assert [model.id for model in models.list(limit=1000).data] == ids
    assert [model.id for model in models.list(limit=1)] == ids
    assert len(models.list().data) == min(20, len(ids))


@check
def a_page_of_models_says_where_it_is(mocks):
    ids = [model.id for model in client(mocks).models.list(limit=1000).data]
    for query, expected, more in [
        ("limit=1000", ids, False),
        ("limit=3", ids[:3], True),
        (f"limit={len(ids)}", ids, False),
        (f"limit=2&after_id={ids[2]}", ids[3:5], True),
        (f"limit=1000&after_id={ids[-3]}", ids[-2:], False),
        (f"limit=2&after_id={ids[-1]}", [], False),
        (f"limit=1000&before_id={ids[2]}", ids[:2], False),
        (f"limit=2&before_id={ids[5]}", ids[3:5], True),
    ]:
        page = served(mocks, path="/v1/models?" + query)
        assert set(page) == {"data", "has_more", "first_id", "last_id"}, page
        assert [model["id"] for model in page["data"]] == expected, query
        ends = (expected[0], expected[-1]) if expected else (None, None)
        assert (page["has_more"], page["first_id"], page["last_id"]) == (more, *ends), query


@check
def models_may_be_walked_backwards(mocks):
    ids = [model.id for model in client(mocks).models.list(limit=1000).data]
    walked = [model.id for model in client(mocks).models.list(limit=2, before_id=ids[5])]
    assert sorted(walked) == sorted(ids[:5])


@check
def a_limit_of_a_page_has_its_bounds(mocks):
    for limit in ["0", "1001", "-1", "many"]:
        refused(mocks, None, path=f"/v1/models?limit={limit}")
        refused(mocks, None, path=f"/v1/messages/batches?limit={limit}")


@check
def a_model_has_every_field_of_the_api(mocks):
    for id, limits in [("claude-opus-5-5", (1_000_000, 128_000)), ("claude-haiku-4-5", (200_000, 64_000))]:
        model = served(mocks, path="/v1/models/" + id)
        assert (model["type"], model["id"], model["lifecycle"]) == ("model", id, "active")
        assert model["line"] == id.split("-")[1] and model["display_name"]
        assert moment(model["created_at"]) < datetime.datetime.now(datetime.timezone.utc)
        assert model["deprecated_at"] is None and model["retires_at"] is None
        assert (model["max_input_tokens"], model["max_tokens"]) == limits
        capabilities = model["capabilities"]
        for name in ["batch", "citations", "code_execution", "image_input", "pdf_input", "structured_outputs"]:
            assert isinstance(capabilities[name]["supported"], bool), name
        for name in ["effort", "thinking", "context_management", "server_tools"]:
            assert isinstance(capabilities[name]["supported"], bool), name
        assert capabilities["batch"]["supported"] is True
        assert {"low", "medium", "high", "max"} <= set(capabilities["effort"])
        types = capabilities["thinking"]["types"]
        assert types["enabled"]["supported"] is (id == "claude-haiku-4-5"), types
        assert "adaptive" in types
    parsed = client(mocks).models.retrieve("claude-fable-5-2")
    assert parsed.created_at.date() == datetime.date(2026, 11, 9) and parsed.type == "model"


@check
def a_model_that_retires_says_when(mocks):
    model = served(mocks, path="/v1/models/claude-sonnet-4-5")
    assert model["retires_at"].startswith("2026-11-30") and model["lifecycle"] == "deprecated", model
    assert moment(model["deprecated_at"]) < moment(model["retires_at"])
    page = served(mocks, path="/v1/models?limit=1000&lifecycle[]=active")["data"]
    assert {model["lifecycle"] for model in page} == {"active"} and "claude-opus-5-5" in {model["id"] for model in page}
    both = served(mocks, path="/v1/models?limit=1000&lifecycle[]=active&lifecycle[]=deprecated")["data"]
    assert "claude-sonnet-4-5" in {model["id"] for model in both}


@check
def an_alias_is_its_model(mocks):
    for name in ["claude-haiku-4-5", "claude-haiku-4-5-20251001"]:
        assert client(mocks).models.retrieve(name).display_name == "Claude Haiku 4.5"
        assert ask(mocks, model=name).model in ("claude-haiku-4-5", "claude-haiku-4-5-20251001")
    [line] = mocks.ledger()["lines"]
    assert (line["model"], line["requests"]) == ("claude-haiku-4-5", 2)


@check
def an_unknown_model_is_404_everywhere(mocks):
    for model in ["claude-none", "gpt-7", "claude-3-opus-20240229", "claude-opus-5 "]:
        for body, path in [
            (question(model=model), "/v1/messages"),
            (question(model=model, stream=True), "/v1/messages"),
            ({"model": model, "messages": question()["messages"]}, "/v1/messages/count_tokens"),
        ]:
            text = refused(mocks, body, 404, "not_found_error", path=path)
            assert text == f"model: {model}", text
    error = raises(anthropic.NotFoundError, client(mocks).models.retrieve, "claude-none")
    assert error.body["error"]["message"] == "model: claude-none"
    raises(anthropic.NotFoundError, ask, mocks, model="claude-none")


@check
def every_model_of_the_table_answers(mocks):
    for model in TABLE:
        message = served(mocks, question(model=model))
        assert (message["model"], message["stop_reason"]) == (model, "end_turn")


# Batches


def ended(batches, id):
    until = time.monotonic() + 10
    while (batch := batches.retrieve(id)).processing_status != "ended":
        assert time.monotonic() < until, batch
        time.sleep(0.05)
    return batch


def jobs(*names, **params):
    return [{"custom_id": name, "params": question(name, **params)} for name in names]


@check
def a_new_batch_is_in_progress(mocks):
    batch = served(mocks, {"requests": jobs("a", "b")}, "/v1/messages/batches")
    assert re.fullmatch(r"msgbatch_01[0-9A-Za-z]{20,}", batch["id"]), batch["id"]
    assert (batch["type"], batch["processing_status"]) == ("message_batch", "in_progress")
    assert batch["request_counts"] == {"processing": 2, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    for name in ["archived_at", "cancel_initiated_at", "ended_at", "results_url"]:
        assert batch[name] is None, name
    life = moment(batch["expires_at"]) - moment(batch["created_at"])
    assert life == datetime.timedelta(hours=24), life
    assert abs(moment(batch["created_at"]).timestamp() - time.time()) < 5


@check
def a_batch_ends_by_itself_with_a_result_for_each_request(mocks):
    batches = client(mocks).messages.batches
    batch = ended(batches, batches.create(requests=jobs("one", "two", "three")).id)
    assert batch.request_counts.to_dict() == {"processing": 0, "succeeded": 3, "errored": 0, "canceled": 0, "expired": 0}
    assert batch.ended_at >= batch.created_at and batch.results_url
    results = {line.custom_id: line.result for line in batches.results(batch.id)}
    assert set(results) == {"one", "two", "three"}
    for name, result in results.items():
        assert result.type == "succeeded"
        alone = ask(mocks, name)
        assert result.message.content[0].text == alone.content[0].text
        usage = {**alone.usage.to_dict(), "service_tier": "batch"}
        assert result.message.usage.to_dict() == usage, result.message.usage


@check
def results_are_lines_of_json(mocks):
    batches = client(mocks).messages.batches
    batch = ended(batches, batches.create(requests=[*jobs("good"), *jobs("bad", model="claude-none")]).id)
    path = urllib.parse.urlsplit(batch.results_url).path
    status, headers, text = raw(mocks, path)
    assert status == 200 and headers["request-id"], status
    lines = [json.loads(line) for line in text.splitlines() if line]
    assert len(lines) == 2 and all(set(line) == {"custom_id", "result"} for line in lines)
    good, bad = sorted(lines, key=lambda line: line["custom_id"], reverse=True)
    assert set(good["result"]) == {"type", "message"} and good["result"]["message"]["type"] == "message"
    assert set(bad["result"]) == {"type", "error"} and bad["result"]["type"] == "errored"
    assert bad["result"]["error"]["type"] == "error" and bad["result"]["error"]["request_id"].startswith("req_011")


@check
def an_errored_request_spares_its_batch(mocks):
    batches = client(mocks).messages.batches
    wrong = [*jobs("model", model="claude-none"), *jobs("tokens", max_tokens=-1), *jobs("turns", messages=[])]
    wrong += jobs("stream", stream=True)
    batch = ended(batches, batches.create(requests=[*jobs("good"), *wrong]).id)
    counts = batch.request_counts
    assert (counts.succeeded, counts.errored, counts.processing) == (1, 4, 0), counts
    results = {line.custom_id: line.result for line in batches.results(batch.id)}
    assert results["good"].type == "succeeded"
    assert results["model"].error.error.type == "not_found_error"
    assert results["model"].error.error.message == "model: claude-none"
    for name in ["tokens", "turns", "stream"]:
        assert results[name].type == "errored" and results[name].error.error.type == "invalid_request_error"
    [line] = mocks.ledger()["lines"]
    assert (line["kind"], line["requests"]) == ("batch", 1)


@check
def batches_are_listed_newest_first_in_pages(mocks):
    batches = client(mocks).messages.batches
    assert batches.list().data == []
    ids = [batches.create(requests=jobs("a")).id for _ in range(3)][::-1]
    page = served(mocks, path="/v1/messages/batches?limit=2")
    assert (page["has_more"], page["first_id"], page["last_id"]) == (True, ids[0], ids[1])
    assert [batch.id for batch in batches.list(limit=2)] == ids
    assert [batch.id for batch in batches.list(after_id=ids[0]).data] == ids[1:]
    assert [batch.id for batch in batches.list(before_id=ids[2]).data] == ids[:2]


@check
def results_wait_for_the_end(mocks):
    batches = client(mocks).messages.batches
    batch = batches.create(requests=jobs("a"))
    raises(anthropic.AnthropicError, batches.results, batch.id)
    refused(mocks, None, path=f"/v1/messages/batches/{batch.id}/results")
    ended(batches, batch.id)
    assert [line.custom_id for line in batches.results(batch.id)] == ["a"]


@check
def a_cancelled_batch_ends_with_nothing_done(mocks):
    batches = client(mocks).messages.batches
    batch = batches.create(requests=jobs("a", "b"))
    cancelled = batches.cancel(batch.id)
    assert (cancelled.id, cancelled.processing_status) == (batch.id, "canceling")
    assert cancelled.cancel_initiated_at >= batch.created_at and cancelled.ended_at is None
    batch = ended(batches, batch.id)
    assert batch.request_counts.to_dict() == {"processing": 0, "succeeded": 0, "errored": 0, "canceled": 2, "expired": 0}
    assert [line.result.type for line in batches.results(batch.id)] == ["canceled"] * 2
    assert mocks.ledger()["lines"] == []


@check
def a_deleted_batch_is_gone(mocks):
    batches = client(mocks).messages.batches
    batch = batches.create(requests=jobs("a"))
    raises(anthropic.BadRequestError, batches.delete, batch.id)
    ended(batches, batch.id)
    assert batches.delete(batch.id).to_dict() == {"id": batch.id, "type": "message_batch_deleted"}
    raises(anthropic.NotFoundError, batches.retrieve, batch.id)
    assert batches.list().data == []


@check
def an_unknown_batch_is_404(mocks):
    for path, method in [("", "GET"), ("/results", "GET"), ("/cancel", "POST"), ("", "DELETE")]:
        refused(mocks, None, 404, "not_found_error", path="/v1/messages/batches/msgbatch_01none" + path, method=method)
    raises(anthropic.NotFoundError, client(mocks).messages.batches.cancel, "msgbatch_01none")


@check
def a_batch_has_its_rules(mocks):
    for requests in [
        [],
        {},
        "a",
        [5],
        [{}],
        [{"custom_id": "a"}],
        [{"params": question()}],
        jobs("a", "b", "a"),
        [{"custom_id": 5, "params": question()}],
        [{"custom_id": "", "params": question()}],
    ]:
        refused(mocks, {"requests": requests}, path="/v1/messages/batches")
    refused(mocks, {}, path="/v1/messages/batches")
    assert mocks.ledger()["lines"] == []


@check
def a_batch_follows_the_version_of_its_request(mocks):
    body = {"requests": jobs("a", temperature=1)}
    for version, outcome in [("2026-10-21", "errored"), ("2023-06-01", "succeeded")]:
        status, _, text = raw(mocks, "/v1/messages/batches", body, {"anthropic-version": version})
        if status == 400 and outcome == "errored":
            continue
        assert status == 200, text
        batches = client(mocks).messages.batches
        batch = ended(batches, json.loads(text)["id"])
        assert [line.result.type for line in batches.results(batch.id)] == [outcome], version


@check
def a_batch_reads_and_writes_the_cache(mocks):
    system = [block(control=EPHEMERAL)]
    written = counters(mocks, question(system=system))[1]
    batches = client(mocks).messages.batches
    batch = ended(batches, batches.create(requests=jobs("a", system=system)).id)
    [line] = batches.results(batch.id)
    assert line.result.message.usage.cache_read_input_tokens == written > 1024


# Errors

if NEW:
    CLASSES = {
        400: "BadRequestError",
        401: "AuthenticationError",
        402: "PaymentRequiredError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        408: "RequestTimeoutError",
        409: "ConflictError",
        412: "PreconditionFailedError",
        413: "ContentTooLargeError",
        418: "APIStatusError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
        431: "RequestHeaderFieldsTooLargeError",
        499: "ClientClosedRequestError",
        500: "InternalServerError",
        501: "HTTPNotImplementedError",
        502: "InternalServerError",
        503: "ServiceUnavailableError",
        504: "GatewayTimeoutError",
        529: "OverloadedError",
    }
else:
    CLASSES = {
        400: "BadRequestError",
        401: "AuthenticationError",
        402: "APIStatusError",
        403: "PermissionDeniedError",
        404: "NotFoundError",
        408: "APIStatusError",
        409: "ConflictError",
        412: "APIStatusError",
        413: "RequestTooLargeError",
        418: "APIStatusError",
        422: "UnprocessableEntityError",
        429: "RateLimitError",
        431: "APIStatusError",
        499: "APIStatusError",
        500: "InternalServerError",
        501: "InternalServerError",
        502: "InternalServerError",
        503: "InternalServerError",
        504: "InternalServerError",
        529: "OverloadedError",
    }
KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    501: "api_error",
    503: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def class_of(status):
    return getattr(anthropic._exceptions, CLASSES[status])


@check
def every_status_is_its_typed_error(mocks):
    for status in CLASSES:
        body = error_body(KINDS.get(status, "invalid_request_error"))
        mocks.script(failing(status, {"request-id": "req_011scripted"}, body))
        error = raises(class_of(status), ask, mocks)
        assert (error.status_code, error.type, error.body) == (status, body["error"]["type"], body)
        assert error.request_id == "req_011scripted", error.request_id
        if status >= 500 and (NEW or status != 529):
            assert isinstance(error, anthropic.InternalServerError), status


@check
def a_scripted_error_without_an_id_gets_one(mocks):
    mocks.script(failing(500))
    assert raises(anthropic.InternalServerError, ask, mocks).request_id.startswith("req_011")


@check
def an_error_without_json_is_typed_by_its_status(mocks):
    for status in [400, 401, 413, 429, 500, 529]:
        for text in ["<html>no</html>", "", "{"]:
            mocks.script(failing(status, {"content-type": "text/html"}, text))
            error = raises(class_of(status), ask, mocks)
            assert error.status_code == status and error.type is None
            assert error.body == text or (text == "" and not error.body), (status, error.body)


@check
def a_429_names_its_cause(mocks):
    for code in ["ramp_limit_exceeded", "enforced_spend_limit_reached", "contract_spend_limit_reached"]:
        mocks.script(failing(429, body=error_body("rate_limit_error", details={"error_code": code})))
        try:
            ask(mocks)
            raise AssertionError(code)
        except anthropic.RateLimitError as error:
            assert error.body["error"]["details"] == {"error_code": code}
            if NEW:
                assert error.error_code == code and type(error).__name__.lower() == code.replace("_", "") + "error"


@check
def an_error_in_a_stream_is_raised_and_not_retried(mocks):
    found = events(mocks, question())
    broken = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    for kept in [0, 1, 4]:
        mocks.control("/_mock/reset", {})
        mocks.script(rule({"sse": [*found[:kept], broken]}))
        stream = client(mocks, max_retries=2).messages.create(**question(), stream=True)
        got = []
        error = raises(anthropic.APIStatusError, lambda: got.extend(event.type for event in stream))
        assert error.status_code == 200 and error.body == broken and error.type == "overloaded_error"
        assert got == [event["type"] for event in found[:kept] if event["type"] != "ping"]
        assert retry_counts(mocks) == ["0"]


@check
def an_error_in_a_stream_reaches_the_stream_helper(mocks):
    broken = {"type": "error", "error": {"type": "api_error", "message": "Internal server error"}}
    mocks.script(rule({"sse": [*events(mocks, question())[:4], broken]}))
    with client(mocks).messages.stream(**question()) as stream:
        error = raises(anthropic.APIStatusError, stream.get_final_message)
    assert error.body == broken


# Retries


@check
def what_may_pass_is_tried_again(mocks):
    for status in [408, 409, 429, 500, 501, 502, 503, 504, 529]:
        mocks.control("/_mock/reset", {})
        mocks.script(failing(status, {"retry-after-ms": "1"}, times=2))
        assert client(mocks, max_retries=2).messages.create(**question()).content
        assert retry_counts(mocks) == ["0", "1", "2"], status
        assert [request["status"] for request in mocks.requests()] == [status, status, 200]


@check
def what_stays_wrong_is_not_tried_again(mocks):
    for status in [400, 401, 402, 403, 404, 412, 413, 418, 422, 431, 499]:
        mocks.control("/_mock/reset", {})
        mocks.script(failing(status, {"retry-after-ms": "1"}))
        raises(class_of(status), client(mocks, max_retries=2).messages.create, **question())
        assert retry_counts(mocks) == ["0"], status


@check
def two_retries_are_the_default(mocks):
    mocks.script(failing(529, {"retry-after-ms": "1"}, times=5))
    patient = anthropic.Anthropic(base_url=mocks.claude, api_key=ALPHA)
    raises(class_of(529), patient.messages.create, **question())
    assert retry_counts(mocks) == ["0", "1", "2"]


@check
def x_should_retry_overrides_the_status(mocks):
    mocks.script(failing(400, {"x-should-retry": "true", "retry-after-ms": "1"}))
    assert client(mocks, max_retries=1).messages.create(**question()).content
    assert retry_counts(mocks) == ["0", "1"]
    mocks.control("/_mock/reset", {})
    for status in [409, 429, 500, 529]:
        mocks.script(failing(status, {"x-should-retry": "false"}))
        raises(class_of(status), client(mocks, max_retries=2).messages.create, **question())
    assert retry_counts(mocks) == ["0"] * 4


@check
def retry_after_ms_is_waited_for(mocks):
    mocks.script(failing(429, {"retry-after-ms": "800", "retry-after": "30"}))
    assert 0.8 <= took(client(mocks, max_retries=1).messages.create, **question()) < 1.8


@check(slow=True)
def retry_after_is_waited_for_in_seconds(mocks):
    mocks.script(failing(429, {"retry-after": "1.2"}))
    assert 1.2 <= took(client(mocks, max_retries=1).messages.create, **question()) < 2.2


@check(slow=True)
def retry_after_may_be_a_date(mocks):
    mocks.script(failing(503, {"retry-after": email.utils.formatdate(time.time() + 3, usegmt=True)}))
    assert 1.5 <= took(client(mocks, max_retries=1).messages.create, **question()) < 4


@check(slow=True)
def without_retry_after_the_first_wait_is_half_a_second(mocks):
    for headers in [{}, {"retry-after": "0"}, {"retry-after": "-5"}]:
        mocks.script(failing(500, headers))
        assert 0.37 <= took(client(mocks, max_retries=1).messages.create, **question()) < 1, headers


@check(slow=True)
def waits_grow_twofold(mocks):
    mocks.script(failing(529, times=2))
    assert 1.1 <= took(client(mocks, max_retries=2).messages.create, **question()) < 2


@check
def a_timeout_of_the_client_is_its_own(mocks):
    slow = {"status": 200, "body": {}, "delay_ms": 2000}
    mocks.script(rule(slow))
    raises(anthropic.APITimeoutError, client(mocks, timeout=0.3).messages.create, **question())
    assert ask(mocks).content


# The control plane


@check
def rules_are_used_up_in_their_order(mocks):
    mocks.script(failing(529, times=2), failing(400))
    mocks.script(failing(404))
    got = []
    for _ in range(5):
        status, _, _ = raw(mocks, body=question())
        got.append(status)
    assert got == [529, 529, 400, 404, 200], got


@check
def a_rule_waits_for_what_it_matches(mocks):
    gone = {"status": 410, "headers": {}, "body": "gone"}
    mocks.script(rule(gone, method="GET", path="/v1/models"), rule(gone, method="DELETE", path="/v1/messages"))
    served(mocks, question())
    assert raw(mocks, "/v1/models")[0] == 410
    assert raw(mocks, "/v1/models")[0] == 200
    assert raw(mocks, "/v1/messages", method="DELETE")[0] == 410


@check
def a_rule_that_matches_anything_comes_before_authentication(mocks):
    mocks.script({"match": {}, "times": 1, "response": {"status": 200, "headers": {"x-said": "so"}, "body": "plain"}})
    status, headers, text = raw(mocks, "/v1/nowhere", headers={"x-api-key": None})
    assert (status, headers["x-said"], text) == (200, "so", "plain")


@check
def a_scripted_message_is_what_the_client_gets(mocks):
    body = {**served(mocks, question()), "content": [{"type": "text", "text": "Scripted"}]}
    mocks.script(rule({"status": 200, "headers": {}, "body": body}))
    assert ask(mocks).content[0].text == "Scripted"


@check
def scripted_events_go_out_when_their_delay_has_passed(mocks):
    found = events(mocks, question())
    start, rest = found[0], found[1:]
    mocks.script(rule({"sse": [start, {**rest[0], "delay_ms": 500}, *rest[1:]]}))
    seen = [(time.monotonic(), event) for event in client(mocks).messages.create(**question(), stream=True)]
    assert 0.4 <= seen[1][0] - seen[0][0] < 1.5, "the delay lies between the first and the second event"
    assert seen[-1][0] - seen[1][0] < 0.4
    assert "delay_ms" not in seen[1][1].to_dict()
    mocks.script(rule({"sse": [start, {**rest[0], "delay_ms": 1}, *rest[1:]]}))
    assert events(mocks, question()) == found


@check
def a_whole_response_may_be_late(mocks):
    mocks.script(rule({"status": 200, "headers": {}, "body": {}, "delay_ms": 500}))
    assert 0.5 <= took(raw, mocks, body=question()) < 1.5


@check
def the_journal_holds_what_arrived(mocks):
    client(mocks).messages.create(**question("One"))
    served(mocks, path="/v1/models?limit=3")
    refused(mocks, {}, 404, "not_found_error", path="/v1/nowhere")
    first, second, third = mocks.requests()
    assert (first["method"], first["path"], first["status"]) == ("POST", "/v1/messages", 200)
    assert first["body"] == question("One")
    assert all(name == name.lower() for name in first["headers"])
    assert (second["method"], second["path"]) == ("GET", "/v1/models") and "limit" in str(second["query"])
    assert (third["path"], third["status"]) == ("/v1/nowhere", 404)


@check
def the_client_sends_the_headers_of_its_line(mocks):
    ask(mocks)
    sent = mocks.requests()[0]["headers"]
    if NEW:
        assert sent["authorization"] == f"Bearer {ALPHA}" and "x-api-key" not in sent
    else:
        assert sent["x-api-key"] == ALPHA and "authorization" not in sent
    assert sent["anthropic-version"] == VERSION
    assert sent["content-type"] == sent["accept"] == "application/json"
    assert sent["user-agent"] == f"Anthropic/Python {anthropic.__version__}"
    assert sent["x-stainless-retry-count"] == "0" and sent["x-stainless-lang"] == "python"
    assert not any("idempotency" in name for name in sent)


@check
def a_reset_empties_everything(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    counters(mocks, body)
    client(mocks).messages.batches.create(requests=jobs("a"))
    mocks.script(failing(500, times=9))
    mocks.control("/_mock/reset", {})
    assert mocks.requests() == []
    ledger = mocks.ledger()
    assert ledger["lines"] == [] and ledger["requests"] == 0
    assert counters(mocks, body)[0] == 0
    assert client(mocks).messages.batches.list().data == []


@check
def a_client_may_ask_for_its_own_faults(mocks):
    faulty = client(mocks, max_retries=2, default_headers={"x-mock-scenario": "529"})
    assert faulty.messages.create(**question()).content
    assert retry_counts(mocks) == ["0", "1"]
    assert [request["status"] for request in mocks.requests()] == [529, 200]


@check
def a_fault_by_header_lasts_for_as_many_attempts_as_it_says(mocks):
    for name, status, failures in [
        ("529", 529, 1),
        ("529*2", 529, 2),
        ("529*3", 529, 3),
        ("overloaded", 529, 1),
        ("overloaded*2", 529, 2),
        ("rate_limit", 429, 1),
        ("rate_limit*2", 429, 2),
        ("404*2", 404, 2),
    ]:
        for stream in [False, True]:
            got = []
            for attempt in range(4):
                headers = {"x-mock-scenario": name, "x-stainless-retry-count": str(attempt)}
                got.append(raw(mocks, body=question(stream=stream), headers=headers)[0])
            assert got == [status] * failures + [200] * (4 - failures), (name, got)


@check
def a_fault_by_header_has_no_memory(mocks):
    impatient = client(mocks, default_headers={"x-mock-scenario": "529"})
    for _ in range(3):
        raises(class_of(529), impatient.messages.create, **question())
    assert ask(mocks).content


@check
def a_fault_by_header_is_the_error_of_its_status(mocks):
    for status, kind in KINDS.items():
        refused(mocks, question(), status, kind, {"x-mock-scenario": str(status)})
    for name, status in [("overloaded", 529), ("rate_limit", 429)]:
        refused(mocks, question(), status, KINDS[status], {"x-mock-scenario": name})
    for status in CLASSES:
        faulty = client(mocks, default_headers={"x-mock-scenario": str(status)})
        raises(class_of(status), faulty.messages.create, **question())


@check
def an_unknown_fault_is_a_400_that_lists_the_known(mocks):
    for name in ["nonsense", "200", "529*x", "overloaded*", "*2", "1000"]:
        text = refused(mocks, question(), headers={"x-mock-scenario": name})
        assert "overloaded" in text and "rate_limit" in text, text


@check
def a_connection_that_breaks_is_tried_again(mocks):
    reset = client(mocks, max_retries=1, default_headers={"x-mock-scenario": "reset"})
    assert reset.messages.create(**question()).content
    assert retry_counts(mocks) == ["0", "1"]
    raises(anthropic.APIConnectionError, client(mocks, default_headers={"x-mock-scenario": "reset"}).messages.create, **question())
    assert ask(mocks).content


@check
def a_stream_that_is_cut_is_not_resumed(mocks):
    cut = client(mocks, max_retries=2, default_headers={"x-mock-scenario": "cut"})
    finished = False
    try:
        for event in cut.messages.create(**question(), stream=True):
            finished = finished or event.type == "message_stop"
        raise AssertionError("no error")
    except AssertionError:
        raise
    except Exception as error:
        assert not isinstance(error, anthropic.APIStatusError), error
    assert not finished and retry_counts(mocks) == ["0"]


ADD = {"when": {"question": "Add *"}, "call": {"Math.Add": {"a": 1}}}


@check(script={"claude": {"latency": {"first_byte": {"constant": "0ms"}}, "script": [ADD]}})
def a_script_that_nothing_matches_shows_the_nearest_rule(mocks):
    assert ask(mocks, "Add one").stop_reason == "tool_use"
    error = raises(anthropic.BadRequestError, ask, mocks, "Subtract one")
    assert 'nearest is rule 1 of 1, when {"question":"Add *"}: its question is another' in str(error)


# The ledger


def gathered(usages):
    names = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"]
    return {name: sum(usage[name] for usage in usages) for name in names}


@check
def the_ledger_adds_up_by_key_model_and_kind(mocks):
    seen = {}
    for key, model, kind in [
        (ALPHA, MODEL, "message"),
        (ALPHA, MODEL, "message"),
        (ALPHA, MODEL, "stream"),
        (ALPHA, "claude-opus-5-5", "message"),
        (BRAVO, MODEL, "message"),
        (BRAVO, MODEL, "stream"),
    ]:
        one = client(mocks, api_key=key)
        body = question("Again", model=model, system=[block(control=EPHEMERAL)])
        if kind == "stream":
            with one.messages.stream(**body) as stream:
                message = stream.get_final_message()
        else:
            message = one.messages.create(**body)
        seen.setdefault((key[:12], model, kind), []).append(message.usage.to_dict())
    refused(mocks, {})
    raises(class_of(529), client(mocks, default_headers={"x-mock-scenario": "529"}).messages.create, **question())
    ledger = mocks.ledger()
    lines = {(line["key"], line["model"], line["kind"]): line for line in ledger["lines"]}
    assert set(lines) == set(seen) and len(ledger["lines"]) == len(seen), lines
    for name, usages in seen.items():
        assert lines[name]["requests"] == len(usages), name
        assert lines[name]["usage"] == gathered(usages), (name, lines[name], usages)
        is_sum(lines[name]["cost_usd"], sum(cost(name[1], usage) for usage in usages))
    assert ledger["requests"] == 6
    totals = ledger["totals"]
    assert {**totals, **totals.get("usage", {})}.items() >= gathered(sum(seen.values(), [])).items(), totals
    for name in ["cost_usd", "uncached_usd"]:
        is_sum(totals[name], sum(line[name] for line in lines.values()))


@check
def every_model_costs_what_the_table_says(mocks):
    for model in TABLE:
        mocks.control("/_mock/reset", {})
        body = question([block("M " + LONG * 2, EPHEMERAL), block("?")], model=model, system=[block("S " + LONG * 2, HOUR)])
        usages = [served(mocks, body)["usage"] for _ in range(2)]
        assert usages[0]["cache_creation"]["ephemeral_1h_input_tokens"] > 0 and usages[1]["cache_read_input_tokens"] > 0
        assert usages[0]["cache_creation"]["ephemeral_5m_input_tokens"] > 0
        [line] = mocks.ledger()["lines"]
        is_sum(line["cost_usd"], sum(cost(model, usage) for usage in usages))


@check
def uncached_is_what_it_would_have_cost_without_a_cache(mocks):
    body = question(system=[block(control=EPHEMERAL)])
    usages = [served(mocks, body)["usage"] for _ in range(3)]
    plain = 0
    for usage in usages:
        used = usage["input_tokens"] + usage["cache_creation_input_tokens"] + usage["cache_read_input_tokens"]
        plain += (used * TABLE[MODEL][0] + usage["output_tokens"] * TABLE[MODEL][4]) / 1e6
    [line] = mocks.ledger()["lines"]
    is_sum(line["uncached_usd"], plain)
    assert line["cost_usd"] < line["uncached_usd"]


@check
def a_batch_costs_half(mocks):
    batches = client(mocks).messages.batches
    requests = [*jobs("a", "b"), *[{**job, "custom_id": "c"} for job in jobs("a", model="claude-opus-5-5")]]
    requests += jobs("d", model="claude-opus-5", system=[block(control=EPHEMERAL)])
    batch = ended(batches, batches.create(requests=requests).id)
    seen = {}
    for line in batches.results(batch.id):
        seen.setdefault(line.result.message.model, []).append(line.result.message.usage.to_dict())
    lines = mocks.ledger()["lines"]
    assert {line["model"] for line in lines} == set(seen) and {line["kind"] for line in lines} == {"batch"}
    for line in lines:
        assert line["usage"] == gathered(seen[line["model"]])
        is_sum(line["cost_usd"], sum(cost(line["model"], usage, 0.5) for usage in seen[line["model"]]))


@check
def a_long_prompt_of_haiku_costs_more_from_its_first_token(mocks):
    model = "claude-haiku-5-5"
    for total, prices in [(100_000, None), (100_001, LONG_HAIKU)]:
        body = question([block(sized(mocks, model, total))], model=model)
        mocks.control("/_mock/reset", {})
        usage = served(mocks, body)["usage"]
        assert usage["input_tokens"] == total
        is_sum(mocks.ledger()["lines"][0]["cost_usd"], cost(model, usage, prices=prices))


@check
def what_is_cached_makes_a_prompt_of_haiku_long_too(mocks):
    model = "claude-haiku-5-5"
    body = question([block(sized(mocks, model, 100_001), EPHEMERAL)], model=model)
    mocks.control("/_mock/reset", {})
    usages = [served(mocks, body)["usage"] for _ in range(2)]
    assert usages[1]["cache_read_input_tokens"] == 100_001
    is_sum(mocks.ledger()["lines"][0]["cost_usd"], sum(cost(model, usage, prices=LONG_HAIKU) for usage in usages))


@check
def inference_in_the_us_costs_a_tenth_more(mocks):
    model = "claude-opus-5-5"
    usage = served(mocks, question(model=model, inference_geo="us"))["usage"]
    assert usage["inference_geo"] == "us"
    is_sum(mocks.ledger()["lines"][0]["cost_usd"], cost(model, usage, 1.1))


# Versions, keys and betas


@check
def the_new_version_forbids_sampling_and_the_old_one_takes_it(mocks):
    for name, values in [("temperature", [0, 0.5, 1]), ("top_p", [0.9, 1]), ("top_k", [5])]:
        for value in values:
            text = refused(mocks, question(**{name: value}), headers={"anthropic-version": "2026-10-21"})
            assert text == f"{name}: Extra inputs are not permitted", text
            served(mocks, question(**{name: value}), headers={"anthropic-version": "2023-06-01"})
        body = {"model": MODEL, "messages": question()["messages"], name: values[0]}
        refused(mocks, body, headers={"anthropic-version": "2026-10-21"}, path="/v1/messages/count_tokens")


@check
def sampling_has_its_bounds_under_the_old_version(mocks):
    old = {"anthropic-version": "2023-06-01"}
    for name, values in [("temperature", [-0.1, 1.1, "1"]), ("top_p", [-1, 1.5, []]), ("top_k", [1.5, "x"])]:
        for value in values:
            refused(mocks, question(**{name: value}), headers=old)


@check
def the_new_version_forbids_documents_and_citations_where_they_do_not_belong(mocks):
    document = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}
    user = {"role": "user", "content": "q"}
    cited = {
        "type": "char_location",
        "cited_text": "x",
        "document_index": 0,
        "document_title": "t",
        "start_char_index": 0,
        "end_char_index": 1,
    }
    for messages in [
        [user, {"role": "assistant", "content": [document]}, user],
        [{"role": "user", "content": [{**block("x"), "citations": [cited]}]}],
    ]:
        refused(mocks, question(messages=messages), headers={"anthropic-version": "2026-10-21"})
        served(mocks, question(messages=messages), headers={"anthropic-version": "2023-06-01"})
    served(mocks, question([document, block("q")]), headers={"anthropic-version": "2026-10-21"})
    served(mocks, question([{**block("x"), "citations": []}]), headers={"anthropic-version": "2026-10-21"})


@check
def a_version_is_required_and_known(mocks):
    for path, body in [("/v1/messages", question()), ("/v1/messages/batches", {"requests": jobs("a")}), ("/v1/models", None)]:
        text = refused(mocks, body, path=path, headers={"anthropic-version": None})
        assert text == "anthropic-version: header is required", text
        for version in ["x", "2026-10-22", "2023-01-01x"]:
            text = refused(mocks, body, path=path, headers={"anthropic-version": version})
            assert text == f'anthropic-version: "{version}" is not a valid version', text


@check
def a_key_is_taken_in_both_forms(mocks):
    for headers in [{"x-api-key": "sk-ant-a"}, {"x-api-key": None, "authorization": "Bearer sk-ant-a"}]:
        served(mocks, question(), headers=headers)
        served(mocks, path="/v1/models", headers=headers)
    [line] = mocks.ledger()["lines"]
    assert (line["key"], line["requests"]) == ("sk-ant-a", 2)


@check
def a_bad_key_is_401_everywhere(mocks):
    for headers in [
        {"x-api-key": "sk-ant-invalid"},
        {"x-api-key": None, "authorization": "Bearer sk-ant-invalid"},
        {"x-api-key": None},
        {"x-api-key": "nonsense"},
        {"x-api-key": ""},
        {"x-api-key": None, "authorization": "Bearer nonsense"},
        {"x-api-key": None, "authorization": "Bearer"},
        {"x-api-key": None, "authorization": "Basic sk-ant-a"},
    ]:
        for path, body in [
            ("/v1/messages", question()),
            ("/v1/messages/count_tokens", {"model": MODEL, "messages": question()["messages"]}),
            ("/v1/models", None),
            ("/v1/messages/batches", None),
        ]:
            refused(mocks, body, 401, "authentication_error", headers, path)


@check
def a_bad_key_of_the_client_is_typed_and_not_retried(mocks):
    error = raises(anthropic.AuthenticationError, client(mocks, api_key="sk-ant-invalid", max_retries=2).messages.create, **question())
    assert error.type == "authentication_error" and error.request_id == error.body["request_id"]
    assert retry_counts(mocks) == ["0"]


@check
def a_key_is_looked_at_before_the_body(mocks):
    for body in [b"{", {}, question(model="claude-none")]:
        refused(mocks, body, 401, "authentication_error", {"x-api-key": "sk-ant-invalid"})


@check
def beta_calls_carry_their_betas(mocks):
    beta = client(mocks).beta.messages
    message = beta.create(**question(), betas=["interleaved-thinking-2025-05-14", "context-1m-2025-08-07"])
    assert message.content[0].text == ask(mocks).content[0].text
    counted = beta.count_tokens(model=MODEL, messages=question()["messages"])
    assert counted.input_tokens == message.usage.input_tokens
    first, _, third = mocks.requests()
    assert first["headers"]["anthropic-beta"] == "interleaved-thinking-2025-05-14,context-1m-2025-08-07"
    assert "token-counting-2024-11-01" in third["headers"]["anthropic-beta"]
    assert (first["path"], third["path"]) == ("/v1/messages", "/v1/messages/count_tokens")
    assert ("beta" in str(first["query"])) != NEW
    with beta.stream(**question()) as stream:
        assert stream.get_final_message().stop_reason == "end_turn"


@check
def an_unexpected_beta_is_a_400(mocks):
    error = raises(anthropic.BadRequestError, client(mocks).beta.messages.create, **question(), betas=["x"])
    text = error.body["error"]["message"]
    assert text.startswith("Unexpected value(s) `x` for the `anthropic-beta` header."), text


@check
def a_prefix_of_the_base_url_is_the_clients_own(mocks):
    prefixed = client(mocks, base_url=mocks.claude + "/anthropic")
    assert prefixed.messages.create(**question()).content
    with prefixed.messages.stream(**question()) as stream:
        assert stream.get_final_text()
    assert prefixed.messages.count_tokens(model=MODEL, messages=question()["messages"]).input_tokens > 0
    assert prefixed.models.retrieve(MODEL).id == MODEL
    batches = prefixed.messages.batches
    batch = ended(batches, batches.create(requests=jobs("a")).id)
    assert [line.custom_id for line in batches.results(batch.id)] == ["a"]


# Bodies that are wrong


@check
def required_fields_are_named(mocks):
    for name in ["model", "max_tokens", "messages"]:
        body = question()
        del body[name]
        assert refused(mocks, body) == f"{name}: Field required"
        assert refused(mocks, {**body, "stream": True}) == f"{name}: Field required"


@check
def messages_have_content(mocks):
    assert refused(mocks, question(messages=[])) == "messages: at least one message is required"
    user, nothing = {"role": "user", "content": "q"}, {"role": "assistant", "content": ""}
    text = "all messages must have non-empty content except for the optional final assistant message"
    assert refused(mocks, question("")) == f"messages.0: {text}"
    assert refused(mocks, question([])) == f"messages.0: {text}"
    assert refused(mocks, question(messages=[user, nothing, user])) == f"messages.1: {text}"
    refused(mocks, question([block("")]))


@check
def unknown_fields_are_refused(mocks):
    assert refused(mocks, question(nonsense=1)) == "nonsense: Extra inputs are not permitted"
    refused(mocks, question([{**block("x"), "nonsense": 1}]))
    refused(mocks, question(tools=[{**TOOL, "nonsense": 1}]))


@check
def max_tokens_have_their_bounds(mocks):
    for value in [-1, 128_001, 1.5, "1", None, True, [], 10**30]:
        refused(mocks, question(max_tokens=value, model="claude-opus-5-5"))
    refused(mocks, question(max_tokens=64_001, model="claude-haiku-4-5"))
    served(mocks, question(max_tokens=128_000, model="claude-opus-5-5"))
    served(mocks, question(max_tokens=64_000, model="claude-haiku-4-5"))
    raises(ValueError, client(mocks).messages.create, **question(max_tokens=21_334))
    assert mocks.requests()[-1]["body"]["max_tokens"] == 64_000


@check
def small_fields_have_their_rules(mocks):
    for change in [
        {"stop_sequences": [" "]},
        {"stop_sequences": [""]},
        {"stop_sequences": [5]},
        {"service_tier": "best"},
        {"output_config": {"effort": "huge"}},
        {"output_config": {"format": {"type": "xml"}}},
        {"metadata": {"user_id": 5}},
        {"stream": "yes"},
        {"speed": "slow"},
    ]:
        refused(mocks, question(**change))
    for change in [
        {"stop_sequences": ["x"]},
        {"service_tier": "auto"},
        {"service_tier": "standard_only"},
        {"output_config": {"effort": "low"}},
        {"metadata": {"user_id": None}},
        {"metadata": {"user_id": "u"}},
        {"stream": False},
    ]:
        served(mocks, question(**change))


@check
def no_type_in_a_wrong_place_is_more_than_a_400(mocks):
    good = question(
        system="s",
        tools=[TOOL],
        tool_choice={"type": "auto"},
        stop_sequences=["x"],
        metadata={"user_id": "u"},
        stream=False,
        thinking={"type": "disabled"},
        output_config={"effort": "low"},
    )
    served(mocks, good)
    for name in good:
        for value in [None, 1.5, "x", [], {}, [[]], {"a": {}}, [1], True]:
            if isinstance(value, type(good[name])) or (name == "system" and value == []):
                continue
            status, _, text = raw(mocks, body={**good, name: value})
            assert status in (400, 404) and json.loads(text)["type"] == "error", (name, value, status, text)


@check
def no_type_inside_a_message_is_more_than_a_400(mocks):
    for value in [None, 1.5, True, [5], {}, {"a": 1}, [None], [[]], [{}], [{"type": 5}], [{"type": "alien"}], [{"type": "text"}]]:
        refused(mocks, question(value))
        refused(mocks, question([{"type": "text", "text": value}]))
        if value is not None:
            refused(mocks, question(system=value))
    wrong = [{"role": "user"}, {"content": "x"}, {"role": "alien", "content": "x"}, {"role": 5, "content": "x"}]
    for message in [None, 5, "x", [], {}, *wrong]:
        refused(mocks, question(messages=[message]))
    for name in TOOL:
        for value in [5, True, [], [{}]]:
            refused(mocks, question(tools=[{**TOOL, name: value}]))
    for part in [
        {"type": "tool_result"},
        {"type": "tool_result", "tool_use_id": 5},
        {"type": "tool_use", "id": "toolu_1", "name": "a", "input": "x"},
        {"type": "image"},
        {"type": "image", "source": {"type": "base64"}},
        {"type": "document", "source": 5},
    ]:
        refused(mocks, question([part]))


@check
def a_body_that_is_no_json_object_is_a_400(mocks):
    for body in [b"", b"{", b'{"model": ', b"\xff\xfe", b"[]", b"5", b"null", b'"text"', b"{}{}", b'{"max_tokens": NaN}', b"[" * 200_000]:
        for path in ["/v1/messages", "/v1/messages/count_tokens", "/v1/messages/batches"]:
            refused(mocks, body, path=path)
    deep = b'{"model":"claude-opus-5","max_tokens":9,"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refused(mocks, deep)
    assert ask(mocks).content


@check
def the_limit_of_a_body_is_32_megabytes(mocks):
    def send(size):
        address = urllib.parse.urlsplit(mocks.claude)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        text = json.dumps(question("@")).replace("@", "x" * size)
        connection.request("POST", "/v1/messages", text, {"x-api-key": ALPHA, "anthropic-version": VERSION})
        answer = connection.getresponse()
        body = json.load(answer)
        connection.close()
        return answer.status, body["type"] == "error" and body["error"]["type"]

    assert send(34 << 20) == (413, "request_too_large")
    assert send(31_000_000)[0] != 413
    assert ask(mocks).content


@check
def one_connection_serves_many_requests(mocks):
    address = urllib.parse.urlsplit(mocks.claude)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    headers = {"x-api-key": ALPHA, "anthropic-version": VERSION, "content-type": "application/json"}
    whole = compact(question()).encode()
    connection.connect()
    socket = connection.sock
    for body, status in [
        (whole, 200),
        (b"{", 400),
        (compact(question(stream=True)).encode(), 200),
        (iter([whole[:9], whole[9:]]), 200),
        (compact(question(model="claude-none")).encode(), 404),
        (whole, 200),
    ]:
        connection.request("POST", "/v1/messages", body, headers)
        answer = connection.getresponse()
        assert answer.read() and answer.status == status, status
        assert connection.sock is socket, status
    connection.close()


@check
def an_unknown_path_is_404_in_the_error_shape(mocks):
    for path, method in [("/v1/nowhere", "GET"), ("/v1/nowhere", "POST"), ("/", "GET"), ("/v1", "GET"), ("/v1/messages/x/y", "GET")]:
        refused(mocks, {} if method == "POST" else None, 404, "not_found_error", path=path, method=method)
    error = raises(anthropic.NotFoundError, client(mocks).get, "/v1/nowhere", cast_to=object)
    assert error.type == "not_found_error"


@check
def a_wrong_method_is_an_error_in_the_error_shape(mocks):
    for path, method in [("/v1/messages", "GET"), ("/v1/messages", "PUT"), ("/v1/models", "POST"), ("/v1/models", "DELETE")]:
        status, headers, text = raw(mocks, path, {} if method in ("PUT", "POST") else None, method=method)
        error = json.loads(text)
        assert status in (404, 405) and error["type"] == "error", (path, method, status, text)
        assert error["request_id"] == headers["request-id"]


@check
def unicode_and_escapes_survive_the_way(mocks):
    text = "Grüße 😀 \u0000 \" \\ \n\n data: x \u2028 \u202e end"
    body = {**served(mocks, question()), "content": [{"type": "text", "text": text}]}
    mocks.script(rule({"status": 200, "headers": {}, "body": body}))
    assert ask(mocks).content[0].text == text
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    found = [event for event in events(mocks, question()) if event["type"] != "ping"]
    mocks.script(rule({"sse": [*found[:2], delta, *found[-3:]]}))
    with client(mocks).messages.stream(**question()) as stream:
        assert stream.get_final_text() == text
    assert served(mocks, question(text))["stop_reason"] == "end_turn"
    assert mocks.requests()[-1]["body"]["messages"][0]["content"] == text
