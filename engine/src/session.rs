//! Sessions: what a person asked before, and was answered, is part of the next question.

use crate::store::{Kind, Store, StoreError, now};
use fact_wire::{Session, SessionTurn};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A question and its answer, as Claude is reminded of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// What was asked.
    pub query: String,
    /// What was answered.
    pub response: String,
}

/// Whose session it is, and its name there: the same name in other hands is another session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The tenant.
    pub tenant: String,
    /// The client, or the person that it acts for.
    pub person: String,
    /// As the asker names it.
    pub id: String,
}

/// A session is forgotten so long after its last turn.
const KEPT_SECONDS: i64 = 7 * 24 * 3600;
/// Older turns are kept, but Claude is not reminded of them.
const REMEMBERED_TURNS: usize = 20;
const REMEMBERED_BYTES: usize = 64 << 10;
/// Of one session.
const MOST_TURNS: usize = 200;

/// All sessions. Clones share them.
#[derive(Debug, Clone)]
pub struct Sessions {
    store: Store,
    /// Turns of one session are added one after the other.
    adding: Arc<Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>>,
}

impl SessionKey {
    /// A digest of all parts, so that no name can be taken for another owner's.
    fn name(&self) -> String {
        let mut hasher = Sha256::new();
        for part in [&self.tenant, &self.person, &self.id] {
            hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        let digest: [u8; 32] = hasher.finalize().into();
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest)
    }
}

impl Sessions {
    /// Kept in this store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            adding: Arc::default(),
        }
    }

    /// The session, where there is one.
    pub async fn get(&self, key: &SessionKey) -> Result<Option<Session>, StoreError> {
        self.store.get(Kind::Session, &key.name()).await
    }

    /// Adds a turn. A session that was there when its question was asked and is not any more was forgotten meanwhile
    /// and stays so.
    pub async fn add(
        &self,
        key: &SessionKey,
        was_there: bool,
        turn: SessionTurn,
    ) -> Result<(), StoreError> {
        let name = key.name();
        let lock = self.lock_of(&name);
        let _adding = lock.lock().await;
        let mut session = match self.store.get::<Session>(Kind::Session, &name).await? {
            Some(session) => session,
            None if was_there => return Ok(()),
            None => Session {
                session_id: key.id.clone(),
                created_at: turn.timestamp.clone(),
                updated_at: turn.timestamp.clone(),
                turns: Vec::new(),
            },
        };
        session.updated_at.clone_from(&turn.timestamp);
        session.turns.push(turn);
        let over = session.turns.len().saturating_sub(MOST_TURNS);
        session.turns.drain(..over);
        self.store
            .put(Kind::Session, &name, &session, Some(now() + KEPT_SECONDS))
            .await
    }

    /// Forgets it; false where there is none.
    pub async fn forget(&self, key: &SessionKey) -> Result<bool, StoreError> {
        let name = key.name();
        let lock = self.lock_of(&name);
        let _adding = lock.lock().await;
        self.store.remove(Kind::Session, &name).await
    }

    fn lock_of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = adding.get(name).and_then(Weak::upgrade) {
            return lock;
        }
        adding.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        adding.insert(name.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// What Claude is reminded of: the last turns, as far as they are not too long.
pub fn reminder(session: &Session) -> Vec<Exchange> {
    let mut bytes = 0;
    let mut exchanges: Vec<Exchange> = session
        .turns
        .iter()
        .rev()
        .take(REMEMBERED_TURNS)
        .take_while(|turn| {
            bytes += turn.query.len() + turn.response.len();
            bytes <= REMEMBERED_BYTES
        })
        .map(|turn| Exchange {
            query: turn.query.clone(),
            response: turn.response.clone(),
        })
        .collect();
    exchanges.reverse();
    exchanges
}

#[cfg(test)]
mod tests {
    use super::*;
    use fact_wire::CacheStatus;

    fn turn(number: usize) -> SessionTurn {
        SessionTurn {
            query_id: format!("qry_{number}"),
            query: format!("question {number}"),
            response: "yes".into(),
            cache_status: CacheStatus::Miss,
            timestamp: jiff::Timestamp::now().to_string(),
        }
    }

    fn key(person: &str) -> SessionKey {
        SessionKey {
            tenant: "acme".into(),
            person: person.into(),
            id: "s".into(),
        }
    }

    #[tokio::test]
    async fn no_turn_is_lost_however_many_are_added_at_once_and_nobody_else_sees_them() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(Store::in_folder(folder.path()).await.unwrap());
        let alice = key("alice");
        let adding = (0..20).map(|number| sessions.add(&alice, false, turn(number)));
        for added in futures_util::future::join_all(adding).await {
            added.unwrap();
        }
        let session = sessions.get(&alice).await.unwrap().unwrap();
        assert_eq!(session.turns.len(), 20);
        assert!(sessions.get(&key("bob")).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_was_forgotten_does_not_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let sessions = Sessions::new(Store::in_folder(folder.path()).await.unwrap());
        let alice = key("alice");
        sessions.add(&alice, false, turn(1)).await.unwrap();
        assert!(sessions.forget(&alice).await.unwrap());
        assert!(!sessions.forget(&alice).await.unwrap());
        sessions.add(&alice, true, turn(2)).await.unwrap();
        assert!(sessions.get(&alice).await.unwrap().is_none());
    }

    #[test]
    fn claude_is_reminded_of_the_last_turns_only() {
        let session = Session {
            session_id: "s".into(),
            created_at: String::new(),
            updated_at: String::new(),
            turns: (0..50).map(turn).collect(),
        };
        let exchanges = reminder(&session);
        assert_eq!(exchanges.len(), REMEMBERED_TURNS);
        assert_eq!(exchanges[0].query, "question 30");
    }
}
