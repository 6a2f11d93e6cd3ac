//! `openapi.json`: the contract in its precise form, made from the messages and one table of operations.

use crate::{
    AuditPage, AuthorizeToolRequest, BatchAnswer, BatchRequest, CacheReport, CallbackRequest,
    Criteria, ErrorBody, ExecuteRequest, ExecutionBegun, ExecutionState, GrantedToken, Health,
    Invalidated, InvalidationType, QueryAnswer, QueryRequest, QueryState, Ready, RegisterRequest,
    RevokeRequest, Revoked, Session, SessionForgotten, TokenRequest, TokenValidity, ToolAnswer,
    ToolAuthorization, ToolAuthorized, ToolDefinition, ToolList, ToolRemoved, WarmRequest,
    WarmingJob,
};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// Who may use an operation.
#[derive(Clone, Copy)]
enum Access {
    /// Anybody.
    Open,
    /// Whoever has a good token.
    Token,
    /// Whoever has a token with this scope.
    Scope(&'static str),
}

/// One operation of the contract.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    access: Access,
    parameters: Vec<Value>,
    request: Option<Value>,
    answers: Vec<(u16, &'static str, Value)>,
    /// Statuses of errors besides those of its access and its body.
    errors: &'static [u16],
}

/// The whole document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    let error = schema::<ErrorBody>(&mut generator);
    let mut paths = Map::new();
    for operation in operations(&mut generator) {
        let path = paths
            .entry(operation.path)
            .or_insert_with(|| Value::Object(Map::new()));
        path[operation.method] = describe(&operation, &error);
    }
    let schemas: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FACT",
            "version": "1",
            "description": "Fast-access cached tools: what any implementation offers. Judged in the order 404, 405, 401, 403, then the body.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn content(kind: &str, schema: &Value) -> Value {
    json!({ kind: { "schema": schema } })
}

fn as_json<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    content("application/json", &schema::<T>(generator))
}

fn text(kind: &str) -> Value {
    content(kind, &json!({ "type": "string" }))
}

fn in_path(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
}

fn in_query(name: &str, description: &str, schema: &Value) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": schema })
}

fn describe(operation: &Operation, error: &Value) -> Value {
    let mut statuses: Vec<u16> = operation.errors.to_vec();
    statuses.push(500);
    match operation.access {
        Access::Open => {}
        Access::Token => statuses.extend([401, 429]),
        Access::Scope(_) => statuses.extend([401, 403, 429]),
    }
    if operation.request.is_some() {
        statuses.extend([400, 413]);
    }
    if !operation.parameters.is_empty() {
        statuses.extend([404, 405]);
    }
    statuses.sort_unstable();
    statuses.dedup();
    let mut responses = Map::new();
    for (status, description, content) in &operation.answers {
        responses.insert(
            status.to_string(),
            json!({ "description": description, "content": content }),
        );
    }
    for status in statuses {
        responses.entry(status.to_string()).or_insert_with(|| {
            json!({ "description": meaning(status), "content": content("application/json", error) })
        });
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": responses,
    });
    if !operation.parameters.is_empty() {
        described["parameters"] = operation.parameters.clone().into();
    }
    if let Some(request) = &operation.request {
        described["requestBody"] = request.clone();
    }
    match operation.access {
        Access::Open => described["security"] = json!([]),
        Access::Token => described["security"] = json!([{ "token": [] }]),
        Access::Scope(scope) => {
            described["security"] = json!([{ "token": [] }]);
            described["x-scope"] = scope.into();
        }
    }
    described
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "The request cannot be understood.",
        401 => "The token is missing or bad.",
        403 => "The token may not do this, a guard refuses it, or a person has to consent first.",
        404 => "There is no such thing for this client.",
        405 => "The path does not take this method.",
        409 => "There is one already, or it is used.",
        413 => "The body is longer than 1 MiB.",
        422 => "The arguments do not fit, or a limit was reached.",
        429 => "Too many requests; `Retry-After` says when to come again.",
        503 => "Something that it rests on cannot be reached.",
        504 => "It took too long, or is not in the cache.",
        _ => "A defect, or a tool that failed.",
    }
}

fn body(content: &Value, required: bool) -> Value {
    json!({ "content": content, "required": required })
}

/// At least one criterion where only some answers are dropped, and none where all are.
fn invalidation(generator: &mut SchemaGenerator) -> Value {
    schema::<InvalidationType>(generator);
    let one = |name: &str, kind: &str| json!({ "required": [name], "properties": { name: { "type": kind } } });
    let criteria = json!({
        "allOf": [schema::<Criteria>(generator)],
        "anyOf": [one("query", "string"), one("table", "string"), one("prefix", "string"), one("older_than_seconds", "integer")],
    });
    let branch = |name: &str, criteria: Value, required: Value| {
        json!({
            "type": "object",
            "properties": { "invalidation_type": { "const": name }, "criteria": criteria },
            "required": required,
            "additionalProperties": false,
        })
    };
    json!({ "oneOf": [
        branch("selective", criteria, json!(["invalidation_type", "criteria"])),
        branch("all", json!({ "type": "object", "maxProperties": 0 }), json!(["invalidation_type"])),
    ] })
}

fn operations(g: &mut SchemaGenerator) -> Vec<Operation> {
    let mut all = questions(g);
    all.extend(cache(g));
    all.extend(tools(g));
    all.extend(tokens(g));
    all.extend(system(g));
    all
}

fn questions(g: &mut SchemaGenerator) -> Vec<Operation> {
    let mut answer = as_json::<QueryAnswer>(g);
    answer["text/event-stream"] = json!({
        "schema": { "type": "string" },
        "example": "event: delta\ndata: {\"text\":\"There are 40.\",\"turn\":2}\n\n",
    });
    vec![
        Operation {
            method: "post",
            path: "/api/v1/query",
            id: "query",
            summary: "Answers a question, as JSON or, by `Accept`, as a stream of events.",
            access: Access::Scope("query"),
            parameters: vec![],
            request: Some(body(&as_json::<QueryRequest>(g), true)),
            answers: vec![(200, "The answer.", answer)],
            errors: &[422, 503, 504],
        },
        Operation {
            method: "get",
            path: "/api/v1/query/{id}/status",
            id: "query_status",
            summary: "How far one's own question is.",
            access: Access::Scope("query"),
            parameters: vec![in_path("id")],
            request: None,
            answers: vec![(200, "How far it is.", as_json::<QueryState>(g))],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/api/v1/sessions/{id}",
            id: "session",
            summary: "The turns of one's own session.",
            access: Access::Scope("query"),
            parameters: vec![in_path("id")],
            request: None,
            answers: vec![(200, "Its turns.", as_json::<Session>(g))],
            errors: &[400],
        },
        Operation {
            method: "delete",
            path: "/api/v1/sessions/{id}",
            id: "session_forget",
            summary: "Forgets one's own session.",
            access: Access::Scope("query"),
            parameters: vec![in_path("id")],
            request: None,
            answers: vec![(200, "It is forgotten.", as_json::<SessionForgotten>(g))],
            errors: &[400],
        },
    ]
}

fn cache(g: &mut SchemaGenerator) -> Vec<Operation> {
    let invalidation = content("application/json", &invalidation(g));
    vec![
        Operation {
            method: "get",
            path: "/api/v1/cache/status",
            id: "cache_status",
            summary: "What one's own tenant has in the cache.",
            access: Access::Scope("cache"),
            parameters: vec![],
            request: None,
            answers: vec![(200, "What is there.", as_json::<CacheReport>(g))],
            errors: &[],
        },
        Operation {
            method: "post",
            path: "/api/v1/cache/warm",
            id: "cache_warm",
            summary: "Asks questions as their caller would, so that their answers are there.",
            access: Access::Scope("cache"),
            parameters: vec![],
            request: Some(body(&as_json::<WarmRequest>(g), true)),
            answers: vec![(202, "It was begun.", as_json::<WarmingJob>(g))],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/api/v1/cache/warm/{id}/status",
            id: "cache_warm_status",
            summary: "How far one's own warming job is.",
            access: Access::Scope("cache"),
            parameters: vec![in_path("id")],
            request: None,
            answers: vec![(200, "How far it is.", as_json::<WarmingJob>(g))],
            errors: &[],
        },
        Operation {
            method: "delete",
            path: "/api/v1/cache/entries",
            id: "cache_invalidate",
            summary: "Drops answers of one's own tenant. The fields may stand in the query string instead.",
            access: Access::Scope("cache"),
            parameters: vec![],
            request: Some(body(&invalidation, true)),
            answers: vec![(200, "They are gone.", as_json::<Invalidated>(g))],
            errors: &[],
        },
    ]
}

fn tools(g: &mut SchemaGenerator) -> Vec<Operation> {
    vec![
        Operation {
            method: "get",
            path: "/api/v1/tools",
            id: "tools",
            summary: "The tools that one may use.",
            access: Access::Scope("tools"),
            parameters: vec![],
            request: None,
            answers: vec![(200, "By name.", as_json::<ToolList>(g))],
            errors: &[],
        },
        Operation {
            method: "post",
            path: "/api/v1/tools",
            id: "tool_register",
            summary: "Registers a tool of Arcade, or an HTTP endpoint. Never code.",
            access: Access::Scope("admin"),
            parameters: vec![],
            request: Some(body(&as_json::<RegisterRequest>(g), true)),
            answers: vec![(201, "It is registered.", as_json::<ToolDefinition>(g))],
            errors: &[409, 422, 503],
        },
        Operation {
            method: "get",
            path: "/api/v1/tools/{name}",
            id: "tool",
            summary: "One tool.",
            access: Access::Scope("tools"),
            parameters: vec![in_path("name")],
            request: None,
            answers: vec![(200, "The tool.", as_json::<ToolDefinition>(g))],
            errors: &[],
        },
        Operation {
            method: "delete",
            path: "/api/v1/tools/{name}",
            id: "tool_remove",
            summary: "Removes a registered tool.",
            access: Access::Scope("admin"),
            parameters: vec![in_path("name")],
            request: None,
            answers: vec![(200, "It is gone.", as_json::<ToolRemoved>(g))],
            errors: &[409],
        },
        Operation {
            method: "post",
            path: "/api/v1/tools/{name}/execute",
            id: "tool_execute",
            summary: "Calls a tool.",
            access: Access::Scope("tools"),
            parameters: vec![in_path("name")],
            request: Some(body(&as_json::<ExecuteRequest>(g), true)),
            answers: vec![
                (200, "What it said.", as_json::<ToolAnswer>(g)),
                (
                    202,
                    "It was begun and is not waited for.",
                    as_json::<ExecutionBegun>(g),
                ),
            ],
            errors: &[422, 503, 504],
        },
        Operation {
            method: "get",
            path: "/api/v1/tools/executions/{id}",
            id: "tool_execution",
            summary: "How far one's own call is that was not waited for.",
            access: Access::Scope("tools"),
            parameters: vec![in_path("id")],
            request: None,
            answers: vec![(200, "How far it is.", as_json::<ExecutionState>(g))],
            errors: &[],
        },
        Operation {
            method: "post",
            path: "/api/v1/tools/batch",
            id: "tools_batch",
            summary: "Calls several tools side by side; each failure is its own.",
            access: Access::Scope("tools"),
            parameters: vec![],
            request: Some(body(&as_json::<BatchRequest>(g), true)),
            answers: vec![(200, "In the order of the calls.", as_json::<BatchAnswer>(g))],
            errors: &[],
        },
    ]
}

fn tokens(g: &mut SchemaGenerator) -> Vec<Operation> {
    let token = schema::<TokenRequest>(g);
    let forms = json!({
        "application/json": { "schema": token },
        "application/x-www-form-urlencoded": { "schema": token },
    });
    vec![
        Operation {
            method: "post",
            path: "/api/v1/auth/token",
            id: "token",
            summary: "Trades a client's credentials for a token.",
            access: Access::Open,
            parameters: vec![],
            request: Some(body(&forms, true)),
            answers: vec![(200, "The token.", as_json::<GrantedToken>(g))],
            errors: &[401, 403, 429],
        },
        Operation {
            method: "post",
            path: "/api/v1/auth/tools/{name}/authorize",
            id: "tool_authorize",
            summary: "Begins a person's consent to a tool that needs one: authorization code with PKCE.",
            access: Access::Scope("tools"),
            parameters: vec![in_path("name")],
            request: Some(body(&as_json::<AuthorizeToolRequest>(g), false)),
            answers: vec![(
                200,
                "Given already, or where to send the person.",
                as_json::<ToolAuthorization>(g),
            )],
            errors: &[503, 504],
        },
        Operation {
            method: "post",
            path: "/api/v1/auth/tools/callback",
            id: "tool_authorize_callback",
            summary: "Finishes it with what the provider sent the person back with. A state is good once, and expires.",
            access: Access::Scope("tools"),
            parameters: vec![],
            request: Some(body(&as_json::<CallbackRequest>(g), true)),
            answers: vec![(
                200,
                "The person has consented.",
                as_json::<ToolAuthorized>(g),
            )],
            errors: &[503, 504],
        },
        Operation {
            method: "get",
            path: "/api/v1/auth/validate",
            id: "token_validate",
            summary: "What one's token is good for.",
            access: Access::Token,
            parameters: vec![],
            request: None,
            answers: vec![(200, "It is good.", as_json::<TokenValidity>(g))],
            errors: &[],
        },
        Operation {
            method: "post",
            path: "/api/v1/auth/revoke",
            id: "token_revoke",
            summary: "Ends a token of one's own; the one that asks by default.",
            access: Access::Token,
            parameters: vec![],
            request: Some(body(&as_json::<RevokeRequest>(g), false)),
            answers: vec![(200, "It is good no more.", as_json::<Revoked>(g))],
            errors: &[],
        },
    ]
}

fn system(g: &mut SchemaGenerator) -> Vec<Operation> {
    let one_of = |words: &[&str]| json!({ "type": "string", "enum": words });
    let time = json!({ "type": "string", "format": "date-time" });
    let number = |most: u64| json!({ "type": "integer", "minimum": 1, "maximum": most });
    vec![
        Operation {
            method: "get",
            path: "/api/v1/health",
            id: "health",
            summary: "How it is.",
            access: Access::Open,
            parameters: vec![],
            request: None,
            answers: vec![
                (200, "It works, at least in part.", as_json::<Health>(g)),
                (503, "Nothing works.", as_json::<Health>(g)),
            ],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/api/v1/ready",
            id: "ready",
            summary: "Whether requests are answered.",
            access: Access::Open,
            parameters: vec![],
            request: None,
            answers: vec![
                (200, "They are.", as_json::<Ready>(g)),
                (503, "They are not yet, or no more.", as_json::<Ready>(g)),
            ],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/api/v1/metrics",
            id: "metrics",
            summary: "What was counted.",
            access: Access::Scope("metrics"),
            parameters: vec![],
            request: None,
            answers: vec![(200, "The counts.", content("application/json", &counts()))],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/metrics",
            id: "prometheus",
            summary: "The same for Prometheus.",
            access: Access::Scope("metrics"),
            parameters: vec![],
            request: None,
            answers: vec![(200, "The text format.", text("text/plain"))],
            errors: &[],
        },
        Operation {
            method: "get",
            path: "/api/v1/audit",
            id: "audit",
            summary: "What happened, the newest first.",
            access: Access::Scope("admin"),
            parameters: vec![
                in_query("limit", "Events of a page; 100 by default.", &number(1_000)),
                in_query(
                    "cursor",
                    "The `next_cursor` of an earlier page.",
                    &json!({ "type": "string", "pattern": "^[1-9][0-9]{0,17}$" }),
                ),
                in_query(
                    "type",
                    "Only of this type.",
                    &one_of(&["tool_call", "refusal", "login", "admin"]),
                ),
                in_query(
                    "outcome",
                    "Only of this outcome.",
                    &one_of(&["success", "failure", "refused"]),
                ),
                in_query(
                    "client_id",
                    "Only of this client.",
                    &json!({ "type": "string" }),
                ),
                in_query(
                    "tenant",
                    "Only of this tenant.",
                    &json!({ "type": "string" }),
                ),
                in_query(
                    "resource",
                    "Only on this resource.",
                    &json!({ "type": "string" }),
                ),
                in_query(
                    "trace_id",
                    "Only of this request.",
                    &json!({ "type": "string" }),
                ),
                in_query("since", "Not before.", &time),
                in_query("until", "Before.", &time),
            ],
            request: None,
            answers: vec![(200, "One page.", as_json::<AuditPage>(g))],
            errors: &[400],
        },
        Operation {
            method: "get",
            path: "/openapi.json",
            id: "openapi",
            summary: "This document.",
            access: Access::Open,
            parameters: vec![],
            request: None,
            answers: vec![(
                200,
                "The document.",
                content("application/json", &json!({ "type": "object" })),
            )],
            errors: &[],
        },
    ]
}

/// The counts that every implementation has.
fn counts() -> Value {
    let names = [
        "queries_total",
        "cache_hits_total",
        "cache_misses_total",
        "claude_requests_total",
        "tool_executions_total",
        "errors_total",
        "cost_usd_total",
    ];
    let mut properties: Map<String, Value> = names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                json!({ "type": "number", "minimum": 0 }),
            )
        })
        .collect();
    properties.insert("tokens".into(), json!({ "type": "object" }));
    let required: Vec<&String> = properties.keys().collect();
    json!({ "type": "object", "required": required, "properties": properties })
}
