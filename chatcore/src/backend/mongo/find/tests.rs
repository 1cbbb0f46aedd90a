//! Plans of mongod for each query.

use chat_testkit::mongod::{self, Kind};
use mongodb::bson::oid::ObjectId;
use mongodb::{Client, Database};

use super::*;
use crate::account::NameKey;
use crate::backend::mongo::{documents, schema};
use crate::model::{CountDelta, Head, Page};
use crate::session::{SESSION_IDLE, SessionId, TokenHash};
use crate::types::{ChangeSeq, Emoji, Range, Seq, Username};

/// The stages of the plan that the server chooses.
fn stages(plan: &Document, found: &mut Vec<String>) {
    found.extend(plan.get_str("stage").map(str::to_owned));
    for value in plan.values() {
        match value {
            Bson::Document(inner) => stages(inner, found),
            Bson::Array(list) => list
                .iter()
                .filter_map(Bson::as_document)
                .for_each(|inner| stages(inner, found)),
            _ => {}
        }
    }
}

async fn explain(database: &Database, command: Document) -> Vec<String> {
    let explained = database
        .run_command(doc! { "explain": command, "verbosity": "queryPlanner" })
        .await
        .expect("a plan");
    let planner = explained.get_document("queryPlanner").expect("a planner");
    let mut found = Vec::new();
    stages(
        planner.get_document("winningPlan").expect("a winner"),
        &mut found,
    );
    found
}

async fn find(database: &Database, query: Query) -> Vec<String> {
    let Query {
        collection,
        filter,
        sort,
        projection,
        hint,
        limit,
        ..
    } = query;
    let limit = i64::from(limit);
    let mut find = doc! { "find": collection, "filter": filter, "sort": sort, "projection": projection, "limit": limit };
    if let Some(keys) = hint {
        find.insert("hint", keys);
    }
    explain(database, find).await
}

async fn delete(database: &Database, collection: &str, filter: Document) -> Vec<String> {
    explain(
        database,
        doc! { "delete": collection, "deletes": [{ "q": filter, "limit": 0 }] },
    )
    .await
}

#[tokio::test]
async fn every_query_has_an_index() {
    let address = mongod::database(Kind::ReplicaSet);
    let client = Client::with_uri_str(&address).await.expect("a client");
    let database = client.default_database().expect("named in the address");
    schema::prepare(&database, SESSION_IDLE)
        .await
        .expect("indexes");
    // So that the scan below is the only way, and is allowed.
    database
        .collection::<Document>("counters")
        .insert_one(doc! { "_id": { "room": "a" } })
        .await
        .expect("stored");

    let name: RoomName = "a".parse().expect("a name");
    let user: Username = "ann".parse().expect("a name");
    let fold = NameKey::from(&user);
    let seq = Seq::new(5).expect("a seq");
    let time = crate::testing::time(5);
    let (token, id) = (TokenHash([0; 32]), SessionId::random().expect("random"));
    let head = Some(Head {
        seq,
        timestamp: time,
        ..Head::EMPTY
    });
    let change = ChangeSeq::ZERO.next();
    let [thumb, heart]: [Emoji; 2] = ["👍", "❤️"].map(|text| text.parse().expect("an emoji"));
    let keys_of_two = [
        (name.clone(), seq),
        ("b".parse().expect("a name"), seq.next()),
    ];
    let mut plans = Vec::new();
    for range in [
        Range::Newest,
        Range::Before(seq),
        Range::After(seq),
        Range::Since(time),
    ] {
        for bound in [None, head] {
            plans.push((
                format!("{range:?}"),
                find(&database, messages(&name, range, Seq::ZERO, 50, bound)).await,
            ));
        }
    }
    for query in [
        heads(&[name.clone(), "b".parse().expect("a name")]),
        room(&name),
        rooms(&Page {
            after: None,
            limit: 10,
        }),
        batch_buckets(&name, seq, seq, 10),
        batch_at(&name, seq, true),
        last_milestone(&name, time),
        by_nonce(&(name.clone(), user.clone(), "n".parse().expect("a nonce"))),
        counts(std::slice::from_ref(&user), documents::SLOTS),
        counters(&[CountDelta {
            user: user.clone(),
            added: 1,
            removed: 0,
        }]),
        evidence(0, "stored.id", true),
        changes_between(&name, seq, seq.next()),
        changes_at(&keys_of_two),
        buckets_at(&keys_of_two),
        buckets_at(&keys_of_two[..1]),
        buckets_at(&[(name.clone(), seq), (name.clone(), seq.next())]),
        changed(&name, change, None, 10),
        changed(&name, change, Some(change), 10),
        reactions_among(&[
            (name.clone(), seq, thumb, user.clone()),
            (name.clone(), seq, heart, user.clone()),
        ]),
        first_reactions(&name, seq, thumb, 11),
        mentions(&user, time, 10),
        memberships_among(&[(&name, &user)]),
        members(
            &name,
            &Page {
                after: Some(user.clone()),
                limit: 10,
            },
        ),
        session(token, time),
        claims(3),
        memberships(
            &user,
            &Page {
                after: Some(name.clone()),
                limit: 10,
            },
        ),
        ends(std::slice::from_ref(&name)),
        marks(&user, std::slice::from_ref(&name)),
        presence(&name),
        sessions(&user, time),
        private_rooms(
            &user,
            &Page {
                after: None,
                limit: 10,
            },
        ),
        bans_of(&name, std::slice::from_ref(&fold)),
        bans(
            &name,
            &Page {
                after: None,
                limit: 10,
            },
        ),
        members_among(&name, std::slice::from_ref(&user)),
        accounts(&[fold.clone(), NameKey::from(&user)]),
    ] {
        plans.push((
            format!("{} {}", query.collection, query.filter),
            find(&database, query).await,
        ));
    }
    for (collection, filter) in [
        ("messages", bucket_range(&name, seq, seq)),
        ("reactions", reactions_to(&name, seq)),
        ("members", members_of(&name)),
        ("members", member(&name, &user)),
        ("bans", ban(&name, &fold)),
        ("presence", presence_at(&name, ObjectId::new())),
        ("presence", presence_of(ObjectId::new())),
        ("counters", slots()),
        ("names", super::name(&fold)),
        ("sessions", guests_of(&fold)),
        ("sessions", super::token(token)),
        ("sessions", session_of(&user, id)),
        ("sessions", sessions_of(&user, Some(id))),
    ] {
        plans.push((
            format!("delete {collection} {filter}"),
            delete(&database, collection, filter).await,
        ));
    }
    for (what, stages) in plans {
        let slow = stages
            .iter()
            .find(|stage| matches!(stage.as_str(), "COLLSCAN" | "SORT"));
        assert_eq!(slow, None, "{what}: {stages:?}");
        let indexed = stages
            .iter()
            .any(|stage| matches!(stage.as_str(), "IXSCAN" | "IDHACK"));
        assert!(indexed, "{what}: {stages:?}");
    }
    // The check itself notices a sort.
    let sorted = Query {
        sort: doc! { "created_at": 1 },
        ..rooms(&Page {
            after: None,
            limit: 10,
        })
    };
    assert!(
        find(&database, sorted)
            .await
            .iter()
            .any(|stage| stage == "SORT")
    );
}
