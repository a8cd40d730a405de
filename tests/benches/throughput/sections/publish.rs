use crate::programs::Dress;
use crate::report::Table;
use crate::sections::bare;
use crate::stage::Stage;

pub(super) async fn round(stage: &Stage<'_>, table: &mut Table) -> anyhow::Result<()> {
    for dress in Dress::ALL {
        table.add(row(dress), bare::publish(stage, dress).await?);
    }
    Ok(())
}

pub(super) fn compare(table: &mut Table) {
    for dress in Dress::ALL.into_iter().filter(|dress| *dress != Dress::Bare) {
        table.compare(row(dress), row(Dress::Bare));
    }
}

fn row(dress: Dress) -> &'static str {
    match dress {
        Dress::Bare => "to a queue, without properties",
        Dress::Routed => "over an exchange with an alternate one",
        Dress::Named => "with message id, type, content type and time",
        Dress::Headed => "with the relay's headers",
    }
}
