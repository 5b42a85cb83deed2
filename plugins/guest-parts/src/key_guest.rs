//! Between the world `key-provider-plugin` and a provider in plain Rust: the same for every one, so it is written once.

/// Expands to the component's exports. `parse` reads settings (`fn(&str) -> Result<Settings, Vec<Problem>>`), `wrap` and `unwrap` ask the
/// backend (`fn(&Settings, &mut impl Backend, &[u8], &Context) -> Result<Wrapped, KeyError>` and `fn(&Settings, &mut impl Backend,
/// &Wrapped, &Context) -> Result<Vec<u8>, KeyError>`), and the settings have the name of the credential that goes with every request
/// (`credential: Option<String>`). The crate that uses it depends on wit-bindgen, and lies two folders below the one that holds `wit/`.
#[macro_export]
macro_rules! key_provider {
    ($settings:ty, $parse:path, $wrap:path, $unwrap:path) => {
        mod bindings {
            wit_bindgen::generate!({ path: "../../wit", world: "key-provider-plugin" });
        }

        use bindings::exports::origan::codec::{key_provider as exported, settings};
        use bindings::origan::codec::{clock, http};

        struct Guest;

        bindings::export!(Guest with_types_in bindings);

        $crate::provider_host!($settings, $parse);

        impl exported::Guest for Guest {
            fn wrap(
                dek: Vec<u8>,
                context: Vec<exported::Attribute>,
            ) -> Result<exported::Wrapped, exported::KeyError> {
                asked(context, |settings, host, context| $wrap(settings, host, &dek, context))
                    .map(|$crate::key::Wrapped { ciphertext, key_version }| exported::Wrapped { ciphertext, key_version })
                    .map_err(|error| told(error.hushed(&dek)))
            }

            fn unwrap(
                wrapped: exported::Wrapped,
                context: Vec<exported::Attribute>,
            ) -> Result<Vec<u8>, exported::KeyError> {
                let exported::Wrapped { ciphertext, key_version } = wrapped;
                let wrapped = $crate::key::Wrapped { ciphertext, key_version };
                asked(context, |settings, host, context| $unwrap(settings, host, &wrapped, context)).map_err(told)
            }
        }

        fn asked<T>(
            context: Vec<exported::Attribute>,
            ask: impl FnOnce(&$settings, &mut Host, &$crate::key::Context) -> Result<T, $crate::key::KeyError>,
        ) -> Result<T, $crate::key::KeyError> {
            let unset = || $crate::key::KeyError::Unavailable("asked before it was configured".to_owned());
            let settings = SETTINGS.get().ok_or_else(unset)?;
            let pairs = context.into_iter().map(|attribute| (attribute.name, attribute.value));
            let context = $crate::key::Context::new(pairs.collect())?;
            ask(settings, &mut Host { credential: settings.credential.clone() }, &context)
        }

        fn told(error: $crate::key::KeyError) -> exported::KeyError {
            use $crate::key::KeyError;
            match error {
                KeyError::Denied(why) => exported::KeyError::Denied(why),
                KeyError::UnknownKey(why) => exported::KeyError::UnknownKey(why),
                KeyError::Corrupt => exported::KeyError::Corrupt,
                KeyError::Retry(after_ms) => exported::KeyError::Retry(after_ms),
                KeyError::Unavailable(why) => exported::KeyError::Unavailable(why),
            }
        }
    };
}
