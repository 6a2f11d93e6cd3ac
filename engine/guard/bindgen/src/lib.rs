//! Stand-in for `bindgen` in the build of `pg_query`: writes fixed, hand-written bindings of `pg_query.h`.
use std::{fs, io, path::Path};
#[derive(Default)]
pub struct Builder { header: String }
pub struct Bindings(());
#[derive(Debug)]
pub struct BindgenError(String);
impl std::fmt::Display for BindgenError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(&self.0) } }
impl std::error::Error for BindgenError {}
const EXPECTED: &str = "#define PG_VERSION_NUM 180006";
impl Builder {
    pub fn header(mut self, h: impl Into<String>) -> Self { self.header = h.into(); self }
    pub fn generate(self) -> Result<Bindings, BindgenError> {
        let text = fs::read_to_string(&self.header).map_err(|e| BindgenError(e.to_string()))?;
        if text.contains(EXPECTED) { Ok(Bindings(())) } else { Err(BindgenError(format!("bindings were written for `{EXPECTED}`"))) }
    }
}
impl Bindings { pub fn write_to_file(&self, p: impl AsRef<Path>) -> io::Result<()> { fs::write(p, include_str!("pg_query.rs")) } }
