//! The processor as a device: one pass at a time, on the engine's own threads.

use std::sync::Mutex;

use rayon::ThreadPool;

use super::{
    super::{
        awake::install_awake,
        device::{Device, DeviceFacts, DeviceFault, DeviceTime, PAGE, Pass, See},
        forward::{Plan, Workspace},
    },
    kv_store::{KvShape, KvStore, NoMemory},
};

/// A model on the processor.
#[derive(Debug)]
pub(crate) struct CpuDevice {
    plan: Plan,
    pool: ThreadPool,
    shape: KvShape,
    rows_max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    work: Workspace,
    store: KvStore,
}

impl CpuDevice {
    /// Computes `plan` on `pool`, up to `rows_max` rows a pass.
    pub(crate) fn new(plan: Plan, pool: ThreadPool, rows_max: usize) -> Self {
        let config = &plan.config;
        let shape = KvShape {
            layers: config.layers as usize,
            heads: config.kv_heads as usize,
            head_dim: config.head_dim as usize,
        };
        let state = State { work: Workspace::new(config), store: KvStore::new(shape) };
        Self { plan, pool, shape, rows_max, state: Mutex::new(state) }
    }
}

impl Device for CpuDevice {
    fn facts(&self) -> DeviceFacts {
        DeviceFacts {
            kind: "cpu",
            name: self.plan.kernels.name().to_owned(),
            adapter: None,
            threads: self.pool.current_num_threads(),
            weight_bytes: self.plan.weights.bytes(),
            dispatches: 0,
        }
    }

    fn page_bytes(&self) -> usize {
        self.shape.page_bytes()
    }

    fn rows_max(&self) -> usize {
        self.rows_max
    }

    fn run(&self, pass: &Pass<'_>, see: &mut See<'_>) -> Result<DeviceTime, DeviceFault> {
        let lost = |_| DeviceFault::Lost("a computation on it panicked".to_owned());
        let mut state = self.state.lock().map_err(lost)?;
        let State { work, store } = &mut *state;
        let short = |NoMemory| DeviceFault::OutOfMemory { bytes: self.shape.page_bytes() as u64 };
        for row in pass.rows {
            store.back(pass.tables[row.table][row.position as usize / PAGE]).map_err(short)?;
        }
        install_awake(&self.pool, || {
            work.run(&self.plan, store, pass);
            work.show(&self.plan, pass, see);
        });
        // A processor's clock is the host's.
        Ok(None)
    }
}
