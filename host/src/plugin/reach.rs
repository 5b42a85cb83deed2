//! Instances that reach beyond their own memory, a sink's, a provider's: how one is made, configured and called.
//!
//! One state and one set of imports for all such worlds (`state`): what is granted and capped is so in one place.

mod leak;
mod state;

use std::sync::Arc;

use wasmtime::component::{Component, InstancePre, Linker};
use wasmtime::{Engine, Store, UpdateDeadline};

use super::admission::Problem;
use super::engine::{Clock, TICK};
use super::fault::Fault;
use super::imports::PluginLog;
use super::limits::{Limits, Meter};
use super::outside::Outside;
pub(super) use leak::{LEAK_LEN, Pieces};
pub(super) use state::Reaching;

/// How `configure` ended, if not well.
pub(super) enum ConfigureError {
    Refused(Vec<Problem>),
    Fault(Fault),
}

/// A world whose instances reach beyond their own memory: what the bindings of each make under the same names, and yet apart.
pub(super) trait World: Sized + Send + 'static {
    /// Compiled and linked.
    type Pre: Clone + Send + Sync + 'static;

    fn link(linker: &mut Linker<Reaching>) -> wasmtime::Result<()>;

    fn pre(linked: InstancePre<Reaching>) -> wasmtime::Result<Self::Pre>;

    fn engine(pre: &Self::Pre) -> &Engine;

    /// An instance, and what its `configure` says of `settings`.
    fn configure(
        pre: &Self::Pre,
        store: &mut Store<Reaching>,
        settings: &str,
    ) -> impl Future<Output = wasmtime::Result<(Self, Result<(), Vec<Problem>>)>> + Send;
}

/// Makes a [`World`] of what the bindings have made of one.
macro_rules! world {
    ($plugin:ty, $pre:ident :: $pre_type:ident, $problem:ty) => {
        impl $crate::plugin::reach::World for $plugin {
            type Pre = $pre::$pre_type<$crate::plugin::reach::Reaching>;

            fn link(linker: &mut wasmtime::component::Linker<$crate::plugin::reach::Reaching>) -> wasmtime::Result<()> {
                Self::add_to_linker::<_, wasmtime::component::HasSelf<_>>(linker, |state| state)
            }

            fn pre(
                linked: wasmtime::component::InstancePre<$crate::plugin::reach::Reaching>,
            ) -> wasmtime::Result<Self::Pre> {
                Self::Pre::new(linked)
            }

            fn engine(pre: &Self::Pre) -> &wasmtime::Engine {
                pre.engine()
            }

            async fn configure(
                pre: &Self::Pre,
                store: &mut wasmtime::Store<$crate::plugin::reach::Reaching>,
                settings: &str,
            ) -> wasmtime::Result<(Self, Result<(), Vec<$crate::plugin::admission::Problem>>)> {
                let instance = pre.instantiate_async(&mut *store).await?;
                let outcome = instance.origan_codec_settings().call_configure(&mut *store, settings).await?;
                let problem =
                    |found: $problem| $crate::plugin::admission::Problem { path: found.path, message: found.message };
                Ok((instance, outcome.map_err(|found| found.into_iter().map(problem).collect())))
            }
        }
    };
}
pub(super) use world;

/// What an instance is made of.
pub(super) struct Recipe<W: World> {
    pub(super) pre: W::Pre,
    pub(super) clock: Arc<Clock>,
    pub(super) limits: Limits,
    pub(super) log: Arc<PluginLog>,
    pub(super) outside: Arc<dyn Outside>,
    pub(super) settings: String,
}

impl<W: World> Recipe<W> {
    /// A store for one instance, which is about to be configured.
    pub(super) fn store(&self) -> Store<Reaching> {
        store(W::engine(&self.pre), &self.limits, self.log.clone(), self.outside.clone())
    }

    /// An instance in `store` that has taken the settings.
    pub(super) async fn configured(&self, store: &mut Store<Reaching>) -> Result<W, ConfigureError> {
        match W::configure(&self.pre, store, &self.settings).await {
            Ok((instance, Ok(()))) => {
                store.data_mut().configuring = false;
                Ok(instance)
            }
            Ok((_, Err(problems))) => Err(ConfigureError::Refused(problems)),
            Err(error) => Err(ConfigureError::Fault(store.data().fault(&error))),
        }
    }

    /// One call of a fresh instance, in the time that it may take; and the store that it was made in, where its lines wait.
    pub(super) async fn call<T>(
        &self,
        ask: impl AsyncFnOnce(&W, &mut Store<Reaching>) -> wasmtime::Result<T>,
    ) -> (Result<T, Fault>, Store<Reaching>) {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let calling = async {
            let instance = self.configured(&mut store).await?;
            begin(&mut store);
            store.data_mut().hold_lines();
            let called = ask(&instance, &mut store).await;
            called.map_err(|error| store.data().fault(&error))
        };
        let outcome = tokio::time::timeout(self.limits.call_deadline, calling).await;
        (outcome.unwrap_or_else(|_| Err(Fault::Timeout(", waiting in an import".into()))), store)
    }

    /// One in a store of its own, in the time that `configure` may take.
    pub(super) async fn fresh(&self) -> Result<(Store<Reaching>, W), ConfigureError> {
        let _at_work = self.clock.begin();
        let mut store = self.store();
        let configured = tokio::time::timeout(self.limits.configure_deadline, self.configured(&mut store)).await;
        let late = |_| Err(ConfigureError::Fault(Fault::Timeout(" in `configure`".into())));
        let instance = configured.unwrap_or_else(late)?;
        Ok((store, instance))
    }
}

/// `component`, linked with the imports of its world, and WASI if it is granted.
pub(super) fn linked<W: World>(component: &Component, wasi: bool) -> wasmtime::Result<W::Pre> {
    let mut linker = Linker::new(component.engine());
    W::link(&mut linker)?;
    if wasi {
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    }
    W::pre(linker.instantiate_pre(component)?)
}

fn store(engine: &Engine, limits: &Limits, log: Arc<PluginLog>, outside: Arc<dyn Outside>) -> Store<Reaching> {
    let state = Reaching::new(Meter::new(limits), log, outside);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.meter);
    store.set_hostcall_fuel(limits.transfer_bytes);
    store.set_epoch_deadline(1);
    let budget = limits.compute_deadline.as_millis() / TICK.as_millis();
    // Called only while the guest computes: time in which it waits for the network is not its own.
    store.epoch_deadline_callback(move |mut context| {
        let state = context.data_mut();
        state.ticks += 1;
        Ok(if state.ticks > budget { UpdateDeadline::Interrupt } else { UpdateDeadline::Yield(1) })
    });
    store
}

/// A call begins, with all of its time to compute before it.
pub(super) fn begin(store: &mut Store<Reaching>) {
    store.data_mut().ticks = 0;
    store.set_epoch_deadline(1);
}

impl From<ConfigureError> for Fault {
    /// Of settings that were good when it was admitted: a guest that changes its mind is not believed.
    fn from(error: ConfigureError) -> Self {
        match error {
            ConfigureError::Fault(fault) => fault,
            ConfigureError::Refused(_) => Self::BadAnswer("`configure` refused settings that it had taken".into()),
        }
    }
}
