//! Course enrolment on a plain recorder: read what the rules rest on, decide, and append on the condition that it still
//! holds.
//!
//! A course has so many places, and a student joins no course twice and at most three. The first rule belongs to the
//! course, the second to the student, and joining has to keep both: whatever is made an aggregate, the other rule is
//! outside of it. Here neither is. A query names the events that the decision rests on, and the append fails if one more
//! of them has come meanwhile. That is all there is to a dynamic consistency boundary; the other examples of the name
//! `enrolment_*` say the same in fewer words.
//!
//! Source of the challenge: <https://dcb.events/examples/course-subscriptions/>.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::{
    ConditionalAppend, DcbRecorder, Durability, Event, Mapper, MemoryRecorder, PersistenceError,
    Query, QueryItem,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Serialize, Deserialize)]
enum SchoolEvent {
    StudentRegistered { student: String },
    CourseDefined { course: String, places: usize },
    PlacesChanged { course: String, places: usize },
    StudentJoined { student: String, course: String },
    StudentLeft { student: String, course: String },
}

impl Event for SchoolEvent {
    /// By these an event is found: joining concerns a student and a course.
    fn tags(&self) -> Vec<String> {
        match self {
            Self::StudentRegistered { student } => vec![student_tag(student)],
            Self::CourseDefined { course, .. } | Self::PlacesChanged { course, .. } => {
                vec![course_tag(course)]
            }
            Self::StudentJoined { student, course } | Self::StudentLeft { student, course } => {
                vec![student_tag(student), course_tag(course)]
            }
        }
    }
}

fn student_tag(student: &str) -> String {
    format!("student:{student}")
}

fn course_tag(course: &str) -> String {
    format!("course:{course}")
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("it is there already")]
    AlreadyThere,
    #[error("no such student")]
    NoSuchStudent,
    #[error("no such course")]
    NoSuchCourse,
    #[error("the course has no free place")]
    CourseFull,
    #[error("the student is in as many courses as allowed")]
    TooManyCourses,
    #[error("the student is in the course already")]
    AlreadyEnrolled,
    #[error("the student is not in the course")]
    NotEnrolled,
    #[error("the store refuses")]
    Failed(#[from] PersistenceError),
}

pub(crate) struct School {
    recorder: Arc<dyn DcbRecorder>,
    mapper: Mapper,
}

impl School {
    pub(crate) fn on(recorder: Arc<dyn DcbRecorder>) -> Self {
        let mapper = Mapper::default();
        Self { recorder, mapper }
    }

    pub(crate) fn register_student(&self, student: &str) -> Result<(), Refused> {
        let item = topics(&["StudentRegistered"]).tag(student_tag(student));
        self.decide(&item.into(), |events| match events.is_empty() {
            true => Ok(SchoolEvent::StudentRegistered {
                student: student.to_owned(),
            }),
            false => Err(Refused::AlreadyThere),
        })
    }

    pub(crate) fn define_course(&self, course: &str, places: usize) -> Result<(), Refused> {
        let item = topics(&["CourseDefined"]).tag(course_tag(course));
        self.decide(&item.into(), |events| match events.is_empty() {
            true => Ok(SchoolEvent::CourseDefined {
                course: course.to_owned(),
                places,
            }),
            false => Err(Refused::AlreadyThere),
        })
    }

    pub(crate) fn change_places(&self, course: &str, places: usize) -> Result<(), Refused> {
        let item = topics(&["CourseDefined"]).tag(course_tag(course));
        self.decide(&item.into(), |events| match events.is_empty() {
            true => Err(Refused::NoSuchCourse),
            false => Ok(SchoolEvent::PlacesChanged {
                course: course.to_owned(),
                places,
            }),
        })
    }

    pub(crate) fn enrol(&self, student: &str, course: &str) -> Result<(), Refused> {
        // The events of this course, and those of this student: nothing else can change the answer.
        let query = Query::all()
            .or(topics(&[
                "CourseDefined",
                "PlacesChanged",
                "StudentJoined",
                "StudentLeft",
            ])
            .tag(course_tag(course)))
            .or(
                topics(&["StudentRegistered", "StudentJoined", "StudentLeft"])
                    .tag(student_tag(student)),
            );
        self.decide(&query, |events| {
            let mut is_registered = false;
            let mut places = None;
            let mut students = BTreeSet::new();
            let mut courses = BTreeSet::new();
            for event in &events {
                match event {
                    SchoolEvent::StudentRegistered { .. } => is_registered = true,
                    SchoolEvent::CourseDefined { places: of, .. }
                    | SchoolEvent::PlacesChanged { places: of, .. } => places = Some(*of),
                    // Found by either tag: who joined this course, or which course this student joined.
                    SchoolEvent::StudentJoined {
                        student: who,
                        course: what,
                    } => {
                        if what == course {
                            students.insert(who.as_str());
                        }
                        if who == student {
                            courses.insert(what.as_str());
                        }
                    }
                    SchoolEvent::StudentLeft {
                        student: who,
                        course: what,
                    } => {
                        if what == course {
                            students.remove(who.as_str());
                        }
                        if who == student {
                            courses.remove(what.as_str());
                        }
                    }
                }
            }
            match places {
                _ if !is_registered => Err(Refused::NoSuchStudent),
                None => Err(Refused::NoSuchCourse),
                Some(_) if courses.contains(course) => Err(Refused::AlreadyEnrolled),
                Some(places) if students.len() >= places => Err(Refused::CourseFull),
                Some(_) if courses.len() >= COURSES_MAX => Err(Refused::TooManyCourses),
                Some(_) => Ok(SchoolEvent::StudentJoined {
                    student: student.to_owned(),
                    course: course.to_owned(),
                }),
            }
        })
    }

    pub(crate) fn leave(&self, student: &str, course: &str) -> Result<(), Refused> {
        // Of one student in one course: an event has to have all tags of an item.
        let item = topics(&["StudentJoined", "StudentLeft"])
            .tag(student_tag(student))
            .tag(course_tag(course));
        self.decide(&item.into(), |events| match events.last() {
            Some(SchoolEvent::StudentJoined { .. }) => Ok(SchoolEvent::StudentLeft {
                student: student.to_owned(),
                course: course.to_owned(),
            }),
            _ => Err(Refused::NotEnrolled),
        })
    }

    pub(crate) fn roster(&self, course: &str) -> Result<Vec<String>, Refused> {
        let item = topics(&["StudentJoined", "StudentLeft"]).tag(course_tag(course));
        let (events, _) = self.read(&item.into())?;
        let mut roster = BTreeSet::new();
        for event in events {
            match event {
                SchoolEvent::StudentJoined { student, .. } => drop(roster.insert(student)),
                SchoolEvent::StudentLeft { student, .. } => drop(roster.remove(&student)),
                _ => {}
            }
        }
        Ok(roster.into_iter().collect())
    }

    /// Reads, decides, appends; and again, when somebody else was faster.
    fn decide(
        &self,
        query: &Query,
        rule: impl Fn(Vec<SchoolEvent>) -> Result<SchoolEvent, Refused>,
    ) -> Result<(), Refused> {
        loop {
            let (events, head) = self.read(query)?;
            let decided = self.mapper.encode(&rule(events)?, new_event_id())?;
            let append = ConditionalAppend::new(vec![decided]).fail_if_match(query.clone(), head);
            match self.recorder.append(append, Durability::Sync) {
                Err(error) if error.is_conflict() => {}
                outcome => return Ok(outcome.map(drop)?),
            }
        }
    }

    /// The events of a query, and the position up to which they are all there are.
    fn read(&self, query: &Query) -> Result<(Vec<SchoolEvent>, u64), Refused> {
        let found = self.recorder.read(query, 0, None)?;
        let events = found
            .notifications
            .iter()
            .map(|notification| self.mapper.decode(&notification.event))
            .collect::<Result<_, _>>()?;
        Ok((events, found.head.unwrap_or(0)))
    }
}

fn topics(topics: &[&str]) -> QueryItem {
    topics
        .iter()
        .fold(QueryItem::new(), |item, topic| item.topic(*topic))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a program may ask the clock, a library is given one"
)]
fn new_event_id() -> Uuid {
    Uuid::now_v7()
}

/// Most courses a student can be in at once.
const COURSES_MAX: usize = 3;

pub(crate) fn main() -> Result<(), Refused> {
    let school = School::on(Arc::new(MemoryRecorder::new()));
    school.register_student("ann")?;
    school.register_student("bob")?;
    school.define_course("maths", 1)?;

    school.enrol("ann", "maths")?;
    assert!(matches!(
        school.enrol("bob", "maths"),
        Err(Refused::CourseFull)
    ));
    school.change_places("maths", 2)?;
    school.enrol("bob", "maths")?;
    school.leave("ann", "maths")?;
    assert_eq!(school.roster("maths")?, ["bob"]);
    Ok(())
}
