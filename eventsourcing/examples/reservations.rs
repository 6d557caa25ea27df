//! Seats are ordered, held, paid for within 15 minutes, or released: four applications and a saga.
//!
//! ```text
//!   orders ----> booking <----> reservations      booking is the saga: it alone knows the whole way. The others know
//!      ^         |  ^  \                          their own business, and react to what it has decided.
//!      '---------'  |   '---> payments
//!                   '------------'
//! ```
//!
//! What to look at:
//! - Nobody calls anybody: an application records what happened in it, followers react. Each reaction is stored together
//!   with the position of the event it is a reaction to, so a crash at any moment loses none and repeats none.
//! - The saga is an aggregate. What it has decided is in its events; what it waits for in vain, a timer tells it.
//! - The definition ([`system`]) says nothing about stores and threads. `main` runs it in threads, on logs in a directory
//!   if one is given (`cargo run --example reservations -- seats`), else in memory; a test runs it in every way.
//! - Time is handed in: here it is moved on by hand, so nobody has to wait 15 minutes to see what happens then.

#![allow(missing_docs, reason = "the names of a domain say what they are")]
#![allow(unreachable_pub, reason = "a test uses this file as a module")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annals::{
    Aggregate, AggregateId, Clock, Event, Failure, Member, MultiThreadedRunner, Notified, Policy,
    ProcessApplication, Root, Runner, RunnerOptions, Saga, SagaStep, System, SystemClock,
    SystemError, one_of, policy,
};
use serde::{Deserialize, Serialize};

/// How long seats are held for who has not paid.
pub const PAYMENT_TIME: Duration = Duration::from_secs(15 * 60);

// ---- Orders: what customers want, and what came of it ----

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderEvent {
    #[serde(rename = "order.placed")]
    Placed { seats: u32, price: u64 },
    #[serde(rename = "order.confirmed")]
    Confirmed,
    #[serde(rename = "order.rejected")]
    Rejected { reason: String },
}

impl Event for OrderEvent {}

#[derive(Debug, PartialEq)]
pub enum Order {
    Open,
    Confirmed,
    Rejected(String),
}

impl Aggregate for Order {
    type Event = OrderEvent;

    fn start(event: &OrderEvent) -> Option<Self> {
        matches!(event, OrderEvent::Placed { .. }).then_some(Self::Open)
    }

    fn apply(&mut self, event: &OrderEvent) {
        match event {
            OrderEvent::Placed { .. } => {}
            OrderEvent::Confirmed => *self = Self::Confirmed,
            OrderEvent::Rejected { reason } => *self = Self::Rejected(reason.clone()),
        }
    }
}

fn orders() -> impl Policy {
    policy(|event: &Notified<BookingEvent>, work| {
        let outcome = match &event.event {
            BookingEvent::Completed => OrderEvent::Confirmed,
            BookingEvent::Abandoned { reason, .. } => OrderEvent::Rejected {
                reason: reason.clone(),
            },
            BookingEvent::Started { .. } | BookingEvent::SeatsHeld { .. } => return Ok(()),
        };
        work.get::<Order>(order_of(event)?)?.trigger(outcome);
        Ok(())
    })
}

// ---- Reservations: the hall, which has only so many seats ----

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HallEvent {
    #[serde(rename = "hall.opened")]
    Opened { seats: u32 },
    #[serde(rename = "hall.seats-held")]
    SeatsHeld { order: String, seats: u32 },
    #[serde(rename = "hall.seats-refused")]
    SeatsRefused { order: String },
    #[serde(rename = "hall.seats-released")]
    SeatsReleased { order: String, seats: u32 },
}

impl Event for HallEvent {}

#[derive(Debug, PartialEq)]
pub struct Hall {
    pub free: u32,
}

impl Aggregate for Hall {
    type Event = HallEvent;

    fn start(event: &HallEvent) -> Option<Self> {
        match event {
            HallEvent::Opened { seats } => Some(Self { free: *seats }),
            _ => None,
        }
    }

    fn apply(&mut self, event: &HallEvent) {
        match event {
            HallEvent::SeatsHeld { seats, .. } => self.free -= seats,
            HallEvent::SeatsReleased { seats, .. } => self.free += seats,
            HallEvent::Opened { .. } | HallEvent::SeatsRefused { .. } => {}
        }
    }
}

fn reservations() -> impl Policy {
    policy(|event: &Notified<BookingEvent>, work| {
        let order = order_of(event)?.to_string();
        let hall = work.get::<Hall>(&hall_id()?)?;
        match event.event {
            BookingEvent::Started { seats, .. } if seats <= hall.free => {
                hall.trigger(HallEvent::SeatsHeld { order, seats });
            }
            BookingEvent::Started { .. } => hall.trigger(HallEvent::SeatsRefused { order }),
            BookingEvent::Abandoned { held, .. } if held > 0 => {
                let seats = held;
                hall.trigger(HallEvent::SeatsReleased { order, seats });
            }
            _ => {}
        }
        Ok(())
    })
}

// ---- Payments: what is due, and what has come in ----

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PaymentEvent {
    #[serde(rename = "payment.requested")]
    Requested { amount: u64 },
    #[serde(rename = "payment.received")]
    Received,
}

impl Event for PaymentEvent {}

#[derive(Debug, PartialEq)]
pub struct Payment {
    pub is_received: bool,
}

impl Aggregate for Payment {
    type Event = PaymentEvent;

    fn start(event: &PaymentEvent) -> Option<Self> {
        let is_received = false;
        matches!(event, PaymentEvent::Requested { .. }).then_some(Self { is_received })
    }

    fn apply(&mut self, event: &PaymentEvent) {
        self.is_received |= *event == PaymentEvent::Received;
    }
}

fn payments() -> impl Policy {
    policy(|event: &Notified<BookingEvent>, work| {
        if let BookingEvent::SeatsHeld { price, .. } = event.event {
            let requested = PaymentEvent::Requested { amount: price };
            work.add(Root::<Payment>::new(order_of(event)?.clone(), requested)?)?;
        }
        Ok(())
    })
}

// ---- Booking: the saga, which has the id of the order ----

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum BookingEvent {
    #[serde(rename = "booking.started")]
    Started { seats: u32, price: u64 },
    #[serde(rename = "booking.seats-held")]
    SeatsHeld { seats: u32, price: u64 },
    #[serde(rename = "booking.completed")]
    Completed,
    #[serde(rename = "booking.abandoned")]
    Abandoned { reason: String, held: u32 },
}

impl Event for BookingEvent {}

/// What its timer tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "booking.payment-overdue")]
pub struct PaymentOverdue {
    order: String,
}

impl Event for PaymentOverdue {}

#[derive(Debug, PartialEq)]
pub enum Booking {
    WaitsForSeats { price: u64 },
    WaitsForPayment { held: u32 },
    Over,
}

impl Aggregate for Booking {
    type Event = BookingEvent;

    fn start(event: &BookingEvent) -> Option<Self> {
        match event {
            BookingEvent::Started { price, .. } => Some(Self::WaitsForSeats { price: *price }),
            _ => None,
        }
    }

    fn apply(&mut self, event: &BookingEvent) {
        *self = match event {
            BookingEvent::Started { price, .. } => Self::WaitsForSeats { price: *price },
            BookingEvent::SeatsHeld { seats, .. } => Self::WaitsForPayment { held: *seats },
            BookingEvent::Completed | BookingEvent::Abandoned { .. } => Self::Over,
        }
    }
}

one_of! {
    /// What the saga hears of.
    pub enum Heard {
        Order(OrderEvent),
        Hall(HallEvent),
        Payment(PaymentEvent),
        Overdue(PaymentOverdue),
    }
}

impl Saga for Booking {
    type Incoming = Heard;

    fn id_of(event: &Notified<Heard>) -> Option<AggregateId> {
        match &event.event {
            Heard::Order(_) | Heard::Payment(_) => event.aggregate_id.clone(),
            Heard::Hall(HallEvent::SeatsHeld { order, .. } | HallEvent::SeatsRefused { order })
            | Heard::Overdue(PaymentOverdue { order }) => AggregateId::text(order.clone()).ok(),
            Heard::Hall(_) => None,
        }
    }

    fn begin(event: &Notified<Heard>) -> Option<BookingEvent> {
        match event.event {
            Heard::Order(OrderEvent::Placed { seats, price }) => {
                Some(BookingEvent::Started { seats, price })
            }
            _ => None,
        }
    }

    fn react(event: &Notified<Heard>, step: &mut SagaStep<'_, '_, Self>) -> Result<(), Failure> {
        match (&event.event, &**step.saga()?) {
            (
                Heard::Hall(HallEvent::SeatsHeld { order, seats }),
                &Self::WaitsForSeats { price },
            ) => {
                let (order, seats) = (order.clone(), *seats);
                step.trigger(BookingEvent::SeatsHeld { seats, price })?;
                let due = event.time() + PAYMENT_TIME;
                step.set_timer("payment", due, &PaymentOverdue { order })?;
            }
            (Heard::Hall(HallEvent::SeatsRefused { .. }), Self::WaitsForSeats { .. }) => {
                step.trigger(BookingEvent::Abandoned {
                    reason: "sold out".to_owned(),
                    held: 0,
                })?;
            }
            (Heard::Payment(PaymentEvent::Received), Self::WaitsForPayment { .. }) => {
                step.trigger(BookingEvent::Completed)?;
                step.cancel_timer("payment")?;
            }
            (Heard::Overdue(_), &Self::WaitsForPayment { held }) => {
                step.trigger(BookingEvent::Abandoned {
                    reason: "not paid in time".to_owned(),
                    held,
                })?;
            }
            // Whatever comes when it no longer waits for it: a payment for what was abandoned, say.
            _ => {}
        }
        Ok(())
    }
}

// ---- The system ----

/// Who follows whom.
pub fn system() -> Result<System, SystemError> {
    System::builder()
        .process("orders", orders())
        .saga::<Booking>("booking")
        .process("reservations", reservations())
        .process("payments", payments())
        .pipe(["orders", "booking", "orders"])
        .pipe(["booking", "reservations", "booking"])
        .pipe(["booking", "payments", "booking"])
        .build()
}

/// The ways in which people use it, whatever runs it.
#[allow(missing_debug_implementations, reason = "nobody prints it")]
pub struct BoxOffice<'a>(pub &'a dyn Runner);

impl BoxOffice<'_> {
    pub fn open_hall(&self, seats: u32) -> Result<(), Failure> {
        let mut hall = Root::<Hall>::new(hall_id()?, HallEvent::Opened { seats })?;
        self.0
            .process_application("reservations")?
            .save(&mut hall)?;
        Ok(())
    }

    pub fn place_order(&self, order: &str, seats: u32, price: u64) -> Result<(), Failure> {
        let placed = OrderEvent::Placed { seats, price };
        let mut order = Root::<Order>::new(AggregateId::text(order)?, placed)?;
        self.0.process_application("orders")?.save(&mut order)?;
        Ok(())
    }

    pub fn pay(&self, order: &str) -> Result<(), Failure> {
        let payments = self.0.process_application("payments")?;
        let mut payment = payments
            .repository()
            .get::<Payment>(&AggregateId::text(order)?)?;
        payment.trigger(PaymentEvent::Received);
        payments.save(&mut payment)?;
        Ok(())
    }

    pub fn order(&self, order: &str) -> Result<Root<Order>, Failure> {
        let orders = self.0.process_application("orders")?;
        Ok(orders.repository().get(&AggregateId::text(order)?)?)
    }

    pub fn free_seats(&self) -> Result<u32, Failure> {
        let reservations = self.0.process_application("reservations")?;
        Ok(reservations.repository().get::<Hall>(&hall_id()?)?.free)
    }
}

fn order_of(event: &Notified<BookingEvent>) -> Result<&AggregateId, Failure> {
    Ok(event.aggregate_id.as_ref().ok_or("a booking has an id")?)
}

fn hall_id() -> Result<AggregateId, Failure> {
    Ok(AggregateId::text("hall")?)
}

/// The system's clock, moved on by hand.
#[derive(Clone, Debug, Default)]
pub struct HandClock {
    ahead_us: Arc<AtomicU64>,
}

impl HandClock {
    pub fn advance(&self, by: Duration) {
        self.ahead_us
            .fetch_add(by.as_micros() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now_us(&self) -> u64 {
        SystemClock.now_us() + self.ahead_us.load(Ordering::SeqCst)
    }
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let dir = std::env::args().nth(1).map(PathBuf::from);
    let open = |name: &str| -> Result<Member, Failure> {
        Ok(match &dir {
            Some(dir) => ProcessApplication::open(dir.join(name))?.into(),
            None => ProcessApplication::in_memory().into(),
        })
    };
    let clock = HandClock::default();
    let options = RunnerOptions::new().clock(clock.clone());
    let runner = MultiThreadedRunner::start(&system()?, options, open)?;
    let office = BoxOffice(&runner);
    let at_rest = || runner.settle(Duration::from_secs(10));

    office.open_hall(10)?;
    office.place_order("ann", 4, 80)?;
    office.place_order("bob", 4, 80)?;
    office.place_order("cid", 4, 80)?;
    at_rest()?;
    println!("after three orders: {} seats free", office.free_seats()?);

    office.pay("ann")?;
    at_rest()?;
    clock.advance(PAYMENT_TIME);
    at_rest()?;
    for name in ["ann", "bob", "cid"] {
        println!("{name}: {:?}", *office.order(name)?);
    }
    println!(
        "a quarter of an hour later: {} seats free",
        office.free_seats()?
    );
    runner.stop()?;
    Ok(())
}
