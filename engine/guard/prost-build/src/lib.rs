//! Stand-in: `pg_query` ships its generated protobuf code; nothing is generated here.
use std::{io, path::Path};
#[derive(Default)] pub struct Config;
impl Config { pub fn new() -> Self { Config } pub fn type_attribute(&mut self, _: &str, _: &str) -> &mut Self { self }
 pub fn compile_protos(&mut self, _: &[impl AsRef<Path>], _: &[impl AsRef<Path>]) -> io::Result<()> { Err(io::Error::other("protobuf generation is switched off")) } }
