mod alert_rules;
mod alerts;
mod dashboards;
mod deploy_files;
mod explain;
mod kubernetes;
mod ops_state;
mod traces;
