//! What an administrator says of a tool that is to be registered. Never code.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The body of `POST /api/v1/tools`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// `Toolkit.Tool`, of letters, digits and underscores.
    pub name: String,
    /// For people and models.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the arguments, of type object. An Arcade tool that is known may do without.
    #[serde(default, alias = "parameters", skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Of the definition; `1` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What runs it; by default what `http`, `url` or `arcade` say.
    #[serde(default, alias = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RegisteredKind>,
    /// The endpoint of an HTTP tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpEndpoint>,
    /// Short for `http.url`.
    #[serde(default, alias = "endpoint", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Short for `http.method`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Short for `http.headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The tool of Arcade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arcade: Option<ArcadeEndpoint>,
    /// What a call may take.
    #[serde(default)]
    pub limits: LimitsRequest,
}

/// What runs a registered tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredKind {
    /// A tool of Arcade.
    Arcade,
    /// An HTTP endpoint.
    Http,
}

/// The endpoint of an HTTP tool.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// Absolute, `http` or `https`; judged as the web tool's are.
    #[serde(alias = "endpoint")]
    pub url: String,
    /// `GET` by default, of `GET`, `POST`, `PUT`, `PATCH` and `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Sent with every call, never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Where the arguments go; into the query string of `GET` and `DELETE` by default, else into the body as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_in: Option<ArgumentsIn>,
    /// Whether a call may be made twice; by default true of `GET`, `PUT` and `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Short for `limits.timeout_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Where a person consents, for an endpoint that acts for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthClient>,
}

/// Where the arguments of an HTTP tool go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentsIn {
    /// Into the query string.
    Query,
    /// Into the body.
    #[serde(alias = "body")]
    Json,
}

/// An OAuth client of the engine's at the service behind an HTTP tool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OAuthClient {
    /// Where the person is sent.
    pub authorization_url: String,
    /// Where the code is traded.
    pub token_url: String,
    /// The client there.
    pub client_id: String,
    /// Its secret, where it has one; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// How the secret is told; `client_secret_basic` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<ClientAuthentication>,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where the person is sent back to, as the provider knows it; the engine's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// How an OAuth client tells its secret, in the words of RFC 7591.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum ClientAuthentication {
    /// In a header.
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// In the body.
    #[serde(rename = "client_secret_post")]
    Body,
}

/// The tool of Arcade behind a registered one.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArcadeEndpoint {
    /// As Arcade knows it; the registered name by default.
    #[serde(default, alias = "tool", skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
}

/// What a call of a registered tool may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// Over 0, at most 300; the engine's own limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// At least 1; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// 1 to 1,024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Of a result, as JSON: 1 to 1 MiB, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}
