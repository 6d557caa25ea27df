//! Who waits is woken: by the append that brings what is waited for, and by nothing that need not come.
//!
//! Threads of the system play here, so the order is theirs. What is looked for is a wait without an end.

use std::sync::mpsc::channel;
use std::time::Duration;

use annals_engine::Query;
use annals_segments::MemoryDisk;

use super::{Tally, Trouble};
use crate::invariants::breach;
use crate::{event, small_log};

/// A subscriber waits for each of a row of appends. Adds to `tally` what was tried.
///
/// # Errors
/// A subscriber that was not woken for `patience`.
pub fn run(seed: u64, rounds: u64, patience: Duration, tally: &mut Tally) -> Result<(), Trouble> {
    let trouble = |what: String| Trouble {
        breach: breach("I4", what),
        again: format!("wake-ups seed {seed}"),
    };
    let log = small_log(MemoryDisk::default(), seed).open("/log");
    let log = log.map_err(|error| trouble(error.to_string()))?;
    let subscription = log.subscribe(0, Query::all());
    let stop = subscription.stop_handle();
    let (seen, sees) = channel();
    let waiting = std::thread::spawn(move || {
        for event in subscription {
            let position = event.map_or(0, |event| event.position);
            if seen.send(position).is_err() {
                return;
            }
        }
    });
    let mut answer = Ok(());
    for round in 1..=rounds {
        // Now and then the other thread is asleep by then, now and then it is not.
        if (round + seed).is_multiple_of(3) {
            std::thread::sleep(Duration::from_micros(300));
        }
        if let Err(error) = log.append(event("a", "Was", "x")) {
            answer = Err(trouble(error.to_string()));
            break;
        }
        tally.states += 1;
        match sees.recv_timeout(patience) {
            Ok(position) if position == round => {}
            Ok(position) => {
                answer = Err(trouble(format!("{position} comes, expected {round}")));
                break;
            }
            Err(_) => {
                answer = Err(trouble(format!("nobody is woken for {round}")));
                break;
            }
        }
    }
    drop(sees);
    stop.stop();
    match &answer {
        // Whoever is not woken once may not be woken now: it is left behind.
        Err(_) => drop(waiting),
        Ok(()) => drop(waiting.join()),
    }
    answer
}
