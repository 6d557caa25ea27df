//! Events of every shape, as lines to import and as the lines that must come back.

use std::collections::HashMap;

/// The `count` first lines of an endless input. Nothing in it is random, so a failure can be looked at again.
pub(crate) fn lines(count: u64) -> Sample {
    let mut sample = Sample {
        input: Vec::new(),
        expected: Vec::new(),
    };
    let mut versions: HashMap<String, u64> = HashMap::new();
    for number in 1..=count {
        let aggregate = aggregate(number);
        let before = aggregate.as_ref().map(|id| *versions.get(id).unwrap_or(&0));
        if let Some(id) = &aggregate {
            *versions.entry(id.clone()).or_default() += 1;
        }
        sample.add(number, aggregate.as_deref(), before);
    }
    sample
}

/// Lines to import, and what `annals cat` must print of them.
pub(crate) struct Sample {
    pub(crate) input: Vec<String>,
    expected: Vec<(String, String)>,
}

impl Sample {
    pub(crate) fn text(&self) -> String {
        self.input
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }

    /// Fails the test unless `printed` is exactly the first of the expected lines, as many as there are.
    #[track_caller]
    pub(crate) fn assert_prefix(&self, printed: &str) -> usize {
        let mut count = 0;
        for (line, (before_time, after_time)) in printed.lines().zip(&self.expected) {
            let time = line
                .strip_prefix(before_time.as_str())
                .and_then(|rest| rest.strip_suffix(after_time.as_str()))
                .unwrap_or_else(|| {
                    panic!("printed  {line}\nexpected {before_time}...{after_time}")
                });
            assert!(
                time.len() == 27 && time.ends_with('Z') && time.contains('T'),
                "{time}"
            );
            count += 1;
        }
        assert_eq!(
            count,
            printed.lines().count(),
            "more events than were imported"
        );
        count
    }

    fn add(&mut self, number: u64, aggregate: Option<&str>, before: Option<u64>) {
        let (topic, payload) = (topic(number), payload(number));
        let event_id = format!("0190b6a5-9c4e-7d2a-8f3b-{number:012x}");
        let tags = tags(number);
        let metadata = if number.is_multiple_of(5) {
            r#"{"correlation_id":"c\"1","user":"ü"}"#
        } else {
            "{}"
        };

        let aggregate_field = aggregate
            .map(|id| format!(r#""aggregate_id":"{id}","#))
            .unwrap_or_default();
        let expected_field = match before {
            Some(version) if number.is_multiple_of(2) => {
                format!(r#""expected_version":{version},"#)
            }
            _ => String::new(),
        };
        self.input.push(format!(
            r#"{{{aggregate_field}{expected_field}"topic":"{topic}","payload": {payload} ,"tags":{tags},"metadata":{metadata},"event_id":"{event_id}"}}"#
        ));
        let aggregate = aggregate.map_or("null".to_owned(), |id| format!("\"{id}\""));
        let version = before.map_or("null".to_owned(), |before| (before + 1).to_string());
        self.expected.push((
            format!(
                r#"{{"position":{number},"aggregate_id":{aggregate},"version":{version},"topic":"{topic}","event_id":"{event_id}","time":""#
            ),
            format!(r#"","tags":{tags},"metadata":{metadata},"payload":{payload}}}"#),
        ));
    }
}

fn aggregate(number: u64) -> Option<String> {
    match number % 7 {
        0 => None,
        1 => Some(format!(
            "0190b6a5-9c4e-7d2a-8f3b-5e6d7c8b{:04x}",
            number % 50
        )),
        _ => Some(format!("dog-{}", number % 997)),
    }
}

fn topic(number: u64) -> &'static str {
    ["Registered", "TrickAdded", "Überführt", "a/b c"][(number % 4) as usize]
}

/// JSON whose source text says more than its value.
fn payload(number: u64) -> String {
    match number % 6 {
        0 => format!(r#"{{"n":{number}.10e+2,"b":1,"a":2}}"#),
        1 => format!("[ {number} ,\t-0.0 ]"),
        2 => "null".to_owned(),
        3 => format!(r#""escaped \u00e9 raw é \/ {number}""#),
        4 => format!(
            r#"{{"text":"{}"}}"#,
            "long ".repeat((number % 100) as usize)
        ),
        _ => format!(r#"{{"same":{number},"same":1e400}}"#),
    }
}

/// Ascending, as a set is printed.
fn tags(number: u64) -> &'static str {
    ["[]", r#"["a"]"#, r#"["a","b:c","ü"]"#][(number % 3) as usize]
}
