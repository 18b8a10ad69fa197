//! What kernels are given: parameters and buffers, bound in the order in which their files name them.

use wgpu::{BindGroup, BindGroupDescriptor, BindGroupEntry, Buffer, ComputePipeline};

use super::{
    context::{Gpu, GpuFault},
    shader::{HeadScale, Input, Keep, Kernel},
};

/// Where the tables of exponentials and of Gumbel noise are bound.
const EXP2_BINDING: u32 = 12;
const GUMBEL_BINDING: u32 = 13;
/// Storage buffers of the kernel that has most, with parameters and pass where these are storage too.
pub(super) const STORAGE_MOST: u32 = 14;

/// Buffers that kernels share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) pass_state: Buffer,
    pub(super) exp2_table: Buffer,
    pub(super) gumbel_tables: Buffer,
}

/// Parameters, which may be none, and buffers.
#[derive(Clone, Debug, Default)]
pub(super) struct Given<'a> {
    pub(super) params: Vec<u32>,
    pub(super) storage: Vec<&'a Buffer>,
}

/// Binds what a kernel is given: `own` in the first group (parameters at 0, the pass at 1, buffers from 2 on,
/// around the tables), and what it codes rows from in the second (parameters at 0, buffers from 1 on).
///
/// # Errors
/// [`GpuFault`], if there is no memory for parameters, or the kernel has other bindings.
pub(super) fn bind(
    gpu: &Gpu,
    (kernel, pipeline): (Kernel, &ComputePipeline),
    shared: &Shared,
    own: &Given<'_>,
    rows: Option<&Given<'_>>,
) -> Result<Vec<BindGroup>, GpuFault> {
    let params = parameters(gpu, own)?;
    let storage = (2..EXP2_BINDING).chain(GUMBEL_BINDING + 1..).zip(own.storage.iter().copied());
    let first: Vec<(u32, &Buffer)> = [(1, &shared.pass_state)]
        .into_iter()
        .chain(params.iter().map(|params| (0, params)))
        .chain(table(kernel, shared))
        .chain(storage)
        .filter(|(binding, _)| !unused(kernel).contains(binding))
        .collect();
    let mut groups = vec![group(gpu, (kernel, pipeline), 0, &first)];
    if let Some(rows) = rows {
        let params = parameters(gpu, rows)?;
        let storage = (1..).zip(rows.storage.iter().copied());
        let second: Vec<_> = params.iter().map(|params| (0, params)).chain(storage).collect();
        groups.push(group(gpu, (kernel, pipeline), 1, &second));
    }
    gpu.check().map(|()| groups)
}

fn parameters(gpu: &Gpu, given: &Given<'_>) -> Result<Option<Buffer>, GpuFault> {
    let some = !given.params.is_empty();
    some.then(|| gpu.uniform_of("parameters", &given.params)).transpose()
}

fn group(
    gpu: &Gpu,
    (kernel, pipeline): (Kernel, &ComputePipeline),
    index: u32,
    bound: &[(u32, &Buffer)],
) -> BindGroup {
    let entries: Vec<BindGroupEntry<'_>> = bound
        .iter()
        .map(|(binding, buffer)| BindGroupEntry { binding: *binding, resource: buffer.as_entire_binding() })
        .collect();
    gpu.device().create_bind_group(&BindGroupDescriptor {
        label: Some(kernel.name()),
        layout: &pipeline.get_bind_group_layout(index),
        entries: &entries,
    })
}

/// The table that a kernel reads.
fn table(kernel: Kernel, shared: &Shared) -> Option<(u32, &Buffer)> {
    match kernel {
        Kernel::Attend(_) | Kernel::Heads(..) | Kernel::Matmul(_, Keep::Gates, ..) => {
            Some((EXP2_BINDING, &shared.exp2_table))
        }
        Kernel::Sample => Some((GUMBEL_BINDING, &shared.gumbel_tables)),
        _ => None,
    }
}

/// Bindings of the first group that a variant of a kernel does not touch, so that its layout has no place for
/// them.
fn unused(kernel: Kernel) -> &'static [u32] {
    match kernel {
        // The scale of the input only matters where the product is brought to a fixed point.
        Kernel::Matmul(_, Keep::Store, _, Input::Stored) => &[7],
        // Codes and sums that a workgroup makes are in its own memory.
        Kernel::Matmul(.., Input::Made { .. }) => &[5, 6],
        // There are no weights where nothing is done with heads.
        Kernel::Heads(_, HeadScale::Product, _) => &[5],
        // Their rows are those of the grid.
        Kernel::Embed(_) | Kernel::HeadForm(_) | Kernel::HeadQuant(..) => &[1],
        _ => &[],
    }
}
