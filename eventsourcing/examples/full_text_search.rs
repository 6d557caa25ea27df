//! Full-text search: pages are aggregates, and what they say is found through a view in SQLite.
//!
//! What to see here:
//! - The view is rows made of events, thrown away and made again at will. The pages know nothing of it.
//! - Rows and the position they are the effect of are stored in one transaction, the full-text index (FTS5) included: after
//!   a crash each change is there once.
//! - A search right behind a save may come too early. Who has to find what he wrote waits for its position.
//!
//! `cargo run -p annals --features sqlite --example full_text_search`

use std::sync::Arc;
use std::time::Duration;

use annals::rusqlite::Transaction;
use annals::{
    Aggregate, AggregateId, Application, Event, Failure, Notified, PersistenceError, Projection,
    ProjectionRunner, Root, SqliteView,
};
use serde::{Deserialize, Serialize};

// ---- Pages ----

#[derive(Debug, Serialize, Deserialize)]
enum PageEvent {
    #[serde(rename = "page.written")]
    Written { title: String, body: String },
    #[serde(rename = "page.rewritten")]
    Rewritten { body: String },
    #[serde(rename = "page.retired")]
    Retired,
}

impl Event for PageEvent {}

/// No rule asks for what it says, so it keeps nothing of that.
struct Page {
    is_retired: bool,
}

impl Aggregate for Page {
    type Event = PageEvent;

    fn start(event: &PageEvent) -> Option<Self> {
        matches!(event, PageEvent::Written { .. }).then_some(Self { is_retired: false })
    }

    fn apply(&mut self, event: &PageEvent) {
        self.is_retired |= matches!(event, PageEvent::Retired);
    }
}

// ---- The view ----

/// Triggers keep the index in step with the rows, so that it need not hold the text a second time.
const SCHEMA: &str = "
    CREATE TABLE pages (number INTEGER PRIMARY KEY, page TEXT NOT NULL UNIQUE, title TEXT NOT NULL, body TEXT NOT NULL);
    CREATE VIRTUAL TABLE page_words USING fts5 (title, body, content = 'pages', content_rowid = 'number');
    CREATE TRIGGER page_written AFTER INSERT ON pages BEGIN
        INSERT INTO page_words (rowid, title, body) VALUES (new.number, new.title, new.body);
    END;
    CREATE TRIGGER page_retired AFTER DELETE ON pages BEGIN
        INSERT INTO page_words (page_words, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
    END;
    CREATE TRIGGER page_rewritten AFTER UPDATE ON pages BEGIN
        INSERT INTO page_words (page_words, rowid, title, body) VALUES ('delete', old.number, old.title, old.body);
        INSERT INTO page_words (rowid, title, body) VALUES (new.number, new.title, new.body);
    END;";

struct Words;

impl Projection<SqliteView> for Words {
    type Event = PageEvent;

    fn process(
        &mut self,
        event: &Notified<PageEvent>,
        rows: &mut Transaction<'_>,
    ) -> Result<(), Failure> {
        let page = event
            .aggregate_id
            .as_ref()
            .ok_or("a page has an id")?
            .to_string();
        match &event.event {
            PageEvent::Written { title, body } => rows
                .prepare_cached("INSERT INTO pages (page, title, body) VALUES (?1, ?2, ?3)")?
                .execute((page, title, body))?,
            PageEvent::Rewritten { body } => rows
                .prepare_cached("UPDATE pages SET body = ?2 WHERE page = ?1")?
                .execute((page, body))?,
            PageEvent::Retired => rows
                .prepare_cached("DELETE FROM pages WHERE page = ?1")?
                .execute([page])?,
        };
        Ok(())
    }
}

/// Titles of the pages with all of these words, best first, with the words in brackets.
fn search(view: &SqliteView, words: &str) -> Result<Vec<(String, String)>, PersistenceError> {
    // In quotes, or the words of a reader could be operators.
    let quoted = |word: &str| format!("\"{}\"", word.replace('"', "\"\""));
    let query: Vec<_> = words.split_whitespace().map(quoted).collect();
    view.read(|rows| {
        let mut found = rows.prepare_cached(
            "SELECT title, snippet(page_words, 1, '[', ']', '…', 16) FROM page_words
             WHERE page_words MATCH ?1 ORDER BY rank",
        )?;
        let found = found.query_map([query.join(" ")], |row| Ok((row.get(0)?, row.get(1)?)))?;
        found.collect()
    })
}

// ---- The application ----

struct Wiki {
    app: Application,
    words: ProjectionRunner<SqliteView>,
}

impl Wiki {
    fn new(app: Application, view: SqliteView) -> Result<Self, Failure> {
        let words = ProjectionRunner::builder("wiki", &app, Arc::new(view), Words).start()?;
        Ok(Self { app, words })
    }

    fn write(&self, title: &str, body: &str) -> Result<AggregateId, Failure> {
        let (title, body) = (title.to_owned(), body.to_owned());
        let mut page = Root::<Page>::new(self.app.new_id(), PageEvent::Written { title, body })?;
        self.save(&mut page)?;
        Ok(page.id().clone())
    }

    fn change(&self, page: &AggregateId, event: PageEvent) -> Result<(), Failure> {
        let mut page = self.app.repository().get::<Page>(page)?;
        if page.is_retired {
            return Err("the page is retired; write a new one".into());
        }
        page.trigger(event);
        self.save(&mut page)
    }

    /// Saves, and returns once the change can be found.
    fn save(&self, page: &mut Root<Page>) -> Result<(), Failure> {
        let saved = self.app.save(page)?;
        let position = saved.last().map_or(0, |last| last.position);
        Ok(self.words.wait(position, Duration::from_secs(5))?)
    }

    fn search(&self, words: &str) -> Result<Vec<(String, String)>, Failure> {
        Ok(search(self.words.view(), words)?)
    }
}

pub(crate) fn main() -> Result<(), Failure> {
    let wiki = Wiki::new(Application::in_memory(), SqliteView::in_memory(SCHEMA)?)?;
    let dogs = wiki.write("Dogs", "Dogs can be taught to sit, and to roll over.")?;
    let cats = wiki.write("Cats", "Cats cannot be taught. They sit where they like.")?;

    let found = wiki.search("taught")?;
    assert_eq!(found.len(), 2);
    let found = wiki.search("roll taught")?;
    assert_eq!(
        found,
        [(
            "Dogs".into(),
            "Dogs can be [taught] to sit, and to [roll] over.".into()
        )]
    );

    let body = "Cats can be taught to sit, by cats.".to_owned();
    wiki.change(&cats, PageEvent::Rewritten { body })?;
    assert_eq!(wiki.search("like")?, []);
    wiki.change(&dogs, PageEvent::Retired)?;
    assert_eq!(wiki.search("taught")?.len(), 1);
    assert!(wiki.change(&dogs, PageEvent::Retired).is_err());

    // What a reader types means what it says.
    assert_eq!(wiki.search("NOT \"cats OR")?, []);
    Ok(())
}
