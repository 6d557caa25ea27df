//! From the library's objects to the engine's events, and back.
//!
//! Both generations of the library are known: in 10 an event has an id and metadata, and ids of aggregates are text.
//! There, what spells a UUID is one, as on the command line, so that what 9.5 has written is found.
//!
//! Objects are made without their constructors, which would cost more than all the rest: an instance, and what its
//! dictionary holds.

use std::borrow::Cow;
use std::collections::HashMap;

use annals_engine::{AggregateId, Event, NewEvent, RecordedEvent, Version};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};
use uuid::Uuid;

use crate::errors::{data_error, raised};

/// Classes of the library that is installed.
pub(crate) struct Library {
    stored_event: Py<PyAny>,
    notification: Py<PyAny>,
    dcb_event: Py<PyAny>,
    dcb_sequenced_event: Py<PyAny>,
    uuid: Py<PyAny>,
    uuid_safety: Py<PyAny>,
    object_new: Py<PyAny>,
    object_setattr: Py<PyAny>,
    /// Whether events have ids and metadata, and ids of aggregates are text: 10 and later.
    has_event_ids: bool,
}

impl Library {
    pub(crate) fn get(py: Python<'_>) -> PyResult<&'static Self> {
        static LIBRARY: PyOnceLock<Library> = PyOnceLock::new();
        LIBRARY.get_or_try_init(py, || Self::find(py))
    }

    fn find(py: Python<'_>) -> PyResult<Self> {
        let persistence = py.import("eventsourcing.persistence")?;
        let dcb = py.import("eventsourcing.dcb.api")?;
        // Renamed in 10.
        let of_dcb = |name: &str| {
            let renamed = dcb.getattr(format!("Dcb{name}"));
            renamed.or_else(|_| dcb.getattr(format!("DCB{name}")))
        };
        let uuid = py.import("uuid")?;
        let object = py.import("builtins")?.getattr("object")?;
        let stored_event = persistence.getattr("StoredEvent")?;
        let fields = stored_event.getattr("__dataclass_fields__")?;
        Ok(Self {
            has_event_ids: fields.contains("uuid")?,
            stored_event: stored_event.unbind(),
            notification: persistence.getattr("Notification")?.unbind(),
            dcb_event: of_dcb("Event")?.unbind(),
            dcb_sequenced_event: of_dcb("SequencedEvent")?.unbind(),
            uuid_safety: uuid.getattr("SafeUUID")?.getattr("unknown")?.unbind(),
            uuid: uuid.getattr("UUID")?.unbind(),
            object_new: object.getattr("__new__")?.unbind(),
            object_setattr: object.getattr("__setattr__")?.unbind(),
        })
    }

    /// An originator's id.
    pub(crate) fn aggregate_id(&self, id: &Bound<'_, PyAny>) -> PyResult<AggregateId> {
        let Ok(text) = id.cast::<PyString>() else {
            return uuid_of(id).map(AggregateId::Uuid);
        };
        let text = text.to_cow()?;
        let parsed = match self.has_event_ids {
            true => AggregateId::parse(&text),
            false => AggregateId::text(text.into_owned()),
        };
        parsed.map_err(|error| raised(id.py(), &error))
    }

    /// The library's `StoredEvent` as an event of the log.
    pub(crate) fn new_event(&self, stored: &Bound<'_, PyAny>) -> PyResult<NewEvent> {
        let py = stored.py();
        let id = self.aggregate_id(&stored.getattr(intern!(py, "originator_id"))?)?;
        let version = stored.getattr(intern!(py, "originator_version"))?;
        let version = unsigned(&version, "originator_version")?;
        let topic: String = stored.getattr(intern!(py, "topic"))?.extract()?;
        let state = bytes_of(&stored.getattr(intern!(py, "state"))?)?;
        let event = NewEvent::new(topic, state)
            .aggregate(id)
            .version(Version::Given(version));
        self.with_id_and_metadata(event, stored)
    }

    /// The library's `DCBEvent` as an event of the log.
    pub(crate) fn new_dcb_event(&self, given: &Bound<'_, PyAny>) -> PyResult<NewEvent> {
        let py = given.py();
        let topic: String = given.getattr(intern!(py, "type"))?.extract()?;
        let data = bytes_of(&given.getattr(intern!(py, "data"))?)?;
        let tags: Vec<String> = given.getattr(intern!(py, "tags"))?.extract()?;
        self.with_id_and_metadata(NewEvent::new(topic, data).tags(tags), given)
    }

    fn with_id_and_metadata(
        &self,
        mut event: NewEvent,
        given: &Bound<'_, PyAny>,
    ) -> PyResult<NewEvent> {
        if !self.has_event_ids {
            return Ok(event);
        }
        let py = given.py();
        let id = uuid_of(&given.getattr(intern!(py, "uuid"))?)?;
        // "No id": the log makes one.
        if !id.is_nil() {
            event = event.event_id(id);
        }
        let metadata: HashMap<String, String> =
            given.getattr(intern!(py, "metadata"))?.extract()?;
        Ok(metadata
            .into_iter()
            .fold(event, |event, (key, value)| event.metadata(key, value)))
    }
}

/// What there is to tell of an event, borrowed from the log or not.
pub(crate) struct Parts<'a> {
    pub(crate) position: u64,
    pub(crate) aggregate_id: Option<AggregateId>,
    pub(crate) version: u64,
    topic: &'a str,
    event_id: Uuid,
    tags: Vec<&'a [u8]>,
    metadata: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    payload: &'a [u8],
}

impl<'a> From<&Event<'a>> for Parts<'a> {
    fn from(event: &Event<'a>) -> Self {
        Self {
            position: event.position(),
            aggregate_id: event.aggregate_id(),
            version: event.version().unwrap_or_default(),
            topic: event.topic(),
            event_id: event.event_id(),
            tags: event.tags().collect(),
            metadata: event.metadata().collect(),
            payload: event.payload(),
        }
    }
}

impl<'a> From<&'a RecordedEvent> for Parts<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        let metadata = event.metadata.iter();
        Self {
            position: event.position,
            aggregate_id: event.aggregate_id.clone(),
            version: event.version.unwrap_or_default(),
            topic: &event.topic,
            event_id: event.event_id,
            tags: event.tags.iter().map(Vec::as_slice).collect(),
            metadata: metadata
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
            payload: &event.payload,
        }
    }
}

impl<'a> From<&'a annals_engine::Snapshot> for Parts<'a> {
    fn from(snapshot: &'a annals_engine::Snapshot) -> Self {
        let metadata = snapshot.metadata.iter();
        Self {
            position: 0,
            aggregate_id: Some(snapshot.aggregate_id.clone()),
            version: snapshot.version,
            topic: &snapshot.topic,
            event_id: Uuid::nil(),
            tags: Vec::new(),
            metadata: metadata
                .map(|(key, value)| (key.as_str().into(), value.as_str().into()))
                .collect(),
            payload: &snapshot.payload,
        }
    }
}

/// Makes the library's objects of the events of one answer, and those that repeat only once.
pub(crate) struct Maker<'py> {
    py: Python<'py>,
    library: &'static Library,
    topics: HashMap<String, Bound<'py, PyString>>,
    ids: HashMap<AggregateId, Bound<'py, PyAny>>,
}

impl<'py> Maker<'py> {
    pub(crate) fn new(py: Python<'py>) -> PyResult<Self> {
        Ok(Self {
            py,
            library: Library::get(py)?,
            topics: HashMap::new(),
            ids: HashMap::new(),
        })
    }

    /// The answer will give this very object as id of the aggregate, which asked for it.
    pub(crate) fn with_id(mut self, id: AggregateId, object: Bound<'py, PyAny>) -> Self {
        self.ids.insert(id, object);
        self
    }

    /// A `StoredEvent`.
    pub(crate) fn stored_event(&mut self, parts: &Parts<'_>) -> PyResult<Bound<'py, PyAny>> {
        let class = &self.library.stored_event;
        Ok(self.event_of_aggregate(class, parts)?.0)
    }

    /// A `Notification`.
    pub(crate) fn notification(&mut self, parts: &Parts<'_>) -> PyResult<Bound<'py, PyAny>> {
        let class = &self.library.notification;
        let (object, fields) = self.event_of_aggregate(class, parts)?;
        fields.set_item(intern!(self.py, "id"), parts.position)?;
        Ok(object)
    }

    /// A `DCBSequencedEvent`.
    pub(crate) fn sequenced_event(&mut self, parts: &Parts<'_>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let (event, fields) = self.instance(&self.library.dcb_event)?;
        fields.set_item(intern!(py, "type"), self.topic(parts.topic))?;
        fields.set_item(intern!(py, "data"), PyBytes::new(py, parts.payload))?;
        let tags = parts.tags.iter().map(|tag| String::from_utf8_lossy(tag));
        let tags = PyList::new(py, tags.collect::<Vec<_>>())?;
        fields.set_item(intern!(py, "tags"), tags)?;
        self.id_and_metadata(&fields, parts)?;

        let (sequenced, fields) = self.instance(&self.library.dcb_sequenced_event)?;
        fields.set_item(intern!(py, "event"), event)?;
        fields.set_item(intern!(py, "position"), parts.position)?;
        Ok(sequenced)
    }

    fn event_of_aggregate(
        &mut self,
        class: &Py<PyAny>,
        parts: &Parts<'_>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
        let py = self.py;
        let (object, fields) = self.instance(class)?;
        if let Some(id) = &parts.aggregate_id {
            fields.set_item(intern!(py, "originator_id"), self.originator_id(id)?)?;
        }
        fields.set_item(intern!(py, "originator_version"), parts.version)?;
        fields.set_item(intern!(py, "topic"), self.topic(parts.topic))?;
        fields.set_item(intern!(py, "state"), PyBytes::new(py, parts.payload))?;
        self.id_and_metadata(&fields, parts)?;
        Ok((object, fields))
    }

    fn id_and_metadata(&self, fields: &Bound<'py, PyDict>, parts: &Parts<'_>) -> PyResult<()> {
        if !self.library.has_event_ids {
            return Ok(());
        }
        let metadata = PyDict::new(self.py);
        for (key, value) in &parts.metadata {
            metadata.set_item(key.as_ref(), value.as_ref())?;
        }
        fields.set_item(intern!(self.py, "uuid"), self.uuid(parts.event_id)?)?;
        fields.set_item(intern!(self.py, "metadata"), metadata)
    }

    fn instance(&self, class: &Py<PyAny>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyDict>)> {
        let object = self.library.object_new.bind(self.py).call1((class,))?;
        let fields = object.getattr(intern!(self.py, "__dict__"))?;
        Ok((object, fields.cast_into()?))
    }

    fn topic(&mut self, topic: &str) -> Bound<'py, PyString> {
        if let Some(known) = self.topics.get(topic) {
            return known.clone();
        }
        let new = PyString::new(self.py, topic);
        self.topics.insert(topic.to_owned(), new.clone());
        new
    }

    fn originator_id(&mut self, id: &AggregateId) -> PyResult<Bound<'py, PyAny>> {
        if let Some(known) = self.ids.get(id) {
            return Ok(known.clone());
        }
        let object = match id {
            AggregateId::Uuid(uuid) if !self.library.has_event_ids => self.uuid(*uuid)?,
            id => PyString::new(self.py, &id.to_string()).into_any(),
        };
        self.ids.insert(id.clone(), object.clone());
        Ok(object)
    }

    fn uuid(&self, uuid: Uuid) -> PyResult<Bound<'py, PyAny>> {
        let (py, library) = (self.py, self.library);
        let object = library.object_new.bind(py).call1((&library.uuid,))?;
        let set = library.object_setattr.bind(py);
        set.call1((&object, intern!(py, "int"), uuid.as_u128()))?;
        set.call1((&object, intern!(py, "is_safe"), &library.uuid_safety))?;
        Ok(object)
    }
}

/// A whole number that a log can hold.
pub(crate) fn unsigned(value: &Bound<'_, PyAny>, what: &str) -> PyResult<u64> {
    value.extract().map_err(|_| {
        let text = format!("{what}: {value}, expected a whole number from 0 on");
        data_error(value.py(), text)
    })
}

/// A position behind which is read, as callers give it: `None` and what is below 0 are the beginning.
pub(crate) fn behind(after: Option<i64>) -> u64 {
    after
        .and_then(|after| u64::try_from(after).ok())
        .unwrap_or_default()
}

fn bytes_of(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    match value.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().to_vec()),
        // `bytearray`, and whatever else is a sequence of small numbers.
        Err(_) => value.extract(),
    }
}

fn uuid_of(value: &Bound<'_, PyAny>) -> PyResult<Uuid> {
    let int = value.getattr(intern!(value.py(), "int")).map_err(|_| {
        let class = value.get_type();
        let class = class
            .name()
            .map_or_else(|_| "?".into(), |name| name.to_string());
        data_error(
            value.py(),
            format!("an id is {class}, expected a UUID or text"),
        )
    })?;
    int.extract().map(Uuid::from_u128)
}
