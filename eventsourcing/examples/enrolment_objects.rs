//! Course enrolment with enduring objects: courses and students that change by their events, and a group of the two for
//! what concerns both.
//!
//! The rules are those of `enrolment_recorder`. A course and a student are written as aggregates are, but their events
//! are found by a tag. So one event can belong to both: joining is triggered on their group, gets the tags of both, and
//! is saved if neither has changed. With aggregates it would take two events, in step for ever after.
//!
//! The price is a wider boundary: an object looks at all of its events, so that renaming a course, say, would disturb
//! those who join it. `enrolment_slices` looks at what each rule needs.
//!
//! Source of the challenge: <https://dcb.events/examples/course-subscriptions/>.

use std::collections::BTreeSet;
use std::sync::Arc;

use annals::{
    Aggregate, DcbApplication, DcbError, DcbRecorder, EnduringObject, Event, MemoryRecorder,
    Object, Retries,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum SchoolEvent {
    StudentRegistered { student: String },
    CourseDefined { course: String, places: usize },
    PlacesChanged { course: String, places: usize },
    StudentJoined { student: String, course: String },
    StudentLeft { student: String, course: String },
}

/// The tags come from the objects.
impl Event for SchoolEvent {}

struct Student {
    courses: BTreeSet<String>,
}

impl Aggregate for Student {
    type Event = SchoolEvent;

    fn start(event: &SchoolEvent) -> Option<Self> {
        matches!(event, SchoolEvent::StudentRegistered { .. }).then(|| Self {
            courses: BTreeSet::new(),
        })
    }

    fn apply(&mut self, event: &SchoolEvent) {
        match event {
            SchoolEvent::StudentJoined { course, .. } => drop(self.courses.insert(course.clone())),
            SchoolEvent::StudentLeft { course, .. } => drop(self.courses.remove(course)),
            _ => {}
        }
    }
}

impl EnduringObject for Student {
    const TAG: &'static str = "student";
}

struct Course {
    places: usize,
    students: BTreeSet<String>,
}

impl Aggregate for Course {
    type Event = SchoolEvent;

    fn start(event: &SchoolEvent) -> Option<Self> {
        match event {
            SchoolEvent::CourseDefined { places, .. } => Some(Self {
                places: *places,
                students: BTreeSet::new(),
            }),
            _ => None,
        }
    }

    fn apply(&mut self, event: &SchoolEvent) {
        match event {
            SchoolEvent::PlacesChanged { places, .. } => self.places = *places,
            SchoolEvent::StudentJoined { student, .. } => {
                self.students.insert(student.clone());
            }
            SchoolEvent::StudentLeft { student, .. } => drop(self.students.remove(student)),
            _ => {}
        }
    }
}

impl EnduringObject for Course {
    const TAG: &'static str = "course";
}

/// What concerns a student and a course.
type StudentAndCourse = (Object<Student>, Object<Course>);

fn student_and_course(student: &str, course: &str) -> StudentAndCourse {
    (Object::new(student), Object::new(course))
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
    Failed(#[source] DcbError),
}

impl From<DcbError> for Refused {
    fn from(error: DcbError) -> Self {
        match error {
            DcbError::NotFound { tag } if tag.starts_with("student:") => Self::NoSuchStudent,
            DcbError::NotFound { .. } => Self::NoSuchCourse,
            error => Self::Failed(error),
        }
    }
}

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
        let event = SchoolEvent::StudentRegistered {
            student: student.to_owned(),
        };
        self.create::<Student>(student, event)
    }

    pub(crate) fn define_course(&self, course: &str, places: usize) -> Result<(), Refused> {
        let event = SchoolEvent::CourseDefined {
            course: course.to_owned(),
            places,
        };
        self.create::<Course>(course, event)
    }

    pub(crate) fn change_places(&self, course: &str, places: usize) -> Result<(), Refused> {
        let models = || Object::<Course>::new(course);
        let decided = self.app.decide(models, |seen| {
            if seen.state()?.places == places {
                return Ok(());
            }
            let course = course.to_owned();
            Ok(seen.trigger(SchoolEvent::PlacesChanged { course, places })?)
        });
        decided.map(drop)
    }

    pub(crate) fn enrol(&self, student: &str, course: &str) -> Result<(), Refused> {
        let models = || student_and_course(student, course);
        let decided = self.app.decide(models, |seen| {
            let (is_in, of) = (seen.0.state()?, seen.1.state()?);
            if is_in.courses.contains(course) {
                Err(Refused::AlreadyEnrolled)
            } else if of.students.len() >= of.places {
                Err(Refused::CourseFull)
            } else if is_in.courses.len() >= COURSES_MAX {
                Err(Refused::TooManyCourses)
            } else {
                let (student, course) = (student.to_owned(), course.to_owned());
                Ok(seen.trigger(SchoolEvent::StudentJoined { student, course })?)
            }
        });
        decided.map(drop)
    }

    pub(crate) fn leave(&self, student: &str, course: &str) -> Result<(), Refused> {
        let models = || student_and_course(student, course);
        let decided = self.app.decide(models, |seen| {
            if !seen.0.exists() || !seen.0.state()?.courses.contains(course) {
                return Err(Refused::NotEnrolled);
            }
            let (student, course) = (student.to_owned(), course.to_owned());
            Ok(seen.trigger(SchoolEvent::StudentLeft { student, course })?)
        });
        decided.map(drop)
    }

    pub(crate) fn roster(&self, course: &str) -> Result<Vec<String>, Refused> {
        let course = self.app.load(Object::<Course>::new(course))?;
        match course.exists() {
            true => Ok(course.state()?.students.iter().cloned().collect()),
            false => Ok(Vec::new()),
        }
    }

    /// Whether there is one already shows when it is saved: nothing need be read.
    fn create<A: EnduringObject>(&self, id: &str, event: A::Event) -> Result<(), Refused> {
        let mut object = self.app.create::<A>(id, event)?;
        match self.app.save(&mut object) {
            Err(error) if error.is_conflict() => Err(Refused::AlreadyThere),
            outcome => Ok(outcome.map(drop)?),
        }
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
