//! What the glue of every provider does the same: settings that are read once, and the host's imports as a [`Backend`].
//!
//! [`Backend`]: crate::backend::Backend

/// Expands to `SETTINGS`, which `configure` sets, and to `Host`, the backend behind the import `http`. For the glue of each world, which
/// has `Guest`, `settings`, `clock` and `http` in scope.
#[macro_export]
macro_rules! provider_host {
    ($settings:ty, $parse:path) => {
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

        struct Host {
            credential: Option<String>,
        }

        impl $crate::backend::Backend for Host {
            fn send(
                &mut self,
                request: $crate::backend::Request,
            ) -> Result<$crate::backend::Answer, $crate::backend::NoAnswer> {
                use $crate::backend::NoAnswer;

                let headers = request.headers.into_iter();
                let request = http::Request {
                    method: request.method.to_owned(),
                    url: request.url,
                    headers: headers.map(|(name, value)| http::Header { name: name.to_owned(), value }).collect(),
                    body: request.body,
                    credential: self.credential.clone(),
                };
                let response = http::send(&request).map_err(|error| match error {
                    http::SendError::InvalidRequest(why) => NoAnswer::InvalidRequest(why),
                    http::SendError::NotGranted(why) => NoAnswer::NotGranted(why),
                    http::SendError::Connect(why) => NoAnswer::Failed(format!("no connection: {why}")),
                    http::SendError::Tls(why) => NoAnswer::Failed(format!("no TLS: {why}")),
                    http::SendError::Timeout => NoAnswer::Failed("no whole answer in time".to_owned()),
                    http::SendError::TooLarge(limit) => {
                        NoAnswer::Failed(format!("an answer of more than {limit} bytes"))
                    }
                    http::SendError::Protocol(why) => NoAnswer::Failed(format!("not HTTP: {why}")),
                })?;
                let mut headers = response.headers.into_iter();
                let retry_after = headers.find(|header| header.name == "retry-after").map(|header| header.value);
                Ok($crate::backend::Answer { status: response.status, retry_after, body: response.body })
            }

            fn now_ms(&mut self) -> u64 {
                clock::now()
            }
        }
    };
}
