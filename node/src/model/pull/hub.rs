//! A file from the Hugging Face hub; an interrupted download goes on where it ended.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
};

use hf_hub::api::{Progress, sync::ApiBuilder};

use super::{Fetch, Job, SourceError, size_below};

/// A file of a repository.
pub(super) struct Hub {
    pub(super) repo: &'static str,
    pub(super) file: &'static str,
}

impl Fetch for Hub {
    fn name(&self) -> String {
        format!("Hugging Face hub, {}", self.repo)
    }

    fn fetch(&self, job: &Job) -> Result<PathBuf, SourceError> {
        let failed = |error: hf_hub::api::sync::ApiError| SourceError::Failed(error.to_string());
        let api = ApiBuilder::from_env().with_progress(false).with_cache_dir(job.staging.clone());
        let repo = api.build().map_err(failed)?.model(self.repo.to_owned());
        // What was left by a download that ended between its last byte and its new name cannot be resumed.
        if size_below(&job.staging) >= job.entry.bytes {
            fs::remove_dir_all(&job.staging)?;
        }
        let watch = Watch { job, done: 0 };
        // The library offers no way to end a download, but it calls `watch` as it goes, which unwinds to
        // here.
        match catch_unwind(AssertUnwindSafe(|| repo.download_with_progress(self.file, watch))) {
            Ok(downloaded) => downloaded.map_err(failed),
            Err(end) => Err(match end.downcast::<SourceError>() {
                Ok(error) => *error,
                Err(_) => SourceError::Failed("the answer was not understood".to_owned()),
            }),
        }
    }
}

/// Counts bytes, and ends a download that is no longer wanted or is not the file.
struct Watch<'a> {
    job: &'a Job,
    done: u64,
}

impl Watch<'_> {
    fn end(error: SourceError) -> ! {
        // Unlike a panic this prints nothing.
        resume_unwind(Box::new(error))
    }
}

impl Progress for Watch<'_> {
    fn init(&mut self, size: usize, _: &str) {
        let expected = self.job.entry.bytes;
        if size as u64 != expected {
            let error = format!("its file has {size} bytes, not {expected}");
            Self::end(SourceError::Failed(error));
        }
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        if self.job.stop.is_set() {
            Self::end(SourceError::Stopped);
        }
        self.done += size as u64;
        if self.done > self.job.entry.bytes {
            Self::end(SourceError::Failed("it sends more than the file".to_owned()));
        }
        self.job.report(self.done);
    }

    fn finish(&mut self) {}
}
