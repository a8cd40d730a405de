mod alert_rules;
mod alerts;
