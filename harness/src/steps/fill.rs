//! Templates in steps: `{{ token.CLIENT }}`, `{{ secret.CLIENT }}`, `{{ last.PATH }}`, `{{ file_root }}`, `{{ outside }}`,
//! `{{ web }}`, `{{ canary }}`, `{{ repeat.NUMBER.TEXT }}`.

use crate::json_path;
use crate::scenario::expect::Expect;
use crate::scenario::step::Verb;
use crate::world::{CLIENTS, World};
use serde_json::Value;
use std::collections::HashMap;

/// What templates stand for in one step.
#[derive(Debug)]
pub(super) struct Fill {
    known: HashMap<String, String>,
    last: Value,
}

impl Fill {
    /// Fetches what the step's templates need.
    pub(super) async fn new(verb: &Verb, last: &Value, world: &World) -> Result<Self, String> {
        let text = format!("{verb:?}");
        let mut known = HashMap::from([
            ("file_root".to_owned(), world.file_root()),
            ("outside".to_owned(), world.outside()),
        ]);
        if let Some((address, canary)) = world.web() {
            known.insert("web".to_owned(), address.to_string());
            known.insert("canary".to_owned(), canary.to_string());
        }
        for client in CLIENTS {
            let secret = world
                .client
                .secret(client.id)
                .map_err(|error| error.to_string())?;
            known.insert(format!("secret.{}", client.id), secret.to_owned());
            let name = format!("token.{}", client.id);
            if text.contains(&name) {
                known.insert(
                    name,
                    world
                        .client
                        .token(client.id)
                        .await
                        .map_err(|error| error.to_string())?,
                );
            }
        }
        Ok(Self {
            known,
            last: last.clone(),
        })
    }

    /// A text with its templates filled in.
    pub(super) fn text(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((name, tail)) = after.split_once("}}") else {
                break;
            };
            filled.push_str(before);
            filled.push_str(&self.value_of(name.trim())?);
            rest = tail;
        }
        filled.push_str(rest);
        Ok(filled)
    }

    /// A value with the templates of all its texts filled in.
    pub(super) fn value(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text)?),
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .map(|item| self.value(item))
                    .collect::<Result<_, _>>()?,
            ),
            Value::Object(fields) => {
                let filled = fields
                    .iter()
                    .map(|(name, field)| Ok((name.clone(), self.value(field)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            other => other.clone(),
        })
    }

    /// What is expected, with the templates of the body's values filled in.
    pub(super) fn expect(&self, expect: &Expect) -> Result<Expect, String> {
        let mut filled = expect.clone();
        if let Some(body) = &mut filled.body {
            for value in body.equals.values_mut() {
                *value = self.value(value)?;
            }
            for text in body.contains.iter_mut().chain(&mut body.lacks) {
                *text = self.text(text)?;
            }
        }
        Ok(filled)
    }

    fn value_of(&self, name: &str) -> Result<String, String> {
        if let Some(value) = self.known.get(name) {
            return Ok(value.clone());
        }
        if let Some((times, text)) = name
            .strip_prefix("repeat.")
            .and_then(|rest| rest.split_once('.'))
        {
            const MOST: usize = 2_000_000;
            let times = times
                .parse::<usize>()
                .ok()
                .filter(|times| times * text.len() <= MOST);
            return times.map(|times| text.repeat(times)).ok_or_else(|| {
                format!("`{{{{ {name} }}}}` names no number of times, or is too long")
            });
        }
        let unknown = || format!("nothing is known as `{{{{ {name} }}}}`");
        let path = name.strip_prefix("last.").ok_or_else(unknown)?;
        let path = json_path::parse(&format!("$.{path}"))?;
        match json_path::find(&self.last, &path).first() {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(value) => Ok(value.to_string()),
            None => Err(format!(
                "`{{{{ {name} }}}}`: the last answer has no such value"
            )),
        }
    }
}
