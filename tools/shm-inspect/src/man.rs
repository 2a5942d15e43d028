//! `man`: the manual pages, made of the command line.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::Man;

use crate::Found;
use crate::cli::Cli;
use crate::failure::{Failure, Result};
use crate::output::Output;

pub(crate) fn run(into: Option<&Path>, output: &mut Output) -> Result<Found> {
    let command = Cli::command().name("shm-inspect").disable_help_subcommand(true);
    let Some(into) = into else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(Failure::Output)?;
        output.write(&page)?;
        return Ok(Found::Fine);
    };
    let failed = |source| Failure::File { path: into.to_owned(), source };
    clap_mangen::generate_to(command, into).map_err(failed)?;
    output.line(&format!("manual pages in {}", into.display()))?;
    Ok(Found::Fine)
}
