//! Course enrolment in every style of decision: the same rules hold, and the styles meet in one store.

use std::sync::Arc;
use std::thread;

use annals::{DcbRecorder, LogRecorder, MemoryRecorder};

#[path = "../../examples/enrolment_objects.rs"]
mod objects;
#[path = "../../examples/enrolment_recorder.rs"]
mod recorder;
#[path = "../../examples/enrolment_slices.rs"]
mod slices;

macro_rules! styles {
    ($($style:ident)+) => {
        $(mod $style {
            use crate::enrolment::$style::{Refused, School, main};
            use super::*;

            fn each_school(check: impl Fn(School)) {
                stores().into_iter().map(School::on).for_each(check);
            }

            #[test]
            fn the_example_runs() {
                main().unwrap();
            }

            #[test]
            fn what_is_not_there_is_refused() {
                each_school(|school| {
                    assert!(matches!(school.enrol("ann", "maths"), Err(Refused::NoSuchStudent)));
                    school.register_student("ann").unwrap();
                    assert!(matches!(school.enrol("ann", "maths"), Err(Refused::NoSuchCourse)));
                    assert!(matches!(school.change_places("maths", 2), Err(Refused::NoSuchCourse)));
                    assert!(matches!(school.leave("ann", "maths"), Err(Refused::NotEnrolled)));
                    assert!(school.roster("maths").unwrap().is_empty());
                });
            }

            #[test]
            fn nothing_is_there_twice() {
                each_school(|school| {
                    school.register_student("ann").unwrap();
                    assert!(matches!(school.register_student("ann"), Err(Refused::AlreadyThere)));
                    school.define_course("maths", 2).unwrap();
                    assert!(matches!(school.define_course("maths", 3), Err(Refused::AlreadyThere)));
                    school.enrol("ann", "maths").unwrap();
                    assert!(matches!(school.enrol("ann", "maths"), Err(Refused::AlreadyEnrolled)));
                    school.leave("ann", "maths").unwrap();
                    school.enrol("ann", "maths").unwrap();
                    assert_eq!(school.roster("maths").unwrap(), ["ann"]);
                });
            }

            #[test]
            fn a_student_joins_three_courses_at_most() {
                each_school(|school| {
                    school.register_student("ann").unwrap();
                    for course in ["a", "b", "c", "d"] {
                        school.define_course(course, 9).unwrap();
                    }
                    for course in ["a", "b", "c"] {
                        school.enrol("ann", course).unwrap();
                    }
                    assert!(matches!(school.enrol("ann", "d"), Err(Refused::TooManyCourses)));
                    school.leave("ann", "b").unwrap();
                    school.enrol("ann", "d").unwrap();
                });
            }

            #[test]
            fn of_many_who_run_for_the_last_places_so_many_get_one() {
                const PLACES: usize = 3;
                each_school(|school| {
                    let students: Vec<_> = (0..8).map(|number| format!("student{number}")).collect();
                    students.iter().for_each(|student| school.register_student(student).unwrap());
                    school.define_course("maths", PLACES).unwrap();
                    let enrol = |student: &String| match school.enrol(student, "maths") {
                        Ok(()) => true,
                        Err(Refused::CourseFull) => false,
                        Err(refused) => panic!("{refused:?}"),
                    };
                    let enrolled = thread::scope(|scope| {
                        let enrol = &enrol;
                        let threads: Vec<_> = students
                            .iter()
                            .map(|student| scope.spawn(move || enrol(student)))
                            .collect();
                        let joined = threads.into_iter().map(|thread| thread.join().unwrap());
                        joined.filter(|enrolled| *enrolled).count()
                    });
                    assert_eq!(enrolled, PLACES);
                    assert_eq!(school.roster("maths").unwrap().len(), PLACES);
                });
            }
        })+
    };
}

mod in_style {
    use super::*;

    styles! { recorder slices objects }
}

#[test]
fn the_styles_share_events_and_boundaries() {
    for store in stores() {
        let recorder = recorder::School::on(store.clone());
        let slices = slices::School::on(store.clone());
        let objects = objects::School::on(store);
        recorder.register_student("ann").unwrap();
        slices.register_student("bob").unwrap();
        objects.define_course("maths", 1).unwrap();
        slices.enrol("ann", "maths").unwrap();
        let refused = objects.enrol("bob", "maths");
        assert!(matches!(refused, Err(objects::Refused::CourseFull)));
        recorder.change_places("maths", 2).unwrap();
        objects.enrol("bob", "maths").unwrap();
        recorder.leave("ann", "maths").unwrap();
        for roster in [
            recorder.roster("maths").unwrap(),
            slices.roster("maths").unwrap(),
            objects.roster("maths").unwrap(),
        ] {
            assert_eq!(roster, ["bob"]);
        }
    }
}

fn stores() -> [Arc<dyn DcbRecorder>; 2] {
    let log = annals_engine::Log::in_memory().unwrap();
    [
        Arc::new(MemoryRecorder::new()),
        Arc::new(LogRecorder::from(log)),
    ]
}
