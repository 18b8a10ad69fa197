//! A device that tells something else than it computed.

use gridhour_node::engine::{
    device::{Device, DeviceFacts, DeviceFault, DeviceTime, Pass, See},
    score_chain::Scores,
};

/// What it changes of the scores behind a position: logits, then the checksums of the layers.
pub type Alter = fn(position: u32, logits: &mut Vec<i32>, checksums: &mut Vec<u32>);

/// A device whose scores are changed before anyone sees them.
#[derive(Debug)]
pub struct Altered {
    inner: Box<dyn Device>,
    alter: Alter,
}

impl Altered {
    /// Changes what `inner` tells.
    #[must_use]
    pub fn new(inner: Box<dyn Device>, alter: Alter) -> Self {
        Self { inner, alter }
    }
}

impl Device for Altered {
    fn facts(&self) -> DeviceFacts {
        self.inner.facts()
    }

    fn page_bytes(&self) -> usize {
        self.inner.page_bytes()
    }

    fn rows_max(&self) -> usize {
        self.inner.rows_max()
    }

    fn run(&self, pass: &Pass<'_>, see: &mut See<'_>) -> Result<DeviceTime, DeviceFault> {
        self.inner.run(pass, &mut |row, scores| {
            let (mut logits, mut checksums) = (scores.logits.to_vec(), scores.checksums.to_vec());
            (self.alter)(pass.rows[row].position, &mut logits, &mut checksums);
            see(row, Scores { logits: &logits, checksums: &checksums });
        })
    }
}
