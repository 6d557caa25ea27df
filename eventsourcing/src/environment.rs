//! Applications configured by environment variables: which store, where, and how.
//!
//! Nothing else of the library reads the environment of the process. What may be set stands in `ENVIRONMENT.md`, which is
//! the documentation of [`Environment`] too; a test holds it against the variables that are read.

mod error;
mod payloads;
mod recorders;
mod variables;

pub use error::EnvironmentError;
pub use recorders::Recorders;
pub use variables::Environment;

use std::path::PathBuf;
use std::sync::Arc;

use crate::application::{Application, ApplicationBuilder, CacheOptions};
use crate::persistence::{Durability, ProcessRecorder};
use crate::projection::ProcessApplication;

impl Application {
    /// An application as [environment variables](crate::Environment) say.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn from_env(name: &str) -> Result<Self, EnvironmentError> {
        Environment::new(name).application()
    }
}

impl ApplicationBuilder {
    /// As [`Application::from_env`], with options that are set in code.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn from_env(name: &str) -> Result<Self, EnvironmentError> {
        Environment::new(name).builder()
    }
}

impl ProcessApplication {
    /// As [`Application::from_env`].
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn from_env(name: &str) -> Result<Self, EnvironmentError> {
        Environment::new(name).process_application()
    }
}

impl Environment {
    /// An application.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn application(&self) -> Result<Application, EnvironmentError> {
        Ok(self.builder()?.build()?)
    }

    /// An application whose other options are set in code. What is set there counts before what is configured.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn builder(&self) -> Result<ApplicationBuilder, EnvironmentError> {
        self.configured().map(|(_, builder)| builder)
    }

    /// An application that follows others.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn process_application(&self) -> Result<ProcessApplication, EnvironmentError> {
        let (recorder, builder) = self.configured()?;
        Ok(ProcessApplication::configured(recorder, |_| builder)?)
    }

    fn configured(
        &self,
    ) -> Result<(Arc<dyn ProcessRecorder>, ApplicationBuilder), EnvironmentError> {
        let read = |value: &str| match value {
            "sync" => Some(Durability::Sync),
            "buffered" => Some(Durability::Buffered),
            _ => None,
        };
        let durability = self.choice("ANNALS_DURABILITY", "`sync` or `buffered`", read)?;
        let has_snapshots = self.flag("IS_SNAPSHOTTING_ENABLED")?.unwrap_or(true);
        let (cache, mapper) = (self.cache()?, self.mapper()?);

        // Last, so that what is wrong with the rest leaves no store behind.
        let recorders = self.recorders()?;
        let mut builder = Application::builder(recorders.process.clone())
            .mapper(mapper)
            .durability(durability.unwrap_or_default());
        builder = match has_snapshots {
            true => builder.snapshots(recorders.snapshots),
            false => builder.without_snapshots(),
        };
        if let Some(options) = cache {
            builder = builder.cache(options);
        }
        Ok((recorders.process, builder))
    }

    fn cache(&self) -> Result<Option<CacheOptions>, EnvironmentError> {
        let read = |value: &str| value.parse::<i64>().ok();
        let aggregates = self.choice("AGGREGATE_CACHE_MAXSIZE", "a whole number", read)?;
        let fast_forward = self.flag("AGGREGATE_CACHE_FASTFORWARD")?.unwrap_or(true);
        let skipping = self
            .flag("AGGREGATE_CACHE_FASTFORWARD_SKIPPING")?
            .unwrap_or(false);
        let options = aggregates.map(|aggregates| match usize::try_from(aggregates) {
            Err(_) | Ok(0) => CacheOptions::unbounded(),
            Ok(aggregates) => CacheOptions::lru(aggregates),
        });
        Ok(options.map(|options| {
            options
                .fast_forward(fast_forward)
                .fast_forward_skipping(skipping)
        }))
    }

    fn store(&self) -> Result<Store, EnvironmentError> {
        const EXPECTED: &str = "`memory`, `log` or `sqlite`";
        let module = |key| {
            self.choice(key, EXPECTED, |value| {
                match value.split_once(':').map_or(value, |(module, _)| module) {
                    "eventsourcing.popo" => Some(Kind::Memory),
                    "eventsourcing.sqlite" => Some(Kind::Sqlite),
                    _ => match value {
                        "memory" => Some(Kind::Memory),
                        "log" => Some(Kind::Log),
                        "sqlite" => Some(Kind::Sqlite),
                        _ => None,
                    },
                }
            })
        };
        let mut kind = None;
        for key in [
            "PERSISTENCE_MODULE",
            "INFRASTRUCTURE_FACTORY",
            "FACTORY_TOPIC",
        ] {
            kind = match kind {
                None => module(key)?,
                kind => kind,
            };
        }
        match kind.unwrap_or(Kind::Memory) {
            Kind::Memory => Ok(Store::Memory),
            Kind::Log => {
                let dir = self.path("ANNALS_PATH", "the directory of the log")?;
                Ok(Store::Log { dir })
            }
            Kind::Sqlite => self.sqlite(),
        }
    }

    #[cfg(not(feature = "sqlite"))]
    fn sqlite(&self) -> Result<Store, EnvironmentError> {
        Err(self.not_built_in("PERSISTENCE_MODULE", "sqlite", "sqlite"))
    }

    /// A view in SQLite, whatever `PERSISTENCE_MODULE` says: at `SQLITE_DBNAME`, with the other `SQLITE_…` variables.
    /// The name of the environment is then that of the projection. `schema`: see `SqliteOptions::open_view`.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    #[cfg(feature = "sqlite")]
    pub fn sqlite_view(
        &self,
        schema: &str,
    ) -> Result<crate::recorders::SqliteView, EnvironmentError> {
        let (path, options) = self.sqlite_options()?;
        let opened = match path.as_os_str() == ":memory:" {
            true => options.open_view_in_memory(schema),
            false => options.open_view(path, schema),
        };
        Ok(opened.map_err(crate::application::Error::persistence("open the view"))?)
    }

    #[cfg(feature = "sqlite")]
    fn sqlite(&self) -> Result<Store, EnvironmentError> {
        let (path, options) = self.sqlite_options()?;
        Ok(Store::Sqlite { path, options })
    }

    #[cfg(feature = "sqlite")]
    fn sqlite_options(
        &self,
    ) -> Result<(PathBuf, crate::recorders::SqliteOptions), EnvironmentError> {
        let path = self.path("SQLITE_DBNAME", "a database file, or `:memory:`")?;
        let mut options = crate::recorders::SqliteRecorder::options();
        if let Some(create) = self.flag("CREATE_TABLE")? {
            options = options.create_tables(create);
        }
        let any = |value: &str| Some(value.to_owned());
        if let Some(prefix) = self.choice("SQLITE_TABLE_PREFIX", "text", any)? {
            options = options.table_prefix(prefix);
        }
        let seconds = |value: &str| {
            let seconds = value.parse::<f64>().ok()?;
            std::time::Duration::try_from_secs_f64(seconds).ok()
        };
        if let Some(timeout) = self.choice("SQLITE_LOCK_TIMEOUT", "seconds, 0 or more", seconds)? {
            options = options.lock_timeout(timeout);
        }
        Ok((path, options))
    }
}

/// What `PERSISTENCE_MODULE` names.
enum Kind {
    Memory,
    Log,
    Sqlite,
}

/// Where events are kept.
enum Store {
    Memory,
    Log {
        dir: PathBuf,
    },
    #[cfg(feature = "sqlite")]
    Sqlite {
        path: PathBuf,
        options: crate::recorders::SqliteOptions,
    },
}
