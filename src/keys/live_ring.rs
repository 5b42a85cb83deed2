//! The ring of a service that runs: another takes its place once it is proven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use origan_codec_host::crypto::KeyRing;

use super::Keys;

/// How often the ring has changed while the service ran.
#[derive(Debug, Default)]
pub struct RingFigures {
    /// Rings that proved good, and took over.
    pub taken: AtomicU64,
    /// Those that did not.
    pub refused: AtomicU64,
    failure: ArcSwapOption<String>,
}

impl RingFigures {
    /// Why the ring is not what the folder of KEKs says; none: it is.
    pub fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full()
    }
}

impl Keys {
    /// Puts `ring` in the place of the one before; it has been proven. What was unwrapped under that is let go.
    pub fn replace_ring(&self, ring: Arc<KeyRing>) {
        self.ring.store(ring);
        self.cache.invalidate_all();
        self.ring_figures.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes why the ring is not what it should be; none: it is.
    pub fn note_ring_failure(&self, failure: Option<String>) {
        let before = self.ring_figures.failure();
        if failure.as_ref() == before.as_deref() {
            return;
        }
        if failure.is_some() {
            self.ring_figures.refused.fetch_add(1, Ordering::Relaxed);
        }
        self.ring_figures.failure.store(failure.map(Arc::new));
    }

    /// How the ring has changed.
    pub fn ring_figures(&self) -> &RingFigures {
        &self.ring_figures
    }
}
