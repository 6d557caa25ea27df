//! Cargo shipping: a cargo is booked, gets a route, and is reported of on its way.
//!
//! The model is that of Eric Evans' book on domain-driven design (2003). What to see here:
//! - An aggregate keeps what rules ask for; everything else (is it misdirected, what comes next?) is computed from that,
//!   so that no event has to say it and old cargos profit from a better rule.
//! - Commands check, events tell. A command that is refused leaves no event; an event is never refused.
//! - A report that does not fit the route is no error: it happened, and the cargo is then misdirected.
//! - `edit` loads the cargo, lets a command decide and saves: again, when somebody else has reported meanwhile.
//!
//! `cargo run -p annals --example cargo_shipping`

use annals::{Aggregate, AggregateId, Application, DomainError, Event, Root};
use serde::{Deserialize, Serialize};

// ---- Values ----

/// UN/LOCODE of a port, such as "HKHKG".
type Port = String;

/// Days since the first booking: this world needs no better calendar.
type Day = u32;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Leg {
    voyage: String,
    from: Port,
    to: Port,
    arrives: Day,
}

/// What is reported of a cargo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Handling {
    Received { at: Port },
    Loaded { onto: String, at: Port },
    Unloaded { from: String, at: Port },
    Claimed { at: Port },
}

// ---- Events: what happened, in names that outlive the program ----

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum CargoEvent {
    #[serde(rename = "cargo.booked")]
    Booked {
        origin: Port,
        destination: Port,
        deadline: Day,
    },
    #[serde(rename = "cargo.destination-changed")]
    DestinationChanged { destination: Port },
    #[serde(rename = "cargo.routed")]
    Routed { legs: Vec<Leg> },
    #[serde(rename = "cargo.handled")]
    Handled { handling: Handling },
}

impl Event for CargoEvent {}

// ---- The aggregate ----

#[derive(Debug)]
struct Cargo {
    origin: Port,
    destination: Port,
    deadline: Day,
    legs: Vec<Leg>,
    last: Option<Handling>,
}

impl Aggregate for Cargo {
    type Event = CargoEvent;

    fn start(event: &CargoEvent) -> Option<Self> {
        let CargoEvent::Booked {
            origin,
            destination,
            deadline,
        } = event
        else {
            return None;
        };
        Some(Self {
            origin: origin.clone(),
            destination: destination.clone(),
            deadline: *deadline,
            legs: Vec::new(),
            last: None,
        })
    }

    fn apply(&mut self, event: &CargoEvent) {
        match event {
            CargoEvent::Booked { .. } => {}
            CargoEvent::DestinationChanged { destination } => {
                self.destination.clone_from(destination);
            }
            CargoEvent::Routed { legs } => self.legs.clone_from(legs),
            CargoEvent::Handled { handling } => self.last = Some(handling.clone()),
        }
    }
}

// ---- Questions: computed, never stored ----

impl Cargo {
    /// Everything that is to be reported of it, if all goes well.
    fn plan(&self) -> Vec<Handling> {
        let at = |port: &Port| port.clone();
        let mut plan = vec![Handling::Received {
            at: at(&self.origin),
        }];
        for leg in &self.legs {
            let (onto, from) = (leg.voyage.clone(), leg.voyage.clone());
            plan.push(Handling::Loaded {
                onto,
                at: at(&leg.from),
            });
            plan.push(Handling::Unloaded {
                from,
                at: at(&leg.to),
            });
        }
        plan.push(Handling::Claimed {
            at: at(&self.destination),
        });
        plan
    }

    /// What is to be reported next; `None` when it was claimed, and when nobody can tell.
    fn next_expected(&self) -> Option<Handling> {
        let plan = self.plan();
        let done = match &self.last {
            None => 0,
            Some(last) => plan.iter().position(|planned| planned == last)? + 1,
        };
        plan.into_iter().nth(done)
    }

    /// Whether what was reported last is not what its route says.
    fn is_misdirected(&self) -> bool {
        let plan = self.plan();
        self.last.as_ref().is_some_and(|last| !plan.contains(last))
    }

    /// Where it is now, as far as reported: where a new route has to start.
    fn whereabouts(&self) -> &str {
        match &self.last {
            None => &self.origin,
            Some(Handling::Loaded { onto, at }) => {
                // At sea: it can leave the ship where that goes next.
                let leg = self.legs.iter().find(|leg| leg.voyage == *onto);
                leg.map_or(at, |leg| &leg.to)
            }
            Some(
                Handling::Received { at }
                | Handling::Unloaded { at, .. }
                | Handling::Claimed { at },
            ) => at,
        }
    }

    fn is_claimed(&self) -> bool {
        matches!(self.last, Some(Handling::Claimed { .. }))
    }
}

// ---- Commands: they check, then let an event happen ----

#[derive(Debug)]
#[expect(
    dead_code,
    reason = "what went wrong is for people, who see it by Debug"
)]
enum Refused {
    /// A route must start where the cargo is, connect, end at its destination, and be in time.
    RouteDoesNotFit {
        legs: Vec<Leg>,
        from: Port,
        to: Port,
        deadline: Day,
    },
    /// It is in the hands of its owner: nothing more happens to it.
    Claimed,
    Domain(DomainError),
    Store(annals::Error),
}

impl From<annals::Error> for Refused {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}

impl From<DomainError> for Refused {
    fn from(error: DomainError) -> Self {
        Self::Domain(error)
    }
}

fn book(
    tracking_id: &str,
    origin: &str,
    destination: &str,
    deadline: Day,
) -> Result<Root<Cargo>, DomainError> {
    let (origin, destination) = (origin.to_owned(), destination.to_owned());
    let booked = CargoEvent::Booked {
        origin,
        destination,
        deadline,
    };
    Root::new(AggregateId::text(tracking_id)?, booked)
}

fn change_destination(cargo: &mut Root<Cargo>, destination: &str) -> Result<(), Refused> {
    if cargo.is_claimed() {
        return Err(Refused::Claimed);
    }
    if cargo.destination != destination {
        let destination = destination.to_owned();
        cargo.trigger(CargoEvent::DestinationChanged { destination });
    }
    Ok(())
}

fn assign_route(cargo: &mut Root<Cargo>, legs: Vec<Leg>) -> Result<(), Refused> {
    if cargo.is_claimed() {
        return Err(Refused::Claimed);
    }
    let starts_here = legs
        .first()
        .is_some_and(|leg| leg.from == cargo.whereabouts());
    let connects = legs.windows(2).all(|pair| pair[0].to == pair[1].from);
    let arrives = legs
        .last()
        .is_some_and(|leg| leg.to == cargo.destination && leg.arrives <= cargo.deadline);
    match starts_here && connects && arrives {
        true => {
            cargo.trigger(CargoEvent::Routed { legs });
            Ok(())
        }
        false => Err(Refused::RouteDoesNotFit {
            legs,
            from: cargo.whereabouts().to_owned(),
            to: cargo.destination.clone(),
            deadline: cargo.deadline,
        }),
    }
}

/// Reports come from ports and ships, sometimes twice. One that was told before changes nothing.
fn report(cargo: &mut Root<Cargo>, handling: Handling) -> Result<(), Refused> {
    if cargo.last.as_ref() == Some(&handling) {
        return Ok(());
    }
    if cargo.is_claimed() {
        return Err(Refused::Claimed);
    }
    cargo.trigger(CargoEvent::Handled { handling });
    Ok(())
}

// ---- A voyage ----

fn leg(voyage: &str, from: &str, to: &str, arrives: Day) -> Leg {
    let (voyage, from, to) = (voyage.to_owned(), from.to_owned(), to.to_owned());
    Leg {
        voyage,
        from,
        to,
        arrives,
    }
}

fn received(at: &str) -> Handling {
    Handling::Received { at: at.to_owned() }
}

fn loaded(onto: &str, at: &str) -> Handling {
    let (onto, at) = (onto.to_owned(), at.to_owned());
    Handling::Loaded { onto, at }
}

fn unloaded(from: &str, at: &str) -> Handling {
    let (from, at) = (from.to_owned(), at.to_owned());
    Handling::Unloaded { from, at }
}

fn claimed(at: &str) -> Handling {
    Handling::Claimed { at: at.to_owned() }
}

fn main() -> Result<(), Refused> {
    let shipping = Application::in_memory();
    let id = shipping.add(book("CARGO-0001", "HKHKG", "SESTO", 30)?)?;
    let tell = |handling: Handling| shipping.edit(&id, |cargo| report(cargo, handling.clone()));
    let look = || shipping.repository().get::<Cargo>(&id);

    shipping.edit(&id, |cargo| {
        let legs = vec![
            leg("V100", "HKHKG", "USNYC", 14),
            leg("V200", "USNYC", "SESTO", 25),
        ];
        assign_route(cargo, legs)
    })?;
    tell(received("HKHKG"))?;
    tell(loaded("V100", "HKHKG"))?;
    assert_eq!(look()?.next_expected(), Some(unloaded("V100", "USNYC")));

    // The ship calls at Tokyo, and somebody takes the cargo ashore.
    tell(unloaded("V100", "JNTKO"))?;
    let cargo = look()?;
    assert!(cargo.is_misdirected() && cargo.next_expected().is_none());
    println!(
        "{id} is in {}, where nobody expected it",
        cargo.whereabouts()
    );

    // Its owner wants it in Helsinki now.
    shipping.edit(&id, |cargo| change_destination(cargo, "FIHEL"))?;

    // A new route from there; one that starts elsewhere is refused, and nothing is stored.
    let refused = shipping.edit(&id, |cargo| {
        assign_route(cargo, vec![leg("V300", "CNHGH", "FIHEL", 27)])
    });
    assert!(matches!(refused, Err(Refused::RouteDoesNotFit { .. })));
    shipping.edit(&id, |cargo| {
        let legs = vec![
            leg("V300", "JNTKO", "DEHAM", 24),
            leg("V400", "DEHAM", "FIHEL", 27),
        ];
        assign_route(cargo, legs)
    })?;
    for handling in [
        loaded("V300", "JNTKO"),
        unloaded("V300", "DEHAM"),
        loaded("V400", "DEHAM"),
        unloaded("V400", "FIHEL"),
        claimed("FIHEL"),
    ] {
        tell(handling)?;
        println!("{id} in {}", look()?.whereabouts());
    }
    // The port reports twice, and nothing happens twice.
    let before = look()?.version();
    tell(claimed("FIHEL"))?;
    assert_eq!(look()?.version(), before);

    // What was known at any version can be asked for at any time.
    let then = shipping.repository().get_at::<Cargo>(&id, 5)?;
    assert!(then.is_misdirected() && !look()?.is_misdirected());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routed() -> Root<Cargo> {
        let mut cargo = book("c", "A", "C", 10).unwrap();
        assign_route(
            &mut cargo,
            vec![leg("1", "A", "B", 4), leg("2", "B", "C", 9)],
        )
        .unwrap();
        cargo
    }

    #[test]
    fn the_program_runs() {
        main().unwrap();
    }

    #[test]
    fn a_route_that_does_not_fit_is_refused() {
        for legs in [
            vec![],
            vec![leg("1", "B", "C", 9)],
            vec![leg("1", "A", "B", 9)],
            vec![leg("1", "A", "C", 11)],
            vec![leg("1", "A", "B", 4), leg("2", "D", "C", 9)],
        ] {
            let mut cargo = book("c", "A", "C", 10).unwrap();
            let refused = assign_route(&mut cargo, legs);
            assert!(matches!(refused, Err(Refused::RouteDoesNotFit { .. })));
            assert_eq!(cargo.pending().len(), 1, "only that it was booked");
        }
    }

    #[test]
    fn what_comes_next_follows_the_route() {
        let mut cargo = routed();
        for expected in cargo.plan() {
            assert_eq!(cargo.next_expected(), Some(expected.clone()));
            report(&mut cargo, expected).unwrap();
            assert!(!cargo.is_misdirected());
        }
        assert_eq!(cargo.next_expected(), None);
        assert!(cargo.is_claimed());
    }

    #[test]
    fn a_cargo_on_the_wrong_ship_is_misdirected_until_it_is_routed_anew() {
        let mut cargo = routed();
        report(&mut cargo, received("A")).unwrap();
        report(&mut cargo, loaded("9", "A")).unwrap();
        assert!(cargo.is_misdirected());
        report(&mut cargo, unloaded("9", "D")).unwrap();
        assign_route(&mut cargo, vec![leg("3", "D", "C", 10)]).unwrap();
        report(&mut cargo, loaded("3", "D")).unwrap();
        assert!(!cargo.is_misdirected());
    }

    #[test]
    fn a_new_destination_asks_for_a_new_route() {
        let mut cargo = routed();
        change_destination(&mut cargo, "D").unwrap();
        assert_eq!(cargo.plan().last(), Some(&claimed("D")));
        assert!(assign_route(&mut cargo, vec![leg("1", "A", "C", 4)]).is_err());
        assign_route(&mut cargo, vec![leg("1", "A", "D", 4)]).unwrap();
        let events = cargo.pending().len();
        change_destination(&mut cargo, "D").unwrap();
        assert_eq!(cargo.pending().len(), events, "nothing has changed");
    }

    #[test]
    fn nothing_happens_to_a_claimed_cargo() {
        let mut cargo = routed();
        report(&mut cargo, claimed("C")).unwrap();
        report(&mut cargo, claimed("C")).unwrap();
        assert!(matches!(
            report(&mut cargo, received("A")),
            Err(Refused::Claimed)
        ));
        assert!(matches!(
            change_destination(&mut cargo, "D"),
            Err(Refused::Claimed)
        ));
        assert!(matches!(
            assign_route(&mut cargo, vec![]),
            Err(Refused::Claimed)
        ));
    }
}
