//! What users have allowed: an authorization is begun, waits for its user, and is completed or fails.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::Reply;
use super::refusal::Refusal;
use super::request::Query;
use super::tools::Tool;
use crate::body::Answer;
use crate::draw;
use crate::stage::{Stage, lock};

/// All authorizations, by the order in which they were begun.
#[derive(Debug)]
pub(super) struct Authorizations {
    stage: Arc<Stage>,
    /// After what time one completes by itself.
    time: Duration,
    all: Mutex<BTreeMap<u64, Authorization>>,
    changed: Notify,
}

#[derive(Debug)]
struct Authorization {
    id: String,
    user: String,
    wanted: Wanted,
    url: String,
    /// When it completes by itself.
    due: Instant,
    /// Whether it was completed or failed before.
    settled: Option<bool>,
}

/// A provider and what is to be done there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    provider: String,
    scopes: Vec<String>,
}

/// Where an authorization stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    NotStarted,
    Pending,
    Completed,
    Failed,
}

impl Standing {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Pending => "pending",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl Wanted {
    /// What a tool needs.
    pub(super) fn of(tool: &Tool) -> Option<Self> {
        let needed = tool.authorization.as_ref()?;
        Some(Self {
            provider: needed.provider_id.clone(),
            scopes: needed.scopes.clone(),
        })
    }

    /// An `auth_requirement`.
    pub(super) fn read(requirement: &Value) -> Result<Self, Refusal> {
        if !requirement.is_object() {
            return Err(Refusal::bad("auth_requirement is required".to_owned()));
        }
        let provider = requirement["provider_id"]
            .as_str()
            .or(requirement["id"].as_str());
        let provider = provider.filter(|provider| !provider.is_empty());
        let provider = provider.ok_or_else(|| {
            Refusal::bad(
                "auth_requirement.provider_id or auth_requirement.id is required".to_owned(),
            )
        })?;
        let scopes = match &requirement["oauth2"]["scopes"] {
            Value::Null => Vec::new(),
            Value::Array(scopes) => scopes
                .iter()
                .map(|scope| scope.as_str().map(str::to_owned))
                .collect::<Option<_>>()
                .ok_or_else(|| Refusal::bad("scopes must be strings".to_owned()))?,
            _ => return Err(Refusal::bad("scopes must be a list".to_owned())),
        };
        Ok(Self {
            provider: provider.to_owned(),
            scopes,
        })
    }

    fn covers(&self, other: &Self) -> bool {
        self.provider == other.provider
            && other.scopes.iter().all(|scope| self.scopes.contains(scope))
    }
}

impl Authorization {
    fn standing(&self) -> Standing {
        match self.settled {
            Some(true) => Standing::Completed,
            Some(false) => Standing::Failed,
            None if Instant::now() >= self.due => Standing::Completed,
            None => Standing::Pending,
        }
    }

    fn shown(&self) -> Value {
        let standing = self.standing();
        let mut shown = json!({
            "id": self.id,
            "status": standing.name(),
            "user_id": self.user,
            "provider_id": self.wanted.provider,
            "scopes": self.wanted.scopes,
        });
        match standing {
            Standing::Completed => {
                shown["context"] = json!({"token": self.token(), "user_info": {"sub": self.user}});
            }
            _ => shown["url"] = json!(self.url),
        }
        shown
    }

    fn token(&self) -> String {
        format!("token-{}-{}", self.wanted.provider, self.id)
    }
}

impl Authorizations {
    pub(super) fn new(stage: &Arc<Stage>, time: Duration) -> Self {
        Self {
            stage: Arc::clone(stage),
            time,
            all: Mutex::default(),
            changed: Notify::new(),
        }
    }

    pub(super) fn clear(&self) {
        lock(&self.all).clear();
        self.changed.notify_waiters();
    }

    /// Begins an authorization, unless there is one already or none is needed.
    pub(super) fn begin(&self, user: &str, wanted: Option<Wanted>, base: &str) -> Value {
        let mut all = lock(&self.all);
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        let id = draw::id(
            "ac_",
            self.stage.seed,
            &["authorization", &number.to_string()],
        );
        let Some(wanted) = wanted else {
            return json!({"id": id, "status": "completed", "user_id": user, "scopes": [], "context": {}});
        };
        let mut known = all.values().rev();
        let known = known.find(|it| {
            it.user == user && it.wanted.covers(&wanted) && it.standing() != Standing::Failed
        });
        if let Some(known) = known {
            return known.shown();
        }
        let authorization = Authorization {
            url: format!("{base}/oauth/authorize?flow_id={id}"),
            id,
            user: user.to_owned(),
            wanted,
            due: Instant::now() + self.time,
            settled: None,
        };
        let shown = authorization.shown();
        all.insert(number, authorization);
        shown
    }

    /// Completes or fails one.
    pub(super) fn settle(&self, id: &str, completed: bool) -> Result<Value, Refusal> {
        let shown = self.with(id, |authorization| {
            authorization.settled = Some(completed);
            authorization.shown()
        })?;
        self.changed.notify_waiters();
        Ok(shown)
    }

    /// Its status, as soon as it is no longer pending, or after so long.
    pub(super) async fn status(&self, id: &str, wait: Duration) -> Result<Value, Refusal> {
        let until = Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            let (due, standing, shown) = self.with(id, |it| (it.due, it.standing(), it.shown()))?;
            if standing != Standing::Pending || Instant::now() >= until {
                return Ok(shown);
            }
            tokio::select! {
                () = self.stage.until(due.min(until)) => {}
                () = changed => {}
            }
        }
    }

    /// The user says that it was them.
    pub(super) fn confirm(&self, flow: &str, user: &str) -> Reply {
        let own = self.with(flow, |authorization| authorization.user == user)?;
        if !own {
            let body = json!({
                "code": 400,
                "error": "user_mismatch",
                "msg": "An error occurred during verification",
                "name": "user_mismatch",
                "message": "An error occurred during verification",
            });
            return Ok(Answer::json(400, &body));
        }
        self.settle(flow, true)?;
        Ok(Answer::json(200, &json!({"auth_id": flow})))
    }

    pub(super) fn standing(&self, user: &str, wanted: &Wanted) -> Standing {
        let all = lock(&self.all);
        let mine = all
            .values()
            .filter(|it| it.user == user && it.wanted.covers(wanted));
        let standings: Vec<Standing> = mine.map(Authorization::standing).collect();
        let has = |standing| standings.contains(&standing).then_some(standing);
        has(Standing::Completed)
            .or(has(Standing::Pending))
            .or(has(Standing::Failed))
            .unwrap_or(Standing::NotStarted)
    }

    pub(super) fn granted(&self, user: &str, wanted: &Wanted) -> bool {
        self.standing(user, wanted) == Standing::Completed
    }

    /// The token that a tool gets.
    pub(super) fn token(&self, user: &str, wanted: &Wanted) -> String {
        let all = lock(&self.all);
        let mut mine = all.values().rev();
        let mine = mine.find(|it| {
            it.user == user && it.wanted.covers(wanted) && it.standing() == Standing::Completed
        });
        mine.map(Authorization::token).unwrap_or_default()
    }

    /// `/v1/admin/user_connections`: what has been completed.
    pub(super) fn connections(
        &self,
        method: &str,
        rest: &[&str],
        query: &Query,
        page: impl FnOnce(&[Value]) -> Reply,
    ) -> Reply {
        match (method, rest) {
            ("GET", [_]) => {
                let all = lock(&self.all);
                let is = |names: [&str; 2], value: &str| {
                    let wanted = names.iter().find_map(|name| query.text(name));
                    wanted.is_none_or(|wanted| wanted == value)
                };
                let completed = all.values().filter(|it| {
                    it.standing() == Standing::Completed
                        && is(["provider[id]", "provider_id"], &it.wanted.provider)
                        && is(["user[id]", "user_id"], &it.user)
                });
                let shown = completed.map(|it| {
                    json!({
                        "id": it.id,
                        "connection_id": it.id,
                        "connection_status": "active",
                        "provider_id": it.wanted.provider,
                        "provider_type": "oauth2",
                        "provider_user_info": {"sub": it.user},
                        "scopes": it.wanted.scopes,
                        "user_id": it.user,
                    })
                });
                page(&shown.collect::<Vec<_>>())
            }
            ("DELETE", [_, id]) => {
                self.with(id, |_| ())?;
                lock(&self.all).retain(|_, it| it.id != *id);
                Ok(Answer::new(204, "application/json", ""))
            }
            _ => Err(Refusal::not_found("no such route")),
        }
    }

    fn with<T>(&self, id: &str, then: impl FnOnce(&mut Authorization) -> T) -> Result<T, Refusal> {
        let mut all = lock(&self.all);
        let found = all
            .values_mut()
            .find(|authorization| authorization.id == id);
        found
            .map(then)
            .ok_or_else(|| Refusal::not_found(&format!("authorization `{id}` not found")))
    }
}
