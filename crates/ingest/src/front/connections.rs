use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use refersion_relay_telemetry::{ConnectionRefused, Counted, Metrics};
use tokio_util::sync::CancellationToken;

use super::client::Client;

/// The open connections of the doors. When there are too many, the one that has been idle for longest makes room for a new
/// one, and where none is idle the new one is turned away.
#[derive(Debug)]
pub(crate) struct Connections {
    max: usize,
    max_per_client: usize,
    open: Mutex<Open>,
    /// `None`: they are none of the doors', and not counted with theirs.
    metrics: Option<Metrics>,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Connection>,
    /// The idle ones, the longest idle first: when each became idle, and which it is.
    idle: BTreeMap<u64, u64>,
    per_client: HashMap<Client, usize>,
    /// The next connection, and the next moment: neither is ever used twice.
    next: u64,
}

#[derive(Debug)]
struct Connection {
    client: Option<Client>,
    /// The moment since when it has been idle; `None` while a request is in progress.
    idle_since: Option<u64>,
    dropped: CancellationToken,
}

/// An open connection. It counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    connections: Arc<Connections>,
    id: u64,
    /// Cancelled when the connection has to make room for another one.
    pub(crate) dropped: CancellationToken,
    _counted: Option<Counted>,
}

impl Connections {
    pub(crate) fn new(max: usize, max_per_client: usize, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self { max, max_per_client, open: Mutex::default(), metrics: Some(metrics) })
    }

    /// Those of a listener that is none of the doors: so many of everybody together.
    pub(crate) fn aside(max: usize) -> Arc<Self> {
        Arc::new(Self { max, max_per_client: max, open: Mutex::default(), metrics: None })
    }

    /// Takes in a new connection, idle at first. `client`: whose connections it counts among. `None`: there is no room.
    pub(crate) fn open(self: &Arc<Self>, client: Option<Client>) -> Option<Ticket> {
        let mut open = self.lock();
        let of_client = client.map_or(0, |client| open.per_client.get(&client).copied().unwrap_or(0));
        let has_room = if self.max_per_client <= of_client {
            let room = open.drop_longest_idle(client);
            self.count(room, ConnectionRefused::PerClient)
        } else if self.max <= open.connections.len() {
            let room = open.drop_longest_idle(None);
            self.count(room, ConnectionRefused::Full)
        } else {
            true
        };
        has_room.then(|| {
            let dropped = CancellationToken::new();
            let (id, idle_since) = (open.tick(), open.tick());
            open.connections.insert(id, Connection { client, idle_since: Some(idle_since), dropped: dropped.clone() });
            open.idle.insert(idle_since, id);
            if let Some(client) = client {
                *open.per_client.entry(client).or_default() += 1;
            }
            Ticket {
                connections: self.clone(),
                id,
                dropped,
                _counted: self.metrics.as_ref().map(Metrics::connection_open),
            }
        })
    }

    /// Counts one that made room, or one that found none.
    fn count(&self, has_room: bool, reason: ConnectionRefused) -> bool {
        self.refused(if has_room { ConnectionRefused::Displaced } else { reason });
        has_room
    }

    fn refused(&self, reason: ConnectionRefused) {
        if let Some(metrics) = &self.metrics {
            metrics.connection_refused(reason);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn tick(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Of this client's, or of all. Whether there was one.
    fn drop_longest_idle(&mut self, client: Option<Client>) -> bool {
        let is_meant = |id: &u64| client.is_none() || self.connections.get(id).is_some_and(|one| one.client == client);
        let Some(id) = self.idle.values().copied().find(is_meant) else { return false };
        if let Some(connection) = self.remove(id) {
            connection.dropped.cancel();
        }
        true
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        if let Some(since) = connection.idle_since {
            self.idle.remove(&since);
        }
        if let Some(client) = connection.client
            && let Some(count) = self.per_client.get_mut(&client)
        {
            *count -= 1;
            if *count == 0 {
                self.per_client.remove(&client);
            }
        }
        Some(connection)
    }
}

impl Ticket {
    /// It ends before it was one of HTTP.
    pub(crate) fn failed_to_agree(&self) {
        self.connections.refused(ConnectionRefused::Handshake);
    }

    /// A request begins. No: the connection had to make room, and whatever came on it is to be sent again.
    pub(crate) fn begin(&self) -> bool {
        let mut open = self.connections.lock();
        let Some(connection) = open.connections.get_mut(&self.id) else { return false };
        if let Some(since) = connection.idle_since.take() {
            open.idle.remove(&since);
        }
        true
    }

    /// The request was answered.
    pub(crate) fn end(&self) {
        let mut open = self.connections.lock();
        let now = open.tick();
        if let Some(connection) = open.connections.get_mut(&self.id)
            && connection.idle_since.is_none()
        {
            connection.idle_since = Some(now);
            open.idle.insert(now, self.id);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.connections.lock().remove(self.id);
    }
}

/// The requests in progress that came through trusted proxies, by whom they were forwarded for.
#[derive(Debug)]
pub(crate) struct Visits {
    max_per_client: usize,
    in_progress: Mutex<HashMap<Client, usize>>,
}

/// One of them, until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    visits: Arc<Visits>,
    client: Client,
}

impl Visits {
    pub(crate) fn new(max_per_client: usize) -> Arc<Self> {
        Arc::new(Self { max_per_client, in_progress: Mutex::default() })
    }

    /// `None`: the client has as many in progress as it may.
    pub(crate) fn begin(self: &Arc<Self>, client: Client) -> Option<Visit> {
        let mut in_progress = self.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let count = in_progress.entry(client).or_default();
        if self.max_per_client <= *count {
            return None;
        }
        *count += 1;
        Some(Visit { visits: self.clone(), client })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut in_progress = self.visits.in_progress.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = in_progress.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                in_progress.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn connections() -> Arc<Connections> {
        Connections::new(4, 2, Metrics::new())
    }

    fn client(number: u8) -> Client {
        IpAddr::from([192, 0, 2, number]).into()
    }

    /// A connection with a request in progress.
    fn busy(connections: &Arc<Connections>, number: u8) -> Option<Ticket> {
        let ticket = connections.open(Some(client(number)))?;
        assert!(ticket.begin());
        Some(ticket)
    }

    #[test]
    fn the_longest_idle_connection_makes_room() {
        let connections = connections();
        let first: Vec<_> = (1..=4).map(|number| busy(&connections, number).unwrap()).collect();
        first[2].end();
        first[1].end();

        let _new = connections.open(Some(client(5))).unwrap();
        let dropped: Vec<_> = first.iter().map(|ticket| ticket.dropped.is_cancelled()).collect();
        assert_eq!(dropped, [false, false, true, false]);
        assert!(!first[2].begin(), "nothing more is taken from it");
        assert!(first[1].begin());
    }

    #[test]
    fn where_none_is_idle_a_new_one_is_turned_away_until_one_ends() {
        let connections = connections();
        let mut all: Vec<_> = (1..=4).map(|number| busy(&connections, number).unwrap()).collect();
        assert!(connections.open(Some(client(5))).is_none());
        all.pop();
        assert!(busy(&connections, 5).is_some());
    }

    #[test]
    fn a_client_gets_its_share_and_displaces_only_its_own() {
        let connections = connections();
        let other = connections.open(Some(client(9))).unwrap();
        let (first, _second) = (busy(&connections, 1).unwrap(), busy(&connections, 1).unwrap());
        assert!(connections.open(Some(client(1))).is_none());
        first.end();
        let _third = connections.open(Some(client(1))).unwrap();
        assert!(first.dropped.is_cancelled() && !other.dropped.is_cancelled());
        assert!(connections.open(Some(client(2))).is_some());
    }

    #[test]
    fn a_trusted_proxy_is_bound_only_by_the_total() {
        let connections = connections();
        let all: Vec<_> = (0..4).map(|_| connections.open(None).unwrap()).collect();
        assert!(all.iter().all(Ticket::begin));
        assert!(connections.open(None).is_none());
    }

    #[test]
    fn aside_from_the_doors_one_client_may_have_all() {
        let connections = Connections::aside(2);
        let (first, second) = (busy(&connections, 1).unwrap(), busy(&connections, 1).unwrap());
        assert!(connections.open(Some(client(1))).is_none());
        first.end();
        assert!(connections.open(Some(client(1))).is_some());
        assert!(first.dropped.is_cancelled() && !second.dropped.is_cancelled());
    }

    #[test]
    fn what_has_ended_leaves_nothing_behind() {
        let connections = connections();
        for _ in 0..3 {
            let all: Vec<_> = (1..=4).map(|number| busy(&connections, number).unwrap()).collect();
            all[0].end();
            let displacing = connections.open(Some(client(7)));
            drop((all, displacing));
        }
        let open = connections.lock();
        assert!(open.connections.is_empty() && open.idle.is_empty() && open.per_client.is_empty());
        let visits = Visits::new(1);
        let visit = visits.begin(client(1)).unwrap();
        assert!(visits.begin(client(1)).is_none());
        drop(visit);
        assert!(visits.in_progress.lock().unwrap().is_empty());
    }
}
