use super::*;

fn answered(code: u16, text: &str) -> Cause {
    of_answer(code, text)
}

fn limited(what: What, scope: Scope, most: u64) -> Cause {
    Cause::Limit(Limit { what, scope, most: Some(most) })
}

#[test]
fn a_limit_is_no_difference_whatever_its_code() {
    use Scope::{Connection, Node, User, VirtualHost};
    use What::{Channels, Connections, Exchanges, Queues};
    for (code, text, cause) in [
        (
            406,
            "PRECONDITION_FAILED - cannot declare queue 'refersion.connection limit': queue limit in vhost 'small7' (10) is reached",
            limited(Queues, VirtualHost, 10),
        ),
        (
            406,
            "PRECONDITION_FAILED - cannot declare queue 'a': queue limit in cluster (10) is reached",
            limited(Queues, Node, 10),
        ),
        (
            406,
            "PRECONDITION_FAILED - cannot declare exchange 'a': exchange limit of 12 is reached",
            limited(Exchanges, Node, 12),
        ),
        (
            530,
            "NOT_ALLOWED - access to vhost 'small' refused for user 'lim': connection limit (2) is reached",
            limited(Connections, VirtualHost, 2),
        ),
        (
            530,
            "NOT_ALLOWED - connection refused for user 'lim': user connection limit (3) is reached",
            limited(Connections, User, 3),
        ),
        (530, "NOT_ALLOWED - connection refused: node connection limit (4) is reached", limited(Connections, Node, 4)),
        (
            530,
            "NOT_ALLOWED - number of channels opened for user 'lim' has reached the maximum allowed user limit of (5)",
            limited(Channels, User, 5),
        ),
        (
            530,
            "NOT_ALLOWED - number of channels opened (6) has reached the negotiated channel_max (6)",
            limited(Channels, Connection, 6),
        ),
    ] {
        assert_eq!(answered(code, text), cause, "{text}");
        assert!(cause.needs_a_person() && !cause.to_string().contains("delete"), "{cause}");
    }
}

#[test]
fn only_what_the_broker_has_compared_differs() {
    let text = "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'a' in vhost '/': received '2' but current is '1'";
    assert!(matches!(answered(406, text), Cause::Differs(words) if words.starts_with("inequivalent")));
    for text in [
        "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'a' in vhost '/': {unacceptable_type,long}",
        "PRECONDITION_FAILED - invalid property 'durable' for queue 'a' in vhost '/'",
        "PRECONDITION_FAILED - feature flag 'quorum_queue' is disabled",
    ] {
        assert!(matches!(answered(406, text), Cause::Unsupported(_)), "{text}");
    }
    let text = "PRECONDITION_FAILED - unknown delivery tag 7";
    assert_eq!(answered(406, text), Cause::Refused(text.to_owned()));
}

#[test]
fn what_a_person_mistypes_is_said_in_words_of_the_configuration() {
    for (code, text, says) in [
        (
            403,
            "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile.",
            "b:1 refuses the user or password of queue.url",
        ),
        (530, "NOT_ALLOWED - vhost nowhere not found", "b:1 has no vhost nowhere: "),
        (530, "NOT_ALLOWED - vhost 'no where' not found", "b:1 has no vhost no where: "),
        (
            530,
            "NOT_ALLOWED - access to vhost '/' refused for user 'relay'",
            "b:1 does not let the user of queue.url into the vhost /: ",
        ),
        (
            403,
            "ACCESS_REFUSED - access to queue 'a' in vhost '/' refused for user 'relay'",
            "b:1 does not give the user of queue.url the right to do that (access to queue 'a'",
        ),
        (
            405,
            "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'a' in vhost '/'",
            "b:1 says that another connection has it to itself",
        ),
        (506, "RESOURCE_ERROR - too much", "b:1 is short of memory, disk, file descriptors or the like"),
        (541, "INTERNAL_ERROR", "b:1 failed to do it, see its log"),
        (
            320,
            "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
            "b:1 has closed the connection",
        ),
    ] {
        let sentence = answered(code, text).with("b:1");
        assert!(sentence.starts_with(says), "{sentence}");
    }
}

#[test]
fn what_the_network_says_is_told_apart() {
    let os = |code: i32| of_io(&io::Error::from_raw_os_error(code));
    assert_eq!(os(111), Cause::NobodyListens);
    assert_eq!(os(110), Cause::Silent);
    assert!(matches!(os(104), Cause::Lost(_)));
    let own = |kind, text: &str| of_io(&io::Error::new(kind, text));
    assert_eq!(own(io::ErrorKind::InvalidData, "received corrupt message of type InvalidContentType"), Cause::NoTls);
    assert!(matches!(
        own(io::ErrorKind::InvalidData, "invalid peer certificate: UnknownIssuer"),
        Cause::Certificate(_)
    ));
    let unknown = own(io::ErrorKind::Other, "failed to lookup address information: Name or service not known");
    assert_eq!(unknown, Cause::UnknownHost);
    let silent = "the queue a does not answer".to_owned();
    assert_eq!(own(io::ErrorKind::TimedOut, &silent), Cause::Said(silent));
}
