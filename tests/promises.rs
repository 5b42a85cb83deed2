//! Whole-process tests: one file for each promise, one binary for all of them, because linking costs more than running.

#![expect(clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests fail loudly")]
#![expect(unreachable_pub, reason = "nobody imports tests")]

mod support;

mod architecture;
mod backup;
mod bench;
mod binding;
mod bodies;
mod callers;
mod ciphertexts;
mod compiled_code;
mod compiler;
mod configuration;
mod contract;
mod counting;
mod crash;
mod credentials;
mod debt;
mod dek_versions;
mod deployments;
mod failover;
mod hostile;
mod import;
mod interop;
mod journal;
mod journal_faults;
mod kek;
mod kek_folder;
mod kek_ring;
mod key_provider_backends;
mod key_provider_faults;
mod key_providers;
mod languages;
mod leaks;
mod life;
mod openapi;
mod pages;
#[cfg(feature = "pkcs11")]
mod pkcs11;
#[cfg(feature = "pkcs11")]
mod pkcs11_faults;
mod policies;
mod process;
mod provider_backends;
mod provider_faults;
mod provider_logins;
mod providers;
mod readme;
mod reload;
mod replicas;
mod rewrap;
mod rotated_elsewhere;
mod samples;
mod serving;
mod sink_backends;
mod sink_faults;
mod sink_reach;
mod sink_swap;
mod sinks;
mod store;
mod store_faults;
mod two_keks;
mod values;
mod vectors;
