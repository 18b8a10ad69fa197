//! One open adapter: its buffers and pipelines, and what went wrong on it.
//!
//! wgpu reports errors out of band, to callbacks. They are kept here and looked at whenever results are
//! waited for, so that a fault ends the pass that it hit and nothing is read from a device that failed.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::{Duration, Instant},
};

use futures::executor::block_on;
use thiserror::Error;
use wgpu::{
    Adapter, AdapterInfo, Buffer, BufferDescriptor, BufferUsages, CommandEncoder, ComputePass,
    ComputePassDescriptor, ComputePipeline, ComputePipelineDescriptor, Device, DeviceDescriptor,
    DeviceLostReason, DeviceType, ErrorFilter, Features, MapMode, PollError, PollType, Queue,
    ShaderModuleDescriptor, ShaderSource,
};

use super::{
    super::device::DeviceTime,
    bound::STORAGE_MOST,
    clock::{DeviceClock, STAMP_WORDS},
    options::GpuOptions,
    rounds,
    shader::Kernel,
};

/// How long a submission may take before the adapter counts as hung.
pub const WATCHDOG: Duration = Duration::from_secs(30);

/// Why an adapter computes no more, or did not take what it was given.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum GpuFault {
    /// The adapter could not be opened.
    #[error("the graphics adapter could not be opened: {0}")]
    Open(String),
    /// The adapter is gone: unplugged, reset, or its driver ended.
    #[error("the graphics adapter was lost: {0}")]
    Lost(String),
    /// The adapter has no memory left.
    #[error("the graphics adapter has no room for {what} ({bytes} bytes)")]
    OutOfMemory {
        /// What was to be put there.
        what: String,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The adapter did not finish in time.
    #[error("the graphics adapter did not finish within {} s", .0.as_secs())]
    Hung(Duration),
    /// wgpu refused a command; this program is at fault.
    #[error("the graphics adapter refused a command: {0}")]
    Refused(String),
}

/// An open adapter; a clone is the same one.
#[derive(Clone, Debug)]
pub struct Gpu {
    device: Device,
    queue: Queue,
    info: AdapterInfo,
    watchdog: Duration,
    clock: Option<DeviceClock>,
    rounds_max: Option<u32>,
    fault: Arc<Mutex<Option<GpuFault>>>,
}

impl Gpu {
    /// Opens an adapter with the features that kernels may use, and its limits, as `options` lower them.
    ///
    /// # Errors
    /// [`GpuFault::Open`].
    pub fn open(adapter: &Adapter, options: &GpuOptions) -> Result<Self, GpuFault> {
        let mut limits = adapter.limits();
        limits.max_storage_buffer_binding_size =
            limits.max_storage_buffer_binding_size.min(options.binding_max);
        limits.max_compute_workgroup_storage_size =
            limits.max_compute_workgroup_storage_size.min(options.workgroup_max);
        let mut wanted = Features::SUBGROUP;
        wanted.set(Features::TIMESTAMP_QUERY, options.timestamps);
        let request = adapter.request_device(&DeviceDescriptor {
            label: Some("engine"),
            required_features: adapter.features() & wanted,
            required_limits: limits,
            ..DeviceDescriptor::default()
        });
        let (device, queue) = block_on(request).map_err(|error| GpuFault::Open(error.to_string()))?;
        let fault = Arc::new(Mutex::new(None));
        let (lost, refused) = (fault.clone(), fault.clone());
        device.set_device_lost_callback(move |reason, message| {
            // A device that is dropped says so as well, when nobody asks any more.
            let why = if reason == DeviceLostReason::Destroyed { "destroyed" } else { "lost by its driver" };
            note(&lost, GpuFault::Lost(format!("{why} {message}").trim().to_owned()));
        });
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| note(&refused, of_error(error))));
        let (info, watchdog) = (adapter.get_info(), options.watchdog);
        let gpu = Self { device, queue, info, watchdog, clock: None, rounds_max: None, fault };
        let (clock, rounds_max) = (DeviceClock::of(&gpu, &gpu.queue)?, rounds::limit(&gpu)?);
        Ok(Self { clock, rounds_max, ..gpu })
    }

    /// Which adapter this is.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// Whether invocations may combine values by subgroups.
    pub fn has_subgroups(&self) -> bool {
        self.device.features().contains(Features::SUBGROUP)
    }

    /// Whether it tells by its own clock how long a pass took.
    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    /// Rounds that an invocation may do in all its loops together, if there is a limit.
    pub fn rounds_max(&self) -> Option<u32> {
        self.rounds_max
    }

    /// Whether a kernel may have as many buffers as fused ones do.
    pub fn has_room_to_fuse(&self) -> bool {
        self.device.limits().max_storage_buffers_per_shader_stage >= STORAGE_MOST
    }

    /// wgpu's device.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Ends the device, as a driver would that gave up. Everything that waits for it fails.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// The first thing that went wrong, if anything did.
    ///
    /// # Errors
    /// That.
    pub fn check(&self) -> Result<(), GpuFault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// A buffer of `bytes`, at least 16, filled with zeros.
    ///
    /// # Errors
    /// [`GpuFault::OutOfMemory`], naming it.
    pub fn buffer(&self, what: &str, bytes: u64, usage: BufferUsages) -> Result<Buffer, GpuFault> {
        let size = bytes.max(16).next_multiple_of(16);
        let full = || GpuFault::OutOfMemory { what: what.to_owned(), bytes: size };
        if size > self.device.limits().max_buffer_size {
            return Err(full());
        }
        let scope = self.device.push_error_scope(ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        });
        match block_on(scope.pop()) {
            None => self.check().map(|()| buffer),
            Some(_) => Err(full()),
        }
    }

    /// A storage buffer that kernels and copies read and write.
    ///
    /// # Errors
    /// As [`Gpu::buffer`]; also where it is larger than one binding can be.
    pub fn storage(&self, what: &str, bytes: u64) -> Result<Buffer, GpuFault> {
        if bytes > self.binding_max() {
            return Err(GpuFault::OutOfMemory { what: what.to_owned(), bytes });
        }
        self.buffer(what, bytes, BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC)
    }

    /// A storage buffer that holds `words`.
    ///
    /// # Errors
    /// As [`Gpu::storage`].
    pub fn storage_of(&self, what: &str, words: &[u32]) -> Result<Buffer, GpuFault> {
        let buffer = self.storage(what, 4 * words.len() as u64)?;
        self.write(&buffer, 0, words);
        Ok(buffer)
    }

    /// A uniform buffer that holds `words`.
    ///
    /// # Errors
    /// As [`Gpu::buffer`].
    pub fn uniform_of(&self, what: &str, words: &[u32]) -> Result<Buffer, GpuFault> {
        // No binding is smaller than 64 bytes, which the parameters of most kernels fit.
        let bytes = (4 * words.len() as u64).max(64);
        let usage = BufferUsages::UNIFORM | BufferUsages::STORAGE | BufferUsages::COPY_DST;
        let buffer = self.buffer(what, bytes, usage)?;
        self.write(&buffer, 0, words);
        Ok(buffer)
    }

    /// Bytes of one storage binding at most.
    pub fn binding_max(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Writes words into a buffer before the next submission.
    pub fn write(&self, buffer: &Buffer, first_word: u64, words: &[u32]) {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.queue.write_buffer(buffer, 4 * first_word, &bytes);
    }

    /// Compiles a kernel.
    ///
    /// # Errors
    /// [`GpuFault::Refused`] with the driver's words, if it does not take it.
    pub fn pipeline(&self, kernel: Kernel) -> Result<ComputePipeline, GpuFault> {
        self.compile(kernel.name(), self.source(kernel))
    }

    /// Compiles a module whose entry is `main`.
    ///
    /// # Errors
    /// As [`Gpu::pipeline`].
    pub fn compile(&self, name: &str, source: String) -> Result<ComputePipeline, GpuFault> {
        let scope = self.device.push_error_scope(ErrorFilter::Validation);
        let internal = self.device.push_error_scope(ErrorFilter::Internal);
        let module = self.device.create_shader_module(ShaderModuleDescriptor {
            label: Some(name),
            source: ShaderSource::Wgsl(source.into()),
        });
        let pipeline = self.device.create_compute_pipeline(&ComputePipelineDescriptor {
            label: Some(name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                // No kernel reads workgroup memory that it has not written.
                zero_initialize_workgroup_memory: false,
                ..Default::default()
            },
            cache: None,
        });
        let (internal, validation) = (block_on(internal.pop()), block_on(scope.pop()));
        match internal.or(validation) {
            None => self.check().map(|()| pipeline),
            Some(error) => Err(GpuFault::Refused(format!("kernel {name}: {error}"))),
        }
    }

    /// The text of a kernel for this adapter. Mesa's software driver compiles a kernel anew for every value of
    /// the uniforms that its loops depend on, at a millisecond a dispatch; from storage it takes them as they
    /// are.
    pub fn source(&self, kernel: Kernel) -> String {
        let source = kernel.source();
        if self.info.device_type != DeviceType::Cpu {
            return source;
        }
        let from_storage =
            |name: &str| (format!("var<uniform> {name}:"), format!("var<storage, read> {name}:"));
        let names = ["params", "own", "pass_state"].map(from_storage);
        names.iter().fold(source, |source, (uniform, storage)| source.replace(uniform, storage))
    }

    /// Submits what `record` records and waits for its end.
    ///
    /// # Errors
    /// [`GpuFault`], if anything went wrong until then.
    pub fn submit(&self, record: impl FnOnce(&mut CommandEncoder)) -> Result<(), GpuFault> {
        let mut encoder = self.device.create_command_encoder(&Default::default());
        record(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        self.wait(PollType::Wait { submission_index: Some(submission), timeout: Some(self.watchdog) })
    }

    /// Submits what `record` records with a copy of `words` of each buffer, and gives their contents.
    ///
    /// # Errors
    /// [`GpuFault`], if anything went wrong until then.
    pub fn submit_and_read(
        &self,
        record: impl FnOnce(&mut CommandEncoder),
        reads: &[(&Buffer, u64)],
    ) -> Result<Vec<Vec<u32>>, GpuFault> {
        let total = reads.iter().map(|(_, words)| 4 * words).sum();
        let staging = self.buffer("results", total, BufferUsages::MAP_READ | BufferUsages::COPY_DST)?;
        self.submit(|encoder| {
            record(encoder);
            let mut offset = 0;
            for (buffer, words) in reads {
                encoder.copy_buffer_to_buffer(buffer, 0, &staging, offset, 4 * words);
                offset += 4 * words;
            }
        })?;
        let (send, receive) = mpsc::sync_channel(1);
        staging.slice(..).map_async(MapMode::Read, move |result| {
            // The receiver waits below, or has given up on the device.
            let _ = send.send(result);
        });
        self.wait(PollType::Wait { submission_index: None, timeout: Some(self.watchdog) })?;
        match receive.try_recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(GpuFault::Lost(error.to_string())),
            Err(_) => return Err(GpuFault::Hung(self.watchdog)),
        }
        let mapped = staging.get_mapped_range(..).map_err(|error| GpuFault::Lost(error.to_string()))?;
        let (all, _) = mapped.as_chunks::<4>();
        let mut rest = all;
        let parts = reads.iter().map(|(_, words)| {
            let (part, behind) = rest.split_at(*words as usize);
            rest = behind;
            part.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
        });
        Ok(parts.collect())
    }

    /// As [`Gpu::submit_and_read`], of one pass, with the time that it took by the adapter's clock.
    ///
    /// # Errors
    /// [`GpuFault`], if anything went wrong until then.
    pub(super) fn submit_pass(
        &self,
        record: impl FnOnce(&mut ComputePass<'_>),
        reads: &[(&Buffer, u64)],
    ) -> Result<(Vec<Vec<u32>>, DeviceTime), GpuFault> {
        let Some(clock) = &self.clock else {
            let record = |encoder: &mut CommandEncoder| {
                record(&mut encoder.begin_compute_pass(&ComputePassDescriptor::default()));
            };
            return Ok((self.submit_and_read(record, reads)?, None));
        };
        let reads = [reads, &[(&clock.stamps, STAMP_WORDS)]].concat();
        let begin = Instant::now();
        let mut read = self.submit_and_read(|encoder| clock.record(encoder, record), &reads)?;
        let host = begin.elapsed();
        let time = read.pop().and_then(|words| clock.time(&words, host));
        Ok((read, time))
    }

    fn wait(&self, until: PollType) -> Result<(), GpuFault> {
        let waited = self.device.poll(until);
        self.check()?;
        match waited {
            Ok(_) => Ok(()),
            Err(PollError::Timeout) => {
                let hung = GpuFault::Hung(self.watchdog);
                note(&self.fault, hung.clone());
                Err(hung)
            }
            Err(error) => {
                // A device that takes no submissions says why when it is asked once more.
                let _ = self.device.poll(PollType::Poll);
                self.check()?;
                Err(GpuFault::Lost(error.to_string()))
            }
        }
    }
}

/// Keeps the first fault: what comes after it follows from it.
fn note(place: &Mutex<Option<GpuFault>>, fault: GpuFault) {
    place.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
}

fn of_error(error: wgpu::Error) -> GpuFault {
    match error {
        wgpu::Error::OutOfMemory { .. } => GpuFault::OutOfMemory { what: "a pass".to_owned(), bytes: 0 },
        error => GpuFault::Refused(error.to_string()),
    }
}
