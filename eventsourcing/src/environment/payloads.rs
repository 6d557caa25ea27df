//! The way of events to bytes that is configured.

use super::{Environment, EnvironmentError};
use crate::persistence::Mapper;

impl Environment {
    /// The mapper that is configured.
    ///
    /// # Errors
    /// [`EnvironmentError`].
    pub fn mapper(&self) -> Result<Mapper, EnvironmentError> {
        self.choice("TRANSCODER_TOPIC", "`json`", |value| {
            matches!(value, "json" | "eventsourcing.persistence:JSONTranscoder").then_some(())
        })?;
        // To pass over one of these would be to store in the clear what was to be encrypted.
        for key in ["COMPRESSOR_TOPIC", "CIPHER_TOPIC", "CIPHER_KEY"] {
            self.secret(
                key,
                "nothing: give the application its `mapper` in code",
                |_| None::<()>,
            )?;
        }
        Ok(Mapper::default())
    }
}
