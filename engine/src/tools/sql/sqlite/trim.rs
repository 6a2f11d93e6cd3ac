//! `trim`, `ltrim` and `rtrim` of given characters in linear time: `SQLite` compares each character with each of these,
//! which takes minutes for a megabyte of both, in one call that no clock cuts short.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Result};
use std::borrow::Cow;
use std::collections::HashSet;

/// Puts them in the place of `SQLite`'s own.
pub(super) fn replace(connection: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8
        | FunctionFlags::SQLITE_DETERMINISTIC
        | FunctionFlags::SQLITE_INNOCUOUS;
    for (name, left, right) in [
        ("trim", true, true),
        ("ltrim", true, false),
        ("rtrim", false, true),
    ] {
        connection
            .create_scalar_function(name, 2, flags, move |context| trimmed(context, left, right))?;
    }
    Ok(())
}

fn trimmed(context: &Context<'_>, left: bool, right: bool) -> Result<Option<String>> {
    let (Some(text), Some(taken)) = (text(context, 0)?, text(context, 1)?) else {
        return Ok(None);
    };
    let taken: HashSet<char> = taken.chars().collect();
    let is_taken = |c: char| taken.contains(&c);
    let mut rest: &str = &text;
    if left {
        rest = rest.trim_start_matches(is_taken);
    }
    if right {
        rest = rest.trim_end_matches(is_taken);
    }
    Ok(Some(rest.to_owned()))
}

fn text<'c>(context: &'c Context<'_>, at: usize) -> Result<Option<Cow<'c, str>>> {
    match context.get_raw(at) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number.to_string().into())),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(Some(String::from_utf8_lossy(bytes))),
        ValueRef::Real(_) => Err(Error::UserFunctionError(
            "cast the number to text before it is trimmed".into(),
        )),
    }
}
