//! Content management: pages under slugs that are unique, edited by people who are known.
//!
//! What to see here:
//! - A rule over many pages (no two have one slug) needs something that all of them meet at: an aggregate for each slug,
//!   whose id is made of the slug (`AggregateId::named`). It is found without an index, and of two pages that want it one
//!   gets it: the other save is a conflict.
//! - A save is atomic over aggregates of several types: a page and its slugs change together or not at all.
//! - Who did it stands in the metadata, beside the content: a `MetadataScope` around each request says so once, and
//!   neither the rules nor the code between know of users.
//! - The history of a page is a list of its events; a snapshot every few edits keeps loading it cheap.
//!
//! `cargo run -p annals --example content_management`

use annals::{
    Aggregate, AggregateId, Application, ApplicationBuilder, DomainError, Event, MetadataScope,
    Root, SelectEvents, Snapshot,
};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

// ---- A page ----

#[derive(Debug, Serialize, Deserialize)]
enum PageEvent {
    #[serde(rename = "page.created")]
    Created { title: String, slug: String },
    #[serde(rename = "page.titled")]
    Titled { title: String },
    #[serde(rename = "page.moved")]
    Moved { slug: String },
    #[serde(rename = "page.edited")]
    Edited { body: String },
}

impl Event for PageEvent {}

#[derive(Debug, Serialize, Deserialize)]
struct Page {
    title: String,
    slug: String,
    body: String,
}

impl Aggregate for Page {
    type Event = PageEvent;

    fn start(event: &PageEvent) -> Option<Self> {
        let PageEvent::Created { title, slug } = event else {
            return None;
        };
        Some(Self {
            title: title.clone(),
            slug: slug.clone(),
            body: String::new(),
        })
    }

    fn apply(&mut self, event: &PageEvent) {
        match event {
            PageEvent::Created { .. } => {}
            PageEvent::Titled { title } => self.title.clone_from(title),
            PageEvent::Moved { slug } => self.slug.clone_from(slug),
            PageEvent::Edited { body } => self.body.clone_from(body),
        }
    }
}

impl Snapshot for Page {
    const NAME: &str = "page";
}

// ---- A slug: free, or the place of one page ----

#[derive(Debug, Serialize, Deserialize)]
enum SlugEvent {
    #[serde(rename = "slug.claimed")]
    Claimed { page: AggregateId },
    #[serde(rename = "slug.released")]
    Released,
}

impl Event for SlugEvent {}

#[derive(Debug)]
struct Slug {
    page: Option<AggregateId>,
}

impl Aggregate for Slug {
    type Event = SlugEvent;

    fn start(event: &SlugEvent) -> Option<Self> {
        match event {
            SlugEvent::Claimed { page } => Some(Self {
                page: Some(page.clone()),
            }),
            SlugEvent::Released => None,
        }
    }

    fn apply(&mut self, event: &SlugEvent) {
        self.page = match event {
            SlugEvent::Claimed { page } => Some(page.clone()),
            SlugEvent::Released => None,
        };
    }
}

// ---- The site ----

#[derive(Debug)]
#[expect(
    dead_code,
    reason = "what went wrong is for people, who see it by Debug"
)]
enum Refused {
    /// Another page has it.
    SlugTaken(String),
    /// No page has it.
    NoSuchPage(String),
    /// A slug has 1..=100 of a-z, 0-9 and '-'.
    NoSlug(String),
    Domain(DomainError),
    Store(annals::Error),
}

impl From<annals::Error> for Refused {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}

impl From<DomainError> for Refused {
    fn from(error: DomainError) -> Self {
        Self::Domain(error)
    }
}

/// The site for one user: what is done through it is done by that user.
struct Site<'a> {
    app: &'a Application,
    user: &'a str,
}

impl Site<'_> {
    fn create(&self, title: &str, slug: &str) -> Result<AggregateId, Refused> {
        let _signed = self.sign();
        let id = self.app.new_id();
        let mut place = self.claim(slug, &id)?;
        let (title, slug) = (title.to_owned(), slug.to_owned());
        let mut page = Root::<Page>::new(id.clone(), PageEvent::Created { title, slug })?;
        self.app.save((&mut page, &mut place))?;
        Ok(id)
    }

    fn page(&self, slug: &str) -> Result<Root<Page>, Refused> {
        let missing = || Refused::NoSuchPage(slug.to_owned());
        let place = match self.app.repository().get::<Slug>(&slug_id(slug)?) {
            Err(error) if error.is_not_found() => return Err(missing()),
            place => place?,
        };
        let id = place.page.as_ref().ok_or_else(missing)?;
        Ok(self.app.repository().get(id)?)
    }

    fn retitle(&self, slug: &str, title: &str) -> Result<(), Refused> {
        let _signed = self.sign();
        let mut page = self.page(slug)?;
        let title = title.to_owned();
        page.trigger(PageEvent::Titled { title });
        self.app.save(&mut page)?;
        Ok(())
    }

    fn write(&self, slug: &str, body: &str) -> Result<(), Refused> {
        let _signed = self.sign();
        let id = self.page(slug)?.id().clone();
        self.app.edit::<Page, _>(&id, |page| {
            if page.body != body {
                let body = body.to_owned();
                page.trigger(PageEvent::Edited { body });
            }
            Ok::<_, annals::Error>(())
        })?;
        Ok(())
    }

    /// Three aggregates in one save: at no moment is the page without a place, or in two.
    fn rename(&self, from: &str, to: &str) -> Result<(), Refused> {
        let _signed = self.sign();
        let mut page = self.page(from)?;
        let mut new_place = self.claim(to, page.id())?;
        let mut old_place = self.app.repository().get::<Slug>(&slug_id(from)?)?;
        old_place.trigger(SlugEvent::Released);
        let slug = to.to_owned();
        page.trigger(PageEvent::Moved { slug });
        self.app.save((&mut page, &mut old_place, &mut new_place))?;
        Ok(())
    }

    /// The place of this slug, claimed for a page and not saved yet. Whoever claims it at the same time saves it at the
    /// same version: one of the two saves is a conflict.
    fn claim(&self, slug: &str, page: &AggregateId) -> Result<Root<Slug>, Refused> {
        let (id, claimed) = (slug_id(slug)?, SlugEvent::Claimed { page: page.clone() });
        match self.app.repository().get::<Slug>(&id) {
            Err(error) if error.is_not_found() => Ok(Root::new(id, claimed)?),
            Ok(place) if place.page.is_some() => Err(Refused::SlugTaken(slug.to_owned())),
            place => {
                let mut place = place?;
                place.trigger(claimed);
                Ok(place)
            }
        }
    }

    /// All that is saved while this lives is the user's.
    fn sign(&self) -> MetadataScope {
        MetadataScope::enter([("user", self.user)])
    }
}

/// Where the ids of slugs come from. Never to be changed: they would all be others.
const SLUGS: Uuid = uuid!("0f6d9f6e-3c0e-4a51-9f0b-2f1a6c7d8e90");

/// The id of a slug is made of the slug, in a namespace of its own: nothing has to be looked up to find it.
fn slug_id(slug: &str) -> Result<AggregateId, Refused> {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    match (1..=100).contains(&slug.len()) && slug.bytes().all(is_plain) {
        true => Ok(AggregateId::named(&SLUGS, slug)),
        false => Err(Refused::NoSlug(slug.to_owned())),
    }
}

/// What happened to a page, and who did it.
fn history(app: &Application, page: &AggregateId) -> Result<Vec<String>, Refused> {
    let read = app.recorder().select_events(page, SelectEvents::all());
    let found = read.map_err(|source| annals::Error::Persistence {
        doing: "read the history of a page",
        source,
    })?;
    let line = |event: &annals::StoredEvent| {
        let user = event.metadata.get("user").map_or("nobody", String::as_str);
        format!("{} by {user}", event.topic)
    };
    Ok(found.iter().map(|found| line(&found.event)).collect())
}

fn site_in_memory() -> Result<Application, annals::Error> {
    ApplicationBuilder::in_memory()
        .snapshot_every::<Page>(10)
        .build()
}

fn main() -> Result<(), Refused> {
    let app = site_in_memory()?;
    let (ann, bob) = (
        Site {
            app: &app,
            user: "ann",
        },
        Site {
            app: &app,
            user: "bob",
        },
    );

    let id = ann.create("Welcome", "welcome")?;
    bob.write("welcome", "Hello, world.")?;
    assert!(matches!(
        bob.create("Another", "welcome"),
        Err(Refused::SlugTaken(_))
    ));

    ann.retitle("welcome", "Welcome!")?;
    ann.rename("welcome", "home")?;
    assert!(matches!(bob.page("welcome"), Err(Refused::NoSuchPage(_))));
    // What was released can be claimed again.
    bob.create("Another", "welcome")?;

    for number in 1..=10 {
        bob.write("home", &format!("Hello, world number {number}."))?;
    }
    let page = ann.page("home")?;
    println!("{}: {:?}", page.title, page.body);
    for line in history(&app, &id)? {
        println!("  {line}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user<'a>(app: &'a Application, user: &'a str) -> Site<'a> {
        Site { app, user }
    }

    #[test]
    fn the_program_runs() {
        main().unwrap();
    }

    #[test]
    fn history_says_who_did_what() {
        let app = site_in_memory().unwrap();
        let id = user(&app, "ann").create("T", "t").unwrap();
        user(&app, "bob").write("t", "body").unwrap();
        user(&app, "ann").retitle("t", "Title").unwrap();
        let expected = [
            "page.created by ann",
            "page.edited by bob",
            "page.titled by ann",
        ];
        assert_eq!(history(&app, &id).unwrap(), expected);
    }

    #[test]
    fn of_two_who_claim_a_slug_at_once_one_gets_it() {
        let app = site_in_memory().unwrap();
        let ann = user(&app, "ann");
        let mut first = ann.claim("t", &app.new_id()).unwrap();
        let mut second = ann.claim("t", &app.new_id()).unwrap();
        app.save(&mut first).unwrap();
        assert!(app.save(&mut second).unwrap_err().is_conflict());
    }

    #[test]
    fn a_page_moves_whole_or_not_at_all() {
        let app = site_in_memory().unwrap();
        let ann = user(&app, "ann");
        let id = ann.create("A", "a").unwrap();
        ann.create("B", "b").unwrap();
        assert!(matches!(ann.rename("a", "b"), Err(Refused::SlugTaken(_))));
        assert_eq!(ann.page("a").unwrap().id(), &id);
        ann.rename("a", "c").unwrap();
        ann.rename("c", "a").unwrap();
        let page = ann.page("a").unwrap();
        assert_eq!((page.id(), page.slug.as_str()), (&id, "a"));
    }

    #[test]
    fn a_slug_is_plain_text() {
        let app = site_in_memory().unwrap();
        let long = "x".repeat(101);
        for slug in ["", "Home", "a b", "a/b", long.as_str()] {
            let refused = user(&app, "ann").create("T", slug);
            assert!(matches!(refused, Err(Refused::NoSlug(_))), "{slug}");
        }
    }
}
