//! Any sequence of calls with power cuts and kills in between: what a log recovers is what it has to.
//!
//! Every event that was acknowledged as durable is there after a power cut, and after a kill every one that was
//! acknowledged; what is there besides is what was appended next, in order and whole; nothing else ever is.

use annals_engine::{Batch, Direction, Durability, Log, Query};

use super::input::Input;
use crate::log_files::DIR;
use crate::sim_disk::{SimDisk, Spared};
use crate::{SeededRandom, event, small_log};

/// A description of calls and crashes.
pub fn segment_recover_structured(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let disk = SimDisk::default();
    let mut run = Run {
        log: open(&disk, 0),
        disk,
        batches: Vec::new(),
        durable: 0,
        opened: 0,
    };
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.power_cut(Spared::Nothing);
    let report = run.log.verify(|_, _| {});
    assert_eq!(report.expect("memory can be read").damages, []);
}

struct Run {
    disk: SimDisk,
    log: Log,
    /// Payloads of the events of each batch, in the order in which they were appended.
    batches: Vec<Vec<Vec<u8>>>,
    /// Position up to which everything was acknowledged as durable.
    durable: u64,
    opened: u64,
}

impl Run {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.u8() {
            0..150 => self.append(input),
            150..165 => self.durable = self.log.sync().expect("nothing fails"),
            165..185 => {
                self.log.close().expect("nothing fails");
                self.durable = self.head();
                self.reopen(self.disk.restarted());
            }
            185..205 => {
                self.reopen(self.disk.restarted());
                assert_eq!(self.log.head(), self.head(), "a kill takes nothing");
            }
            205..215 => self.power_cut(Spared::Nothing),
            _ => self.power_cut(Spared::Some(&SeededRandom::new(input.u64()))),
        }
    }

    fn head(&self) -> u64 {
        self.batches.iter().map(|batch| batch.len() as u64).sum()
    }

    fn append(&mut self, input: &mut Input<'_>) {
        let durability = match input.rarely(2) {
            true => Durability::Buffered,
            false => Durability::Sync,
        };
        let mut payloads = Vec::new();
        let mut batch = Batch::new().durability(durability);
        for _ in 0..=input.below(3) {
            let payload = vec![input.u8(); usize::from(input.u8()) * 15];
            let aggregate = format!("aggregate-{}", input.below(4));
            batch.push(event(&aggregate, "Happened", payload.clone()));
            payloads.push(payload);
        }
        let appended = self.log.append(batch).expect("nothing fails");
        self.batches.push(payloads);
        assert_eq!(appended.last, self.head());
        if durability == Durability::Sync {
            self.durable = appended.last;
        }
        assert!(self.log.durable_head() >= self.durable);
    }

    fn power_cut(&mut self, spared: Spared<'_>) {
        let left = self.disk.power_cut(spared);
        self.reopen(SimDisk::over(left));
    }

    fn reopen(&mut self, disk: SimDisk) {
        self.opened += 1;
        self.log = open(&disk, self.opened);
        self.disk = disk;
        let head = self.log.head();
        assert!(
            (self.durable..=self.head()).contains(&head),
            "head {head}, {} durable, {} appended",
            self.durable,
            self.head()
        );
        while self.head() > head {
            self.batches.pop();
        }
        assert_eq!(self.head(), head, "half a batch");
        assert_eq!(self.log.durable_head(), head);
        self.durable = head;
        let read = self.log.read(.., &Query::all(), Direction::Forward);
        let read = read.map(|event| event.expect("nothing is damaged").payload);
        assert!(read.eq(self.batches.iter().flatten().cloned()));
    }
}

fn open(disk: &SimDisk, seed: u64) -> Log {
    let log = small_log(disk.clone(), seed).open(DIR);
    log.expect("what a crash leaves opens without a question")
}

const STEPS_MAX: usize = 80;

pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let every = |step: u8| (0..=255).step_by(step.into()).collect::<Vec<u8>>();
    let buffered = [0, 1, 0, 7, 200, 1, 210].repeat(30);
    let rolling_and_cut = [[10, 0, 2, 9, 255, 1, 3, 250, 2, 8, 240, 0], [220; 12]]
        .concat()
        .repeat(12);
    vec![
        ("nothing", Vec::new()),
        ("every-step", every(1)),
        ("few-steps", every(7).repeat(8)),
        ("buffered-and-killed", buffered),
        ("rolling-and-cut", rolling_and_cut),
    ]
}
