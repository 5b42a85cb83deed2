//! What is wrapped: what an outside KEK may bind its answer to.

/// What is wrapped. A KEK that binds it (associated data, an encryption context) opens nothing when it is told another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrapContext<'a> {
    /// The service key of a store.
    ServiceKey,
    /// One version of a project's DEK.
    Dek {
        /// Whose.
        project_id: &'a str,
        /// Which.
        version: u32,
    },
    /// A DEK that no row names: nobody knows whose it is. A KEK that binds its context wraps nothing so, and opens nothing.
    Unrecorded,
}
