use crate::cli::DemoArgs;
use crate::exit::Exit;

pub(super) async fn run(_args: &DemoArgs) -> Result<(), Exit> {
    Err(Exit::Said)
}
