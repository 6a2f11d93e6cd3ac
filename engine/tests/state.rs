//! The state in Postgres: the same as in a file, for several engines at once.

use fact_engine::store::{Kind, Store, now};
use fact_harness::database::{Data, Request, ScenarioDatabase, choose};

/// A role that may make a schema of its own, and its URL.
async fn role(world: &ScenarioDatabase) -> String {
    let statements = "CREATE ROLE fact_state LOGIN PASSWORD 'st4te'; \
        DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO fact_state', current_database()); END $$";
    world
        .execute_as_owner(statements)
        .await
        .expect("a role for the state");
    let mut url = url::Url::parse(&world.target_url(None)).expect("a URL");
    url.set_username("fact_state").expect("a user");
    url.set_password(Some("st4te")).expect("a password");
    url.to_string()
}

#[tokio::test]
async fn engines_that_share_a_state_see_each_others_and_a_value_is_taken_once() {
    let request = Request {
        kind: "binaries".into(),
        image: None,
    };
    let server = match choose(&request, &Data::shipped()).await {
        Ok(server) => server,
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            return;
        }
    };
    let world = server.create("state").await.expect("a database");
    let url = role(&world).await;
    // Both bring the tables up to date at once.
    let (one, other) = tokio::join!(Store::at_url(&url), Store::at_url(&url));
    let (one, other) = (one.expect("a store"), other.expect("another"));
    one.put(Kind::Session, "s", &"first", None)
        .await
        .expect("kept");
    one.put(Kind::Session, "s", &"second", Some(now() + 60))
        .await
        .expect("replaced");
    let seen: Option<String> = other.get(Kind::Session, "s").await.expect("read");
    assert_eq!(seen.as_deref(), Some("second"));
    let past = Some(now() - 1);
    one.put(Kind::Job, "old", &1, past).await.expect("kept");
    let all: Vec<(String, u32)> = other.all(Kind::Job).await.expect("read");
    assert!(all.is_empty());
    assert!(one.add(Kind::Token, "t", &7, None).await.expect("added"));
    assert!(!other.add(Kind::Token, "t", &8, None).await.expect("there"));
    let (mine, theirs) = tokio::join!(
        one.take::<u32>(Kind::Token, "t"),
        other.take::<u32>(Kind::Token, "t")
    );
    let taken = [mine.expect("asked"), theirs.expect("asked")];
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&7]);
    one.purge().await.expect("purged");
    drop((one, other));
    world.drop().await;
    server.stop().await;
}
