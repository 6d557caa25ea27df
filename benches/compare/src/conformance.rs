//! What every adapter is held to before anything is measured.

use crate::engine::{Durability, Engine, Failure, Form, Kind, Known, NewEvent, Seen};
use crate::grouped::Grouped;
use crate::job::Job;

/// Where the name of a workload stands.
pub(crate) const CONFORMANCE: &str = "conformance";

/// Checks an engine in a new directory.
pub(crate) fn check(job: &Job, kind: &Kind) -> Result<(), Failure> {
    for durability in [Durability::Durable, Durability::Buffered] {
        for is_grouped in [false, true] {
            if is_grouped && kind.form == Form::EventStore {
                continue;
            }
            let store = job.dir.join(format!("{durability:?}-{is_grouped}"));
            std::fs::create_dir(&store)?;
            let engine = (kind.open)(&store, durability, 1_000)?;
            let engine: Box<dyn Engine> = match is_grouped {
                true => Box::new(Grouped::new(engine)),
                false => engine,
            };
            let context = |failure| Failure::broken(format!("{durability:?}: {failure}"));
            appends(&*engine, kind).map_err(context)?;
            engine.close()?;
            let engine = (kind.open)(&store, durability, 1_000)?;
            shows(&*engine).map_err(context)?;
            conditions(&*engine, kind).map_err(context)?;
            engine.close()?;
        }
    }
    Ok(())
}

fn appends(engine: &dyn Engine, kind: &Kind) -> Result<(), Failure> {
    expect(
        "an append to nothing",
        engine.append(vec![event(1, 1, Known::Nothing)]),
        Ok(1),
    )?;
    expect(
        "the next version",
        engine.append(vec![event(1, 2, Known::At(1))]),
        Ok(2),
    )?;
    expect(
        "a stale writer",
        engine.append(vec![event(1, 2, Known::At(1))]),
        Err(()),
    )?;
    expect(
        "a second start",
        engine.append(vec![event(1, 1, Known::Nothing)]),
        Err(()),
    )?;
    expect(
        "an append after refused ones",
        engine.append(vec![event(2, 1, Known::Nothing)]),
        Ok(3),
    )?;
    if kind.form == Form::Database || kind.name == "annals" {
        let both = |known| vec![event(3, 1, Known::Nothing), event(1, 3, known)];
        let mut stale = both(Known::At(1));
        stale[1].version = 2;
        expect(
            "a commit that is stale in part",
            engine.append(stale),
            Err(()),
        )?;
        expect(
            "a commit of two aggregates",
            engine.append(both(Known::At(2))),
            Ok(4),
        )?;
    } else {
        expect(
            "another aggregate",
            engine.append(vec![event(3, 1, Known::Nothing)]),
            Ok(4),
        )?;
        expect(
            "the third version",
            engine.append(vec![event(1, 3, Known::At(2))]),
            Ok(5),
        )?;
    }
    engine.settle()
}

fn shows(engine: &dyn Engine) -> Result<(), Failure> {
    let expected = [(1, 1), (1, 2), (2, 1), (3, 1), (1, 3)];
    let mut found = Vec::new();
    let mut are_whole = true;
    let mut visit = |seen: Seen<'_>| {
        are_whole &=
            seen.topic == TOPIC && seen.payload == payload(seen.aggregate[0], seen.version);
        found.push((seen.position, seen.aggregate[0], seen.version));
    };
    engine.replay(&mut visit)?;
    engine.read_aggregate([1; 16], &mut visit)?;
    engine.read_aggregate([9; 16], &mut visit)?;
    let all = (1..)
        .zip(expected)
        .map(|(position, (aggregate, version))| (position, aggregate, version));
    let of_one = all.clone().filter(|(_, aggregate, _)| *aggregate == 1);
    if found != all.clone().chain(of_one).collect::<Vec<_>>() || !are_whole || engine.head()? != 5 {
        return Err(Failure::broken(format!(
            "other events were read than written: {found:?}"
        )));
    }
    Ok(())
}

fn conditions(engine: &dyn Engine, kind: &Kind) -> Result<(), Failure> {
    let Some(conditional) = engine.conditional() else {
        return expect(
            "conditions",
            Err(Failure::Conflict),
            match kind.form {
                Form::EventStore => Ok(0),
                Form::Database => Err(()),
            },
        );
    };
    let tags = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let append = |aggregate, wanted: &[&str], after| {
        let mut event = event(aggregate, 1, Known::Nothing);
        event.tags = tags(&["t:1", "t:2"]);
        conditional.append_if(event, &tags(wanted), after)
    };
    expect(
        "a condition on nothing",
        append(5, &["t:1", "t:2"], 0),
        Ok(6),
    )?;
    expect("a condition that fails", append(6, &["t:2"], 5), Err(()))?;
    expect(
        "a condition behind a position",
        append(6, &["t:2"], 6),
        Ok(7),
    )?;
    expect(
        "a condition on all of two tags",
        append(7, &["t:1", "t:3"], 0),
        Ok(8),
    )
}

fn expect(
    what: &str,
    found: Result<u64, Failure>,
    expected: Result<u64, ()>,
) -> Result<(), Failure> {
    match (found, expected) {
        (Ok(found), Ok(expected)) if found == expected => Ok(()),
        (Err(Failure::Conflict), Err(())) => Ok(()),
        (found, expected) => Err(Failure::broken(format!(
            "{what}: found {}, expected {}",
            found.map_or_else(
                |failure| failure.to_string(),
                |position| format!("position {position}")
            ),
            expected.map_or("a conflict".to_owned(), |position| format!(
                "position {position}"
            )),
        ))),
    }
}

fn event(aggregate: u8, version: u64, known: Known) -> NewEvent {
    NewEvent {
        aggregate: [aggregate; 16],
        version,
        known,
        topic: TOPIC,
        tags: Vec::new(),
        payload: payload(aggregate, version),
    }
}

fn payload(aggregate: u8, version: u64) -> Vec<u8> {
    format!(r#"{{"of":{aggregate},"version":{version}}}"#).into_bytes()
}

const TOPIC: &str = "conformance.WasChecked";
