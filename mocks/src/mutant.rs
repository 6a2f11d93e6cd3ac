//! Mistakes that the mocks make on purpose, one at a time, so that suites which are run against them can be judged.

use std::str::FromStr;

use axum::http::{HeaderValue, header};
use serde_json::{Value, json};

use crate::body::Answer;
use crate::journal::Entry;

macro_rules! mutants {
    ($($variant:ident $name:literal $doc:literal)*) => {
        /// A mistake.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Mutant {
            $(#[doc = $doc] $variant,)*
        }

        impl Mutant {
            /// All mistakes.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// What it is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

mutants! {
    MissingEventLine "claude.stream-missing-event-line" "Deltas come without an `event:` line."
    WrongEventName "claude.stream-wrong-event-name" "`message_stop` is called `done`."
    MissingMessageStop "claude.stream-missing-message-stop" "A stream ends without `message_stop`."
    LostDelta "claude.stream-lost-text-delta" "The last delta of a block is lost."
    NoEmptyDelta "claude.stream-tool-input-without-empty-delta" "A tool's input begins with no empty fragment."
    AllBlocksZero "claude.stream-index-always-zero" "All blocks have the index 0."
    NoCacheInStart "claude.stream-start-usage-without-cache" "`message_start` has no cache counters."
    DeltaUsageZero "claude.stream-delta-usage-not-cumulative" "`message_delta` counts no output."
    StreamContentType "claude.stream-content-type" "A stream is `text/plain`."
    NoSignature "claude.stream-thinking-without-signature" "Thinking has no `signature_delta`."
    InputOffByOne "claude.usage-input-off-by-one" "One input token too many."
    OutputOffByOne "claude.usage-output-off-by-one" "One output token too many, in whole answers."
    BucketsSwapped "claude.cache-creation-ttl-buckets-swapped" "Writes for five minutes count as for an hour."
    CacheReadsOneTooFar "claude.cache-reads-21-positions" "An entry is found 21 positions back."
    CacheReadsOneTooNear "claude.cache-reads-19-positions" "An entry is not found 20 positions back."
    CacheWritesEverywhere "claude.cache-writes-entries-everywhere" "Blocks without a breakpoint can be read, too."
    CacheIgnoresMinimum "claude.cache-ignores-minimum" "Short prefixes are cached."
    CountOffByOne "claude.count-tokens-off-by-one" "A count of tokens is one too high."
    ErrorType "claude.error-type-of-400" "A 400 has the type `bad_request_error`."
    RateLimitType "claude.error-type-of-429" "A 429 has the type `overloaded_error`."
    NotFoundStatus "claude.unknown-model-is-400" "What is not found is a 400."
    UnauthorizedStatus "claude.invalid-key-is-403" "A bad key is a 403."
    NoRequestId "claude.request-id-header-missing" "No `request-id`."
    OtherRequestId "claude.request-id-of-error-differs" "Header and body of an error name two requests."
    NoOrganization "claude.organization-header-missing" "No `anthropic-organization-id`."
    NoRateLimits "claude.rate-limit-headers-missing" "No `anthropic-ratelimit-…`."
    ResetInSeconds "claude.rate-limit-reset-in-seconds" "A reset is a number of seconds."
    StopReason "claude.stop-reason-of-tool-use" "A call of a tool ends with `end_turn`."
    InputAsText "claude.tool-input-as-string" "A tool's input is a string of JSON."
    ToolId "claude.tool-id-shape" "Ids of calls are `call_…`."
    Role "claude.message-role" "A message has the role `model`."
    NoStopSequence "claude.message-without-stop-sequence" "`stop_sequence` is left out."
    PageEnds "claude.models-page-says-no-more" "No page has more after it."
    PageIds "claude.models-page-without-last-id" "A page has no `last_id`."
    NoLifecycle "claude.models-without-capabilities" "A model has no `capabilities`."
    BatchCounts "claude.batch-request-counts-zero" "A batch that has ended counts nothing."
    BatchTier "claude.batch-service-tier" "A batch is served as `standard`."
    BatchStatus "claude.batch-ends-as-completed" "A batch that has ended is `completed`."
    FailureAs500 "arcade.failing-tool-is-500" "A tool that fails is a 500."
    FailureSucceeds "arcade.failing-tool-succeeds" "A tool that fails has `success: true`."
    NoTotal "arcade.page-without-total-count" "A page has no `total_count`."
    ErrorWithoutName "arcade.error-without-name" "An error has no `name`."
    Unauthorized401 "arcade.unauthorized-execute-is-401" "A tool that needs the user's consent is a 401."
    WaitIgnored "arcade.authorization-status-wait-ignored" "`wait` is not waited for."
    NoToken "arcade.authorization-completed-without-token" "A completed authorization has no token."
    Seconds "arcade.execute-duration-in-seconds" "A duration is in seconds."
    NoVersion "arcade.tool-qualified-name-without-version" "A fully qualified name has no version."
    DottedName "arcade.formatted-name-with-dot" "A formatted name has a dot."
    AllRequired "arcade.formatted-required-lists-all" "All parameters are required."
    BothOutputs "arcade.execute-output-value-and-error" "An output has a value and an error."
}

impl FromStr for Mutant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|mutant| mutant.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("`{name}` is no mutant: `fact mocks --mutants` lists them"))
    }
}

impl Mutant {
    /// Makes the mistake, where an answer gives it the chance.
    pub(crate) fn spoil(self, answer: &mut Answer, entry: &Entry) {
        match self {
            Self::NoRequestId => drop(answer.headers.remove("request-id")),
            Self::NoOrganization => drop(answer.headers.remove("anthropic-organization-id")),
            Self::NoRateLimits => {
                let names = answer.headers.keys().cloned().collect::<Vec<_>>();
                for name in names.iter().filter(|it| it.as_str().contains("ratelimit")) {
                    answer.headers.remove(name);
                }
            }
            Self::ResetInSeconds => {
                for (name, value) in &mut answer.headers {
                    if name.as_str().ends_with("-reset") {
                        *value = HeaderValue::from_static("60");
                    }
                }
            }
            Self::StreamContentType if !answer.sized => {
                let plain = HeaderValue::from_static("text/plain");
                answer.headers.insert(header::CONTENT_TYPE, plain);
            }
            _ if answer.sized => self.spoil_json(answer, entry),
            _ => self.spoil_events(answer),
        }
    }

    fn spoil_json(self, answer: &mut Answer, entry: &Entry) {
        let Some(chunk) = answer.chunks.front_mut() else {
            return;
        };
        // The lines of a batch's results are JSON, each.
        let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
        let lines = text.split_inclusive('\n');
        let lines = lines.map(|line| match serde_json::from_str::<Value>(line) {
            Ok(mut body) => {
                let before = body.clone();
                self.spoil_body(&mut body, &mut answer.status, entry);
                if body == before {
                    line.to_owned()
                } else {
                    format!("{body}{}", if line.ends_with('\n') { "\n" } else { "" })
                }
            }
            Err(_) => line.to_owned(),
        });
        chunk.bytes = lines.collect::<String>().into();
    }

    fn spoil_body(self, body: &mut Value, status: &mut u16, entry: &Entry) {
        let is_message = body["type"] == "message";
        let is_error = body["type"] == "error";
        let fails = body["output"]["error"].is_object();
        match self {
            Self::InputOffByOne if is_message => add_one(&mut body["usage"]["input_tokens"]),
            Self::OutputOffByOne if is_message => add_one(&mut body["usage"]["output_tokens"]),
            Self::BucketsSwapped if is_message => {
                let buckets = &mut body["usage"]["cache_creation"];
                let short = buckets["ephemeral_5m_input_tokens"].take();
                let long = buckets["ephemeral_1h_input_tokens"].take();
                *buckets =
                    json!({"ephemeral_5m_input_tokens": long, "ephemeral_1h_input_tokens": short});
            }
            Self::CountOffByOne if body.get("input_tokens").is_some() => {
                add_one(&mut body["input_tokens"]);
            }
            Self::ErrorType if is_error && *status == 400 => {
                body["error"]["type"] = json!("bad_request_error");
            }
            Self::RateLimitType if is_error && *status == 429 => {
                body["error"]["type"] = json!("overloaded_error");
            }
            Self::NotFoundStatus if is_error && *status == 404 => *status = 400,
            Self::UnauthorizedStatus if is_error && *status == 401 => *status = 403,
            Self::OtherRequestId if is_error => body["request_id"] = json!("req_0110000"),
            Self::StopReason if body["stop_reason"] == "tool_use" => {
                body["stop_reason"] = json!("end_turn");
            }
            Self::InputAsText | Self::ToolId if is_message => {
                for block in body["content"].as_array_mut().into_iter().flatten() {
                    if block["type"] == "tool_use" && self == Self::ToolId {
                        block["id"] = json!("call_1");
                    } else if block["type"] == "tool_use" {
                        block["input"] = json!(block["input"].to_string());
                    }
                }
            }
            Self::Role if is_message => body["role"] = json!("model"),
            Self::NoStopSequence if is_message => remove(body, "stop_sequence"),
            Self::PageEnds if body.get("has_more").is_some() => body["has_more"] = json!(false),
            Self::PageIds if body.get("last_id").is_some() => body["last_id"] = Value::Null,
            Self::NoLifecycle if body["type"] == "model" => remove(body, "capabilities"),
            Self::BatchCounts if body["processing_status"] == "ended" => {
                body["request_counts"] = json!({"processing": 0, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0});
            }
            Self::BatchTier if body["result"]["type"] == "succeeded" => {
                body["result"]["message"]["usage"]["service_tier"] = json!("standard");
            }
            Self::BatchStatus if body["processing_status"] == "ended" => {
                body["processing_status"] = json!("completed");
            }
            Self::FailureAs500 if fails => *status = 500,
            Self::FailureSucceeds if fails => body["success"] = json!(true),
            Self::NoTotal => remove(body, "total_count"),
            Self::ErrorWithoutName if *status >= 400 => remove(body, "name"),
            Self::Unauthorized401 if body["name"] == "tool_authorization_required" => *status = 401,
            Self::NoToken if body.get("context").is_some() => body["context"] = json!({}),
            Self::Seconds if body["duration"].is_number() => {
                body["duration"] = json!(body["duration"].as_f64().unwrap_or_default() / 1e3);
            }
            Self::NoVersion => each_tool(body, &|tool| {
                if tool.get("fully_qualified_name").is_some() {
                    tool["fully_qualified_name"] = tool["qualified_name"].clone();
                }
            }),
            Self::DottedName if entry.what.contains("/formatted_tools") => {
                each_tool(body, &|tool| respell(tool));
            }
            Self::AllRequired if entry.what.contains("/formatted_tools") => {
                each_tool(body, &|tool| {
                    for place in ["/input_schema", "/function/parameters"] {
                        if let Some(schema) = tool.pointer_mut(place) {
                            let names = schema["properties"].as_object();
                            let names: Vec<String> = names
                                .into_iter()
                                .flatten()
                                .map(|(name, _)| name.clone())
                                .collect();
                            schema["required"] = json!(names);
                        }
                    }
                });
            }
            Self::BothOutputs if fails => body["output"]["value"] = json!(0),
            _ => {}
        }
    }

    fn spoil_events(self, answer: &mut Answer) {
        let mut seen = Vec::new();
        for (index, chunk) in answer.chunks.iter_mut().enumerate() {
            let text = String::from_utf8_lossy(&chunk.bytes).into_owned();
            let Some((head, data)) = text.split_once("data: ") else {
                continue;
            };
            let Ok(mut event) = serde_json::from_str::<Value>(data) else {
                continue;
            };
            let mut head = head.to_owned();
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            match (self, kind.as_str()) {
                (Self::MissingEventLine, "content_block_delta") => head.clear(),
                (Self::WrongEventName, "message_stop") => "event: done\n".clone_into(&mut head),
                (Self::AllBlocksZero, _) if event.get("index").is_some() => {
                    event["index"] = json!(0);
                }
                (Self::NoCacheInStart, "message_start") => {
                    let usage = &mut event["message"]["usage"];
                    *usage = json!({"input_tokens": usage["input_tokens"], "output_tokens": 1});
                }
                (Self::DeltaUsageZero, "message_delta") => {
                    event["usage"]["output_tokens"] = json!(0);
                }
                (Self::InputOffByOne, "message_start") => {
                    add_one(&mut event["message"]["usage"]["input_tokens"]);
                }
                (Self::StopReason, "message_delta")
                    if event["delta"]["stop_reason"] == "tool_use" =>
                {
                    event["delta"]["stop_reason"] = json!("end_turn");
                }
                _ => {}
            }
            seen.push((index, kind, event["delta"].clone()));
            chunk.bytes = format!("{head}data: {event}\n\n").into();
        }
        let gone = seen
            .iter()
            .enumerate()
            .filter(|(at, (_, kind, delta))| match self {
                Self::MissingMessageStop => kind == "message_stop",
                Self::NoSignature => delta["type"] == "signature_delta",
                Self::NoEmptyDelta => delta["partial_json"] == "",
                Self::LostDelta => {
                    let next = seen.get(at + 1).map(|(_, kind, _)| kind.as_str());
                    delta["type"] == "text_delta" && next == Some("content_block_stop")
                }
                _ => false,
            });
        let gone: Vec<usize> = gone.map(|(_, (index, ..))| *index).collect();
        for index in gone.into_iter().rev() {
            answer.chunks.remove(index);
        }
    }
}

fn add_one(number: &mut Value) {
    *number = json!(number.as_u64().unwrap_or_default() + 1);
}

fn remove(body: &mut Value, field: &str) {
    if let Some(fields) = body.as_object_mut() {
        fields.remove(field);
    }
}

/// Every tool of a page, or the one that there is.
fn each_tool(body: &mut Value, spoil: &dyn Fn(&mut Value)) {
    match body.get_mut("items").and_then(Value::as_array_mut) {
        Some(items) => items.iter_mut().for_each(spoil),
        None => spoil(body),
    }
}

fn respell(tool: &mut Value) {
    if tool.get("message").is_some() {
        return;
    }
    for place in ["/name", "/function/name"] {
        if let Some(name) = tool.pointer_mut(place)
            && let Some(text) = name.as_str()
        {
            *name = json!(text.replacen('_', ".", 1));
        }
    }
}
