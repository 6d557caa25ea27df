//! A child that was forked from a process with an open log: it is told so, and its parent is none the worse.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;

use annals_engine::{Batch, Durability, Error, Log};
use annals_tests::log_files::DIR;
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, small_log};

#[expect(
    unsafe_code,
    reason = "forking is what this is about, and std has no word for it"
)]
mod system {
    unsafe extern "C" {
        pub(super) fn fork() -> i32;
        pub(super) fn _exit(code: i32) -> !;
        pub(super) fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        pub(super) fn alarm(seconds: u32) -> u32;
    }

    /// Runs `child` in a child; answers whether it said yes.
    pub(super) fn in_a_child(child: impl FnOnce() -> bool) -> bool {
        // SAFETY: no other thread of this process holds a lock that the child takes, or it is the test that it does not
        // take it: then the alarm ends the child. It ends without running what is at exit; the status is ours.
        unsafe {
            let process = fork();
            if process == 0 {
                let _ = alarm(20);
                _exit(i32::from(!child()));
            }
            let mut status = -1;
            assert_eq!(waitpid(process, &raw mut status, 0), process);
            status == 0
        }
    }
}

#[test]
fn a_forked_child_writes_nothing_and_lets_go_of_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_len(64 << 10)
        .open(dir.path())
        .unwrap();
    let _ = log.append(event("a", "Was", "x")).unwrap();
    let mut handle = Some(log.clone());
    let is_refused = system::in_a_child(|| {
        let log = handle.take().expect("the handle of the child");
        let is_forked = |refused: Result<(), Error>| matches!(refused, Err(Error::Forked { .. }));
        let refused = is_forked(log.append(event("a", "Child", "x")).map(drop))
            && is_forked(log.submit(event("a", "Child", "x")).map(drop))
            && is_forked(log.sync().map(drop))
            && is_forked(log.set_follower("f", 1))
            && is_forked(log.truncate_before(1).map(drop))
            && is_forked(log.close());
        let reads = log.head() == 1;
        drop(log);
        // Nor is it the child's to open.
        let locked = matches!(Log::open(dir.path()), Err(Error::Locked { .. }));
        refused && reads && locked
    });
    assert!(is_refused);
    // The parent goes on, and has the lock still.
    let _ = log.append(event("a", "Was", "y")).unwrap();
    let is_locked = || matches!(Log::open(dir.path()), Err(Error::Locked { .. }));
    assert!(is_locked() && system::in_a_child(is_locked));
    drop(handle);
    log.close().unwrap();
    drop(log);
    assert_eq!(Log::open(dir.path()).unwrap().head(), 2);
}

/// Found by `processes`: a sync in the child waited for the lock that a thread of the parent held during another.
#[test]
fn a_forked_child_does_not_wait_for_what_a_thread_of_its_parent_holds() {
    let disk = SimDisk::default();
    let log = small_log(disk.clone(), 1).open(DIR).unwrap();
    let batch = Batch::from(event("a", "Was", "x")).durability(Durability::Buffered);
    let _ = log.append(batch).unwrap();
    let (is_in_sync, in_sync) = channel();
    let (go_on, goes_on) = channel::<()>();
    let (goes_on, is_first) = (Mutex::new(goes_on), AtomicBool::new(true));
    disk.set_hook(move |step, _| {
        if step == Step::Sync && is_first.swap(false, Ordering::SeqCst) {
            is_in_sync.send(()).unwrap();
            goes_on.lock().unwrap().recv().unwrap();
        }
        Ok(())
    });
    std::thread::scope(|scope| {
        let syncing = scope.spawn(|| log.sync());
        in_sync.recv().unwrap();
        let is_forked = |refused: Result<(), Error>| matches!(refused, Err(Error::Forked { .. }));
        let is_refused = system::in_a_child(|| {
            is_forked(log.sync().map(drop))
                && is_forked(log.append(event("a", "Child", "x")).map(drop))
                && is_forked(log.submit(event("a", "Child", "x")).map(drop))
                && is_forked(log.set_follower("f", 1))
                && is_forked(log.truncate_before(1).map(drop))
                && is_forked(log.close())
        });
        go_on.send(()).unwrap();
        assert_eq!(syncing.join().unwrap().unwrap(), 1);
        assert!(is_refused);
    });
}
