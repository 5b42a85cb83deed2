//! Vault's HTTP API on loopback, as the tests play it, for walk-throughs: `vault-api 127.0.0.1:8200 TOKEN`.
//!
//! KV 2 is at `secret`, KV 1 at `kv`, Transit at `transit`, and all begin empty. One line for each request: method, path, status.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a server of tests")]

use support::backend::{Answers, Asked, serve, shared};
use support::reply::Reply;
use support::vault::VaultServer;

#[path = "../support"]
#[expect(dead_code, unreachable_pub, reason = "the tests look at more of it")]
mod support {
    pub mod backend;
    pub mod loopback;
    pub mod reply;
    pub mod transit;
    pub mod vault;
}

/// A Vault that says what it is asked.
struct Talking(VaultServer);

impl Answers for Talking {
    fn answer(&mut self, asked: &Asked) -> Reply {
        let reply = self.0.answer(asked);
        let question = if asked.query.is_empty() { String::new() } else { format!("?{}", asked.query) };
        println!("{} {}{question} {}", asked.method, asked.path, reply.status);
        reply
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(token)) = (arguments.next(), arguments.next()) else {
        println!("usage: vault-api ADDRESS:PORT TOKEN");
        std::process::exit(2);
    };
    let listener = tokio::net::TcpListener::bind(&address).await.expect("the port is free");
    serve(listener, shared(Talking(VaultServer::new(&token)))).await;
}
