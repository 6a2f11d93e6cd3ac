"""What the official `arcadepy` must find at the Arcade mock."""

import asyncio
import base64
import datetime
import hashlib
import hmac
import http.server
import json
import math
import threading
import time
import typing
import urllib.error
import urllib.parse
import urllib.request

import arcadepy
from arcadepy import APIStatusError, Arcade, AsyncArcade

from suite import check, raises

BUILT_IN = {"Math.Add", "Math.Divide", "Github.CreateIssue", "Gmail.ListEmails"}
NEVER = "2099-01-01T00:00:00"
KINDS = {
    "TOOLKIT_LOAD_FAILED", "TOOL_DEFINITION_BAD_DEFINITION", "TOOL_DEFINITION_BAD_INPUT_SCHEMA",
    "TOOL_DEFINITION_BAD_OUTPUT_SCHEMA", "TOOL_REQUIREMENTS_NOT_MET", "TOOL_RUNTIME_BAD_INPUT_VALUE",
    "TOOL_RUNTIME_BAD_OUTPUT_VALUE", "TOOL_RUNTIME_RETRY", "TOOL_RUNTIME_CONTEXT_REQUIRED", "TOOL_RUNTIME_FATAL",
    "CONTEXT_CHECK_FAILED", "CONTEXT_DENIED", "UPSTREAM_RUNTIME_BAD_REQUEST", "UPSTREAM_RUNTIME_AUTH_ERROR",
    "UPSTREAM_RUNTIME_NOT_FOUND", "UPSTREAM_RUNTIME_VALIDATION_ERROR", "UPSTREAM_RUNTIME_RATE_LIMIT",
    "UPSTREAM_RUNTIME_SERVER_ERROR", "UPSTREAM_RUNTIME_UNMAPPED", "NETWORK_TRANSPORT_RUNTIME_TIMEOUT",
    "NETWORK_TRANSPORT_RUNTIME_UNREACHABLE", "NETWORK_TRANSPORT_RUNTIME_UNMAPPED", "UNKNOWN",
}


def arcade(mocks, key="arc_test", **options):
    return Arcade(base_url=mocks.arcade, api_key=key, **{"max_retries": 0, **options})


class Reply(typing.NamedTuple):
    status: int
    headers: typing.Any
    body: typing.Any


def ask(mocks, method, path, body=None, key="arc_test", data=None):
    """A request without the client, which forgives too much; `data` is a body that goes out as it is."""
    if body is not None:
        data = json.dumps(body).encode()
    request = urllib.request.Request(mocks.arcade + path, data=data, method=method)
    if key is not None:
        request.add_header("authorization", key)
    if data is not None:
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            status, headers, text = response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        status, headers, text = error.code, error.headers, error.read()
    try:
        return Reply(status, headers, json.loads(text))
    except ValueError:
        return Reply(status, headers, text.decode())


def execute(mocks, tool_name, input=None, **more):
    """Executes a tool and returns the body of a 200."""
    body = {"tool_name": tool_name, **({} if input is None else {"input": input}), **more}
    reply = ask(mocks, "POST", "/v1/tools/execute", body)
    assert reply.status == 200, reply
    return reply.body


def outcome(body):
    """What an output says but its logs: a value, an error or an authorization."""
    return {key: value for key, value in body["output"].items() if value is not None and key != "logs"}


def failure(body):
    """The error of an execution that failed in the tool."""
    assert body["success"] is False, body
    assert body["status"] == "failed", body
    assert set(outcome(body)) == {"error"}, body
    error = body["output"]["error"]
    assert error["kind"] in KINDS, error
    assert isinstance(error["message"], str) and error["message"], error
    assert isinstance(error["can_retry"], bool), error
    return error


def is_error(body):
    assert isinstance(body, dict) and set(body) == {"name", "message"}, body
    assert all(isinstance(text, str) and text for text in body.values()), body


def refused(statuses, function, *arguments, **named):
    """Calls, and wants one of these statuses with a body in the error shape."""
    try:
        result = function(*arguments, **named)
    except APIStatusError as error:
        assert error.status_code in statuses, f"expected {statuses}, got {error.status_code}: {error}"
        is_error(error.body)
        return error
    raise AssertionError(f"expected {statuses}, got {result!r:.300}")


def bad_request(mocks, method, path, body=None, data=None):
    reply = ask(mocks, method, path, body, data=data)
    assert reply.status == 400, (path, body, data, reply)
    is_error(reply.body)


def arrived(mocks, path):
    return [request for request in mocks.requests(mocks.arcade) if request["path"] == path]


def rule(status, *, path="/v1/tools/execute", method="POST", times=1, headers=None, body=None):
    body = {"name": "scripted", "message": f"scripted {status}"} if body is None else body
    response = {"status": status, "headers": headers or {}, "body": body}
    return {"match": {"method": method, "path": path}, "times": times, "response": response}


def add(client, **more):
    return client.tools.execute(tool_name="Math.Add", input={"a": 1, "b": 2}, **more)


def settle(mocks, authorization, how="complete"):
    """Ends a pending authorization as its user would."""
    reply = ask(mocks, "POST", f"/_mock/authorizations/{authorization.id}/{how}", {}, key=None)
    assert reply.status == 200, reply


def parameter(name, val_type, required=True, **schema):
    value_schema = {"val_type": val_type, **schema}
    return {"name": name, "required": required, "description": f"The {name}", "value_schema": value_schema}


def tool(name, *parameters, **more):
    return {"name": name, "description": f"Does {name}", "input": {"parameters": list(parameters)}, **more}


def tools(*tools, **more):
    return {"arcade": {"tools": list(tools), **more}}


SLACK = tool(
    "Slack.Post",
    parameter("text", "string"),
    result={"posted": "{{ input.text }}"},
    authorization={"provider_id": "slack", "scopes": ["chat:write"]},
)
WAITING = tools(SLACK, authorization_time="60s")


def post(client, user_id="ann"):
    return client.tools.execute(tool_name="Slack.Post", input={"text": "hi"}, user_id=user_id)


# Keys, routes and bodies


@check
def a_key_is_accepted_with_and_without_bearer(mocks):
    assert arcade(mocks).tools.list().items
    assert ask(mocks, "GET", "/v1/tools", key="Bearer arc_test").status == 200
    sent = [request["headers"]["authorization"] for request in arrived(mocks, "/v1/tools")]
    assert sent == ["arc_test", "Bearer arc_test"], sent


@check
def a_missing_key_is_401_in_the_error_shape(mocks):
    for method, path, body in [("GET", "/v1/tools", None), ("POST", "/v1/tools/execute", {"tool_name": "Math.Add"})]:
        reply = ask(mocks, method, path, body, key=None)
        assert reply.status == 401, reply
        assert reply.headers["content-type"].startswith("application/json"), reply.headers
        is_error(reply.body)


@check
def a_wrong_key_is_401_and_not_retried(mocks):
    for key in ["arc_invalid", "Bearer arc_invalid", "sk-ant-test"]:
        error = raises(arcadepy.AuthenticationError, arcade(mocks, key, max_retries=2).tools.list)
        is_error(error.body)
    assert len(arrived(mocks, "/v1/tools")) == 3


@check
def health_needs_no_key(mocks):
    reply = ask(mocks, "GET", "/v1/health", key=None)
    assert (reply.status, reply.body) == (200, {"healthy": True}), reply
    assert arcade(mocks).health.check().healthy is True


@check
def an_unknown_route_or_method_is_an_error_in_the_error_shape(mocks):
    is_error(raises(arcadepy.NotFoundError, arcade(mocks).get, "/v1/nothing", cast_to=object).body)
    for method, path in [("PUT", "/v1/tools"), ("GET", "/v1/tools/execute"), ("DELETE", "/v1/auth/status")]:
        reply = ask(mocks, method, path)
        assert reply.status in (400, 404, 405), (method, path, reply)
        is_error(reply.body)


@check
def a_body_that_is_no_json_object_is_400(mocks):
    for path in ["/v1/tools/execute", "/v1/tools/authorize", "/v1/auth/authorize", "/v1/auth/confirm_user", "/v1/workers"]:
        for data in [b'{"tool_name":', b"[]", b'"text"', b""]:
            bad_request(mocks, "POST", path, data=data)


@check
def a_field_of_a_wrong_type_is_400(mocks):
    for body in [
        {},
        {"tool_name": 5},
        {"tool_name": "Math.Add", "input": "text"},
        {"tool_name": "Math.Add", "input": [1, 2]},
        {"tool_name": "Math.Add", "user_id": 7},
        {"tool_name": "Math.Add", "tool_version": 1},
        {"tool_name": "Math.Add", "run_at": "tomorrow"},
        {"tool_name": "Math.Add", "include_error_stacktrace": "yes"},
    ]:
        bad_request(mocks, "POST", "/v1/tools/execute", body)
    bad_request(mocks, "POST", "/v1/tools/authorize", {"user_id": "ann"})
    bad_request(mocks, "POST", "/v1/auth/authorize", {"user_id": "ann", "auth_requirement": "google"})
    assert mocks.ledger(mocks.arcade)["lines"] == []


@check
def a_page_that_is_no_number_is_400(mocks):
    bad_request(mocks, "GET", "/v1/tools?limit=many")
    bad_request(mocks, "GET", "/v1/tools?offset=few")


# Tools


@check
def tools_are_listed_with_every_required_field(mocks):
    reply = ask(mocks, "GET", "/v1/tools")
    items = {item["qualified_name"]: item for item in reply.body["items"]}
    assert BUILT_IN <= set(items), sorted(items)
    for name, item in items.items():
        toolkit = item["toolkit"]
        assert name == f"{toolkit['name']}.{item['name']}", item
        assert item["fully_qualified_name"] == f"{name}@{toolkit['version']}", item
        for given in item["input"].get("parameters") or []:
            assert isinstance(given["name"], str), given
            val_type = given["value_schema"]["val_type"]
            assert val_type in ("string", "integer", "number", "boolean", "json", "array"), given
    assert [given["name"] for given in items["Math.Add"]["input"]["parameters"]] == ["a", "b"]
    assert all(given["required"] is True for given in items["Math.Add"]["input"]["parameters"])
    assert items["Math.Add"]["requirements"]["met"] is True
    assert set(items["Math.Add"]["output"]["available_modes"]) >= {"value", "error"}
    for name, provider in [("Github.CreateIssue", "github"), ("Gmail.ListEmails", "google")]:
        requirements = items[name]["requirements"]
        assert requirements["met"] is False, requirements
        assert requirements["authorization"]["provider_id"] == provider, requirements
        assert requirements["authorization"]["provider_type"] == "oauth2", requirements
        assert isinstance(requirements["authorization"]["oauth2"]["scopes"], list), requirements


@check
def a_page_says_where_it_is(mocks):
    everything = ask(mocks, "GET", "/v1/tools").body
    assert (everything["limit"], everything["offset"]) == (25, 0), everything
    total = len(everything["items"])
    page = ask(mocks, "GET", "/v1/tools?limit=3&offset=1").body
    assert set(page) == {"items", "limit", "offset", "page_count", "total_count"}, page
    assert (page["limit"], page["offset"], page["total_count"]) == (3, 1, total), page
    assert page["page_count"] in (len(page["items"]), math.ceil(total / 3)), page
    assert page["items"] == everything["items"][1:4]
    beyond = ask(mocks, "GET", "/v1/tools?offset=1000").body
    assert (beyond["items"], beyond["total_count"]) == ([], total), beyond


@check
def the_client_walks_through_every_page(mocks):
    everything = [item.qualified_name for item in arcade(mocks).tools.list().items]
    mocks.control("/_mock/reset", {}, mocks.arcade)
    walked = [item.qualified_name for item in arcade(mocks).tools.list(limit=1)]
    assert walked == everything
    assert len(arrived(mocks, "/v1/tools")) == len(everything)


@check(script=tools(*[tool(f"Many.Tool{number:03}", result=number) for number in range(130)]))
def a_page_has_25_tools_unless_told_otherwise_and_100_at_most(mocks):
    client = arcade(mocks)
    page = ask(mocks, "GET", "/v1/tools").body
    assert (len(page["items"]), page["limit"]) == (25, 25), page["limit"]
    assert page["total_count"] >= 130
    assert len(client.tools.list(limit=100).items) == 100
    above = ask(mocks, "GET", "/v1/tools?limit=101")
    assert above.status == 400 or (len(above.body["items"]), above.body["limit"]) == (100, 100), above.status
    names = [item.qualified_name for item in client.tools.list(toolkit="many")]
    assert sorted(names) == [f"Many.Tool{number:03}" for number in range(130)]


@check
def the_toolkit_filter_ignores_case(mocks):
    client = arcade(mocks)
    for toolkit in ["math", "Math", "MATH"]:
        page = client.tools.list(toolkit=toolkit)
        assert {"Math.Add", "Math.Divide"} <= {item.qualified_name for item in page.items}, page
        assert all(item.toolkit.name == "Math" for item in page.items), page
        assert page.total_count == len(page.items), page
    nothing = client.tools.list(toolkit="nothing")
    assert (nothing.items, nothing.total_count) == ([], 0)


@check
def formats_are_included_when_asked_for(mocks):
    client = arcade(mocks)
    both = {item.qualified_name: item for item in client.tools.list(include_format=["anthropic", "openai"])}
    formats = both["Math.Add"].formatted_schema
    assert set(formats) == {"anthropic", "openai"}, formats
    assert set(formats["anthropic"]) == {"name", "description", "input_schema"}, formats
    assert formats["anthropic"]["name"] == "Math_Add"
    assert formats["openai"]["type"] == "function", formats
    assert formats["openai"]["function"]["name"] == "Math_Add"
    assert formats["openai"]["function"]["parameters"] == formats["anthropic"]["input_schema"]
    one = client.tools.get("Math.Add", include_format=["openai"]).formatted_schema
    assert one == {"openai": formats["openai"]}, one
    assert not client.tools.get("Math.Add").formatted_schema
    assert not any(item.formatted_schema for item in client.tools.list())


@check
def a_tool_is_found_by_each_of_its_names(mocks):
    client = arcade(mocks)
    expected = client.tools.get("Math.Add")
    assert expected.fully_qualified_name == "Math.Add@1.0.0"
    for name in ["Math.Add@1.0.0", "Math_Add", "math.add", "MATH.ADD@1.0.0", "math_add"]:
        assert client.tools.get(name) == expected, name
    [listed] = [item for item in client.tools.list() if item.name == "Add"]
    assert listed == expected


@check
def an_unknown_tool_is_400_or_404(mocks):
    client = arcade(mocks)
    for name in ["Math.Multiply", "Nothing.Add", "Math.Add@9.9.9"]:
        refused((400, 404), client.tools.get, name)
        refused((400, 404), client.tools.execute, tool_name=name, input={"a": 1, "b": 2})
        refused((400, 404), client.tools.authorize, tool_name=name, user_id="ann")
        refused((400, 404), client.tools.formatted.get, name, format="openai")
    refused((400, 404), add, client, tool_version="9.9.9")
    assert mocks.ledger(mocks.arcade)["lines"] == []
    assert add(client, tool_version="1.0.0").success is True


EVERYTHING = tool(
    "Demo.Everything",
    parameter("text", "string", enum=["a", "b"]),
    parameter("count", "integer"),
    parameter("ratio", "number"),
    parameter("flag", "boolean"),
    parameter("data", "json"),
    parameter("tags", "array", inner_val_type="string", enum=["x", "y"]),
    parameter("rows", "array", required=False, inner_val_type="json"),
    result="done",
)
EVERYTHING_SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "description": "The text", "enum": ["a", "b"]},
        "count": {"type": "integer", "description": "The count"},
        "ratio": {"type": "number", "description": "The ratio"},
        "flag": {"type": "boolean", "description": "The flag"},
        "data": {"type": "object", "description": "The data"},
        "tags": {"type": "array", "description": "The tags", "items": {"type": "string", "enum": ["x", "y"]}},
        "rows": {"type": "array", "description": "The rows", "items": {"type": "object"}},
    },
    "required": ["text", "count", "ratio", "flag", "data", "tags"],
}
IN_FORMAT = {
    "anthropic": {
        "name": "Demo_Everything", "description": "Does Demo.Everything", "input_schema": EVERYTHING_SCHEMA,
    },
    "openai": {
        "type": "function",
        "function": {
            "name": "Demo_Everything", "description": "Does Demo.Everything", "parameters": EVERYTHING_SCHEMA,
        },
    },
}


@check(script=tools(EVERYTHING, tool("Demo.Nothing", result="done")))
def formatted_tools_have_the_shape_of_their_provider(mocks):
    client = arcade(mocks)
    for format, expected in IN_FORMAT.items():
        assert client.tools.formatted.get("Demo.Everything", format=format) == expected, format
        assert client.tools.formatted.get("Demo_Everything", format=format) == expected, format
        page = client.tools.formatted.list(format=format, toolkit="demo")
        assert (page.total_count, page.offset, len(page.items)) == (2, 0, 2), page
        assert expected in page.items
    nothing = client.tools.formatted.get("Demo.Nothing", format="anthropic")
    assert nothing["input_schema"] == {"type": "object", "properties": {}}, nothing


@check
def formatted_tools_are_paged_like_tools(mocks):
    client = arcade(mocks)
    expected = [item.qualified_name.replace(".", "_") for item in client.tools.list()]
    assert [item["name"] for item in client.tools.formatted.list(format="anthropic", limit=2)] == expected
    assert [item["function"]["name"] for item in client.tools.formatted.list(format="openai", limit=1)] == expected
    page = ask(mocks, "GET", "/v1/formatted_tools?format=anthropic&limit=1&offset=1").body
    assert (page["limit"], page["offset"], page["total_count"]) == (1, 1, len(expected)), page


# Execution


@check
def a_result_has_the_documented_shape(mocks):
    body = execute(mocks, "Math.Add", {"a": 1, "b": 2}, user_id="ann")
    assert body["id"].startswith("te_") and body["execution_id"].startswith("tc_"), body
    assert (body["execution_type"], body["status"], body["success"]) == ("immediate", "success", True), body
    assert type(body["duration"]) in (int, float) and body["duration"] >= 0, body
    finished = datetime.datetime.fromisoformat(body["finished_at"].replace("Z", "+00:00"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - finished).total_seconds()) < 3600, body
    assert body.get("run_at") is None, body
    assert outcome(body) == {"value": 3}, body
    again = execute(mocks, "Math.Add", {"a": 1, "b": 2}, user_id="ann")
    assert (body["id"], body["execution_id"]) != (again["id"], again["execution_id"])


@check
def math_is_right(mocks):
    client = arcade(mocks)
    for name, a, b, expected in [("Math.Add", 1.5, -2, -0.5), ("Math.Divide", 7, 2, 3.5), ("Math.Divide", 6, 3, 2)]:
        result = client.tools.execute(tool_name=name, input={"a": a, "b": b})
        assert (result.success, result.output.value) == (True, expected), result


@check
def a_tool_is_executed_by_each_of_its_names(mocks):
    client = arcade(mocks)
    for name in ["Math.Add", "Math.Add@1.0.0", "Math_Add", "math.add"]:
        result = client.tools.execute(tool_name=name, input={"a": 1, "b": 2})
        assert result.output.value == 3, name
    assert mocks.ledger(mocks.arcade)["lines"] == [{"tool": "Math.Add", "success": True, "executions": 4}]


@check
def a_division_by_zero_is_200_and_no_success(mocks):
    error = failure(execute(mocks, "Math.Divide", {"a": 1, "b": 0}))
    assert error["kind"].startswith("TOOL_RUNTIME_"), error
    assert error["can_retry"] is False, error
    result = arcade(mocks, max_retries=2).tools.execute(tool_name="Math.Divide", input={"a": 1, "b": 0})
    assert result.success is False and result.output.value is None
    assert len(arrived(mocks, "/v1/tools/execute")) == 2


@check
def a_stacktrace_comes_only_when_asked_for(mocks):
    client = arcade(mocks)
    for asked in [{}, {"include_error_stacktrace": False}]:
        result = client.tools.execute(tool_name="Math.Divide", input={"a": 1, "b": 0}, **asked)
        assert result.output.error.stacktrace is None, result
    named = {"tool_name": "Math.Divide", "input": {"a": 1, "b": 0}, "include_error_stacktrace": True}
    assert client.tools.execute(**named).output.error.stacktrace
    assert outcome(execute(mocks, "Math.Add", {"a": 1, "b": 2}, include_error_stacktrace=True)) == {"value": 3}


@check(script=tools(EVERYTHING))
def arguments_are_checked_by_their_value_schema(mocks):
    good = {"text": "a", "count": 2, "ratio": 1, "flag": True, "data": {"k": [1]}, "tags": ["x", "y"]}
    assert outcome(execute(mocks, "Demo.Everything", good)) == {"value": "done"}
    assert outcome(execute(mocks, "Demo.Everything", {**good, "ratio": 0.5, "rows": [{}]})) == {"value": "done"}
    wrong = [
        ("text", 5), ("text", "c"), ("text", None), ("count", 1.5), ("count", "1"), ("count", True), ("ratio", "1"),
        ("flag", "yes"), ("flag", 1), ("tags", "x"), ("tags", [1]), ("tags", ["z"]), ("rows", "x"),
    ]
    inputs = [{**good, name: value} for name, value in wrong]
    inputs += [{name: good[name] for name in good if name != missing} for missing in good]
    executions = [("Demo.Everything", input) for input in inputs]
    executions += [("Math.Add", input) for input in (None, {}, {"a": 1}, {"a": 1, "b": "2"})]
    for name, input in executions:
        error = failure(execute(mocks, name, input))
        assert error["kind"] == "TOOL_RUNTIME_BAD_INPUT_VALUE", (input, error)
        assert error["status_code"] == 400, (input, error)


@check(script=tools(tool("Demo.Echo", parameter("text", "string"), result={"text": "{{ input.text }}"})))
def a_scripted_tool_answers_with_its_result(mocks):
    result = arcade(mocks).tools.execute(tool_name="Demo.Echo", input={"text": 'a "quoted" word'})
    assert result.output.value == {"text": 'a "quoted" word'}, result
    assert "Demo.Echo" in [item.qualified_name for item in arcade(mocks).tools.list()]


@check(script=tools(tool("Demo.Broken", fails="the station is silent")))
def a_failing_tool_is_200_and_fatal(mocks):
    error = failure(execute(mocks, "Demo.Broken"))
    assert (error["kind"], error["can_retry"]) == ("TOOL_RUNTIME_FATAL", False), error
    assert "the station is silent" in error["message"], error
    expected = [{"tool": "Demo.Broken", "success": False, "executions": 1}]
    assert mocks.ledger(mocks.arcade)["lines"] == expected


LIMITED = {"kind": "UPSTREAM_RUNTIME_RATE_LIMIT", "message": "slow down", "retry_after_ms": 500, "can_retry": True}


@check(script=tools(tool("Demo.Limited", error=LIMITED)))
def a_scripted_error_is_passed_on_as_it_is(mocks):
    error = failure(execute(mocks, "Demo.Limited"))
    assert {name: error[name] for name in LIMITED} == LIMITED, error
    typed = arcade(mocks, max_retries=2).tools.execute(tool_name="Demo.Limited").output.error
    assert (typed.kind, typed.retry_after_ms) == ("UPSTREAM_RUNTIME_RATE_LIMIT", 500), typed
    assert len(arrived(mocks, "/v1/tools/execute")) == 2


@check
def executions_at_the_same_time_are_all_answered(mocks):
    async def together():
        async with AsyncArcade(base_url=mocks.arcade, api_key="arc_test", max_retries=0) as client:
            calls = [client.tools.execute(tool_name="Math.Add", input={"a": n, "b": n}) for n in range(20)]
            return await asyncio.gather(*calls)

    results = asyncio.run(together())
    assert [result.output.value for result in results] == [2 * n for n in range(20)]
    assert len({result.id for result in results}) == 20
    assert mocks.ledger(mocks.arcade)["lines"] == [{"tool": "Math.Add", "success": True, "executions": 20}]


# Authorization


@check(script=WAITING)
def an_unauthorized_execution_is_403_and_not_retried(mocks):
    error = raises(arcadepy.PermissionDeniedError, post, arcade(mocks, max_retries=2))
    assert error.body == {"name": "tool_authorization_required", "message": "authorization required"}, error.body
    assert len(arrived(mocks, "/v1/tools/execute")) == 1
    for name, input in [("Gmail.ListEmails", {}), ("Github.CreateIssue", {"owner": "o", "repo": "r", "title": "t"})]:
        reply = ask(mocks, "POST", "/v1/tools/execute", {"tool_name": name, "input": input, "user_id": "ann"})
        assert (reply.status, reply.body["name"]) == (403, "tool_authorization_required"), reply


@check(script=WAITING)
def an_authorization_is_pending_with_a_url(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    assert authorization.id.startswith("ac_"), authorization
    assert authorization.status == "pending", authorization
    assert urllib.parse.urlparse(authorization.url).scheme in ("http", "https"), authorization
    assert (authorization.user_id, authorization.provider_id) == ("ann", "slack"), authorization
    assert authorization.scopes == ["chat:write"], authorization
    assert not (authorization.context and authorization.context.token), authorization
    began = time.monotonic()
    status = client.auth.status(id=authorization.id)
    assert time.monotonic() - began < 1
    assert (status.id, status.status) == (authorization.id, "pending"), status
    assert not (status.context and status.context.token), status


@check(script=tools(SLACK, authorization_time="400ms"))
def a_status_with_wait_comes_when_the_user_is_done(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    began = time.monotonic()
    status = client.auth.status(id=authorization.id, wait=10)
    took = time.monotonic() - began
    assert (status.id, status.status) == (authorization.id, "completed"), status
    assert 0.2 < took < 3, took
    began = time.monotonic()
    assert client.auth.status(id=authorization.id, wait=10).status == "completed"
    assert time.monotonic() - began < 1


@check(script=WAITING, slow=True)
def a_status_with_wait_is_pending_when_the_time_is_over(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    began = time.monotonic()
    assert client.auth.status(id=authorization.id, wait=1).status == "pending"
    took = time.monotonic() - began
    assert 0.9 < took < 3, took


@check(slow=True)
def an_authorization_takes_2_seconds_unless_told_otherwise(mocks):
    client = arcade(mocks)
    began = time.monotonic()
    authorization = client.tools.authorize(tool_name="Gmail.ListEmails", user_id="ann")
    client.auth.wait_for_completion(authorization)
    took = time.monotonic() - began
    assert 1.5 < took < 4, took
    assert len(arrived(mocks, "/v1/auth/status")) == 1


@check(script=tools(SLACK, authorization_time="300ms"))
def a_completed_authorization_lets_its_user_execute_and_no_other(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    done = client.auth.wait_for_completion(authorization)
    assert (done.status, done.user_id, done.provider_id) == ("completed", "ann", "slack"), done
    assert isinstance(done.context.token, str) and done.context.token, done
    assert isinstance(done.context.user_info, dict), done
    assert len(arrived(mocks, "/v1/auth/status")) == 1
    assert post(client).output.value == {"posted": "hi"}
    raises(arcadepy.PermissionDeniedError, post, client, "bob")


@check(script=WAITING)
def what_is_granted_or_needs_nothing_is_authorized_at_once(mocks):
    client = arcade(mocks)
    settle(mocks, client.tools.authorize(tool_name="Slack.Post", user_id="ann"))
    assert client.tools.authorize(tool_name="Slack.Post", user_id="ann").status == "completed"
    assert client.tools.authorize(tool_name="Slack.Post", user_id="bob").status == "pending"
    assert client.tools.authorize(tool_name="Math.Add", user_id="bob").status == "completed"


@check
def an_authorization_needs_a_user(mocks):
    bad_request(mocks, "POST", "/v1/tools/authorize", {"tool_name": "Gmail.ListEmails"})
    requirement = {"provider_id": "google", "provider_type": "oauth2", "oauth2": {"scopes": []}}
    bad_request(mocks, "POST", "/v1/auth/authorize", {"auth_requirement": requirement})
    bad_request(mocks, "POST", "/v1/auth/authorize", {"user_id": "ann"})
    bad_request(mocks, "POST", "/v1/auth/authorize", {"user_id": "ann", "auth_requirement": {"provider_type": "oauth2"}})


@check(script=WAITING)
def completing_an_authorization_wakes_whoever_waits_for_it(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    timer = threading.Timer(0.2, settle, (mocks, authorization))
    timer.start()
    began = time.monotonic()
    status = client.auth.status(id=authorization.id, wait=10)
    took = time.monotonic() - began
    timer.join()
    assert status.status == "completed" and status.context.token, status
    assert 0.1 < took < 3, took
    assert post(client).success is True


@check(script=WAITING)
def a_failed_authorization_lets_nobody_execute(mocks):
    client = arcade(mocks)
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    settle(mocks, authorization, "fail")
    status = client.auth.status(id=authorization.id)
    assert status.status == "failed", status
    assert not (status.context and status.context.token), status
    raises(arcadepy.PermissionDeniedError, post, client)


@check
def an_unknown_authorization_is_an_error(mocks):
    client = arcade(mocks)
    refused((400, 404), client.auth.status, id="ac_unknown")
    refused((400, 404), client.auth.status, id="ac_unknown", wait=10)
    refused((400, 404), client.get, "/v1/auth/status", cast_to=object)
    for how in ["complete", "fail"]:
        assert ask(mocks, "POST", f"/_mock/authorizations/ac_unknown/{how}", {}, key=None).status == 404


SCOPES = ["https://www.googleapis.com/auth/gmail.readonly"]


@check(script=WAITING)
def auth_start_asks_for_the_scopes_of_a_provider(mocks):
    client = arcade(mocks)
    started = client.auth.start("ann", "google", scopes=SCOPES)
    assert (started.status, started.provider_id, started.user_id) == ("pending", "google", "ann"), started
    assert started.scopes == SCOPES and started.url, started
    settle(mocks, started)
    assert client.auth.wait_for_completion(started.id).context.token
    assert client.auth.start("ann", "google", scopes=SCOPES).status == "completed"
    for user, provider, scopes in [("ann", "google", [*SCOPES, "more"]), ("ann", "github", []), ("bob", "google", SCOPES)]:
        assert client.auth.start(user, provider, scopes=scopes).status == "pending", (user, provider, scopes)


def flow(authorization):
    """The flow that the page behind the url would hand to a verifier."""
    query = urllib.parse.parse_qs(urllib.parse.urlparse(authorization.url).query)
    return query.get("flow_id", [authorization.id])[0]


@check(script=WAITING)
def a_user_is_confirmed_unless_it_is_another(mocks):
    client = arcade(mocks)
    authorization = client.auth.authorize(auth_requirement={"provider_id": "slack"}, user_id="ann")
    other = client.auth.authorize(auth_requirement={"provider_id": "slack"}, user_id="carl")
    error = raises(arcadepy.BadRequestError, client.auth.confirm_user, flow_id=flow(authorization), user_id="bob")
    assert (error.body["code"], error.body["error"]) == (400, "user_mismatch"), error.body
    assert error.body["msg"] == "An error occurred during verification", error.body
    assert client.auth.confirm_user(flow_id=flow(other), user_id="carl").auth_id == other.id
    refused((400, 404), client.auth.confirm_user, flow_id="unknown", user_id="ann")
    bad_request(mocks, "POST", "/v1/auth/confirm_user", {"flow_id": flow(authorization)})


@check(script=WAITING)
def requirements_follow_the_authorization_of_the_user(mocks):
    client = arcade(mocks)

    def state(user_id):
        requirements = client.tools.get("Slack.Post", user_id=user_id).requirements
        [listed] = client.tools.list(toolkit="slack", user_id=user_id).items
        assert listed.requirements == requirements
        return requirements.met, requirements.authorization.token_status

    assert client.tools.get("Slack.Post", user_id="ann").requirements.authorization.status == "active"
    assert state("ann") == (False, "not_started")
    authorization = client.tools.authorize(tool_name="Slack.Post", user_id="ann")
    assert state("ann") == (False, "pending")
    settle(mocks, authorization)
    assert state("ann") == (True, "completed")
    assert state("bob") == (False, "not_started")
    settle(mocks, client.tools.authorize(tool_name="Slack.Post", user_id="bob"), "fail")
    assert state("bob") == (False, "failed")


# Scheduled executions


@check
def a_scheduled_execution_waits_for_its_time(mocks):
    client = arcade(mocks)
    body = execute(mocks, "Math.Add", {"a": 1, "b": 2}, run_at=NEVER, user_id="ann")
    assert body["id"].startswith("te_"), body
    assert (body["execution_type"], body["success"]) == ("scheduled", True), body
    assert not body.get("output") and body.get("finished_at") is None, body
    assert body["run_at"].startswith(NEVER), body
    assert mocks.ledger(mocks.arcade)["lines"] == []
    add(client)
    page = ask(mocks, "GET", "/v1/scheduled_tools").body
    assert (page["total_count"], page["offset"], page["limit"], len(page["items"])) == (1, 0, 25, 1), page
    [listed] = client.tools.scheduled.list().items
    assert listed.id in (body["id"], body["execution_id"]), listed
    assert listed.tool_name in ("Add", "Math.Add") and listed.toolkit_name == "Math", listed
    assert (listed.execution_type, listed.user_id) == ("scheduled", "ann"), listed
    assert listed.run_at.startswith(NEVER), listed
    found = client.tools.scheduled.get(listed.id)
    assert found.id == listed.id and found.input == {"a": 1, "b": 2}, found
    assert found.attempts == [], found
    refused((400, 404), client.tools.scheduled.get, "te_unknown")


@check(slow=True)
def a_scheduled_execution_runs_at_its_time(mocks):
    client = arcade(mocks)
    run_at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=2)
    add(client, run_at=run_at.strftime("%Y-%m-%dT%H:%M:%S"))
    [listed] = client.tools.scheduled.list().items
    deadline = time.monotonic() + 6
    while not (attempts := client.tools.scheduled.get(listed.id).attempts) and time.monotonic() < deadline:
        time.sleep(0.1)
    [attempt] = attempts
    assert attempt.success is True and attempt.output.value == 3, attempt
    assert attempt.finished_at, attempt
    assert mocks.ledger(mocks.arcade)["lines"] == [{"tool": "Math.Add", "success": True, "executions": 1}]


# Workers


def part(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def token_trouble(header, secret):
    """What is wrong with the token of a request, in the words of a real worker."""
    if not header or not header.startswith("Bearer "):
        return "Not authenticated"
    signed, _, signature = header.removeprefix("Bearer ").rpartition(".")
    head, claims = (json.loads(part(text)) for text in signed.split("."))
    expected = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    if head["alg"] != "HS256" or not hmac.compare_digest(part(signature), expected):
        return "Invalid token. Error: Signature verification failed"
    if claims.get("aud") != "worker":
        return "Invalid token. Error: Audience doesn't match"
    if claims.get("ver") != "1":
        return f"Invalid token. Error: Unsupported token version: {claims.get('ver')}"
    if claims.get("exp", math.inf) < time.time():
        return "Invalid token. Error: Signature has expired"
    return None


def definition(name, **requirements):
    """A tool as a worker describes it: without a version in its fully qualified name, and with nulls."""
    value_schema = {"val_type": "string", "inner_val_type": None, "enum": None, "properties": None}
    return {
        "name": name,
        "fully_qualified_name": f"Demo.{name}",
        "description": f"Does {name}",
        "toolkit": {"name": "Demo", "description": None, "version": "2.1.0"},
        "input": {"parameters": [
            {"name": "text", "required": True, "description": None, "value_schema": value_schema, "inferrable": True},
        ]},
        "output": {"description": None, "available_modes": ["value", "error"], "value_schema": value_schema},
        "requirements": {"authorization": None, "secrets": None, "metadata": None, **requirements},
        "deprecation_message": None,
        "metadata": None,
    }


def shout(request):
    said = request["inputs"]["text"].upper()
    return True, {"value": said, "logs": None, "error": None, "requires_authorization": None}


ERROR = {
    "message": "[TOOL_RUNTIME_RETRY] RetryableToolError during execution of tool 'say': bad x",
    "kind": "TOOL_RUNTIME_RETRY",
    "developer_message": "dev",
    "can_retry": True,
    "additional_prompt_content": "use y",
    "retry_after_ms": 500,
    "stacktrace": None,
    "status_code": None,
    "extra": None,
}


class Worker(http.server.ThreadingHTTPServer):
    """A worker of one tool, `Demo.Say`; an answer of `None` breaks it. `invocations` are the requests that it got."""

    def __init__(self, answer=shout, **requirements):
        super().__init__(("127.0.0.1", 0), WorkerHandler)
        self.answer, self.tool = answer, definition("Say", **requirements)
        self.invocations, self.refusals = [], []
        self.uri = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class WorkerHandler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json"):
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        if status == 401:
            self.send_header("www-authenticate", "Bearer")
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def trusted(self):
        trouble = token_trouble(self.headers.get("authorization"), "s3cret")
        if trouble:
            self.server.refusals.append(trouble)
            self.reply(401, {"detail": trouble})
        return not trouble

    def do_GET(self):
        if self.path == "/worker/health":
            self.reply(200, {"status": "ok", "tool_count": "1"})
        elif self.path != "/worker/tools":
            self.reply(404, {"detail": "Not Found"})
        elif self.trusted():
            self.reply(200, [self.server.tool])

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/worker/tools/invoke":
            self.reply(404, {"detail": "Not Found"})
        elif self.trusted():
            self.server.invocations.append(request)
            began = time.monotonic()
            answer = self.server.answer(request)
            if answer is None:
                return self.reply(500, "Internal Server Error", "text/plain")
            success, output = answer
            self.reply(200, {
                "execution_id": request["execution_id"],
                "finished_at": datetime.datetime.now().isoformat(),
                "duration": (time.monotonic() - began) * 1000,
                "success": success,
                "output": output,
            })


def register(client, uri, secret="s3cret", **more):
    return client.workers.create(id="demo", http={"uri": uri, "secret": secret, "retry": 0, "timeout": 5}, **more)


def unused_uri():
    with http.server.HTTPServer(("127.0.0.1", 0), WorkerHandler) as server:
        return f"http://127.0.0.1:{server.server_port}"


def say(client, **more):
    return client.tools.execute(tool_name="Demo.Say", input={"text": "hi"}, **more)


@check
def a_worker_is_created_listed_updated_and_deleted(mocks):
    client = arcade(mocks)
    with Worker() as server:
        body = {"id": "demo", "http": {"uri": server.uri, "secret": "s3cret", "retry": 1, "timeout": 5}}
        created = ask(mocks, "POST", "/v1/workers", body)
        assert created.status == 201, created
        assert (created.body["id"], created.body["enabled"], created.body["type"]) == ("demo", True, "http"), created
        found = client.workers.get("demo")
        assert (found.http.uri, found.http.retry, found.http.timeout) == (server.uri, 1, 5), found
        assert found.http.secret.exists is True and found.http.secret.value != "s3cret", found
        page = ask(mocks, "GET", "/v1/workers").body
        assert page["total_count"] == len(page["items"]) and (page["limit"], page["offset"]) == (25, 0), page
        assert [worker for worker in client.workers.list() if worker.id == "demo"] == [found]
        updated = client.workers.update("demo", enabled=False, http={"timeout": 9})
        assert (updated.enabled, updated.http.timeout, updated.http.uri) == (False, 9, server.uri), updated
        assert client.workers.get("demo") == updated
        gone = ask(mocks, "DELETE", "/v1/workers/demo")
        assert (gone.status, gone.body) == (204, ""), gone
        raises(arcadepy.NotFoundError, client.workers.get, "demo")
        assert "demo" not in [worker.id for worker in client.workers.list()]


@check
def an_unknown_worker_is_404(mocks):
    workers = arcade(mocks).workers
    for call in [workers.get, workers.delete, workers.health, workers.tools, workers.update]:
        is_error(raises(arcadepy.NotFoundError, call, "nobody").body)


@check
def a_worker_that_is_incomplete_or_there_already_is_refused(mocks):
    whole = {"uri": unused_uri(), "secret": "s", "retry": 1, "timeout": 5}
    bad_request(mocks, "POST", "/v1/workers", {"http": whole})
    bad_request(mocks, "POST", "/v1/workers", {"id": "demo"})
    for field in whole:
        bad_request(mocks, "POST", "/v1/workers", {"id": "demo", "http": {**whole, field: None}})
    client = arcade(mocks)
    register(client, whole["uri"])
    refused((400, 409), register, client, whole["uri"])


@check
def a_worker_is_healthy_when_it_answers_and_knows_the_secret(mocks):
    client = arcade(mocks)

    def health(uri, secret):
        register(client, uri, secret)
        found = client.workers.health("demo")
        client.workers.delete("demo")
        assert (found.id, found.enabled) == ("demo", True), found
        assert found.healthy or found.message, found
        return found.healthy

    with Worker() as server:
        assert health(server.uri, "s3cret") is True
        assert server.refusals == []
        assert health(server.uri, "wrong") is False
        assert set(server.refusals) == {"Invalid token. Error: Signature verification failed"}, server.refusals
    assert health(unused_uri(), "s3cret") is False


@check
def the_tools_of_a_worker_come_and_go_with_it(mocks):
    client = arcade(mocks)
    with Worker() as server:
        register(client, server.uri)
        page = client.workers.tools("demo")
        assert (page.total_count, page.offset) == (1, 0), page
        [listed] = page.items
        assert listed.fully_qualified_name == "Demo.Say@2.1.0", listed
        assert (listed.qualified_name, listed.toolkit.version) == ("Demo.Say", "2.1.0"), listed
        assert [(given.name, given.value_schema.val_type) for given in listed.input.parameters] == [("text", "string")]
        assert [item.fully_qualified_name for item in client.tools.list(toolkit="demo")] == ["Demo.Say@2.1.0"]
        assert client.tools.get("Demo_Say").requirements.met is True
        client.workers.update("demo", enabled=False)
        assert client.tools.list(toolkit="demo").total_count == 0
        client.workers.update("demo", enabled=True)
        assert say(client).output.value == "HI"
        client.workers.delete("demo")
        assert client.tools.list(toolkit="demo").total_count == 0
        refused((400, 404), say, client)


@check
def a_worker_is_invoked_with_the_documented_request(mocks):
    def slowly(request):
        time.sleep(0.12)
        return shout(request)

    client = arcade(mocks)
    with Worker(slowly) as server:
        register(client, server.uri)
        body = execute(mocks, "Demo.Say", {"text": "hi"}, user_id="ann")
        assert outcome(body) == {"value": "HI"} and body["success"] is True, body
        assert body["id"].startswith("te_") and (body["execution_type"], body["status"]) == ("immediate", "success"), body
        assert 100 <= body["duration"] < 5000, body
        [request] = server.invocations
        assert request["execution_id"] == body["execution_id"] and request["execution_id"].startswith("tc_"), request
        assert isinstance(request["run_id"], str) and request["run_id"], request
        datetime.datetime.fromisoformat(request["created_at"].replace("Z", "+00:00"))
        assert request["tool"] == {"name": "Say", "toolkit": "Demo", "version": "2.1.0"}, request
        assert request["inputs"] == {"text": "hi"}, request
        assert request["context"]["user_id"] == "ann", request
        assert server.refusals == []


@check
def the_failure_of_a_worker_is_passed_on(mocks):
    output = {"value": None, "logs": None, "error": ERROR, "requires_authorization": None}
    with Worker(lambda _: (False, output)) as server:
        register(arcade(mocks), server.uri)
        error = failure(execute(mocks, "Demo.Say", {"text": "hi"}))
        expected = {name: said for name, said in ERROR.items() if said is not None}
        assert {name: error.get(name) for name in expected} == expected, error
        assert len(server.invocations) == 1
        server.answer = lambda _: None
        reply = ask(mocks, "POST", "/v1/tools/execute", {"tool_name": "Demo.Say", "input": {"text": "hi"}})
        if reply.status == 200:
            failure(reply.body)
        else:
            assert reply.status >= 500, reply
            is_error(reply.body)


@check(script={"arcade": {"authorization_time": "60s"}})
def a_worker_is_given_the_token_of_the_user(mocks):
    client = arcade(mocks)
    slack = {"id": None, "provider_id": "slack", "provider_type": "oauth2", "oauth2": {"scopes": ["chat:write"]}}
    with Worker(authorization=slack) as server:
        register(client, server.uri)
        raises(arcadepy.PermissionDeniedError, say, client, user_id="ann")
        authorization = client.tools.authorize(tool_name="Demo.Say", user_id="ann")
        settle(mocks, authorization)
        assert say(client, user_id="ann").output.value == "HI"
        raises(arcadepy.PermissionDeniedError, say, client, user_id="bob")
        token = client.auth.status(id=authorization.id).context.token
        assert [request["context"]["authorization"]["token"] for request in server.invocations] == [token]


@check
def a_worker_is_given_the_secrets_of_its_tool(mocks):
    client = arcade(mocks)
    with Worker(secrets=[{"key": "API_KEY"}]) as server:
        register(client, server.uri)
        assert client.tools.get("Demo.Say").requirements.met is False
        assert ask(mocks, "POST", "/v1/admin/secrets/API_KEY", {"value": "hush"}).status == 200
        requirements = client.tools.get("Demo.Say").requirements
        assert requirements.met is True and requirements.secrets[0].met is True, requirements
        assert say(client).success is True
        [request] = server.invocations
        assert request["context"]["secrets"] == [{"key": "API_KEY", "value": "hush"}], request


# Faults and the control plane


@check
def every_status_is_the_error_of_its_class(mocks):
    classes = {
        400: arcadepy.BadRequestError,
        401: arcadepy.AuthenticationError,
        403: arcadepy.PermissionDeniedError,
        404: arcadepy.NotFoundError,
        409: arcadepy.ConflictError,
        415: arcadepy.APIStatusError,
        422: arcadepy.UnprocessableEntityError,
        429: arcadepy.RateLimitError,
        500: arcadepy.InternalServerError,
        503: arcadepy.InternalServerError,
    }
    client = arcade(mocks)
    mocks.script(*[rule(status) for status in classes], base=mocks.arcade)
    for status, kind in classes.items():
        error = raises(kind, add, client)
        assert error.status_code == status and error.body == {"name": "scripted", "message": f"scripted {status}"}
    assert add(client).success is True
    assert mocks.ledger(mocks.arcade)["lines"] == [{"tool": "Math.Add", "success": True, "executions": 1}]


@check
def what_may_pass_is_retried_and_counted(mocks):
    client = arcade(mocks, max_retries=2)
    for status in [408, 409, 429, 500, 503]:
        mocks.control("/_mock/reset", {}, mocks.arcade)
        mocks.script(rule(status, times=2, headers={"retry-after-ms": "1"}), base=mocks.arcade)
        assert add(client).output.value == 3, status
        counts = [request["headers"]["x-stainless-retry-count"] for request in arrived(mocks, "/v1/tools/execute")]
        assert counts == ["0", "1", "2"], (status, counts)
        assert mocks.ledger(mocks.arcade)["lines"] == [{"tool": "Math.Add", "success": True, "executions": 1}]


@check
def what_will_not_pass_is_not_retried(mocks):
    client = arcade(mocks, max_retries=2)
    for status in [400, 401, 403, 404, 422]:
        mocks.control("/_mock/reset", {}, mocks.arcade)
        mocks.script(rule(status, times=3), base=mocks.arcade)
        refused((status,), add, client)
        assert len(arrived(mocks, "/v1/tools/execute")) == 1, status


@check
def the_headers_of_a_rule_tell_the_client_when_to_retry(mocks):
    client = arcade(mocks, max_retries=1)
    for name, value in [("retry-after-ms", "510"), ("retry-after", "0.51")]:
        mocks.script(rule(429, headers={name: value}), base=mocks.arcade)
        began = time.monotonic()
        assert add(client).success is True
        took = time.monotonic() - began
        assert 0.51 <= took < 3, (name, took)
    mocks.script(rule(500, headers={"x-should-retry": "false"}), base=mocks.arcade)
    raises(arcadepy.InternalServerError, add, client)
    mocks.script(rule(400, headers={"x-should-retry": "true", "retry-after-ms": "1"}), base=mocks.arcade)
    assert add(client).success is True


@check
def a_rule_is_for_its_method_and_path_and_comes_before_the_key(mocks):
    mocks.script(rule(418, path="/v1/tools", method="GET", body={"teapot": True}), base=mocks.arcade)
    assert add(arcade(mocks)).success is True
    assert ask(mocks, "GET", "/v1/tools/Math.Add").status == 200
    assert ask(mocks, "GET", "/v1/tools", key=None)[::2] == (418, {"teapot": True})
    assert ask(mocks, "GET", "/v1/tools").status == 200


@check
def a_rule_may_answer_late_and_with_any_text(mocks):
    late = rule(200, path="/v1/health", method="GET", body="<html>", headers={"content-type": "text/html"})
    late["response"]["delay_ms"] = 300
    mocks.script(late, base=mocks.arcade)
    began = time.monotonic()
    reply = ask(mocks, "GET", "/v1/health")
    assert (reply.status, reply.body) == (200, "<html>"), reply
    assert reply.headers["content-type"].startswith("text/html"), reply.headers
    assert 0.3 <= time.monotonic() - began < 2


@check
def the_journal_shows_what_arrived(mocks):
    add(arcade(mocks))
    ask(mocks, "GET", "/v1/tools?limit=3&toolkit=math")
    posted, got = mocks.requests(mocks.arcade)
    assert (posted["method"], posted["path"]) == ("POST", "/v1/tools/execute"), posted
    assert posted["body"] == {"tool_name": "Math.Add", "input": {"a": 1, "b": 2}}, posted
    assert posted["headers"]["user-agent"] == f"Arcade/Python {arcadepy.__version__}", posted
    assert all(name == name.lower() for name in posted["headers"]), posted
    assert (got["method"], got["path"], got["query"]) == ("GET", "/v1/tools", "limit=3&toolkit=math"), got


@check
def the_ledger_counts_executions_by_tool_and_success(mocks):
    client = arcade(mocks)
    for divisor in [1, 0, 0]:
        client.tools.execute(tool_name="Math.Divide", input={"a": 1, "b": divisor})
    add(client)
    lines = mocks.ledger(mocks.arcade)["lines"]
    assert sorted(lines, key=lambda line: (line["tool"], line["success"])) == [
        {"tool": "Math.Add", "success": True, "executions": 1},
        {"tool": "Math.Divide", "success": False, "executions": 2},
        {"tool": "Math.Divide", "success": True, "executions": 1},
    ], lines


@check
def a_reset_drops_rules_journal_and_ledger(mocks):
    add(arcade(mocks))
    mocks.script(rule(500, times=9), base=mocks.arcade)
    assert ask(mocks, "POST", "/_mock/reset", {}, key=None).status == 200
    assert mocks.requests(mocks.arcade) == []
    assert mocks.ledger(mocks.arcade)["lines"] == []
    assert add(arcade(mocks)).success is True


# Chat and administration


@check
def a_chat_is_answered_in_the_shape_of_openai(mocks):
    messages = [{"role": "user", "content": "hello"}]
    chat = arcade(mocks).chat.completions.create(model="gpt-4o", messages=messages, user="ann")
    assert isinstance(chat.id, str) and isinstance(chat.created, int), chat
    assert (chat.object, chat.model) == ("chat.completion", "gpt-4o"), chat
    [choice] = chat.choices
    assert (choice.index, choice.finish_reason, choice.message.role) == (0, "stop", "assistant"), choice
    assert choice.message.content, choice
    usage = chat.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage


@check
def a_secret_is_kept_listed_without_its_value_and_deleted(mocks):
    client = arcade(mocks)
    created = ask(mocks, "POST", "/v1/admin/secrets/API_KEY", {"value": "hush-hush", "description": "a key"})
    assert (created.status, created.body["key"], created.body["description"]) == (200, "API_KEY", "a key"), created
    listed = ask(mocks, "GET", "/v1/admin/secrets")
    assert "hush-hush" not in json.dumps(listed.body) + json.dumps(created.body)
    page = client.admin.secrets.list()
    assert (page.total_count, page.offset) == (1, 0), page
    [secret] = page.items
    assert (secret.id, secret.key) == (created.body["id"], "API_KEY"), secret
    gone = ask(mocks, "DELETE", f"/v1/admin/secrets/{secret.id}")
    assert (gone.status, gone.body) == (204, ""), gone
    assert client.admin.secrets.list().items == []
    raises(arcadepy.NotFoundError, client.admin.secrets.delete, secret.id)


@check
def an_auth_provider_is_created_listed_patched_and_deleted(mocks):
    client = arcade(mocks)
    providers = client.admin.auth_providers
    before = providers.list().total_count
    oauth2 = {"client_id": "me", "client_secret": "hush-hush"}
    created = providers.create(id="acme", description="Acme", type="oauth2", provider_id="acme", oauth2=oauth2)
    assert (created.id, created.description, created.type) == ("acme", "Acme", "oauth2"), created
    reply = ask(mocks, "GET", "/v1/admin/auth_providers/acme")
    assert reply.status == 200 and "hush-hush" not in json.dumps(reply.body), reply
    assert providers.get("acme").oauth2.client_id == "me"
    assert providers.list().total_count == before + 1
    assert "acme" in [provider.id for provider in providers.list().items]
    assert providers.patch("acme", description="Acme 2").description == "Acme 2"
    assert providers.get("acme").description == "Acme 2"
    gone = ask(mocks, "DELETE", "/v1/admin/auth_providers/acme")
    assert (gone.status, gone.body["id"]) == (200, "acme"), gone
    raises(arcadepy.NotFoundError, providers.get, "acme")


@check(script=WAITING)
def a_connection_of_a_user_is_listed_and_deleted(mocks):
    client = arcade(mocks)
    connections = client.admin.user_connections
    assert connections.list().items == []
    for user_id in ["ann", "bob"]:
        settle(mocks, client.tools.authorize(tool_name="Slack.Post", user_id=user_id))
    assert sorted(connection.user_id for connection in connections.list(limit=1)) == ["ann", "bob"]
    [connection] = connections.list(provider={"id": "slack"}, user={"id": "ann"}).items
    assert (connection.user_id, connection.provider_id) == ("ann", "slack"), connection
    assert connection.scopes == ["chat:write"], connection
    assert connections.list(provider={"id": "github"}).items == []
    assert ask(mocks, "DELETE", f"/v1/admin/user_connections/{connection.id}").status == 204
    assert [connection.user_id for connection in connections.list()] == ["bob"]
    raises(arcadepy.PermissionDeniedError, post, client)
    assert post(client, "bob").success is True
