//! What the programs with Segment's libraries for Rust have in common.

/// One of each call, as `BatchMessage`s of the library's module `message`. Both libraries name everything alike.
#[macro_export]
macro_rules! calls {
    ($message:path, $email:expr) => {{
        use $message::{Alias, BatchMessage, Group, Identify, Page, Screen, Track, User};

        let user = || User::UserId { user_id: "user-1".to_owned() };
        let traits = serde_json::json!({"email": $email, "firstName": "Ada", "lastName": "Lovelace"});
        vec![
            BatchMessage::Identify(Identify { user: user(), traits, ..Default::default() }),
            BatchMessage::Track(Track {
                user: user(),
                event: "Signed Up".to_owned(),
                properties: serde_json::json!({"plan": "partner"}),
                ..Default::default()
            }),
            BatchMessage::Page(Page { user: user(), name: "Home".to_owned(), ..Default::default() }),
            BatchMessage::Screen(Screen { user: user(), name: "Home".to_owned(), ..Default::default() }),
            BatchMessage::Group(Group {
                user: user(),
                group_id: "group-1".to_owned(),
                traits: serde_json::json!({"name": "Analysts"}),
                ..Default::default()
            }),
            BatchMessage::Alias(Alias {
                user: user(),
                previous_id: "anonymous-1".to_owned(),
                ..Default::default()
            }),
        ]
    }};
}

/// The same call as a message that is sent alone.
#[macro_export]
macro_rules! alone {
    ($message:path, $call:expr) => {{
        use $message::{BatchMessage, Message};

        match $call {
            BatchMessage::Identify(call) => Message::Identify(call),
            BatchMessage::Track(call) => Message::Track(call),
            BatchMessage::Page(call) => Message::Page(call),
            BatchMessage::Screen(call) => Message::Screen(call),
            BatchMessage::Group(call) => Message::Group(call),
            BatchMessage::Alias(call) => Message::Alias(call),
        }
    }};
}
