//! An application that can also process events of others.

use std::ops::Deref;
use std::sync::Arc;

use crate::application::{Application, ApplicationBuilder, Error};
use crate::persistence::ProcessRecorder;

/// An [`Application`] whose recorder stores new events together with the position they are an effect of. It is used
/// as any other application, too.
#[derive(Debug)]
pub struct ProcessApplication {
    application: Application,
    recorder: Arc<dyn ProcessRecorder>,
}

impl ProcessApplication {
    /// On a recorder of your choice, with the defaults of [`ApplicationBuilder`].
    ///
    /// # Errors
    /// As [`ApplicationBuilder::build`].
    pub fn new(recorder: Arc<dyn ProcessRecorder>) -> Result<Self, Error> {
        Self::configured(recorder, |builder| builder)
    }

    /// On a recorder of your choice, with options of your choice.
    ///
    /// # Errors
    /// As [`ApplicationBuilder::build`].
    pub fn configured(
        recorder: Arc<dyn ProcessRecorder>,
        configure: impl FnOnce(ApplicationBuilder) -> ApplicationBuilder,
    ) -> Result<Self, Error> {
        let application = configure(Application::builder(recorder.clone())).build()?;
        Ok(Self {
            application,
            recorder,
        })
    }

    /// Its recorder, with what it has tracked.
    pub fn process_recorder(&self) -> &Arc<dyn ProcessRecorder> {
        &self.recorder
    }
}

impl Deref for ProcessApplication {
    type Target = Application;

    fn deref(&self) -> &Application {
        &self.application
    }
}
