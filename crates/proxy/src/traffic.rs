//! Counts of each Service's connections and bytes, where they are switched on: kept up with the plan by the loop, read every few seconds beside it.
//!
//! How the kernel counts is `stead-dataplane`'s. A failure here is a line in the log and nothing else: no packet depends on it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stead_client::error_text;
use stead_dataplane::{Scope, Traffic, TrafficError};
use stead_plan::Plan;
use tokio::time::sleep;

use crate::{metrics::Metrics, on_blocking_thread};

/// Whether traffic is counted by Service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceTraffic {
    /// Nothing is in the kernel for it.
    #[default]
    Uncounted,
    Counted,
}

/// How old what is told may be.
const PERIOD: Duration = Duration::from_secs(10);

/// Shared by the loop and by who reads. `None` where nothing is counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Option<Arc<Mutex<Traffic>>>);

impl Meter {
    /// In the calling thread's network namespace; what an earlier process left there goes where nothing is to be counted.
    pub(crate) fn open(wanted: ServiceTraffic) -> Result<Self, TrafficError> {
        let mut traffic = Traffic::open()?;
        match wanted {
            ServiceTraffic::Counted => Ok(Self(Some(Arc::new(Mutex::new(traffic))))),
            ServiceTraffic::Uncounted => traffic.remove().map(|()| Self(None)),
        }
    }

    pub(crate) fn apply(&self, plan: &Plan, scope: Scope<'_>) {
        let Some(traffic) = &self.0 else { return };
        if let Err(error) = lock(traffic).apply(plan, scope) {
            tracing::warn!(
                error = error_text(&error),
                "traffic of Services is not counted as it should be; trying again"
            );
        }
    }

    /// Tells `metrics` what was counted, for ever.
    pub(crate) async fn tell(self, metrics: &Metrics) -> Infallible {
        let Some(mut traffic) = self.0 else { return std::future::pending().await };
        loop {
            let counts;
            (traffic, counts) = on_blocking_thread(traffic, |traffic| lock(traffic).read()).await;
            match counts {
                Ok(counts) => metrics.on_traffic(counts),
                Err(error) => tracing::warn!(error = error_text(&error), "traffic of Services cannot be read"),
            }
            sleep(PERIOD).await;
        }
    }
}

fn lock(traffic: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    traffic.lock().unwrap_or_else(PoisonError::into_inner)
}
