use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What can be asked of the directory.
#[derive(Debug, Subcommand)]
pub(crate) enum DirectoryCommand {
    /// Print the addresses that are known of people, for a request of access.
    Show(PeopleArgs),
    /// Forget people, also that they were deleted.
    Forget(PeopleArgs),
    /// Learn people from a file, as from the merchant's own data.
    #[command(after_help = LEARN_MORE)]
    Learn(LearnArgs),
    /// Make a new key for the addresses, and seal all of them with it. The relay has to be stopped meanwhile.
    Rekey,
}

const LEARN_MORE: &str = "\
Each line is an event with an address and a userId or anonymousId, or only these: {\"userId\":\"5678\",\"email\":\"peter@example.com\"}. \
People who were deleted a short time ago are left out.

Example:
  refersion-relay directory learn --account acme people.ndjson";

/// Who is meant: ids on standard input, so that they stand in no list of processes and no history.
#[derive(Debug, Args)]
#[command(after_help = "Takes one id on each line of standard input.")]
pub(crate) struct PeopleArgs {
    /// Whose people they are; needed where several accounts are configured.
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// The ids are anonymousId, not userId.
    #[arg(long)]
    pub(crate) anonymous: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// One person or event as JSON on each line; - is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose people they are; needed where several accounts are configured.
    #[arg(long, value_name = "NAME")]
    pub(crate) account: Option<String>,
}
