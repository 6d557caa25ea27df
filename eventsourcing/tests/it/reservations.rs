//! The example of the reservation system: seats, payments and a saga, run in every way.

use std::sync::Arc;
use std::time::Duration;

use annals::{
    LogRecorder, Member, MemoryRecorder, MultiThreadedRunner, ProcessApplication, ProcessRecorder,
    Runner, RunnerOptions, SelectNotifications, SingleThreadedRunner,
};

#[path = "../../examples/reservations.rs"]
#[allow(dead_code, reason = "its `main` is not run here")]
mod example;

use example::{BoxOffice, HandClock, Order, PAYMENT_TIME, system};

/// Applications that outlive a runner, as their logs would.
struct World {
    members: Vec<(String, Arc<ProcessApplication>)>,
    clock: HandClock,
}

impl World {
    fn new(in_log: bool) -> Self {
        let system = system().unwrap();
        let members = system.applications().map(|name| {
            let recorder: Arc<dyn ProcessRecorder> = match in_log {
                true => Arc::new(LogRecorder::from(annals_engine::Log::in_memory().unwrap())),
                false => Arc::new(MemoryRecorder::new()),
            };
            let application = ProcessApplication::new(recorder).unwrap();
            (name.to_owned(), Arc::new(application))
        });
        Self {
            members: members.collect(),
            clock: HandClock::default(),
        }
    }

    fn start(&self, is_threaded: bool) -> Box<dyn Runner> {
        let open = |name: &str| {
            let found = self.members.iter().find(|member| member.0 == name);
            Ok(Member::from(found.unwrap().1.clone()))
        };
        let options = RunnerOptions::new().clock(self.clock.clone());
        let system = system().unwrap();
        match is_threaded {
            true => Box::new(MultiThreadedRunner::start(&system, options, open).unwrap()),
            false => Box::new(SingleThreadedRunner::start(&system, options, open).unwrap()),
        }
    }

    fn count(&self, name: &str, topic: &str) -> usize {
        let found = self.members.iter().find(|member| member.0 == name);
        let select = SelectNotifications::first(usize::MAX).topics([topic]);
        let recorder = found.unwrap().1.recorder().clone();
        recorder.select_notifications(&select).unwrap().len()
    }
}

fn each_way(check: impl Fn(&World, bool)) {
    for in_log in [false, true] {
        for is_threaded in [false, true] {
            check(&World::new(in_log), is_threaded);
        }
    }
}

#[test]
fn what_is_paid_in_time_is_confirmed_and_the_rest_released() {
    each_way(|world, is_threaded| {
        let runner = world.start(is_threaded);
        let office = BoxOffice(&*runner);
        let at_rest = || runner.settle(PATIENCE).unwrap();
        office.open_hall(10).unwrap();
        for name in ["ann", "bob"] {
            office.place_order(name, 4, 80).unwrap();
            at_rest();
        }
        office.place_order("cid", 4, 80).unwrap();
        at_rest();
        assert_eq!(office.free_seats().unwrap(), 2);
        assert_eq!(
            *office.order("cid").unwrap(),
            Order::Rejected("sold out".into())
        );

        office.pay("ann").unwrap();
        at_rest();
        world.clock.advance(PAYMENT_TIME / 2);
        at_rest();
        assert_eq!(*office.order("bob").unwrap(), Order::Open);
        world.clock.advance(PAYMENT_TIME / 2);
        at_rest();
        assert_eq!(*office.order("ann").unwrap(), Order::Confirmed);
        assert_eq!(
            *office.order("bob").unwrap(),
            Order::Rejected("not paid in time".into())
        );
        assert_eq!(office.free_seats().unwrap(), 6);

        // Paid too late: seen, and nothing comes of it here.
        office.pay("bob").unwrap();
        at_rest();
        assert_eq!(office.free_seats().unwrap(), 6);
        runner.stop().unwrap();
    });
}

#[test]
fn a_timer_goes_off_once_whatever_is_stopped_and_started_in_between() {
    each_way(|world, is_threaded| {
        let runner = world.start(is_threaded);
        let office = BoxOffice(&*runner);
        office.open_hall(10).unwrap();
        office.place_order("ann", 4, 80).unwrap();
        runner.settle(PATIENCE).unwrap();
        runner.stop().unwrap();
        drop(runner);

        world.clock.advance(PAYMENT_TIME * 2);
        for is_threaded in [is_threaded, !is_threaded, true, false] {
            let runner = world.start(is_threaded);
            runner.settle(PATIENCE).unwrap();
            runner.stop().unwrap();
        }
        assert_eq!(world.count("booking", "booking.payment-overdue"), 1);
        assert_eq!(world.count("booking", "$timer-set"), 1);
        assert_eq!(world.count("booking", "$timer-fired"), 1);
        assert_eq!(world.count("reservations", "hall.seats-released"), 1);
    });
}

#[test]
fn a_timer_that_was_cancelled_does_not_go_off() {
    each_way(|world, is_threaded| {
        let runner = world.start(is_threaded);
        let office = BoxOffice(&*runner);
        office.open_hall(10).unwrap();
        office.place_order("ann", 4, 80).unwrap();
        runner.settle(PATIENCE).unwrap();
        office.pay("ann").unwrap();
        runner.settle(PATIENCE).unwrap();
        assert_eq!(world.count("booking", "$timer-cancelled"), 1);
        world.clock.advance(PAYMENT_TIME * 2);
        runner.settle(PATIENCE).unwrap();
        assert_eq!(world.count("booking", "booking.payment-overdue"), 0);
        assert_eq!(*office.order("ann").unwrap(), Order::Confirmed);
    });
}

#[test]
fn timers_go_off_by_themselves_where_threads_run() {
    let world = World::new(true);
    let runner = world.start(true);
    let office = BoxOffice(&*runner);
    office.open_hall(10).unwrap();
    office.place_order("ann", 4, 80).unwrap();
    runner.settle(PATIENCE).unwrap();
    world.clock.advance(PAYMENT_TIME);
    let is_rejected =
        || *office.order("ann").unwrap() == Order::Rejected("not paid in time".into());
    let looks = (0..2_000).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        is_rejected()
    });
    assert!(looks, "nobody asked it to settle");
}

#[test]
fn many_orders_share_the_seats_there_are() {
    each_way(|world, is_threaded| {
        let runner = world.start(is_threaded);
        let office = BoxOffice(&*runner);
        office.open_hall(100).unwrap();
        for number in 0..60 {
            office
                .place_order(&format!("order {number}"), 3, 9)
                .unwrap();
        }
        runner.settle(PATIENCE).unwrap();
        assert_eq!(office.free_seats().unwrap(), 1);
        world.clock.advance(PAYMENT_TIME);
        runner.settle(PATIENCE).unwrap();
        assert_eq!(office.free_seats().unwrap(), 100);
        assert_eq!(world.count("booking", "booking.payment-overdue"), 33);
        assert_eq!(world.count("orders", "order.rejected"), 60);
    });
}

const PATIENCE: Duration = Duration::from_secs(20);
