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
