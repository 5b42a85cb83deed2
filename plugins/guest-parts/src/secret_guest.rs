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

        /// Set by `configure`.
        static SETTINGS: std::sync::OnceLock<$settings> = std::sync::OnceLock::new();

        impl settings::Guest for Guest {
            fn configure(json: String) -> Result<(), Vec<settings::Problem>> {
                let problem = |path, message| settings::Problem { path, message };
                let read = $parse(&json).map_err(|problems| {
                    problems.into_iter().map(|found| problem(found.path, found.message)).collect::<Vec<_>>()
                })?;
                SETTINGS.set(read).map_err(|_| vec![problem(String::new(), "configured twice".to_owned())])
            }
        }

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

        struct Host {
            credential: Option<String>,
        }

        impl $crate::secret::Backend for Host {
            fn send(
                &mut self,
                request: $crate::secret::Request,
            ) -> Result<$crate::secret::Answer, $crate::secret::ResolveError> {
                let headers = request.headers.into_iter();
                let request = http::Request {
                    method: request.method.to_owned(),
                    url: request.url,
                    headers: headers.map(|(name, value)| http::Header { name: name.to_owned(), value }).collect(),
                    body: request.body,
                    credential: self.credential.clone(),
                };
                let response = http::send(&request).map_err(|error| {
                    $crate::secret::ResolveError::Unavailable(match error {
                        http::SendError::NotGranted(why) => why,
                        http::SendError::InvalidRequest(why) => format!("no request: {why}"),
                        http::SendError::Connect(why) => format!("no connection: {why}"),
                        http::SendError::Tls(why) => format!("no TLS: {why}"),
                        http::SendError::Timeout => "no whole answer in time".to_owned(),
                        http::SendError::TooLarge(limit) => format!("an answer of more than {limit} bytes"),
                        http::SendError::Protocol(why) => format!("not HTTP: {why}"),
                    })
                })?;
                let mut headers = response.headers.into_iter();
                let retry_after = headers.find(|header| header.name == "retry-after").map(|header| header.value);
                Ok($crate::secret::Answer { status: response.status, retry_after, body: response.body })
            }

            fn now_ms(&mut self) -> u64 {
                clock::now()
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
