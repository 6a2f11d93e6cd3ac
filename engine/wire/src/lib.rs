//! Every message of the contract that crosses a process boundary, as plain data. No behaviour, no I/O.

mod audit;
mod auth;
mod cache;
mod error;
pub mod openapi;
mod query;
mod registration;
mod session;
mod system;
mod tools;

pub use audit::*;
pub use auth::*;
pub use cache::*;
pub use error::*;
pub use query::*;
pub use registration::*;
pub use session::*;
pub use system::*;
pub use tools::*;
