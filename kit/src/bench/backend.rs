//! The backend of a case, for providers that are measured.

use std::sync::{Arc, Mutex, PoisonError};

use origan_codec_host::plugin::cases::Example;
use origan_codec_host::plugin::outside::{Answering, HttpRequest, HttpResponse, Outside, SendError, WriteLinesError};

/// The case's backend, from its beginning with each call.
pub(super) struct Backend {
    script: Mutex<Arc<dyn Outside>>,
}

impl Backend {
    pub(super) fn of(example: &Example<'_>) -> Arc<Self> {
        Arc::new(Self { script: Mutex::new(example.outside()) })
    }

    pub(super) fn begin(&self, example: &Example<'_>) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = example.outside();
    }

    fn script(&self) -> Arc<dyn Outside> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Outside for Backend {
    fn send(&self, request: HttpRequest) -> Answering<'_, Result<HttpResponse, SendError>> {
        let script = self.script();
        Box::pin(async move { script.send(request).await })
    }

    fn write_lines(&self, output: String, lines: Vec<String>) -> Answering<'_, Result<(), WriteLinesError>> {
        let script = self.script();
        Box::pin(async move { script.write_lines(output, lines).await })
    }

    fn now_ms(&self) -> u64 {
        self.script().now_ms()
    }
}
