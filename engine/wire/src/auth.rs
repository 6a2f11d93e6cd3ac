//! Tokens: granted, validated, revoked.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `POST /api/v1/auth/token`, as JSON or form.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// `client_credentials`.
    #[schemars(extend("const" = "client_credentials"))]
    pub grant_type: String,
    /// Who asks.
    pub client_id: String,
    /// And proves it.
    pub client_secret: String,
    /// Separated by blanks; all that the client owns by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// The body of `POST /api/v1/auth/revoke`; it may be absent.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// The token; the one that asks by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// A token that was granted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct GrantedToken {
    /// Sent as `Authorization: Bearer`.
    pub access_token: String,
    /// `Bearer`.
    pub token_type: String,
    /// Seconds.
    pub expires_in: u64,
    /// Separated by blanks.
    pub scope: String,
    /// RFC 3339.
    pub issued_at: String,
}

/// What `GET /api/v1/auth/validate` says of a good token.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenValidity {
    /// True: a bad token is 401.
    pub valid: bool,
    /// What it is good for.
    pub token_info: TokenInfo,
}

/// What a token is good for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TokenInfo {
    /// Whose it is.
    pub client_id: String,
    /// Of which tenant.
    pub tenant: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// RFC 3339.
    pub expires_at: String,
}

/// What became of a revocation; a token that is unknown counts as revoked.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Revoked {
    /// True.
    pub revoked: bool,
}

/// The body of `POST /api/v1/auth/tools/{name}/authorize`; it may be absent.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeToolRequest {
    /// Who consents; the client itself by default. Another one only for a client that acts for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// The body of `POST /api/v1/auth/tools/callback`: what the provider sent the person back with.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// Of the authorization.
    pub state: String,
    /// Of the provider.
    pub code: String,
}

/// What became of `POST /api/v1/auth/tools/{name}/authorize`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolAuthorization {
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// `authorized` or `pending`.
    pub status: String,
    /// Where the person consents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_url: Option<String>,
    /// Comes back with the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// RFC 3339; of the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// What became of `POST /api/v1/auth/tools/callback`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolAuthorized {
    /// `authorized`.
    pub status: String,
    /// `Toolkit.Tool`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
}
