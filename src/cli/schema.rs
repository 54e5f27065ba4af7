//! `schema`: the JSON schema of pipeline files.

use super::{CliError, Exit, answer};

pub fn schema() -> Result<Exit, CliError> {
    answer(&crate::spec::schema_json())?;
    Ok(Exit::Done)
}
