//! What an administrator keeps: providers of authorizations, and secrets, of which only a hint is shown.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::Reply;
use super::refusal::Refusal;
use super::request::{Query, page, text};
use crate::body::Answer;
use crate::stage::lock;

/// Both collections, by id.
#[derive(Debug, Default)]
pub(super) struct Administration {
    providers: Mutex<BTreeMap<String, Value>>,
    /// What is shown of a secret, and the secret.
    secrets: Mutex<BTreeMap<String, (Value, String)>>,
}

impl Administration {
    pub(super) fn clear(&self) {
        lock(&self.providers).clear();
        lock(&self.secrets).clear();
    }

    pub(super) fn answer(&self, method: &str, rest: &[&str], body: &Value, query: &Query) -> Reply {
        match (method, rest) {
            ("GET", ["secrets"]) => {
                let items: Vec<Value> = {
                    let secrets = lock(&self.secrets);
                    secrets.values().map(|(shown, _)| shown.clone()).collect()
                };
                page(query, items.len(), |range| items[range].to_vec())
            }
            ("POST" | "PUT", ["secrets", key]) => self.keep(key, body),
            ("DELETE", ["secrets", id]) => {
                let mut secrets = lock(&self.secrets);
                let before = secrets.len();
                secrets.retain(|key, (secret, _)| key != id && secret["id"] != *id);
                if secrets.len() == before {
                    return Err(Refusal::not_found(&format!("secret `{id}` not found")));
                }
                Ok(Answer::new(204, "application/json", ""))
            }
            ("GET", ["auth_providers"]) => {
                let items: Vec<Value> = lock(&self.providers).values().cloned().collect();
                page(query, items.len(), |range| items[range].to_vec())
            }
            ("POST", ["auth_providers"]) => {
                let id = text(body, "id")?;
                let mut providers = lock(&self.providers);
                if providers.contains_key(id) {
                    let message = format!("auth provider `{id}` exists");
                    return Err(Refusal(409, "conflict", message));
                }
                let mut provider = body.clone();
                let now = jiff::Timestamp::now().to_string();
                provider["created_at"] = json!(now);
                provider["updated_at"] = json!(now);
                provider["status"] = json!("active");
                hide(&mut provider);
                providers.insert(id.to_owned(), provider.clone());
                Ok(Answer::json(201, &provider))
            }
            (_, ["auth_providers", id]) => {
                let mut providers = lock(&self.providers);
                let provider = providers.get_mut(*id).ok_or_else(|| {
                    Refusal::not_found(&format!("auth provider `{id}` not found"))
                })?;
                match method {
                    "PATCH" => {
                        for (name, value) in body.as_object().into_iter().flatten() {
                            provider[name] = value.clone();
                        }
                        provider["updated_at"] = json!(jiff::Timestamp::now().to_string());
                        hide(provider);
                        Ok(Answer::json(200, provider))
                    }
                    "GET" => Ok(Answer::json(200, provider)),
                    "DELETE" => {
                        let provider = provider.clone();
                        providers.remove(*id);
                        Ok(Answer::json(200, &provider))
                    }
                    _ => Err(Refusal::not_found("no such route")),
                }
            }
            _ => Err(Refusal::not_found("no such route")),
        }
    }

    /// A secret itself, for the tool that needs it.
    pub(super) fn secret(&self, key: &str) -> Option<String> {
        let secrets = lock(&self.secrets);
        secrets.get(key).map(|(_, value)| value.clone())
    }

    fn keep(&self, key: &str, body: &Value) -> Reply {
        let value = text(body, "value")?;
        let now = jiff::Timestamp::now().to_string();
        let secret = json!({
            "id": format!("sec_{key}"),
            "key": key,
            "description": body["description"],
            "hint": hint(value),
            "created_at": now,
            "updated_at": now,
        });
        lock(&self.secrets).insert(key.to_owned(), (secret.clone(), value.to_owned()));
        Ok(Answer::json(200, &secret))
    }
}

/// The last characters of a secret that is long enough to lose them.
fn hint(value: &str) -> String {
    let length = value.chars().count();
    value
        .chars()
        .skip(length.saturating_sub(length.min(12) / 4))
        .collect()
}

/// A client's secret goes in and does not come out.
fn hide(provider: &mut Value) {
    if let Some(secret) = provider.pointer_mut("/oauth2/client_secret")
        && let Some(text) = secret.as_str()
    {
        *secret = json!({"exists": true, "editable": true, "hint": hint(text)});
    }
}
