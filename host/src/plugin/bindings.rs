//! Rust made of `wit/`. Nothing here is written by hand, and nothing outside `plugin` sees it.

#![expect(missing_docs, reason = "generated")]

/// World `policy-plugin`, with borrowed strings, because a decision is made of what the request holds already.
pub(super) mod policy {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "policy-plugin",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

/// World `audit-sink-plugin`: asynchronous, because its imports wait for the network.
pub(super) mod sink {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "audit-sink-plugin",
        imports: {
            "origan:codec/http.send": async,
            "origan:codec/lines.write": async,
        },
        exports: { default: async },
    });
}

/// World `secret-provider-plugin`: its imports are the sinks', so that one state serves both.
pub(super) mod secret_provider {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "secret-provider-plugin",
        with: {
            "origan:codec/facts": super::sink::origan::codec::facts,
            "origan:codec/log": super::sink::origan::codec::log,
            "origan:codec/clock": super::sink::origan::codec::clock,
            "origan:codec/http": super::sink::origan::codec::http,
        },
        exports: { default: async },
    });
}

/// World `key-provider-plugin`, on the same state.
pub(super) mod key_provider {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "key-provider-plugin",
        with: {
            "origan:codec/facts": super::sink::origan::codec::facts,
            "origan:codec/log": super::sink::origan::codec::log,
            "origan:codec/clock": super::sink::origan::codec::clock,
            "origan:codec/http": super::sink::origan::codec::http,
        },
        exports: { default: async },
    });
}
