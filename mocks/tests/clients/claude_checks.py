"""What the official `anthropic` client, in its new line and its old one, sees of the Claude mock."""

import email.utils
import http.client
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request

import anthropic
from suite import check, raises

NEW = int(anthropic.__version__.split(".")[0]) >= 2
VERSION = "2026-10-21" if NEW else "2023-06-01"
MODEL = "claude-sonnet-4-6"
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
LONG = "You answer questions about companies. " * 250
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def client(mocks, **named):
    named.setdefault("max_retries", 0)
    named.setdefault("api_key", "sk-ant-test-0001")
    named.setdefault("base_url", mocks.claude)
    return anthropic.Anthropic(**named)


def ask(mocks, content="Hello", **named):
    named.setdefault("model", MODEL)
    named.setdefault("max_tokens", 1000)
    named.setdefault("messages", [{"role": "user", "content": content}])
    return client(mocks).messages.create(**named)


def raw(mocks, path="/v1/messages", body=None, headers=None, method=None):
    """Status, headers and text of an answer to bytes that no client would send."""
    sent = {"x-api-key": "sk-ant-test-0001", "anthropic-version": VERSION, "content-type": "application/json"}
    sent.update(headers or {})
    sent = {name: value for name, value in sent.items() if value is not None}
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    request = urllib.request.Request(mocks.claude + path, data=data, headers=sent, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def question(content="Hello", **named):
    return {"model": MODEL, "max_tokens": 1000, "messages": [{"role": "user", "content": content}], **named}


def refused(mocks, body, status=400, kind="invalid_request_error", headers=None):
    """The message of a refusal, after its shape has been looked at."""
    got, sent, text = raw(mocks, body=body, headers=headers)
    assert got == status, (got, text)
    error = json.loads(text)
    assert error["type"] == "error" and error["error"]["type"] == kind, error
    assert error["request_id"] == sent["request-id"] and sent["request-id"].startswith("req_011")
    return error["error"]["message"]


def events(mocks, body):
    """The events of a stream, each held against its own `event:` line."""
    status, headers, text = raw(mocks, body={**body, "stream": True})
    assert status == 200 and headers["content-type"] == "text/event-stream; charset=utf-8", headers["content-type"]
    assert text.endswith("\n\n")
    found = []
    for block in text[:-2].split("\n\n"):
        name, data = block.split("\n")
        data = json.loads(data.removeprefix("data: "))
        assert name == "event: " + data["type"], name
        found.append(data)
    return found


def system(text=LONG, control=EPHEMERAL):
    return [{"type": "text", "text": text, "cache_control": control}]


def counters(usage):
    return usage.cache_read_input_tokens, usage.cache_creation_input_tokens


@check
def a_message_has_every_field_of_the_api(mocks):
    answer = client(mocks).messages.with_raw_response.create(**question())
    message = answer.parse()
    assert re.fullmatch(r"msg_01[0-9A-Za-z]{22}", message.id) and message.model == MODEL
    assert (message.type, message.role, message.stop_reason) == ("message", "assistant", "end_turn")
    body = json.loads(answer.http_response.text)
    assert "stop_sequence" in body and body["stop_sequence"] is None and body["stop_details"] is None
    assert message.content[0].type == "text" and message.content[0].text
    usage = body["usage"]
    assert usage["cache_creation"] == {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    assert usage["service_tier"] == "standard" and usage["inference_geo"] == "global"
    # What is estimated is estimated alike everywhere: a quarter of the bytes of each block.
    assert usage["output_tokens"] == -(-len(message.content[0].text.encode()) // 4)
    assert answer.headers["request-id"] == message._request_id
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.headers["anthropic-organization-id"])


@check
def rate_limit_headers_tell_what_is_left_and_until_when(mocks):
    headers = client(mocks).messages.with_raw_response.create(**question()).headers
    for kind in ["requests", "tokens", "input-tokens", "output-tokens"]:
        limit, left = (int(headers[f"anthropic-ratelimit-{kind}-{what}"]) for what in ["limit", "remaining"])
        assert 0 <= left <= limit
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", headers[f"anthropic-ratelimit-{kind}-reset"])
        assert kind == "requests" or left % 1000 == 0


@check(script={"claude": {"rate_limits": {"requests_per_minute": 2}, "latency": {"first_byte": {"constant": "0ms"}}}})
def a_full_bucket_is_a_429_that_says_when_to_come_again(mocks):
    for _ in range(2):
        ask(mocks)
    error = raises(anthropic.RateLimitError, ask, mocks)
    assert error.body["error"]["type"] == "rate_limit_error"
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["anthropic-ratelimit-requests-remaining"] == "0"


@check
def a_stream_has_its_events_in_order_and_ends_with_the_whole_message(mocks):
    found = events(mocks, question())
    kinds = [event["type"] for event in found]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"] and "ping" in kinds
    start = found[0]["message"]
    assert start["content"] == [] and start["stop_reason"] is None
    for name in ["input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]:
        assert isinstance(start["usage"][name], int), name
    text = "".join(event["delta"]["text"] for event in found if event["type"] == "content_block_delta")
    whole = ask(mocks)
    assert text == whole.content[0].text
    assert found[-2]["usage"]["output_tokens"] == whole.usage.output_tokens
    assert start["usage"]["input_tokens"] == whole.usage.input_tokens


@check
def the_stream_helper_gathers_text_and_a_final_message(mocks):
    with client(mocks).messages.stream(**question()) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert final.content[0].text == text and final.stop_reason == "end_turn" and final.usage.output_tokens > 1
    sent = mocks.requests()[-1]["headers"]
    assert sent["x-stainless-helper-method"] == "stream" and sent["accept"] == "application/json"


@check
def thinking_comes_before_the_text_with_one_signature(mocks):
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = question(thinking=thinking, max_tokens=4000)
    found = events(mocks, body)
    deltas = [event["delta"]["type"] for event in found if event["type"] == "content_block_delta" and event["index"] == 0]
    assert deltas[-1] == "signature_delta" and set(deltas[:-1]) == {"thinking_delta"}
    assert [e["index"] for e in found if e["type"] == "content_block_start"] == [0, 1]
    message = ask(mocks, thinking=thinking, max_tokens=4000)
    assert [block.type for block in message.content] == ["thinking", "text"] and message.content[0].signature


@check
def a_forced_tool_is_called_with_input_that_its_schema_allows(mocks):
    for choice in [{"type": "any"}, {"type": "tool", "name": "Sql_Query"}]:
        message = ask(mocks, tools=[TOOL], tool_choice=choice)
        call = message.content[-1]
        assert message.stop_reason == "tool_use" and re.fullmatch(r"toolu_01[0-9A-Za-z]{22}", call.id)
        assert call.name == "Sql_Query" and isinstance(call.input, dict)
        assert call.input["kind"] in ["one", "two"] and call.input["count"] >= 3 and len(call.input["tags"]) == 2
    answer = ask(
        mocks,
        tools=[TOOL],
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": message.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "7"}]},
        ],
    )
    assert answer.stop_reason == "end_turn" and answer.content[0].type == "text"


@check
def a_streamed_call_opens_empty_and_its_fragments_are_the_input(mocks):
    body = question(tools=[TOOL], tool_choice={"type": "any"})
    found = events(mocks, body)
    opening = next(event for event in found if event["type"] == "content_block_start")
    assert opening["content_block"]["input"] == {}
    parts = [event["delta"]["partial_json"] for event in found if event["type"] == "content_block_delta"]
    assert parts[0] == "" and set(json.loads("".join(parts))) == {"kind", "count", "tags"}
    assert found[-2]["delta"]["stop_reason"] == "tool_use"


@check
def new_models_refuse_to_be_forced(mocks):
    for model in ["claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-mythos-5-1"]:
        text = refused(mocks, question(model=model, tools=[TOOL], tool_choice={"type": "any"}))
        assert text == 'tool_choice: type "tool" and "any" are not supported for this model.', text
    assert ask(mocks, model="claude-opus-5", tools=[TOOL], tool_choice={"type": "any"}).stop_reason == "tool_use"


@check
def stop_sequences_and_max_tokens_end_an_answer(mocks):
    message = ask(mocks, "alpha beta", stop_sequences=["beta"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "beta")
    assert "beta" not in message.content[0].text
    message = ask(mocks, max_tokens=2)
    assert message.stop_reason == "max_tokens" and message.usage.output_tokens == 2


@check
def the_second_request_reads_what_the_first_has_written(mocks):
    first, second = (ask(mocks, f"Question {n}", system=system()).usage for n in range(2))
    assert first.cache_read_input_tokens == 0 and first.cache_creation_input_tokens > 1024
    assert counters(second) == (first.cache_creation_input_tokens, 0)
    assert first.cache_creation.ephemeral_5m_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation.ephemeral_5m_input_tokens == 0


@check
def an_hour_is_counted_in_its_own_bucket(mocks):
    usage = ask(mocks, system=system(control=HOUR)).usage
    assert usage.cache_creation.ephemeral_1h_input_tokens == usage.cache_creation_input_tokens > 0
    assert usage.cache_creation.ephemeral_5m_input_tokens == 0


@check
def a_prefix_below_the_minimum_is_silently_not_cached(mocks):
    for model, minimum in [("claude-opus-5-5", 512), (MODEL, 1024), ("claude-opus-4-7", 2048), ("claude-haiku-4-5", 4096)]:
        overhead = len('{"text":"","type":"text"}')
        for tokens, cached in [(minimum - 1, False), (minimum, True)]:
            text = "x" * (4 * tokens - overhead)
            usage = ask(mocks, model=model, system=system(text)).usage
            assert (usage.cache_creation_input_tokens == tokens) == cached, (model, tokens, usage)
            assert cached or counters(usage) == (0, 0)


@check
def an_entry_is_found_twenty_positions_back_and_no_further(mocks):
    for more, found in [(19, True), (20, False)]:
        own = [{"type": "text", "text": f"{more} {LONG}", "cache_control": EPHEMERAL}]
        written = ask(mocks, own).usage.cache_creation_input_tokens
        blocks = own + [{"type": "text", "text": f"{n}"} for n in range(more)]
        blocks[0] = {"type": "text", "text": own[0]["text"]}
        blocks[-1] = {**blocks[-1], "cache_control": EPHEMERAL}
        assert (ask(mocks, blocks).usage.cache_read_input_tokens == written) == found, more


@check
def only_breakpoints_write_entries(mocks):
    blocks = [{"type": "text", "text": LONG}, {"type": "text", "text": LONG, "cache_control": EPHEMERAL}]
    ask(mocks, blocks)
    usage = ask(mocks, [{"type": "text", "text": LONG, "cache_control": EPHEMERAL}]).usage
    assert usage.cache_read_input_tokens == 0 and usage.cache_creation_input_tokens > 0


@check
def tools_system_model_and_key_are_each_their_own_prefix(mocks):
    ask(mocks, system=system(), tools=[TOOL])
    other = {**TOOL, "description": "Another"}
    assert ask(mocks, system=system(), tools=[other]).usage.cache_read_input_tokens == 0
    assert ask(mocks, system=system(), tools=[TOOL], model="claude-sonnet-5").usage.cache_read_input_tokens == 0
    stranger = client(mocks, api_key="sk-ant-test-0002").messages.create(**question(system=system(), tools=[TOOL]))
    assert stranger.usage.cache_read_input_tokens == 0
    assert ask(mocks, system=system(), tools=[TOOL], tool_choice={"type": "none"}).usage.cache_read_input_tokens > 0


@check
def rules_of_breakpoints_are_kept(mocks):
    block = {"type": "text", "text": "x", "cache_control": EPHEMERAL}
    assert refused(mocks, question([block] * 5)) == "A maximum of 4 blocks with cache_control may be provided. Found 5."
    plain = {"type": "text", "text": "y"}
    refused(mocks, question([block] * 4 + [plain], cache_control=EPHEMERAL))
    refused(mocks, question([block, {**plain, "cache_control": HOUR}]))
    refused(mocks, question([block], cache_control=HOUR))
    assert ask(mocks, [block], cache_control=EPHEMERAL).content
    usage = ask(mocks, LONG, cache_control=EPHEMERAL).usage
    assert usage.cache_creation_input_tokens > 1024 and usage.input_tokens == 0


@check
def a_prewarm_writes_and_says_nothing(mocks):
    message = ask(mocks, system=system(), max_tokens=0)
    assert message.content == [] and message.stop_reason == "max_tokens" and message.usage.output_tokens == 0
    assert ask(mocks, system=system()).usage.cache_read_input_tokens == message.usage.cache_creation_input_tokens > 0
    for more in [{"stream": True}, {"tools": [TOOL], "tool_choice": {"type": "any"}}]:
        refused(mocks, question(max_tokens=0, **more))


@check
def tokens_are_counted_alike_everywhere(mocks):
    body = {"model": MODEL, "system": "Be short.", "tools": [TOOL], "messages": [{"role": "user", "content": "Hello"}]}
    counted = client(mocks).messages.count_tokens(**body).input_tokens
    assert counted == ask(mocks, **body).usage.input_tokens > 0
    parts = [TOOL, {"type": "text", "text": "Be short."}, {"type": "text", "text": "Hello"}]
    assert counted == sum(-(-len(json.dumps(part, separators=(",", ":"))) // 4) for part in parts)


@check
def the_ledger_is_what_was_served_at_the_prices_of_the_table(mocks):
    first, second = (ask(mocks, f"Question {n}", system=system()).usage for n in range(2))
    ask(mocks, model="claude-haiku-5-5", stream=False)
    lines = {line["model"]: line for line in mocks.ledger()["lines"]}
    line = lines[MODEL]
    assert (line["kind"], line["requests"]) == ("message", 2)
    for name in ["input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]:
        assert line["usage"][name] == getattr(first, name) + getattr(second, name)
    usage = line["usage"]
    cost = usage["input_tokens"] * 3 + usage["cache_creation_input_tokens"] * 3.75
    cost += usage["cache_read_input_tokens"] * 0.3 + usage["output_tokens"] * 15
    assert abs(line["cost_usd"] - cost / 1e6) < 1e-9
    mocks.control("/_mock/reset", {})
    assert mocks.ledger()["lines"] == [] and mocks.requests() == []
    assert ask(mocks, system=system()).usage.cache_read_input_tokens == 0


@check
def models_are_listed_in_pages_and_found_by_alias(mocks):
    models = client(mocks).models
    everything = list(models.list(limit=3))
    ids = [model.id for model in everything]
    assert len(ids) == len(set(ids)) == 17 and "claude-opus-5-5" in ids
    page = models.list(limit=3)
    assert page.has_more and page.first_id == ids[0] and page.last_id == ids[2]
    assert [model.id for model in models.list(limit=2, before_id=ids[5]).data] == ids[3:5]
    model = models.retrieve("claude-haiku-4-5-20251001")
    assert model.id == "claude-haiku-4-5" and model.type == "model" and model.display_name
    assert everything[0].created_at >= everything[-1].created_at
    shown = json.loads(raw(mocks, "/v1/models/claude-opus-5-5")[2])
    assert shown["lifecycle"] == "active" and shown["line"] == "opus" and shown["max_tokens"] == 128000
    assert shown["capabilities"]["batch"] == {"supported": True}
    assert raises(anthropic.NotFoundError, models.retrieve, "claude-none").body["error"]["message"] == "model: claude-none"


@check
def a_batch_ends_by_itself_and_has_a_result_for_each_request(mocks):
    batches = client(mocks).messages.batches
    requests = [
        {"custom_id": "good", "params": question()},
        {"custom_id": "bad", "params": question(model="claude-none")},
    ]
    batch = batches.create(requests=requests)
    assert batch.id.startswith("msgbatch_01") and batch.processing_status == "in_progress"
    assert batch.results_url is None and batch.request_counts.processing == 2
    raises(anthropic.BadRequestError, batches.delete, batch.id)
    until = time.monotonic() + 5
    while batch.processing_status != "ended":
        assert time.monotonic() < until, batch
        time.sleep(0.05)
        batch = batches.retrieve(batch.id)
    assert (batch.request_counts.succeeded, batch.request_counts.errored) == (1, 1) and batch.ended_at
    results = {result.custom_id: result.result for result in batches.results(batch.id)}
    assert results["good"].type == "succeeded" and results["good"].message.usage.service_tier == "batch"
    assert results["bad"].type == "errored" and results["bad"].error.error.type == "not_found_error"
    line = next(line for line in mocks.ledger()["lines"] if line["kind"] == "batch")
    usage = line["usage"]
    assert abs(line["cost_usd"] - (usage["input_tokens"] * 3 + usage["output_tokens"] * 15) / 2e6) < 1e-9
    assert [known.id for known in batches.list()] == [batch.id]
    assert batches.delete(batch.id).type == "message_batch_deleted"
    raises(anthropic.NotFoundError, batches.retrieve, batch.id)


@check
def a_cancelled_batch_ends_with_nothing_done(mocks):
    batches = client(mocks).messages.batches
    batch = batches.create(requests=[{"custom_id": "one", "params": question()}])
    assert batches.cancel(batch.id).processing_status == "canceling"
    time.sleep(0.8)
    assert batches.retrieve(batch.id).request_counts.canceled == 1
    assert [result.result.type for result in batches.results(batch.id)] == ["canceled"]
    raises(anthropic.BadRequestError, batches.create, requests=[{"custom_id": "a", "params": question()}] * 2)


@check
def every_status_is_its_typed_error(mocks):
    kinds = {
        400: anthropic.BadRequestError,
        401: anthropic.AuthenticationError,
        403: anthropic.PermissionDeniedError,
        404: anthropic.NotFoundError,
        409: anthropic.ConflictError,
        413: getattr(anthropic, "ContentTooLargeError", None) or anthropic._exceptions.RequestTooLargeError,
        429: anthropic.RateLimitError,
    }
    for status, kind in kinds.items():
        body = {"type": "error", "error": {"type": "x", "message": "y"}}
        mocks.script({"match": {"path": "/v1/messages"}, "times": 1, "response": {"status": status, "body": body}})
        error = raises(kind, ask, mocks)
        assert error.status_code == status and error.body == body and error.response.headers["request-id"]
    for status in [500, 503, 504, 529]:
        mocks.script({"match": {}, "times": 1, "response": {"status": status, "body": "not JSON"}})
        try:
            ask(mocks)
            raise AssertionError(status)
        except anthropic.APIStatusError as error:
            assert error.status_code == status


@check
def retried_are_the_statuses_that_may_pass(mocks):
    for status, attempts in [(408, 2), (409, 2), (429, 2), (500, 2), (529, 2), (400, 1), (404, 1)]:
        mocks.control("/_mock/reset", {})
        mocks.script({"match": {}, "times": 1, "response": {"status": status, "headers": {"retry-after-ms": "1"}, "body": {}}})
        try:
            client(mocks, max_retries=1).messages.create(**question())
        except anthropic.APIStatusError:
            assert attempts == 1, status
        counts = [request["headers"]["x-stainless-retry-count"] for request in mocks.requests()]
        assert counts == [str(n) for n in range(attempts)], (status, counts)


@check(slow=True)
def waits_are_those_that_are_asked_for(mocks):
    for headers, least, most in [({"retry-after": "1"}, 1.0, 1.6), ({"retry-after": None}, 0.9, 2.6), ({}, 0.35, 0.9)]:
        if "retry-after" in headers and headers["retry-after"] is None:
            headers = {"retry-after": email.utils.formatdate(time.time() + 2, usegmt=True)}
        mocks.script({"match": {}, "times": 1, "response": {"status": 429, "headers": headers, "body": {}}})
        began = time.monotonic()
        client(mocks, max_retries=1).messages.create(**question())
        assert least <= time.monotonic() - began <= most, headers
    mocks.script({"match": {}, "times": 1, "response": {"status": 500, "headers": {"x-should-retry": "false"}, "body": {}}})
    raises(anthropic.InternalServerError, client(mocks, max_retries=1).messages.create, **question())


@check
def a_client_may_ask_for_its_own_faults(mocks):
    for name, failures in [("529", 1), ("overloaded", 1), ("rate_limit*2", 2)]:
        mocks.control("/_mock/reset", {})
        patient = client(mocks, max_retries=2, default_headers={"x-mock-scenario": name})
        assert patient.messages.create(**question()).content
        assert [request["status"] for request in mocks.requests()][:-1] == [429 if "rate" in name else 529] * failures
    impatient = client(mocks, default_headers={"x-mock-scenario": "nonsense"})
    assert "overloaded" in str(raises(anthropic.BadRequestError, impatient.messages.create, **question()))


@check
def an_error_in_mid_stream_is_raised(mocks):
    start = {"type": "message_start", "message": ask(mocks).to_dict()}
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "delay_ms": 20}
    mocks.script({"match": {"method": "POST", "path": "/v1/messages"}, "times": 1, "response": {"sse": [start, error]}})
    try:
        for _ in client(mocks).messages.create(**question(), stream=True):
            pass
        raise AssertionError("no error")
    except anthropic.APIStatusError as error:
        assert error.body["error"]["type"] == "overloaded_error"


@check
def a_stream_that_is_left_early_leaves_the_mock_as_it_was(mocks):
    stream = client(mocks).messages.create(**question(), stream=True)
    next(iter(stream))
    stream.close()
    assert ask(mocks).content


@check
def what_the_new_version_forbids_the_old_one_takes(mocks):
    for name in ["temperature", "top_p", "top_k"]:
        headers = {"anthropic-version": "2026-10-21"}
        assert refused(mocks, question(**{name: 1}), headers=headers) == f"{name}: Extra inputs are not permitted"
        status, _, _ = raw(mocks, body=question(**{name: 1}), headers={"anthropic-version": "2023-06-01"})
        assert status == 200
    assert refused(mocks, question(), headers={"anthropic-version": None}) == "anthropic-version: header is required"
    assert refused(mocks, question(), headers={"anthropic-version": "x"}) == 'anthropic-version: "x" is not a valid version'


@check
def keys_are_taken_in_both_forms_and_bad_ones_in_none(mocks):
    for headers in [{"x-api-key": "sk-ant-a"}, {"x-api-key": None, "authorization": "Bearer sk-ant-a"}]:
        assert raw(mocks, body=question(), headers=headers)[0] == 200
    for headers in [{"x-api-key": "sk-ant-invalid"}, {"x-api-key": None}, {"x-api-key": "nonsense"}]:
        refused(mocks, question(), 401, "authentication_error", headers)
    raises(anthropic.AuthenticationError, client(mocks, api_key="sk-ant-invalid").messages.create, **question())
    sent = client(mocks).messages.create(**question()) and mocks.requests()[-1]["headers"]
    assert ("authorization" in sent) == NEW and ("x-api-key" in sent) != NEW and sent["anthropic-version"] == VERSION


@check
def requests_that_are_wrong_are_refused_in_the_providers_words(mocks):
    call = {"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}}
    asked = {"role": "user", "content": "q"}
    for change, text in [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: all messages must have non-empty content except for the optional final assistant message"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
        ({"tools": [{**TOOL, "name": "a.b"}]}, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"),
        ({"tools": [{**TOOL, "name": "a" * 129}]}, "tools.0.custom.name: String should have at most 128 characters"),
        ({"nonsense": 1}, "nonsense: Extra inputs are not permitted"),
    ]:
        assert refused(mocks, {**question(), **change}) == text
    text = refused(mocks, question(messages=[asked, {"role": "assistant", "content": [call]}, asked]))
    assert text.startswith("messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1")
    result = {"type": "tool_result", "tool_use_id": "toolu_9", "content": "x"}
    assert "unexpected `tool_use_id` found in `tool_result` blocks" in refused(mocks, question([result]))
    assert refused(mocks, question(messages=[{"role": "system", "content": "x"}])) == "role 'system' is not supported on this model"
    assert refused(mocks, question(model="claude-none"), 404, "not_found_error") == "model: claude-none"


@check
def no_type_in_a_wrong_place_is_more_than_a_400(mocks):
    good = question(system="s", tools=[TOOL], tool_choice={"type": "auto"}, stop_sequences=["x"], metadata={"user_id": "u"}, stream=False, thinking={"type": "disabled"}, output_config={"effort": "low"})
    assert raw(mocks, body=good)[0] == 200
    for name in good:
        for value in [None, 1.5, "x", [], {}, [[]], {"a": {}}, [1], True]:
            if isinstance(value, type(good[name])) or (name == "system" and value == []) or (name == "max_tokens" and value is True):
                continue
            status, _, text = raw(mocks, body={**good, name: value})
            assert status in (400, 404) and json.loads(text)["type"] == "error", (name, value, status, text)


@check
def abuse_of_http_gets_the_providers_shape(mocks):
    assert "valid JSON" in refused(mocks, b'{"model": ')
    refused(mocks, b"\xff\xfe")
    status, _, text = raw(mocks, "/v1/nowhere", body=question())
    assert status == 404 and json.loads(text)["error"]["type"] == "not_found_error"
    address = urllib.parse.urlsplit(mocks.claude)
    connection = http.client.HTTPConnection(address.hostname, address.port)
    connection.request("POST", "/v1/messages", b"x" * (33 << 20), {"x-api-key": "sk-ant-a", "anthropic-version": VERSION})
    answer = connection.getresponse()
    assert answer.status == 413 and json.load(answer)["error"]["type"] == "request_too_large"
    assert ask(mocks).content


@check
def a_prefix_of_the_base_url_is_the_clients_own(mocks):
    prefixed = client(mocks, base_url=mocks.claude + "/anthropic")
    assert prefixed.messages.create(**question()).content


@check
def betas_are_named_with_their_date(mocks):
    beta = client(mocks).beta.messages
    assert beta.create(**question(), betas=["interleaved-thinking-2025-05-14"]).content
    assert mocks.requests()[-1]["headers"]["anthropic-beta"] == "interleaved-thinking-2025-05-14"
    count = beta.count_tokens(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
    assert count.input_tokens == ask(mocks).usage.input_tokens
    error = raises(anthropic.BadRequestError, beta.create, **question(), betas=["x"])
    assert error.body["error"]["message"].startswith("Unexpected value(s) `x` for the `anthropic-beta` header.")


@check(script={"claude": {"latency": {"first_byte": {"constant": "0ms"}}, "script": [{"when": {"question": "Add *"}, "call": {"Math.Add": {"a": 1}}}]}})
def a_script_that_nothing_matches_shows_the_nearest_rule(mocks):
    assert ask(mocks, "Add one").stop_reason == "tool_use"
    error = raises(anthropic.BadRequestError, ask, mocks, "Subtract one")
    assert 'nearest is rule 1 of 1, when {"question":"Add *"}: its question is another' in str(error)
