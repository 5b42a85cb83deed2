//! `codec`: holds a deploy platform's key-encryption key, encrypts and decrypts its environment secrets, and answers nothing
//! without a durable audit record.
//!
//! A request travels one way: `server → http → service → deployments, policy, keys, audit`, each importing only from below.
//! `docs/ARCHITECTURE.md` is the map, `docs/FORMAT.md` the bytes.

pub mod app;
pub mod audit;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod config;
pub mod deployments;
pub mod http;
pub mod keys;
pub mod names;
pub mod plugins;
pub mod policy;
pub mod providers;
pub mod server;
pub mod service;
pub mod store;
