use std::fmt;
use std::io;

use lapin::ErrorKind;

/// Why a broker, or what answers in its place, does not do what it is asked to: what a person has to know to mend it.
///
/// Shown as a sentence about `the broker`; [`Cause::of`] names it otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    NobodyListens,
    UnknownHost,
    /// What answers says nothing of TLS.
    NoTls,
    /// Its certificate is not one that is trusted, in the words of the library.
    Certificate(String),
    /// What answers does not speak AMQP, or speaks it within TLS only.
    NoAmqp,
    Credentials,
    NoVirtualHost(String),
    /// The user may not use this one.
    NoRightToVirtualHost(String),
    Limit(Limit),
    /// The user may not do something; the broker's words.
    NoRight(String),
    /// What exists has other arguments than were asked for, which the broker has compared; its words.
    Differs(String),
    /// It cannot make what was asked for, whatever exists; its words.
    Unsupported(String),
    /// Somebody else has it to themselves; the broker's words.
    Locked(String),
    Missing(String),
    /// It is short of something; its words.
    Resources(String),
    /// Something went wrong within it: mostly a queue that nobody leads. Its words.
    Internal(String),
    /// It, or a person, has closed the connection; its words.
    Closed(String),
    /// Any other refusal; its words.
    Refused(String),
    Silent,
    /// The connection is gone, in the words of the system.
    Lost(String),
    /// Words of ours.
    Said(String),
}

/// Something of which there may not be any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) what: What,
    pub(crate) scope: Scope,
    /// How many there may be, if the broker says so.
    pub(crate) most: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Queues,
    Exchanges,
    Connections,
    Channels,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    VirtualHost,
    User,
    Node,
    Connection,
}

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const CONNECTION_FORCED: u16 = 320;
const COMMAND_INVALID: u16 = 503;
const RESOURCE_ERROR: u16 = 506;
const NOT_ALLOWED: u16 = 530;
const NOT_IMPLEMENTED: u16 = 540;
/// AMQP's `INTERNAL_ERROR`, with which a connection ends. RabbitMQ 4 says so where a queue has no leader.
const INTERNAL_ERROR: u16 = 541;

impl Cause {
    /// What an error says. The broker's words are all there is to tell the causes of one code apart; where they are not
    /// known they are passed on.
    pub(crate) fn of(error: &lapin::Error) -> Self {
        match error.kind() {
            ErrorKind::ProtocolError(amqp) => of_answer(amqp.get_id(), amqp.get_message().as_str()),
            ErrorKind::IOError(error) => of_io(error),
            ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => Self::NoAmqp,
            ErrorKind::MissingHeartbeatError => Self::Silent,
            ErrorKind::ChannelsLimitReached => {
                Self::Limit(Limit { what: What::Channels, scope: Scope::Connection, most: None })
            }
            ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => {
                Self::Lost("it is closed".to_owned())
            }
            _ => Self::Said(error.to_string()),
        }
    }

    /// Whether only a person can change it: trying again is in vain until then.
    pub(crate) fn needs_a_person(&self) -> bool {
        match self {
            Self::Limit(_)
            | Self::NoRight(_)
            | Self::Differs(_)
            | Self::Unsupported(_)
            | Self::Locked(_)
            | Self::Resources(_)
            | Self::Refused(_) => true,
            // To a connection that is there they happen while it is lost, or say that it is.
            Self::NobodyListens
            | Self::UnknownHost
            | Self::NoTls
            | Self::Certificate(_)
            | Self::NoAmqp
            | Self::Credentials
            | Self::NoVirtualHost(_)
            | Self::NoRightToVirtualHost(_)
            | Self::Missing(_)
            | Self::Internal(_)
            | Self::Closed(_)
            | Self::Silent
            | Self::Lost(_)
            | Self::Said(_) => false,
        }
    }

    /// The sentence, about the host or broker that it is the trouble of.
    pub(crate) fn with(&self, who: &str) -> String {
        match self {
            Self::NobodyListens => format!("nobody listens at {who}"),
            Self::UnknownHost => format!("there is no address for the name of {who}"),
            Self::NoTls => format!("{who} does not speak TLS there: amqps:// needs the port for TLS, mostly 5671"),
            Self::Certificate(why) => format!("the certificate of {who} is not trusted: {why}"),
            Self::NoAmqp => format!(
                "what answers at {who} does not speak AMQP: is it RabbitMQ's port, mostly 5672, and if that is for TLS, does \
                 queue.url begin with amqps://?"
            ),
            Self::Credentials => format!(
                "{who} refuses the user or password of queue.url; characters like @ : / ? # % in them have to be percent-encoded"
            ),
            Self::NoVirtualHost(name) => format!(
                "{who} has no vhost {name}: make it with `rabbitmqctl add_vhost`, or name another one at the end of queue.url \
                 (/%2f is the one that is called /)"
            ),
            Self::NoRightToVirtualHost(name) => format!(
                "{who} does not let the user of queue.url into the vhost {name}: `rabbitmqctl set_permissions` gives the right"
            ),
            Self::Limit(limit) => format!("{who} {limit}"),
            Self::NoRight(words) => format!(
                "{who} does not give the user of queue.url the right to do that ({words}): `rabbitmqctl set_permissions` does"
            ),
            Self::Differs(words) => format!("{who} has it already, and otherwise ({words})"),
            Self::Unsupported(words) => {
                format!("{who} cannot make what the relay needs ({words}): is it RabbitMQ 3.10 or later?")
            }
            Self::Locked(words) => format!("{who} says that another connection has it to itself ({words})"),
            Self::Missing(words) => format!("{who} does not have it any more ({words})"),
            Self::Resources(words) => {
                format!("{who} is short of memory, disk, file descriptors or the like, see its log ({words})")
            }
            Self::Internal(words) => format!("{who} failed to do it, see its log ({words})"),
            Self::Closed(words) => format!("{who} has closed the connection ({words})"),
            Self::Refused(words) => format!("{who} refused it ({words})"),
            Self::Silent => format!("{who} does not answer"),
            Self::Lost(words) => format!("the connection to {who} is lost ({words})"),
            Self::Said(words) => words.clone(),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with("the broker"))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Queues => "queues",
            What::Exchanges => "exchanges",
            What::Connections => "connections",
            What::Channels => "channels",
        };
        let (of, raised) = match self.scope {
            Scope::VirtualHost => ("the vhost", "raise it with `rabbitmqctl set_vhost_limits`"),
            Scope::User => ("the user of queue.url", "raise it with `rabbitmqctl set_user_limits`"),
            Scope::Node => ("the broker", "raise it in its configuration"),
            Scope::Connection => ("a connection", "raise it with channel_max in its configuration"),
        };
        match self.most {
            Some(1) => write!(f, "allows {of} 1 of the {what}, and it is there: {raised}"),
            Some(most) => write!(f, "allows {of} {most} {what}, and they are there: {raised}"),
            None => write!(f, "allows {of} no more {what}: {raised}"),
        }
    }
}

fn of_answer(code: u16, text: &str) -> Cause {
    // The name of the code stands before the words.
    let words = text.split_once(" - ").map_or(text, |(_, words)| words);
    let says = |what: &str| words.to_lowercase().contains(what);
    let kept = || words.to_owned();
    if matches!(code, PRECONDITION_FAILED | NOT_ALLOWED | RESOURCE_ERROR | ACCESS_REFUSED)
        && let Some(limit) = limit(words)
    {
        return Cause::Limit(limit);
    }
    match code {
        ACCESS_REFUSED if says("login was refused") => Cause::Credentials,
        ACCESS_REFUSED if says("exclusive use") => Cause::Locked(kept()),
        ACCESS_REFUSED => Cause::NoRight(kept()),
        NOT_ALLOWED if says("vhost") && says("not found") => Cause::NoVirtualHost(virtual_host(words)),
        NOT_ALLOWED if says("access to vhost") => Cause::NoRightToVirtualHost(virtual_host(words)),
        PRECONDITION_FAILED if says("inequivalent arg") => Cause::Differs(kept()),
        PRECONDITION_FAILED if says("invalid arg") || says("invalid property") || says("feature flag") => {
            Cause::Unsupported(kept())
        }
        COMMAND_INVALID | NOT_IMPLEMENTED => Cause::Unsupported(kept()),
        RESOURCE_ERROR => Cause::Resources(kept()),
        RESOURCE_LOCKED => Cause::Locked(kept()),
        NOT_FOUND => Cause::Missing(kept()),
        INTERNAL_ERROR => Cause::Internal(kept()),
        CONNECTION_FORCED => Cause::Closed(kept()),
        _ => Cause::Refused(text.to_owned()),
    }
}

/// `queue limit in vhost 'small' (10) is reached`, `user connection limit (2) is reached`, `number of channels opened for
/// user 'relay' has reached the maximum allowed user limit of (5)` and the like.
fn limit(words: &str) -> Option<Limit> {
    let words = words.to_lowercase();
    // The names of queues and users can say anything.
    let plain: String = words.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let says = |what: &str| plain.contains(what);
    if !(says("limit") || says("maximum allowed") || says("channel_max")) || !says("reached") {
        return None;
    }
    let what = if says("channel") {
        What::Channels
    } else if says("connection") {
        What::Connections
    } else if says("exchange limit") {
        What::Exchanges
    } else if says("queue limit") {
        What::Queues
    } else {
        return None;
    };
    let scope = if says("channel_max") {
        Scope::Connection
    } else if says("user limit") || says("user connection limit") || says("user channel limit") {
        Scope::User
    } else if says("node") || says("cluster") || what == What::Exchanges {
        Scope::Node
    } else {
        Scope::VirtualHost
    };
    let mut numbers = plain.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
    Some(Limit { what, scope, most: numbers.next_back() })
}

/// What stands between quotes, or behind the word.
fn virtual_host(words: &str) -> String {
    let quoted = words.split('\'').nth(1);
    let bare = || words.split_whitespace().skip_while(|word| *word != "vhost").nth(1);
    quoted.or_else(bare).unwrap_or_default().to_owned()
}

fn of_io(error: &io::Error) -> Cause {
    let text = error.to_string();
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Cause::NobodyListens,
        io::ErrorKind::InvalidData if text.contains("certificate") => Cause::Certificate(text),
        // What is no TLS record is one with an unknown type, or one that is too long.
        io::ErrorKind::InvalidData => Cause::NoTls,
        _ if text.contains("lookup address") => Cause::UnknownHost,
        _ if error.get_ref().is_some() => Cause::Said(text),
        io::ErrorKind::TimedOut => Cause::Silent,
        _ => Cause::Lost(text),
    }
}

#[cfg(test)]
mod tests;
