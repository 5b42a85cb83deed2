# Each target does all of its own set-up, says what it does, and works again the second time.
.PHONY: run test lint bench fmt

run: ## build codec and serve on 127.0.0.1:8686 with secrets of its own under ./data
	@tests/setup.sh build
	cargo build --release --locked
	target/release/codec serve --dev

test: ## all tests, against a real PostgreSQL, Node and S3 server that they start themselves
	@tests/setup.sh test
	cargo test --workspace --locked

lint: ## format, clippy, licences, bans and sources of dependencies
	@tests/setup.sh lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	target/tools/bin/cargo-deny --offline check bans licenses sources

bench: ## /decrypt-value beside the seed's Node service and a bare axum echo
	@tests/setup.sh bench
	cargo build --release --locked --bins --examples
	bench/run.sh

fmt:
	cargo fmt --all
