//! Appends that nobody waits for at once.

use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use annals_engine::{Batch, Direction, Durability, Error, Expected, Log, Query, Ticket};
use annals_segments::MemoryDisk;
use annals_tests::sim_disk::{SimDisk, Step};
use annals_tests::{event, id, small_log};

#[test]
fn thousands_are_under_way_from_one_thread_in_order_and_share_the_syncs() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(1));
    let log = small_log(disk.clone(), 1)
        .segment_len(16 << 20)
        .open("/log")
        .unwrap();
    let before = disk.sync_count();
    let tickets: Vec<Ticket> = (0..5_000)
        .map(|_| log.submit(event("a", "Was", "x")).unwrap())
        .collect();
    for (place, ticket) in tickets.into_iter().enumerate() {
        assert_eq!(ticket.wait().unwrap().first, place as u64 + 1);
    }
    assert_eq!(log.durable_head(), 5_000);
    let syncs = disk.sync_count() - before;
    assert!(syncs < 2_500, "5,000 appends took {syncs} syncs");
}

#[test]
fn a_ticket_is_awaited_without_a_runtime_and_told_once() {
    let log = Log::in_memory().unwrap();
    let mut ticket = pin!(log.submit(event("a", "Was", "")).unwrap());
    let mut context = Context::from_waker(Waker::noop());
    let outcome = loop {
        match ticket.as_mut().poll(&mut context) {
            Poll::Ready(outcome) => break outcome,
            Poll::Pending => std::thread::yield_now(),
        }
    };
    assert_eq!(outcome.unwrap().first, 1);
    assert!(ticket.is_done());
}

#[test]
fn a_dropped_ticket_takes_nothing_back_and_a_close_commits_what_was_submitted() {
    let disk = MemoryDisk::default();
    let log = small_log(disk.clone(), 1).open("/log").unwrap();
    for _ in 0..2_000 {
        drop(log.submit(event("a", "Was", vec![0; 200])).unwrap());
    }
    let last = log.submit(event("a", "Was", "")).unwrap();
    log.close().unwrap();
    assert_eq!(last.wait().unwrap().first, 2_001);
    assert!(matches!(
        log.submit(event("a", "Was", "")),
        Err(Error::Closed)
    ));
    let log = small_log(disk, 2).open("/log").unwrap();
    assert_eq!(
        log.read(.., &Query::all(), Direction::Forward).count(),
        2_001
    );
}

#[test]
fn a_refusal_is_told_by_the_ticket() {
    let log = Log::in_memory().unwrap();
    let first = || Batch::from(event("a", "Was", "")).expect(id("a"), Expected::NoEvents);
    let tickets: Vec<Ticket> = (0..10).map(|_| log.submit(first()).unwrap()).collect();
    let outcomes: Vec<bool> = tickets
        .into_iter()
        .map(|ticket| ticket.wait().is_ok())
        .collect();
    assert_eq!(outcomes.iter().filter(|is_ok| **is_ok).count(), 1);
    assert!(outcomes[0], "the first of one thread is the first");
    assert!(
        matches!(log.submit(Batch::new()), Err(Error::Limit { .. })),
        "what is wrong at once is told at once"
    );
}

#[test]
fn those_who_wait_and_those_who_do_not_share_one_queue() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_len(1 << 20)
        .open(dir.path().join("log"))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let log = log.clone();
            scope.spawn(move || {
                let mut tickets = Vec::new();
                for number in 0..300 {
                    let batch =
                        Batch::from(event(&format!("thread-{thread}"), "Was", vec![0; 100]));
                    match (thread + number) % 3 {
                        0 => drop(log.append(batch).unwrap()),
                        1 => tickets.push(log.submit(batch).unwrap()),
                        _ => tickets
                            .push(log.submit(batch.durability(Durability::Buffered)).unwrap()),
                    }
                }
                for ticket in tickets {
                    ticket.wait().unwrap();
                }
            });
        }
    });
    assert_eq!(log.head(), 1_200);
    for thread in 0..4 {
        assert_eq!(
            log.version(&id(&format!("thread-{thread}"))).unwrap(),
            Some(300)
        );
    }
    assert_eq!(log.wait_durable(1_200).unwrap(), 1_200);
    assert_eq!(log.verify(|_, _| {}).unwrap().damages, []);
}

#[test]
fn a_full_queue_is_busy_for_those_who_do_not_wait() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(30));
    let log = small_log(disk, 1)
        .segment_len(64 << 20)
        .open("/log")
        .unwrap();
    let large = || event("a", "Was", vec![0; 15 << 20]);
    let mut tickets = Vec::new();
    let busy = loop {
        match log.try_submit(large()) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
        assert!(tickets.len() < 200, "the queue has no end");
    };
    assert!(matches!(busy, Error::Busy), "{busy}");
    tickets.push(log.submit(large()).unwrap());
    let count = tickets.len() as u64;
    for ticket in tickets {
        ticket.wait().unwrap();
    }
    assert_eq!(log.head(), count);
}

#[test]
fn a_failed_sync_is_told_to_every_ticket_under_way() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(5));
    let log = small_log(disk.clone(), 1)
        .segment_len(4 << 20)
        .open("/log")
        .unwrap();
    disk.fail(Step::Sync, ErrorKind::Other);
    let tickets: Vec<_> = (0..200)
        .map_while(|_| log.submit(event("a", "Was", "")).ok())
        .collect();
    assert!(!tickets.is_empty());
    for ticket in tickets {
        assert!(matches!(
            ticket.wait(),
            Err(Error::Indeterminate { .. } | Error::Poisoned { .. })
        ));
    }
    assert!(matches!(
        log.submit(event("a", "Was", "")),
        Err(Error::Poisoned { .. })
    ));
    assert_eq!(log.head(), 0);
}

/// Runs `act` on a thread of its own and panics when it takes longer than any machine needs.
fn ends<R: Send + 'static>(act: impl FnOnce() -> R + Send + 'static) -> R {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(act()));
    receiver
        .recv_timeout(Duration::from_secs(60))
        .expect("it ends")
}

#[test]
fn a_close_ends_while_others_go_on_appending() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(2));
    let log = small_log(disk, 1)
        .segment_len(16 << 20)
        .open("/log")
        .unwrap();
    log.submit(event("a", "Was", "")).unwrap().wait().unwrap();
    let appenders: Vec<_> = (0..16)
        .map(|thread| {
            let log = log.clone();
            std::thread::spawn(move || {
                while log
                    .append(event(&format!("thread-{thread}"), "Was", ""))
                    .is_ok()
                {}
            })
        })
        .collect();
    let closing = log.clone();
    ends(move || closing.close().unwrap());
    for appender in appenders {
        appender.join().unwrap();
    }
}

#[test]
fn two_closes_at_once_both_wait_for_what_was_submitted() {
    let disk = SimDisk::with_slow_sync(Duration::from_millis(5));
    let log = small_log(disk, 1).open("/log").unwrap();
    let tickets: Vec<Ticket> = (0..10)
        .map(|_| log.submit(event("a", "Was", "")).unwrap())
        .collect();
    let closers = [log.clone(), log.clone()].map(|log| std::thread::spawn(move || log.close()));
    for closer in closers {
        ends(move || closer.join().unwrap().unwrap());
    }
    for ticket in tickets {
        ticket.wait().unwrap();
    }
}

#[test]
fn a_waker_that_panics_harms_nobody_else() {
    struct Panics;
    impl std::task::Wake for Panics {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("on purpose");
        }
    }
    let log = small_log(SimDisk::with_slow_sync(Duration::from_millis(20)), 1)
        .open("/log")
        .unwrap();
    let mut ticket = Box::pin(log.submit(event("a", "Was", "")).unwrap());
    let waker = Waker::from(std::sync::Arc::new(Panics));
    let _ = ticket.as_mut().poll(&mut Context::from_waker(&waker));
    while !ticket.is_done() {
        std::thread::yield_now();
    }
    let other = log.clone();
    ends(move || other.submit(event("b", "Was", "")).unwrap().wait().unwrap());
    assert_eq!(log.head(), 2);
}
