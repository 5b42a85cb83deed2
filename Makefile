# Each target does all of its own set-up, says what it does, and works again the second time.
.PHONY: run test lint bench plugins dist fmt

run: plugins ## build codec and its plugins, and serve on 127.0.0.1:8686 with secrets of its own under ./data
	target/release/codec serve --dev

plugins: ## the plugins that ship, as components in target/plugins
	@tests/setup.sh build
	cargo build --release --locked --workspace --bins
	target/release/codec-plugin build plugins --out target/plugins

dist: plugins ## the program as it is to be deployed, in target/dist, and the plugins that ship in target/plugins
	cargo build --profile dist --locked --workspace --bins

test: ## all tests, against real servers that they start themselves
	@tests/setup.sh test
	@# The program as it ships, without PKCS#11: a test asks it for a token. Everything else is built once, with it. (With other targets
	@# chosen, dependencies would have other features, and be built once more.)
	cargo build --locked --workspace --bins --examples
	@install -D target/debug/codec target/tools/plain/codec
	cargo build --locked --workspace --bins --examples --features origan-codec/pkcs11
	target/debug/codec-plugin build plugins --out target/plugins
	target/debug/codec-plugin build plugins/examples --out target/plugins
	cargo test --locked --manifest-path plugins/Cargo.toml --workspace --target-dir target/plugins-native
	cargo test --workspace --locked --features origan-codec/pkcs11

lint: ## format, clippy, licences, bans and sources of dependencies
	@tests/setup.sh lint
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path plugins/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo clippy --workspace --all-targets --locked --features origan-codec/pkcs11 -- -D warnings
	cargo clippy --locked --manifest-path plugins/Cargo.toml --workspace --all-targets --target-dir target/plugins-native -- -D warnings
	@cargo fetch --locked --quiet
	target/tools/bin/cargo-deny --offline check bans licenses sources

bench: ## codec beside Node, a bare axum echo and in-process ciphers, with ratios and plots (bench/RESULTS.md); then its parts
	@tests/setup.sh bench
	cargo build --profile dist --locked --workspace --bins --example compare --example echo
	target/dist/codec-plugin build plugins --out target/plugins
	target/dist/codec-plugin build plugins/examples --out target/plugins
	target/dist/examples/compare
	cargo bench --profile dist --locked --bench parts -- --quick

fmt:
	cargo fmt --all
	cargo fmt --all --manifest-path plugins/Cargo.toml
