//! What a scope says stands beside everything that is saved in it, once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use annals::{
    Application, CAUSATION_KEY, CORRELATION_KEY, Error, Event, Mapper, MemoryRecorder, Metadata,
    MetadataScope, PersistenceError, Root, SelectNotifications, StoredEvent,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::school::{Dog, DogEvent};

fn stored(app: &Application) -> Vec<StoredEvent> {
    let all = SelectNotifications::first(10);
    let found = app.notification_log().select(&all).unwrap();
    found
        .into_iter()
        .map(|notification| notification.event)
        .collect()
}

#[test]
fn everything_saved_in_a_scope_gets_its_metadata_beside_its_own() {
    let app = Application::in_memory();
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    let own = Metadata::from([("user".to_owned(), "bob".to_owned())]);
    dog.trigger_with(DogEvent::trick_added("sit"), own);
    {
        let _request = MetadataScope::correlated(Uuid::from_u128(7));
        let _user = MetadataScope::enter([("user", "ann")]);
        app.save(&mut dog).unwrap();
    }
    dog.trigger(DogEvent::trick_added("roll over"));
    app.save(&mut dog).unwrap();

    let stored = stored(&app);
    let users: Vec<_> = stored
        .iter()
        .map(|event| event.metadata.get("user"))
        .collect();
    assert_eq!(
        users,
        [Some(&"ann".to_owned()), Some(&"bob".to_owned()), None]
    );
    for event in &stored[..2] {
        assert_eq!(
            event.metadata[CORRELATION_KEY],
            Uuid::from_u128(7).to_string()
        );
    }
    assert_eq!(stored[2].metadata, Metadata::new());
}

#[test]
fn a_save_that_is_made_again_elsewhere_keeps_what_the_first_attempt_said() {
    let app = Application::in_memory();
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    app.save(&mut dog).unwrap();
    let mut stale = app.repository().get::<Dog>(dog.id()).unwrap();
    dog.trigger(DogEvent::trick_added("sit"));
    app.save(&mut dog).unwrap();

    stale.trigger(DogEvent::trick_added("roll over"));
    {
        let _first = MetadataScope::enter([("user", "ann")]);
        assert!(app.save(&mut stale).unwrap_err().is_conflict());
    }
    let _second = MetadataScope::enter([("user", "bob"), ("other", "x")]);
    let kept = &stale.pending()[0].metadata;
    assert_eq!(
        *kept,
        Metadata::from([("user".to_owned(), "ann".to_owned())])
    );
    let again = app
        .mapper()
        .to_stored(&stale.pending()[0], Uuid::nil())
        .unwrap();
    assert_eq!(again.metadata, *kept);
}

#[test]
fn what_a_policy_saves_is_correlated_with_what_it_answers() {
    let (upstream, downstream) = (Application::in_memory(), Application::in_memory());
    let mut dog = Root::<Dog>::new(upstream.new_id(), DogEvent::registered("Fido")).unwrap();
    let request = Uuid::from_u128(7);
    {
        let _request = MetadataScope::correlated(request);
        upstream.save(&mut dog).unwrap();
    }
    for cause in stored(&upstream) {
        let _effects = MetadataScope::caused_by(&cause);
        let mut effect =
            Root::<Dog>::new(downstream.new_id(), DogEvent::registered("Rex")).unwrap();
        downstream.save(&mut effect).unwrap();
    }
    let (cause, effect) = (&stored(&upstream)[0], &stored(&downstream)[0]);
    assert_eq!(effect.metadata[CORRELATION_KEY], request.to_string());
    assert_eq!(effect.metadata[CAUSATION_KEY], cause.event_id.to_string());
}

#[test]
fn a_scope_around_a_future_goes_with_it_from_thread_to_thread() {
    let app = Arc::new(Application::in_memory());
    let saving = app.clone();
    let save = async move {
        for name in ["Fido", "Rex"] {
            let dog = Root::<Dog>::new(saving.new_id(), DogEvent::registered(name)).unwrap();
            saving.add(dog).unwrap();
            let mut has_waited = false;
            std::future::poll_fn(|_| match std::mem::replace(&mut has_waited, true) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            })
            .await;
        }
    };
    let inner = MetadataScope::around([("user", "ann")], save);
    let mut task: Pin<Box<dyn Future<Output = ()> + Send>> =
        Box::pin(MetadataScope::around([("request", "7")], inner));
    let poll = |task: &mut Pin<Box<dyn Future<Output = ()> + Send>>| {
        task.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    };
    assert!(poll(&mut task).is_pending());
    assert_eq!(MetadataScope::current(), Metadata::new());
    std::thread::spawn(move || {
        let _of_the_thread = MetadataScope::enter([("thread", "2"), ("user", "bob")]);
        assert!(poll(&mut task).is_pending());
        assert!(!MetadataScope::current().contains_key("request"));
    })
    .join()
    .unwrap();

    let stored = stored(&app);
    let entries = |event: &StoredEvent| Vec::from_iter(event.metadata.clone());
    let pairs = |pairs: &[(&str, &str)]| -> Vec<_> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let first = [("request", "7"), ("user", "ann")];
    assert_eq!(entries(&stored[0]), pairs(&first));
    assert_eq!(
        entries(&stored[1]),
        pairs(&[first[0], ("thread", "2"), first[1]])
    );
}

#[test]
fn events_of_no_aggregate_get_it_too() {
    #[derive(Serialize, Deserialize)]
    struct Rang {}
    impl Event for Rang {}

    let _scope = MetadataScope::enter([("user", "ann")]);
    let stored = Mapper::json().encode(&Rang {}, Uuid::nil()).unwrap();
    assert_eq!(stored.metadata["user"], "ann");
}

#[test]
fn more_than_an_event_takes_is_refused_as_always() {
    let app = Application::builder(Arc::new(MemoryRecorder::new()))
        .build()
        .unwrap();
    let mut dog = Root::<Dog>::new(app.new_id(), DogEvent::registered("Fido")).unwrap();
    let _scope = MetadataScope::enter((0..256).map(|n| (format!("key {n}"), "")));
    let refused = app.save(&mut dog).unwrap_err();
    assert!(matches!(
        refused,
        Error::Persistence {
            source: PersistenceError::Limit { .. },
            ..
        }
    ));
    assert_eq!(dog.pending().len(), 1);
}
