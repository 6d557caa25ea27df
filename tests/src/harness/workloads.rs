//! What logs are put through: short runs of every kind, each a function of a random number.
//!
//! Each has a few dozen calls that change the disk, so that a crash can be tried at every one of them, with every
//! choice of what survives.

use annals_engine::{BackupMode, Expected, Query, QueryItem};

use super::driver::{Draft, Driver, Step};
use crate::SeededRandom;
use crate::sim_disk::Spared;

/// A run by name.
#[derive(Clone, Copy)]
pub struct Workload {
    /// Its name, for reports.
    pub name: &'static str,
    /// The run.
    pub run: fn(&mut Driver, &SeededRandom) -> Step,
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name)
    }
}

macro_rules! workloads {
    ($($name:ident),* $(,)?) => {
        /// All of them.
        pub const ALL: &[Workload] = &[$(Workload { name: stringify!($name), run: $name }),*];
    };
}

workloads![
    create,
    create_and_close,
    append,
    append_long,
    batch,
    batch_of_many_aggregates,
    without_aggregate,
    tags_and_topics,
    many_topics,
    buffered,
    buffered_then_sync,
    buffered_then_synced_append,
    sync_between_buffered,
    tracking,
    tracking_alone,
    two_trackings,
    expected_versions,
    conditions,
    repeated,
    roll,
    roll_buffered,
    roll_twice,
    roll_with_tracking,
    spare_ahead,
    late_housekeeping,
    close_and_open,
    close_twice,
    close_after_roll,
    kill_and_open,
    kill_after_buffered,
    kill_after_roll,
    power_cut_and_open,
    power_cut_that_spares,
    kill_then_power_cut,
    truncate,
    truncate_twice,
    truncate_after_reopen,
    followers,
    follower_removed,
    snapshots,
    snapshot_of_old_version,
    reader_beside,
    reader_beside_roll,
    reader_beside_truncation,
    subscriber,
    backup,
    backup_brought_up_to_date,
    backup_beside_truncation,
    backup_made_again,
    restore,
    checkpoint,
    folding,
    mixed,
];

fn below(random: &SeededRandom, bound: u64) -> u64 {
    random.next_u64() % bound
}

fn len(random: &SeededRandom) -> usize {
    // Short ones share a sector, middling ones cross some, long ones cross pages.
    match below(random, 4) {
        0 => below(random, 40) as usize,
        1 => below(random, 700) as usize,
        2 => below(random, 5_000) as usize,
        _ => 100,
    }
}

fn name(random: &SeededRandom) -> &'static str {
    ["a", "b", "c"][below(random, 3) as usize]
}

/// A payload of which a handful fill a segment.
const LONG: usize = 11_000;

fn create(run: &mut Driver, _: &SeededRandom) -> Step {
    run.open()
}

fn create_and_close(run: &mut Driver, _: &SeededRandom) -> Step {
    run.open()?;
    run.close()?;
    run.open()?;
    run.close()
}

fn append(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..6 {
        run.append(Draft::of(name(random), len(random)))?;
    }
    Ok(())
}

fn append_long(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..3 {
        run.append(Draft::of("a", LONG + len(random)))?;
        run.append(Draft::of("b", len(random)))?;
    }
    Ok(())
}

fn batch(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..4 {
        run.append(
            Draft::of("a", len(random))
                .and("a", len(random))
                .and("a", len(random)),
        )?;
    }
    Ok(())
}

fn batch_of_many_aggregates(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..4 {
        let mut draft = Draft::of("a", len(random))
            .and("b", len(random))
            .and("a", 5);
        draft = draft.event(None, "Apart", Some("t"), len(random));
        run.append(draft)?;
    }
    Ok(())
}

fn without_aggregate(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..5 {
        run.append(Draft::new().event(None, "Apart", Some("t"), len(random)))?;
    }
    Ok(())
}

fn tags_and_topics(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for number in 0..5 {
        let topic = format!("Topic{number}");
        run.append(Draft::new().event(Some("a"), &topic, Some("t"), len(random)))?;
    }
    run.close()?;
    run.open()?;
    run.append(Draft::new().event(Some("a"), "Topic1", Some("u"), len(random)))
}

fn many_topics(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    // Names so long that the closing dictionary fills pages of its own.
    for number in 0..8 {
        let topic = format!("{number}{}", "t".repeat(900));
        let draft = Draft::new().event(Some("a"), &topic, None, len(random));
        run.append(if number % 2 == 0 {
            draft.buffered()
        } else {
            draft
        })?;
    }
    run.close()?;
    run.open()?;
    run.append(Draft::of("a", 3))
}

fn buffered(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..8 {
        run.append(Draft::of(name(random), len(random)).buffered())?;
    }
    Ok(())
}

fn buffered_then_sync(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..5 {
        run.append(Draft::of(name(random), len(random)).buffered())?;
    }
    run.sync()?;
    run.append(Draft::of("a", len(random)).buffered())
}

fn buffered_then_synced_append(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..2 {
        run.append(Draft::of("a", len(random)).buffered())?;
        run.append(Draft::of("b", len(random)).buffered())?;
        run.append(Draft::of("a", len(random)))?;
    }
    run.append(Draft::of("a", len(random)).buffered())
}

fn sync_between_buffered(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..4 {
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.sync()?;
    }
    Ok(())
}

fn tracking(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for position in 1..6 {
        let draft = Draft::of("a", len(random)).tracking("up", position * 10);
        run.append(at_times_buffered(draft, random))?;
    }
    // Behind what is recorded: refused.
    run.append(Draft::of("a", 1).tracking("up", 7))
}

fn tracking_alone(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for position in 1..5 {
        let draft = Draft::new().tracking("up", position);
        run.append(at_times_buffered(draft, random))?;
    }
    run.close()?;
    run.open()?;
    run.append(Draft::new().tracking("up", 9))?;
    run.append(Draft::of("a", 9).buffered())
}

fn two_trackings(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for position in 1..4 {
        run.append(Draft::of("a", len(random)).tracking("left", position))?;
        run.append(
            Draft::of("a", len(random))
                .tracking("right", position)
                .buffered(),
        )?;
    }
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)).tracking("left", 10))
}

fn expected_versions(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)).expect("a", Expected::NoEvents))?;
    run.append(Draft::of("a", len(random)).expect("a", Expected::Exactly(1)))?;
    run.append(Draft::of("a", len(random)).expect("a", Expected::Exactly(1)))?;
    run.append(Draft::of("b", len(random)).expect("a", Expected::NoEvents))?;
    run.append(
        Draft::of("a", len(random))
            .and("b", 3)
            .expect("a", Expected::Exactly(2))
            .expect("b", Expected::NoEvents),
    )
}

fn conditions(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    let query = |tag: &str| Query::default().or(QueryItem::new().tag(tag));
    let taken = |tag| Draft::new().event(None, "Taken", Some(tag), 20);
    run.append(taken("x").unless(query("x"), 0))?;
    run.append(taken("x").unless(query("x"), 0))?;
    run.append(taken("y").unless(query("y"), 0).buffered())?;
    run.append(taken("y").unless(query("y"), 0))?;
    run.append(Draft::of("a", len(random)))?;
    run.append(taken("x").unless(query("x"), 2))
}

fn repeated(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append_twice(Draft::of("a", len(random)).expect("a", Expected::NoEvents))?;
    run.append_twice(
        Draft::of("a", len(random))
            .expect("a", Expected::Exactly(1))
            .buffered(),
    )?;
    run.append_twice(Draft::of("b", len(random)).and("b", 8))?;
    run.append(Draft::of("a", len(random)))
}

fn roll(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..7 {
        run.append(Draft::of(name(random), LONG))?;
    }
    run.append(Draft::of("b", len(random)))
}

fn roll_buffered(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..8 {
        run.append(Draft::of(name(random), LONG).buffered())?;
    }
    run.append(Draft::of("b", len(random)))
}

fn roll_twice(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for number in 0..12 {
        let draft = Draft::of(name(random), LONG + 2_000);
        run.append(if number % 4 == 3 {
            draft
        } else {
            draft.buffered()
        })?;
    }
    Ok(())
}

fn roll_with_tracking(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for position in 1..8 {
        let draft = Draft::of("a", LONG).tracking("up", position);
        run.append(at_times_buffered(draft, random))?;
    }
    run.append(Draft::new().tracking("up", 100).buffered())
}

fn spare_ahead(run: &mut Driver, random: &SeededRandom) -> Step {
    run.delay_housekeeping();
    run.open()?;
    for _ in 0..8 {
        run.append(Draft::of(name(random), LONG))?;
        run.housekeep();
    }
    while run.housekeep() {}
    run.append(Draft::of("b", len(random)))
}

fn late_housekeeping(run: &mut Driver, random: &SeededRandom) -> Step {
    run.delay_housekeeping();
    run.open()?;
    for _ in 0..11 {
        let draft = Draft::of(name(random), LONG + 1_000);
        run.append(at_times_buffered(draft, random))?;
    }
    while run.housekeep() {}
    run.append(Draft::of("b", len(random)))
}

fn close_and_open(run: &mut Driver, random: &SeededRandom) -> Step {
    for _ in 0..3 {
        run.open()?;
        run.append(Draft::of(name(random), len(random)))?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.close()?;
    }
    Ok(())
}

fn close_twice(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)))?;
    run.close()?;
    run.open()?;
    run.close()?;
    run.open()?;
    run.append(Draft::of("a", len(random)))
}

fn close_after_roll(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..6 {
        run.append(Draft::of(name(random), LONG))?;
    }
    run.close()?;
    run.open()?;
    run.append(Draft::of("a", len(random)).buffered())
}

fn kill_and_open(run: &mut Driver, random: &SeededRandom) -> Step {
    for _ in 0..3 {
        run.open()?;
        run.append(Draft::of(name(random), len(random)))?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.kill();
    }
    run.open()
}

fn kill_after_buffered(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..4 {
        run.append(Draft::of(name(random), len(random)).buffered())?;
    }
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)))?;
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)).buffered())
}

fn kill_after_roll(run: &mut Driver, random: &SeededRandom) -> Step {
    run.delay_housekeeping();
    run.open()?;
    for _ in 0..6 {
        run.append(Draft::of(name(random), LONG).buffered())?;
    }
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)))
}

fn power_cut_and_open(run: &mut Driver, random: &SeededRandom) -> Step {
    for _ in 0..3 {
        run.open()?;
        run.append(Draft::of(name(random), len(random)))?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.cut_power(Spared::Nothing);
    }
    run.open()
}

fn power_cut_that_spares(run: &mut Driver, random: &SeededRandom) -> Step {
    for _ in 0..3 {
        run.open()?;
        run.append(Draft::of(name(random), len(random)))?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.append(Draft::of(name(random), len(random)).buffered())?;
        run.cut_power(Spared::Some(random));
    }
    run.open()?;
    run.append(Draft::of("a", len(random)))
}

fn kill_then_power_cut(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)))?;
    run.append(Draft::of("b", len(random)).buffered())?;
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.cut_power(Spared::Some(random));
    run.open()?;
    run.append(Draft::of("b", len(random)))
}

fn rolled(run: &mut Driver, random: &SeededRandom) -> Step {
    for number in 0..9 {
        let draft = Draft::of(name(random), LONG + 3_000).tracking("up", number + 1);
        run.append(if number % 3 == 0 {
            draft
        } else {
            draft.buffered()
        })?;
    }
    Ok(())
}

fn truncate(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.truncate(6)?;
    run.append(Draft::of("a", len(random)))
}

fn truncate_twice(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.truncate(5)?;
    run.truncate(9)?;
    run.append(Draft::of("c", len(random)).buffered())
}

fn truncate_after_reopen(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.kill();
    run.open()?;
    run.truncate(7)?;
    run.append(Draft::of("b", len(random)))?;
    run.close()?;
    run.open()
}

fn followers(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)).and("a", 10))?;
    run.follow("one", Some(1))?;
    run.follow("two", Some(0))?;
    run.append(Draft::of("a", len(random)))?;
    run.follow("one", Some(3))
}

fn follower_removed(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.follow("one", Some(4))?;
    run.follow("one", Some(2))?;
    run.follow("one", None)?;
    run.append(Draft::of("a", 10))
}

fn snapshots(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)).and("b", 4))?;
    run.put_snapshot("a", len(random))?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.put_snapshot("a", len(random))?;
    run.close()?;
    run.open()?;
    run.put_snapshot("b", len(random))
}

fn snapshot_of_old_version(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.append(Draft::of("a", len(random)))?;
    run.put_snapshot("a", len(random))?;
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.put_snapshot("a", len(random))
}

/// Buffered by the toss of a coin.
fn at_times_buffered(draft: Draft, random: &SeededRandom) -> Draft {
    match below(random, 2) {
        0 => draft.buffered(),
        _ => draft,
    }
}

fn reader_beside(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..5 {
        let draft = Draft::of(name(random), len(random));
        run.append(at_times_buffered(draft, random))?;
        run.look()?;
    }
    run.sync()?;
    run.look()
}

fn reader_beside_roll(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for number in 0..8 {
        let draft = Draft::of(name(random), LONG);
        run.append(if number % 3 == 0 {
            draft
        } else {
            draft.buffered()
        })?;
        run.look()?;
    }
    Ok(())
}

fn reader_beside_truncation(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.look()?;
    run.truncate(8)?;
    run.look()?;
    run.append(Draft::of("a", len(random)))?;
    run.look()
}

fn subscriber(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..6 {
        let draft = Draft::of(name(random), len(random));
        run.append(at_times_buffered(draft, random))?;
        run.poll()?;
    }
    run.sync()?;
    run.poll()
}

fn backup_mode(random: &SeededRandom) -> BackupMode {
    match below(random, 2) {
        0 => BackupMode::Link,
        _ => BackupMode::Copy,
    }
}

fn backup(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    for _ in 0..4 {
        let draft = Draft::of(name(random), len(random));
        run.append(at_times_buffered(draft, random))?;
    }
    run.back_up(backup_mode(random))?;
    run.append(Draft::of("a", len(random)))
}

fn backup_brought_up_to_date(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    run.back_up(BackupMode::Link)?;
    rolled(run, random)?;
    run.back_up(BackupMode::Link)?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.close()?;
    run.open()?;
    run.append(Draft::of("b", len(random)))?;
    run.back_up(backup_mode(random))
}

fn backup_beside_truncation(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.back_up(BackupMode::Link)?;
    run.truncate(8)?;
    run.back_up(backup_mode(random))?;
    run.append(Draft::of("a", len(random)))
}

/// After crashes in between.
fn backup_made_again(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.back_up(BackupMode::Link)?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.kill();
    run.open()?;
    run.back_up(BackupMode::Link)?;
    run.append(Draft::of("a", len(random)).buffered())?;
    run.cut_power(Spared::Some(random));
    run.open()?;
    run.append(Draft::of("c", len(random)))?;
    run.back_up(BackupMode::Link)
}

fn restore(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    rolled(run, random)?;
    run.truncate(6)?;
    run.append(Draft::of("a", len(random)))?;
    run.back_up(BackupMode::Link)?;
    run.append(Draft::of("b", len(random)))?;
    run.restore()
}

fn checkpoint(run: &mut Driver, random: &SeededRandom) -> Step {
    run.open()?;
    // Dictionaries stand every few KiB of a small segment, and checkpoints end at some of them.
    for _ in 0..9 {
        run.append(Draft::of(name(random), 4_500))?;
    }
    run.kill();
    run.open()?;
    run.append(Draft::of("a", len(random)))
}

fn folding(run: &mut Driver, random: &SeededRandom) -> Step {
    run.delay_housekeeping();
    run.open()?;
    for _ in 0..5 {
        for _ in 0..4 {
            run.append(Draft::of(name(random), 14_000).buffered())?;
        }
        while run.housekeep() {}
    }
    run.append(Draft::of("b", len(random)))
}

fn mixed(run: &mut Driver, random: &SeededRandom) -> Step {
    if below(random, 2) == 0 {
        run.delay_housekeeping();
    }
    run.open()?;
    for _ in 0..10 {
        any(run, random)?;
    }
    Ok(())
}

/// Anything a program may do to a log, or that may happen to it.
pub fn any(run: &mut Driver, random: &SeededRandom) -> Step {
    let draft = |random: &SeededRandom| {
        let long = below(random, 6) == 0;
        let draft = Draft::of(name(random), if long { LONG } else { len(random) });
        match below(random, 4) {
            0 => draft.and(name(random), len(random)),
            1 => draft.event(None, name(random), Some("t"), len(random)),
            _ => draft,
        }
    };
    match below(random, 32) {
        0..10 => run.append(draft(random)),
        10..16 => run.append(draft(random).buffered()),
        16 => run.append(Draft::of("a", 1).expect("a", Expected::Exactly(below(random, 6)))),
        17 => run.append(draft(random).tracking("up", below(random, 50))),
        18 => run.append(Draft::new().tracking("other", below(random, 50)).buffered()),
        19 => run.sync(),
        20 => {
            run.close()?;
            run.open()
        }
        21 => {
            run.kill();
            run.open()
        }
        22 => {
            run.cut_power(Spared::Some(random));
            run.open()
        }
        23 => {
            run.cut_power(Spared::Nothing);
            run.open()
        }
        24 => {
            let head = run.log().head();
            run.truncate(below(random, head + 2))
        }
        25 => {
            let durable = run.log().durable_head();
            run.follow(name(random), Some(below(random, durable + 1)))
        }
        26 => run.put_snapshot(name(random), len(random)),
        27 => run.look(),
        28 => run.poll(),
        29 => run.read_all(),
        30 => run.append_twice(draft(random)),
        _ => {
            run.housekeep();
            Ok(())
        }
    }
}
