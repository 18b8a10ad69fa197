//! A device that fails: every job ends by its fault, at once and with all memory free, and nothing is taken after.

use std::sync::{Arc, mpsc::sync_channel};

use gridhour_node::engine::{
    device::{DeviceFault, PAGE},
    scheduler::{JobEvent, JobHandle, JobRequest, Scheduler, SubmitError},
    sequence::{Sequence, SequenceError},
};
use testkit::watched::{Answer, Watch, Watched};

use crate::{
    engine_batches::{engine, short_of_memory, watched},
    engine_jobs::{read_start, read_tokens, request},
};

fn read_fault(job: &JobHandle) -> DeviceFault {
    match job.next_event() {
        Some(JobEvent::Fault(fault)) => {
            assert_eq!(job.next_event(), None, "nothing follows a fault");
            fault
        }
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// A job that writes, one that waits for a grant and one in line, when the device answers so.
fn all_jobs_end(answer: Answer, fault: &DeviceFault) {
    let (scheduler, watch): (Scheduler, Watch) = watched(short_of_memory(40, 4), 1);
    let (tell, heard) = sync_channel(4);
    let tell_again = tell.clone();
    scheduler.on_fault(move |fault| tell.send(fault).expect("room"));
    let submit = |request: JobRequest| scheduler.submit(request).expect("a place");
    let writing = submit(request(scheduler.engine(), 5, 40, 1));
    let _ = watch.next();
    let idle = submit(JobRequest { granted: 0, ..request(scheduler.engine(), 5, 40, 2) });
    let in_line = submit(request(scheduler.engine(), 3 * PAGE, 40, 3));
    watch.answer(Answer::Go);
    watch.pass();
    let _ = watch.next();
    assert_eq!(scheduler.fault(), None);
    watch.answer(answer);
    read_start(&writing, 5);
    read_tokens(&writing, 0, 2);
    for job in [&writing, &idle, &in_line] {
        assert_eq!(&read_fault(job), fault);
    }
    assert_eq!((scheduler.jobs(), scheduler.engine().pages().used()), (0, 0));
    assert_eq!(scheduler.fault().as_ref(), Some(fault));
    scheduler.on_fault(move |fault| tell_again.send(fault).expect("room"));
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [fault.clone(), fault.clone()]);
    match scheduler.submit(request(scheduler.engine(), 5, 5, 4)) {
        Err(SubmitError::Device(refused)) => assert_eq!(&refused, fault),
        other => panic!("taken: {other:?}"),
    }
}

#[test]
fn a_fault_of_any_kind_ends_every_job_and_is_final() {
    let faults = [
        DeviceFault::Lost("the driver was reset".to_owned()),
        DeviceFault::OutOfMemory { bytes: 1 << 30 },
        DeviceFault::Hung { seconds: 10 },
    ];
    for fault in faults {
        all_jobs_end(Answer::Fail(fault.clone()), &fault);
    }
}

#[test]
fn a_device_that_panics_is_lost() {
    all_jobs_end(Answer::Panic, &DeviceFault::Lost("a computation on it panicked".to_owned()));
}

#[test]
fn a_sequence_stands_where_the_device_left_it() {
    let mut watch = None;
    let engine = Arc::new(engine(41, |_| ()).with_device(|inner| {
        let (device, watches) = Watched::new(inner, 1);
        watch = Some(watches);
        Box::new(device)
    }));
    let watch = watch.expect("the device was wrapped");
    let fault = DeviceFault::OutOfMemory { bytes: 5 };
    let answers = [Answer::Go, Answer::Fail(fault.clone()), Answer::Go];
    let answering = std::thread::spawn(move || {
        for answer in answers {
            let _ = watch.next();
            watch.answer(answer);
        }
    });
    let mut sequence = Sequence::new(&engine, 100).expect("room");
    assert_eq!(sequence.extend(&[1; 90]), Err(SequenceError::Device(fault)));
    assert_eq!(sequence.position(), 64, "the first pass was computed");
    assert_eq!(sequence.extend(&[1; 26]), Ok(()));
    answering.join().expect("three passes");
}
