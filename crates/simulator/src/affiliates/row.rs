use serde_json::{Value, json};

use crate::affiliates::affiliate::Affiliate;
use crate::settings::IdKind;

/// Shows an affiliate as search and list do.
pub(crate) fn row(affiliate: &Affiliate, id_kind: IdKind) -> Value {
    json!({
        "id": match id_kind {
            IdKind::Code => json!(affiliate.code),
            IdKind::Numeric => json!(affiliate.id),
        },
        "offer_id": affiliate.offer.to_string(),
        "status": affiliate.status,
        "first_name": affiliate.first_name,
        "last_name": affiliate.last_name,
        "email": affiliate.email,
        "custom_fields": custom_fields(affiliate),
    })
}

/// Shows custom fields the way they are read, which is not the way they are written. What a field is labelled is for
/// the dashboard to decide; here the label is made of the field's id.
pub(crate) fn custom_fields(affiliate: &Affiliate) -> Vec<Value> {
    affiliate
        .custom_fields
        .iter()
        .map(|(id, value)| json!({ "label": format!("Field {id}"), "value": value }))
        .collect()
}
