//! What persons consented to at Arcade: asked for when a tool needs it, and waited for beside what else is done.

use super::{Arcade, Inner, Upstream, attempts};
use crate::store::{Kind, Store};
use crate::tools::outcome::ToolError;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// How long a person may think.
const LONGEST: Duration = Duration::from_mins(10);
/// For one status; Arcade holds it so long.
const WAIT_SECONDS: u64 = 45;
const ANSWERED_WITHIN: Duration = Duration::from_secs(WAIT_SECONDS + 10);
/// Between two, where Arcade does not hold it.
const PAUSE: Duration = Duration::from_secs(1);
/// No more are waited for at once, and no more persons remembered.
const MOST: usize = 1_024;
const MOST_BYTES: u64 = 64 * 1024;

/// Who consented to what, and for whom that is waited.
#[derive(Debug, Default)]
pub(super) struct Consents(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Tools by person.
    granted: HashMap<String, HashSet<String>>,
    /// Person and tool.
    waited: HashSet<(String, String)>,
    /// They end with the client.
    waiting: JoinSet<()>,
}

impl Consents {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn has(&self, person: &str, tool: &str) -> bool {
        let known = self.lock();
        known
            .granted
            .get(person)
            .is_some_and(|tools| tools.contains(tool))
    }

    /// Those who were asked or have consented.
    pub(super) fn persons(&self) -> Vec<String> {
        self.lock().granted.keys().cloned().collect()
    }

    /// Whether that changes anything.
    pub(super) fn replace(&self, person: &str, tools: HashSet<String>) -> bool {
        let mut known = self.lock();
        known.granted.insert(person.to_owned(), tools.clone()) != Some(tools)
    }

    fn add(&self, person: &str, tool: &str) -> bool {
        let mut known = self.lock();
        if known.granted.len() >= MOST && !known.granted.contains_key(person) {
            return false;
        }
        let tools = known.granted.entry(person.to_owned()).or_default();
        !tools.contains(tool) && tools.insert(tool.to_owned())
    }

    fn remove(&self, person: &str, tool: &str) -> bool {
        let mut known = self.lock();
        known
            .granted
            .get_mut(person)
            .is_some_and(|tools| tools.remove(tool))
    }
}

/// Where a person consents, wherever a body says it.
pub(super) fn url(said: &Value) -> Option<&str> {
    [
        &said["authorization_url"],
        &said["url"],
        &said["authorization"]["url"],
        &said["output"]["authorization"]["url"],
    ]
    .into_iter()
    .find_map(Value::as_str)
}

impl Arcade {
    pub(super) async fn consent_given(&self, person: &str, tool: &str) {
        if self.0.consents.has(person, tool) || !self.0.consents.add(person, tool) {
            return;
        }
        self.0.edition.fetch_add(1, Relaxed);
        // To what they consented Arcade knows; that they did is what there is to ask for after a restart.
        if let Some(store) = self.0.store.get()
            && let Err(error) = store.put(Kind::ArcadePerson, person, &true, None).await
        {
            tracing::warn!(%error, "after a restart a person's consents at Arcade are not known");
        }
    }

    /// Those who consented earlier are asked for with the tools.
    pub(super) async fn remember(&self, store: Store) {
        match store.all::<bool>(Kind::ArcadePerson).await {
            Ok(persons) => {
                let mut known = self.0.consents.lock();
                for (person, _) in persons.into_iter().take(MOST) {
                    known.granted.entry(person).or_default();
                }
            }
            Err(error) => tracing::warn!(%error, "who consented at Arcade is not known yet"),
        }
        self.0.store.get_or_init(|| store);
    }

    pub(super) fn consent_missing(&self, person: &str, tool: &str) {
        if self.0.consents.remove(person, tool) {
            self.0.edition.fetch_add(1, Relaxed);
        }
    }

    /// Where the person consents; none when there is nothing left to consent to.
    pub(super) async fn ask_consent(
        &self,
        tool: &str,
        person: &str,
        said: &Value,
        deadline: Instant,
    ) -> Result<Option<String>, ToolError> {
        if let (Some(url), Some(id)) = (url(said), said["id"].as_str()) {
            self.wait_for_consent(id, person, tool);
            return Ok(Some(url.to_owned()));
        }
        self.authorize(tool, person, deadline).await
    }

    /// Begins an authorization at Arcade, or finds the one that was begun; where the person consents, unless nothing is
    /// missing any more.
    pub async fn authorize(
        &self,
        tool: &str,
        person: &str,
        deadline: Instant,
    ) -> Result<Option<String>, ToolError> {
        let body = json!({ "tool_name": tool, "user_id": person });
        // To ask twice finds the same authorization.
        let once = || self.once("/v1/tools/authorize", &body, true, MOST_BYTES, deadline);
        let answer = attempts(deadline, once).await?;
        let refused = || ToolError::Failed("Arcade does not say how to authorize this tool".into());
        if answer.body["status"] == "completed" {
            self.consent_given(person, tool).await;
            return Ok(None);
        }
        let url = url(&answer.body).ok_or_else(refused)?;
        if let Some(id) = answer.body["id"].as_str() {
            self.wait_for_consent(id, person, tool);
        }
        Ok(Some(url.to_owned()))
    }

    fn wait_for_consent(&self, id: &str, person: &str, tool: &str) {
        let mut known = self.0.consents.lock();
        while known.waiting.try_join_next().is_some() {}
        let who = (person.to_owned(), tool.to_owned());
        if known.waited.len() >= MOST || !known.waited.insert(who.clone()) {
            return;
        }
        let waiting = Waiting {
            upstream: self.0.upstream.clone(),
            arcade: Arc::downgrade(&self.0),
            who,
        };
        let id = id.to_owned();
        known.waiting.spawn(async move { waiting.run(&id).await });
    }
}

/// One who waits for a person; holds on to no more of the client than it needs.
struct Waiting {
    upstream: Upstream,
    arcade: Weak<Inner>,
    who: (String, String),
}

impl Waiting {
    async fn run(self, id: &str) {
        let given = tokio::time::timeout(LONGEST, self.poll(id)).await;
        let Some(inner) = self.arcade.upgrade() else {
            return;
        };
        inner.consents.lock().waited.remove(&self.who);
        if given == Ok(true) {
            let (person, tool) = &self.who;
            Arcade(inner).consent_given(person, tool).await;
        }
    }

    /// Whether the person consented in the end.
    async fn poll(&self, id: &str) -> bool {
        let id: String = url::form_urlencoded::byte_serialize(id.as_bytes()).collect();
        let path = format!("/v1/auth/status?id={id}&wait={WAIT_SECONDS}");
        loop {
            let began = Instant::now();
            let asked = self.upstream.get(&path).timeout(ANSWERED_WITHIN).send();
            if let Ok(response) = asked.await
                && let Ok(body) = response.json::<Value>().await
            {
                match body["status"].as_str() {
                    Some("completed") => return true,
                    Some("failed") => return false,
                    _ => {}
                }
            }
            tokio::time::sleep_until(began + PAUSE).await;
        }
    }
}
