use std::time::Instant;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _},
};
use serde_json::{Map, Value, json};

use crate::affiliates::affiliate::{Affiliate, NewAffiliate};
use crate::call::Call;
use crate::faults::fault_rule::FaultRule;
use crate::simulator::Simulator;
use crate::stats::Stats;

/// Returns what Refersion does not have: the routes to watch the simulator and to make it fail.
pub(crate) fn router(simulator: Simulator) -> Router {
    let routes = Router::new()
        .route("/faults", get(faults).post(add_faults).delete(clear_faults))
        .route("/keys", post(set_keys_valid))
        .route("/affiliates", get(affiliates).post(seed))
        .route("/stats", get(stats))
        .route("/calls", get(calls))
        .layer(DefaultBodyLimit::disable())
        .with_state(simulator);
    Router::new().nest("/_simulator", routes)
}

/// A request that could not be read, and why.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Unreadable(#[from] serde_json::Error);

impl IntoResponse for Unreadable {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, Json(json!({ "error": self.to_string() }))).into_response()
    }
}

async fn faults(State(simulator): State<Simulator>) -> Json<Vec<FaultRule>> {
    Json(simulator.fault_rules().all(Instant::now()))
}

/// Adds all rules of the request, or none, and returns those in force.
async fn add_faults(State(simulator): State<Simulator>, body: Bytes) -> Result<Json<Vec<FaultRule>>, Unreadable> {
    let rules: Vec<FaultRule> = one_or_many(&body)?;
    for rule in rules {
        simulator.add_fault(rule);
    }
    Ok(faults(State(simulator)).await)
}

async fn clear_faults(State(simulator): State<Simulator>) -> StatusCode {
    simulator.clear_faults();
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysValid {
    public_key: String,
    valid: bool,
}

async fn set_keys_valid(State(simulator): State<Simulator>, body: Bytes) -> Result<StatusCode, Unreadable> {
    let keys: KeysValid = serde_json::from_slice(&body)?;
    simulator.set_keys_valid(&keys.public_key, keys.valid);
    Ok(StatusCode::NO_CONTENT)
}

async fn affiliates(State(simulator): State<Simulator>) -> Json<Vec<Affiliate>> {
    Json(simulator.affiliates())
}

/// A new affiliate, and whose it is.
struct Seed {
    public_key: String,
    affiliate: NewAffiliate,
}

impl<'de> Deserialize<'de> for Seed {
    /// Takes the key out first: flattening would let unknown fields pass.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let Some(Value::String(public_key)) = fields.remove("public_key") else {
            return Err(D::Error::missing_field("public_key"));
        };
        let affiliate = NewAffiliate::deserialize(Value::Object(fields)).map_err(D::Error::custom)?;
        Ok(Self { public_key, affiliate })
    }
}

/// Adds all affiliates of the request, or none, and returns those added.
async fn seed(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<(StatusCode, Json<Vec<Affiliate>>), Unreadable> {
    let seeds: Vec<Seed> = one_or_many(&body)?;
    let added = seeds.into_iter().map(|seed| simulator.seed(&seed.public_key, seed.affiliate)).collect();
    Ok((StatusCode::CREATED, Json(added)))
}

async fn stats(State(simulator): State<Simulator>) -> Json<Stats> {
    Json(simulator.stats())
}

#[derive(Deserialize)]
struct Latest {
    limit: Option<usize>,
}

async fn calls(State(simulator): State<Simulator>, Query(latest): Query<Latest>) -> Json<Vec<Call>> {
    Json(simulator.journal().calls(latest.limit.unwrap_or(usize::MAX)))
}

/// Reads an array, or a single value as an array of one. The content type does not matter, which is kind to curl.
fn one_or_many<T: DeserializeOwned>(body: &[u8]) -> Result<Vec<T>, serde_json::Error> {
    match serde_json::from_slice(body)? {
        Value::Array(many) => many.into_iter().map(serde_json::from_value).collect(),
        one => Ok(vec![serde_json::from_value(one)?]),
    }
}
