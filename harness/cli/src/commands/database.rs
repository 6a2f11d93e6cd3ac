//! `fact database triggers`: what the operator's database has to be told.

use super::Failure;
use crate::console;

pub(crate) fn triggers(tables: &[String]) -> Result<u8, Failure> {
    let sql = fact_harness::database::triggers(tables).map_err(Failure::usage)?;
    console::data(&sql);
    Ok(0)
}
