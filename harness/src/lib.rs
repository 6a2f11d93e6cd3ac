//! Scenarios replayed against a target, and judged by what the mocks and the database saw.

pub mod client;
pub mod database;
pub mod events;
pub mod expect;
pub mod fuzz;
pub mod gates;
pub mod history;
pub mod json_path;
pub mod load;
pub mod nearest;
pub mod plan;
pub mod run;
pub mod scenario;
pub mod selftest;
pub mod statistics;
pub mod steps;
pub mod target;
pub mod validity;
pub mod world;
