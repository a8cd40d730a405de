use crate::ports::Ports;

/// The name of a node that is alone or the first of its cluster. The same everywhere, as its epmd and cookie are not: data
/// of one run can be opened by another.
const FIRST: &str = "relay@localhost";

/// What a node needs to join a cluster.
#[derive(Clone)]
pub struct Membership {
    /// The name of a node that is in it.
    pub(crate) peer: String,
    /// Nodes of one cluster find one another through one epmd.
    pub(crate) epmd: u16,
    /// What they know one another by. A secret.
    pub(crate) cookie: String,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What a node is called, and which nodes it looks for.
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) cluster: Option<Membership>,
}

impl Member {
    pub(crate) fn new(cluster: Option<&Membership>, ports: &Ports) -> Self {
        let name = match cluster {
            None => FIRST.to_owned(),
            Some(_) => format!("relay{}@localhost", ports.amqp()),
        };
        Self { name, cluster: cluster.cloned() }
    }

    pub(crate) fn epmd(&self, ports: &Ports) -> u16 {
        self.cluster.as_ref().map_or_else(|| ports.epmd(), |cluster| cluster.epmd)
    }

    /// Lines of `rabbitmq.conf`: who is in the cluster that the node joins when it has no data yet.
    pub(crate) fn configuration(&self) -> String {
        let Some(Membership { peer, .. }) = &self.cluster else { return String::new() };
        format!(
            "cluster_formation.peer_discovery_backend = classic_config\n\
             cluster_formation.classic_config.nodes.1 = {peer}\n\
             cluster_formation.classic_config.nodes.2 = {}\n",
            self.name
        )
    }
}
