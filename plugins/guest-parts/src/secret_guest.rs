//! Between the world `secret-provider-plugin` and a provider in plain Rust: the same for every one, so it is written once.

/// Expands to the component's exports. `parse` reads settings (`fn(&str) -> Result<Settings, Vec<Problem>>`), `resolve` answers
/// references (`fn(&Settings, &mut impl Backend, &[Reference]) -> Vec<Result<Secret, ResolveError>>`), and the settings have the name of
/// the credential that goes with every request (`credential: Option<String>`). The crate that uses it depends on wit-bindgen, and lies
/// two folders below the one that holds `wit/`.
#[macro_export]
macro_rules! secret_provider {
    ($settings:ty, $parse:path, $resolve:path) => {
        mod bindings {
            wit_bindgen::generate!({ path: "../../wit", world: "secret-provider-plugin" });
        }

        use bindings::exports::origan::codec::{secret_provider as exported, settings};
        use bindings::origan::codec::{clock, http};

        struct Guest;

        bindings::export!(Guest with_types_in bindings);

        $crate::provider_host!($settings, $parse);

        impl exported::Guest for Guest {
            fn resolve(
                references: Vec<exported::Reference>,
            ) -> Vec<Result<exported::Secret, exported::ResolveError>> {
                let Some(settings) = SETTINGS.get() else {
                    let why = "asked before it was configured";
                    return references.iter().map(|_| Err(exported::ResolveError::Unavailable(why.to_owned()))).collect();
                };
                let references: Vec<_> = references
                    .into_iter()
                    .map(|exported::Reference { path, field, version }| $crate::secret::Reference { path, field, version })
                    .collect();
                let mut host = Host { credential: settings.credential.clone() };
                $resolve(settings, &mut host, &references).into_iter().map(given).collect()
            }
        }

        fn given(
            found: Result<$crate::secret::Secret, $crate::secret::ResolveError>,
        ) -> Result<exported::Secret, exported::ResolveError> {
            use $crate::secret::ResolveError;
            match found {
                Ok(secret) => Ok(exported::Secret {
                    value: secret.value,
                    version: secret.version,
                    keep_ms: secret.keep_ms,
                }),
                Err(ResolveError::NotFound) => Err(exported::ResolveError::NotFound),
                Err(ResolveError::Denied(why)) => Err(exported::ResolveError::Denied(why)),
                Err(ResolveError::InvalidReference(why)) => Err(exported::ResolveError::InvalidReference(why)),
                Err(ResolveError::Retry(after_ms)) => Err(exported::ResolveError::Retry(after_ms)),
                Err(ResolveError::Unavailable(why)) => Err(exported::ResolveError::Unavailable(why)),
            }
        }
    };
}
