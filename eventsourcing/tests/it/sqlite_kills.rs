//! A process that stores in SQLite, killed while it does: what it was told is stored is there, whole and in order.
//!
//! The parent follows from its own process meanwhile, so the same run shows that followers miss nothing.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use annals::{
    AggregateId, ApplicationRecorder, Durability, ProcessRecorder, SelectNotifications,
    SqliteRecorder, StoredEvent, Tracking, TrackingRecorder,
};
use uuid::Uuid;

#[test]
fn what_was_acknowledged_survives_the_death_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.db");
    let here = SqliteRecorder::open(&path).unwrap();
    let mut subscription = here.subscribe(0, &[]).unwrap();
    let (mut acknowledged, mut seen) = (0, 0);
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sqlite_kills::stores_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(PATH, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(child.stdout.take().unwrap()).lines();
        for (count, line) in told
            .map_while(Result::ok)
            .filter_map(|line| acknowledgement(&line))
            .enumerate()
        {
            acknowledged = line;
            // At another place in each round. What is still in the pipe was acknowledged, too.
            if count == 40 + 7 * round {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();

        let there = SqliteRecorder::open(&path).unwrap();
        let events = there
            .select_notifications(&SelectNotifications::first(usize::MAX))
            .unwrap();
        let stored = events.len() as u64;
        assert!(stored >= acknowledged, "{stored} of {acknowledged} events");
        for (event, position) in events.iter().zip(1..) {
            assert_eq!(
                (event.position, &event.event),
                (position, &event_at(position))
            );
        }
        // Events and the position they are the effect of come together.
        assert_eq!(there.max_tracking("up").unwrap(), Some(stored));
        while seen < stored {
            let next = subscription
                .next_timeout(Duration::from_secs(20))
                .unwrap()
                .unwrap();
            seen += 1;
            assert_eq!((next.position, next.event), (seen, event_at(seen)));
        }
    }
    assert!(acknowledged > 40 * ROUNDS as u64);
}

#[test]
#[ignore = "the process that is killed"]
fn stores_until_it_is_killed() {
    let Some(path) = std::env::var_os(PATH) else {
        return;
    };
    let recorder = SqliteRecorder::open(Path::new(&path)).unwrap();
    let first = recorder.max_tracking("up").unwrap().unwrap_or(0) + 1;
    for position in first.. {
        let durability = match position % 3 {
            0 => Durability::Sync,
            _ => Durability::Buffered,
        };
        recorder
            .insert_events_tracked(
                vec![event_at(position)],
                Tracking::new("up", position),
                durability,
            )
            .unwrap();
        println!("\n{STORED}{position}");
    }
}

fn acknowledgement(line: &str) -> Option<u64> {
    line.strip_prefix(STORED)?.parse().ok()
}

fn event_at(position: u64) -> StoredEvent {
    let id = AggregateId::text(format!("a{}", position % 5)).unwrap();
    // Some are larger than a page, so that a death may come in the middle.
    let payload = vec![b'x'; (position as usize * 997) % 20_000];
    let event = StoredEvent::new(Uuid::from_u128(position.into()), "Happened", payload);
    StoredEvent {
        tags: vec![vec![1 + (position % 7) as u8]],
        ..event.of(id, position)
    }
}

const ROUNDS: usize = 6;
const PATH: &str = "ANNALS_TEST_SQLITE_PATH";
const STORED: &str = "stored ";
