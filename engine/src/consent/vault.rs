//! Encrypts what the engine keeps for others: tokens of persons, secrets of registered tools. Knows nothing of either.

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// Before everything that is sealed this way.
const FORM: &str = "v1.";
const FILE: &str = "encryption.key";
/// The key file on its way to its name.
const UNFINISHED: &str = "encryption.key.new";

/// What seals and opens.
#[derive(Clone)]
pub struct EncryptionKey([u8; KEY_BYTES]);

impl EncryptionKey {
    /// Reads base64 of 32 bytes.
    pub fn read(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.trim()).ok()?;
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for EncryptionKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("EncryptionKey(***)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("the file `{FILE}` in `FACT_STATE_DIR` cannot be used: {0}")]
    File(#[from] std::io::Error),
    /// What is in it.
    #[error("the file `{FILE}` in `FACT_STATE_DIR` holds no base64 of {KEY_BYTES} bytes")]
    Unreadable,
}

/// What was sealed cannot be opened: with another key, in another place, or altered since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what is kept encrypted cannot be read with this key")]
pub struct Unopened;

/// Seals and opens with one key. What is sealed for one place opens in no other.
#[derive(Clone)]
pub struct Vault(Arc<RandomizedNonceKey>);

impl std::fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Vault")
    }
}

impl Vault {
    /// With this key.
    pub fn new(key: &EncryptionKey) -> Result<Self, Unopened> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &key.0).map_err(|_| Unopened)?;
        Ok(Self(Arc::new(key)))
    }

    /// As text, under a random nonce.
    pub(crate) fn seal(&self, place: &[&str], value: &impl Serialize) -> Result<String, Unopened> {
        let mut text = serde_json::to_vec(value).map_err(|_| Unopened)?;
        let sealed = self
            .0
            .seal_in_place_append_tag(associated(place), &mut text);
        let nonce = sealed.map_err(|_| Unopened)?;
        let whole = [nonce.as_ref().as_slice(), text.as_slice()].concat();
        Ok(format!("{FORM}{}", URL_SAFE_NO_PAD.encode(whole)))
    }

    /// What was sealed for this place.
    pub(crate) fn open<T: DeserializeOwned>(
        &self,
        place: &[&str],
        sealed: &str,
    ) -> Result<T, Unopened> {
        let encoded = sealed.strip_prefix(FORM).ok_or(Unopened)?;
        let mut whole = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| Unopened)?;
        let (nonce, text) = whole.split_at_mut_checked(NONCE_BYTES).ok_or(Unopened)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Unopened)?;
        let opened = self.0.open_in_place(nonce, associated(place), text);
        serde_json::from_slice(opened.map_err(|_| Unopened)?).map_err(|_| Unopened)
    }
}

/// No two places have the same.
fn associated(place: &[&str]) -> Aad<Vec<u8>> {
    Aad::from(serde_json::json!(place).to_string().into_bytes())
}

/// The key of a state folder, which is made where there is none.
pub fn key_in(folder: &Path) -> Result<EncryptionKey, KeyError> {
    let path = folder.join(FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => return EncryptionKey::read(&text).ok_or(KeyError::Unreadable),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let key = EncryptionKey(rand::random());
    // Under its name it is whole, wherever the engine is killed.
    let unfinished = folder.join(UNFINISHED);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    writeln!(file, "{}", STANDARD.encode(key.0))?;
    file.sync_all()?;
    std::fs::rename(&unfinished, &path)?;
    std::fs::File::open(folder)?.sync_all()?;
    Ok(key)
}

/// Where the key of a state folder may lie.
pub(crate) fn files(folder: &Path) -> [PathBuf; 2] {
    [FILE, UNFINISHED].map(|name| folder.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: [&str; 3] = ["acme", "alice", "Mail.List"];

    fn vault(byte: u8) -> Vault {
        Vault::new(&EncryptionKey([byte; 32])).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_in_its_place_unaltered_and_nowhere_else() {
        let sealed = vault(1).seal(&PLACE, &"at-secret").unwrap();
        assert!(!sealed.contains("at-secret"));
        let open = |vault: Vault, place: &[&str], sealed: &str| vault.open::<String>(place, sealed);
        assert_eq!(open(vault(1), &PLACE, &sealed).unwrap(), "at-secret");
        assert_eq!(open(vault(2), &PLACE, &sealed), Err(Unopened));
        for other in [
            ["acme", "bob", "Mail.List"],
            ["acme", "alice", "Mail.Send"],
            ["globex", "alice", "Mail.List"],
            ["acme", "alic", "eMail.List"],
        ] {
            assert_eq!(open(vault(1), &other, &sealed), Err(Unopened));
        }
        for at in [FORM.len(), FORM.len() + 20, sealed.len() - 2] {
            let mut altered = sealed.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert_eq!(open(vault(1), &PLACE, &altered), Err(Unopened));
        }
        for broken in ["", "v1.", "v1.AAAA", "v2.AAAA", &sealed[..sealed.len() / 2]] {
            assert_eq!(open(vault(1), &PLACE, broken), Err(Unopened));
        }
    }

    #[test]
    fn no_two_seals_of_the_same_are_alike() {
        let seal = || vault(1).seal(&PLACE, &"at-secret").unwrap();
        assert_ne!(seal(), seal());
    }

    #[test]
    fn a_state_folder_keeps_its_key_to_its_owner() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        // What a start that was killed has left.
        std::fs::write(folder.path().join(UNFINISHED), "half").unwrap();
        let first = key_in(folder.path()).unwrap();
        let path = folder.path().join(FILE);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(key_in(folder.path()).unwrap().0, first.0);
        assert!(!format!("{first:?}").contains(&STANDARD.encode(first.0)));
        std::fs::write(&path, "short").unwrap();
        assert!(matches!(key_in(folder.path()), Err(KeyError::Unreadable)));
    }

    #[test]
    fn a_key_is_base64_of_32_bytes() {
        let good = STANDARD.encode([7; 32]);
        assert!(EncryptionKey::read(&format!("{good}\n")).is_some());
        for bad in [
            "",
            "x",
            &STANDARD.encode([7; 31]),
            &STANDARD.encode([7; 33]),
        ] {
            assert!(EncryptionKey::read(bad).is_none(), "{bad}");
        }
    }
}
