//! Course enrolment in slices: each use case has its command, what it looks at and its rule in one place.
//!
//! The rules are those of `enrolment_recorder`. What is read is said by small models, which know one thing each and
//! compose: enrolling looks at three of them, leaving at one. A model reads the fields that it needs and no more, by an
//! event type of its own; the topics of that type are the topics of its boundary, so a use case is disturbed only by what
//! could change its answer.
//!
//! Source of the challenge: <https://dcb.events/examples/course-subscriptions/>.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::{
    DcbApplication, DcbError, DcbRecorder, DecisionModel, Event, MemoryRecorder, Perspective,
    Query, QueryItem, Retries, Slice,
};
use serde::{Deserialize, Serialize};

/// What is written: all that happens in this school.
#[derive(Serialize, Deserialize)]
enum SchoolEvent {
    StudentRegistered { student: String },
    CourseDefined { course: String, places: usize },
    PlacesChanged { course: String, places: usize },
    StudentJoined { student: String, course: String },
    StudentLeft { student: String, course: String },
}

impl Event for SchoolEvent {
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

/// Whether a student is registered.
struct Registered {
    student: String,
    is: bool,
}

#[derive(Serialize, Deserialize)]
enum RegistrationEvent {
    StudentRegistered {},
}

impl Event for RegistrationEvent {}

impl DecisionModel for Registered {
    type Event = RegistrationEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<RegistrationEvent>()
            .tag(student_tag(&self.student))
            .into()
    }

    fn apply(&mut self, _: &RegistrationEvent) {
        self.is = true;
    }
}

/// How many places a course has; `None` while there is no such course.
struct Places {
    course: String,
    count: Option<usize>,
}

#[derive(Serialize, Deserialize)]
enum PlacesEvent {
    CourseDefined { places: usize },
    PlacesChanged { places: usize },
}

impl Event for PlacesEvent {}

impl DecisionModel for Places {
    type Event = PlacesEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<PlacesEvent>()
            .tag(course_tag(&self.course))
            .into()
    }

    fn apply(&mut self, event: &PlacesEvent) {
        let (PlacesEvent::CourseDefined { places } | PlacesEvent::PlacesChanged { places }) = event;
        self.count = Some(*places);
    }
}

/// Who is in which course, among the events with all of these tags: a course's, a student's, or both.
struct Enrolments {
    tags: Vec<String>,
    pairs: BTreeSet<(String, String)>,
}

#[derive(Serialize, Deserialize)]
enum EnrolmentEvent {
    StudentJoined { student: String, course: String },
    StudentLeft { student: String, course: String },
}

impl Event for EnrolmentEvent {}

impl DecisionModel for Enrolments {
    type Event = EnrolmentEvent;

    fn boundary(&self) -> Query {
        let item = QueryItem::of::<EnrolmentEvent>();
        let tags = self.tags.iter();
        tags.fold(item, |item, tag| item.tag(tag.as_str())).into()
    }

    fn apply(&mut self, event: &EnrolmentEvent) {
        match event {
            EnrolmentEvent::StudentJoined { student, course } => {
                self.pairs.insert((student.clone(), course.clone()));
            }
            EnrolmentEvent::StudentLeft { student, course } => {
                self.pairs.remove(&(student.clone(), course.clone()));
            }
        }
    }
}

fn registered(student: &str) -> Registered {
    let student = student.to_owned();
    Registered { student, is: false }
}

fn places(course: &str) -> Places {
    let course = course.to_owned();
    let count = None;
    Places { course, count }
}

fn enrolments<const N: usize>(tags: [String; N]) -> Enrolments {
    let pairs = BTreeSet::new();
    let tags = tags.into();
    Enrolments { tags, pairs }
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
    Failed(#[from] DcbError),
}

struct RegisterStudent {
    student: String,
}

impl Slice for RegisterStudent {
    type Models = Registered;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Registered {
        registered(&self.student)
    }

    fn decide(&self, seen: &mut Perspective<Registered>) -> Result<(), Refused> {
        if seen.is {
            return Err(Refused::AlreadyThere);
        }
        let student = self.student.clone();
        Ok(seen.trigger(SchoolEvent::StudentRegistered { student })?)
    }
}

struct DefineCourse {
    course: String,
    places: usize,
}

impl Slice for DefineCourse {
    type Models = Places;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Places {
        places(&self.course)
    }

    fn decide(&self, seen: &mut Perspective<Places>) -> Result<(), Refused> {
        if seen.count.is_some() {
            return Err(Refused::AlreadyThere);
        }
        let (course, places) = (self.course.clone(), self.places);
        Ok(seen.trigger(SchoolEvent::CourseDefined { course, places })?)
    }
}

struct ChangePlaces {
    course: String,
    places: usize,
}

impl Slice for ChangePlaces {
    type Models = Places;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Places {
        places(&self.course)
    }

    fn decide(&self, seen: &mut Perspective<Places>) -> Result<(), Refused> {
        match seen.count {
            None => Err(Refused::NoSuchCourse),
            Some(places) if places == self.places => Ok(()),
            Some(_) => {
                let (course, places) = (self.course.clone(), self.places);
                Ok(seen.trigger(SchoolEvent::PlacesChanged { course, places })?)
            }
        }
    }
}

struct Enrol {
    student: String,
    course: String,
}

impl Slice for Enrol {
    /// The student, the course, who is in the course, and where the student is.
    type Models = (Registered, Places, Enrolments, Enrolments);
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Self::Models {
        (
            registered(&self.student),
            places(&self.course),
            enrolments([course_tag(&self.course)]),
            enrolments([student_tag(&self.student)]),
        )
    }

    fn decide(&self, seen: &mut Perspective<Self::Models>) -> Result<(), Refused> {
        let (registered, places, of_course, of_student) = &**seen;
        let pair = (self.student.clone(), self.course.clone());
        match places.count {
            _ if !registered.is => Err(Refused::NoSuchStudent),
            None => Err(Refused::NoSuchCourse),
            Some(_) if of_student.pairs.contains(&pair) => Err(Refused::AlreadyEnrolled),
            Some(places) if of_course.pairs.len() >= places => Err(Refused::CourseFull),
            Some(_) if of_student.pairs.len() >= COURSES_MAX => Err(Refused::TooManyCourses),
            Some(_) => {
                let (student, course) = pair;
                Ok(seen.trigger(SchoolEvent::StudentJoined { student, course })?)
            }
        }
    }
}

struct Leave {
    student: String,
    course: String,
}

impl Slice for Leave {
    type Models = Enrolments;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Enrolments {
        enrolments([student_tag(&self.student), course_tag(&self.course)])
    }

    fn decide(&self, seen: &mut Perspective<Enrolments>) -> Result<(), Refused> {
        if seen.pairs.is_empty() {
            return Err(Refused::NotEnrolled);
        }
        let (student, course) = (self.student.clone(), self.course.clone());
        Ok(seen.trigger(SchoolEvent::StudentLeft { student, course })?)
    }
}

/// The slices behind methods, so that those who call need not know of them.
pub(crate) struct School {
    app: DcbApplication,
}

impl School {
    pub(crate) fn on(recorder: Arc<dyn DcbRecorder>) -> Self {
        // A rush for the last places is met with patience.
        let retries = Retries {
            attempts: 100,
            ..Retries::default()
        };
        let builder = DcbApplication::builder(recorder).retries(retries);
        Self {
            app: builder.build().expect("the options are in range"),
        }
    }

    pub(crate) fn register_student(&self, student: &str) -> Result<(), Refused> {
        let student = student.to_owned();
        self.app.run(&RegisterStudent { student }).map(drop)
    }

    pub(crate) fn define_course(&self, course: &str, places: usize) -> Result<(), Refused> {
        let course = course.to_owned();
        self.app.run(&DefineCourse { course, places }).map(drop)
    }

    pub(crate) fn change_places(&self, course: &str, places: usize) -> Result<(), Refused> {
        let course = course.to_owned();
        self.app.run(&ChangePlaces { course, places }).map(drop)
    }

    pub(crate) fn enrol(&self, student: &str, course: &str) -> Result<(), Refused> {
        let (student, course) = (student.to_owned(), course.to_owned());
        self.app.run(&Enrol { student, course }).map(drop)
    }

    pub(crate) fn leave(&self, student: &str, course: &str) -> Result<(), Refused> {
        let (student, course) = (student.to_owned(), course.to_owned());
        self.app.run(&Leave { student, course }).map(drop)
    }

    /// A model can be read without deciding anything.
    pub(crate) fn roster(&self, course: &str) -> Result<Vec<String>, Refused> {
        let seen = self.app.load(enrolments([course_tag(course)]))?;
        let pairs = seen.into_models().pairs.into_iter();
        Ok(pairs.map(|(student, _)| student).collect())
    }
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
